/* SPDX-License-Identifier: Apache-2.0 */
/* POST Object: a form of a browser, whose fields say what headers say elsewhere. */
#include "base/assert.h"
#include "server/s3_form.h"
#include "server/s3_operations.h"
#include "wire/s3_form.h"
#include "wire/s3_tags.h"
#include "wire/s3_uri.h"

/* Memory: the call's. */
struct post_state {
	struct s3_form form;
	struct http_field fields[S3_FORM_FIELDS_MAX + 1];
	char key[OBJ_NAME_MAX];
	bool granted, ended, asking;
	struct s3_form_limits limits;
};

static struct post_state *state_of(struct s3_call *call)
{
	assert(call->state != NULL);
	return call->state;
}

static void post_done(struct s3_call *call)
{
	const struct s3_form *form = &state_of(call)->form;
	struct bytes redirect = s3_form_value(form, "success_action_redirect");
	struct bytes status = s3_form_value(form, "success_action_status");
	char location[4096];
	struct text text;

	if (call->answered)
		return;
	if (call->req.status != STATUS_OK) {
		s3_reply_write_status(call);
		return;
	}
	s3_upload_release(call);
	text_init(&text, location, sizeof(location));
	if (redirect.size == 0)
		redirect = s3_form_value(form, "redirect");
	if (bytes_starts_with(redirect, BYTES("http://")) ||
	    bytes_starts_with(redirect, BYTES("https://"))) {
		text_add(&text, redirect);
		text_put(&text, memchr(redirect.data, '?', redirect.size) == NULL ? '?' : '&');
		text_string(&text, "bucket=");
		s3_uri_encode(&text, call->bucket, false);
		text_string(&text, "&key=");
		s3_uri_encode(&text, call->key, true);
		text_string(&text, "&etag=%22");
		s3_uri_encode(&text, call->put.etag, false);
		text_string(&text, "%22");
		s3_reply(call, 303);
		s3_field(call, "Location", text_bytes(&text));
		s3_put_reply_fields(call);
		s3_end(call);
		return;
	}
	text_string(&text, call->request->secure ? "https://" : "http://");
	text_add(&text, call->request->host);
	text_put(&text, '/');
	s3_uri_encode(&text, call->bucket, false);
	text_put(&text, '/');
	s3_uri_encode(&text, call->key, true);
	if (bytes_equal(status, BYTES("201"))) {
		if (!s3_begin_xml(call, 16384))
			return;
		xml_open(&call->out, "PostResponse");
		xml_bytes(&call->out, "Location", text_bytes(&text));
		xml_bytes(&call->out, "Bucket", call->bucket);
		xml_bytes(&call->out, "Key", call->key);
		xml_open(&call->out, "ETag");
		text_string(&call->out, "&quot;");
		text_add(&call->out, call->put.etag);
		text_string(&call->out, "&quot;");
		xml_close(&call->out, "ETag");
		xml_close(&call->out, "PostResponse");
	}
	s3_reply(call, bytes_equal(status, BYTES("201"))   ? 201
	               : bytes_equal(status, BYTES("200")) ? 200
	                                                   : 204);
	s3_field(call, "Location", text_bytes(&text));
	s3_put_reply_fields(call);
	if (call->out_buf != NULL)
		s3_end_xml(call);
	else
		s3_end(call);
}

static void post_ready(struct s3_call *call)
{
	struct post_state *state = state_of(call);

	if (!state->ended || !state->granted) {
		s3_reply_error(call, S3_MALFORMED_POST);
		return;
	}
	s3_put_finish_meta(call, &call->upload->payload);
	s3_upload_commit(call, post_done);
}

/* Tags come as XML in a form. */
static bool read_tagging(struct s3_call *call)
{
	struct bytes tagging = s3_form_value(&state_of(call)->form, "tagging"), copy;
	struct text text;
	uint32_t count;
	enum s3_error error;

	if (tagging.size == 0)
		return true;
	if (!s3_keep(call, tagging, &copy))
		return false;
	text_init(&text, call->server->scratch, S3_TAGS_TEXT_MAX);
	error = s3_tags_parse_xml((uint8_t *)(uintptr_t)copy.data, copy.size, S3_TAGS_OBJECT_MAX,
	                          &text, &count);
	if (error != S3_NONE) {
		s3_reply_error(call, error);
		return false;
	}
	return s3_keep(call, text_bytes(&text), &call->request_tags);
}

