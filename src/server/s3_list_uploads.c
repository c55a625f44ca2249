/* SPDX-License-Identifier: Apache-2.0 */
/* ListMultipartUploads and ListParts. */
#include "base/assert.h"
#include "server/s3_operations.h"
#include "wire/s3_uri.h"

struct uploads_state {
	uint64_t limit, count;
	bool url;
	struct s3_names names;
	struct bytes last;
	uint64_t last_id;
	uint8_t last_memory[OBJ_NAME_MAX];
};

static void write_text(struct s3_call *call, const char *element, struct bytes text)
{
	const struct uploads_state *state = call->state;

	if (!state->url) {
		xml_bytes(&call->out, element, text);
		return;
	}
	xml_open(&call->out, element);
	s3_uri_encode(&call->out, text, true);
	xml_close(&call->out, element);
}

static void write_owner(struct s3_call *call, struct bytes owner)
{
	const struct uploads_state *state = call->state;

	s3_owner_write_xml(owner, &state->names, "Initiator", &call->out);
	s3_owner_write_xml(owner, &state->names, "Owner", &call->out);
}

static void write_checksum_kind(struct s3_call *call, const struct s3_brief *brief)
{
	if (brief->checksum == S3_CHECKSUM_NONE)
		return;
	xml_string(&call->out, "ChecksumAlgorithm", s3_checksum_name(brief->checksum));
	xml_string(&call->out, "ChecksumType", brief->full ? "FULL_OBJECT" : "COMPOSITE");
}

static void visit_upload(void *visitor, const struct obj_entry *entry)
{
	struct s3_call *call = visitor;
	struct uploads_state *state = call->state;
	char id[S3_ID_SIZE];
	struct s3_brief brief;

	assert(call->out.size_max - call->out.size >= S3_OUTPUT_MARGIN);
	memcpy(state->last_memory, entry->name.data, entry->name.size);
	state->last = bytes_of(state->last_memory, entry->name.size);
	state->last_id = 0;
	if (entry->kind == OBJ_PREFIX) {
		xml_open(&call->out, "CommonPrefixes");
		write_text(call, "Prefix", entry->name);
		xml_close(&call->out, "CommonPrefixes");
		return;
	}
	state->last_id = entry->meta.version;
	s3_brief_parse(&brief, entry->meta.brief);
	s3_id_format(entry->meta.version, id);
	xml_open(&call->out, "Upload");
	write_text(call, "Key", entry->name);
	xml_bytes(&call->out, "UploadId", bytes_of(id, sizeof(id)));
	write_owner(call, brief.owner.size > 0 ? brief.owner : call->info.label);
	xml_string(&call->out, "StorageClass", s3_storage_class(brief.storage_class));
	xml_time(&call->out, "Initiated", entry->meta.created_ms);
	write_checksum_kind(call, &brief);
	xml_close(&call->out, "Upload");
}

static void uploads_listed(struct s3_call *call)
{
	struct uploads_state *state = call->state;
	bool truncated = state->limit > 0 && call->req.result != 0;
	char id[S3_ID_SIZE];

	if (call->req.status != STATUS_OK) {
		s3_reply_status(call);
		return;
	}
	xml_bool(&call->out, "IsTruncated", truncated);
	if (truncated) {
		write_text(call, "NextKeyMarker", state->last);
		s3_id_format(state->last_id, id);
		xml_bytes(&call->out, "NextUploadIdMarker", bytes_of(id, sizeof(id)));
	}
	xml_close(&call->out, "ListMultipartUploadsResult");
	s3_reply(call, 200);
	s3_end_xml(call);
}

static void write_uploads_head(struct s3_call *call)
{
	struct uploads_state *state = call->state;
	struct bytes text = { 0 };

	xml_open_in(&call->out, "ListMultipartUploadsResult");
	xml_bytes(&call->out, "Bucket", call->bucket);
	write_text(call, "KeyMarker", call->list.after);
	s3_parameter(call, "upload-id-marker", &text);
	xml_bytes(&call->out, "UploadIdMarker", text);
	write_text(call, "Prefix", call->list.prefix);
	if (call->list.delimiter.size > 0)
		write_text(call, "Delimiter", call->list.delimiter);
	if (state->url)
		xml_string(&call->out, "EncodingType", "url");
	xml_u64(&call->out, "MaxUploads", state->limit);
}

static struct uploads_state *make_state(struct s3_call *call)
{
	struct uploads_state *state = s3_alloc(call, sizeof(*state));
	struct bytes text;

	if (state == NULL)
		return NULL;
	*state = (struct uploads_state){ .names = s3_names(call->server) };
	if (s3_parameter(call, "encoding-type", &text) && text.size > 0) {
		state->url = bytes_equal_ignoring_case(text, BYTES("url"));
		if (!state->url) {
			s3_reply_error_text(call, S3_INVALID_ARGUMENT,
			                    "Invalid Encoding Method specified in Request");
			return NULL;
		}
	}
	call->state = state;
	call->list = (struct obj_list){ 0 };
	return state;
}

enum { UPLOADS_MAX = 128 }; /* of a page: each of at most 8 KiB */

