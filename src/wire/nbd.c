/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/nbd.h"

#include "base/assert.h"

#define MAGIC_SERVER 0x4e42444d41474943ull /* NBDMAGIC */
#define MAGIC_OPTION 0x49484156454f5054ull /* IHAVEOPT */
#define MAGIC_OPTION_REPLY 0x3e889045565a9ull
#define MAGIC_REQUEST 0x25609513u
#define MAGIC_SIMPLE 0x67446698u
#define MAGIC_CHUNK 0x668e33efu

enum { CHUNK_DONE = 1 };

#define ALLOCATION BYTES("base:allocation")

_Static_assert((int)NBD_OPTION_SIZE <= (int)NBD_HEADER_SIZE_MAX, "all headers can be gathered");
_Static_assert((int)NBD_CLIENT_FLAGS_SIZE <= (int)NBD_HEADER_SIZE_MAX, "all headers, too");

uint16_t nbd_get16(const uint8_t *data)
{
	return (uint16_t)(data[0] << 8 | data[1]);
}

uint32_t nbd_get32(const uint8_t *data)
{
	uint32_t value;

	memcpy(&value, data, sizeof(value));
	return __builtin_bswap32(value);
}

uint64_t nbd_get64(const uint8_t *data)
{
	uint64_t value;

	memcpy(&value, data, sizeof(value));
	return __builtin_bswap64(value);
}

static uint8_t *put16(uint8_t *out, uint16_t value)
{
	out[0] = (uint8_t)(value >> 8);
	out[1] = (uint8_t)value;
	return out + 2;
}

static uint8_t *put32(uint8_t *out, uint32_t value)
{
	value = __builtin_bswap32(value);
	memcpy(out, &value, sizeof(value));
	return out + sizeof(value);
}

static uint8_t *put64(uint8_t *out, uint64_t value)
{
	value = __builtin_bswap64(value);
	memcpy(out, &value, sizeof(value));
	return out + sizeof(value);
}

static uint8_t *put_bytes(uint8_t *out, struct bytes bytes)
{
	if (bytes.size > 0)
		memcpy(out, bytes.data, bytes.size);
	return out + bytes.size;
}

const uint8_t *nbd_gather(struct nbd_gatherer *gatherer, unsigned size, struct bytes *input)
{
	const uint8_t *data = input->data;
	size_t taken;

	assert(size > 0 && size <= NBD_HEADER_SIZE_MAX);
	assert(gatherer->used < size);
	if (gatherer->used == 0 && input->size >= size) {
		*input = bytes_of(input->data + size, input->size - size);
		return data;
	}
	taken = size - gatherer->used;
	if (taken > input->size)
		taken = input->size;
	put_bytes(gatherer->data + gatherer->used, bytes_of(input->data, taken));
	*input = bytes_of(input->data + taken, input->size - taken);
	gatherer->used = (uint8_t)(gatherer->used + taken);
	if (gatherer->used < size)
		return NULL;
	gatherer->used = 0;
	return gatherer->data;
}

bool nbd_option_decode(const uint8_t *data, struct nbd_option *option)
{
	*option = (struct nbd_option){ .id = nbd_get32(data + 8), .size = nbd_get32(data + 12) };
	return nbd_get64(data) == MAGIC_OPTION;
}

bool nbd_request_decode(const uint8_t *data, struct nbd_request *request)
{
	*request = (struct nbd_request){
		.flags = nbd_get16(data + 4),
		.id = nbd_get16(data + 6),
		.cookie = nbd_get64(data + 8),
		.offset = nbd_get64(data + 16),
		.size = nbd_get32(data + 24),
	};
	return nbd_get32(data) == MAGIC_REQUEST;
}

uint32_t nbd_client_flags_decode(const uint8_t *data)
{
	return nbd_get32(data);
}

/* A size of 32 bits and as many bytes, from the front of *data. False: they are not there. */
static bool take_text(struct bytes *data, struct bytes *text)
{
	uint32_t size;

	if (data->size < 4)
		return false;
	size = nbd_get32(data->data);
	if (size > data->size - 4 || size > NBD_NAME_SIZE_MAX)
		return false;
	*text = bytes_of(data->data + 4, size);
	*data = bytes_of(data->data + 4 + size, data->size - 4 - size);
	return true;
}

