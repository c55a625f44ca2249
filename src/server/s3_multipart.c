/* SPDX-License-Identifier: Apache-2.0 */
/* Multipart uploads: beginning, completing, aborting. */
#include "base/assert.h"
#include "server/s3_operations.h"

static void upload_created(struct s3_call *call)
{
	char id[S3_ID_SIZE];

	if (call->req.status != STATUS_OK) {
		s3_reply_status(call);
		return;
	}
	if (!s3_begin_xml(call, 8192))
		return;
	s3_id_format(call->req.result, id);
	xml_open_in(&call->out, "InitiateMultipartUploadResult");
	xml_bytes(&call->out, "Bucket", call->bucket);
	xml_bytes(&call->out, "Key", call->key);
	xml_bytes(&call->out, "UploadId", bytes_of(id, sizeof(id)));
	xml_close(&call->out, "InitiateMultipartUploadResult");
	s3_reply(call, 200);
	s3_sse_fields(call, &call->sse);
	if (call->brief.checksum != S3_CHECKSUM_NONE) {
		http_answer_text(call->exchange, "x-amz-checksum-algorithm",
		                 s3_checksum_name(call->brief.checksum));
		http_answer_text(call->exchange, "x-amz-checksum-type",
		                 call->brief.full ? "FULL_OBJECT" : "COMPOSITE");
	}
	s3_end_xml(call);
}

/* x-amz-checksum-algorithm and -type; false: it has answered. */
static bool read_checksum(struct s3_call *call)
{
	struct bytes algorithm, type;
	bool has_type = s3_header(call, "x-amz-checksum-type", &type);

	if (!s3_header(call, "x-amz-checksum-algorithm", &algorithm)) {
		if (!has_type)
			return true;
		s3_reply_error(call, S3_INVALID_REQUEST);
		return false;
	}
	call->brief.checksum = s3_checksum_of_name(algorithm);
	if (call->brief.checksum == S3_CHECKSUM_NONE) {
		s3_reply_error(call, S3_INVALID_REQUEST);
		return false;
	}
	call->brief.full = call->brief.checksum == S3_CHECKSUM_CRC64NVME;
	if (!has_type)
		return true;
	if (bytes_equal(type, BYTES("FULL_OBJECT")) && s3_checksum_is_crc(call->brief.checksum))
		call->brief.full = true;
	else if (!bytes_equal(type, BYTES("COMPOSITE")) ||
	         call->brief.checksum == S3_CHECKSUM_CRC64NVME) {
		s3_reply_error(call, S3_INVALID_REQUEST);
		return false;
	} else {
		call->brief.full = false;
	}
	return true;
}

void s3_multipart_create(struct s3_call *call)
{
	struct obj_cmd cmd = s3_command(call, OBJ_UPLOAD_CREATE);

	if (!s3_meta_read(call, true) || !read_checksum(call) || !s3_lock_default(call))
		return;
	s3_put_finish_meta(call, NULL);
	cmd.put = &call->put;
	s3_submit(call, &cmd, upload_created);
}

static void upload_aborted(struct s3_call *call)
{
	if (call->req.status != STATUS_OK) {
		s3_reply_status(call);
		return;
	}
	s3_reply(call, 204);
	s3_end(call);
}

void s3_multipart_abort(struct s3_call *call)
{
	struct obj_cmd cmd = s3_command(call, OBJ_UPLOAD_ABORT);

	if (!s3_upload_target(call))
		return;
	cmd.upload = call->part_upload;
	s3_submit(call, &cmd, upload_aborted);
}

struct asked_part {
	uint8_t value[S3_CHECKSUM_SIZE_MAX];
	bool has_value;
};

/* Memory: the call's. */
struct complete_state {
	struct obj_complete complete;
	struct obj_complete_part *parts;
	struct asked_part *asked;
	uint32_t parts_max;
	uint32_t seen; /* of the parts that were asked for, in order: found in the store */
	uint64_t size;
	struct s3_checksum composite;
	uint8_t full[S3_CHECKSUM_SIZE_MAX];
	enum s3_error error;
	uint64_t page_last;
};

static struct bytes without_quotes(struct bytes etag)
{
	if (etag.size >= 2 && etag.data[0] == '"' && etag.data[etag.size - 1] == '"')
		return bytes_of(etag.data + 1, etag.size - 2);
	return etag;
}

static enum s3_error read_part(struct s3_call *call, const struct xml *xml)
{
	struct complete_state *state = call->state;
	uint32_t at = state->complete.count;
	uint64_t number;