void s3_list_uploads(struct s3_call *call)
{
	struct uploads_state *state = make_state(call);
	struct obj_cmd cmd = s3_command(call, OBJ_LIST_UPLOADS);
	struct bytes text;

	if (state == NULL || !s3_limit_read(call, "max-uploads", &state->limit))
		return;
	s3_parameter(call, "prefix", &call->list.prefix);
	s3_parameter(call, "delimiter", &call->list.delimiter);
	s3_parameter(call, "key-marker", &call->list.after);
	if (s3_parameter(call, "upload-id-marker", &text) && call->list.after.size > 0 &&
	    text.size > 0 && !s3_id_parse(text, &call->list.after_id)) {
		s3_reply_error(call, S3_INVALID_ARGUMENT);
		return;
	}
	if (call->list.prefix.size > OBJ_NAME_MAX || call->list.after.size > OBJ_NAME_MAX ||
	    call->list.delimiter.size > OBJ_DELIMITER_MAX) {
		s3_reply_error(call, S3_INVALID_ARGUMENT);
		return;
	}
	if (!s3_begin_xml(call, BUF_SIZE_MAX))
		return;
	write_uploads_head(call);
	if (state->limit == 0) {
		call->req.status = STATUS_OK;
		uploads_listed(call);
		return;
	}
	call->list.limit = state->limit > UPLOADS_MAX ? UPLOADS_MAX : (uint32_t)state->limit;
	cmd.list = &call->list;
	cmd.visit = visit_upload;
	cmd.visitor = call;
	s3_submit(call, &cmd, uploads_listed);
}

void s3_write_checksum(struct text *out, const struct s3_brief *brief)
{
	if (!brief->has_checksum)
		return;
	xml_open(out, s3_checksum_element(brief->checksum));
	text_base64(out, bytes_of(brief->value, s3_checksum_size(brief->checksum)));
	xml_close(out, s3_checksum_element(brief->checksum));
}

static void visit_part(void *visitor, const struct obj_entry *entry)
{
	struct s3_call *call = visitor;
	struct uploads_state *state = call->state;
	struct s3_brief brief;

	state->last_id = entry->part.number;
	s3_brief_parse(&brief, entry->part.brief);
	xml_open(&call->out, "Part");
	xml_u64(&call->out, "PartNumber", entry->part.number);
	xml_time(&call->out, "LastModified", entry->part.created_ms);
	xml_open(&call->out, "ETag");
	text_string(&call->out, "&quot;");
	xml_escape(&call->out, entry->part.etag);
	text_string(&call->out, "&quot;");
	xml_close(&call->out, "ETag");
	xml_u64(&call->out, "Size", s3_size_of(&brief, entry->part.size));
	s3_write_checksum(&call->out, &brief);
	xml_close(&call->out, "Part");
}

static void parts_listed(struct s3_call *call)
{
	struct uploads_state *state = call->state;
	bool truncated = state->limit > 0 && call->req.result != 0;

	if (call->req.status != STATUS_OK) {
		s3_reply_status(call);
		return;
	}
	xml_bool(&call->out, "IsTruncated", truncated);
	xml_u64(&call->out, "NextPartNumberMarker", state->last_id);
	xml_close(&call->out, "ListPartsResult");
	s3_reply(call, 200);
	s3_end_xml(call);
}

static void upload_known(struct s3_call *call)
{
	struct uploads_state *state = call->state;
	struct obj_cmd cmd = s3_command(call, OBJ_UPLOAD_PARTS);
	const struct s3_brief *brief = &call->found.brief;
	char id[S3_ID_SIZE];

	if (call->answered)
		return;
	if (call->req.status != STATUS_OK) {
		s3_reply_status(call);
		return;
	}
	if (!s3_begin_xml(call, (state->limit + 8) * 512))
		return;
	s3_id_format(call->part_upload, id);
	xml_open_in(&call->out, "ListPartsResult");
	xml_bytes(&call->out, "Bucket", call->bucket);
	write_text(call, "Key", call->key);
	xml_bytes(&call->out, "UploadId", bytes_of(id, sizeof(id)));
	write_owner(call, brief->owner.size > 0 ? brief->owner : call->info.label);
	xml_string(&call->out, "StorageClass", s3_storage_class(brief->storage_class));
	write_checksum_kind(call, brief);
	xml_u64(&call->out, "PartNumberMarker", call->list.after_id);
	xml_u64(&call->out, "MaxParts", state->limit);
	if (state->limit == 0) {
		parts_listed(call);
		return;
	}
	call->list.limit = (uint32_t)state->limit;
	cmd.upload = call->part_upload;
	cmd.list = &call->list;
	cmd.visit = visit_part;
	cmd.visitor = call;
	s3_submit(call, &cmd, parts_listed);
}

void s3_list_parts(struct s3_call *call)
{
	struct uploads_state *state = make_state(call);
	struct obj_cmd cmd = s3_command(call, OBJ_UPLOAD_GET);
	struct bytes text;

	if (state == NULL || !s3_upload_target(call) ||
	    !s3_limit_read(call, "max-parts", &state->limit))
		return;
	if (s3_parameter(call, "part-number-marker", &text) && text.size > 0 &&
	    !bytes_parse_u64(text, INT32_MAX, &call->list.after_id)) {
		s3_reply_error(call, S3_INVALID_ARGUMENT);
		return;
	}
	call->found = (struct s3_found){ 0 };
	cmd.upload = call->part_upload;
	cmd.visit = s3_visit_found;
	cmd.visitor = call;
	s3_submit(call, &cmd, upload_known);
}
