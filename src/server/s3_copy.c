/* SPDX-License-Identifier: Apache-2.0 */
/* CopyObject and UploadPartCopy: read here, written there, piece by piece. */
#include "base/assert.h"
#include "server/s3_operations.h"
#include "wire/http_range.h"
#include "wire/s3_uri.h"

/* Where it goes, while the call speaks of where it comes from. */
struct copy_state {
	struct bytes bucket, key, lock_rule, lifecycle, public_block;
	struct obj_bucket info;
	bool owner, enforced, preferred;
	struct bytes source_bucket, source_key;
	uint64_t source_version;
	uint32_t source_flags;
	bool source_has_version;
	struct obj_bucket source_info;
	struct s3_found source;
	struct s3_brief upload_brief;
	struct s3_found upload;
	size_t given; /* bytes of the reader's buffer that were taken */
	bool part, replace, replace_tags;
	struct bytes base; /* attributes that a copy starts from */
};

static bool parse_source(struct s3_call *call, struct copy_state *state)
{
	struct bytes text, version = { 0 };
	const uint8_t *found;
	uint8_t *memory;
	long size;

	s3_header(call, "x-amz-copy-source", &text);
	found = memmem(text.data, text.size, "?versionId=", 11);
	if (found != NULL) {
		version = bytes_of(found + 11, text.size - (size_t)(found + 11 - text.data));
		text.size = (size_t)(found - text.data);
	}
	memory = s3_alloc(call, text.size + 1);
	if (memory == NULL)
		return false;
	size = s3_uri_decode(text, false, memory);
	if (size < 0) {
		s3_reply_error(call, S3_INVALID_ARGUMENT);
		return false;
	}
	text = bytes_of(memory, (size_t)size);
	if (text.size > 0 && text.data[0] == '/')
		text = bytes_of(text.data + 1, text.size - 1);
	state->source_bucket = bytes_cut(&text, '/');
	state->source_key = text;
	state->source_has_version = found != NULL;
	if (bytes_equal(version, BYTES("null")))
		state->source_flags = OBJ_NULL_VERSION;
	else if (found != NULL && !s3_id_parse(version, &state->source_version))
		state->source_key.size = 0;
	if (state->source_bucket.size > 0 && state->source_bucket.size <= OBJ_BUCKET_NAME_MAX &&
	    text.size > 0 && text.size <= OBJ_NAME_MAX && state->source_key.size > 0 &&
	    memchr(text.data, 0, text.size) == NULL)
		return true;
	s3_reply_error_text(call, S3_INVALID_ARGUMENT,
	                    "Copy Source must mention the source bucket and key: "
	                    "sourcebucket/sourcekey");
	return false;
}

/* Back to where it goes. */
static void turn_back(struct s3_call *call)
{
	struct copy_state *state = call->state;

	state->source_info = call->info;
	state->source = call->found;
	call->bucket = state->bucket;
	call->key = state->key;
	call->info = state->info;
	call->owner = state->owner;
	call->enforced = state->enforced;
	call->preferred = state->preferred;
	call->lock_rule = state->lock_rule;
	call->lifecycle = state->lifecycle;
	call->public_block = state->public_block;
	call->version = 0;
	call->version_flags = 0;
	call->has_version = false;
	call->found = (struct s3_found){ 0 };
}

static void reply_copy(struct s3_call *call)
{
	struct copy_state *state = call->state;
	const char *root = state->part ? "CopyPartResult" : "CopyObjectResult";
	char memory[S3_ID_SIZE];

	if (!s3_begin_xml(call, 4096))
		return;
	xml_open_in(&call->out, root);
	xml_time(&call->out, "LastModified", s3_now_ms(call) / 1000 * 1000);
	xml_open(&call->out, "ETag");
	text_string(&call->out, "&quot;");
	xml_escape(&call->out, call->put.etag);
	text_string(&call->out, "&quot;");
	xml_close(&call->out, "ETag");
	if (call->brief.has_checksum) {
		s3_write_checksum(&call->out, &call->brief);
		if (!state->part)
			xml_string(&call->out, "ChecksumType", "FULL_OBJECT");
	}
	xml_close(&call->out, root);
	s3_reply(call, 200);
	if (state->source_info.versioning != OBJ_VERSIONING_OFF)
		s3_field(call, "x-amz-copy-source-version-id",
		         s3_version_text(&state->source.meta, memory));
	if (!state->part) {
		s3_field_version(call, "x-amz-version-id", &call->found.meta);
		s3_expiration_field(call, &call->found.meta);
	}
	s3_sse_fields(call, &call->sse);
	s3_end_xml(call);
}

