/* SPDX-License-Identifier: Apache-2.0 */
/* Who asks, and whether he may: the one door that every route is behind. */
#include <stdio.h>

#include "base/assert.h"
#include "server/s3_operations.h"
#include "wire/s3_tags.h"

bool s3_sign_request(const struct s3_call *call, struct sigv4_request *request)
{
	const struct http_request *http = call->request;

	*request = (struct sigv4_request){
		.method = http->method_name,
		.raw_path = http->raw_path,
		.query = http->parameters,
		.query_count = http->parameter_count,
		.fields = http->fields,
		.field_count = http->field_count,
	};
	return true;
}

static void know_user(struct s3_call *call, const struct s3_user *user)
{
	if (s3_keep(call, bytes_of(user->id, user->id_size), &call->user) &&
	    !s3_keep(call, bytes_of(user->name, user->name_size), &call->user_name))
		assert(call->answered);
}

static void verify(struct s3_call *call)
{
	struct s3_server *server = call->server;
	const struct s3_user *user = s3_user_of_access(server, call->sig.access_key);
	struct sigv4_request request;
	struct text scratch;
	enum s3_error error;

	if (user == NULL && !call->users_asked && !server->draining) {
		call->users_asked = true;
		call->waiting = true;
		call->next = verify;
		STAILQ_INSERT_TAIL(&server->users_waiting, call, link);
		s3_users_look_again(server);
		return;
	}
	if (user == NULL) {
		s3_reply_error(call, S3_INVALID_ACCESS_KEY_ID);
		return;
	}
	s3_sign_request(call, &request);
	text_init(&scratch, server->scratch, S3_SCRATCH_SIZE);
	sigv4_signing_key(&server->sha256, bytes_of(user->secret, user->secret_size), &call->sig,
	                  call->signing_key);
	error = sigv4_verify(&call->sig, &request, &server->sha256, call->signing_key, &scratch);
	if (error != S3_NONE) {
		s3_reply_error(call, error);
		return;
	}
	know_user(call, user);
	if (!call->answered)
		call->authenticated(call);
}

void s3_authenticate(struct s3_call *call, s3_next_fn *next)
{
	struct s3_server *server = call->server;
	struct sigv4_request request;
	enum s3_error error;

	s3_sign_request(call, &request);
	error = sigv4_parse(&call->sig, &request, s3_now_ms(call) / 1000);
	if (error != S3_NONE) {
		s3_reply_error(call, error);
		return;
	}
	call->anonymous = call->sig.kind == SIGV4_ANONYMOUS;
	if (call->anonymous) {
		next(call);
		return;
	}
	call->authenticated = next;
	if (server->users_loaded) {
		verify(call);
		return;
	}
	call->waiting = true;
	call->next = verify;
	STAILQ_INSERT_TAIL(&server->users_waiting, call, link);
	s3_users_load(server);
}

/* What policies may ask about a request. */
static bool header_value(struct s3_call *call, struct bytes name, struct bytes *ret_value)
{
	char header[64];

	if (name.size >= sizeof(header))
		return false;
	memcpy(header, name.data, name.size);
	header[name.size] = '\0';
	return s3_header(call, header, ret_value);
}

static bool peer_address(struct s3_call *call, struct bytes *ret_value)
{
	const char *peer = call->request->peer, *end = strrchr(peer, ':');

	if (end == NULL || strncmp(peer, "unix:", 5) == 0) {
		*ret_value = BYTES("127.0.0.1");
		return true;
	}
	*ret_value = bytes_of(peer, (size_t)(end - peer));
	if (peer[0] == '[')
		*ret_value = bytes_of(peer + 1, (size_t)(end - peer) - 2);
	return true;
}

static bool tag_value(struct s3_call *call, struct bytes tags, struct bytes key,
                      struct bytes *ret_value)
{
	return s3_tags_find(tags, key, call->tag_memory, ret_value);
}

