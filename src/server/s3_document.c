/* SPDX-License-Identifier: Apache-2.0 */
/* Configurations of a bucket that are kept as documents: checked when they come. */
#include "base/assert.h"
#include "base/macros.h"
#include "server/s3_operations.h"
#include "wire/s3_cors.h"
#include "wire/s3_tags.h"

static uint8_t *body_of(struct s3_call *call)
{
	return (uint8_t *)(uintptr_t)call->body.data;
}

/* What is answered when there is none. */
static enum s3_error missing_error(enum s3_document document)
{
	switch (document) {
	case S3_DOCUMENT_POLICY:
		return S3_NO_SUCH_BUCKET_POLICY;
	case S3_DOCUMENT_CORS:
		return S3_NO_SUCH_CORS;
	case S3_DOCUMENT_LIFECYCLE:
		return S3_NO_SUCH_LIFECYCLE;
	case S3_DOCUMENT_TAGGING:
		return S3_NO_SUCH_TAG_SET;
	case S3_DOCUMENT_ENCRYPTION:
		return S3_NO_SUCH_ENCRYPTION;
	case S3_DOCUMENT_PUBLIC_BLOCK:
		return S3_NO_SUCH_PUBLIC_BLOCK;
	case S3_DOCUMENT_OWNERSHIP:
		return S3_NO_SUCH_OWNERSHIP;
	case S3_DOCUMENT_LOCK:
		return S3_NO_SUCH_LOCK;
	case S3_DOCUMENT_ACL:
	case S3_DOCUMENT_LOCATION:
	case S3_DOCUMENT_NOTIFICATION:
	case S3_DOCUMENT_PAYMENT:
		break;
	}
	return S3_NONE;
}

static void reply_text(struct s3_call *call, struct bytes text)
{
	if (!s3_begin_xml(call, text.size + 1))
		return;
	call->out.size = 0;
	text_add(&call->out, text);
	s3_reply(call, 200);
	s3_end_xml(call);
}

static void document_got(struct s3_call *call)
{
	enum s3_document document = (enum s3_document)call->route->document;
	bool missing = call->req.status == STATUS_NOT_FOUND && call->req.result == OBJ_NO_DOCUMENT;

	if (call->answered)
		return;
	if (call->req.status != STATUS_OK && !missing) {
		s3_reply_status(call);
	} else if (missing && missing_error(document) != S3_NONE) {
		s3_reply_error(call, missing_error(document));
	} else if (document == S3_DOCUMENT_NOTIFICATION) {
		reply_text(call, BYTES("<NotificationConfiguration/>"));
	} else if (document == S3_DOCUMENT_PAYMENT) {
		reply_text(call, BYTES("<RequestPaymentConfiguration><Payer>BucketOwner</Payer>"
		                       "</RequestPaymentConfiguration>"));
	} else if (document == S3_DOCUMENT_TAGGING) {
		if (!s3_begin_xml(call, 64 << 10))
			return;
		call->out.size = 0;
		s3_tags_write_xml(&call->out, call->document);
		s3_reply(call, 200);
		s3_end_xml(call);
	} else if (document == S3_DOCUMENT_POLICY) {
		s3_reply(call, 200);
		call->answered = true;
		http_answer_text(call->exchange, "Content-Type", "application/json");
		http_answer_body(call->exchange, call->document);
	} else {
		reply_text(call, call->document);
	}
}

void s3_document_get(struct s3_call *call)
{
	struct obj_cmd cmd = s3_command(call, OBJ_DOCUMENT_GET);

	cmd.part = call->route->document;
	cmd.visit = s3_visit_document;
	cmd.visitor = call;
	call->document = (struct bytes){ 0 };
	s3_submit(call, &cmd, document_got);
}

