/* SPDX-License-Identifier: Apache-2.0 */
/* The payload of DUMP and RESTORE: values as Redis' snapshot files write them, version and CRC. */
#ifndef SERVER_RDB_H
#define SERVER_RDB_H

#include <stdbool.h>

#include "base/bytes.h"

enum {
	RDB_VERSION = 10,        /* of Redis 7.0: what we write, and the newest that we read */
	RDB_FOOTER_SIZE = 10,    /* version, CRC-64: little endian */
	RDB_STRING_HEAD_MAX = 9, /* bytes in front of a string */
};

enum rdb_type {
	RDB_TYPE_STRING = 0,
	RDB_TYPE_LIST = 1,
	RDB_TYPE_SET = 2,
	RDB_TYPE_HASH = 4,
	RDB_TYPE_ZSET = 5, /* scores as doubles, little endian */
};

#define RDB_PAYLOAD_ERROR "ERR DUMP payload version or checksum are wrong"
#define RDB_FORMAT_ERROR "ERR Bad data format"

/*
 * Writes into the caller's memory. What does not fit is left out and sets `full`; `used` counts on,
 * so that it ends as the size that would have been enough.
 */
struct rdb_writer {
	uint8_t *data;
	size_t size;
	size_t used;
	bool full;
};

void rdb_write_type(struct rdb_writer *writer, enum rdb_type type);
void rdb_write_count(struct rdb_writer *writer, uint64_t count);
void rdb_write_string(struct rdb_writer *writer, struct bytes string); /* integers made short */
void rdb_write_double(struct rdb_writer *writer, double value);
void rdb_write_footer(struct rdb_writer *writer); /* last; when `full`, its CRC means nothing */

/* The footer of a payload whose bytes before it have that CRC. */
void rdb_footer(uint64_t crc, uint8_t ret_footer[RDB_FOOTER_SIZE]);

/* The payload of a string: at most string.size + RDB_STRING_HEAD_MAX + 1 + RDB_FOOTER_SIZE. */
void rdb_dump_string(struct rdb_writer *writer, struct bytes string);

/* What is left to read. Nothing of it is trusted; after a false of any call it is of no use. */
struct rdb_reader {
	struct bytes rest;
};

/* Checks version and CRC, and opens what lies in front of them. */
bool rdb_reader_open(struct rdb_reader *reader, struct bytes payload);
bool rdb_reader_is_at_end(const struct rdb_reader *reader);

/* The byte as it is: it need not be an enum rdb_type. */
bool rdb_read_type(struct rdb_reader *reader, uint8_t *ret_type);

/* Of a collection. At most what the bytes left can hold, if each item takes `item_size_min` > 0. */
bool rdb_read_count(struct rdb_reader *reader, size_t item_size_min, uint64_t *ret_count);
bool rdb_read_double(struct rdb_reader *reader, double *ret_value); /* not nan */

/*
 * A string, within the payload; or, if it was an integer or compressed, written to `room`, of which
 * it takes ret_string->size bytes. False when the room is too small, too.
 */
struct rdb_room {
	uint8_t *data;
	size_t size;
};
bool rdb_read_string(struct rdb_reader *reader, struct rdb_room room, struct bytes *ret_string);

/* The footer of a payload whose bytes before the CRC in it have the CRC `crc`: version and CRC. */
bool rdb_footer_is_sound(const uint8_t footer[RDB_FOOTER_SIZE], uint64_t crc);

/* Of a string that is neither an integer nor compressed, how many bytes follow: they are not read.
 */
bool rdb_read_plain(struct rdb_reader *reader, uint64_t *ret_size);

/* LZF: the whole of `in` to exactly out_size bytes, or false. */
bool lzf_decompress(struct bytes in, uint8_t *out, size_t out_size);

#endif
