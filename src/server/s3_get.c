/* SPDX-License-Identifier: Apache-2.0 */
/* GetObject and HeadObject: versions, ranges, parts, conditions. */
#include "base/assert.h"
#include "server/s3_operations.h"
#include "wire/http_range.h"

/* A marker has no content, but says that it is there. */
static bool reply_marker(struct s3_call *call)
{
	const struct obj_meta *meta = &call->found.meta;
	enum s3_error error = call->has_version ? S3_METHOD_NOT_ALLOWED : S3_NO_SUCH_KEY;

	if (!call->found.there || !(meta->flags & OBJ_IS_MARKER))
		return false;
	s3_reader_release(call);
	call->marker_found = true;
	s3_reply_error(call, error);
	return true;
}

struct get_state {
	struct http_range range;
	bool partial, by_part;
	uint64_t part_number;
	uint32_t part_count;
	bool part_found;
	uint32_t last_part; /* that was passed */
	struct s3_brief part_brief;
};

static void start_body(struct s3_call *call)
{
	struct get_state *state = call->state;
	struct s3_reader *reader = call->reader;
	const struct obj_meta *meta = &call->found.meta;
	char text[HTTP_CONTENT_RANGE_MAX];
	bool head = call->request->method == HTTP_HEAD;
	struct bytes mode;

	s3_reply(call, state->partial ? 206 : 200);
	s3_meta_write(call, &call->found);
	s3_expiration_field(call, meta);
	if (state->partial && state->range.size > 0)
		s3_field(call, "Content-Range",
		         bytes_of(text, http_content_range(&state->range, meta->size, text)));
	if (state->by_part && meta->part_count > 0)
		http_answer_u64(call->exchange, "x-amz-mp-parts-count", meta->part_count);
	if (s3_header(call, "x-amz-checksum-mode", &mode) &&
	    bytes_equal_ignoring_case(mode, BYTES("ENABLED"))) {
		if (state->by_part && state->part_found)
			s3_checksum_fields(call, &state->part_brief);
		else if (!state->partial)
			s3_checksum_fields(call, &call->found.brief);
	}
	call->answered = true;
	reader->at = state->range.offset;
	reader->end = state->range.offset + state->range.size;
	if (head || state->range.size == 0)
		s3_reader_release(call);
	http_answer_stream(call->exchange, state->range.size);
}

/* Before the first piece, a stream has been started whose read may still fail. */
static void piece_got(struct s3_call *call)
{
	struct s3_reader *reader = call->reader;
	struct buf *buf = reader->buf;

	if (call->req.status == STATUS_BUSY) {
		http_pull_later(call->exchange);
		return;
	}
	if (call->req.status != STATUS_OK) {
		s3_reader_release(call);
		http_abort(call->exchange);
		return;
	}
	reader->buf = NULL;
	if (reader->at == reader->end)
		s3_reader_release(call);
	http_answer_give(call->exchange, bytes_of(buf->data, buf->used), buf);
}

void s3_get_pull(struct s3_call *call)
{
	if (call->reader == NULL || call->reader->flying)
		return;
	s3_reader_read(call, S3_PIECE_SIZE, piece_got);
}

static void visit_part(void *visitor, const struct obj_entry *entry)
{
	struct s3_call *call = visitor;
	struct get_state *state = call->state;

	uint64_t size;

	if (state->part_found)
		return;
	s3_brief_parse(&state->part_brief, entry->part.brief);
	size = s3_size_of(&state->part_brief, entry->part.size);
	state->part_found = entry->part.number == state->part_number;
	state->last_part = entry->part.number;
	if (!call->reader->decrypts) {
		state->range.offset = entry->part.offset;
	} else {
		state->range.offset += state->range.size;
	}
	state->range.size = size;
}

static void part_known(struct s3_call *call);

/* That part alone; those before it too where only their sizes say where it begins. */
static void list_part(struct s3_call *call)
{
	struct get_state *state = call->state;
	const struct obj_meta *meta = &call->found.meta;
	struct obj_cmd cmd = s3_command(call, OBJ_PARTS);

	call->list = (struct obj_list){ .limit = 1, .after_id = state->part_number - 1 };
	if (call->reader->decrypts)
		call->list = (struct obj_list){ .limit = 128, .after_id = state->last_part };
	cmd.flags = meta->flags & OBJ_IS_NULL ? OBJ_NULL_VERSION : 0;
	cmd.version = cmd.flags != 0 ? 0 : meta->version;
	cmd.list = &call->list;
	cmd.visit = visit_part;
	cmd.visitor = call;
	s3_submit(call, &cmd, part_known);
}