bool nbd_go_decode(struct bytes data, struct nbd_go *go)
{
	uint16_t count;

	*go = (struct nbd_go){ .name = { NULL, 0 } };
	if (!take_text(&data, &go->name) || data.size < 2)
		return false;
	count = nbd_get16(data.data);
	if (data.size - 2 != 2u * count)
		return false;
	for (uint16_t i = 0; i < count; i++) {
		uint16_t info = nbd_get16(data.data + 2 + 2u * i);

		go->wants_name |= info == NBD_INFO_NAME;
		go->wants_description |= info == NBD_INFO_DESCRIPTION;
		go->wants_block_size |= info == NBD_INFO_BLOCK_SIZE;
	}
	return true;
}

bool nbd_meta_decode(struct bytes data, struct nbd_meta *meta)
{
	struct bytes rest, query;

	*meta = (struct nbd_meta){ .count = 0 };
	if (!take_text(&data, &meta->name) || data.size < 4)
		return false;
	meta->count = nbd_get32(data.data);
	rest = bytes_of(data.data + 4, data.size - 4);
	meta->queries = rest;
	/* Each has a size of its own, so the loop ends with the data at the latest. */
	for (uint32_t i = 0; i < meta->count; i++) {
		if (!take_text(&rest, &query))
			return false;
	}
	return rest.size == 0;
}

struct bytes nbd_meta_next(struct nbd_meta *meta)
{
	struct bytes query;
	bool taken = take_text(&meta->queries, &query);

	assert(taken); /* else: more were asked for than there are */
	return query;
}

bool nbd_meta_is_allocation(struct bytes query, bool list)
{
	return bytes_equal(query, ALLOCATION) || (list && bytes_equal(query, BYTES("base:")));
}

size_t nbd_write_greeting(uint8_t *out)
{
	put16(put64(put64(out, MAGIC_SERVER), MAGIC_OPTION), NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES);
	return NBD_GREETING_SIZE;
}

size_t nbd_write_option_reply(uint8_t *out, uint32_t option, uint32_t reply, uint32_t size)
{
	put32(put32(put32(put64(out, MAGIC_OPTION_REPLY), option), reply), size);
	return NBD_OPTION_REPLY_SIZE;
}

size_t nbd_write_option_text(uint8_t *out, uint32_t option, uint32_t reply, const char *text)
{
	size_t size = text == NULL ? 0 : strlen(text);

	assert(size <= NBD_NAME_SIZE_MAX);
	nbd_write_option_reply(out, option, reply, (uint32_t)size);
	put_bytes(out + NBD_OPTION_REPLY_SIZE, bytes_of(text, size));
	return NBD_OPTION_REPLY_SIZE + size;
}

size_t nbd_write_server(uint8_t *out, struct bytes name)
{
	uint32_t size = (uint32_t)name.size;

	assert(name.size <= NBD_NAME_SIZE_MAX);
	nbd_write_option_reply(out, NBD_OPT_LIST, NBD_REP_SERVER, 4 + size);
	put_bytes(put32(out + NBD_OPTION_REPLY_SIZE, size), name);
	return NBD_OPTION_REPLY_SIZE + 4 + name.size;
}

size_t nbd_write_export(uint8_t *out, const struct nbd_export_facts *facts, bool zeroes)
{
	put16(put64(out, facts->size), facts->flags);
	if (!zeroes)
		return NBD_EXPORT_REPLY_SIZE;
	memset(out + NBD_EXPORT_REPLY_SIZE, 0, NBD_EXPORT_ZEROES_SIZE);
	return NBD_EXPORT_REPLY_SIZE + NBD_EXPORT_ZEROES_SIZE;
}

size_t nbd_write_info_export(uint8_t *out, uint32_t option, const struct nbd_export_facts *facts)
{
	nbd_write_option_reply(out, option, NBD_REP_INFO, NBD_INFO_EXPORT_SIZE);
	out = put16(out + NBD_OPTION_REPLY_SIZE, NBD_INFO_EXPORT);
	put16(put64(out, facts->size), facts->flags);
	return NBD_OPTION_REPLY_SIZE + NBD_INFO_EXPORT_SIZE;
}