static bool aws_value(struct s3_call *call, struct bytes name, struct bytes *ret_value)
{
	if (bytes_equal_ignoring_case(name, BYTES("SourceIp")))
		return peer_address(call, ret_value);
	if (bytes_equal_ignoring_case(name, BYTES("SecureTransport"))) {
		*ret_value = call->request->secure ? BYTES("true") : BYTES("false");
		return true;
	}
	if (bytes_equal_ignoring_case(name, BYTES("CurrentTime")) ||
	    bytes_equal_ignoring_case(name, BYTES("EpochTime"))) {
		int size = snprintf(call->time_memory, sizeof(call->time_memory), "%llu",
		                    (unsigned long long)(s3_now_ms(call) / 1000));

		*ret_value = bytes_of(call->time_memory, (size_t)size);
		return true;
	}
	if (bytes_equal_ignoring_case(name, BYTES("UserAgent")))
		return s3_header(call, "user-agent", ret_value);
	if (bytes_equal_ignoring_case(name, BYTES("Referer")))
		return s3_header(call, "referer", ret_value);
	if (bytes_equal_ignoring_case(name, BYTES("username"))) {
		*ret_value = call->user_name;
		return !call->anonymous;
	}
	if (bytes_equal_ignoring_case(name, BYTES("userid"))) {
		*ret_value = call->user;
		return !call->anonymous;
	}
	if (bytes_equal_ignoring_case(name, BYTES("PrincipalType"))) {
		*ret_value = call->anonymous ? BYTES("Anonymous") : BYTES("User");
		return true;
	}
	return false;
}

static struct bytes skip(struct bytes bytes, size_t size)
{
	return bytes_of(bytes.data + size, bytes.size - size);
}

/* A key of a tag of the request: the one condition key that has several values. */
static bool tag_key(struct s3_call *call, uint32_t index, struct bytes *ret_key)
{
	struct bytes tags = call->request_tags, value;

	for (uint32_t i = 0; tags.size > 0; i++) {
		if (!s3_tags_next(&tags, call->tag_memory, ret_key, &value))
			return false;
		if (i == index)
			return true;
	}
	return false;
}

static bool s3_value(struct s3_call *call, struct bytes name, struct bytes *ret_value)
{
	static const char *const parameters[] = { "prefix", "delimiter", "max-keys" };

	for (size_t i = 0; i < 3; i++) {
		if (bytes_equal_ignoring_case(name, bytes_of(parameters[i], strlen(parameters[i]))))
			return s3_parameter(call, parameters[i], ret_value);
	}
	if (bytes_starts_with(name, BYTES("x-amz-")))
		return header_value(call, name, ret_value);
	if (bytes_equal_ignoring_case(name, BYTES("VersionId")))
		return s3_parameter(call, "versionId", ret_value);
	if (bytes_equal_ignoring_case(name, BYTES("if-match")) ||
	    bytes_equal_ignoring_case(name, BYTES("if-none-match")))
		return header_value(call, name, ret_value);
	if (bytes_starts_with(name, BYTES("ExistingObjectTag/")))
		return call->found.there &&
		       tag_value(call,
		                 obj_attribute_get(call->found.meta.attributes, S3_ATTRIBUTE_TAGS),
		                 skip(name, strlen("ExistingObjectTag/")), ret_value);
	if (bytes_starts_with(name, BYTES("RequestObjectTag/")))
		return tag_value(call, call->request_tags, skip(name, strlen("RequestObjectTag/")),
		                 ret_value);
	if (bytes_equal_ignoring_case(name, BYTES("authType"))) {
		*ret_value = call->sig.kind == SIGV4_QUERY ? BYTES("REST-QUERY-STRING")
		                                           : BYTES("REST-HEADER");
		return !call->anonymous;
	}
	if (bytes_equal_ignoring_case(name, BYTES("signatureversion"))) {
		*ret_value = BYTES("AWS4-HMAC-SHA256");
		return !call->anonymous;
	}
	return false;
}

