/* SPDX-License-Identifier: Apache-2.0 */
/* A store that no server has, for the subcommands that look at it or mend it. */
#ifndef CLI_OFFLINE_H
#define CLI_OFFLINE_H

#include "app/store_reader.h"
#include "cli/cli.h"
#include "core/buf.h"
#include "engine/store.h"
#include "transport/io.h"

/* A worker that the main thread turns. */
struct offline_worker {
	struct worker worker;
	struct bufs bufs;
	struct io *io;
	struct blk *blk;
	bool opened;
};

/* Memory and thread: the main thread's. It must not move. */
struct offline {
	char file[4096];
	int lock;
	bool read_only;
	struct store_reader reader; /* of workers[0] */
	struct offline_worker workers[STREAMS_MAX];
	unsigned count;
	struct ring *rings;
	struct req **ring_slots;
};

/*
 * Takes the lock that a server takes, and opens the file or device. CLI_ENVIRONMENT, after a
 * message: nothing there, not allowed to, or a server has it.
 */
enum cli_exit offline_open(struct offline *offline, const char *path, bool read_only);
void offline_close(struct offline *offline);

/*
 * Opens the store as a server with `streams` workers would, going on behind damage in its logs,
 * and closes it cleanly. *did: what recovery did. After it only offline_close() is allowed.
 */
enum cli_exit offline_recover(struct offline *offline, uint32_t streams,
                              struct store_recovery *did);

/* "yes" on a terminal, in words; false also where stdin is none. */
bool offline_agrees(const char *question);

/* Of a status that says why a store could not be looked at. */
enum cli_exit offline_explain(const struct offline *offline, enum status status);

#endif
