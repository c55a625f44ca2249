/* SPDX-License-Identifier: Apache-2.0 */
/* What headers say of an object, as attributes that are stored, and back. */
#include <stdio.h>

#include "base/assert.h"
#include "base/macros.h"
#include "server/s3_internal.h"
#include "wire/http_range.h"
#include "wire/s3_tags.h"
#include "wire/s3_time.h"

static const char *const storage_classes[] = { "STANDARD",   "REDUCED_REDUNDANCY",  "STANDARD_IA",
	                                       "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR" };

const char *s3_storage_class(uint8_t index)
{
	return storage_classes[index < array_count(storage_classes) ? index : 0];
}

bool s3_storage_class_of(struct bytes name, uint8_t *ret_index)
{
	for (uint8_t i = 0; i < array_count(storage_classes); i++) {
		if (bytes_equal(name, bytes_of(storage_classes[i], strlen(storage_classes[i])))) {
			*ret_index = i;
			return true;
		}
	}
	return false;
}

enum { BRIEF_VERSION = 1, BRIEF_HEADER = 6 };

size_t s3_brief_format(const struct s3_brief *brief, uint8_t out[OBJ_BRIEF_MAX])
{
	size_t value_size = brief->has_checksum ? s3_checksum_size(brief->checksum) : 0;
	bool salted = brief->sse != S3_SSE_NONE && brief->owner.size == 0;
	size_t size = BRIEF_HEADER;

	out[0] = BRIEF_VERSION;
	out[1] = (uint8_t)brief->checksum;
	out[2] = (uint8_t)(brief->full | (unsigned)brief->has_checksum << 1);
	out[3] = brief->storage_class;
	out[4] = (uint8_t)brief->sse;
	memcpy(out + size, brief->value, value_size);
	size += value_size;
	for (unsigned i = 0; i < 8 && brief->sse != S3_SSE_NONE; i++)
		out[size++] = (uint8_t)(brief->plain_size >> (8 * i));
	if (salted) {
		out[5] = 0;
		memcpy(out + size, brief->salt, S3_KEY_SALT);
		return size + S3_KEY_SALT;
	}
	/* An owner that does not fit beside a checksum is in the attributes all the same. */
	out[5] = size + brief->owner.size <= OBJ_BRIEF_MAX ? (uint8_t)brief->owner.size : 0;
	if (out[5] > 0)
		memcpy(out + size, brief->owner.data, out[5]);
	return size + out[5];
}

void s3_brief_parse(struct s3_brief *brief, struct bytes kept)
{
	size_t size = BRIEF_HEADER, value_size, plain_size;

	*brief = (struct s3_brief){ 0 };
	if (kept.size < BRIEF_HEADER || kept.data[0] != BRIEF_VERSION ||
	    kept.data[1] >= S3_CHECKSUM_KIND_COUNT)
		return;
	brief->checksum = (enum s3_checksum_kind)kept.data[1];
	brief->full = kept.data[2] & 1;
	brief->has_checksum = kept.data[2] >> 1 & 1;
	brief->storage_class = kept.data[3];
	brief->sse = (enum s3_sse_kind)kept.data[4];
	value_size = brief->has_checksum ? s3_checksum_size(brief->checksum) : 0;
	plain_size = brief->sse != S3_SSE_NONE ? 8 : 0;
	if (kept.size < size + value_size + plain_size + kept.data[5])
		return;
	memcpy(brief->value, kept.data + size, value_size);
	size += value_size;
	for (unsigned i = 0; i < plain_size; i++)
		brief->plain_size |= (uint64_t)kept.data[size + i] << (8 * i);
	size += plain_size;
	if (kept.data[5] > 0)
		brief->owner = bytes_of(kept.data + size, kept.data[5]);
	else if (brief->sse != S3_SSE_NONE && kept.size >= size + S3_KEY_SALT)
		memcpy(brief->salt, kept.data + size, S3_KEY_SALT);
}

uint64_t s3_size_of(const struct s3_brief *brief, uint64_t kept)
{
	return brief->sse != S3_SSE_NONE && brief->plain_size < kept ? brief->plain_size : kept;
}

bool s3_attributes_init(struct s3_call *call)
{
	uint8_t *data = s3_alloc(call, OBJ_ATTRIBUTES_MAX);

	if (data == NULL)
		return false;
	call->attributes = (struct obj_attributes){ .data = data, .size_max = OBJ_ATTRIBUTES_MAX };
	return true;
}

