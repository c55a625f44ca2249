/* SPDX-License-Identifier: Apache-2.0 */
/* Buckets: their list, making and removing them, location, versioning. */
#include "base/assert.h"
#include "server/s3_operations.h"

enum { BUCKETS_MAX = 10000 };

struct buckets_state {
	struct bytes prefix, last; /* visited, or told when that ends the page */
	uint64_t limit, count;
	bool truncated;
	uint8_t last_memory[OBJ_BUCKET_NAME_MAX];
};

static void visit_bucket(void *visitor, const struct obj_entry *entry)
{
	struct s3_call *call = visitor;
	struct buckets_state *state = call->state;

	bool told = bytes_equal(entry->bucket.label, call->user);

	if (state->truncated)
		return;
	state->truncated = told && (state->count == state->limit ||
	                            call->out.size_max - call->out.size < S3_OUTPUT_MARGIN);
	if (state->truncated)
		return;
	memcpy(state->last_memory, entry->name.data, entry->name.size);
	state->last = bytes_of(state->last_memory, entry->name.size);
	if (!told)
		return;
	state->count++;
	xml_open(&call->out, "Bucket");
	xml_bytes(&call->out, "Name", entry->name);
	xml_time(&call->out, "CreationDate", entry->bucket.created_ms);
	xml_string(&call->out, "BucketRegion", call->server->options.region);
	xml_close(&call->out, "Bucket");
}

static void buckets_listed(struct s3_call *call);

static void list_page(struct s3_call *call)
{
	struct buckets_state *state = call->state;
	struct obj_cmd cmd = s3_command(call, OBJ_BUCKET_LIST);

	call->list = (struct obj_list){
		.limit = S3_LIST_MAX,
		.after = state->last,
		.prefix = state->prefix,
	};
	cmd.list = &call->list;
	cmd.visit = visit_bucket;
	cmd.visitor = call;
	s3_submit(call, &cmd, buckets_listed);
}

static void buckets_listed(struct s3_call *call)
{
	const struct buckets_state *state = call->state;
	struct s3_names names = s3_names(call->server);

	if (call->req.status != STATUS_OK) {
		s3_reply_status(call);
		return;
	}
	if (call->req.result != 0 && !state->truncated) {
		list_page(call);
		return;
	}
	xml_close(&call->out, "Buckets");
	s3_owner_write_xml(call->anonymous ? BYTES("anonymous") : call->user, &names, "Owner",
	                   &call->out);
	if (state->truncated) {
		xml_open(&call->out, "ContinuationToken");
		text_base64(&call->out, state->last);
		xml_close(&call->out, "ContinuationToken");
	}
	if (state->prefix.size > 0)
		xml_bytes(&call->out, "Prefix", state->prefix);
	xml_close(&call->out, "ListAllMyBucketsResult");
	s3_reply(call, 200);
	s3_end_xml(call);
}

/* ?max-buckets, ?continuation-token, ?prefix; false: one of them is not right. */
static bool read_page(struct s3_call *call, struct buckets_state *state)
{
	struct bytes text;
	size_t size;

	s3_parameter(call, "prefix", &state->prefix);
	if (state->prefix.size > OBJ_BUCKET_NAME_MAX)
		return false;
	if (s3_parameter(call, "max-buckets", &text) &&
	    (!bytes_parse_u64(text, BUCKETS_MAX, &state->limit) || state->limit == 0))
		return false;
	if (!s3_parameter(call, "continuation-token", &text) || text.size == 0)
		return true;
	if (!base64_parse(text, state->last_memory, sizeof(state->last_memory), &size))
		return false;
	state->last = bytes_of(state->last_memory, size);
	return true;
}

void s3_list_buckets(struct s3_call *call)
{
	struct buckets_state *state = s3_alloc(call, sizeof(*state));

	if (state == NULL)
		return;
	*state = (struct buckets_state){ .limit = BUCKETS_MAX };
	call->state = state;
	if (!read_page(call, state)) {
		s3_reply_error(call, S3_INVALID_ARGUMENT);
		return;
	}
	if (!s3_begin_xml(call, BUF_SIZE_MAX))
		return;
	xml_open_in(&call->out, "ListAllMyBucketsResult");
	xml_open(&call->out, "Buckets");
	list_page(call);
}