static bool condition_value(void *owner, struct bytes name, uint32_t index, struct bytes *ret_value)
{
	if (bytes_equal_ignoring_case(name, BYTES("s3:RequestObjectTagKeys")))
		return tag_key(owner, index, ret_value);
	if (index > 0)
		return false;
	if (name.size > 4 && bytes_equal_ignoring_case(bytes_of(name.data, 4), BYTES("aws:")))
		return aws_value(owner, skip(name, 4), ret_value);
	if (name.size > 3 && bytes_equal_ignoring_case(bytes_of(name.data, 3), BYTES("s3:")))
		return s3_value(owner, skip(name, 3), ret_value);
	return false;
}

static enum s3_policy_effect ask_policy(struct s3_call *call)
{
	struct s3_server *server = call->server;
	struct s3_policy policy;
	const struct s3_policy_request request = {
		.user = call->user,
		.user_name = call->user_name,
		.action = call->action,
		.bucket = call->bucket,
		.key = call->key,
		.now_s = s3_now_ms(call) / 1000,
		.value = condition_value,
		.owner = call,
	};

	if (call->policy.size == 0)
		return S3_POLICY_SILENT;
	assert(call->policy.size <= S3_SCRATCH_SIZE);
	memcpy(server->scratch, call->policy.data, call->policy.size);
	if (!s3_policy_parse(&policy, call->bucket, server->scratch, call->policy.size,
	                     server->values))
		return S3_POLICY_DENIES; /* it was checked when it came: it is damaged */
	if (call->only_public && s3_policy_is_public(&policy) && !call->owner)
		return S3_POLICY_DENIES;
	return s3_policy_evaluate(&policy, &request);
}

static void grant(struct s3_call *call)
{
	call->decided = true;
	call->granted(call);
}

static void deny(struct s3_call *call)
{
	s3_reply_error(call, S3_ACCESS_DENIED);
}

static void decide_by_object(struct s3_call *call);

/* The object's own list: its owner may do what a list can grant. */
static bool object_allows(struct s3_call *call)
{
	struct bytes attributes = call->found.meta.attributes;
	struct bytes owner = call->found.brief.owner;
	struct s3_acl acl;

	if (owner.size == 0)
		owner = call->info.label;
	if (!call->anonymous && bytes_equal(owner, call->user))
		return true;
	if (call->enforced)
		return false;
	s3_acl_decode(&acl, obj_attribute_get(attributes, S3_ATTRIBUTE_ACL), owner);
	if (call->acl_ignored) {
		for (uint32_t i = 0; i < acl.count; i++) {
			if (acl.grants[i].grantee != S3_GRANTEE_USER)
				acl.grants[i].permission = 0;
		}
	}
	return s3_acl_allows(&acl, call->user, call->permission);
}

/*
 * The bucket's owner may everything; but where he has given the bucket a list that leaves himself
 * out, reading and writing in it is not among that.
 */
static bool owner_may(struct s3_call *call, uint8_t permission)
{
	struct s3_acl acl;

	if (!call->owner || call->enforced || call->bucket_acl.size == 0 ||
	    !(permission & (S3_READ | S3_WRITE)))
		return call->owner;
	s3_acl_decode(&acl, call->bucket_acl, call->info.label);
	return s3_acl_allows(&acl, call->user, permission);
}

static bool bucket_allows(struct s3_call *call, uint8_t permission)
{
	struct s3_acl acl;

	if (call->owner)
		return owner_may(call, permission);
	if (call->enforced)
		return false;
	s3_acl_decode(&acl, call->bucket_acl, call->info.label);
	if (call->acl_ignored) {
		for (uint32_t i = 0; i < acl.count; i++) {
			if (acl.grants[i].grantee != S3_GRANTEE_USER)
				acl.grants[i].permission = 0;
		}
	}
	return s3_acl_allows(&acl, call->user, permission);
}

static void object_headed(struct s3_call *call)
{
	if (call->req.status != STATUS_OK && call->req.status != STATUS_NOT_FOUND) {
		s3_reply_status(call);
		return;
	}
	call->object_known = true;
	decide_by_object(call);
}

static void head_object(struct s3_call *call)
{
	struct obj_cmd cmd = s3_command(call, OBJ_HEAD);

	cmd.visit = s3_visit_found;
	cmd.visitor = call;
	s3_submit(call, &cmd, object_headed);
}