static void part_known(struct s3_call *call)
{
	struct get_state *state = call->state;

	if (call->req.status != STATUS_OK) {
		s3_reply_status(call);
		return;
	}
	if (!state->part_found && call->reader->decrypts && call->req.result != 0) {
		list_part(call);
		return;
	}
	if (!state->part_found) {
		s3_reply_error_text(call, S3_INVALID_PART,
		                    "The requested partnumber is not satisfiable");
		return;
	}
	state->partial = true;
	start_body(call);
}

/* GET ?partNumber=N: the part's range; an object in one piece has a part 1, which is all. */
static void find_part(struct s3_call *call)
{
	struct get_state *state = call->state;
	const struct obj_meta *meta = &call->found.meta;

	if (meta->part_count == 0) {
		if (state->part_number != 1)
			s3_reply_error(call, S3_INVALID_PART);
		else
			start_body(call);
		return;
	}
	state->range = (struct http_range){ 0 };
	list_part(call);
}

/* True: it has answered. */
static bool choose_range(struct s3_call *call)
{
	struct get_state *state = call->state;
	const struct obj_meta *meta = &call->found.meta;
	struct bytes text;
	unsigned count;
	enum http_range_result result;

	state->range = (struct http_range){ .size = meta->size };
	if (state->by_part || !s3_header(call, "range", &text))
		return false;
	result = http_range_parse(text, meta->size, &state->range, 1, &count);
	if (result == HTTP_RANGE_UNSATISFIABLE) {
		call->range = text;
		s3_reply_error(call, S3_INVALID_RANGE);
		return true;
	}
	if (result == HTTP_RANGE_IGNORED)
		state->range = (struct http_range){ .size = meta->size };
	state->partial = result == HTTP_RANGE_OK;
	return false;
}

static void opened(struct s3_call *call)
{
	struct get_state *state = call->state;
	const struct s3_found *found = &call->found;
	enum s3_error error;

	if (call->answered || reply_marker(call))
		return;
	if (call->req.status != STATUS_OK) {
		s3_reply_status(call);
		return;
	}
	error = s3_check_get_conditions(call, &found->meta, false);
	if (error == S3_NONE)
		error = s3_sse_read_found(call, &call->sse);
	if (error == S3_NONE && !s3_reader_decrypt(call, &call->sse))
		error = S3_INTERNAL_ERROR;
	if (error == S3_NOT_MODIFIED) {
		s3_reader_release(call);
		s3_reply(call, 304);
		s3_field_etag(call, found->meta.etag);
		http_answer_date(call->exchange, "Last-Modified", found->meta.created_ms / 1000);
		s3_end(call);
		return;
	}
	if (error != S3_NONE) {
		s3_reply_error(call, error);
		return;
	}
	if (choose_range(call))
		return;
	if (state->by_part)
		find_part(call);
	else
		start_body(call);
}

static bool refuse_anonymous_overrides(struct s3_call *call)
{
	if (!call->anonymous)
		return false;
	for (uint32_t i = 0; i < call->request->parameter_count; i++) {
		if (bytes_starts_with(call->request->parameters[i].name, BYTES("response-"))) {
			s3_reply_error_text(call, S3_INVALID_REQUEST,
			                    "Request specific response headers cannot be used for "
			                    "anonymous GET requests.");
			return true;
		}
	}
	return false;
}

void s3_get(struct s3_call *call)
{
	struct obj_cmd cmd = s3_command(call, OBJ_OPEN);
	struct get_state *state = s3_alloc(call, sizeof(*state));
	struct bytes text;

	if (state == NULL || refuse_anonymous_overrides(call))
		return;
	*state = (struct get_state){ 0 };
	call->state = state;
	if (s3_parameter(call, "partNumber", &text)) {
		state->by_part = true;
		if (!bytes_parse_u64(text, OBJ_PARTS_MAX, &state->part_number) ||
		    state->part_number == 0) {
			s3_reply_error(call, S3_INVALID_ARGUMENT);
			return;
		}
		if (s3_header(call, "range", &text)) {
			s3_reply_error_text(call, S3_INVALID_REQUEST,
			                    "Cannot specify both Range header and partNumber "
			                    "query parameter");
			return;
		}
	}
	if (!s3_reader_take(call))
		return;
	call->found = (struct s3_found){ 0 };
	s3_reader_open(call, &cmd, opened);
}
