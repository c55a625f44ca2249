/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of kv_shard share. Inside of it only. */
#ifndef LAYER_KV_SHARD_STATE_H
#define LAYER_KV_SHARD_STATE_H

#include "layer/kv_shard.h"

enum { ENGINES_MAX = WORKER_PEERS_MAX };
_Static_assert(ENGINES_MAX <= 64, "a set of engines is a word of bits");

struct shard_scan;

struct kv_shard {
	struct kv kv;
	struct kv *engines[ENGINES_MAX];
	unsigned engine_count;
	struct shard_scan *scans_free; /* on its own worker */
	struct req_list scan_waiters;
	struct shard_scan *scans;
};

/* kv_shard_scan.c: a scan that several engines answer together. */
enum { SHARD_SCANS_MAX = 4 }; /* at a time; others wait */
enum status shard_scans_open(struct kv_shard *shard) __attribute__((warn_unused_result));
void shard_scans_close(struct kv_shard *shard);
void shard_scan_submit(struct kv_shard *shard, struct req *req, const struct kv_cmd *cmd);
size_t shard_scan_frame_size(void);

#endif
