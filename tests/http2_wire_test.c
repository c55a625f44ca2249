/* SPDX-License-Identifier: Apache-2.0 */
/* What HTTP/2 does around nghttp2: memory, sections of fields, a look at frames. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "base/macros.h"
#include "base/prng.h"
#include "wire/http2_frames.h"
#include "wire/http2_head.h"
#include "wire/http2_memory.h"

static unsigned chunks;

static bool chunk_get(void *owner, size_t size, struct http2_chunk *ret)
{
	(void)owner;
	*ret = (struct http2_chunk){ .data = malloc(size), .size = size };
	chunks++;
	return ret->data != NULL;
}

static void chunk_give_back(void *owner, const struct http2_chunk *chunk)
{
	(void)owner;
	chunks--;
	free(chunk->data);
}

static const struct http2_memory_source source = { chunk_get, chunk_give_back, NULL };

static void memory_keeps_pieces_apart(void **state)
{
	static _Alignas(16) uint8_t first[8192];
	struct http2_memory memory;
	uint8_t *pieces[200] = { NULL };
	size_t sizes[200] = { 0 };
	struct prng prng;

	(void)state;
	prng_init(&prng, 1);
	http2_memory_init(&memory, &source, first, sizeof(first));
	for (unsigned round = 0; round < 20000; round++) {
		unsigned i = (unsigned)prng_below(&prng, array_count(pieces));
		size_t size = prng_below(&prng, round % 100 == 0 ? 60000 : 900);

		for (size_t k = 0; k < sizes[i]; k++)
			assert_int_equal(pieces[i][k], i);
		if (round % 3 == 0) {
			http2_memory_free(&memory, pieces[i]);
			pieces[i] = NULL;
			size = 0;
		} else {
			uint8_t *bigger = http2_memory_resize(&memory, pieces[i], size);

			if (bigger == NULL)
				continue;
			for (size_t k = 0; k < sizes[i] && k < size; k++)
				assert_int_equal(bigger[k], i);
			assert_int_equal((uintptr_t)bigger % 16, 0);
			pieces[i] = bigger;
			memset(bigger, (int)i, size);
		}
		sizes[i] = size;
		assert_true(chunks <= HTTP2_MEMORY_CHUNKS);
	}
	for (unsigned i = 0; i < array_count(pieces); i++)
		http2_memory_free(&memory, pieces[i]);
	http2_memory_fini(&memory);
	assert_int_equal(chunks, 0);
}

static void memory_is_bounded(void **state)
{
	static _Alignas(16) uint8_t first[1024];
	struct http2_memory memory;
	void *piece, *newest = NULL, **link;
	unsigned count = 0;

	(void)state;
	http2_memory_init(&memory, &source, first, sizeof(first));
	assert_null(http2_memory_get(&memory, HTTP2_MEMORY_LARGE_MAX + 1));
	while ((piece = http2_memory_get(&memory, 1000)) != NULL) {
		*(void **)piece = newest;
		newest = piece;
		count++;
	}
	assert_int_equal(chunks, HTTP2_MEMORY_CHUNKS);
	assert_true(count >= 8 * 64);
	for (; newest != NULL; newest = piece) {
		link = newest;
		piece = *link;
		http2_memory_free(&memory, newest);
	}
	http2_memory_fini(&memory);
	assert_int_equal(chunks, 0);
}

static const struct http2_limits limits = {
	.head_max = 1000,
	.field_max = 8,
	.target_max = 100,
	.streams_max = 10,
	.streams_told = 10,
	.window_size = 65535,
};

/* Fields as "name=value" lines; what becomes of them: 0 fine, 1 malformed, else the status. */
static const struct {
	const char *fields;
	bool trailers, ended;
	unsigned result;
} sections[] = {
#define GET ":method=GET\n:scheme=http\n:path=/\n:authority=a\n"
	{ GET, false, true, 0 },
	{ GET "host=a\n", false, true, 0 },
	{ GET "host=b\n", false, true, 1 },
	{ GET "te=trailers\n", false, true, 0 },
	{ GET "te=gzip\n", false, true, 1 },
	{ GET "Upper=a\n", false, true, 1 },
	{ GET "x= a\n", false, true, 1 },
	{ GET "x=a \n", false, true, 1 },
	{ GET "x=a\x7f\n", false, true, 1 },
	{ GET "=a\n", false, true, 1 },
	{ GET "connection=close\n", false, true, 1 },
	{ GET "transfer-encoding=chunked\n", false, true, 1 },
	{ GET "upgrade=h2c\n", false, true, 1 },
	{ GET "keep-alive=1\n", false, true, 1 },
	{ GET "proxy-connection=1\n", false, true, 1 },
	{ GET "expect=100-continue\n", false, false, 0 },
	{ GET "expect=more\n", false, false, 417 },
	{ GET "content-length=5\n", false, false, 0 },
	{ GET "content-length=5\n", false, true, 1 },
	{ GET "content-length=0\n", false, true, 0 },
	{ GET "content-length=-5\n", false, false, 1 },
	{ GET "content-length=5\ncontent-length=5\n", false, false, 1 },
	{ GET "content-length=99999999999999999999\n", false, false, 1 },
	{ GET "a=\nb=\nc=\nd=\ne=\nf=\ng=\nh=\n", false, true, 0 },
	{ GET "a=\nb=\nc=\nd=\ne=\nf=\ng=\nh=\ni=\n", false, true, 431 },
	{ GET "x=1\n:method=GET\n", false, true, 1 },
	{ GET ":method=GET\n", false, true, 1 },
	{ GET ":status=200\n", false, true, 1 },
	{ ":scheme=http\n:path=/\n:authority=a\n", false, true, 1 },
	{ ":method=GET\n:path=/\n:authority=a\n", false, true, 1 },
	{ ":method=GET\n:scheme=http\n:authority=a\n", false, true, 1 },
	{ ":method=GET\n:scheme=http\n:path=/\n", false, true, 1 },
	{ ":method=GET\n:scheme=http\n:path=/\nhost=a\n", false, true, 0 },
	{ ":method=GET\n:scheme=http\n:path=/\nhost=a\nhost=a\n", false, true, 1 },
	{ ":method=GET\n:scheme=1\n:path=/\n:authority=a\n", false, true, 1 },
	{ ":method=GET\n:scheme=http\n:path=*\n:authority=a\n", false, true, 1 },
	{ ":method=OPTIONS\n:scheme=http\n:path=*\n:authority=a\n", false, true, 0 },
	{ ":method=GET\n:scheme=http\n:path=\n:authority=a\n", false, true, 1 },
	{ ":method=GET\n:scheme=http\n:path=/ \n:authority=a\n", false, true, 1 },
	{ ":method=GET\n:scheme=http\n:path=/#a\n:authority=a\n", false, true, 1 },
	{ ":method=G T\n:scheme=http\n:path=/\n:authority=a\n", false, true, 1 },
	{ ":method=GET\n:scheme=http\n:path=/\n:authority=a@b\n", false, true, 1 },
	{ ":method=CONNECT\n:authority=a\n", false, false, 501 },
	{ ":method=CONNECT\n:authority=a\n:path=/\n", false, false, 1 },
	{ "x=1\n", true, true, 0 },
	{ "x=1\n", true, false, 1 },
	{ ":path=/\n", true, true, 1 },
	{ "connection=close\n", true, true, 1 },
	{ "a=\nb=\nc=\nd=\ne=\nf=\ng=\nh=\ni=\n", true, true, 1 },
};

