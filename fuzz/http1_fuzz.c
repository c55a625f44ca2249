/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a connection's requests: cut anywhere, they give the same events. */
#include <stdint.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/hash.h"
#include "wire/http1.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BODY_MAX = 1 << 16, HEAD_MAX = 4096, LINE_LIMIT = 1024, FIELDS = 16 };

/* A digest of what was said, in which the pieces of a body do not matter. */
struct said {
	uint32_t crc;
	uint64_t heads, ends, body_size;
	bool failed, sized;
	uint64_t body_left;
};

static void hear_bytes(struct said *said, struct bytes bytes)
{
	uint64_t size = bytes.size;

	said->crc = crc32c(said->crc, &size, sizeof(size));
	said->crc = crc32c(said->crc, bytes.data, bytes.size);
}

static void hear_fields(struct said *said, const struct http1_head *head)
{
	assert(head->field_count <= FIELDS);
	for (uint32_t i = 0; i < head->field_count; i++) {
		assert(http_is_token(head->fields[i].name));
		assert(http_is_value(head->fields[i].value));
		hear_bytes(said, head->fields[i].name);
		hear_bytes(said, head->fields[i].value);
	}
}

static void hear_head(struct said *said, const struct http1_head *head)
{
	assert(said->heads == said->ends);
	assert(http_is_token(head->method));
	assert(head->target.size > 0);
	assert(head->target.data[0] == '/' || bytes_equal(head->target, BYTES("*")));
	assert(head->body_size <= BODY_MAX);
	assert(head->framing == HTTP1_SIZED || head->body_size == 0);
	said->heads++;
	said->sized = head->framing != HTTP1_CHUNKED;
	said->body_left = head->body_size;
	said->body_size = 0;
	hear_bytes(said, head->method);
	hear_bytes(said, head->target);
	hear_bytes(said, head->host);
	hear_fields(said, head);
}

static void hear(struct said *said, const struct http1_event *event)
{
	switch (event->type) {
	case HTTP1_NEED_MORE:
		break;
	case HTTP1_HEAD:
		hear_head(said, &event->head);
		break;
	case HTTP1_BODY:
		assert(event->body.size > 0);
		assert(said->heads == said->ends + 1);
		said->body_size += event->body.size;
		assert(said->body_size <= BODY_MAX);
		said->crc = crc32c(said->crc, event->body.data, event->body.size);
		break;
	case HTTP1_END:
		said->ends++;
		assert(said->heads == said->ends);
		assert(!said->sized || said->body_size == said->body_left);
		hear_fields(said, &event->head);
		break;
	case HTTP1_ERROR:
		assert(event->status >= 400 && event->status <= 505);
		assert(event->reason != NULL);
		said->crc = crc32c(said->crc, &event->status, sizeof(event->status));
		said->failed = true;
		break;
	}
}

/* In copies of their exact size, so that a sanitizer sees what is read past an end. */
static void listen(const uint8_t *data, size_t size, size_t step, struct said *said)
{
	struct http_field fields[FIELDS];
	const struct http1_limits limits = {
		.line_max = LINE_LIMIT,
		.head_max = HEAD_MAX,
		.body_max = BODY_MAX,
		.fields = fields,
		.field_max = FIELDS,
	};
	struct http1_parser parser = { 0 };
	size_t from = 0, to = 0;

	*said = (struct said){ 0 };
	while (to < size && !said->failed) {
		uint8_t *copy;
		struct bytes input;
		struct http1_event event;

		to = size - to < step ? size : to + step;
		copy = malloc(to - from);
		assert(copy != NULL);
		memcpy(copy, data + from, to - from);
		input = bytes_of(copy, to - from);
		do {
			size_t before = input.size;

			http1_next(&parser, &limits, &input, &event);
			assert(input.size <= before);
			hear(said, &event);
		} while (event.type != HTTP1_NEED_MORE && event.type != HTTP1_ERROR);
		assert(said->failed || input.size < HEAD_MAX);
		from = to - input.size;
		free(copy);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct said whole, cut;

	if (size < 2)
		return 0;
	listen(data + 1, size - 1, size, &whole);
	listen(data + 1, size - 1, data[0] % 64 + 1u, &cut);
	assert(whole.failed == cut.failed);
	assert(whole.heads == cut.heads && whole.ends == cut.ends);
	assert(whole.crc == cut.crc);
	return 0;
}