static void document_changed(struct s3_call *call)
{
	enum s3_document document = (enum s3_document)call->route->document;
	bool removed = call->request->method == HTTP_DELETE;

	if (call->req.status == STATUS_NOT_FOUND && call->req.result == OBJ_NO_DOCUMENT)
		call->req.status = STATUS_OK;
	if (call->req.status != STATUS_OK) {
		s3_reply_status(call);
		return;
	}
	s3_reply(call, removed || document == S3_DOCUMENT_POLICY || document == S3_DOCUMENT_TAGGING
	                       ? 204
	                       : 200);
	s3_end(call);
}

static void store(struct s3_call *call, struct bytes value)
{
	struct obj_cmd cmd = s3_command(call, OBJ_DOCUMENT_PUT);

	cmd.part = call->route->document;
	cmd.value = value;
	s3_submit(call, &cmd, document_changed);
}

void s3_document_delete(struct s3_call *call)
{
	store(call, (struct bytes){ 0 });
}

static bool block_says(struct bytes block, const char *what)
{
	return block.size > 0 && memmem(block.data, block.size, what, strlen(what)) != NULL;
}

static void policy_store(struct s3_call *call)
{
	struct s3_server *server = call->server;
	struct s3_policy policy;

	if (call->answered)
		return;
	if (call->body.size == 0 || call->body.size > S3_POLICY_SIZE_MAX) {
		s3_reply_error(call, S3_MALFORMED_POLICY);
		return;
	}
	memcpy(server->scratch, call->body.data, call->body.size);
	if (!s3_policy_parse(&policy, call->bucket, server->scratch, call->body.size,
	                     server->values)) {
		s3_reply_error(call, S3_MALFORMED_POLICY);
		return;
	}
	if (block_says(call->document, "<BlockPublicPolicy>true") && s3_policy_is_public(&policy)) {
		s3_reply_error(call, S3_ACCESS_DENIED);
		return;
	}
	store(call, call->body);
}

static void put_policy(struct s3_call *call)
{
	struct obj_cmd cmd = s3_command(call, OBJ_DOCUMENT_GET);

	if (!(call->info.documents >> S3_DOCUMENT_PUBLIC_BLOCK & 1)) {
		call->document = (struct bytes){ 0 };
		policy_store(call);
		return;
	}
	cmd.part = S3_DOCUMENT_PUBLIC_BLOCK;
	cmd.visit = s3_visit_document;
	cmd.visitor = call;
	s3_submit(call, &cmd, policy_store);
}

/* Checks a copy, because a check decodes in place, and keeps what came. */
static void put_cors(struct s3_call *call)
{
	enum s3_error error = S3_MALFORMED_XML;

	if (call->body.size <= S3_CORS_SIZE_MAX) {
		memcpy(call->server->scratch, call->body.data, call->body.size);
		error = s3_cors_check(call->server->scratch, call->body.size);
	}
	if (error != S3_NONE)
		s3_reply_error(call, error);
	else
		store(call, call->body);
}

static void put_lifecycle(struct s3_call *call)
{
	enum s3_error error;

	if (!s3_begin_xml(call, OBJ_DOCUMENT_MAX))
		return;
	call->out.size = 0;
	error = s3_lifecycle_normalize(body_of(call), call->body.size, &call->out);
	if (error != S3_NONE)
		s3_reply_error(call, error);
	else
		store(call, text_bytes(&call->out));
}

static void put_tagging(struct s3_call *call)
{
	enum s3_error error;
	uint32_t count;

	if (!s3_begin_xml(call, 256 << 10))
		return;
	call->out.size = 0;
	error = s3_tags_parse_xml(body_of(call), call->body.size, S3_TAGS_BUCKET_MAX, &call->out,
	                          &count);
	if (error != S3_NONE)
		s3_reply_error(call, error);
	else
		store(call, text_bytes(&call->out));
}

/* Reads one element of each of `names` that a document has; false: it is not well-formed. */
static bool read_elements(struct s3_call *call, const char *root, const char *const *names,
                          struct bytes *values, unsigned count)
{
	enum xml_event event;
	struct xml xml;

