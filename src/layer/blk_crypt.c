/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hides content: AES-256-XTS, the tweak being the number of the unit. Writes are encrypted into
 * buffers of ours, because a submitter's memory is not ours to change; reads are decrypted where
 * they are wanted. It hides and proves nothing: whoever can write to the device can put back units
 * that were there before, or noise, and nobody sees it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/digest.h"
#include "base/xts.h"
#include "core/worker.h"
#include "layer/layer.h"

struct buffer {
	SLIST_ENTRY(buffer) link;
	struct iovec iov;
};

struct crypt {
	struct blk blk;
	struct blk *lower;
	struct stack_env *env;
	struct xts xts;
	uint32_t unit_size;
	SLIST_HEAD(, buffer) free;
	struct req_list parked; /* writes that wait for a buffer */
	struct buffer *buffers;
	uint8_t *memory; /* the buffers' data, and a unit for reads in pieces */
	size_t memory_size;
	uint8_t *unit;
};

struct crypt_frame {
	struct frame frame;
	struct crypt *crypt;
	struct buffer *buffer; /* write */
	struct blk_cmd cmd;
};

enum { OPTION_KEY, OPTION_UNIT, OPTION_BUFFERS, OPTION_TRANSFER, OPTION_DISCARD };

enum { KEY_TEXT_MAX = 2 * XTS_KEY_SIZE + 2 };

/* A walk over a command's vector. */
struct walk {
	const struct iovec *iov;
	size_t at; /* in iov[0] */
};

static uint8_t *walk_whole(struct walk *walk, size_t size)
{
	uint8_t *here;

	while (walk->at == walk->iov->iov_len) {
		walk->iov++;
		walk->at = 0;
	}
	if (walk->iov->iov_len - walk->at < size)
		return NULL;
	here = (uint8_t *)walk->iov->iov_base + walk->at;
	walk->at += size;
	return here;
}

/* `size` bytes that lie in pieces, from the vector or into it. */
static void walk_pieces(struct walk *walk, uint8_t *memory, size_t size, bool into)
{
	while (size > 0) {
		size_t part = walk->iov->iov_len - walk->at;
		uint8_t *piece = (uint8_t *)walk->iov->iov_base + walk->at;

		part = part < size ? part : size;
		if (part > 0 && into)
			memcpy(piece, memory, part);
		else if (part > 0)
			memcpy(memory, piece, part);
		memory += part;
		size -= part;
		walk->at += part;
		if (size > 0) {
			walk->iov++;
			walk->at = 0;
		}
	}
}

static uint64_t first_unit(const struct crypt *crypt, const struct blk_cmd *cmd)
{
	return cmd->lba * (crypt->blk.geometry.block_size / crypt->unit_size);
}

static uint64_t unit_count(const struct crypt *crypt, const struct blk_cmd *cmd)
{
	return cmd->block_count * (crypt->blk.geometry.block_size / crypt->unit_size);
}

static void decrypt(struct crypt *crypt, const struct blk_cmd *cmd)
{
	uint64_t first = first_unit(crypt, cmd), count = unit_count(crypt, cmd);
	struct walk walk = { .iov = cmd->iov };
	uint32_t size = crypt->unit_size;

	for (uint64_t i = 0; i < count; i++) {
		uint8_t *whole = walk_whole(&walk, size);
		struct walk start = walk;

		if (whole != NULL) {
			xts_decrypt(&crypt->xts, first + i, bytes_of(whole, size), whole);
			continue;
		}
		walk_pieces(&walk, crypt->unit, size, false);
		xts_decrypt(&crypt->xts, first + i, bytes_of(crypt->unit, size), crypt->unit);
		walk_pieces(&start, crypt->unit, size, true);
	}
}

static void encrypt(struct crypt *crypt, const struct blk_cmd *cmd, uint8_t *out)
{
	uint64_t first = first_unit(crypt, cmd), count = unit_count(crypt, cmd);
	struct walk walk = { .iov = cmd->iov };
	uint32_t size = crypt->unit_size;

	for (uint64_t i = 0; i < count; i++, out += size) {
		const uint8_t *whole = walk_whole(&walk, size);

		if (whole == NULL) {
			walk_pieces(&walk, out, size, false);
			whole = out;
		}
		xts_encrypt(&crypt->xts, first + i, bytes_of(whole, size), out);
	}
}

static void write_on(struct crypt *crypt, struct req *req)
{
	struct crypt_frame *frame = req_top(req, struct crypt_frame);
	struct buffer *buffer = SLIST_FIRST(&crypt->free);
	struct blk_cmd cmd = frame->cmd;

	assert(buffer != NULL);
	SLIST_REMOVE_HEAD(&crypt->free, link);
	frame->buffer = buffer;
	encrypt(crypt, &cmd, buffer->iov.iov_base);
	buffer->iov.iov_len = (size_t)cmd.block_count * crypt->blk.geometry.block_size;
	cmd.iov = &buffer->iov;
	cmd.iov_count = 1;
	blk_submit(crypt->lower, req, &cmd);
}

