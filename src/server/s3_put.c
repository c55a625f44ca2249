/* SPDX-License-Identifier: Apache-2.0 */
/* PutObject and UploadPart. */
#include "base/assert.h"
#include "server/s3_operations.h"
#include "wire/s3_time.h"

/* What the store keeps of an object beside its bytes. */
void s3_put_finish_meta(struct s3_call *call, const struct s3_payload *payload)
{
	if (payload != NULL) {
		hex_format(bytes_of(payload->md5, S3_MD5_SIZE), call->etag);
		call->put.etag = bytes_of(call->etag, 2 * S3_MD5_SIZE);
		call->brief.plain_size = payload->size;
		if (payload->checksum.kind != S3_CHECKSUM_NONE) {
			call->brief.checksum = payload->checksum.kind;
			call->brief.has_checksum = call->brief.full = true;
			memcpy(call->brief.value, payload->checksum_value, S3_CHECKSUM_SIZE_MAX);
		}
	}
	call->put.brief =
	        bytes_of(call->brief_memory, s3_brief_format(&call->brief, call->brief_memory));
	call->put.attributes = bytes_of(call->attributes.data, call->attributes.size);
}

void s3_put_reply_fields(struct s3_call *call)
{
	s3_field_etag(call, call->put.etag);
	s3_field_version(call, "x-amz-version-id", &call->found.meta);
	s3_sse_fields(call, &call->sse);
	s3_checksum_fields(call, &call->brief);
	if (call->found.there)
		s3_expiration_field(call, &call->found.meta);
}

static void put_done(struct s3_call *call)
{
	if (call->req.status != STATUS_OK) {
		s3_reply_write_status(call);
		return;
	}
	s3_upload_release(call);
	s3_reply(call, 200);
	s3_put_reply_fields(call);
	s3_end(call);
}

static void put_ready(struct s3_call *call)
{
	s3_put_finish_meta(call, &call->upload->payload);
	s3_upload_commit(call, put_done);
}

/* What the bucket says when the request does not. */
bool s3_lock_default(struct s3_call *call)
{
	uint64_t count = 0, days = 0;
	enum xml_event event;
	struct xml xml;
	uint32_t mode = 0;

	if (call->lock_rule.size == 0 || call->put.retain_until_ms != 0 || !call->info.locks)
		return true;
	xml_init(&xml, (uint8_t *)(uintptr_t)call->lock_rule.data, call->lock_rule.size);
	while ((event = xml_next(&xml)) == XML_OPEN || event == XML_CLOSE) {
		if (event != XML_CLOSE)
			continue;
		if (xml_name_is(&xml, "Mode"))
			mode = bytes_equal(xml.text, BYTES("COMPLIANCE")) ? OBJ_COMPLIANCE
			                                                  : OBJ_GOVERNANCE;
		else if (xml_name_is(&xml, "Days") && bytes_parse_u64(xml.text, 36500, &count))
			days = count;
		else if (xml_name_is(&xml, "Years") && bytes_parse_u64(xml.text, 100, &count))
			days = count * 365;
	}
	if (mode == 0 || days == 0)
		return true;
	call->put.flags |= mode;
	call->put.retain_until_ms = s3_now_ms(call) + days * 86400000ull;
	return true;
}

/* What comes in is encrypted: after s3_meta_read(). */
void s3_put_encrypt(struct s3_call *call)
{
	if (call->sse.kind != S3_SSE_NONE)
		call->upload->key = call->sse.key;
}

void s3_put(struct s3_call *call)
{
	struct bytes text;

	if (s3_header(call, "x-amz-copy-source", &text)) {
		s3_copy_object(call);
		return;
	}
	if (s3_header(call, "x-amz-write-offset-bytes", &text)) {
		s3_reply_error(call, S3_NOT_IMPLEMENTED);
		return;
	}
	if (!s3_meta_read(call, true) || !s3_put_conditions(call) || !s3_lock_default(call))
		return;
	if (!s3_upload_take(call))
		return;
	s3_put_encrypt(call);
	s3_upload_receive(call, put_ready);
}

static void part_done(struct s3_call *call)
{
	if (call->req.status != STATUS_OK) {
		s3_reply_status(call);
		return;
	}
	s3_upload_release(call);
	s3_reply(call, 200);
	s3_field_etag(call, call->put.etag);
	s3_sse_fields(call, &call->sse);
	if (call->brief.has_checksum) {
		char memory[S3_CHECKSUM_TEXT_MAX];
		struct text text;

		text_init(&text, memory, sizeof(memory));
		text_base64(&text,
		            bytes_of(call->brief.value, s3_checksum_size(call->brief.checksum)));
		s3_field(call, s3_checksum_header(call->brief.checksum), text_bytes(&text));
	}
	s3_end(call);
}