static void section_judges(void **state)
{
	struct http2_section section;

	(void)state;
	for (size_t i = 0; i < array_count(sections); i++) {
		const char *at = sections[i].fields;
		bool good;

		http2_section_init(&section, &limits, sections[i].trailers);
		while (*at != '\0') {
			const char *end = strchr(at, '\n'), *equal = strchr(at, '=');

			http2_section_add(&section, bytes_of(at, (size_t)(equal - at)),
			                  bytes_of(equal + 1, (size_t)(end - equal - 1)));
			at = end + 1;
		}
		good = http2_section_finish(&section, sections[i].ended);
		print_message("%zu: %s\n", i, section.reason != NULL ? section.reason : "fine");
		assert_int_equal(good, sections[i].result != 1);
		assert_int_equal(good, section.reason == NULL);
		if (good)
			assert_int_equal(section.head.status, sections[i].result);
		if (!good || sections[i].trailers || section.head.status != 0)
			continue;
		assert_true(bytes_equal(section.head.host, BYTES("a")));
		assert_true(section.head.field_count >= 1); /* Host is among them, always */
	}
}

static size_t put_frame(uint8_t *out, uint8_t type, uint8_t flags, uint32_t stream, uint32_t size)
{
	const uint8_t header[] = { 0, (uint8_t)(size >> 8),   (uint8_t)size,  type, flags, 0,
		                   0, (uint8_t)(stream >> 8), (uint8_t)stream };

	memcpy(out, header, sizeof(header));
	memset(out + sizeof(header), 0, size);
	return sizeof(header) + size;
}