static void committed(struct s3_call *call)
{
	if (call->answered)
		return;
	if (call->req.status != STATUS_OK) {
		s3_reply_write_status(call);
		return;
	}
	s3_upload_release(call);
	reply_copy(call);
}

static void commit(struct s3_call *call)
{
	enum s3_error error = s3_payload_finish(&call->upload->payload);

	if (error != S3_NONE) {
		s3_reply_error(call, error);
		return;
	}
	s3_reader_release(call);
	s3_put_finish_meta(call, &call->upload->payload);
	s3_upload_commit(call, committed);
}

static void piece_got(struct s3_call *call);

static void pump(struct s3_call *call)
{
	struct copy_state *state = call->state;
	struct s3_reader *reader = call->reader;

	if (call->upload->error != S3_NONE) {
		s3_reply_error(call, call->upload->error);
		return;
	}
	while (reader->buf != NULL) {
		struct bytes rest = bytes_of(reader->buf->data + state->given,
		                             reader->buf->used - state->given);

		state->given += s3_upload_feed(call, rest);
		if (call->answered)
			return;
		if (state->given == reader->buf->used) {
			buf_unref(reader->buf);
			reader->buf = NULL;
		} else if (call->upload->flying) {
			return; /* it comes back here */
		}
	}
	if (reader->at < reader->end)
		s3_reader_read(call, S3_PIECE_SIZE, piece_got);
	else if (!call->upload->flying)
		commit(call);
}

static void piece_got(struct s3_call *call)
{
	if (call->req.status != STATUS_OK) {
		/* What is on its way to the store comes back first. */
		call->upload->error = s3_error_of(call->req.status, call->req.result);
		if (call->upload->flying)
			return;
		s3_reply_error(call, call->upload->error);
		return;
	}
	((struct copy_state *)call->state)->given = 0;
	pump(call);
}

/* A write has come back: if a read has not, that one goes on. */
static void written(struct s3_call *call)
{
	if (!call->reader->flying)
		pump(call);
}

static void start_pump(struct s3_call *call, uint64_t offset, uint64_t size)
{
	struct copy_state *state = call->state;
	struct s3_reader *reader = call->reader;
	enum s3_checksum_kind kind = state->part ? state->upload_brief.checksum
	                             : call->brief.checksum != S3_CHECKSUM_NONE
	                                     ? call->brief.checksum
	                                     : state->source.brief.checksum;

	if (!s3_upload_take(call))
		return;
	reader->at = offset;
	reader->end = offset + size;
	s3_put_encrypt(call);
	s3_upload_plain(call, kind, size);
	call->upload->resume = written;
	pump(call);
}

/* Attributes of a copy: the source's or the request's; who owns it, and its key, are new. */
static bool merge_attributes(struct s3_call *call)
{
	struct copy_state *state = call->state;
	struct obj_attributes made = call->attributes, merged;
	struct bytes base = state->source.meta.attributes;
	struct bytes own = bytes_of(made.data, made.size);
	uint8_t *memory = s3_alloc(call, OBJ_ATTRIBUTES_MAX);

	if (memory == NULL)
		return false;
	merged = (struct obj_attributes){ .data = memory, .size_max = OBJ_ATTRIBUTES_MAX };
	for (unsigned number = 1; number <= S3_ATTRIBUTE_LOCK; number++) {
		bool from_request =
		        number == S3_ATTRIBUTE_ACL || number == S3_ATTRIBUTE_OWNER ||
		        number == S3_ATTRIBUTE_REDIRECT || number == S3_ATTRIBUTE_SSE ||
		        number == S3_ATTRIBUTE_LOCK ||
		        (number == S3_ATTRIBUTE_TAGS ? state->replace_tags : state->replace);
		struct bytes value = obj_attribute_get(from_request ? own : base, number);

		if (value.size > 0 && !obj_attribute_add(&merged, number, value)) {
			s3_reply_error(call, S3_METADATA_TOO_LARGE);
			return false;
		}
	}
	call->attributes = merged;
	return true;
}

