/* SPDX-License-Identifier: Apache-2.0 */
/* CORS: answers to preflights, and what other answers say to browsers. */
#include "base/assert.h"
#include "server/s3_internal.h"
#include "wire/s3_cors.h"

/* Whether a rule fits; then call->cors says what s3_reply() adds. */
static bool match(struct s3_call *call, struct bytes document, struct bytes method,
                  struct bytes headers)
{
	struct s3_cors_request request = { .method = method, .headers = headers };
	struct s3_cors_answer answer;
	struct text exposed, methods;
	char *memory = s3_alloc(call, 4096);
	bool matched;

	if (memory == NULL || document.size > S3_CORS_SIZE_MAX)
		return false;
	s3_header(call, "origin", &request.origin);
	text_init(&exposed, memory, 3072);
	text_init(&methods, memory + 3072, 1024);
	memcpy(call->server->scratch, document.data, document.size);
	matched = s3_cors_match(call->server->scratch, document.size, &request, &answer, &exposed,
	                        &methods);
	if (!matched)
		return false;
	call->cors = (struct s3_cors_said){
		.there = true,
		.origin = answer.any_origin ? BYTES("*") : request.origin,
		.methods = text_bytes(&methods),
		.exposed = text_bytes(&exposed),
		.has_max_age = answer.has_max_age,
		.max_age_s = answer.max_age_s,
	};
	return true;
}

void s3_cors_fields(struct s3_call *call)
{
	const struct s3_cors_said *said = &call->cors;

	if (!said->there)
		return;
	s3_field(call, "Access-Control-Allow-Origin", said->origin);
	s3_field(call, "Access-Control-Allow-Methods", said->methods);
	if (said->headers.size > 0)
		s3_field(call, "Access-Control-Allow-Headers", said->headers);
	if (said->exposed.size > 0)
		s3_field(call, "Access-Control-Expose-Headers", said->exposed);
	if (said->has_max_age)
		http_answer_u64(call->exchange, "Access-Control-Max-Age", said->max_age_s);
	if (!bytes_equal(said->origin, BYTES("*")))
		http_answer_text(call->exchange, "Access-Control-Allow-Credentials", "true");
	http_answer_text(call->exchange, "Vary",
	                 "Origin, Access-Control-Request-Headers, Access-Control-Request-Method");
}

static void preflight_known(struct s3_call *call)
{
	struct bytes method = { 0 }, headers = { 0 };
	bool matched;

	if (call->answered)
		return;
	if (call->req.status == STATUS_NOT_FOUND && call->req.result == OBJ_NO_DOCUMENT) {
		s3_reply_error(call, S3_CORS_NOT_ENABLED);
		return;
	}
	if (call->req.status != STATUS_OK) {
		s3_reply_status(call);
		return;
	}
	s3_header(call, "access-control-request-method", &method);
	s3_header(call, "access-control-request-headers", &headers);
	matched = match(call, call->document, method, headers);
	if (call->answered)
		return;
	if (!matched) {
		s3_reply_error(call, S3_CORS_FORBIDDEN);
		return;
	}
	call->cors.headers = headers;
	s3_reply(call, 200);
	s3_end(call);
}

void s3_cors_preflight(struct s3_call *call)
{
	struct obj_cmd cmd = s3_command(call, OBJ_DOCUMENT_GET);
	struct bytes text;

	if (!s3_header(call, "origin", &text) || call->bucket.size == 0) {
		s3_reply_error(call, S3_CORS_ORIGIN);
		return;
	}
	if (!s3_header(call, "access-control-request-method", &text)) {
		s3_reply_error_text(call, S3_CORS_ORIGIN,
		                    "Invalid Access-Control-Request-Method: null");
		return;
	}
	cmd.version = 0;
	cmd.flags = 0;
	cmd.part = S3_DOCUMENT_CORS;
	cmd.visit = s3_visit_document;
	cmd.visitor = call;
	s3_submit(call, &cmd, preflight_known);
}

static void rules_known(struct s3_call *call)
{
	if (call->answered)
		return;
	if (call->req.status == STATUS_OK)
		match(call, call->document, call->request->method_name, (struct bytes){ 0 });
	if (!call->answered)
		call->after_cors(call);
}

void s3_cors_apply(struct s3_call *call, s3_next_fn *next)
{
	struct obj_cmd cmd = s3_command(call, OBJ_DOCUMENT_GET);
	struct bytes origin;

	if (!(call->info.documents >> S3_DOCUMENT_CORS & 1) || call->cors.there ||
	    !s3_header(call, "origin", &origin)) {
		next(call);
		return;
	}
	call->after_cors = next;
	cmd.version = 0;
	cmd.flags = 0;
	cmd.part = S3_DOCUMENT_CORS;
	cmd.visit = s3_visit_document;
	cmd.visitor = call;
	s3_submit(call, &cmd, rules_known);
}
