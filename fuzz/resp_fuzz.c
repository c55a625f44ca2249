/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a stream of requests: cut anywhere, it means the same, and nothing is read twice. */
#include <stdint.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/hash.h"
#include "wire/resp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BULK_MAX = 1 << 16 };

/* A digest of what was said, in which pieces do not matter. */
struct said {
	uint32_t crc;
	uint64_t begun, ended, argument_size;
	bool failed;
};

static void hear(struct said *said, const struct resp_event *event)
{
	uint8_t type = (uint8_t)(event->type == RESP_ARGUMENT ? RESP_BULK : event->type);
	uint64_t size = event->type == RESP_ARGUMENT ? event->data.size : event->size;

	if (event->type == RESP_NEED_MORE)
		return;
	if (event->type != RESP_PIECE) {
		said->crc = crc32c(said->crc, &type, sizeof(type));
		said->crc = crc32c(said->crc, &size, sizeof(size));
	}
	said->crc = crc32c(said->crc, event->data.data, event->data.size);
	said->begun += event->type == RESP_BEGIN;
	said->ended += event->type == RESP_END;
	said->failed = event->type == RESP_ERROR;
	if (event->type == RESP_BULK) {
		assert(said->argument_size == 0);
		assert(event->size <= BULK_MAX);
		said->argument_size = event->size;
	}
	if (event->type == RESP_PIECE) {
		assert(event->data.size > 0 && event->data.size <= said->argument_size);
		said->argument_size -= event->data.size;
		assert(event->last == (said->argument_size == 0));
	}
	assert(said->begun == said->ended || said->begun == said->ended + 1);
}

/* In copies of their exact size, so that a sanitizer sees what is read past an end. */
static void listen(const uint8_t *data, size_t size, size_t step, struct said *said)
{
	static const struct resp_limits limits = {
		.bulk_max = BULK_MAX,
		.count_max = RESP_COUNT_MAX,
		.authenticated = true,
	};
	struct resp_parser parser = { 0 };
	size_t from = 0, to = 0;

	*said = (struct said){ 0 };
	while (to < size && !said->failed) {
		uint8_t *copy;
		struct bytes input;
		struct resp_event event;

		to = size - to < step ? size : to + step;
		copy = malloc(to - from);
		assert(copy != NULL);
		memcpy(copy, data + from, to - from);
		input = bytes_of(copy, to - from);
		do {
			resp_next(&parser, &limits, &input, &event);
			hear(said, &event);
		} while (event.type != RESP_NEED_MORE && event.type != RESP_ERROR);
		from = to - input.size;
		free(copy);
	}
}

static void split(const uint8_t *data, size_t size)
{
	struct bytes line = bytes_of(data, size);
	uint8_t *out = malloc(size + 1);

	assert(out != NULL);
	while (true) {
		size_t before = line.size;
		long word = resp_split_word(&line, out);

		if (word < 0)
			break;
		assert((size_t)word <= before);
		assert(line.size < before);
	}
	free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct said whole, cut;
	size_t step;

	if (size < 2)
		return 0;
	step = data[0] + 1u;
	listen(data + 1, size - 1, size, &whole);
	listen(data + 1, size - 1, step, &cut);
	assert(whole.failed == cut.failed);
	if (!whole.failed)
		assert(whole.begun == cut.begun && whole.ended == cut.ended);
	split(data + 1, size - 1);
	return 0;
}