static void post_granted(struct s3_call *call)
{
	struct post_state *state = state_of(call);
	enum s3_checksum_kind kind = S3_CHECKSUM_NONE;
	struct bytes value = { 0 };

	if (!s3_meta_read(call, false) ||
	    (call->request_tags.size > 0 &&
	     !s3_attribute_set(call, S3_ATTRIBUTE_TAGS, call->request_tags)) ||
	    !s3_lock_default(call))
		return;
	for (uint32_t i = 0; i < call->field_count; i++) {
		enum s3_checksum_kind found = s3_checksum_of_header(call->fields[i].name);

		if (found == S3_CHECKSUM_NONE)
			continue;
		kind = found;
		value = call->fields[i].value;
	}
	s3_put_encrypt(call);
	s3_upload_plain(call, kind, UINT64_MAX);
	if (kind != S3_CHECKSUM_NONE) {
		struct s3_payload *payload = &call->upload->payload;

		payload->has_checksum = true;
		if (!s3_checksum_parse(kind, value, payload->checksum_expected)) {
			s3_reply_error(call, S3_INVALID_CHECKSUM);
			return;
		}
	}
	call->upload->size_min = state->limits.size_min;
	call->upload->size_max = state->limits.size_max < OBJ_PART_SIZE_MAX ? state->limits.size_max
	                                                                    : OBJ_PART_SIZE_MAX;
	state->asking = false;
	state->granted = true;
	if (call->aborted)
		s3_give_up(call);
	else
		http_body_want(call->exchange);
}

/* Fields as headers: names in lower case, "acl" as the header's name. */
static void become_fields(struct s3_call *call)
{
	struct post_state *state = state_of(call);
	struct s3_form *form = &state->form;
	uint32_t count = 0;

	for (uint32_t i = 0; i < form->field_count; i++) {
		struct bytes name = form->fields[i].name;

		http_lower((uint8_t *)(uintptr_t)name.data, name.size);
		if (bytes_equal(name, BYTES("acl")))
			name = BYTES("x-amz-acl");
		state->fields[count++] =
		        (struct http_field){ .name = name, .value = form->fields[i].value };
	}
	call->fields = state->fields;
	call->field_count = count;
}

/* "${filename}" in the key is the file's name. */
static bool read_key(struct s3_call *call)
{
	struct post_state *state = state_of(call);
	struct bytes key = s3_form_value(&state->form, "key"), mark = BYTES("${filename}");
	struct text text;
	const uint8_t *found;

	if (key.size == 0) {
		s3_reply_error(call, S3_USER_KEY_MUST_BE_SPECIFIED);
		return false;
	}
	text_init(&text, state->key, sizeof(state->key));
	while ((found = memmem(key.data, key.size, mark.data, mark.size)) != NULL) {
		text_add(&text, bytes_of(key.data, (size_t)(found - key.data)));
		text_add(&text, state->form.file_name);
		key = bytes_of(found + mark.size,
		               key.size - (size_t)(found + mark.size - key.data));
	}
	text_add(&text, key);
	call->key = text_bytes(&text);
	if (text.overflowed)
		s3_reply_error(call, S3_KEY_TOO_LONG);
	else if (call->key.size == 0 || memchr(call->key.data, 0, call->key.size) != NULL ||
	         !utf8_is_valid(call->key))
		s3_reply_error(call, S3_INVALID_ARGUMENT);
	return !call->answered;
}

/* Who has signed the policy; false: it has answered. */
static bool read_signer(struct s3_call *call)
{
	struct post_state *state = state_of(call);
	const struct s3_form *form = &state->form;
	struct bytes policy = s3_form_value(form, "policy");
	struct bytes signature = s3_form_value(form, "x-amz-signature");
	struct bytes credential = s3_form_value(form, "x-amz-credential");
	struct s3_server *server = call->server;
	const struct s3_user *user;
	bool right, v4 = credential.size > 0;

	if (!v4) {
		credential = s3_form_value(form, "AWSAccessKeyId");
		signature = s3_form_value(form, "signature");
	}
	call->anonymous = !s3_form_has(form, "policy");
	if (call->anonymous)
		return true;
	if (credential.size == 0 || signature.size == 0 ||
	    (v4 && !sigv4_parse_credential(&call->sig, credential))) {
		s3_reply_error(call, S3_INVALID_ARGUMENT);
		return false;
	}
	user = s3_user_of_access(server, v4 ? call->sig.access_key : credential);
	if (user == NULL) {
		s3_reply_error(call, S3_INVALID_ACCESS_KEY_ID);
		return false;
	}
	if (v4) {
		sigv4_signing_key(&server->sha256, bytes_of(user->secret, user->secret_size),
		                  &call->sig, call->signing_key);
		right = sigv4_verify_policy(&server->sha256, call->signing_key, policy, signature);
	} else {
		right = sigv2_verify_policy(&server->sha1,
		                            bytes_of(user->secret, user->secret_size), policy,
		                            signature);
	}
	if (!right) {
		s3_reply_error(call, S3_SIGNATURE_DOES_NOT_MATCH);
		return false;
	}
	return s3_keep(call, bytes_of(user->id, user->id_size), &call->user) &&
	       s3_keep(call, bytes_of(user->name, user->name_size), &call->user_name);
}