	xml_init(&xml, body_of(call), call->body.size);
	while ((event = xml_next(&xml)) == XML_OPEN || event == XML_CLOSE) {
		if (event == XML_OPEN && xml.depth == 1 && !xml_name_is(&xml, root))
			return false;
		for (unsigned i = 0; event == XML_CLOSE && i < count; i++) {
			if (xml_name_is(&xml, names[i]))
				values[i] = xml.text;
		}
	}
	return event == XML_END;
}

static void put_public_block(struct s3_call *call)
{
	static const char *const names[] = { "BlockPublicAcls", "IgnorePublicAcls",
		                             "BlockPublicPolicy", "RestrictPublicBuckets" };
	struct bytes values[4] = { 0 };

	if (!read_elements(call, "PublicAccessBlockConfiguration", names, values, 4)) {
		s3_reply_error(call, S3_MALFORMED_XML);
		return;
	}
	if (!s3_begin_xml(call, 0))
		return;
	xml_open_in(&call->out, "PublicAccessBlockConfiguration");
	for (unsigned i = 0; i < 4; i++)
		xml_bool(&call->out, names[i], bytes_equal_ignoring_case(values[i], BYTES("true")));
	xml_close(&call->out, "PublicAccessBlockConfiguration");
	store(call, text_bytes(&call->out));
}

static void put_ownership(struct s3_call *call)
{
	static const char *const names[] = { "ObjectOwnership" };
	struct bytes value = { 0 };

	if (!read_elements(call, "OwnershipControls", names, &value, 1) ||
	    (!bytes_equal(value, BYTES("BucketOwnerEnforced")) &&
	     !bytes_equal(value, BYTES("BucketOwnerPreferred")) &&
	     !bytes_equal(value, BYTES("ObjectWriter")))) {
		s3_reply_error(call, S3_MALFORMED_XML);
		return;
	}
	/* A list that is not the default one, which is not kept, would mean nothing any more. */
	if (bytes_equal(value, BYTES("BucketOwnerEnforced")) &&
	    call->info.documents >> S3_DOCUMENT_ACL & 1) {
		s3_reply_error(call, S3_INVALID_ACL_WITH_OWNERSHIP);
		return;
	}
	if (!s3_begin_xml(call, 0))
		return;
	xml_open_in(&call->out, "OwnershipControls");
	xml_open(&call->out, "Rule");
	xml_bytes(&call->out, "ObjectOwnership", value);
	xml_close(&call->out, "Rule");
	xml_close(&call->out, "OwnershipControls");
	store(call, text_bytes(&call->out));
}

/* Whatever there is says AES256: that it is there is all that s3_sse_wanted() looks at. */
static void put_encryption(struct s3_call *call)
{
	static const char *const names[] = { "SSEAlgorithm", "KMSMasterKeyID", "BucketKeyEnabled",
		                             "Rule" };
	struct bytes values[4] = { 0 };
	enum s3_error error = S3_NONE;

	if (!read_elements(call, "ServerSideEncryptionConfiguration", names, values, 4))
		error = S3_MALFORMED_XML;
	else if (bytes_equal(values[0], BYTES("aws:kms")) ||
	         bytes_equal(values[0], BYTES("aws:kms:dsse")))
		error = S3_NO_KMS;
	else if (!bytes_equal(values[0], BYTES("AES256")))
		error = S3_MALFORMED_XML;
	else if (values[1].size > 0)
		error = S3_TWO_ENCRYPTIONS;
	else if (call->server->master_count == 0)
		error = S3_NO_ENCRYPTION_KEY;
	if (error != S3_NONE) {
		s3_reply_error(call, error);
		return;
	}
	if (!s3_begin_xml(call, 0))
		return;
	xml_open_in(&call->out, "ServerSideEncryptionConfiguration");
	xml_open(&call->out, "Rule");
	xml_open(&call->out, "ApplyServerSideEncryptionByDefault");
	xml_string(&call->out, "SSEAlgorithm", "AES256");
	xml_close(&call->out, "ApplyServerSideEncryptionByDefault");
	xml_bool(&call->out, "BucketKeyEnabled",
	         bytes_equal_ignoring_case(values[2], BYTES("true")));
	xml_close(&call->out, "Rule");
	xml_close(&call->out, "ServerSideEncryptionConfiguration");
	store(call, text_bytes(&call->out));
}