static void part_ready(struct s3_call *call)
{
	call->attributes = (struct obj_attributes){ 0 };
	s3_put_finish_meta(call, &call->upload->payload);
	s3_upload_commit(call, part_done);
}

/* The part's own salt; a customer's key must be that of the upload. */
enum s3_error s3_part_encryption(struct s3_call *call, struct s3_sse *sse)
{
	enum s3_error error = s3_sse_read(call, "", sse);

	if (error == S3_NONE)
		error = s3_sse_check_found(call, &call->found, sse);
	if (error != S3_NONE || sse->kind == S3_SSE_NONE)
		return error;
	s3_sse_salt(call->server, sse);
	call->brief.sse = sse->kind;
	memcpy(call->brief.salt, sse->salt, S3_KEY_SALT);
	return S3_NONE;
}

static void upload_known(struct s3_call *call)
{
	enum s3_checksum_kind kind = call->found.brief.checksum;
	enum s3_error error;

	if (call->answered)
		return;
	if (call->req.status != STATUS_OK) {
		s3_reply_status(call);
		return;
	}
	error = s3_part_encryption(call, &call->sse);
	if (error != S3_NONE) {
		s3_reply_error(call, error);
		return;
	}
	if (!s3_upload_take(call))
		return;
	s3_put_encrypt(call);
	call->upload->checksum_wanted = kind;
	s3_upload_receive(call, part_ready);
}

/* ?partNumber and ?uploadId; false: it has answered. */
bool s3_part_target(struct s3_call *call)
{
	struct bytes text;
	uint64_t number;

	if (!s3_parameter(call, "partNumber", &text) ||
	    !bytes_parse_u64(text, OBJ_PARTS_MAX, &number) || number == 0) {
		s3_reply_error_text(
		        call, S3_INVALID_ARGUMENT,
		        "Part number must be an integer between 1 and 10000, inclusive");
		return false;
	}
	call->part_number = (uint16_t)number;
	return s3_upload_target(call);
}

bool s3_upload_target(struct s3_call *call)
{
	struct bytes text;

	if (s3_parameter(call, "uploadId", &text) && s3_id_parse(text, &call->part_upload))
		return true;
	s3_reply_error(call, S3_NO_SUCH_UPLOAD);
	return false;
}

void s3_part_put(struct s3_call *call)
{
	struct obj_cmd cmd = s3_command(call, OBJ_UPLOAD_GET);
	struct bytes text;

	if (!s3_part_target(call))
		return;
	if (s3_header(call, "x-amz-copy-source", &text)) {
		s3_copy_part(call);
		return;
	}
	cmd.upload = call->part_upload;
	cmd.visit = s3_visit_found;
	cmd.visitor = call;
	call->found = (struct s3_found){ 0 };
	s3_submit(call, &cmd, upload_known);
}

/* x-amz-expiration: when a lifecycle rule will remove the object, and which. */
void s3_expiration_field(struct s3_call *call, const struct obj_meta *meta)
{
	struct s3_server *server = call->server;
	struct s3_lifecycle lifecycle;
	struct s3_lifecycle_rule rule;
	char memory[400], date[S3_TIME_HTTP_SIZE];
	uint64_t soonest = UINT64_MAX;
	struct text text;
	const struct s3_lifecycle_object object = {
		.name = call->key,
		.size = meta->size,
		.tags = obj_attribute_get(meta->attributes, S3_ATTRIBUTE_TAGS),
	};

	if (call->lifecycle.size == 0 || call->has_version ||
	    call->lifecycle.size > S3_SCRATCH_SIZE)
		return;
	memcpy(server->scratch, call->lifecycle.data, call->lifecycle.size);
	s3_lifecycle_init(&lifecycle, server->scratch, call->lifecycle.size);
	while (s3_lifecycle_next(&lifecycle, &rule)) {
		uint64_t due = rule.expire_date_s * 1000;

		if (rule.expire_days > 0)
			/* In days as everybody counts them, whatever a day is to the sweep. */
			due = s3_lifecycle_due_ms(meta->created_ms, rule.expire_days,
			                          24 * 3600 * 1000ull);
		if (due == 0 || due >= soonest || !s3_lifecycle_applies(&rule, &object))
			continue;
		soonest = due;
		s3_time_format_http(due / 1000, date);
		text_init(&text, memory, sizeof(memory));
		text_string(&text, "expiry-date=\"");
		text_add(&text, bytes_of(date, sizeof(date)));
		text_string(&text, "\", rule-id=\"");
		text_add(&text, rule.id);
		text_put(&text, '"');
	}
	if (soonest != UINT64_MAX)
		s3_field(call, "x-amz-expiration", text_bytes(&text));
}