static bool is_same(const struct copy_state *state)
{
	return bytes_equal(state->bucket, state->source_bucket) &&
	       bytes_equal(state->key, state->source_key) && !state->source_has_version;
}

/* True: it has answered. */
static bool check_source(struct s3_call *call)
{
	enum s3_error error;

	if (call->answered)
		return true;
	if (call->req.status == STATUS_NOT_FOUND && call->found.there &&
	    call->found.meta.flags & OBJ_IS_MARKER) {
		s3_reply_error(call, call->has_version ? S3_INVALID_REQUEST : S3_NO_SUCH_KEY);
		return true;
	}
	if (call->req.status != STATUS_OK) {
		s3_reply_status(call);
		return true;
	}
	error = s3_check_get_conditions(call, &call->found.meta, true);
	if (error == S3_NONE)
		error = s3_sse_read(call, "copy-source-", &call->source_sse);
	if (error == S3_NONE)
		error = s3_sse_check_found(call, &call->found, &call->source_sse);
	if (error == S3_NONE && !s3_reader_decrypt(call, &call->source_sse))
		error = S3_INTERNAL_ERROR;
	if (error != S3_NONE) {
		s3_reply_error(call, error);
		return true;
	}
	return false;
}

static bool read_directive(struct s3_call *call, const char *name, bool *ret_replace)
{
	struct bytes text;

	*ret_replace = false;
	if (!s3_header(call, name, &text) || bytes_equal(text, BYTES("COPY")))
		return true;
	*ret_replace = bytes_equal(text, BYTES("REPLACE"));
	if (*ret_replace)
		return true;
	s3_reply_error(call, S3_INVALID_ARGUMENT);
	return false;
}

static void object_opened(struct s3_call *call)
{
	struct copy_state *state = call->state;
	struct bytes text;

	if (check_source(call))
		return;
	turn_back(call);
	if (!read_directive(call, "x-amz-metadata-directive", &state->replace) ||
	    !read_directive(call, "x-amz-tagging-directive", &state->replace_tags) ||
	    !s3_meta_read(call, state->replace_tags) || !s3_put_conditions(call) ||
	    !s3_lock_default(call))
		return;
	if (is_same(state) && !state->replace && call->sse.kind == state->source.brief.sse &&
	    call->sse.kind != S3_SSE_CUSTOMER && !s3_header(call, "x-amz-storage-class", &text) &&
	    !s3_header(call, "x-amz-website-redirect-location", &text) &&
	    !s3_header(call, "x-amz-server-side-encryption", &text)) {
		s3_reply_error_text(
		        call, S3_INVALID_REQUEST,
		        "This copy request is illegal because it is trying to copy an "
		        "object to itself without changing the object's metadata, storage "
		        "class, website redirect location or encryption attributes.");
		return;
	}
	if (s3_header(call, "x-amz-checksum-algorithm", &text)) {
		call->brief.checksum = s3_checksum_of_name(text);
		if (call->brief.checksum == S3_CHECKSUM_NONE) {
			s3_reply_error(call, S3_INVALID_REQUEST);
			return;
		}
	}
	if (state->source.meta.size > OBJ_PART_SIZE_MAX) {
		s3_reply_error_text(
		        call, S3_INVALID_REQUEST,
		        "The specified copy source is larger than the maximum allowable "
		        "size for a copy source: 5368709120");
		return;
	}
	if (merge_attributes(call))
		start_pump(call, 0, state->source.meta.size);
}

