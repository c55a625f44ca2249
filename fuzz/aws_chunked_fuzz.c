/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a body in chunks: cut anywhere, it means the same. */
#include <stdint.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/hash.h"
#include "wire/aws_chunked.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct said {
	uint32_t crc;
	uint64_t data_size, chunks;
	bool failed, ended;
};

static void hear(struct said *said, const struct aws_chunked *chunked, enum aws_chunked_event event)
{
	uint8_t type = (uint8_t)event;

	if (event == AWS_CHUNKED_MORE)
		return;
	if (event == AWS_CHUNKED_DATA) {
		assert(chunked->value.size > 0 && chunked->left <= chunked->size);
		said->data_size += chunked->value.size;
	} else {
		said->crc = crc32c(said->crc, &type, sizeof(type));
	}
	said->chunks += event == AWS_CHUNKED_CHUNK;
	said->failed |= event == AWS_CHUNKED_ERROR;
	if (event == AWS_CHUNKED_TRAILER)
		said->crc = crc32c(said->crc, chunked->name.data, chunked->name.size);
	if (event != AWS_CHUNKED_ERROR && event != AWS_CHUNKED_CHUNK_END)
		said->crc = crc32c(said->crc, chunked->value.data, chunked->value.size);
}

static void listen(const uint8_t *data, size_t size, size_t step, struct said *said)
{
	struct aws_chunked chunked = { 0 };

	*said = (struct said){ 0 };
	for (size_t at = 0; at < size && !said->failed; at += step) {
		size_t piece_size = size - at < step ? size - at : step;
		uint8_t *copy = malloc(piece_size);
		struct bytes piece = bytes_of(copy, piece_size);
		enum aws_chunked_event event;

		assert(copy != NULL);
		memcpy(copy, data + at, piece_size);
		do {
			event = aws_chunked_next(&chunked, &piece);
			hear(said, &chunked, event);
		} while (event != AWS_CHUNKED_MORE && event != AWS_CHUNKED_ERROR);
		free(copy);
	}
	said->ended = aws_chunked_is_ended(&chunked);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct said whole, cut;

	listen(data, size, size == 0 ? 1 : size, &whole);
	for (size_t step = 1; step < 10; step += 4) {
		listen(data, size, step, &cut);
		assert(whole.failed == cut.failed);
		if (!whole.failed)
			assert(whole.crc == cut.crc && whole.ended == cut.ended);
		assert(whole.failed || whole.data_size == cut.data_size);
	}
	return 0;
}