bool s3_attribute_set(struct s3_call *call, unsigned number, struct bytes value)
{
	if (obj_attribute_add(&call->attributes, number, value))
		return true;
	s3_reply_error(call, S3_METADATA_TOO_LARGE);
	return false;
}

static const struct {
	const char *lower, *name;
	enum s3_attribute number;
} plain_headers[] = {
	{ "content-type", "Content-Type", S3_ATTRIBUTE_CONTENT_TYPE },
	{ "content-encoding", "Content-Encoding", S3_ATTRIBUTE_CONTENT_ENCODING },
	{ "cache-control", "Cache-Control", S3_ATTRIBUTE_CACHE_CONTROL },
	{ "content-disposition", "Content-Disposition", S3_ATTRIBUTE_CONTENT_DISPOSITION },
	{ "content-language", "Content-Language", S3_ATTRIBUTE_CONTENT_LANGUAGE },
	{ "expires", "Expires", S3_ATTRIBUTE_EXPIRES },
	{ "x-amz-website-redirect-location", "x-amz-website-redirect-location",
	  S3_ATTRIBUTE_REDIRECT },
};

/* "aws-chunked" is how the body came, not what the object is. */
static void strip_chunked(struct bytes *value, struct text *text)
{
	struct bytes rest = *value;

	if (memmem(value->data, value->size, "aws-chunked", 11) == NULL)
		return;
	while (rest.size > 0) {
		struct bytes word = bytes_trim(bytes_cut(&rest, ','));

		if (bytes_equal_ignoring_case(word, BYTES("aws-chunked")) || word.size == 0)
			continue;
		if (text->size > 0)
			text_put(text, ',');
		text_add(text, word);
	}
	*value = text_bytes(text);
}

static bool read_plain(struct s3_call *call)
{
	char memory[512];
	struct text text;
	struct bytes value;

	text_init(&text, memory, sizeof(memory));
	for (size_t i = 0; i < array_count(plain_headers); i++) {
		if (!s3_header(call, plain_headers[i].lower, &value))
			continue;
		if (plain_headers[i].number == S3_ATTRIBUTE_CONTENT_ENCODING)
			strip_chunked(&value, &text);
		if (value.size > 0 && !s3_attribute_set(call, plain_headers[i].number, value))
			return false;
	}
	return true;
}

static void put_sized(struct text *text, struct bytes bytes)
{
	text_put(text, (char)(bytes.size & 255));
	text_put(text, (char)(bytes.size >> 8));
	text_add(text, bytes);
}

static bool read_metadata(struct s3_call *call)
{
	struct bytes prefix = BYTES("x-amz-meta-");
	char memory[2 * S3_METADATA_MAX];
	struct text text;
	size_t size = 0;

	text_init(&text, memory, sizeof(memory));
	for (uint32_t i = 0; i < call->field_count; i++) {
		const struct http_field *field = &call->fields[i];
		struct bytes name;

		if (!bytes_starts_with(field->name, prefix))
			continue;
		name = bytes_of(field->name.data + prefix.size, field->name.size - prefix.size);
		size += name.size + field->value.size;
		put_sized(&text, name);
		put_sized(&text, field->value);
	}
	if (size > S3_METADATA_MAX || text.overflowed) {
		s3_reply_error(call, S3_METADATA_TOO_LARGE);
		return false;
	}
	return text.size == 0 || s3_attribute_set(call, S3_ATTRIBUTE_METADATA, text_bytes(&text));
}

static bool read_tags(struct s3_call *call)
{
	struct bytes value;
	struct text text;
	uint32_t count;
	enum s3_error error;

	if (!s3_header(call, "x-amz-tagging", &value) || value.size == 0)
		return true;
	text_init(&text, call->server->scratch, S3_TAGS_TEXT_MAX);
	error = s3_tags_parse_query(value, &text, &count);
	if (error != S3_NONE) {
		s3_reply_error(call, error);
		return false;
	}
	return s3_attribute_set(call, S3_ATTRIBUTE_TAGS, text_bytes(&text));
}

/* Grants by address become grants by user. */
bool s3_acl_resolve(struct s3_call *call, struct s3_acl *acl)
{
	for (uint32_t i = 0; i < acl->count; i++) {
		struct s3_grant *grant = &acl->grants[i];
		const struct s3_user *user;

		if (grant->grantee == S3_GRANTEE_USER) {
			if (s3_user_of_id(call->server, grant->id) != NULL)
				continue;
			s3_reply_error_text(call, S3_INVALID_ARGUMENT, "Invalid id");
			return false;
		}
		if (grant->grantee != S3_GRANTEE_EMAIL)
			continue;
		user = s3_user_of_email(call->server, grant->id);
		if (user == NULL) {
			s3_reply_error(call, S3_UNRESOLVABLE_GRANT);
			return false;
		}
		grant->grantee = S3_GRANTEE_USER;
		if (!s3_keep(call, bytes_of(user->id, user->id_size), &grant->id))
			return false;
	}
	return true;
}