/* The rules of DNS names ("Bucket naming rules" of the user guide). */
static bool is_bucket_name(struct bytes name)
{
	bool digits = true;

	if (name.size < 3 || name.size > 63)
		return false;
	for (size_t i = 0; i < name.size; i++) {
		uint8_t c = name.data[i];
		bool word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');

		if (!word && c != '-' && c != '.')
			return false;
		if (!word && (i == 0 || i == name.size - 1))
			return false;
		/* Labels between dots, that begin and end with a letter or a digit. */
		if (!word && name.data[i - 1] == '.')
			return false;
		if (c == '.' && name.data[i - 1] == '-')
			return false;
		digits &= (c >= '0' && c <= '9') || c == '.';
	}
	return !digits || memchr(name.data, '.', name.size) == NULL;
}

struct create_state {
	struct obj_settings settings;
	struct s3_acl acl;
	char acl_memory[S3_ACL_SIZE_MAX + 1];
	struct text acl_text;
	struct bytes ownership, location;
};

static void bucket_ready(struct s3_call *call)
{
	char memory[OBJ_BUCKET_NAME_MAX + 1];
	struct text text;

	if (call->req.status != STATUS_OK) {
		s3_reply_status(call);
		return;
	}
	text_init(&text, memory, sizeof(memory));
	text_put(&text, '/');
	text_add(&text, call->bucket);
	s3_reply(call, 200);
	s3_field(call, "Location", text_bytes(&text));
	s3_end(call);
}

static void put_location(struct s3_call *call)
{
	struct create_state *state = call->state;
	struct obj_cmd cmd = s3_command(call, OBJ_DOCUMENT_PUT);

	if (call->req.status != STATUS_OK || state->location.size == 0) {
		bucket_ready(call);
		return;
	}
	cmd.part = S3_DOCUMENT_LOCATION;
	cmd.value = state->location;
	s3_submit(call, &cmd, bucket_ready);
}

static void put_ownership(struct s3_call *call)
{
	struct create_state *state = call->state;
	struct obj_cmd cmd = s3_command(call, OBJ_DOCUMENT_PUT);

	if (call->req.status != STATUS_OK || state->ownership.size == 0) {
		put_location(call);
		return;
	}
	cmd.part = S3_DOCUMENT_OWNERSHIP;
	cmd.value = state->ownership;
	s3_submit(call, &cmd, put_location);
}

static void put_acl(struct s3_call *call)
{
	struct create_state *state = call->state;
	struct obj_cmd cmd = s3_command(call, OBJ_DOCUMENT_PUT);

	if (state->acl_text.size == 0) {
		call->req.status = STATUS_OK;
		put_ownership(call);
		return;
	}
	cmd.part = S3_DOCUMENT_ACL;
	cmd.value = text_bytes(&state->acl_text);
	s3_submit(call, &cmd, put_ownership);
}

static void visit_owner(void *visitor, const struct obj_entry *entry)
{
	struct s3_call *call = visitor;

	call->owner = bytes_equal(entry->bucket.label, call->user);
	call->info.documents = entry->bucket.documents;
}

/* Who owns it already may ask for it once more, as long as that would change nothing. */
static void existing_known(struct s3_call *call)
{
	const struct create_state *state = call->state;
	bool plain = state->acl_text.size == 0 && !state->settings.locks &&
	             !(call->info.documents >> S3_DOCUMENT_ACL & 1);

	if (call->req.status != STATUS_OK)
		s3_reply_status(call);
	else if (!call->owner || !plain)
		s3_reply_error(call, S3_BUCKET_ALREADY_EXISTS);
	else
		bucket_ready(call);
}

static void bucket_created(struct s3_call *call)
{
	struct obj_cmd cmd = s3_command(call, OBJ_BUCKET_GET);

	if (call->req.status == STATUS_EXISTS) {
		cmd.visit = visit_owner;
		cmd.visitor = call;
		s3_submit(call, &cmd, existing_known);
	} else if (call->req.status != STATUS_OK) {
		s3_reply_status(call);
	} else {
		put_acl(call);
	}
}

