/* SPDX-License-Identifier: Apache-2.0 */
/* GetObjectAttributes. */
#include "base/assert.h"
#include "server/s3_operations.h"

enum { ETAG = 1, CHECKSUM = 2, PARTS = 4, CLASS = 8, SIZE = 16 };

struct attributes_state {
	unsigned wanted;
	uint64_t limit, last;
};

static bool read_wanted(struct s3_call *call, unsigned *ret_wanted)
{
	static const struct {
		const char *name;
		unsigned flag;
	} known[] = { { "ETag", ETAG },
		      { "Checksum", CHECKSUM },
		      { "ObjectParts", PARTS },
		      { "StorageClass", CLASS },
		      { "ObjectSize", SIZE } };
	struct bytes list, word;

	*ret_wanted = 0;
	for (uint32_t i = 0; i < call->field_count; i++) {
		if (!bytes_equal(call->fields[i].name, BYTES("x-amz-object-attributes")))
			continue;
		list = call->fields[i].value;
		while (list.size > 0) {
			unsigned flag = 0;

			word = bytes_trim(bytes_cut(&list, ','));
			for (size_t k = 0; k < 5; k++) {
				if (bytes_equal(word,
				                bytes_of(known[k].name, strlen(known[k].name))))
					flag = known[k].flag;
			}
			if (flag == 0)
				return false;
			*ret_wanted |= flag;
		}
	}
	return *ret_wanted != 0;
}

static void visit_part(void *visitor, const struct obj_entry *entry)
{
	struct s3_call *call = visitor;
	struct attributes_state *state = call->state;
	struct s3_brief brief;

	state->last = entry->part.number;
	s3_brief_parse(&brief, entry->part.brief);
	xml_open(&call->out, "Part");
	xml_u64(&call->out, "PartNumber", entry->part.number);
	xml_u64(&call->out, "Size", s3_size_of(&brief, entry->part.size));
	s3_write_checksum(&call->out, &brief);
	xml_close(&call->out, "Part");
}

static void end(struct s3_call *call)
{
	const struct attributes_state *state = call->state;

	if (state->wanted & CLASS)
		xml_string(&call->out, "StorageClass",
		           s3_storage_class(call->found.brief.storage_class));
	if (state->wanted & SIZE)
		xml_u64(&call->out, "ObjectSize", call->found.meta.size);
	xml_close(&call->out, "GetObjectAttributesResponse");
	s3_reply(call, 200);
	s3_field_version(call, "x-amz-version-id", &call->found.meta);
	http_answer_date(call->exchange, "Last-Modified", call->found.meta.created_ms / 1000);
	s3_end_xml(call);
}

static void parts_known(struct s3_call *call)
{
	const struct attributes_state *state = call->state;

	if (call->req.status != STATUS_OK) {
		s3_reply_status(call);
		return;
	}
	xml_u64(&call->out, "NextPartNumberMarker", state->last);
	xml_u64(&call->out, "MaxParts", state->limit);
	xml_bool(&call->out, "IsTruncated", call->req.result != 0);
	xml_close(&call->out, "ObjectParts");
	end(call);
}

static void list_parts(struct s3_call *call)
{
	struct attributes_state *state = call->state;
	const struct obj_meta *meta = &call->found.meta;
	struct obj_cmd cmd = s3_command(call, OBJ_PARTS);
	struct bytes text;

	call->list = (struct obj_list){ .limit = S3_LIST_MAX };
	state->limit = S3_LIST_MAX;
	if (s3_header(call, "x-amz-part-number-marker", &text))
		bytes_parse_u64(text, OBJ_PARTS_MAX, &call->list.after_id);
	if (s3_header(call, "x-amz-max-parts", &text) &&
	    bytes_parse_u64(text, INT32_MAX, &state->limit) && state->limit > 0 &&
	    state->limit < S3_LIST_MAX)
		call->list.limit = (uint32_t)state->limit;
	xml_open(&call->out, "ObjectParts");
	xml_u64(&call->out, "PartsCount", meta->part_count);
	xml_u64(&call->out, "PartNumberMarker", call->list.after_id);
	cmd.flags = meta->flags & OBJ_IS_NULL ? OBJ_NULL_VERSION : 0;
	cmd.version = cmd.flags != 0 ? 0 : meta->version;
	cmd.list = &call->list;
	cmd.visit = visit_part;
	cmd.visitor = call;
	s3_submit(call, &cmd, parts_known);
}

static void headed(struct s3_call *call)
{
	struct attributes_state *state = call->state;
	const struct s3_found *found = &call->found;
	enum s3_error error;

	if (call->answered)
		return;
	if (call->req.status != STATUS_OK) {
		call->marker_found = found->there;
		s3_reply_error(call, found->there && call->has_version
		                             ? S3_METHOD_NOT_ALLOWED
		                             : s3_error_of(call->req.status, call->req.result));
		return;
	}
	error = s3_sse_read_found(call, &call->sse);
	if (error != S3_NONE) {
		s3_reply_error(call, error);
		return;
	}
	if (!s3_begin_xml(call, 512 << 10))
		return;
	xml_open_in(&call->out, "GetObjectAttributesResponse");
	if (state->wanted & ETAG)
		xml_bytes(&call->out, "ETag", found->meta.etag);
	if (state->wanted & CHECKSUM && found->brief.has_checksum) {
		xml_open(&call->out, "Checksum");
		s3_write_checksum(&call->out, &found->brief);
		xml_string(&call->out, "ChecksumType",
		           found->brief.full ? "FULL_OBJECT" : "COMPOSITE");
		xml_close(&call->out, "Checksum");
	}
	if (state->wanted & PARTS && found->meta.part_count > 0)
		list_parts(call);
	else
		end(call);
}

void s3_attributes_get(struct s3_call *call)
{
	struct attributes_state *state = s3_alloc(call, sizeof(*state));
	struct obj_cmd cmd = s3_command(call, OBJ_HEAD);

	if (state == NULL)
		return;
	*state = (struct attributes_state){ 0 };
	call->state = state;
	if (!read_wanted(call, &state->wanted)) {
		s3_reply_error(call, S3_INVALID_ARGUMENT);
		return;
	}
	call->found = (struct s3_found){ 0 };
	cmd.visit = s3_visit_found;
	cmd.visitor = call;
	s3_submit(call, &cmd, headed);
}
