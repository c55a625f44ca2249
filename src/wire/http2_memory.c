/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/http2_memory.h"

#include <string.h>

#include "base/assert.h"
#include "base/macros.h"

enum {
	STEP = 16,
	FINE_MAX = 64 * STEP, /* classes in steps of 16 up to here; then four to each doubling */
	PIECE_OWN_CHUNK = 0xff,
};

/* In front of each piece. */
struct http2_piece {
	uint8_t class_index; /* or PIECE_OWN_CHUNK */
	uint8_t chunk_index; /* of PIECE_OWN_CHUNK */
	uint32_t size;       /* bytes behind this */
	struct http2_piece *next_free;
};
_Static_assert(sizeof(struct http2_piece) == STEP, "pieces are aligned");

/* The class of a size, and the size that pieces of the class have. */
static unsigned class_of(size_t size, uint32_t *ret_size)
{
	unsigned index = FINE_MAX / STEP;
	size_t base = FINE_MAX;

	if (size <= FINE_MAX) {
		index = size == 0 ? 0 : (unsigned)((size - 1) / STEP);
		*ret_size = (index + 1) * STEP;
		return index;
	}
	for (; size > 2 * base; base *= 2)
		index += 4;
	for (unsigned quarter = 0; quarter < 4; quarter++) {
		*ret_size = (uint32_t)(base + (quarter + 1) * (base / 4));
		if (size <= *ret_size)
			return index + quarter;
	}
	unreachable();
	return 0;
}

void http2_memory_init(struct http2_memory *memory, const struct http2_memory_source *source,
                       void *first, size_t first_size)
{
	assert((uintptr_t)first % STEP == 0);
	*memory = (struct http2_memory){ .source = source, .at = first, .left = first_size };
}

void http2_memory_fini(struct http2_memory *memory)
{
	assert(memory->taken_count == 0);
	for (unsigned i = 0; i < HTTP2_MEMORY_CHUNKS; i++) {
		if (memory->chunks[i].data != NULL)
			memory->source->give_back(memory->source->owner, &memory->chunks[i]);
	}
	*memory = (struct http2_memory){ 0 };
}

static struct http2_chunk *chunk_get(struct http2_memory *memory, size_t size)
{
	for (unsigned i = 0; i < HTTP2_MEMORY_CHUNKS; i++) {
		struct http2_chunk *chunk = &memory->chunks[i];

		if (chunk->data != NULL)
			continue;
		if (!memory->source->get(memory->source->owner, size, chunk)) {
			*chunk = (struct http2_chunk){ 0 };
			return NULL;
		}
		assert(chunk->data != NULL && chunk->size >= size);
		assert((uintptr_t)chunk->data % STEP == 0);
		return chunk;
	}
	return NULL;
}

static struct http2_piece *large_get(struct http2_memory *memory, size_t size)
{
	struct http2_chunk *chunk;
	struct http2_piece *piece;

	if (size > HTTP2_MEMORY_LARGE_MAX - sizeof(*piece))
		return NULL;
	chunk = chunk_get(memory, size + sizeof(*piece));
	if (chunk == NULL)
		return NULL;
	piece = (struct http2_piece *)(void *)chunk->data;
	*piece = (struct http2_piece){
		.class_index = PIECE_OWN_CHUNK,
		.chunk_index = (uint8_t)(chunk - memory->chunks),
		.size = (uint32_t)size,
	};
	return piece;
}

static struct http2_piece *piece_cut(struct http2_memory *memory, uint32_t size)
{
	struct http2_piece *piece;

	if (memory->left < size + sizeof(*piece)) {
		struct http2_chunk *chunk = chunk_get(memory, HTTP2_MEMORY_CHUNK);

		if (chunk == NULL)
			return NULL;
		memory->at = chunk->data;
		memory->left = chunk->size;
	}
	piece = (struct http2_piece *)(void *)memory->at;
	memory->at += size + sizeof(*piece);
	memory->left -= size + sizeof(*piece);
	return piece;
}

void *http2_memory_get(struct http2_memory *memory, size_t size)
{
	struct http2_piece *piece;

	if (size > HTTP2_MEMORY_PIECE_MAX) {
		piece = large_get(memory, size);
	} else {
		uint32_t class_size;
		unsigned index = class_of(size, &class_size);

		assert(index < HTTP2_MEMORY_CLASSES && class_size >= size);
		piece = memory->free[index];
		if (piece != NULL)
			memory->free[index] = piece->next_free;
		else
			piece = piece_cut(memory, class_size);
		if (piece != NULL)
			*piece = (struct http2_piece){
				.class_index = (uint8_t)index,
				.size = class_size,
			};
	}
	if (piece == NULL)
		return NULL;
	memory->taken_count++;
	return piece + 1;
}

void http2_memory_free(struct http2_memory *memory, void *data)
{
	struct http2_piece *piece = data;

	if (piece == NULL)
		return;
	piece--;
	assert(memory->taken_count > 0);
	memory->taken_count--;
	if (piece->class_index == PIECE_OWN_CHUNK) {
		struct http2_chunk chunk = memory->chunks[piece->chunk_index];

		assert(chunk.data == (uint8_t *)piece);
		memory->chunks[piece->chunk_index] = (struct http2_chunk){ 0 };
		memory->source->give_back(memory->source->owner, &chunk);
		return;
	}
	assert(piece->class_index < HTTP2_MEMORY_CLASSES);
	assert(piece->next_free == NULL); /* else: freed twice */
	piece->next_free = memory->free[piece->class_index];
	memory->free[piece->class_index] = piece;
}

void *http2_memory_resize(struct http2_memory *memory, void *data, size_t size)
{
	const struct http2_piece *piece = data;
	void *bigger;

	if (piece != NULL && size <= piece[-1].size)
		return data;
	bigger = http2_memory_get(memory, size);
	if (bigger == NULL || piece == NULL)
		return bigger;
	memcpy(bigger, data, piece[-1].size);
	http2_memory_free(memory, data);
	return bigger;
}