static void write_done(struct req *req)
{
	const struct crypt_frame *frame = req_pop(req, struct crypt_frame);
	struct crypt *crypt = frame->crypt;
	struct req *next = STAILQ_FIRST(&crypt->parked);

	SLIST_INSERT_HEAD(&crypt->free, frame->buffer, link);
	req_complete(req, req->status, req->result);
	if (next == NULL)
		return;
	STAILQ_REMOVE_HEAD(&crypt->parked, link);
	write_on(crypt, next);
}

static void read_done(struct req *req)
{
	const struct crypt_frame *frame = req_pop(req, struct crypt_frame);

	if (req->status == STATUS_OK)
		decrypt(frame->crypt, &frame->cmd);
	req_complete(req, req->status, req->result);
}

static void crypt_submit(struct blk *blk, struct req *req, const struct blk_cmd *cmd)
{
	struct crypt *crypt = container_of(blk, struct crypt, blk);
	struct crypt_frame *frame;

	if (cmd->op != BLK_READ && cmd->op != BLK_WRITE) {
		assert(cmd->op != BLK_ZEROES); /* it is not in our geometry */
		blk_submit(crypt->lower, req, cmd);
		return;
	}
	frame = req_push(req, struct crypt_frame, cmd->op == BLK_READ ? read_done : write_done);
	frame->crypt = crypt;
	frame->cmd = *cmd;
	if (cmd->op == BLK_READ)
		blk_submit(crypt->lower, req, cmd);
	else if (SLIST_EMPTY(&crypt->free) || !STAILQ_EMPTY(&crypt->parked))
		STAILQ_INSERT_TAIL(&crypt->parked, req, link);
	else
		write_on(crypt, req);
}

static void crypt_describe(const struct blk *blk, char *out, size_t out_max)
{
	snprintf(out, out_max, "AES-256-XTS, units of %u bytes",
	         container_of(blk, struct crypt, blk)->unit_size);
}

static void crypt_close(struct blk *blk)
{
	struct crypt *crypt = container_of(blk, struct crypt, blk);

	assert(STAILQ_EMPTY(&crypt->parked));
	if (crypt->xts.encrypt != NULL)
		xts_close(&crypt->xts);
	layer_memory_close(crypt->env, crypt->memory, crypt->memory_size);
	free(crypt->buffers);
	free(crypt);
}

static const struct blk_ops crypt_ops = {
	.name = "crypt",
	.submit = crypt_submit,
	.close = crypt_close,
};

/* 64 bytes, or 128 hexadecimal digits and perhaps a newline. */
static bool parse_key(const uint8_t *text, size_t size, uint8_t key[XTS_KEY_SIZE])
{
	if (size == XTS_KEY_SIZE) {
		memcpy(key, text, XTS_KEY_SIZE);
		return true;
	}
	while (size > 2 * XTS_KEY_SIZE && (text[size - 1] == '\n' || text[size - 1] == '\r'))
		size--;
	return size == 2 * XTS_KEY_SIZE && hex_parse(bytes_of(text, size), key);
}

static enum status open_key(struct crypt *crypt, struct layer_open *open)
{
	const char *path = open->values[OPTION_KEY].text;
	uint8_t text[KEY_TEXT_MAX + 1], key[XTS_KEY_SIZE];
	size_t size = 0;
	enum status status = STATUS_OK;

	if (open->env->read_file == NULL)
		return layer_fail_option(open, OPTION_KEY, "there are no files here");
	status = open->env->read_file(open->env->owner, path, text, sizeof(text), &size);
	if (status == STATUS_DENIED)
		status = layer_fail_option(open, OPTION_KEY,
		                           "%.200s must be readable, and by its owner only", path);
	else if (status != STATUS_OK)
		status = layer_fail_option(open, OPTION_KEY, "%.200s: %s", path,
		                           status_text(status));
	else if (!parse_key(text, size, key))
		status = layer_fail_option(open, OPTION_KEY,
		                           "%.200s holds neither %u bytes nor %u hexadecimal "
		                           "digits",
		                           path, XTS_KEY_SIZE, 2 * XTS_KEY_SIZE);
	else if (!xts_open(&crypt->xts, key))
		status = layer_fail_option(open, OPTION_KEY,
		                           "the two halves of the key must be different");
	explicit_bzero(text, sizeof(text));
	explicit_bzero(key, sizeof(key));
	return status;
}

