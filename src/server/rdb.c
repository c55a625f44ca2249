/* SPDX-License-Identifier: Apache-2.0 */
#include "server/rdb.h"

#include <math.h>

#include "base/assert.h"
#include "base/crc64.h"
#include "server/number.h"

/* The first byte of a size: its two high bits tell how to go on. */
enum {
	SIZE_6BIT = 0x00,
	SIZE_14BIT = 0x40,
	SIZE_32BIT = 0x80,
	SIZE_64BIT = 0x81,
	SIZE_ENCODED = 0xc0, /* no size: a string in another form */
	SIZE_MASK = 0xc0,
};

enum encoding { ENCODING_INT8, ENCODING_INT16, ENCODING_INT32, ENCODING_LZF };

enum {
	INTEGER_TEXT_MAX = 11, /* bytes of the longest int32 */
	LZF_RATIO_MAX = 132,   /* three bytes make at most 264, two at most 8 */
};

static void put(struct rdb_writer *writer, const void *data, size_t size)
{
	if (size > 0 && writer->used + size <= writer->size && !writer->full)
		memcpy(writer->data + writer->used, data, size);
	else if (size > 0)
		writer->full = true;
	writer->used += size;
}

static void put_byte(struct rdb_writer *writer, uint8_t byte)
{
	put(writer, &byte, 1);
}

static void put_big(struct rdb_writer *writer, uint64_t value, unsigned size)
{
	while (size-- > 0)
		put_byte(writer, (uint8_t)(value >> (8 * size)));
}

static void put_little(struct rdb_writer *writer, uint64_t value, unsigned size)
{
	for (unsigned i = 0; i < size; i++)
		put_byte(writer, (uint8_t)(value >> (8 * i)));
}

static uint64_t get_big(const uint8_t *data, unsigned size)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < size; i++)
		value = value << 8 | data[i];
	return value;
}

static uint64_t get_little(const uint8_t *data, unsigned size)
{
	uint64_t value = 0;

	while (size-- > 0)
		value = value << 8 | data[size];
	return value;
}

void rdb_write_type(struct rdb_writer *writer, enum rdb_type type)
{
	put_byte(writer, (uint8_t)type);
}

void rdb_write_count(struct rdb_writer *writer, uint64_t count)
{
	if (count < 1u << 6) {
		put_byte(writer, (uint8_t)(SIZE_6BIT | count));
	} else if (count < 1u << 14) {
		put_big(writer, SIZE_14BIT << 8 | count, 2);
	} else if (count <= UINT32_MAX) {
		put_byte(writer, SIZE_32BIT);
		put_big(writer, count, 4);
	} else {
		put_byte(writer, SIZE_64BIT);
		put_big(writer, count, 8);
	}
}

static bool write_integer(struct rdb_writer *writer, struct bytes string)
{
	int64_t value;

	if (string.size > INTEGER_TEXT_MAX || !number_parse_int64(string, &value))
		return false;
	if (value >= INT8_MIN && value <= INT8_MAX) {
		put_byte(writer, SIZE_ENCODED | ENCODING_INT8);
		put_little(writer, (uint64_t)value, 1);
	} else if (value >= INT16_MIN && value <= INT16_MAX) {
		put_byte(writer, SIZE_ENCODED | ENCODING_INT16);
		put_little(writer, (uint64_t)value, 2);
	} else if (value >= INT32_MIN && value <= INT32_MAX) {
		put_byte(writer, SIZE_ENCODED | ENCODING_INT32);
		put_little(writer, (uint64_t)value, 4);
	} else {
		return false;
	}
	return true;
}

void rdb_write_string(struct rdb_writer *writer, struct bytes string)
{
	if (write_integer(writer, string))
		return;
	rdb_write_count(writer, string.size);
	put(writer, string.data, string.size);
}

void rdb_write_double(struct rdb_writer *writer, double value)
{
	uint64_t bits;

	memcpy(&bits, &value, sizeof(bits));
	put_little(writer, bits, sizeof(bits));
}

void rdb_footer(uint64_t crc, uint8_t ret_footer[RDB_FOOTER_SIZE])
{
	struct rdb_writer writer = { .data = ret_footer, .size = RDB_FOOTER_SIZE };

	put_little(&writer, RDB_VERSION, 2);
	put_little(&writer, crc64(crc, bytes_of(ret_footer, 2)), 8);
	assert(writer.used == RDB_FOOTER_SIZE && !writer.full);
}

void rdb_write_footer(struct rdb_writer *writer)
{
	uint8_t footer[RDB_FOOTER_SIZE];

	rdb_footer(writer->full ? 0 : crc64(0, bytes_of(writer->data, writer->used)), footer);
	put(writer, footer, sizeof(footer));
}

void rdb_dump_string(struct rdb_writer *writer, struct bytes string)
{
	rdb_write_type(writer, RDB_TYPE_STRING);
	rdb_write_string(writer, string);
	rdb_write_footer(writer);
}

bool rdb_footer_is_sound(const uint8_t footer[RDB_FOOTER_SIZE], uint64_t crc)
{
	return get_little(footer, 2) <= RDB_VERSION && get_little(footer + 2, 8) == crc;
}

bool rdb_reader_open(struct rdb_reader *reader, struct bytes payload)
{
	if (payload.size < RDB_FOOTER_SIZE ||
	    !rdb_footer_is_sound(payload.data + payload.size - RDB_FOOTER_SIZE,
	                         crc64(0, bytes_of(payload.data, payload.size - 8))))
		return false;
	reader->rest = bytes_of(payload.data, payload.size - RDB_FOOTER_SIZE);
	return true;
}

bool rdb_reader_is_at_end(const struct rdb_reader *reader)
{
	return reader->rest.size == 0;
}

