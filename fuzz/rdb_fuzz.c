/* SPDX-License-Identifier: Apache-2.0 */
/* RESTORE's payload: as it is, and once more with a footer made right, so that all is reached. */
#include "base/assert.h"
#include "base/crc64.h"
#include "server/rdb.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_all(struct bytes payload)
{
	static uint8_t memory[1 << 16], again[sizeof(memory) + 32];
	struct rdb_room room = { memory, sizeof(memory) };
	struct rdb_reader reader;
	struct bytes string;
	uint8_t type;

	if (!rdb_reader_open(&reader, payload) || !rdb_read_type(&reader, &type))
		return;
	while (rdb_read_string(&reader, room, &string)) {
		struct rdb_writer writer = { .data = again, .size = sizeof(again) };
		struct rdb_reader reread;
		struct bytes same;

		if (string.size > sizeof(memory))
			continue;
		rdb_dump_string(&writer, string);
		assert(!writer.full);
		assert(rdb_reader_open(&reread, bytes_of(again, writer.used)));
		assert(rdb_read_type(&reread, &type) && type == RDB_TYPE_STRING);
		if (string.data == memory)
			continue; /* the room is taken */
		assert(rdb_read_string(&reread, room, &same) && bytes_equal(string, same));
		assert(rdb_reader_is_at_end(&reread));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t copy[1 << 16];
	uint64_t crc;

	read_all(bytes_of(data, size));
	if (size > sizeof(copy) - RDB_FOOTER_SIZE)
		return 0;
	if (size > 0)
		memcpy(copy, data, size);
	copy[size] = RDB_VERSION;
	copy[size + 1] = 0;
	crc = crc64(0, bytes_of(copy, size + 2));
	memcpy(copy + size + 2, &crc, sizeof(crc));
	read_all(bytes_of(copy, size + RDB_FOOTER_SIZE));
	return 0;
}