bool s3_acl_read(struct s3_call *call, struct s3_acl *acl, bool *ret_said)
{
	static const struct {
		const char *name;
		uint8_t permission;
	} grants[] = { { "x-amz-grant-read", S3_READ },
		       { "x-amz-grant-write", S3_WRITE },
		       { "x-amz-grant-read-acp", S3_READ_ACP },
		       { "x-amz-grant-write-acp", S3_WRITE_ACP },
		       { "x-amz-grant-full-control", S3_FULL_CONTROL } };
	struct bytes owner = call->anonymous ? call->info.label : call->user, value;
	bool canned = s3_header(call, "x-amz-acl", &value), granted = false;

	if (canned && !s3_acl_canned(acl, value, owner,
	                             call->info.label.size > 0 ? call->info.label : owner)) {
		s3_reply_error(call, S3_INVALID_ARGUMENT);
		return false;
	}
	if (!canned)
		*acl = (struct s3_acl){ 0 };
	for (size_t i = 0; i < array_count(grants); i++) {
		enum s3_error error;

		if (!s3_header(call, grants[i].name, &value))
			continue;
		granted = true;
		error = canned ? S3_INVALID_REQUEST
		               : s3_acl_add_header(acl, grants[i].permission, value);
		if (error != S3_NONE) {
			s3_reply_error(call, error);
			return false;
		}
	}
	*ret_said = canned || granted;
	return !granted || s3_acl_resolve(call, acl);
}

bool s3_block_says(const struct s3_call *call, const char *what)
{
	return call->public_block.size > 0 &&
	       memmem(call->public_block.data, call->public_block.size, what, strlen(what)) != NULL;
}

static bool read_acl(struct s3_call *call)
{
	struct bytes owner = call->anonymous ? call->info.label : call->user, canned;
	char memory[S3_ACL_SIZE_MAX + 1];
	struct s3_acl acl;
	struct text text;
	bool said, given;

	if (!s3_acl_read(call, &acl, &said))
		return false;
	given = s3_header(call, "x-amz-acl", &canned) &&
	        bytes_equal(canned, BYTES("bucket-owner-full-control"));
	if (call->enforced && said && !given) {
		s3_reply_error(call, S3_ACCESS_CONTROL_LIST_NOT_SUPPORTED);
		return false;
	}
	if (call->enforced || (call->preferred && given)) {
		owner = call->info.label;
		said = false;
	}
	call->brief.owner = owner;
	if (!s3_attribute_set(call, S3_ATTRIBUTE_OWNER, owner))
		return false;
	if (!said)
		return true;
	if (s3_acl_is_public(&acl) && s3_block_says(call, "<BlockPublicAcls>true")) {
		s3_reply_error(call, S3_ACCESS_DENIED);
		return false;
	}
	text_init(&text, memory, sizeof(memory));
	s3_acl_encode(&acl, owner, &text);
	return text.size == 0 || s3_attribute_set(call, S3_ATTRIBUTE_ACL, text_bytes(&text));
}

static bool read_class(struct s3_call *call)
{
	struct bytes value;

	if (!s3_header(call, "x-amz-storage-class", &value))
		return true;
	if (s3_storage_class_of(value, &call->brief.storage_class))
		return true;
	s3_reply_error(call, S3_INVALID_STORAGE_CLASS);
	return false;
}

static bool read_sse(struct s3_call *call)
{
	uint8_t kept[S3_SSE_KEPT_MAX];
	enum s3_error error = s3_sse_wanted(call, &call->sse);

	if (error != S3_NONE) {
		s3_reply_error(call, error);
		return false;
	}
	if (call->sse.kind == S3_SSE_NONE)
		return true;
	call->brief.sse = call->sse.kind;
	return s3_attribute_set(call, S3_ATTRIBUTE_SSE,
	                        bytes_of(kept, s3_sse_make(call->server, &call->sse, kept)));
}

bool s3_meta_read(struct s3_call *call, bool tags)
{
	return s3_attributes_init(call) && read_plain(call) && read_metadata(call) &&
	       (!tags || read_tags(call)) && read_class(call) && read_acl(call) && read_sse(call) &&
	       s3_lock_read(call);
}

