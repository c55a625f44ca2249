/* SPDX-License-Identifier: Apache-2.0 */
/* The store of engine/ and layer/kv_shard.c under the harness. */
#ifndef TESTS_SIM_ENGINE_H
#define TESTS_SIM_ENGINE_H

#include "sim_store_harness.h"

/* With segments of 256 KiB and little memory, so that a short run meets every path. */
const struct store_binding *engine_binding(void);

/* Of stores that are opened from now on: enum store_bug. */
extern uint32_t engine_bugs;

#endif