/* Nothing is sent to anybody yet: only a configuration that asks for nothing is taken. */
static void put_notification(struct s3_call *call)
{
	enum xml_event event;
	struct xml xml;
	bool empty = true;

	xml_init(&xml, body_of(call), call->body.size);
	while ((event = xml_next(&xml)) == XML_OPEN || event == XML_CLOSE)
		empty &= event != XML_OPEN || xml.depth == 1;
	if (event != XML_END)
		s3_reply_error(call, S3_MALFORMED_XML);
	else if (!empty)
		s3_reply_error(call, S3_NOT_IMPLEMENTED);
	else
		store(call, (struct bytes){ 0 });
}

static void put_payment(struct s3_call *call)
{
	static const char *const names[] = { "Payer" };
	struct bytes value = { 0 };

	if (!read_elements(call, "RequestPaymentConfiguration", names, &value, 1))
		s3_reply_error(call, S3_MALFORMED_XML);
	else if (!bytes_equal(value, BYTES("BucketOwner")))
		s3_reply_error(call, S3_NOT_IMPLEMENTED);
	else
		store(call, (struct bytes){ 0 });
}

void s3_document_put(struct s3_call *call)
{
	switch ((enum s3_document)call->route->document) {
	case S3_DOCUMENT_POLICY:
		put_policy(call);
		return;
	case S3_DOCUMENT_CORS:
		put_cors(call);
		return;
	case S3_DOCUMENT_LIFECYCLE:
		put_lifecycle(call);
		return;
	case S3_DOCUMENT_TAGGING:
		put_tagging(call);
		return;
	case S3_DOCUMENT_PUBLIC_BLOCK:
		put_public_block(call);
		return;
	case S3_DOCUMENT_OWNERSHIP:
		put_ownership(call);
		return;
	case S3_DOCUMENT_NOTIFICATION:
		put_notification(call);
		return;
	case S3_DOCUMENT_PAYMENT:
		put_payment(call);
		return;
	case S3_DOCUMENT_ENCRYPTION:
		put_encryption(call);
		return;
	case S3_DOCUMENT_ACL:
	case S3_DOCUMENT_LOCK:
	case S3_DOCUMENT_LOCATION:
		break;
	}
	unreachable();
}

static void status_told(struct s3_call *call)
{
	struct s3_server *server = call->server;
	struct s3_policy policy;
	struct s3_acl acl;
	bool public;

	s3_acl_decode(&acl, call->bucket_acl, call->info.label);
	public = !call->enforced && s3_acl_is_public(&acl);
	if (call->policy.size > 0) {
		memcpy(server->scratch, call->policy.data, call->policy.size);
		if (s3_policy_parse(&policy, call->bucket, server->scratch, call->policy.size,
		                    server->values))
		public |= s3_policy_is_public(&policy);
	}
	if (!s3_begin_xml(call, 0))
		return;
	xml_open_in(&call->out, "PolicyStatus");
	xml_bool(&call->out, "IsPublic", public);
	xml_close(&call->out, "PolicyStatus");
	s3_reply(call, 200);
	s3_end_xml(call);
}

void s3_policy_status(struct s3_call *call)
{
	status_told(call);
}

/* Object lock: the default retention of a bucket. */
static enum s3_error read_lock(struct s3_call *call)
{
	static const char *const names[] = { "ObjectLockEnabled", "Mode", "Days", "Years", "Rule" };
	struct bytes values[5] = { 0 };
	uint64_t count = 0;
	bool rule;