/* <CreateBucketConfiguration>: a place. There is but one; the bucket remembers what it was told. */
static enum s3_error read_configuration(struct s3_call *call, struct bytes *ret_location)
{
	struct bytes here =
	        bytes_of(call->server->options.region, strlen(call->server->options.region));
	enum xml_event event;
	struct xml xml;

	if (call->body.size == 0)
		return S3_NONE;
	xml_init(&xml, (uint8_t *)(uintptr_t)call->body.data, call->body.size);
	while ((event = xml_next(&xml)) == XML_OPEN || event == XML_CLOSE) {
		if (event == XML_OPEN && xml.depth == 1 &&
		    !xml_name_is(&xml, "CreateBucketConfiguration"))
			return S3_MALFORMED_XML;
		if (event == XML_OPEN || !xml_name_is(&xml, "LocationConstraint"))
			continue;
		if (xml.text.size > 63 || !utf8_is_valid(xml.text))
			return S3_INVALID_LOCATION;
		if (!bytes_equal(xml.text, here))
			*ret_location = xml.text;
	}
	return event == XML_END ? S3_NONE : S3_MALFORMED_XML;
}

static bool read_ownership(struct s3_call *call, struct create_state *state)
{
	static const char *const known[] = { "BucketOwnerEnforced", "BucketOwnerPreferred",
		                             "ObjectWriter" };
	static const char *const documents[] = {
		"<OwnershipControls><Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership>"
		"</Rule></OwnershipControls>",
		"<OwnershipControls><Rule><ObjectOwnership>BucketOwnerPreferred</ObjectOwnership>"
		"</Rule></OwnershipControls>",
		"<OwnershipControls><Rule><ObjectOwnership>ObjectWriter</ObjectOwnership>"
		"</Rule></OwnershipControls>",
	};
	struct bytes value;

	if (!s3_header(call, "x-amz-object-ownership", &value))
		return true;
	for (unsigned i = 0; i < 3; i++) {
		if (bytes_equal(value, bytes_of(known[i], strlen(known[i]))))
			state->ownership = bytes_of(documents[i], strlen(documents[i]));
	}
	if (state->ownership.size > 0)
		return true;
	s3_reply_error(call, S3_INVALID_ARGUMENT);
	return false;
}

void s3_bucket_create(struct s3_call *call)
{
	struct obj_cmd cmd = s3_command(call, OBJ_BUCKET_CREATE);
	struct create_state *state;
	enum s3_error error;
	struct bytes value, location = { 0 };
	bool said;

	if (call->anonymous) {
		s3_reply_error(call, S3_ACCESS_DENIED);
		return;
	}
	if (!is_bucket_name(call->bucket)) {
		s3_reply_error(call, S3_INVALID_BUCKET_NAME);
		return;
	}
	error = read_configuration(call, &location);
	if (error != S3_NONE) {
		s3_reply_error(call, error);
		return;
	}
	state = s3_alloc(call, sizeof(*state));
	if (state == NULL)
		return;
	*state = (struct create_state){ .settings = { .set_versioning = true,
		                                      .set_locks = true,
		                                      .set_label = true,
		                                      .label = call->user } };
	state->location = location;
	call->state = state;
	text_init(&state->acl_text, state->acl_memory, sizeof(state->acl_memory));
	if (!s3_acl_read(call, &state->acl, &said) || !read_ownership(call, state))
		return;
	if (said)
		s3_acl_encode(&state->acl, call->user, &state->acl_text);
	if (state->acl_text.size > 0 && state->ownership.size > 0 &&
	    memmem(state->ownership.data, state->ownership.size, "Enforced", 8) != NULL) {
		s3_reply_error(call, S3_INVALID_ACL_WITH_OWNERSHIP);
		return;
	}
	if (s3_header(call, "x-amz-bucket-object-lock-enabled", &value) &&
	    bytes_equal_ignoring_case(value, BYTES("true"))) {
		state->settings.locks = true;
		state->settings.versioning = OBJ_VERSIONING_ON;
	}
	cmd.settings = &state->settings;
	s3_submit(call, &cmd, bucket_created);
}

