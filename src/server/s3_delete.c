/* SPDX-License-Identifier: Apache-2.0 */
/* DeleteObject and DeleteObjects. */
#include "base/assert.h"
#include "server/s3_operations.h"
#include "wire/s3_time.h"

/* What must be true of what is deleted. */
struct asks {
	struct bytes etag;
	bool has_etag, has_size, has_time;
	uint64_t size, time_s;
};

static bool asks_anything(const struct asks *asks)
{
	return asks->has_etag || asks->has_size || asks->has_time;
}

/* From text, empty where nothing was said. */
static enum s3_error read_asks(struct asks *asks, struct bytes etag, struct bytes size,
                               struct bytes time)
{
	*asks = (struct asks){ .has_etag = etag.size > 0, .has_size = size.size > 0 };
	if (etag.size >= 2 && etag.data[0] == '"' && etag.data[etag.size - 1] == '"')
		etag = bytes_of(etag.data + 1, etag.size - 2);
	asks->etag = etag;
	asks->has_time = time.size > 0;
	if (asks->has_size && !bytes_parse_u64(size, UINT64_MAX, &asks->size))
		return S3_INVALID_ARGUMENT;
	if (asks->has_time && !s3_time_parse_http(time, &asks->time_s) &&
	    !s3_time_parse_iso(time, &asks->time_s))
		return S3_INVALID_ARGUMENT;
	return S3_NONE;
}

static bool holds(const struct asks *asks, const struct s3_found *found)
{
	const struct obj_meta *meta = &found->meta;

	if (asks->has_etag && !bytes_equal(asks->etag, BYTES("*")) &&
	    !bytes_equal(asks->etag, meta->etag))
		return false;
	if (asks->has_size && asks->size != meta->size)
		return false;
	return !asks->has_time || asks->time_s == meta->created_ms / 1000;
}

/*
 * What is there was looked at: a version does not change any more, and of a name it must still be
 * the newest when it is deleted. False: it is not as asked, or not there at all.
 */
static bool may_delete(struct s3_call *call, const struct asks *asks, enum s3_error *ret_error)
{
	bool there = call->found.there &&
	             (call->has_version || !(call->found.meta.flags & OBJ_IS_MARKER));

	*ret_error = S3_NONE;
	if (!there) {
		if (call->req.status != STATUS_NOT_FOUND || call->req.result == OBJ_NO_BUCKET)
			*ret_error = s3_error_of(call->req.status, call->req.result);
		return false;
	}
	if (!holds(asks, &call->found)) {
		*ret_error = S3_PRECONDITION_FAILED;
		return false;
	}
	if (!call->has_version)
		call->put.condition = (struct obj_condition){
			.flags = OBJ_IF_VERSION,
			.version = call->found.meta.version,
		};
	return true;
}

static void look(struct s3_call *call, s3_next_fn *next)
{
	struct obj_cmd cmd = s3_command(call, OBJ_HEAD);

	call->found = (struct s3_found){ 0 };
	cmd.visit = s3_visit_found;
	cmd.visitor = call;
	s3_submit(call, &cmd, next);
}

static void deleted(struct s3_call *call)
{
	if (call->answered)
		return;
	if (call->req.status != STATUS_OK) {
		s3_reply_write_status(call);
		return;
	}
	s3_reply(call, 204);
	if (call->found.there && (call->req.result == OBJ_MARKED || call->has_version)) {
		if (call->found.meta.flags & OBJ_IS_MARKER)
			http_answer_text(call->exchange, "x-amz-delete-marker", "true");
		s3_field_version(call, "x-amz-version-id", &call->found.meta);
	}
	s3_end(call);
}

static void submit_delete(struct s3_call *call)
{
	struct obj_cmd cmd = s3_command(call, OBJ_DELETE);

	call->found = (struct s3_found){ 0 };
	cmd.flags |= call->bypass ? OBJ_BYPASS_GOVERNANCE : 0;
	cmd.put = &call->put;
	cmd.visit = s3_visit_found;
	cmd.visitor = call;
	s3_submit(call, &cmd, deleted);
}

static void looked(struct s3_call *call)
{
	enum s3_error error;

	if (call->answered)
		return;
	if (may_delete(call, call->state, &error)) {
		submit_delete(call);
	} else if (error != S3_NONE) {
		s3_reply_error(call, error);
	} else { /* nothing is there: that is what was wanted */
		s3_reply(call, 204);
		s3_end(call);
	}
}

static void start_delete(struct s3_call *call)
{
	const struct asks *asks = call->state;

	if (asks_anything(asks))
		look(call, looked);
	else
		submit_delete(call);
}

static bool asks_bypass(const struct s3_call *call)
{
	struct bytes text;

	return s3_header(call, "x-amz-bypass-governance-retention", &text) &&
	       bytes_equal_ignoring_case(text, BYTES("true"));
}

