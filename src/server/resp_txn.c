/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands of several keys and EXEC, optimistically: every key is read with its version, the
 * commands run against an overlay, and one KV_COMMIT applies what they wrote if nothing that they
 * read has changed. If something has, all of it runs again.
 */
#include <stdlib.h>
#include <sys/mman.h>

#include "base/assert.h"
#include "base/macros.h"
#include "server/resp_txn.h"

enum {
	TXNS_MAX = 64,  /* under way; more calls wait */
	RUNS_MAX = 100, /* of one transaction before it gives up */
	RUNS_CALM = 3,  /* runs after which others of this server make room */
};

/* Whether this run cannot end well any more. */
bool txn_must_stop(const struct resp_txn *txn)
{
	return txn->status != STATUS_OK || txn->conflict || txn->wants_region || txn->watch_lost;
}

/* Runs. */

static void region_drop(struct resp_txn *txn)
{
	struct resp_txns *txns = txn->server->txns;

	if (txns->region_user != txn)
		return;
	/* What was touched goes back to the system: it may be a gigabyte. */
	madvise(txns->region, align_up(txns->region_used, BUF_ALIGN), MADV_DONTNEED);
	txn->server->values_used -= txns->region_used;
	txns->region_used = 0;
}

static void run_drop(struct resp_txn *txn)
{
	assert(txn->loading == 0);
	txn_reply_drop(txn);
	for (const struct resp_long *value = txn->longs; value != NULL; value = value->next)
		assert(value->handle == 0); /* else: nobody would close it */
	txn->longs = NULL;
	resp_segments_free(txn->memory);
	txn->memory = NULL;
	STAILQ_INIT(&txn->entries);
	memset(txn->buckets, 0, sizeof(txn->buckets));
	txn->entry_count = 0;
	region_drop(txn);
}

static void watch_entries(struct resp_txn *txn)
{
	struct resp_watch *watch = txn->call->connection->watch;

	for (; watch != NULL && txn->call->in_exec; watch = watch->next) {
		struct txn_entry *entry = txn_entry(txn, watch->key);

		if (entry == NULL)
			return;
		entry->version = watch->version;
		entry->has_version = true;
		entry->watched = true;
		/* The commit tells at first; when it has found something, each is looked at. */
		entry->wanted = txn->runs > 0;
	}
}

static void run_begin(struct resp_txn *txn)
{
	txn->status = STATUS_OK;
	txn->conflict = false;
	txn->wants_region = false;
	txn->watch_lost = false;
	txn->started = false;
	txn->queued = txn->call->in_exec ? txn->call->connection->multi->first : NULL;
	txn_events_reset(txn);
	txn->call->hits = 0;
	txn->call->misses = 0;
	txn->writing = NULL;
	txn->step = STEP_WATCH;
	watch_entries(txn);
	txn->load_next = STAILQ_FIRST(&txn->entries);
}

/* Back to where the run started. */
static void run_again(struct resp_txn *txn)
{
	struct resp_call *call = txn->call;
	struct resp_connection *connection = call->connection;

	run_drop(txn);
	txn->runs++;
	connection->db = call->in_exec ? txn->db_first : connection->db;
	if (call->out == &connection->out)
		resp_out_truncate(call->out, connection->out_ready);
	else
		resp_call_restart_reply(call);
	call->failed = false;
	if (call->in_exec)
		resp_reply_array(call, connection->multi->count);
	run_begin(txn);
}

static void txn_end(struct resp_txn *txn)
{
	struct resp_call *call = txn->call;
	struct resp_txns *txns = txn->server->txns;

	run_drop(txn);
	call->command = txn->command;
	call->command_index = txn->command_index;
	call->txn = NULL;
	if (call->in_exec) {
		call->in_exec = false;
		resp_multi_discard(call->connection);
		resp_watch_clear(call->connection);
	}
	if (txns->region_user == txn)
		txns->region_user = NULL;
	if (txns->favoured == txn)
		txns->favoured = NULL;
	STAILQ_INSERT_HEAD(&txns->free, txn, link);
	resp_call_done(call);
}

static void txn_fail(struct resp_txn *txn)
{
	struct resp_call *call = txn->call;

	txn_reply_drop(txn);
	resp_call_restart_reply(call);
	if (txn->watch_lost)
		resp_reply_null_array(call);
	else if (txn->status == STATUS_TOO_LARGE)
		resp_reply_error(call, "ERR transaction is too large");
	else if (txn->status == STATUS_BUSY && !txn->conflict)
		resp_reply_error(call, "OOM no memory for this command and the values that it "
		                       "needs as a whole");
	else
		resp_reply_status(call, txn->status != STATUS_OK ? txn->status : STATUS_BUSY);
	txn_end(txn);
}

