/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parser walks through a PDU in up to five steps: common header, rest of the header, digest and
 * padding, data, digest of the data.
 */
#include "wire/nvme_tcp.h"

#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/macros.h"

enum state {
	STATE_COMMON, /* the zeroed parser's */
	STATE_HEADER,
	STATE_GAP,
	STATE_DATA,
	STATE_DIGEST,
	STATE_END,
	STATE_FAILED,
};

/* What is fixed of a type of PDU. */
struct kind {
	uint8_t header_size; /* 0: there is no such type */
	bool to_host;        /* controllers send it */
	bool is_set_up;      /* ICReq, ICResp */
	bool has_digests;
	bool may_have_data;
};

static const struct kind kinds[] = {
	[NVME_TCP_IC_REQ] = { 128, .is_set_up = true },
	[NVME_TCP_IC_RESP] = { 128, .to_host = true, .is_set_up = true },
	[NVME_TCP_H2C_TERM] = { 24, .may_have_data = true },
	[NVME_TCP_C2H_TERM] = { 24, .to_host = true, .may_have_data = true },
	[NVME_TCP_COMMAND] = { 72, .has_digests = true, .may_have_data = true },
	[NVME_TCP_RESPONSE] = { 24, .to_host = true, .has_digests = true },
	[NVME_TCP_H2C_DATA] = { 24, .has_digests = true, .may_have_data = true },
	[NVME_TCP_C2H_DATA] = { 24, .to_host = true, .has_digests = true, .may_have_data = true },
	[NVME_TCP_R2T] = { 24, .to_host = true, .has_digests = true },
};

/* Offsets of fields, for the peer that is told what is wrong. */
enum {
	AT_TYPE = 0,
	AT_FLAGS = 1,
	AT_HEADER_SIZE = 2,
	AT_DATA_OFFSET = 3,
	AT_SIZE = 4,
	AT_FORMAT = 8,
	AT_ALIGN = 10,
	AT_MAX = 12,
	AT_DATA_SIZE = 16,
};

static bool fail(struct nvme_tcp_parser *parser, struct nvme_tcp_event *event,
                 enum nvme_tcp_error error, uint32_t information)
{
	parser->state = STATE_FAILED;
	event->type = NVME_TCP_ERROR;
	event->error = error;
	event->information = information;
	return false;
}

static uint32_t pda_size(uint8_t align)
{
	return 4u * (align + 1u);
}

static bool is_term(uint8_t type)
{
	return type == NVME_TCP_H2C_TERM || type == NVME_TCP_C2H_TERM;
}

static uint32_t header_digest_size(const struct nvme_tcp_link *link, const struct kind *kind)
{
	return link->header_digest && kind->has_digests ? NVME_TCP_DIGEST_SIZE : 0;
}

static uint32_t data_limit(const struct nvme_tcp_link *link, uint8_t type)
{
	switch (type) {
	case NVME_TCP_COMMAND:
		return link->capsule_max;
	case NVME_TCP_H2C_DATA:
	case NVME_TCP_C2H_DATA:
		return link->data_max;
	default:
		return NVME_TCP_TERM_DATA_MAX;
	}
}

/* Whether that type may come now, and what must be so of its flags. */
static bool check_type(struct nvme_tcp_parser *parser, const struct nvme_tcp_link *link,
                       struct nvme_tcp_event *event)
{
	const struct nvme_tcp_common *common = &parser->pdu.common;
	const struct kind *kind = &kinds[common->type < array_count(kinds) ? common->type : 0];
	uint8_t wanted = 0, both = NVME_TCP_HEADER_DIGEST | NVME_TCP_DATA_DIGEST;

	if (common->type >= array_count(kinds) || kind->header_size == 0 ||
	    kind->to_host != link->host)
		return fail(parser, event, NVME_TCP_INVALID_FIELD, AT_TYPE);
	/* A TermReq may come at any time, once; all else in its turn. */
	if (!is_term(common->type) && kind->is_set_up == link->ready)
		return fail(parser, event, NVME_TCP_SEQUENCE, AT_TYPE);
	if (common->header_size != kind->header_size)
		return fail(parser, event, NVME_TCP_INVALID_FIELD, AT_HEADER_SIZE);
	if (link->header_digest && kind->has_digests)
		wanted |= NVME_TCP_HEADER_DIGEST;
	if (!(link->data_digest && kind->has_digests))
		both = NVME_TCP_HEADER_DIGEST;
	if ((common->flags & NVME_TCP_HEADER_DIGEST) != wanted)
		return fail(parser, event, NVME_TCP_INVALID_FIELD, AT_FLAGS);
	if ((common->flags & NVME_TCP_DATA_DIGEST) & ~both)
		return fail(parser, event, NVME_TCP_INVALID_FIELD, AT_FLAGS);
	return true;
}