static bool asks_for_tags(const struct s3_call *call)
{
	return call->policy.size > 0 && call->key.size > 0 &&
	       memmem(call->policy.data, call->policy.size, "ExistingObjectTag", 17) != NULL;
}

static void decide_by_object(struct s3_call *call)
{
	enum s3_policy_effect effect = ask_policy(call);
	bool there = call->found.there;

	call->found.there = false; /* the route looks by itself */
	/* Whoever owns the bucket can always take back a policy that shuts him out. */
	if (call->owner && call->owner_always) {
		grant(call);
		return;
	}
	if (effect == S3_POLICY_DENIES) {
		deny(call);
		return;
	}
	if (effect == S3_POLICY_ALLOWS ||
	    owner_may(call, call->object_acl ? 0 : call->permission)) {
		grant(call);
		return;
	}
	if (call->owner) {
		deny(call);
		return;
	}
	if (call->object_acl && there ? object_allows(call)
	    : call->object_acl        ? bucket_allows(call, S3_READ)
	                       : call->permission != 0 && bucket_allows(call, call->permission))
		grant(call);
	else
		deny(call);
}

static void decide(struct s3_call *call)
{
	bool object_acl = call->object_acl && !call->owner;

	if (call->undecided) {
		grant(call);
		return;
	}

	if (call->key.size > 0 && (object_acl || asks_for_tags(call)) && !call->object_known)
		head_object(call);
	else
		decide_by_object(call);
}

/* What is still to be read of the bucket before a decision: one document after the other. */
static void know_document(struct s3_call *call);

static void document_read(struct s3_call *call)
{
	enum s3_document document = (enum s3_document)call->reading_document;

	if (call->req.status == STATUS_NOT_FOUND) {
		call->document = (struct bytes){ 0 };
	} else if (call->req.status != STATUS_OK) {
		s3_reply_status(call);
		return;
	}
	if (document == S3_DOCUMENT_POLICY)
		call->policy = call->document;
	else if (document == S3_DOCUMENT_ACL)
		call->bucket_acl = call->document;
	else if (document == S3_DOCUMENT_PUBLIC_BLOCK)
		call->public_block = call->document;
	else if (document == S3_DOCUMENT_OWNERSHIP)
		call->ownership = call->document;
	else if (document == S3_DOCUMENT_LOCK)
		call->lock_rule = call->document;
	else if (document == S3_DOCUMENT_LIFECYCLE)
		call->lifecycle = call->document;
	know_document(call);
}

static bool says(struct bytes document, const char *what)
{
	return document.size > 0 &&
	       memmem(document.data, document.size, what, strlen(what)) != NULL;
}

static void know_document(struct s3_call *call)
{
	struct obj_cmd cmd = s3_command(call, OBJ_DOCUMENT_GET);
	uint32_t wanted = call->info.documents & call->documents_wanted;

	if (call->answered)
		return;
	if (wanted == 0) {
		call->acl_ignored = says(call->public_block, "<IgnorePublicAcls>true");
		call->only_public = says(call->public_block, "<RestrictPublicBuckets>true");
		call->enforced = says(call->ownership, "BucketOwnerEnforced");
		call->preferred = says(call->ownership, "BucketOwnerPreferred");
		decide(call);
		return;
	}
	cmd.part = (uint16_t)__builtin_ctz(wanted);
	cmd.visit = s3_visit_document;
	cmd.visitor = call;
	call->documents_wanted &= ~(1u << cmd.part);
	call->reading_document = cmd.part;
	call->document = (struct bytes){ 0 };
	s3_submit(call, &cmd, document_read);
}

static void visit_bucket(void *visitor, const struct obj_entry *entry)
{
	struct s3_call *call = visitor;

	call->info = entry->bucket;
	if (!s3_keep(call, entry->bucket.label, &call->info.label))
		assert(call->answered);
}

