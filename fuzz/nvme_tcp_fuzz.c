/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as PDUs of NVMe/TCP, to a target and to an initiator: cut anywhere, they mean the same,
 * and nothing is read past an end; then as the ANA log that an initiator is told.
 */
#include <stdint.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/hash.h"
#include "wire/nvme_tcp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { DATA_MAX = 4096, CAPSULE_MAX = 512 };

/* A digest of what was said, in which pieces do not matter. */
struct said {
	uint32_t crc;
	uint64_t begun, ended, pieces;
	bool failed;
	enum nvme_tcp_error error;
};

static void hear(struct said *said, struct nvme_tcp_parser *parser, struct nvme_tcp_link *link,
                 const struct nvme_tcp_event *event)
{
	const union nvme_tcp_pdu *pdu = &parser->pdu;
	uint8_t blame[NVME_TCP_TERM_MAX];

	switch (event->type) {
	case NVME_TCP_NEED_MORE:
		return;
	case NVME_TCP_BEGIN:
		said->begun++;
		said->pieces = parser->data_size;
		said->crc = crc32c(said->crc, pdu, pdu->common.header_size);
		assert(parser->data_size <= DATA_MAX);
		return;
	case NVME_TCP_PIECE:
		assert(event->data.size > 0 && event->data.size <= said->pieces);
		said->pieces -= event->data.size;
		said->crc = crc32c(said->crc, event->data.data, event->data.size);
		return;
	case NVME_TCP_END:
		assert(said->pieces == 0);
		said->ended++;
		said->crc = crc32c(said->crc, &event->damaged, 1);
		if (pdu->common.type == NVME_TCP_IC_REQ || pdu->common.type == NVME_TCP_IC_RESP) {
			link->header_digest = pdu->ic.digests & NVME_TCP_DIGEST_HEADERS;
			link->data_digest = pdu->ic.digests & NVME_TCP_DIGEST_DATA;
			link->out_align = pdu->ic.align;
			link->ready = true;
		}
		return;
	case NVME_TCP_ERROR:
		said->failed = true;
		said->error = event->error;
		assert(event->error >= NVME_TCP_INVALID_FIELD &&
		       event->error <= NVME_TCP_UNSUPPORTED);
		assert(nvme_tcp_write_term(blame, link, parser, event) <= sizeof(blame));
		return;
	}
}

/* In copies of their exact size, so that a sanitizer sees what is read past an end. */
static void listen(const uint8_t *data, size_t size, size_t step, bool host, struct said *said)
{
	struct nvme_tcp_link link = { .host = host,
		                      .data_max = DATA_MAX,
		                      .capsule_max = CAPSULE_MAX };
	struct nvme_tcp_parser parser = { 0 };
	size_t from = 0;

	*said = (struct said){ 0 };
	while (from < size && !said->failed) {
		size_t part = size - from < step ? size - from : step;
		uint8_t *copy = malloc(part);
		struct nvme_tcp_event event;
		struct bytes input;

		assert(copy != NULL);
		memcpy(copy, data + from, part);
		input = bytes_of(copy, part);
		do {
			nvme_tcp_next(&parser, &link, &input, &event);
			hear(said, &parser, &link, &event);
		} while (event.type != NVME_TCP_NEED_MORE && event.type != NVME_TCP_ERROR);
		from += part;
		free(copy);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct said whole, cut;
	bool host;

	if (size < 2)
		return 0;
	host = data[0] & 1;
	listen(data + 2, size - 2, size, host, &whole);
	listen(data + 2, size - 2, data[1] + 1u, host, &cut);
	assert(whole.failed == cut.failed && whole.error == cut.error);
	assert(whole.begun == cut.begun && whole.ended == cut.ended);
	if (!whole.failed)
		assert(whole.crc == cut.crc);
	nvme_ana_state_of(data + 2, size - 2, data[0]);
	return 0;
}
