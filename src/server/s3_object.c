/* SPDX-License-Identifier: Apache-2.0 */
/* Tags, retention and legal hold of an object. */
#include "base/assert.h"
#include "server/s3_operations.h"
#include "wire/s3_tags.h"
#include "wire/s3_time.h"

static void head(struct s3_call *call, s3_next_fn *next)
{
	struct obj_cmd cmd = s3_command(call, OBJ_HEAD);

	cmd.visit = s3_visit_found;
	cmd.visitor = call;
	call->found = (struct s3_found){ 0 };
	s3_submit(call, &cmd, next);
}

/* True: it has answered. */
static bool has_failed(struct s3_call *call)
{
	if (call->answered)
		return true;
	if (call->req.status == STATUS_OK)
		return false;
	if (call->found.there && call->found.meta.flags & OBJ_IS_MARKER) {
		call->marker_found = true;
		s3_reply_error(call, call->has_version ? S3_METHOD_NOT_ALLOWED : S3_NO_SUCH_KEY);
		return true;
	}
	s3_reply_status(call);
	return true;
}

static void tags_told(struct s3_call *call)
{
	if (has_failed(call) || !s3_begin_xml(call, 32 << 10))
		return;
	call->out.size = 0;
	s3_tags_write_xml(&call->out,
	                  obj_attribute_get(call->found.meta.attributes, S3_ATTRIBUTE_TAGS));
	s3_reply(call, 200);
	s3_field_version(call, "x-amz-version-id", &call->found.meta);
	s3_end_xml(call);
}

void s3_object_tags_get(struct s3_call *call)
{
	head(call, tags_told);
}

static void updated(struct s3_call *call)
{
	if (has_failed(call))
		return;
	s3_reply(call, call->request->method == HTTP_DELETE ? 204 : 200);
	s3_field_version(call, "x-amz-version-id", &call->found.meta);
	s3_end(call);
}

static void update(struct s3_call *call, uint32_t flags)
{
	struct obj_cmd cmd = s3_command(call, OBJ_UPDATE);

	cmd.flags |= flags;
	cmd.put = &call->put;
	cmd.visit = s3_visit_found;
	cmd.visitor = call;
	s3_submit(call, &cmd, updated);
}

static void set_tags(struct s3_call *call, struct bytes tags)
{
	if (!s3_attributes_init(call) || !s3_attribute_set(call, S3_ATTRIBUTE_TAGS, tags))
		return;
	call->put.attributes = bytes_of(call->attributes.data, call->attributes.size);
	update(call, 0);
}

static void tagging_granted(struct s3_call *call)
{
	set_tags(call, call->request_tags);
}

/* Policies may ask for the tags: they are read first. */
void s3_object_tags_put(struct s3_call *call)
{
	struct text text;
	uint32_t count;
	enum s3_error error;

	text_init(&text, call->server->scratch, S3_TAGS_TEXT_MAX);
	error = s3_tags_parse_xml((uint8_t *)(uintptr_t)call->body.data, call->body.size,
	                          S3_TAGS_OBJECT_MAX, &text, &count);
	if (error != S3_NONE)
		s3_reply_error(call, error);
	else if (s3_keep(call, text_bytes(&text), &call->request_tags))
		s3_authorize(call, tagging_granted);
}

void s3_object_tags_delete(struct s3_call *call)
{
	set_tags(call, (struct bytes){ 0 });
}

static bool refuse_unlocked(struct s3_call *call)
{
	if (call->info.locks)
		return false;
	s3_reply_error_text(call, S3_INVALID_REQUEST,
	                    "Bucket is missing Object Lock Configuration");
	return true;
}

static void retention_told(struct s3_call *call)
{
	const struct obj_meta *meta = &call->found.meta;

	if (has_failed(call))
		return;
	if (meta->retain_until_ms == 0) {
		s3_reply_error(call, S3_NO_SUCH_LOCK_ON_OBJECT);
		return;
	}
	if (!s3_begin_xml(call, 0))
		return;
	xml_open_in(&call->out, "Retention");
	xml_string(&call->out, "Mode", meta->flags & OBJ_COMPLIANCE ? "COMPLIANCE" : "GOVERNANCE");
	xml_time(&call->out, "RetainUntilDate", meta->retain_until_ms);
	xml_close(&call->out, "Retention");
	s3_reply(call, 200);
	s3_end_xml(call);
}