bool s3_lock_read(struct s3_call *call)
{
	struct bytes mode, until, hold;
	bool has_mode = s3_header(call, "x-amz-object-lock-mode", &mode);
	bool has_until = s3_header(call, "x-amz-object-lock-retain-until-date", &until);
	bool has_hold = s3_header(call, "x-amz-object-lock-legal-hold", &hold);
	uint64_t until_s;

	if (!has_mode && !has_until && !has_hold)
		return true;
	if (!call->info.locks) {
		s3_reply_error_text(call, S3_INVALID_REQUEST,
		                    "Bucket is missing Object Lock Configuration");
		return false;
	}
	if (has_mode != has_until) {
		s3_reply_error(call, S3_INVALID_ARGUMENT);
		return false;
	}
	if (has_hold && bytes_equal(hold, BYTES("ON"))) {
		call->put.flags |= OBJ_HOLD;
	} else if (has_hold && !bytes_equal(hold, BYTES("OFF"))) {
		s3_reply_error(call, S3_INVALID_ARGUMENT);
		return false;
	}
	if (!has_mode)
		return true;
	if (bytes_equal(mode, BYTES("GOVERNANCE")))
		call->put.flags |= OBJ_GOVERNANCE;
	else if (bytes_equal(mode, BYTES("COMPLIANCE")))
		call->put.flags |= OBJ_COMPLIANCE;
	if (!(call->put.flags & (OBJ_GOVERNANCE | OBJ_COMPLIANCE)) ||
	    !s3_time_parse_iso(until, &until_s) || until_s * 1000 <= s3_now_ms(call)) {
		call->put.flags = 0;
		s3_reply_error(call, S3_INVALID_ARGUMENT);
		return false;
	}
	call->put.retain_until_ms = until_s * 1000;
	return true;
}

void s3_checksum_fields(struct s3_call *call, const struct s3_brief *brief)
{
	char memory[S3_CHECKSUM_TEXT_MAX + 8];
	struct text text;

	if (!brief->has_checksum)
		return;
	text_init(&text, memory, sizeof(memory));
	text_base64(&text, bytes_of(brief->value, s3_checksum_size(brief->checksum)));
	if (!brief->full && call->found.meta.part_count > 0) {
		text_put(&text, '-');
		text_u64(&text, call->found.meta.part_count);
	}
	s3_field(call, s3_checksum_header(brief->checksum), text_bytes(&text));
	http_answer_text(call->exchange, "x-amz-checksum-type",
	                 brief->full ? "FULL_OBJECT" : "COMPOSITE");
}

static bool take_sized(struct bytes *rest, struct bytes *ret_value)
{
	size_t size;

	if (rest->size < 2)
		return false;
	size = (size_t)rest->data[0] | (size_t)rest->data[1] << 8;
	if (rest->size - 2 < size)
		return false;
	*ret_value = bytes_of(rest->data + 2, size);
	*rest = bytes_of(rest->data + 2 + size, rest->size - 2 - size);
	return true;
}

static void write_metadata(struct s3_call *call, struct bytes kept)
{
	struct bytes name, value;

	while (take_sized(&kept, &name) && take_sized(&kept, &value)) {
		char full[S3_METADATA_MAX + 32];
		int size = snprintf(full, sizeof(full), "x-amz-meta-%.*s", (int)name.size,
		                    (const char *)name.data);

		if (size > 0 && (size_t)size < sizeof(full))
			s3_field(call, full, value);
	}
}

static void write_lock(struct s3_call *call, const struct obj_meta *meta)
{
	char time[S3_TIME_ISO_SIZE];

	if (meta->flags & OBJ_HOLD)
		http_answer_text(call->exchange, "x-amz-object-lock-legal-hold", "ON");
	if (meta->retain_until_ms == 0)
		return;
	http_answer_text(call->exchange, "x-amz-object-lock-mode",
	                 meta->flags & OBJ_COMPLIANCE ? "COMPLIANCE" : "GOVERNANCE");
	s3_time_format_iso(meta->retain_until_ms, time);
	s3_field(call, "x-amz-object-lock-retain-until-date", bytes_of(time, sizeof(time)));
}