static bool take(struct rdb_reader *reader, uint64_t size, struct bytes *ret_bytes)
{
	if (size > reader->rest.size)
		return false;
	*ret_bytes = bytes_of(reader->rest.data, (size_t)size);
	reader->rest = bytes_of(reader->rest.data + size, reader->rest.size - (size_t)size);
	return true;
}

bool rdb_read_type(struct rdb_reader *reader, uint8_t *ret_type)
{
	struct bytes byte;

	if (!take(reader, 1, &byte))
		return false;
	*ret_type = byte.data[0];
	return true;
}

/* *ret_encoded: *ret_size is an enum encoding instead. */
static bool read_size(struct rdb_reader *reader, uint64_t *ret_size, bool *ret_encoded)
{
	struct bytes more;
	uint8_t first;

	*ret_encoded = false;
	if (!rdb_read_type(reader, &first))
		return false;
	switch (first & SIZE_MASK) {
	case SIZE_6BIT:
		*ret_size = first;
		return true;
	case SIZE_14BIT:
		if (!take(reader, 1, &more))
			return false;
		*ret_size = (first & 0x3fu) << 8 | more.data[0];
		return true;
	case SIZE_ENCODED:
		*ret_size = first & 0x3f;
		*ret_encoded = true;
		return true;
	default:
		break;
	}
	if (first != SIZE_32BIT && first != SIZE_64BIT)
		return false;
	if (!take(reader, first == SIZE_32BIT ? 4 : 8, &more))
		return false;
	*ret_size = get_big(more.data, (unsigned)more.size);
	return true;
}

bool rdb_read_count(struct rdb_reader *reader, size_t item_size_min, uint64_t *ret_count)
{
	uint64_t count;
	bool encoded;

	assert(item_size_min > 0);
	if (!read_size(reader, &count, &encoded) || encoded)
		return false;
	if (count > reader->rest.size / item_size_min)
		return false;
	*ret_count = count;
	return true;
}

bool rdb_read_plain(struct rdb_reader *reader, uint64_t *ret_size)
{
	bool encoded;

	return read_size(reader, ret_size, &encoded) && !encoded;
}

bool rdb_read_double(struct rdb_reader *reader, double *ret_value)
{
	struct bytes bytes;
	uint64_t bits;
	double value;

	if (!take(reader, sizeof(bits), &bytes))
		return false;
	bits = get_little(bytes.data, sizeof(bits));
	memcpy(&value, &bits, sizeof(value));
	if (isnan(value))
		return false;
	*ret_value = value;
	return true;
}

static bool read_integer(struct rdb_reader *reader, enum encoding encoding, struct rdb_room room,
                         struct bytes *ret_string)
{
	char text[NUMBER_INT64_MAX];
	unsigned size = encoding == ENCODING_INT8 ? 1 : encoding == ENCODING_INT16 ? 2 : 4;
	unsigned unused = 64 - 8 * size;
	struct bytes bytes;
	size_t text_size;

	if (!take(reader, size, &bytes))
		return false;
	text_size = number_format_int64((int64_t)(get_little(bytes.data, size) << unused) >> unused,
	                                text);
	if (text_size > room.size)
		return false;
	memcpy(room.data, text, text_size);
	*ret_string = bytes_of(room.data, text_size);
	return true;
}

static bool read_compressed(struct rdb_reader *reader, struct rdb_room room,
                            struct bytes *ret_string)
{
	uint64_t in_size, out_size;
	bool in_encoded, out_encoded;
	struct bytes in;

	if (!read_size(reader, &in_size, &in_encoded) || in_encoded)
		return false;
	if (!read_size(reader, &out_size, &out_encoded) || out_encoded)
		return false;
	if (!take(reader, in_size, &in))
		return false;
	if (out_size == 0 || out_size > room.size || out_size / LZF_RATIO_MAX > in_size)
		return false;
	if (!lzf_decompress(in, room.data, (size_t)out_size))
		return false;
	*ret_string = bytes_of(room.data, (size_t)out_size);
	return true;
}

bool rdb_read_string(struct rdb_reader *reader, struct rdb_room room, struct bytes *ret_string)
{
	uint64_t size;
	bool encoded;

	if (!read_size(reader, &size, &encoded))
		return false;
	if (!encoded)
		return take(reader, size, ret_string);
	switch (size) {
	case ENCODING_INT8:
	case ENCODING_INT16:
	case ENCODING_INT32:
		return read_integer(reader, (enum encoding)size, room, ret_string);
	case ENCODING_LZF:
		return read_compressed(reader, room, ret_string);
	default:
		return false;
	}
}

/*
 * A control byte below 32 is followed by so many literal bytes, and one more. Otherwise its three
 * high bits tell the size of a copy from what is already written (7: another byte adds to it), and
 * its low bits with the next byte how far back.
 */
bool lzf_decompress(struct bytes in, uint8_t *out, size_t out_size)
{
	size_t i = 0, o = 0;

	while (i < in.size) {
		unsigned control = in.data[i++];
		size_t size = (control >> 5) + 2, back;

		if (control < 32) {
			size = control + 1;
			if (size > in.size - i || size > out_size - o)
				return false;
			memcpy(out + o, in.data + i, size);
			i += size;
			o += size;
			continue;
		}
		if (size == 9) {
			if (i == in.size)
				return false;
			size += in.data[i++];
		}
		if (i == in.size)
			return false;
		back = ((control & 31u) << 8 | in.data[i++]) + 1;
		if (back > o || size > out_size - o)
			return false;
		for (; size > 0; size--, o++) /* may read what it has just written */
			out[o] = out[o - back];
	}
	return o == out_size;
}
