/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks written by messages: {lba, data}, a worker, the store, an acknowledgement with its
 * correlation id. Many are under way at once, each ends with a status of its own, none is dropped,
 * and one that cannot begin in time says so. The sender waits for room.
 *
 *     cc block_write.c $(pkg-config --cflags --libs weir) -o block_write && ./block_write
 */
#include <semaphore.h>
#include <stdio.h>
#include <string.h>

#include <weir.h>

enum { BLOCK_SIZE = 4096, BLOCKS = 256, IN_FLIGHT = 32, SPACE_BLOCKS = 2 };

struct block_write {
	struct weir_message message;
	uint8_t lba[8]; /* big-endian: the order of keys is the order on the device */
	uint8_t data[BLOCK_SIZE];
	sem_t free; /* posted by its acknowledgement */
	bool waiting;
};

static struct block_write writes[IN_FLIGHT];
static unsigned acknowledged, wrong; /* of the one worker, until the last has come */

static void written(struct weir_request *request)
{
	weir_reply((struct weir_message *)request->context, request->status);
}

static void handle(struct weir_worker *worker, void *state, struct weir_message *message)
{
	enum weir_status status;

	(void)state;
	message->request.timeout_ns = 5000000000u; /* five seconds to begin, not more */
	status = weir_worker_put(worker, &message->request, message->key, message->data, written);
	if (status != WEIR_OK)
		weir_reply(message, status);
}

/* On the worker: the block is durable, or status says why not. */
static void acknowledge(struct weir_message *message)
{
	struct block_write *write = (struct block_write *)message->context;

	acknowledged++;
	wrong += message->status != WEIR_OK || !write->waiting;
	write->waiting = false;
	sem_post(&write->free);
}

static enum weir_status send_block(struct weir_app *app, uint64_t lba)
{
	struct block_write *write = &writes[lba % IN_FLIGHT];

	while (sem_wait(&write->free) != 0) /* here a slow device holds the sender back */
		;
	for (unsigned i = 0; i < 8; i++)
		write->lba[i] = (uint8_t)(lba >> (56 - 8 * i));
	memset(write->data, (int)lba, BLOCK_SIZE);
	write->waiting = true;
	write->message.key = (struct weir_key){ write->lba, sizeof(write->lba), SPACE_BLOCKS };
	write->message.data = (struct weir_bytes){ write->data, BLOCK_SIZE };
	write->message.done = acknowledge;
	write->message.context = write;
	return weir_send(app, &write->message);
}

int main(int argc, char **argv)
{
	const struct weir_app_options app_options = { .handler = handle, .count = 1 };
	char error[WEIR_ERROR_SIZE] = "";
	enum weir_status status = WEIR_OK;
	uint64_t stored = 0;
	struct weir *weir;
	struct weir_app *app;

	for (unsigned i = 0; i < IN_FLIGHT; i++)
		sem_init(&writes[i].free, 0, 1);
	if (weir_open(argc > 1 ? argv[1] : "./data", NULL, &weir, error) != WEIR_OK ||
	    weir_app_start(weir, &app_options, &app) != WEIR_OK) {
		fprintf(stderr, "block_write: %s\n", error);
		return 1;
	}
	for (uint64_t lba = 0; lba < BLOCKS && status == WEIR_OK; lba++)
		status = send_block(app, lba);
	weir_app_stop(app); /* waits for all acknowledgements */
	if (status == WEIR_OK)
		status = weir_count(weir, SPACE_BLOCKS, &stored);
	weir_close(weir);
	printf("%u acknowledged, %u wrong, %u stored\n", acknowledged, wrong, (unsigned)stored);
	return status == WEIR_OK && wrong == 0 && stored == BLOCKS ? 0 : 1;
}