/* "bytes=first-last", both given, inside the source. */
static enum s3_error read_range(struct s3_call *call, uint64_t size, uint64_t *ret_offset,
                                uint64_t *ret_size)
{
	struct bytes text, first;
	uint64_t last;

	*ret_offset = 0;
	*ret_size = size;
	if (!s3_header(call, "x-amz-copy-source-range", &text))
		return S3_NONE;
	if (!bytes_starts_with(text, BYTES("bytes=")))
		return S3_INVALID_ARGUMENT;
	text = bytes_of(text.data + 6, text.size - 6);
	first = bytes_cut(&text, '-');
	if (!bytes_parse_u64(first, UINT64_MAX - 1, ret_offset) ||
	    !bytes_parse_u64(text, UINT64_MAX - 1, &last) || last < *ret_offset)
		return S3_INVALID_ARGUMENT;
	if (last >= size)
		return S3_INVALID_RANGE;
	*ret_size = last - *ret_offset + 1;
	return S3_NONE;
}

static void part_opened(struct s3_call *call)
{
	struct copy_state *state = call->state;
	uint64_t offset, size;
	enum s3_error error;

	if (check_source(call))
		return;
	turn_back(call);
	call->found = state->upload;
	error = read_range(call, state->source.meta.size, &offset, &size);
	if (error == S3_NONE)
		error = s3_part_encryption(call, &call->sse);
	if (error == S3_NONE && size > OBJ_PART_SIZE_MAX)
		error = S3_INVALID_REQUEST;
	if (error != S3_NONE) {
		s3_reply_error(call, error);
		return;
	}
	call->attributes = (struct obj_attributes){ 0 };
	start_pump(call, offset, size);
}

static void source_granted(struct s3_call *call)
{
	struct copy_state *state = call->state;
	struct obj_cmd cmd = s3_command(call, OBJ_OPEN);

	if (!s3_reader_take(call))
		return;
	call->found = (struct s3_found){ 0 };
	s3_reader_open(call, &cmd, state->part ? part_opened : object_opened);
}

static void ask_source(struct s3_call *call)
{
	struct copy_state *state = call->state;

	state->bucket = call->bucket;
	state->key = call->key;
	state->info = call->info;
	state->owner = call->owner;
	state->enforced = call->enforced;
	state->preferred = call->preferred;
	state->lock_rule = call->lock_rule;
	state->lifecycle = call->lifecycle;
	state->public_block = call->public_block;
	call->bucket = state->source_bucket;
	call->key = state->source_key;
	call->version = state->source_version;
	call->version_flags = state->source_flags;
	call->has_version = state->source_has_version;
	call->policy = call->bucket_acl = call->public_block = call->ownership =
	        (struct bytes){ 0 };
	call->action = call->has_version ? "s3:GetObjectVersion" : "s3:GetObject";
	call->permission = S3_READ;
	call->by_object = true;
	s3_authorize(call, source_granted);
}

static bool begin(struct s3_call *call, bool part)
{
	struct copy_state *state = s3_alloc(call, sizeof(*state));

	if (state == NULL)
		return false;
	*state = (struct copy_state){ .part = part };
	call->state = state;
	return parse_source(call, state);
}

void s3_copy_object(struct s3_call *call)
{
	if (begin(call, false))
		ask_source(call);
}

static void upload_known(struct s3_call *call)
{
	struct copy_state *state = call->state;

	if (call->answered)
		return;
	if (call->req.status != STATUS_OK) {
		s3_reply_status(call);
		return;
	}
	state->upload = call->found;
	state->upload_brief = call->found.brief;
	ask_source(call);
}

void s3_copy_part(struct s3_call *call)
{
	struct obj_cmd cmd = s3_command(call, OBJ_UPLOAD_GET);

	if (!begin(call, true))
		return;
	call->found = (struct s3_found){ 0 };
	cmd.upload = call->part_upload;
	cmd.visit = s3_visit_found;
	cmd.visitor = call;
	s3_submit(call, &cmd, upload_known);
}
