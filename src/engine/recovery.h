/* SPDX-License-Identifier: Apache-2.0 */
/* Opening a store: what is on the device, replayed into the shards. Inside of the engine only. */
#ifndef ENGINE_RECOVERY_H
#define ENGINE_RECOVERY_H

#include "engine/store.h"

void recovery_start(struct store *store, const struct store_worker *workers,
                    unsigned worker_count, struct req *req);
void recovery_free(struct store *store);

/* store.c: the memory of all shards, when store->super is known. */
enum status store_make_shards(struct store *store, const struct store_worker *workers,
                              unsigned worker_count) __attribute__((warn_unused_result));

#endif