static void bypass_granted(struct s3_call *call)
{
	call->bypass = true;
	start_delete(call);
}

void s3_delete(struct s3_call *call)
{
	struct asks *asks = s3_alloc(call, sizeof(*asks));
	struct bytes etag, size, time;
	enum s3_error error;

	if (asks == NULL)
		return;
	s3_header(call, "if-match", &etag);
	s3_header(call, "x-amz-if-match-size", &size);
	s3_header(call, "x-amz-if-match-last-modified-time", &time);
	error = read_asks(asks, etag, size, time);
	if (error != S3_NONE) {
		s3_reply_error(call, error);
		return;
	}
	call->state = asks;
	call->condition_name = asks->has_etag   ? "If-Match"
	                       : asks->has_size ? "x-amz-if-match-size"
	                                        : "x-amz-if-match-last-modified-time";
	if (asks_bypass(call) && call->info.locks)
		s3_reauthorize(call, "s3:BypassGovernanceRetention", 0, bypass_granted);
	else
		start_delete(call);
}

/* DeleteObjects: one after the other; the body stays where it was collected. */
struct many_state {
	struct xml xml;
	bool quiet, bypass;
	struct bytes key, version_text, etag, size, time;
	bool has_key;
	uint32_t count;
	struct asks asks;    /* of the entry */
	struct s3_mark mark; /* what a visit keeps is dropped after each */
};

static void write_failure(struct s3_call *call, enum s3_error error)
{
	struct many_state *state = call->state;

	xml_open(&call->out, "Error");
	xml_bytes(&call->out, "Key", state->key);
	if (state->version_text.size > 0)
		xml_bytes(&call->out, "VersionId", state->version_text);
	xml_string(&call->out, "Code", s3_error_code(error));
	xml_string(&call->out, "Message", s3_error_text(error));
	xml_close(&call->out, "Error");
}

static void write_deleted(struct s3_call *call)
{
	struct many_state *state = call->state;
	const struct obj_meta *meta = &call->found.meta;
	bool marker = call->found.there && meta->flags & OBJ_IS_MARKER;
	char memory[S3_ID_SIZE];

	if (state->quiet)
		return;
	xml_open(&call->out, "Deleted");
	xml_bytes(&call->out, "Key", state->key);
	if (state->version_text.size > 0)
		xml_bytes(&call->out, "VersionId", state->version_text);
	if (marker && (call->req.result == OBJ_MARKED || call->has_version)) {
		xml_bool(&call->out, "DeleteMarker", true);
		xml_bytes(&call->out, "DeleteMarkerVersionId", s3_version_text(meta, memory));
	}
	xml_close(&call->out, "Deleted");
}

static void delete_next(struct s3_call *call);

static void one_deleted(struct s3_call *call)
{
	enum s3_error error = s3_error_of(call->req.status, call->req.result);

	if (call->answered)
		return;
	if (error == S3_NONE || (error == S3_NO_SUCH_VERSION))
		write_deleted(call);
	else
		write_failure(call, error);
	s3_alloc_back(call, &((struct many_state *)call->state)->mark);
	delete_next(call);
}

static bool read_one(struct many_state *state, enum xml_event event)
{
	struct xml *xml = &state->xml;

	if (event == XML_OPEN) {
		if (xml->depth == 2 && xml_name_is(xml, "Object")) {
			state->key = state->version_text = (struct bytes){ 0 };
			state->etag = state->size = state->time = (struct bytes){ 0 };
			state->has_key = false;
		}
		return false;
	}
	if (xml_name_is(xml, "Key")) {
		state->key = xml->text;
		state->has_key = true;
	} else if (xml_name_is(xml, "VersionId")) {
		state->version_text = xml->text;
	} else if (xml_name_is(xml, "ETag")) {
		state->etag = xml->text;
	} else if (xml_name_is(xml, "Size")) {
		state->size = xml->text;
	} else if (xml_name_is(xml, "LastModifiedTime")) {
		state->time = xml->text;
	}
	return xml->depth == 1 && xml_name_is(xml, "Object");
}

/* What one entry asks for, into the call. */
static enum s3_error prepare_one(struct s3_call *call)
{
	struct many_state *state = call->state;

	call->key = state->key;
	call->version = 0;
	call->version_flags = 0;
	call->has_version = state->version_text.size > 0;
	call->put = (struct obj_put){ 0 };
	if (!state->has_key || state->key.size == 0)
		return S3_USER_KEY_MUST_BE_SPECIFIED;
	if (state->key.size > OBJ_NAME_MAX || memchr(state->key.data, 0, state->key.size) != NULL)
		return S3_KEY_TOO_LONG;
	if (bytes_equal(state->version_text, BYTES("null")))
		call->version_flags = OBJ_NULL_VERSION;
	else if (call->has_version && !s3_id_parse(state->version_text, &call->version))
		return S3_NO_SUCH_VERSION;
	return read_asks(&state->asks, state->etag, state->size, state->time);
}