static void bucket_known(struct s3_call *call)
{
	struct bytes expected;

	if (call->answered)
		return;
	if (call->req.status != STATUS_OK) {
		s3_reply_status(call);
		return;
	}
	call->owner = !call->anonymous && bytes_equal(call->info.label, call->user);
	if (s3_header(call, "x-amz-expected-bucket-owner", &expected) &&
	    !bytes_equal(expected, call->info.label)) {
		deny(call);
		return;
	}
	call->documents_wanted = 1u << S3_DOCUMENT_POLICY;
	if (!call->owner)
		call->documents_wanted |= 1u << S3_DOCUMENT_ACL | 1u << S3_DOCUMENT_PUBLIC_BLOCK |
		                          1u << S3_DOCUMENT_OWNERSHIP;
	else if ((call->permission & (S3_READ | S3_WRITE) && !call->object_acl) ||
	         call->route->start == s3_policy_status)
		call->documents_wanted |= 1u << S3_DOCUMENT_ACL | 1u << S3_DOCUMENT_OWNERSHIP;
	if (call->route->target == S3_ON_OBJECT && call->permission != 0)
		call->documents_wanted |= 1u << S3_DOCUMENT_LIFECYCLE | 1u << S3_DOCUMENT_LOCK |
		                          1u << S3_DOCUMENT_OWNERSHIP |
		                          1u << S3_DOCUMENT_PUBLIC_BLOCK;
	if (call->permission == S3_WRITE_ACP)
		call->documents_wanted |=
		        1u << S3_DOCUMENT_PUBLIC_BLOCK | 1u << S3_DOCUMENT_OWNERSHIP;
	s3_cors_apply(call, know_document);
}

void s3_authorize(struct s3_call *call, s3_next_fn *next)
{
	struct obj_cmd cmd = s3_command(call, OBJ_BUCKET_GET);

	if (call->request_tags.size == 0)
		s3_header(call, "x-amz-tagging", &call->request_tags);
	call->granted = next;
	call->object_acl = call->by_object || (call->route->flags & S3_ROUTE_OBJECT_ACL) != 0;
	call->owner_always = call->route->document == S3_DOCUMENT_POLICY &&
	                     call->route->parameter != NULL &&
	                     strcmp(call->route->parameter, "policy") == 0;
	call->object_known = false;
	if (call->has_version && call->action == call->route->action)
		call->action = s3_version_action(call->action);
	cmd.flags = 0;
	cmd.version = 0;
	cmd.visit = visit_bucket;
	cmd.visitor = call;
	s3_submit(call, &cmd, bucket_known);
}

void s3_reauthorize(struct s3_call *call, const char *action, uint8_t permission, s3_next_fn *next)
{
	assert(call->info.label.size > 0); /* the bucket is known already */
	call->action = action;
	call->permission = permission;
	call->granted = next;
	call->object_acl = false;
	call->object_known = false;
	decide(call);
}

bool s3_may(struct s3_call *call, const char *action, uint8_t permission)
{
	enum s3_policy_effect effect;

	call->action = action;
	effect = ask_policy(call);
	if (effect != S3_POLICY_SILENT)
		return effect == S3_POLICY_ALLOWS;
	return owner_may(call, permission) || (permission != 0 && bucket_allows(call, permission));
}

const char *s3_version_action(const char *action)
{
	static const char *const pairs[][2] = {
		{ "s3:GetObject", "s3:GetObjectVersion" },
		{ "s3:DeleteObject", "s3:DeleteObjectVersion" },
		{ "s3:GetObjectAcl", "s3:GetObjectVersionAcl" },
		{ "s3:PutObjectAcl", "s3:PutObjectVersionAcl" },
		{ "s3:GetObjectTagging", "s3:GetObjectVersionTagging" },
		{ "s3:PutObjectTagging", "s3:PutObjectVersionTagging" },
		{ "s3:DeleteObjectTagging", "s3:DeleteObjectVersionTagging" },
		{ "s3:GetObjectAttributes", "s3:GetObjectVersionAttributes" },
	};

	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		if (strcmp(action, pairs[i][0]) == 0)
			return pairs[i][1];
	}
	return action;
}