static void bucket_deleted(struct s3_call *call)
{
	if (call->req.status == STATUS_CONFLICT) {
		s3_reply_error(call, S3_BUCKET_NOT_EMPTY);
	} else if (call->req.status != STATUS_OK) {
		s3_reply_status(call);
	} else {
		s3_reply(call, 204);
		s3_end(call);
	}
}

void s3_bucket_delete(struct s3_call *call)
{
	struct obj_cmd cmd = s3_command(call, OBJ_BUCKET_DELETE);

	s3_submit(call, &cmd, bucket_deleted);
}

void s3_bucket_head(struct s3_call *call)
{
	s3_reply(call, 200);
	http_answer_text(call->exchange, "x-amz-bucket-region", call->server->options.region);
	s3_end(call);
}

static void location_told(struct s3_call *call)
{
	const char *region = call->server->options.region;

	if (call->answered)
		return;
	if (call->req.status != STATUS_OK &&
	    (call->req.status != STATUS_NOT_FOUND || call->req.result != OBJ_NO_DOCUMENT)) {
		s3_reply_status(call);
		return;
	}
	if (!s3_begin_xml(call, 0))
		return;
	xml_open_in(&call->out, "LocationConstraint");
	if (call->document.size > 0)
		xml_escape(&call->out, call->document);
	else if (strcmp(region, "us-east-1") != 0)
		xml_escape(&call->out, bytes_of(region, strlen(region)));
	xml_close(&call->out, "LocationConstraint");
	s3_reply(call, 200);
	s3_end_xml(call);
}

void s3_location_get(struct s3_call *call)
{
	struct obj_cmd cmd = s3_command(call, OBJ_DOCUMENT_GET);

	cmd.part = S3_DOCUMENT_LOCATION;
	cmd.visit = s3_visit_document;
	cmd.visitor = call;
	call->document = (struct bytes){ 0 };
	s3_submit(call, &cmd, location_told);
}

void s3_versioning_get(struct s3_call *call)
{
	if (!s3_begin_xml(call, 0))
		return;
	xml_open_in(&call->out, "VersioningConfiguration");
	if (call->info.versioning != OBJ_VERSIONING_OFF)
		xml_string(&call->out, "Status",
		           call->info.versioning == OBJ_VERSIONING_ON ? "Enabled" : "Suspended");
	xml_close(&call->out, "VersioningConfiguration");
	s3_reply(call, 200);
	s3_end_xml(call);
}

static void versioning_changed(struct s3_call *call)
{
	if (call->req.status == STATUS_INVALID) {
		s3_reply_error_text(call, S3_INVALID_BUCKET_STATE,
		                    "An Object Lock configuration is present on this bucket, so "
		                    "the versioning state cannot be changed.");
	} else if (call->req.status != STATUS_OK) {
		s3_reply_status(call);
	} else {
		s3_reply(call, 200);
		s3_end(call);
	}
}

void s3_versioning_put(struct s3_call *call)
{
	struct obj_cmd cmd = s3_command(call, OBJ_BUCKET_UPDATE);
	struct obj_settings *settings = s3_alloc(call, sizeof(*settings));
	enum xml_event event;
	struct xml xml;

	if (settings == NULL)
		return;
	*settings = (struct obj_settings){ 0 };
	xml_init(&xml, (uint8_t *)(uintptr_t)call->body.data, call->body.size);
	while ((event = xml_next(&xml)) == XML_OPEN || event == XML_CLOSE) {
		if (event == XML_OPEN && xml.depth == 1 &&
		    !xml_name_is(&xml, "VersioningConfiguration"))
			break;
		if (event == XML_OPEN || !xml_name_is(&xml, "Status"))
			continue;
		settings->set_versioning = true;
		if (bytes_equal(xml.text, BYTES("Enabled")))
			settings->versioning = OBJ_VERSIONING_ON;
		else if (bytes_equal(xml.text, BYTES("Suspended")))
			settings->versioning = OBJ_VERSIONING_SUSPENDED;
		else
			settings->set_versioning = false;
	}
	if (event != XML_END) {
		s3_reply_error(call, S3_MALFORMED_XML);
		return;
	}
	if (!settings->set_versioning) {
		s3_reply_error(call, S3_ILLEGAL_VERSIONING);
		return;
	}
	cmd.settings = settings;
	s3_submit(call, &cmd, versioning_changed);
}