static enum status open_buffers(struct crypt *crypt, struct layer_open *open)
{
	unsigned count = (unsigned)open->values[OPTION_BUFFERS].number;
	size_t size = (size_t)crypt->blk.geometry.transfer_max * crypt->blk.geometry.block_size;

	crypt->buffers = calloc(count, sizeof(*crypt->buffers));
	if (crypt->buffers == NULL)
		return layer_fail(open, STATUS_NO_SPACE, "no memory");
	crypt->memory_size = count * size + crypt->unit_size;
	crypt->memory = layer_memory_open(open, crypt->memory_size);
	if (crypt->memory == NULL)
		return STATUS_NO_SPACE;
	for (unsigned i = 0; i < count; i++) {
		crypt->buffers[i].iov.iov_base = crypt->memory + i * size;
		SLIST_INSERT_HEAD(&crypt->free, &crypt->buffers[i], link);
	}
	crypt->unit = crypt->memory + count * size;
	return STATUS_OK;
}

static void set_geometry(struct crypt *crypt, const struct layer_open *open)
{
	struct blk_geometry *g = &crypt->blk.geometry;
	uint64_t transfer_max = open->values[OPTION_TRANSFER].number / g->block_size;

	if (transfer_max < g->transfer_max)
		g->transfer_max = transfer_max == 0 ? 1 : (uint32_t)transfer_max;
	g->ops &= ~(1u << BLK_ZEROES); /* below they would be noise */
	g->discard_zeroes = false;
	if (open->values[OPTION_DISCARD].number == 0) {
		g->ops &= ~(1u << BLK_DISCARD);
		g->discard_unit = 0;
	}
}

static enum status crypt_open(struct layer_open *open, struct blk **out)
{
	struct blk *lower = open->lower[0];
	uint32_t unit_size = (uint32_t)open->values[OPTION_UNIT].number;
	struct crypt *crypt;
	enum status status;

	if (unit_size == 0)
		unit_size = lower->geometry.block_size;
	if ((unit_size & (unit_size - 1)) != 0 || unit_size > lower->geometry.block_size ||
	    unit_size < 512)
		return layer_fail_option(open, OPTION_UNIT,
		                         "a power of two, from 512 to the block size, %u",
		                         lower->geometry.block_size);
	if (lower->geometry.align > 4096)
		return layer_fail(open, STATUS_UNSUPPORTED, "the device wants memory aligned to %u",
		                  lower->geometry.align);
	crypt = calloc(1, sizeof(*crypt));
	if (crypt == NULL)
		return layer_fail(open, STATUS_NO_SPACE, "no memory");
	crypt->env = open->env;
	crypt->lower = lower;
	crypt->unit_size = unit_size;
	crypt->blk = LAYER_DEVICE(lower, &crypt_ops, sizeof(struct crypt_frame));
	SLIST_INIT(&crypt->free);
	STAILQ_INIT(&crypt->parked);
	set_geometry(crypt, open);
	status = open_key(crypt, open);
	if (status == STATUS_OK)
		status = open_buffers(crypt, open);
	if (status != STATUS_OK) {
		crypt_close(&crypt->blk);
		return status;
	}
	*out = &crypt->blk;
	return STATUS_OK;
}

static const struct conf_setting crypt_options[] = {
	[OPTION_KEY] = { .name = "key",
	                 .type = CONF_STRING,
	                 .min = 1,
	                 .max = CONF_VALUE_MAX,
	                 .help = "File of 64 bytes, or 128 hexadecimal digits." },
	[OPTION_UNIT] = { .name = "unit",
	                  .type = CONF_SIZE,
	                  .initial = "0",
	                  .max = 64 << 10,
	                  .help = "What is encrypted together; 512 is what dm-crypt does. 0: a "
	                          "block." },
	[OPTION_BUFFERS] = { .name = "buffers",
	                     .type = CONF_INTEGER,
	                     .initial = "32",
	                     .min = 1,
	                     .max = 4096,
	                     .help = "Writes under way at a time; others wait." },
	[OPTION_TRANSFER] = { .name = "transfer",
	                      .type = CONF_SIZE,
	                      .initial = "128K",
	                      .min = 4096,
	                      .max = 16 << 20,
	                      .help = "The longest command; a buffer is so large." },
	[OPTION_DISCARD] = { .name = "discard",
	                     .type = CONF_BOOLEAN,
	                     .initial = "no",
	                     .max = 1,
	                     .help = "Let discards through, which shows what is not used." },
};

const struct blk_layer blk_crypt = {
	.name = "crypt",
	.help = "Encrypts with AES-256-XTS.",
	.options = crypt_options,
	.option_count = array_count(crypt_options),
	.lower_min = 1,
	.lower_max = 1,
	.open = crypt_open,
	.describe = crypt_describe,
};