static bool check_policy(struct s3_call *call)
{
	struct post_state *state = state_of(call);
	struct bytes policy = s3_form_value(&state->form, "policy");
	uint8_t *data = call->server->scratch;
	enum s3_error error = S3_INVALID_POLICY_DOCUMENT;
	size_t size;

	state->limits = (struct s3_form_limits){ .size_max = UINT64_MAX };
	if (call->anonymous)
		return true;
	if (base64_parse(policy, data, S3_SCRATCH_SIZE, &size)) {
		const struct s3_form_policy check = {
			.form = &state->form,
			.bucket = call->bucket,
			.now_s = s3_now_ms(call) / 1000,
			.data = data,
			.size = size,
			.values = call->server->values,
		};

		error = s3_form_check_policy(&check, &state->limits);
	}
	if (error != S3_NONE)
		s3_reply_error(call, error);
	return error == S3_NONE;
}

/* All fields are there, and the keys are loaded. */
static void ask(struct s3_call *call)
{
	struct post_state *state = state_of(call);

	/* A condition on the key is on the field as it was sent. */
	if (!read_signer(call) || !check_policy(call) || !read_key(call))
		return;
	become_fields(call);
	if (state->form.file_type.size > 0 && !s3_form_has(&state->form, "content-type"))
		state->fields[call->field_count++] =
		        (struct http_field){ .name = BYTES("content-type"),
			                     .value = state->form.file_type };
	if (read_tagging(call))
		s3_authorize(call, post_granted);
}

static void wait_for_users(struct s3_call *call)
{
	struct s3_server *server = call->server;

	if (server->users_loaded) {
		ask(call);
		return;
	}
	call->waiting = true;
	call->next = ask;
	STAILQ_INSERT_TAIL(&server->users_waiting, call, link);
	s3_users_load(server);
}

/* Of a file, room for what a delimiter that was none gives back, too. */
enum { DELIMITER_ROOM = 4 + S3_FORM_BOUNDARY_MAX };

static size_t feed_file(struct s3_call *call, struct bytes piece)
{
	struct post_state *state = state_of(call);
	size_t room = s3_upload_room(call), size = piece.size;
	struct bytes input;

	if (room <= DELIMITER_ROOM) {
		call->upload->starved = true;
		assert(call->upload->flying);
		return 0;
	}
	if (size > room - DELIMITER_ROOM)
		size = room - DELIMITER_ROOM;
	input = bytes_of(piece.data, size);
	while (input.size > 0 && !state->ended) {
		enum s3_form_event event = s3_form_next(&state->form, &input);

		if (event == S3_FORM_END)
			state->ended = true;
		if (event == S3_FORM_ERROR && call->upload->error == S3_NONE)
			call->upload->error = state->form.error;
		if (event != S3_FORM_DATA)
			break;
		s3_upload_feed(call, state->form.data);
		if (call->answered || call->upload->error != S3_NONE)
			return piece.size;
	}
	if (size < piece.size && !state->ended) {
		call->upload->starved = call->upload->flying;
		if (!call->upload->flying)
			http_body_want(call->exchange);
		return size;
	}
	return piece.size;
}

size_t s3_form_body(struct s3_call *call, struct bytes piece)
{
	struct post_state *state = state_of(call);
	struct bytes input = piece;

	if (state->ended)
		return piece.size;
	if (state->granted)
		return feed_file(call, piece);
	if (state->asking)
		return 0;
	switch (s3_form_next(&state->form, &input)) {
	case S3_FORM_MORE:
		return piece.size;
	case S3_FORM_FILE:
		state->asking = true;
		wait_for_users(call);
		return piece.size - input.size;
	case S3_FORM_ERROR:
		s3_reply_error(call, state->form.error);
		return piece.size;
	case S3_FORM_DATA:
	case S3_FORM_END:
		break;
	}
	unreachable();
}

void s3_form_body_ended(struct s3_call *call)
{
	struct post_state *state = state_of(call);

	if (!state->ended && call->upload->error == S3_NONE)
		call->upload->error = S3_MALFORMED_POST;
}

void s3_post_form(struct s3_call *call)
{
	struct post_state *state = s3_alloc(call, sizeof(*state));
	struct bytes type;

	if (state == NULL)
		return;
	memset(state, 0, sizeof(*state));
	call->state = state;
	s3_header(call, "content-type", &type);
	if (!s3_form_init(&state->form, type)) {
		s3_reply_error_text(call, S3_PRECONDITION_FAILED,
		                    "Bucket POST must be of the enclosure-type "
		                    "multipart/form-data");
		return;
	}
	if (!s3_upload_take(call))
		return;
	call->upload->form = &state->form;
	call->upload->ready = post_ready;
	call->upload->piece_size = S3_PIECE_SIZE;
	http_body_want(call->exchange);
}