	if (at == state->parts_max)
		return S3_MALFORMED_XML;
	if (xml_name_is(xml, "PartNumber")) {
		if (!bytes_parse_u64(xml->text, INT32_MAX, &number) || number == 0)
			return S3_MALFORMED_XML;
		state->parts[at].number = (uint32_t)number;
	} else if (xml_name_is(xml, "ETag")) {
		state->parts[at].etag = without_quotes(xml->text);
	} else if (xml->name.size > 8 && memcmp(xml->name.data, "Checksum", 8) == 0) {
		enum s3_checksum_kind kind =
		        s3_checksum_of_name(bytes_of(xml->name.data + 8, xml->name.size - 8));

		if (kind == S3_CHECKSUM_NONE || kind != call->found.brief.checksum)
			return S3_NONE;
		if (!s3_checksum_parse(kind, xml->text, state->asked[at].value))
			return S3_INVALID_CHECKSUM;
		state->asked[at].has_value = true;
	} else if (xml_name_is(xml, "Part")) {
		if (state->parts[at].number == 0 || state->parts[at].etag.size == 0)
			return S3_MALFORMED_XML;
		state->complete.count++;
	}
	return S3_NONE;
}

static enum s3_error read_parts(struct s3_call *call)
{
	struct complete_state *state = call->state;
	enum xml_event event;
	struct xml xml;

	xml_init(&xml, (uint8_t *)(uintptr_t)call->body.data, call->body.size);
	while ((event = xml_next(&xml)) == XML_OPEN || event == XML_CLOSE) {
		enum s3_error error;

		if (event == XML_OPEN && xml.depth == 1 &&
		    !xml_name_is(&xml, "CompleteMultipartUpload"))
			return S3_MALFORMED_XML;
		if (event == XML_OPEN || xml.depth == 0)
			continue;
		error = read_part(call, &xml);
		if (error != S3_NONE)
			return error;
	}
	if (event != XML_END || state->complete.count == 0 || state->complete.count > OBJ_PARTS_MAX)
		return S3_MALFORMED_XML;
	for (uint32_t i = 1; i < state->complete.count; i++) {
		if (state->parts[i].number <= state->parts[i - 1].number)
			return S3_INVALID_PART_ORDER;
	}
	return state->parts[state->complete.count - 1].number > OBJ_PARTS_MAX ? S3_INVALID_PART
	                                                                      : S3_NONE;
}

/* MD5 of the parts' MD5s, a dash, how many. */
static void make_etag(struct s3_call *call)
{
	const struct complete_state *state = call->state;
	uint8_t md5[S3_MD5_SIZE];
	struct text text;

	digest_start(&call->server->md5);
	for (uint32_t i = 0; i < state->complete.count; i++) {
		struct bytes etag = state->parts[i].etag;

		if (etag.size == 2 * S3_MD5_SIZE && hex_parse(etag, md5))
			digest_add(&call->server->md5, bytes_of(md5, sizeof(md5)));
		else
			digest_add(&call->server->md5, etag); /* no part has it: InvalidPart */
	}
	digest_finish(&call->server->md5, md5);
	text_init(&text, call->etag, sizeof(call->etag));
	text_hex(&text, bytes_of(md5, sizeof(md5)));
	text_put(&text, '-');
	text_u64(&text, state->complete.count);
	assert(!text.overflowed);
	call->put.etag = text_bytes(&text);
}

static void reply_complete(struct s3_call *call)
{
	if (!s3_begin_xml(call, 16384))
		return;
	xml_open_in(&call->out, "CompleteMultipartUploadResult");
	xml_open(&call->out, "Location");
	text_string(&call->out, call->request->secure ? "https://" : "http://");
	xml_escape(&call->out, call->request->host);
	xml_escape(&call->out, call->request->raw_path);
	xml_close(&call->out, "Location");
	xml_bytes(&call->out, "Bucket", call->bucket);
	xml_bytes(&call->out, "Key", call->key);
	xml_open(&call->out, "ETag");
	text_string(&call->out, "&quot;");
	xml_escape(&call->out, call->put.etag);
	text_string(&call->out, "&quot;");
	xml_close(&call->out, "ETag");
	if (call->brief.has_checksum) {
		const char *element = s3_checksum_element(call->brief.checksum);

		xml_open(&call->out, element);
		text_base64(&call->out,
		            bytes_of(call->brief.value, s3_checksum_size(call->brief.checksum)));
		if (!call->brief.full) {
			text_put(&call->out, '-');
			text_u64(&call->out, call->found.meta.part_count);
		}
		xml_close(&call->out, element);
		xml_string(&call->out, "ChecksumType",
		           call->brief.full ? "FULL_OBJECT" : "COMPOSITE");
	}
	xml_close(&call->out, "CompleteMultipartUploadResult");
	s3_reply(call, 200);
	s3_field_version(call, "x-amz-version-id", &call->found.meta);
	if (call->brief.sse == S3_SSE_S3)
		call->sse.kind = S3_SSE_S3;
	s3_sse_fields(call, &call->sse);
	s3_expiration_field(call, &call->found.meta);
	s3_end_xml(call);
}