static void submit_one(struct s3_call *call)
{
	const struct many_state *state = call->state;
	struct obj_cmd cmd = s3_command(call, OBJ_DELETE);

	call->found = (struct s3_found){ 0 };
	cmd.flags |= state->bypass ? OBJ_BYPASS_GOVERNANCE : 0;
	cmd.put = &call->put;
	cmd.visit = s3_visit_found;
	cmd.visitor = call;
	s3_submit(call, &cmd, one_deleted);
}

static void one_looked(struct s3_call *call)
{
	struct many_state *state = call->state;
	enum s3_error error;

	if (call->answered)
		return;
	if (may_delete(call, &state->asks, &error)) {
		submit_one(call);
		return;
	}
	call->found = (struct s3_found){ 0 };
	if (error != S3_NONE)
		write_failure(call, error);
	else
		write_deleted(call);
	s3_alloc_back(call, &state->mark);
	delete_next(call);
}

static void delete_one(struct s3_call *call)
{
	struct many_state *state = call->state;
	enum s3_error error = prepare_one(call);

	if (error == S3_NONE &&
	    !s3_may(call, call->has_version ? "s3:DeleteObjectVersion" : "s3:DeleteObject",
	            S3_WRITE))
		error = S3_ACCESS_DENIED;
	if (error == S3_NONE && state->bypass && !s3_may(call, "s3:BypassGovernanceRetention", 0))
		error = S3_ACCESS_DENIED;
	if (error != S3_NONE) {
		write_failure(call, error);
		call->again = true;
		return;
	}
	if (asks_anything(&state->asks))
		look(call, one_looked);
	else
		submit_one(call);
}

static void end_many(struct s3_call *call)
{
	call->key = (struct bytes){ 0 };
	xml_close(&call->out, "DeleteResult");
	s3_reply(call, 200);
	s3_end_xml(call);
}

/* To the next entry, or to the end: the document was checked before. */
static void delete_next(struct s3_call *call)
{
	struct many_state *state = call->state;

	do {
		enum xml_event event;

		call->again = false;
		while ((event = xml_next(&state->xml)) != XML_END) {
			assert(event != XML_ERROR);
			if (read_one(state, event))
				break;
		}
		if (event == XML_END || call->out.size_max - call->out.size < S3_OUTPUT_MARGIN) {
			end_many(call);
			return;
		}
		delete_one(call);
	} while (call->again);
}

/* Before anything is deleted: the whole document is right. In a copy, which is dropped. */
static enum s3_error check_many(struct s3_call *call, uint8_t *copy)
{
	struct many_state check = { 0 };
	enum xml_event event;

	memcpy(copy, call->body.data, call->body.size);
	xml_init(&check.xml, copy, call->body.size);
	while ((event = xml_next(&check.xml)) == XML_OPEN || event == XML_CLOSE) {
		if (event == XML_OPEN && check.xml.depth == 1 && !xml_name_is(&check.xml, "Delete"))
			return S3_MALFORMED_XML;
		if (event == XML_CLOSE && check.xml.depth == 1 && xml_name_is(&check.xml, "Quiet"))
			((struct many_state *)call->state)->quiet =
			        bytes_equal_ignoring_case(check.xml.text, BYTES("true"));
		if (read_one(&check, event)) {
			if (!check.has_key || ++check.count > S3_LIST_MAX)
				return S3_MALFORMED_XML;
		}
	}
	return event == XML_END && check.count > 0 ? S3_NONE : S3_MALFORMED_XML;
}

static void many_known(struct s3_call *call)
{
	struct many_state *state = s3_alloc(call, sizeof(*state));
	struct buf *copy;
	enum s3_error error;

	if (state == NULL)
		return;
	*state = (struct many_state){ .bypass = asks_bypass(call) && call->info.locks };
	call->state = state;
	if (call->body.size == 0) {
		s3_reply_error(call, S3_MALFORMED_XML);
		return;
	}
	copy = buf_get(call->server->bufs, call->body.size);
	if (copy == NULL) {
		s3_reply_error(call, S3_SLOW_DOWN);
		return;
	}
	error = check_many(call, copy->data);
	buf_unref(copy);
	if (error != S3_NONE) {
		s3_reply_error(call, error);
		return;
	}
	if (!s3_begin_xml(call, BUF_SIZE_MAX))
		return;
	xml_init(&state->xml, (uint8_t *)(uintptr_t)call->body.data, call->body.size);
	xml_open_in(&call->out, "DeleteResult");
	state->mark = s3_alloc_mark(call);
	delete_next(call);
}

void s3_delete_many(struct s3_call *call)
{
	call->undecided = true;
	s3_authorize(call, many_known);
}