void s3_meta_write(struct s3_call *call, const struct s3_found *found)
{
	struct bytes attributes = found->meta.attributes, tags;
	bool typed = false;

	s3_field_etag(call, found->meta.etag);
	http_answer_date(call->exchange, "Last-Modified", found->meta.created_ms / 1000);
	http_answer_text(call->exchange, "Accept-Ranges", "bytes");
	s3_field_version(call, "x-amz-version-id", &found->meta);
	for (size_t i = 0; i < array_count(plain_headers); i++) {
		struct bytes value = obj_attribute_get(attributes, plain_headers[i].number), said;
		char name[48];

		snprintf(name, sizeof(name), "response-%s", plain_headers[i].lower);
		if (i < 6 && s3_parameter(call, name, &said))
			value = said;
		if (value.size == 0)
			continue;
		typed |= plain_headers[i].number == S3_ATTRIBUTE_CONTENT_TYPE;
		s3_field(call, plain_headers[i].name, value);
	}
	if (!typed)
		http_answer_text(call->exchange, "Content-Type", "binary/octet-stream");
	write_metadata(call, obj_attribute_get(attributes, S3_ATTRIBUTE_METADATA));
	tags = obj_attribute_get(attributes, S3_ATTRIBUTE_TAGS);
	if (tags.size > 0)
		http_answer_u64(call->exchange, "x-amz-tagging-count", s3_tags_count(tags));
	if (found->brief.storage_class != 0)
		http_answer_text(call->exchange, "x-amz-storage-class",
		                 s3_storage_class(found->brief.storage_class));
	s3_sse_fields(call, &call->sse);
	write_lock(call, &found->meta);
}

enum s3_error s3_check_get_conditions(struct s3_call *call, const struct obj_meta *meta,
                                      bool copy_source)
{
	struct http_conditions conditions = { 0 };
	char etag[OBJ_ETAG_MAX + 2];
	struct text text;
	struct http_selected selected = { .exists = true,
		                          .modified_unix_s = meta->created_ms / 1000 };
	enum http_verdict verdict;

	text_init(&text, etag, sizeof(etag));
	text_put(&text, '"');
	text_add(&text, meta->etag);
	text_put(&text, '"');
	selected.etag = text_bytes(&text);
	s3_header(call, copy_source ? "x-amz-copy-source-if-match" : "if-match",
	          &conditions.if_match);
	s3_header(call, copy_source ? "x-amz-copy-source-if-none-match" : "if-none-match",
	          &conditions.if_none_match);
	s3_header(call, copy_source ? "x-amz-copy-source-if-modified-since" : "if-modified-since",
	          &conditions.if_modified_since);
	s3_header(call,
	          copy_source ? "x-amz-copy-source-if-unmodified-since" : "if-unmodified-since",
	          &conditions.if_unmodified_since);
	verdict = http_conditions_judge(&conditions, &selected, true);
	if (verdict == HTTP_PROCEED)
		return S3_NONE;
	return verdict == HTTP_NOT_MODIFIED && !copy_source ? S3_NOT_MODIFIED
	                                                    : S3_PRECONDITION_FAILED;
}

static struct bytes without_quotes(struct bytes etag)
{
	if (etag.size > 0 && etag.data[0] == '"')
		etag = bytes_of(etag.data + 1, etag.size - 1);
	if (etag.size > 0 && etag.data[etag.size - 1] == '"')
		etag.size--;
	return etag;
}

bool s3_put_conditions(struct s3_call *call)
{
	struct obj_condition *condition = &call->put.condition;
	struct bytes value;

	if (s3_header(call, "if-none-match", &value)) {
		value = without_quotes(value);
		if (bytes_equal(value, BYTES("*"))) {
			condition->flags |= OBJ_IF_ABSENT;
		} else if (value.size <= OBJ_ETAG_MAX) { /* a longer one is no object's */
			condition->flags |= OBJ_IF_OTHER_ETAG;
			condition->etag = value;
		}
		call->condition_name = "If-None-Match";
	}
	if (s3_header(call, "if-match", &value)) {
		value = without_quotes(value);
		if (condition->flags != 0 || value.size > OBJ_ETAG_MAX) {
			s3_reply_error(call, condition->flags != 0 ? S3_NOT_IMPLEMENTED
			                                           : S3_PRECONDITION_FAILED);
			return false;
		}
		call->condition_name = "If-Match";
		call->any_etag = bytes_equal(value, BYTES("*"));
		condition->flags |= call->any_etag ? OBJ_IF_PRESENT : OBJ_IF_ETAG;
		condition->etag = call->any_etag ? (struct bytes){ 0 } : value;
	}
	return true;
}

void s3_reply_write_status(struct s3_call *call)
{
	enum s3_error error = s3_error_of(call->req.status, call->req.result);

	/* If-Match: * says nothing of a version that should be there. */
	if (error == S3_NO_SUCH_KEY && call->any_etag)
		error = S3_PRECONDITION_FAILED;
	s3_reply_error(call, error);
}