/* Where data begins and ends in the PDU. */
static bool check_sizes(struct nvme_tcp_parser *parser, const struct nvme_tcp_link *link,
                        struct nvme_tcp_event *event)
{
	const struct nvme_tcp_common *common = &parser->pdu.common;
	const struct kind *kind = &kinds[common->type];
	uint32_t before = common->header_size + header_digest_size(link, kind), behind;
	bool is_data = common->type == NVME_TCP_H2C_DATA || common->type == NVME_TCP_C2H_DATA;

	parser->data_size = 0;
	if (common->size < before)
		return fail(parser, event, NVME_TCP_INVALID_FIELD, AT_SIZE);
	if (!kind->may_have_data || (!is_data && common->size == before)) {
		if (common->size != before)
			return fail(parser, event, NVME_TCP_INVALID_FIELD, AT_SIZE);
		/* PDO is reserved without data; a few hosts say where data would be. */
		return true;
	}
	if (is_term(common->type)) { /* it has no PDO */
		parser->data_size = common->size - before;
		if (parser->data_size > NVME_TCP_TERM_DATA_MAX)
			return fail(parser, event, NVME_TCP_INVALID_FIELD, AT_SIZE);
		return true;
	}
	if (common->data_offset < before || common->data_offset % pda_size(link->in_align) != 0 ||
	    common->data_offset > common->size)
		return fail(parser, event, NVME_TCP_INVALID_FIELD, AT_DATA_OFFSET);
	behind = common->flags & NVME_TCP_DATA_DIGEST ? NVME_TCP_DIGEST_SIZE : 0;
	if (link->data_digest != (behind != 0))
		return fail(parser, event, NVME_TCP_INVALID_FIELD, AT_FLAGS);
	if (common->size - common->data_offset <= behind)
		return fail(parser, event, NVME_TCP_INVALID_FIELD, AT_SIZE);
	parser->data_size = common->size - common->data_offset - behind;
	if (parser->data_size > data_limit(link, common->type))
		return fail(parser, event, is_data ? NVME_TCP_LIMIT : NVME_TCP_INVALID_FIELD,
		            AT_SIZE);
	return true;
}

/* What is in the header beyond the common part, once it is whole. */
static bool check_header(struct nvme_tcp_parser *parser, const struct nvme_tcp_link *link,
                         struct nvme_tcp_event *event)
{
	const union nvme_tcp_pdu *pdu = &parser->pdu;

	switch (pdu->common.type) {
	case NVME_TCP_IC_REQ:
	case NVME_TCP_IC_RESP:
		if (pdu->ic.format != 0)
			return fail(parser, event, NVME_TCP_UNSUPPORTED, AT_FORMAT);
		if (pdu->ic.align >= NVME_TCP_PAD_UNITS_MAX)
			return fail(parser, event, NVME_TCP_INVALID_FIELD, AT_ALIGN);
		if (link->host && pdu->ic.max < NVME_TCP_H2C_DATA_MIN)
			return fail(parser, event, NVME_TCP_INVALID_FIELD, AT_MAX);
		return true;
	case NVME_TCP_H2C_DATA:
	case NVME_TCP_C2H_DATA:
		if (pdu->data.size != parser->data_size)
			return fail(parser, event, NVME_TCP_INVALID_FIELD, AT_DATA_SIZE);
		if (pdu->data.offset > UINT32_MAX - pdu->data.size)
			return fail(parser, event, NVME_TCP_OUT_OF_RANGE, AT_MAX);
		if ((pdu->common.flags & NVME_TCP_SUCCESS) &&
		    (!link->host || !(pdu->common.flags & NVME_TCP_LAST)))
			return fail(parser, event, NVME_TCP_INVALID_FIELD, AT_FLAGS);
		return true;
	case NVME_TCP_R2T:
		if (pdu->data.size == 0)
			return fail(parser, event, NVME_TCP_INVALID_FIELD, AT_DATA_SIZE);
		if (pdu->data.offset > UINT32_MAX - pdu->data.size)
			return fail(parser, event, NVME_TCP_OUT_OF_RANGE, AT_MAX);
		return true;
	default:
		return true;
	}
}