size_t nbd_write_info_block_size(uint8_t *out, uint32_t option,
                                 const struct nbd_export_facts *facts)
{
	assert(facts->block_min <= facts->block_preferred);
	assert(facts->block_preferred <= facts->payload_max);
	nbd_write_option_reply(out, option, NBD_REP_INFO, NBD_INFO_BLOCK_SIZE_SIZE);
	out = put16(out + NBD_OPTION_REPLY_SIZE, NBD_INFO_BLOCK_SIZE);
	put32(put32(put32(out, facts->block_min), facts->block_preferred), facts->payload_max);
	return NBD_OPTION_REPLY_SIZE + NBD_INFO_BLOCK_SIZE_SIZE;
}

size_t nbd_write_info_text(uint8_t *out, uint32_t option, enum nbd_info info, struct bytes text)
{
	assert(info == NBD_INFO_NAME || info == NBD_INFO_DESCRIPTION);
	assert(text.size <= NBD_NAME_SIZE_MAX);
	nbd_write_option_reply(out, option, NBD_REP_INFO, 2 + (uint32_t)text.size);
	put_bytes(put16(out + NBD_OPTION_REPLY_SIZE, (uint16_t)info), text);
	return NBD_OPTION_REPLY_SIZE + 2 + text.size;
}

size_t nbd_write_meta_context(uint8_t *out, uint32_t option, uint32_t id)
{
	struct bytes name = ALLOCATION;

	nbd_write_option_reply(out, option, NBD_REP_META_CONTEXT, 4 + (uint32_t)name.size);
	put_bytes(put32(out + NBD_OPTION_REPLY_SIZE, id), name);
	return NBD_OPTION_REPLY_SIZE + 4 + name.size;
}

size_t nbd_write_simple_reply(uint8_t *out, enum nbd_error error, uint64_t cookie)
{
	put64(put32(put32(out, MAGIC_SIMPLE), error), cookie);
	return NBD_SIMPLE_REPLY_SIZE;
}

size_t nbd_write_chunk(uint8_t *out, const struct nbd_chunk *chunk)
{
	out = put16(put32(out, MAGIC_CHUNK), chunk->done ? CHUNK_DONE : 0);
	put32(put64(put16(out, (uint16_t)chunk->type), chunk->cookie), chunk->size);
	return NBD_CHUNK_SIZE;
}

size_t nbd_write_chunk_data(uint8_t *out, const struct nbd_chunk *chunk, uint64_t offset)
{
	assert(chunk->type == NBD_CHUNK_OFFSET_DATA);
	assert(chunk->size > NBD_CHUNK_OFFSET_SIZE); /* no data: no chunk of it */
	put64(out + nbd_write_chunk(out, chunk), offset);
	return NBD_CHUNK_SIZE + NBD_CHUNK_OFFSET_SIZE;
}

size_t nbd_write_chunk_error(uint8_t *out, const struct nbd_chunk *chunk, enum nbd_error error,
                             uint64_t offset)
{
	struct nbd_chunk sized = *chunk;
	bool has_offset = chunk->type == NBD_CHUNK_ERROR_OFFSET;
	uint8_t *end;

	assert(error != NBD_OK);
	assert(has_offset || chunk->type == NBD_CHUNK_ERROR);
	sized.size = has_offset ? NBD_CHUNK_ERROR_SIZE : NBD_CHUNK_ERROR_SIZE - 8;
	end = put16(put32(out + nbd_write_chunk(out, &sized), error), 0); /* no text */
	if (has_offset)
		end = put64(end, offset);
	return (size_t)(end - out);
}

size_t nbd_write_context_id(uint8_t *out, uint32_t id)
{
	put32(out, id);
	return NBD_CONTEXT_ID_SIZE;
}

size_t nbd_write_extent(uint8_t *out, uint32_t size, uint32_t state)
{
	assert(size > 0);
	put32(put32(out, size), state);
	return NBD_EXTENT_SIZE;
}

size_t nbd_write_request(uint8_t *out, const struct nbd_request *request)
{
	out = put16(put16(put32(out, MAGIC_REQUEST), request->flags), request->id);
	put32(put64(put64(out, request->cookie), request->offset), request->size);
	return NBD_REQUEST_SIZE;
}

size_t nbd_write_option(uint8_t *out, uint32_t option, uint32_t size)
{
	put32(put32(put64(out, MAGIC_OPTION), option), size);
	return NBD_OPTION_SIZE;
}
