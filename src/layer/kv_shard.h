/* SPDX-License-Identifier: Apache-2.0 */
/* Keys to workers: one key-value device on every worker, over the engines of all of them. */
#ifndef LAYER_KV_SHARD_H
#define LAYER_KV_SHARD_H

#include "core/worker.h"
#include "proto/kv.h"

struct kv_shard;

/*
 * For `worker`, over engines[0..engine_count): partition p belongs to engine p % engine_count. The
 * workers of all engines are connected with `worker`, both ways. Control path.
 */
enum status kv_shard_open(struct kv_shard **out, struct worker *worker, struct kv *const *engines,
                          unsigned engine_count) __attribute__((warn_unused_result));
void kv_shard_close(struct kv_shard *shard); /* no request is running */

struct kv *kv_shard_kv(struct kv_shard *shard);

#endif
