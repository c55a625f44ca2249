/* SPDX-License-Identifier: Apache-2.0 */
/* ListObjects, ListObjectsV2, ListObjectVersions: pages of a bucket, straight from the store. */
#include "base/assert.h"
#include "server/s3_operations.h"
#include "wire/s3_uri.h"

enum list_kind { LIST_V1, LIST_V2, LIST_VERSIONS };

struct list_state {
	enum list_kind kind;
	bool url, owner;      /* encoding-type=url; entries say whose they are */
	bool full, truncated; /* no room for more */
	uint64_t limit, count;
	struct bytes last; /* entry: in last_memory */
	uint64_t last_id;
	struct s3_names names;
	struct bytes token; /* as the client sent it */
	uint8_t after_memory[OBJ_NAME_MAX + 8];
	uint8_t last_memory[OBJ_NAME_MAX];
};

static void write_text(struct s3_call *call, const char *element, struct bytes text)
{
	const struct list_state *state = call->state;

	if (!state->url) {
		xml_bytes(&call->out, element, text);
		return;
	}
	xml_open(&call->out, element);
	s3_uri_encode(&call->out, text, true);
	xml_close(&call->out, element);
}

static void write_etag(struct s3_call *call, struct bytes etag)
{
	xml_open(&call->out, "ETag");
	text_string(&call->out, "&quot;");
	xml_escape(&call->out, etag);
	text_string(&call->out, "&quot;");
	xml_close(&call->out, "ETag");
}

static void write_object(struct s3_call *call, const struct obj_entry *entry)
{
	const struct list_state *state = call->state;
	const struct obj_meta *meta = &entry->meta;
	bool marker = meta->flags & OBJ_IS_MARKER, versions = state->kind == LIST_VERSIONS;
	const char *element = !versions ? "Contents" : marker ? "DeleteMarker" : "Version";
	char memory[S3_ID_SIZE];
	struct s3_brief brief;
	struct bytes owner;

	s3_brief_parse(&brief, meta->brief);
	owner = brief.owner.size > 0 ? brief.owner : call->info.label;
	xml_open(&call->out, element);
	write_text(call, "Key", entry->name);
	if (versions) {
		xml_bytes(&call->out, "VersionId", s3_version_text(meta, memory));
		xml_bool(&call->out, "IsLatest", meta->flags & OBJ_IS_LATEST);
	}
	xml_time(&call->out, "LastModified", meta->created_ms);
	if (!marker) {
		write_etag(call, meta->etag);
		if (brief.has_checksum) {
			xml_string(&call->out, "ChecksumAlgorithm",
			           s3_checksum_name(brief.checksum));
			xml_string(&call->out, "ChecksumType",
			           brief.full ? "FULL_OBJECT" : "COMPOSITE");
		}
		xml_u64(&call->out, "Size", s3_size_of(&brief, meta->size));
		xml_string(&call->out, "StorageClass", s3_storage_class(brief.storage_class));
	}
	if (state->owner)
		s3_owner_write_xml(owner, &state->names, "Owner", &call->out);
	xml_close(&call->out, element);
}

static void visit_entry(void *visitor, const struct obj_entry *entry)
{
	struct s3_call *call = visitor;
	struct list_state *state = call->state;

	if (state->full)
		return;
	if (call->out.size_max - call->out.size < S3_OUTPUT_MARGIN) {
		state->full = true;
		return;
	}
	memcpy(state->last_memory, entry->name.data, entry->name.size);
	state->last = bytes_of(state->last_memory, entry->name.size);
	state->last_id = 0;
	state->count++;
	if (entry->kind == OBJ_PREFIX) {
		xml_open(&call->out, "CommonPrefixes");
		write_text(call, "Prefix", entry->name);
		xml_close(&call->out, "CommonPrefixes");
		return;
	}
	if (state->kind == LIST_VERSIONS)
		state->last_id = entry->meta.version;
	write_object(call, entry);
}

static void write_tail(struct s3_call *call)
{
	struct list_state *state = call->state;
	char memory[S3_ID_SIZE];

	xml_bool(&call->out, "IsTruncated", state->truncated);
	if (state->kind == LIST_V2)
		xml_u64(&call->out, "KeyCount", state->count);
	if (!state->truncated)
		return;
	switch (state->kind) {
	case LIST_V1:
		if (call->list.delimiter.size > 0)
			write_text(call, "NextMarker", state->last);
		return;
	case LIST_V2:
		xml_open(&call->out, "NextContinuationToken");
		text_base64(&call->out, state->last);
		xml_close(&call->out, "NextContinuationToken");
		return;
	case LIST_VERSIONS:
		write_text(call, "NextKeyMarker", state->last);
		if (state->last_id != 0) {
			s3_id_format(state->last_id, memory);
			xml_bytes(&call->out, "NextVersionIdMarker",
			          bytes_of(memory, sizeof(memory)));
		}
		return;
	}
	unreachable();
}

static void listed(struct s3_call *call)
{
	struct list_state *state = call->state;

	if (call->req.status != STATUS_OK) {
		s3_reply_status(call);
		return;
	}
	state->truncated = state->full || (state->limit > 0 && call->req.result != 0);
	write_tail(call);
	xml_close(&call->out,
	          state->kind == LIST_VERSIONS ? "ListVersionsResult" : "ListBucketResult");
	s3_reply(call, 200);
	s3_end_xml(call);
}