/* The run has ended badly, and nothing of it is under way. */
static void txn_stop(struct resp_txn *txn)
{
	struct resp_txns *txns = txn->server->txns;

	if (txn->wants_region && txn->status == STATUS_OK) {
		/* Who has the region must be able to get on. */
		if (txns->favoured == txn)
			txns->favoured = NULL;
		run_drop(txn);
		STAILQ_INSERT_TAIL(&txns->region_waiting, txn, link);
		return;
	}
	txn->server->stats.conflicts += txn->conflict;
	if (txn->status != STATUS_OK || txn->watch_lost || txn->runs + 1 >= RUNS_MAX) {
		txn_fail(txn);
		return;
	}
	if (txn->runs + 1 >= RUNS_CALM && txns->favoured == NULL)
		txns->favoured = txn;
	run_drop(txn);
	STAILQ_INSERT_TAIL(&txns->again, txn, link);
}

static void txn_again(struct resp_txn *txn)
{
	run_again(txn);
	txn_go(txn);
}

unsigned resp_txns_run(struct resp_server *server)
{
	struct resp_txns *txns = server->txns;
	struct resp_txn_list again = txns->again;
	struct resp_txn *txn;
	struct resp_call *call;
	unsigned count = 0;

	if (STAILQ_EMPTY(&again))
		STAILQ_INIT(&again);
	STAILQ_INIT(&txns->again);
	while ((txn = STAILQ_FIRST(&again)) != NULL) {
		STAILQ_REMOVE_HEAD(&again, link);
		if (txns->favoured != NULL && txns->favoured != txn) {
			STAILQ_INSERT_TAIL(&txns->again, txn, link);
			continue;
		}
		txn_again(txn);
		count++;
	}
	if (txns->region_user == NULL && (txn = STAILQ_FIRST(&txns->region_waiting)) != NULL) {
		STAILQ_REMOVE_HEAD(&txns->region_waiting, link);
		txns->region_user = txn;
		txn_again(txn);
		count++;
	}
	while (txns->favoured == NULL && !STAILQ_EMPTY(&txns->free) &&
	       (call = STAILQ_FIRST(&txns->waiting)) != NULL) {
		STAILQ_REMOVE_HEAD(&txns->waiting, wait_link);
		resp_txn_start(call);
		count++;
	}
	return count;
}

/*
 * A start command of EXEC, or the stream of any; false: it goes on when it has ended. It changes
 * nothing in the store, and runs again with the others after a conflict.
 */
static bool start_command(struct resp_txn *txn, resp_run_fn *start)
{
	assert(!txn->starting);
	txn->step = STEP_COMMAND;
	txn->starting = true;
	txn->start_ended = false;
	start(txn->call);
	txn->starting = false;
	return txn->start_ended;
}

void resp_txn_command_done(struct resp_call *call)
{
	struct resp_txn *txn = call->txn;

	assert(txn->step == STEP_COMMAND);
	txn->start_ended = true;
	if (!txn->starting) /* else: start_command() goes on, so that nothing is called deeper */
		txn_go(txn);
}

void resp_stream_done(struct resp_call *call)
{
	resp_txn_command_done(call);
}

static void txn_published(struct resp_call *call)
{
	struct resp_txn *txn = call->txn;

	txn->step = STEP_REPLY;
	if (!txn->starting)
		txn_go(txn);
}

/* False: it goes on when all is told. */
static bool publish_events(struct resp_txn *txn)
{
	txn->starting = true;
	if (!txn_events_publish(txn, txn_published))
		txn->step = STEP_REPLY;
	txn->starting = false;
	return txn->step == STEP_REPLY;
}

/* False: it goes on when the client has taken more of it. */
static bool send_reply(struct resp_txn *txn)
{
	struct resp_txns *txns = txn->server->txns;

	/* It is committed: nobody needs to wait for a reader that is slow. */
	if (txns->favoured == txn)
		txns->favoured = NULL;
	region_drop(txn);
	if (txns->region_user == txn)
		txns->region_user = NULL;
	if (!txn_reply_send(txn))
		return false;
	txn->step = STEP_CLOSE;
	return true;
}

