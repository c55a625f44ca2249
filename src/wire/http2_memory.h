/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory of one HTTP/2 session, bounded: pieces of any size out of a few chunks that its owner
 * gives. Freed pieces are kept by size for the next of that size; chunks go back together.
 */
#ifndef WIRE_HTTP2_MEMORY_H
#define WIRE_HTTP2_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct http2_chunk {
	uint8_t *data; /* aligned to 16 */
	size_t size;
	void *handle; /* the giver's */
};

/* get: false: there is none. Neither blocks. */
struct http2_memory_source {
	bool (*get)(void *owner, size_t size, struct http2_chunk *ret);
	void (*give_back)(void *owner, const struct http2_chunk *chunk);
	void *owner;
};

/*
 * 8 chunks of 64 KiB: a session is 26 KiB and its streams 1 KiB each, at most 128 of them, with
 * answers of 1 KiB that wait; what is left is for tables and for heads that come.
 */
enum {
	HTTP2_MEMORY_CHUNK = 64 << 10,
	HTTP2_MEMORY_CHUNKS = 8,
	HTTP2_MEMORY_PIECE_MAX = 40 << 10, /* what is larger gets a chunk of its own */
	HTTP2_MEMORY_LARGE_MAX = 256 << 10,
	HTTP2_MEMORY_CLASSES = 64 + 4 * 6, /* to 64 KiB */
};

struct http2_piece;

struct http2_memory {
	const struct http2_memory_source *source;
	struct http2_piece *free[HTTP2_MEMORY_CLASSES];
	uint8_t *at; /* what is left of the newest chunk */
	size_t left;
	struct http2_chunk chunks[HTTP2_MEMORY_CHUNKS]; /* data NULL: none */
	uint32_t taken_count;                           /* pieces that are not free */
};

/* `first`: the caller's memory, used before any chunk and not given back; aligned to 16. */
void http2_memory_init(struct http2_memory *memory, const struct http2_memory_source *source,
                       void *first, size_t first_size);
void http2_memory_fini(struct http2_memory *memory); /* gives all chunks back */

/* Aligned to 16. NULL: the bound is reached, or the source has none. */
void *http2_memory_get(struct http2_memory *memory, size_t size);
void http2_memory_free(struct http2_memory *memory, void *piece); /* NULL: nothing */
/* As realloc() does. NULL: the old piece is as it was. */
void *http2_memory_resize(struct http2_memory *memory, void *piece, size_t size);

#endif