/* A number of entries; false: it has answered. */
bool s3_limit_read(struct s3_call *call, const char *name, uint64_t *ret_limit)
{
	struct bytes text;

	*ret_limit = S3_LIST_MAX;
	if (!s3_parameter(call, name, &text) || text.size == 0)
		return true;
	if (!bytes_parse_u64(text, INT32_MAX, ret_limit)) {
		s3_reply_error(call, S3_INVALID_ARGUMENT);
		return false;
	}
	if (*ret_limit > S3_LIST_MAX)
		*ret_limit = S3_LIST_MAX;
	return true;
}

static void write_head(struct s3_call *call)
{
	struct list_state *state = call->state;
	struct bytes text;

	xml_open_in(&call->out,
	            state->kind == LIST_VERSIONS ? "ListVersionsResult" : "ListBucketResult");
	xml_bytes(&call->out, "Name", call->bucket);
	write_text(call, "Prefix", call->list.prefix);
	if (call->list.delimiter.size > 0)
		write_text(call, "Delimiter", call->list.delimiter);
	if (state->url)
		xml_string(&call->out, "EncodingType", "url");
	xml_u64(&call->out, "MaxKeys", state->limit);
	if (state->kind == LIST_V1) {
		s3_parameter(call, "marker", &text);
		write_text(call, "Marker", text);
	} else if (state->kind == LIST_VERSIONS) {
		s3_parameter(call, "key-marker", &text);
		write_text(call, "KeyMarker", text);
		if (s3_parameter(call, "version-id-marker", &text))
			xml_bytes(&call->out, "VersionIdMarker", text);
		else
			xml_string(&call->out, "VersionIdMarker", "");
	} else {
		if (s3_parameter(call, "continuation-token", &text))
			xml_bytes(&call->out, "ContinuationToken", text);
		if (s3_parameter(call, "start-after", &text))
			write_text(call, "StartAfter", text);
	}
}

/* Where a page starts; false: it has answered. */
static bool read_start(struct s3_call *call)
{
	struct list_state *state = call->state;
	struct bytes text;
	size_t size;

	switch (state->kind) {
	case LIST_V1:
		s3_parameter(call, "marker", &call->list.after);
		break;
	case LIST_V2:
		s3_parameter(call, "start-after", &call->list.after);
		if (!s3_parameter(call, "continuation-token", &text) || text.size == 0)
			break;
		if (!base64_parse(text, state->after_memory, sizeof(state->after_memory), &size)) {
			s3_reply_error_text(call, S3_INVALID_ARGUMENT,
			                    "The continuation token provided is incorrect");
			return false;
		}
		call->list.after = bytes_of(state->after_memory, size);
		break;
	case LIST_VERSIONS:
		s3_parameter(call, "key-marker", &call->list.after);
		if (!s3_parameter(call, "version-id-marker", &text) || text.size == 0 ||
		    bytes_equal(text, BYTES("null")))
			break;
		if (call->list.after.size == 0 || !s3_id_parse(text, &call->list.after_id)) {
			s3_reply_error(call, S3_INVALID_ARGUMENT);
			return false;
		}
		break;
	}
	return true;
}

static void start(struct s3_call *call, enum list_kind kind)
{
	struct list_state *state = s3_alloc(call, sizeof(*state));
	struct obj_cmd cmd = s3_command(call, kind == LIST_VERSIONS ? OBJ_LIST_VERSIONS : OBJ_LIST);
	struct bytes text;

	if (state == NULL)
		return;
	*state = (struct list_state){ .kind = kind, .names = s3_names(call->server) };
	call->state = state;
	call->list = (struct obj_list){ 0 };
	state->owner = kind != LIST_V2 || (s3_parameter(call, "fetch-owner", &text) &&
	                                   bytes_equal(text, BYTES("true")));
	if (s3_parameter(call, "encoding-type", &text) && text.size > 0) {
		state->url = bytes_equal_ignoring_case(text, BYTES("url"));
		if (!state->url) {
			s3_reply_error_text(call, S3_INVALID_ARGUMENT,
			                    "Invalid Encoding Method specified in Request");
			return;
		}
	}
	s3_parameter(call, "prefix", &call->list.prefix);
	s3_parameter(call, "delimiter", &call->list.delimiter);
	/* Lists are in order in any case; without it there would be no common prefixes. */
	if (call->list.delimiter.size > 0 && s3_parameter(call, "allow-unordered", &text) &&
	    bytes_equal_ignoring_case(text, BYTES("true"))) {
		s3_reply_error(call, S3_INVALID_ARGUMENT);
		return;
	}
	if (!s3_limit_read(call, "max-keys", &state->limit) || !read_start(call))
		return;
	if (call->list.prefix.size > OBJ_NAME_MAX || call->list.after.size > OBJ_NAME_MAX ||
	    call->list.delimiter.size > OBJ_DELIMITER_MAX) {
		s3_reply_error(call, S3_INVALID_ARGUMENT);
		return;
	}
	if (!s3_begin_xml(call, (state->limit + 4) * 4096))
		return;
	write_head(call);
	if (state->limit == 0) {
		call->req.status = STATUS_OK;
		listed(call);
		return;
	}
	call->list.limit = (uint32_t)state->limit;
	cmd.list = &call->list;
	cmd.visit = visit_entry;
	cmd.visitor = call;
	s3_submit(call, &cmd, listed);
}

void s3_list(struct s3_call *call)
{
	struct bytes text;

	start(call, s3_parameter(call, "list-type", &text) && bytes_equal(text, BYTES("2"))
	                    ? LIST_V2
	                    : LIST_V1);
}

void s3_list_versions(struct s3_call *call)
{
	start(call, LIST_VERSIONS);
}