/* The upload is not there: was it completed before, by the same request sent twice? */
static void made_before(struct s3_call *call)
{
	if (call->answered)
		return;
	if (call->req.status != STATUS_OK || call->found.meta.upload != call->part_upload) {
		s3_reply_error(call, S3_NO_SUCH_UPLOAD);
		return;
	}
	call->put.etag = call->found.meta.etag;
	call->brief = call->found.brief;
	reply_complete(call);
}

static void look_for_object(struct s3_call *call)
{
	struct obj_cmd cmd = s3_command(call, OBJ_HEAD);

	cmd.visit = s3_visit_found;
	cmd.visitor = call;
	call->found = (struct s3_found){ 0 };
	s3_submit(call, &cmd, made_before);
}

static void completed(struct s3_call *call)
{
	static const enum s3_error errors[] = {
		[OBJ_PART_ORDER] = S3_INVALID_PART_ORDER,
		[OBJ_PART_UNKNOWN] = S3_INVALID_PART,
		[OBJ_PART_SMALL] = S3_ENTITY_TOO_SMALL,
		[OBJ_STATE] = S3_INVALID_REQUEST,
	};

	if (call->answered)
		return;
	if (call->req.status == STATUS_INVALID && call->req.result >= OBJ_PART_ORDER &&
	    call->req.result <= OBJ_STATE)
		s3_reply_error(call, errors[call->req.result]);
	else if (call->req.status != STATUS_OK)
		s3_reply_write_status(call);
	else
		reply_complete(call);
}

static void complete(struct s3_call *call)
{
	struct complete_state *state = call->state;
	struct obj_cmd cmd = s3_command(call, OBJ_UPLOAD_COMPLETE);

	make_etag(call);
	call->brief.plain_size = state->size;
	call->put.brief =
	        bytes_of(call->brief_memory, s3_brief_format(&call->brief, call->brief_memory));
	state->complete.size_min = call->brief.sse != S3_SSE_NONE ? s3_sealed_size(S3_PART_SIZE_MIN)
	                                                          : S3_PART_SIZE_MIN;
	state->complete.parts = state->parts;
	cmd.upload = call->part_upload;
	cmd.complete = &state->complete;
	cmd.put = &call->put;
	cmd.visit = s3_visit_found;
	cmd.visitor = call;
	s3_submit(call, &cmd, completed);
}

/* The checksum of the whole, from those of the parts as the store has them. */
static void visit_part(void *visitor, const struct obj_entry *entry)
{
	struct s3_call *call = visitor;
	struct complete_state *state = call->state;
	const struct obj_part *part = &entry->part;
	enum s3_checksum_kind kind = call->brief.checksum;
	struct s3_brief brief;
	uint64_t size_of_part;

	state->page_last = part->number;
	while (state->seen < state->complete.count &&
	       state->parts[state->seen].number < part->number) {
		state->error = S3_INVALID_PART; /* asked for, and not there */
		state->seen++;
	}
	if (state->seen == state->complete.count ||
	    state->parts[state->seen].number != part->number)
		return;
	s3_brief_parse(&brief, part->brief);
	size_of_part = s3_size_of(&brief, part->size);
	if (kind != S3_CHECKSUM_NONE) {
		const struct asked_part *asked = &state->asked[state->seen];
		size_t size = s3_checksum_size(kind);

		if (!brief.has_checksum || brief.checksum != kind ||
		    (asked->has_value && memcmp(asked->value, brief.value, size) != 0))
			state->error = S3_INVALID_PART;
		else if (!call->brief.full)
			s3_checksum_add(&state->composite, bytes_of(brief.value, size));
		else if (state->seen == 0)
			memcpy(state->full, brief.value, size);
		else
			s3_checksum_combine(kind, state->full, brief.value, size_of_part);
	}
	state->size += size_of_part;
	state->seen++;
}

/* What the request says of the whole object. */
static enum s3_error check_whole(struct s3_call *call)
{
	struct complete_state *state = call->state;
	enum s3_checksum_kind kind = call->brief.checksum;
	uint8_t expected[S3_CHECKSUM_SIZE_MAX];
	struct bytes text;
	uint64_t size;