/* Copies from the input until `target` bytes of the PDU are there; false: more must come. */
static bool collect(struct nvme_tcp_parser *parser, struct bytes *input, uint8_t *to,
                    uint32_t target)
{
	uint32_t wanted = target - parser->used;
	uint32_t size = input->size < wanted ? (uint32_t)input->size : wanted;

	assert(target >= parser->used);
	if (size > 0)
		memcpy(to, input->data, size);
	input->data += size;
	input->size -= size;
	parser->used += size;
	return parser->used == target;
}

static uint32_t load32(const uint8_t *from)
{
	uint32_t value;

	memcpy(&value, from, sizeof(value));
	return value;
}

/* Bytes before the data, or of all when there is none. */
static uint32_t head_size(const struct nvme_tcp_parser *parser, const struct nvme_tcp_link *link)
{
	const struct nvme_tcp_common *common = &parser->pdu.common;

	if (parser->data_size > 0 && !is_term(common->type))
		return common->data_offset;
	return common->header_size + header_digest_size(link, &kinds[common->type]);
}

static bool step_common(struct nvme_tcp_parser *parser, const struct nvme_tcp_link *link,
                        struct bytes *input, struct nvme_tcp_event *event)
{
	uint8_t *to = (uint8_t *)&parser->pdu + parser->used;

	assert(parser->used < sizeof(struct nvme_tcp_common));
	if (!collect(parser, input, to, sizeof(struct nvme_tcp_common)))
		return false;
	if (!check_type(parser, link, event) || !check_sizes(parser, link, event))
		return false;
	parser->state = STATE_HEADER;
	return true;
}

static bool step_header(struct nvme_tcp_parser *parser, struct bytes *input)
{
	uint8_t *to = (uint8_t *)&parser->pdu + parser->used;

	assert(parser->pdu.common.header_size <= sizeof(parser->pdu));
	if (!collect(parser, input, to, parser->pdu.common.header_size))
		return false;
	parser->state = STATE_GAP;
	return true;
}

static bool step_gap(struct nvme_tcp_parser *parser, const struct nvme_tcp_link *link,
                     struct bytes *input, struct nvme_tcp_event *event)
{
	const struct nvme_tcp_common *common = &parser->pdu.common;
	uint32_t head = head_size(parser, link);

	assert(head - common->header_size <= sizeof(parser->gap));
	if (!collect(parser, input, parser->gap + parser->used - common->header_size, head))
		return false;
	if (header_digest_size(link, &kinds[common->type]) > 0 &&
	    crc32c(0, &parser->pdu, common->header_size) != load32(parser->gap))
		return fail(parser, event, NVME_TCP_HEADER_DIGEST_ERROR, load32(parser->gap));
	if (!check_header(parser, link, event))
		return false;
	assert(parser->used == head);
	parser->data_left = parser->data_size;
	parser->crc = 0;
	parser->digest_used = 0;
	parser->state = parser->data_size > 0 ? STATE_DATA : STATE_END;
	event->type = NVME_TCP_BEGIN;
	return false;
}

static bool step_data(struct nvme_tcp_parser *parser, struct bytes *input,
                      struct nvme_tcp_event *event)
{
	size_t size = input->size < parser->data_left ? input->size : parser->data_left;
	bool digest = parser->pdu.common.flags & NVME_TCP_DATA_DIGEST;

	assert(parser->data_left > 0);
	if (size == 0)
		return false;
	event->type = NVME_TCP_PIECE;
	event->data = bytes_of(input->data, size);
	if (digest)
		parser->crc = crc32c(parser->crc, input->data, size);
	input->data += size;
	input->size -= size;
	parser->data_left -= (uint32_t)size;
	if (parser->data_left == 0)
		parser->state = digest ? STATE_DIGEST : STATE_END;
	return false;
}

static bool step_digest(struct nvme_tcp_parser *parser, struct bytes *input)
{
	while (input->size > 0 && parser->digest_used < NVME_TCP_DIGEST_SIZE) {
		parser->digest[parser->digest_used++] = input->data[0];
		input->data++;
		input->size--;
	}
	if (parser->digest_used < NVME_TCP_DIGEST_SIZE)
		return false;
	parser->state = STATE_END;
	return true;
}

static bool step_end(struct nvme_tcp_parser *parser, struct nvme_tcp_event *event)
{
	assert(parser->data_left == 0);
	event->type = NVME_TCP_END;
	if (parser->pdu.common.flags & NVME_TCP_DATA_DIGEST && parser->data_size > 0)
		event->damaged = parser->crc != load32(parser->digest);
	parser->used = 0;
	parser->state = STATE_COMMON;
	return false;
}

