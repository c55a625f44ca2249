/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/obj.h"

#include "base/assert.h"
#include "core/worker.h"

static bool takes_bucket(enum obj_op op)
{
	switch (op) {
	case OBJ_BUCKET_LIST:
	case OBJ_WRITE:
	case OBJ_COMMIT:
	case OBJ_ABORT:
	case OBJ_READ:
	case OBJ_RELEASE:
		return false;
	default:
		return true;
	}
}

static bool takes_name(enum obj_op op)
{
	switch (op) {
	case OBJ_BUCKET_CREATE:
	case OBJ_BUCKET_DELETE:
	case OBJ_BUCKET_GET:
	case OBJ_BUCKET_UPDATE:
	case OBJ_DOCUMENT_PUT:
	case OBJ_DOCUMENT_GET:
	case OBJ_LIST:
	case OBJ_LIST_VERSIONS:
	case OBJ_LIST_UPLOADS:
		return false;
	default:
		return takes_bucket(op);
	}
}

static void check_settings(const struct obj_settings *settings)
{
	assert(settings != NULL);
	assert(settings->label.size <= OBJ_LABEL_MAX);
	assert(settings->versioning <= OBJ_VERSIONING_SUSPENDED);
}

static void check_list(const struct obj_cmd *cmd)
{
	assert(cmd->list != NULL && cmd->list->limit > 0);
	assert(cmd->visit != NULL);
	assert(cmd->list->prefix.size <= OBJ_NAME_MAX);
	assert(cmd->list->delimiter.size <= OBJ_DELIMITER_MAX);
	assert(cmd->list->after.size <= OBJ_NAME_MAX);
}

static void check_put(const struct obj_put *put)
{
	const uint32_t modes = OBJ_GOVERNANCE | OBJ_COMPLIANCE;

	assert(put != NULL);
	assert(put->etag.size <= OBJ_ETAG_MAX);
	assert(put->brief.size <= OBJ_BRIEF_MAX);
	assert(put->attributes.size <= OBJ_ATTRIBUTES_MAX);
	assert((put->flags & ~(modes | OBJ_HOLD)) == 0);
	assert((put->flags & modes) != modes);
	assert((put->retain_until_ms != 0) == ((put->flags & modes) != 0));
	assert(put->condition.etag.size <= OBJ_ETAG_MAX);
	assert_slow(obj_attributes_are_sane(put->attributes));
}

static void check_upload(const struct obj_cmd *cmd)
{
	assert(cmd->upload == 0 || (cmd->part >= 1 && cmd->part <= OBJ_PARTS_MAX));
	assert(cmd->upload != 0 || cmd->part == 0);
}

/* What each command needs beside where it goes. */
static void check_operands(const struct obj_cmd *cmd)
{
	switch ((enum obj_op)cmd->op) {
	case OBJ_BUCKET_CREATE:
	case OBJ_BUCKET_UPDATE:
		check_settings(cmd->settings);
		break;
	case OBJ_BUCKET_GET:
		assert(cmd->visit != NULL);
		break;
	case OBJ_DOCUMENT_PUT:
		assert(cmd->part < OBJ_DOCUMENTS && cmd->value.size <= OBJ_DOCUMENT_MAX);
		break;
	case OBJ_DOCUMENT_GET:
		assert(cmd->part < OBJ_DOCUMENTS && cmd->visit != NULL);
		break;
	case OBJ_PUT:
		assert(cmd->value.size <= OBJ_PIECE_MAX);
		check_put(cmd->put);
		check_upload(cmd);
		break;
	case OBJ_CREATE:
		check_upload(cmd);
		break;
	case OBJ_WRITE:
		assert(cmd->value.size > 0 && cmd->value.size <= OBJ_PIECE_MAX);
		break;
	case OBJ_COMMIT:
	case OBJ_UPDATE:
	case OBJ_UPLOAD_CREATE:
		check_put(cmd->put);
		break;
	case OBJ_DELETE:
		if (cmd->put != NULL)
			check_put(cmd->put);
		break;
	case OBJ_READ:
		assert(cmd->out != NULL && cmd->out_size > 0 && cmd->out_size <= OBJ_PIECE_MAX);
		break;
	case OBJ_UPLOAD_COMPLETE:
		check_put(cmd->put);
		assert(cmd->complete != NULL && cmd->complete->count <= OBJ_PARTS_MAX);
		break;
	case OBJ_PARTS:
	case OBJ_UPLOAD_PARTS:
	case OBJ_BUCKET_LIST:
	case OBJ_LIST:
	case OBJ_LIST_VERSIONS:
	case OBJ_LIST_UPLOADS:
		check_list(cmd);
		break;
	default:
		break;
	}
}