	/* Elements that are there have a place in the document, even when they are empty. */
	if (!read_elements(call, "ObjectLockConfiguration", names, values, 5) ||
	    !bytes_equal(values[0], BYTES("Enabled")))
		return S3_MALFORMED_XML;
	rule = values[1].data != NULL || values[2].data != NULL || values[3].data != NULL;
	if (!rule)
		return S3_NONE;
	if (!bytes_equal(values[1], BYTES("GOVERNANCE")) &&
	    !bytes_equal(values[1], BYTES("COMPLIANCE")))
		return S3_MALFORMED_XML;
	if ((values[2].data != NULL) == (values[3].data != NULL))
		return S3_MALFORMED_XML;
	if (!bytes_parse_u64(values[2].data != NULL ? values[2] : values[3], 36500, &count) ||
	    count == 0)
		return S3_INVALID_RETENTION;
	return S3_NONE;
}

static void lock_stored(struct s3_call *call)
{
	if (call->req.status != STATUS_OK) {
		s3_reply_status(call);
		return;
	}
	s3_reply(call, 200);
	s3_end(call);
}

static void lock_enabled(struct s3_call *call)
{
	struct obj_cmd cmd = s3_command(call, OBJ_DOCUMENT_PUT);

	if (call->req.status != STATUS_OK) {
		s3_reply_status(call);
		return;
	}
	cmd.part = S3_DOCUMENT_LOCK;
	cmd.value = call->document;
	s3_submit(call, &cmd, lock_stored);
}

void s3_lock_config_put(struct s3_call *call)
{
	struct obj_settings *settings = s3_alloc(call, sizeof(*settings));
	struct obj_cmd cmd = s3_command(call, OBJ_BUCKET_UPDATE);
	enum s3_error error;

	if (settings == NULL || !s3_keep(call, call->body, &call->document))
		return;
	error = read_lock(call);
	if (error == S3_NONE && !call->info.locks && call->info.versioning != OBJ_VERSIONING_ON)
		error = S3_INVALID_BUCKET_STATE;
	if (error != S3_NONE) {
		s3_reply_error(call, error);
		return;
	}
	*settings = (struct obj_settings){
		.set_locks = true,
		.locks = true,
	};
	cmd.settings = settings;
	s3_submit(call, &cmd, lock_enabled);
}

static void lock_told(struct s3_call *call)
{
	if (call->answered)
		return;
	if (call->req.status == STATUS_OK)
		reply_text(call, call->document);
	else if (call->req.status == STATUS_NOT_FOUND && call->req.result == OBJ_NO_DOCUMENT)
		reply_text(call, BYTES("<ObjectLockConfiguration><ObjectLockEnabled>Enabled"
		                       "</ObjectLockEnabled></ObjectLockConfiguration>"));
	else
		s3_reply_status(call);
}

void s3_lock_config_get(struct s3_call *call)
{
	struct obj_cmd cmd = s3_command(call, OBJ_DOCUMENT_GET);

	if (!call->info.locks) {
		s3_reply_error(call, S3_NO_SUCH_LOCK);
		return;
	}
	cmd.part = S3_DOCUMENT_LOCK;
	cmd.visit = s3_visit_document;
	cmd.visitor = call;
	s3_submit(call, &cmd, lock_told);
}

/* What is never there, said in the words for that. */
void s3_no_website(struct s3_call *call)
{
	s3_reply_error(call, S3_NO_SUCH_WEBSITE);
}

void s3_no_replication(struct s3_call *call)
{
	s3_reply_error(call, S3_NO_SUCH_REPLICATION);
}

void s3_no_logging(struct s3_call *call)
{
	reply_text(call, BYTES("<BucketLoggingStatus/>"));
}

/* Only what asks for none. */
void s3_logging_put(struct s3_call *call)
{
	static const char *const names[] = { "LoggingEnabled" };
	struct bytes value = { 0 };

	if (!read_elements(call, "BucketLoggingStatus", names, &value, 1)) {
		s3_reply_error(call, S3_MALFORMED_XML);
	} else if (value.data != NULL) {
		s3_reply_error(call, S3_NOT_IMPLEMENTED);
	} else {
		s3_reply(call, 200);
		s3_end(call);
	}
}

void s3_nothing_delete(struct s3_call *call)
{
	s3_reply(call, 204);
	s3_end(call);
}

void s3_no_accelerate(struct s3_call *call)
{
	reply_text(call, BYTES("<AccelerateConfiguration/>"));
}
