/* SPDX-License-Identifier: Apache-2.0 */
#include "app/store_reader.h"

#include <stdlib.h>

#include "base/assert.h"
#include "core/transport.h"

struct read_frame {
	struct frame frame;
	struct store_read *read;
};

enum status store_reader_open(struct store_reader *reader, struct worker *worker, struct blk *blk)
{
	*reader = (struct store_reader){ .worker = worker, .blk = blk };
	assert(blk->worker == worker);
	assert(blk->geometry.block_size == BLOCK_SIZE);
	reader->slots = aligned_alloc(BLOCK_SIZE,
	                              (size_t)READER_READS_MAX * READER_BLOCKS_MAX * BLOCK_SIZE);
	if (reader->slots == NULL)
		return STATUS_NO_SPACE;
	for (unsigned i = 0; i < READER_READS_MAX; i++)
		reader->reads[i].reader = reader;
	return STATUS_OK;
}

void store_reader_close(struct store_reader *reader)
{
	assert(reader->running == 0);
	free(reader->slots);
	reader->slots = NULL;
}

uint8_t *store_reader_slot(struct store_reader *reader, unsigned index)
{
	assert(index < READER_READS_MAX);
	return reader->slots + (size_t)index * READER_BLOCKS_MAX * BLOCK_SIZE;
}

static void ended(struct req *req)
{
	struct store_read *read = req_pop(req, struct read_frame)->read;

	read->status = req->status;
	read->reader->running--;
}

static unsigned add(struct store_reader *reader, const struct blk_cmd *what, uint8_t *data)
{
	unsigned index = reader->count++;
	struct store_read *read = &reader->reads[index];
	struct blk_cmd cmd = *what;

	assert(index < READER_READS_MAX);
	assert(cmd.block_count > 0);
	read->data = data;
	read->iov = (struct iovec){ data, (size_t)cmd.block_count << BLOCK_SHIFT };
	cmd.iov = &read->iov;
	cmd.iov_count = 1;
	reader->running++;
	reader->bytes += read->iov.iov_len;
	req_init(&read->req, reader->worker);
	req_push(&read->req, struct read_frame, ended)->read = read;
	blk_submit(reader->blk, &read->req, &cmd);
	return index;
}

unsigned store_reader_add(struct store_reader *reader, uint8_t *data, uint64_t lba,
                          uint32_t block_count)
{
	const struct blk_cmd cmd = { .op = BLK_READ, .lba = lba, .block_count = block_count };

	return add(reader, &cmd, data);
}

void store_reader_run(struct store_reader *reader)
{
	struct worker *worker = reader->worker;

	while (reader->running > 0) {
		worker_turn(worker);
		/* The sleep ends when a read has: nothing else can happen here. */
		if (reader->running > 0 && worker->sleeper != NULL && !worker_has_work(worker))
			worker->sleeper->ops->sleep(worker->sleeper, UINT64_MAX);
	}
	reader->count = 0;
}

enum status store_reader_get(struct store_reader *reader, uint8_t *data, uint64_t lba,
                             uint32_t block_count)
{
	unsigned index = store_reader_add(reader, data, lba, block_count);

	store_reader_run(reader);
	return reader->reads[index].status;
}

enum status store_reader_put(struct store_reader *reader, uint8_t *data, uint64_t lba,
                             uint32_t block_count)
{
	const struct blk_cmd cmd = {
		.op = BLK_WRITE, .flags = BLK_FUA, .lba = lba, .block_count = block_count
	};
	unsigned index = add(reader, &cmd, data);

	store_reader_run(reader);
	return reader->reads[index].status;
}