static void check_command(const struct obj_cmd *cmd)
{
	enum obj_op op = (enum obj_op)cmd->op;

	assert(op < OBJ_OP_COUNT);
	if (takes_bucket(op))
		assert(cmd->bucket.size > 0 && cmd->bucket.size <= OBJ_BUCKET_NAME_MAX);
	if (takes_name(op)) {
		assert(cmd->name.size > 0 && cmd->name.size <= OBJ_NAME_MAX);
		assert_slow(memchr(cmd->name.data, 0, cmd->name.size) == NULL);
	}
	check_operands(cmd);
}

void obj_submit(struct obj *obj, struct req *req, const struct obj_cmd *cmd)
{
	enum status status;

	assert(req->worker == obj->worker);
	assert(req->state != REQ_DONE);
	assert(req->frame_end + obj->frames_size <= REQ_FRAMES_SIZE);
	check_command(cmd);

	req->state = REQ_RUNNING;
	status = req_check(req);
	/* What gives back is done in any case. */
	if (status != STATUS_OK && cmd->op != OBJ_ABORT && cmd->op != OBJ_RELEASE) {
		req_complete(req, status, 0);
		return;
	}
	obj->ops->submit(obj, req, cmd);
}

/* An attribute: number (1), zero (1), size (2, little-endian), value. */
enum { ATTRIBUTE_HEADER = 4 };

/* The one at *at, which moves on; false: there is none, or it is damaged. */
static bool next_attribute(struct bytes attributes, size_t *at, unsigned *number,
                           struct bytes *value)
{
	const uint8_t *header = attributes.data + *at;
	size_t left = attributes.size - *at;
	size_t size;

	if (left < ATTRIBUTE_HEADER)
		return false;
	size = (size_t)header[2] | (size_t)header[3] << 8;
	if (size > left - ATTRIBUTE_HEADER)
		return false;
	*number = header[0];
	*value = bytes_of(header + ATTRIBUTE_HEADER, size);
	*at += ATTRIBUTE_HEADER + size;
	return true;
}

struct bytes obj_attribute_get(struct bytes attributes, unsigned number)
{
	size_t at = 0;
	unsigned found;
	struct bytes value;

	assert(number <= OBJ_ATTRIBUTE_NUMBER_MAX);
	while (next_attribute(attributes, &at, &found, &value)) {
		if (found == number)
			return value;
	}
	return (struct bytes){ NULL, 0 };
}

bool obj_attributes_are_sane(struct bytes attributes)
{
	size_t at = 0;
	unsigned number;
	struct bytes value;

	while (next_attribute(attributes, &at, &number, &value))
		continue;
	return at == attributes.size;
}

bool obj_attribute_add(struct obj_attributes *to, unsigned number, struct bytes value)
{
	uint8_t *header = to->data + to->size;

	assert(number <= OBJ_ATTRIBUTE_NUMBER_MAX);
	assert(to->size <= to->size_max);
	if (value.size > UINT16_MAX || value.size + ATTRIBUTE_HEADER > to->size_max - to->size)
		return false;
	header[0] = (uint8_t)number;
	header[1] = 0;
	header[2] = (uint8_t)value.size;
	header[3] = (uint8_t)(value.size >> 8);
	if (value.size > 0)
		memcpy(header + ATTRIBUTE_HEADER, value.data, value.size);
	to->size += ATTRIBUTE_HEADER + value.size;
	return true;
}

static bool has_attribute(struct bytes attributes, unsigned number)
{
	size_t at = 0;
	unsigned found;
	struct bytes value;

	while (next_attribute(attributes, &at, &found, &value)) {
		if (found == number)
			return true;
	}
	return false;
}

bool obj_attributes_merge(struct obj_attributes *to, struct bytes base, struct bytes changes)
{
	size_t start = to->size;
	size_t at = 0;
	unsigned number;
	struct bytes value;
	bool fits = true;

	while (fits && next_attribute(base, &at, &number, &value)) {
		if (!has_attribute(changes, number))
			fits = obj_attribute_add(to, number, value);
	}
	at = 0;
	while (fits && next_attribute(changes, &at, &number, &value)) {
		if (value.size > 0)
			fits = obj_attribute_add(to, number, value);
	}
	if (!fits)
		to->size = start;
	return fits;
}