/* One step; false: there is an event, or no more input. */
static bool step(struct nvme_tcp_parser *parser, const struct nvme_tcp_link *link,
                 struct bytes *input, struct nvme_tcp_event *event)
{
	switch ((enum state)parser->state) {
	case STATE_COMMON:
		return step_common(parser, link, input, event);
	case STATE_HEADER:
		return step_header(parser, input);
	case STATE_GAP:
		return step_gap(parser, link, input, event);
	case STATE_DATA:
		return step_data(parser, input, event);
	case STATE_DIGEST:
		return step_digest(parser, input);
	case STATE_END:
		return step_end(parser, event);
	case STATE_FAILED:
		return fail(parser, event, NVME_TCP_SEQUENCE, AT_TYPE);
	}
	unreachable();
	return false;
}

void nvme_tcp_next(struct nvme_tcp_parser *parser, const struct nvme_tcp_link *link,
                   struct bytes *input, struct nvme_tcp_event *event)
{
	*event = (struct nvme_tcp_event){ .type = NVME_TCP_NEED_MORE };
	while (step(parser, link, input, event))
		;
	assert(event->type != NVME_TCP_NEED_MORE || input->size == 0);
}

size_t nvme_tcp_seal(uint8_t *out, const struct nvme_tcp_link *link, enum nvme_tcp_type type,
                     uint32_t data_size)
{
	const struct kind *kind = &kinds[type];
	struct nvme_tcp_common *common = (void *)out;
	size_t head = kind->header_size, digest = header_digest_size(link, kind);
	uint32_t crc, behind = 0;

	assert(kind->header_size > 0 && kind->to_host != link->host);
	assert(data_size == 0 || kind->may_have_data);
	common->type = (uint8_t)type;
	common->header_size = kind->header_size;
	common->data_offset = 0;
	if (digest > 0)
		common->flags |= NVME_TCP_HEADER_DIGEST;
	head += digest;
	if (data_size > 0 && !is_term(type)) {
		head = align_up(head, pda_size(link->out_align));
		assert(head <= NVME_TCP_PDO_MAX);
		memset(out + kind->header_size + digest, 0, head - kind->header_size - digest);
		common->data_offset = (uint8_t)head;
		if (link->data_digest && kind->has_digests) {
			common->flags |= NVME_TCP_DATA_DIGEST;
			behind = NVME_TCP_DIGEST_SIZE;
		}
	}
	common->size = (uint32_t)head + data_size + behind;
	if (digest > 0) {
		crc = crc32c(0, out, kind->header_size);
		memcpy(out + kind->header_size, &crc, sizeof(crc));
	}
	return head;
}

size_t nvme_tcp_write_term(uint8_t out[static NVME_TCP_TERM_MAX], const struct nvme_tcp_link *link,
                           const struct nvme_tcp_parser *parser, const struct nvme_tcp_event *event)
{
	uint32_t blamed = parser->used < sizeof(parser->pdu) ? parser->used : sizeof(parser->pdu);
	struct nvme_tcp_term term = { .error = (uint16_t)event->error,
		                      .information = event->information };

	if (blamed > parser->pdu.common.header_size && parser->pdu.common.header_size > 0)
		blamed = parser->pdu.common.header_size;
	/* At least the common header: all of what is blamed when less has come. */
	assert(blamed <= NVME_TCP_TERM_DATA_MAX);
	assert(event->error >= NVME_TCP_INVALID_FIELD && event->error <= NVME_TCP_UNSUPPORTED);
	memcpy(out, &term, sizeof(term));
	nvme_tcp_seal(out, link, link->host ? NVME_TCP_H2C_TERM : NVME_TCP_C2H_TERM, blamed);
	memcpy(out + sizeof(term), &parser->pdu, blamed);
	return sizeof(term) + blamed;
}

const char *nvme_tcp_error_text(enum nvme_tcp_error error)
{
	switch (error) {
	case NVME_TCP_INVALID_FIELD:
		return "invalid field in a header";
	case NVME_TCP_SEQUENCE:
		return "a PDU out of its turn";
	case NVME_TCP_HEADER_DIGEST_ERROR:
		return "wrong digest of a header";
	case NVME_TCP_OUT_OF_RANGE:
		return "data outside of its command's";
	case NVME_TCP_LIMIT:
		return "more data than was agreed on";
	case NVME_TCP_UNSUPPORTED:
		return "unsupported parameter";
	}
	return "an unknown error";
}