void s3_retention_get(struct s3_call *call)
{
	if (!refuse_unlocked(call))
		head(call, retention_told);
}

static void hold_told(struct s3_call *call)
{
	if (has_failed(call) || !s3_begin_xml(call, 0))
		return;
	xml_open_in(&call->out, "LegalHold");
	xml_string(&call->out, "Status", call->found.meta.flags & OBJ_HOLD ? "ON" : "OFF");
	xml_close(&call->out, "LegalHold");
	s3_reply(call, 200);
	s3_end_xml(call);
}

void s3_hold_get(struct s3_call *call)
{
	if (!refuse_unlocked(call))
		head(call, hold_told);
}

/* <Retention>: both elements, or none of them, which takes a retention back. */
static bool read_retention(struct s3_call *call)
{
	struct bytes mode = { 0 }, until = { 0 };
	enum xml_event event;
	uint64_t until_s;
	struct xml xml;

	xml_init(&xml, (uint8_t *)(uintptr_t)call->body.data, call->body.size);
	while ((event = xml_next(&xml)) == XML_OPEN || event == XML_CLOSE) {
		if (event == XML_OPEN && xml.depth == 1 && !xml_name_is(&xml, "Retention"))
			return false;
		if (event == XML_CLOSE && xml_name_is(&xml, "Mode"))
			mode = xml.text;
		if (event == XML_CLOSE && xml_name_is(&xml, "RetainUntilDate"))
			until = xml.text;
	}
	if (event != XML_END || (mode.size == 0) != (until.size == 0))
		return false;
	if (mode.size == 0)
		return true;
	if (bytes_equal(mode, BYTES("GOVERNANCE")))
		call->put.flags = OBJ_GOVERNANCE;
	else if (bytes_equal(mode, BYTES("COMPLIANCE")))
		call->put.flags = OBJ_COMPLIANCE;
	else
		return false;
	if (!s3_time_parse_iso(until, &until_s)) {
		call->put.flags = 0;
		return false;
	}
	call->put.retain_until_ms = until_s * 1000;
	return true;
}

static void bypass_granted(struct s3_call *call)
{
	update(call, OBJ_SET_RETENTION | OBJ_BYPASS_GOVERNANCE);
}

void s3_retention_put(struct s3_call *call)
{
	struct bytes text;

	if (refuse_unlocked(call))
		return;
	if (!read_retention(call)) {
		s3_reply_error(call, S3_MALFORMED_XML);
		return;
	}
	if (call->put.retain_until_ms != 0 && call->put.retain_until_ms <= s3_now_ms(call)) {
		s3_reply_error_text(call, S3_INVALID_ARGUMENT,
		                    "The retain until date must be in the future!");
		return;
	}
	if (s3_header(call, "x-amz-bypass-governance-retention", &text) &&
	    bytes_equal_ignoring_case(text, BYTES("true")))
		s3_reauthorize(call, "s3:BypassGovernanceRetention", 0, bypass_granted);
	else
		update(call, OBJ_SET_RETENTION);
}

void s3_hold_put(struct s3_call *call)
{
	struct bytes status = { 0 };
	enum xml_event event;
	struct xml xml;

	if (refuse_unlocked(call))
		return;
	xml_init(&xml, (uint8_t *)(uintptr_t)call->body.data, call->body.size);
	while ((event = xml_next(&xml)) == XML_OPEN || event == XML_CLOSE) {
		if (event == XML_CLOSE && xml_name_is(&xml, "Status"))
			status = xml.text;
	}
	if (event != XML_END ||
	    (!bytes_equal(status, BYTES("ON")) && !bytes_equal(status, BYTES("OFF")))) {
		s3_reply_error(call, S3_MALFORMED_XML);
		return;
	}
	call->put.flags = bytes_equal(status, BYTES("ON")) ? OBJ_HOLD : 0;
	update(call, OBJ_SET_HOLD);
}