/* Each byte apart gives the same as all at once. */
static enum http2_error walk(struct http2_walker *walker, uint64_t now_ns, const uint8_t *data,
                             size_t size)
{
	struct http2_walker apart = *walker;
	enum http2_error error = HTTP2_NO_ERROR, at_once;
	size_t taken = http2_walk(walker, now_ns, bytes_of(data, size), &at_once);

	assert_true(taken <= size);
	assert_true(at_once != HTTP2_NO_ERROR || taken == size);
	for (size_t i = 0; i < size && error == HTTP2_NO_ERROR; i++)
		http2_walk(&apart, now_ns, bytes_of(data + i, 1), &error);
	assert_int_equal(error, at_once);
	return at_once;
}

static void walker_begin(struct http2_walker *walker)
{
	http2_walker_init(walker, 0);
	assert_int_equal(walk(walker, 0, (const uint8_t *)"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24),
	                 HTTP2_NO_ERROR);
	assert_true(http2_walker_begun_ns(walker) == UINT64_MAX);
}

static void walker_knows_streams(void **state)
{
	struct http2_walker walker;
	uint8_t data[4096];
	size_t size = 0;

	(void)state;
	walker_begin(&walker);
	size += put_frame(data + size, HTTP2_HEADERS, 4, 5, 10);
	size += put_frame(data + size, HTTP2_DATA, 0, 5, 100);
	size += put_frame(data + size, HTTP2_DATA, HTTP2_FLAG_END_STREAM, 5, 0);
	size += put_frame(data + size, HTTP2_WINDOW_UPDATE, 0, 5, 4);
	size += put_frame(data + size, HTTP2_RST_STREAM, 0, 5, 4);
	assert_int_equal(walk(&walker, 0, data, size), HTTP2_NO_ERROR);
	size = put_frame(data, HTTP2_DATA, 0, 5, 0);
	assert_int_equal(walk(&walker, 0, data, size), HTTP2_STREAM_CLOSED);
	walker_begin(&walker);
	size = put_frame(data, HTTP2_HEADERS, 5, 2001, 1);
	size += put_frame(data + size, HTTP2_HEADERS, 5, 1999, 1);
	assert_int_equal(walk(&walker, 0, data, size), HTTP2_PROTOCOL_ERROR);
}

static void walker_counts(void **state)
{
	struct http2_walker walker;
	uint8_t data[20000];
	enum http2_error error = HTTP2_NO_ERROR;
	unsigned count = 0;
	size_t size;

	(void)state;
	walker_begin(&walker);
	size = put_frame(data, HTTP2_PING, 0, 0, 8);
	for (; error == HTTP2_NO_ERROR; count++)
		http2_walk(&walker, 0, bytes_of(data, size), &error);
	assert_int_equal(error, HTTP2_ENHANCE_YOUR_CALM);
	assert_int_equal(count, HTTP2_CREDIT_MAX + 1);
	/* A second later there are 200 more, and a megabyte of payload earns 256. */
	walker_begin(&walker);
	walker.credit = 0;
	for (count = 0, error = HTTP2_NO_ERROR; error == HTTP2_NO_ERROR; count++)
		http2_walk(&walker, 1000000000, bytes_of(data, size), &error);
	assert_int_equal(count, 201);
	walker_begin(&walker);
	walker.credit = 0;
	http2_walker_earn_bytes(&walker, 1 << 20);
	for (count = 0, error = HTTP2_NO_ERROR; error == HTTP2_NO_ERROR; count++)
		http2_walk(&walker, 0, bytes_of(data, size), &error);
	assert_int_equal(count, 257);
	/* A section that does not end: by its bytes. */
	walker_begin(&walker);
	size = put_frame(data, HTTP2_HEADERS, 0, 1, 16000);
	assert_int_equal(walk(&walker, 7, data, size), HTTP2_NO_ERROR);
	assert_true(http2_walker_begun_ns(&walker) == 7);
	size = put_frame(data, HTTP2_CONTINUATION, 0, 1, 16000);
	for (count = 1, error = HTTP2_NO_ERROR; error == HTTP2_NO_ERROR; count++)
		http2_walk(&walker, 8, bytes_of(data, size), &error);
	assert_int_equal(error, HTTP2_ENHANCE_YOUR_CALM);
	assert_int_equal(count, 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_keeps_pieces_apart),
		cmocka_unit_test(memory_is_bounded),
		cmocka_unit_test(section_judges),
		cmocka_unit_test(walker_knows_streams),
		cmocka_unit_test(walker_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