/* One step; false: it goes on when something has ended. */
static bool step_once(struct resp_txn *txn)
{
	switch (txn->step) {
	case STEP_WATCH:
		txn_load_some(txn, true);
		if (txn->loading == 0)
			txn->step = STEP_COMMAND;
		return txn->loading == 0;
	case STEP_COMMAND:
		if (!txn_next_command(txn))
			txn->step = STEP_WRITE;
		else if (txn_command_begin(txn))
			txn->step = STEP_LOAD;
		break;
	case STEP_LOAD:
		txn_load_some(txn, txn->call->command->flags & RESP_META);
		if (txn->loading == 0)
			txn->step = STEP_EXECUTE;
		return txn->loading == 0;
	case STEP_EXECUTE:
		if (txn->call->command->apply != NULL || txn->call->command->start == NULL) {
			txn->step = STEP_COMMAND;
			return txn_command_execute(txn) ||
			       start_command(txn, txn->call->command->stream);
		}
		return start_command(txn, txn->call->command->start);
	case STEP_WRITE:
		if (txn_reply_is_full(txn)) {
			txn->status = STATUS_BUSY;
			break;
		}
		txn->writing = STAILQ_FIRST(&txn->entries);
		txn->write_offset = 0;
		txn->step = STEP_COMMIT;
		return !txn_blob_submit(txn);
	case STEP_COMMIT:
		txn->step = STEP_PUBLISH;
		return !txn_commit_submit(txn);
	case STEP_PUBLISH:
		return publish_events(txn);
	case STEP_REPLY:
		return send_reply(txn);
	case STEP_CLOSE:
		if (!txn_blob_drop(txn))
			txn_end(txn);
		return false;
	}
	return true;
}

void txn_go(struct resp_txn *txn)
{
	do {
		if (txn_must_stop(txn) && txn->step <= STEP_PUBLISH) {
			if (txn->loading == 0 && !txn_blob_drop(txn))
				txn_stop(txn);
			return;
		}
	} while (step_once(txn));
}

void resp_txn_start(struct resp_call *call)
{
	struct resp_txns *txns = call->server->txns;
	struct resp_txn *txn = STAILQ_FIRST(&txns->free);
	struct resp_connection *connection = call->connection;

	if (txn == NULL || txns->favoured != NULL) {
		STAILQ_INSERT_TAIL(&txns->waiting, call, wait_link);
		return;
	}
	STAILQ_REMOVE_HEAD(&txns->free, link);
	call->txn = txn;
	txn->call = call;
	txn->runs = 0;
	txn->walk = NULL;
	txn->db_first = connection->db;
	txn->command = call->command;
	txn->command_index = call->command_index;
	if (call->in_exec)
		resp_reply_array(call, connection->multi->count);
	run_begin(txn);
	txn_go(txn);
}

/* The pool. */

static void txn_init(struct resp_server *server, struct resp_txn *txn)
{
	txn->server = server;
	STAILQ_INIT(&txn->entries);
	for (unsigned i = 0; i < TXN_FETCHES; i++) {
		txn->fetches[i].txn = txn;
		req_init(&txn->fetches[i].req, server->worker);
	}
}

size_t resp_txns_memory(void)
{
	return sizeof(struct resp_txns) + TXNS_MAX * sizeof(struct resp_txn);
}

enum status resp_txns_open(struct resp_server *server)
{
	struct resp_txns *txns = calloc(1, sizeof(*txns));

	if (txns == NULL)
		return STATUS_NO_SPACE;
	txns->txns = calloc(TXNS_MAX, sizeof(*txns->txns));
	/* Address space only: pages come as they are touched. */
	txns->region = mmap(NULL, TXN_REGION_SIZE, PROT_READ | PROT_WRITE,
	                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (txns->txns == NULL || txns->region == MAP_FAILED) {
		if (txns->region != MAP_FAILED)
			munmap(txns->region, TXN_REGION_SIZE);
		free(txns->txns);
		free(txns);
		return STATUS_NO_SPACE;
	}
	STAILQ_INIT(&txns->free);
	STAILQ_INIT(&txns->region_waiting);
	STAILQ_INIT(&txns->waiting);
	STAILQ_INIT(&txns->again);
	for (unsigned i = TXNS_MAX; i-- > 0;) {
		txn_init(server, &txns->txns[i]);
		STAILQ_INSERT_HEAD(&txns->free, &txns->txns[i], link);
	}
	server->txns = txns;
	return STATUS_OK;
}

void resp_txns_close(struct resp_server *server)
{
	struct resp_txns *txns = server->txns;

	assert(txns->region_user == NULL);
	munmap(txns->region, TXN_REGION_SIZE);
	free(txns->txns);
	free(txns);
	server->txns = NULL;
}