	if (s3_header(call, "x-amz-mp-object-size", &text) &&
	    (!bytes_parse_u64(text, UINT64_MAX, &size) || size != state->size))
		return S3_INVALID_REQUEST;
	if (kind == S3_CHECKSUM_NONE || !s3_header(call, s3_checksum_header(kind), &text))
		return S3_NONE;
	if (!call->brief.full) {
		struct bytes rest = text;

		text = bytes_cut(&rest, '-'); /* how many parts there are */
	}
	if (!s3_checksum_parse(kind, text, expected))
		return S3_INVALID_CHECKSUM;
	return memcmp(expected, call->brief.value, s3_checksum_size(kind)) == 0 ? S3_NONE
	                                                                        : S3_BAD_CHECKSUM;
}

static void parts_known(struct s3_call *call);

static void list_parts(struct s3_call *call)
{
	struct complete_state *state = call->state;
	struct obj_cmd cmd = s3_command(call, OBJ_UPLOAD_PARTS);

	call->list = (struct obj_list){ .limit = S3_LIST_MAX, .after_id = state->page_last };
	cmd.upload = call->part_upload;
	cmd.list = &call->list;
	cmd.visit = visit_part;
	cmd.visitor = call;
	s3_submit(call, &cmd, parts_known);
}

static void parts_known(struct s3_call *call)
{
	struct complete_state *state = call->state;
	enum s3_error error;

	if (call->req.status != STATUS_OK) {
		s3_reply_status(call);
		return;
	}
	if (call->req.result != 0 && state->seen < state->complete.count) {
		list_parts(call);
		return;
	}
	error = state->error;
	if (error == S3_NONE && state->seen < state->complete.count)
		error = S3_INVALID_PART;
	if (error == S3_NONE && call->brief.checksum != S3_CHECKSUM_NONE) {
		call->brief.has_checksum = true;
		if (call->brief.full)
			memcpy(call->brief.value, state->full, sizeof(state->full));
		else
			s3_checksum_finish(&state->composite, call->brief.value);
	}
	if (error == S3_NONE)
		error = check_whole(call);
	s3_upload_release(call); /* the digest */
	if (error != S3_NONE)
		s3_reply_error(call, error);
	else
		complete(call);
}

static void upload_known(struct s3_call *call)
{
	struct complete_state *state = call->state;
	enum s3_error error;
	struct bytes text;

	if (call->answered)
		return;
	if (call->req.status == STATUS_NOT_FOUND && call->req.result == OBJ_NO_UPLOAD) {
		look_for_object(call);
		return;
	}
	if (call->req.status != STATUS_OK) {
		s3_reply_status(call);
		return;
	}
	error = read_parts(call);
	if (error != S3_NONE) {
		s3_reply_error(call, error);
		return;
	}
	call->brief = call->found.brief;
	if (call->brief.checksum == S3_CHECKSUM_NONE && call->brief.sse == S3_SSE_NONE &&
	    !s3_header(call, "x-amz-mp-object-size", &text)) {
		complete(call);
		return;
	}
	if (!s3_upload_take(call))
		return;
	s3_checksum_start(&state->composite, call->brief.checksum,
	                  call->brief.checksum == S3_CHECKSUM_SHA1
	                          ? &call->upload->digests.checksum_sha1
	                          : &call->upload->digests.checksum_sha256);
	list_parts(call);
}

void s3_multipart_complete(struct s3_call *call)
{
	struct complete_state *state = s3_alloc(call, sizeof(*state));
	struct obj_cmd cmd = s3_command(call, OBJ_UPLOAD_GET);
	size_t most = call->body.size / 40 + 1;

	if (state == NULL || !s3_upload_target(call) || !s3_put_conditions(call))
		return;
	if (call->body.size == 0) {
		s3_reply_error(call, S3_MALFORMED_XML);
		return;
	}
	*state = (struct complete_state){ 0 };
	state->parts_max = most > OBJ_PARTS_MAX + 1 ? OBJ_PARTS_MAX + 1 : (uint32_t)most;
	state->parts = s3_alloc(call, state->parts_max * sizeof(*state->parts));
	if (state->parts == NULL)
		return;
	state->asked = s3_alloc(call, state->parts_max * sizeof(*state->asked));
	if (state->asked == NULL)
		return;
	memset(state->parts, 0, state->parts_max * sizeof(*state->parts));
	memset(state->asked, 0, state->parts_max * sizeof(*state->asked));
	call->state = state;
	call->found = (struct s3_found){ 0 };
	cmd.upload = call->part_upload;
	cmd.visit = s3_visit_found;
	cmd.visitor = call;
	s3_submit(call, &cmd, upload_known);
}
