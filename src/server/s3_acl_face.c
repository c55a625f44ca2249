/* SPDX-License-Identifier: Apache-2.0 */
/* Access lists of buckets and objects. */
#include "base/assert.h"
#include "server/s3_operations.h"

struct acl_state {
	struct s3_acl acl;
	char kept[S3_ACL_SIZE_MAX + 1];
	struct text text;
};

static void reply_acl(struct s3_call *call, struct bytes kept, struct bytes owner)
{
	struct s3_names names = s3_names(call->server);
	struct s3_acl acl;

	s3_acl_decode(&acl, kept, owner);
	if (!s3_begin_xml(call, 64 << 10))
		return;
	call->out.size = 0;
	s3_acl_write_xml(&acl, owner, &names, &call->out);
	s3_reply(call, 200);
	s3_end_xml(call);
}

static void bucket_acl_got(struct s3_call *call)
{
	if (call->answered)
		return;
	if (call->req.status != STATUS_OK &&
	    (call->req.status != STATUS_NOT_FOUND || call->req.result != OBJ_NO_DOCUMENT))
		s3_reply_status(call);
	else
		reply_acl(call, call->document, call->info.label);
}

void s3_bucket_acl_get(struct s3_call *call)
{
	struct obj_cmd cmd = s3_command(call, OBJ_DOCUMENT_GET);

	cmd.part = S3_DOCUMENT_ACL;
	cmd.visit = s3_visit_document;
	cmd.visitor = call;
	call->document = (struct bytes){ 0 };
	s3_submit(call, &cmd, bucket_acl_got);
}

/* From headers, or else from the body. The owner stays who it is. */
static bool read_acl(struct s3_call *call, struct bytes owner)
{
	struct acl_state *state = s3_alloc(call, sizeof(*state));
	enum s3_error error = S3_NONE;
	bool said;

	if (state == NULL)
		return false;
	call->state = state;
	if (call->enforced) {
		s3_reply_error(call, S3_ACCESS_CONTROL_LIST_NOT_SUPPORTED);
		return false;
	}
	if (!s3_acl_read(call, &state->acl, &said))
		return false;
	if (said && call->body.size > 0)
		error = S3_UNEXPECTED_CONTENT;
	else if (!said && call->body.size == 0)
		error = S3_MALFORMED_ACL;
	else if (!said)
		error = s3_acl_parse_xml(&state->acl, (uint8_t *)(uintptr_t)call->body.data,
		                         call->body.size);
	if (error == S3_NONE && state->acl.owner.size > 0 && !bytes_equal(state->acl.owner, owner))
		error = S3_ACCESS_DENIED;
	if (error != S3_NONE) {
		s3_reply_error(call, error);
		return false;
	}
	if (!said && !s3_acl_resolve(call, &state->acl))
		return false;
	if (s3_acl_is_public(&state->acl) && s3_block_says(call, "<BlockPublicAcls>true")) {
		s3_reply_error(call, S3_ACCESS_DENIED);
		return false;
	}
	text_init(&state->text, state->kept, sizeof(state->kept));
	s3_acl_encode(&state->acl, owner, &state->text);
	return true;
}

static void acl_put(struct s3_call *call)
{
	if (call->req.status == STATUS_NOT_FOUND && call->req.result == OBJ_NO_DOCUMENT)
		call->req.status = STATUS_OK;
	if (call->req.status != STATUS_OK) {
		s3_reply_status(call);
		return;
	}
	s3_reply(call, 200);
	if (call->key.size > 0)
		s3_field_version(call, "x-amz-version-id", &call->found.meta);
	s3_end(call);
}

void s3_bucket_acl_put(struct s3_call *call)
{
	struct obj_cmd cmd = s3_command(call, OBJ_DOCUMENT_PUT);
	struct acl_state *state;

	/* A canned list speaks of the bucket's owner, whoever sets it. */
	if (!call->anonymous)
		call->user = call->info.label;
	if (!read_acl(call, call->info.label))
		return;
	state = call->state;
	cmd.part = S3_DOCUMENT_ACL;
	cmd.value = text_bytes(&state->text);
	s3_submit(call, &cmd, acl_put);
}

static struct bytes owner_of(const struct s3_call *call)
{
	struct bytes owner = obj_attribute_get(call->found.meta.attributes, S3_ATTRIBUTE_OWNER);

	return owner.size > 0 ? owner : call->info.label;
}

static void object_acl_got(struct s3_call *call)
{
	if (call->answered)
		return;
	if (call->req.status != STATUS_OK)
		s3_reply_status(call);
	else
		reply_acl(call, obj_attribute_get(call->found.meta.attributes, S3_ATTRIBUTE_ACL),
		          owner_of(call));
}

static void head(struct s3_call *call, s3_next_fn *next)
{
	struct obj_cmd cmd = s3_command(call, OBJ_HEAD);

	cmd.visit = s3_visit_found;
	cmd.visitor = call;
	s3_submit(call, &cmd, next);
}

void s3_object_acl_get(struct s3_call *call)
{
	head(call, object_acl_got);
}

static void object_known(struct s3_call *call)
{
	struct obj_cmd cmd = s3_command(call, OBJ_UPDATE);
	struct acl_state *state;
	struct bytes owner;

	if (call->answered)
		return;
	if (call->req.status != STATUS_OK) {
		s3_reply_status(call);
		return;
	}
	owner = owner_of(call);
	call->user = owner;
	if (!read_acl(call, owner) || !s3_attributes_init(call))
		return;
	state = call->state;
	if (!s3_attribute_set(call, S3_ATTRIBUTE_ACL, text_bytes(&state->text)))
		return;
	call->put.attributes = bytes_of(call->attributes.data, call->attributes.size);
	cmd.put = &call->put;
	s3_submit(call, &cmd, acl_put);
}

void s3_object_acl_put(struct s3_call *call)
{
	head(call, object_known);
}
