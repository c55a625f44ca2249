/* SPDX-License-Identifier: Apache-2.0 */
/* A store on a device in memory, with one worker that the test turns by hand. */
#ifndef TESTS_STORE_FIXTURE_H
#define TESTS_STORE_FIXTURE_H

#include "core/buf.h"
#include "core/worker.h"
#include "engine/store.h"
#include "transport/mem.h"

struct store_fixture {
	struct clock clock;
	uint64_t now_ns, wall_ms;
	struct worker worker;
	struct bufs bufs;
	struct mem mem;
	uint8_t *disk;
	uint64_t disk_size;
	struct store_options options;
	struct store *store;
};

/* Small segments and little memory, so that a short test meets every path. */
void store_fixture_init(struct store_fixture *f, uint64_t disk_size);
void store_fixture_fini(struct store_fixture *f);

/* Opens the store on what the disk holds; the status. */
enum status store_fixture_open(struct store_fixture *f);
/* A clean end; or, with `crash`, none at all. */
void store_fixture_close(struct store_fixture *f, bool crash);

/* One command, turned until it has ended. */
enum status store_run(struct store_fixture *f, const struct kv_cmd *cmd, uint64_t *result);

enum status store_put(struct store_fixture *f, struct bytes key, struct bytes value);
/* The value is copied to `out` (out_size bytes); *size: its size, UINT64_MAX: absent. */
enum status store_get(struct store_fixture *f, struct bytes key, uint8_t *out, size_t out_size,
                      uint64_t *size);
enum status store_delete(struct store_fixture *f, struct bytes key, bool *was_there);

#endif
