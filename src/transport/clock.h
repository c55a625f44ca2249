/* SPDX-License-Identifier: Apache-2.0 */
/* The time of this machine. */
#ifndef TRANSPORT_CLOCK_H
#define TRANSPORT_CLOCK_H

#include "core/worker.h"

/* CLOCK_MONOTONIC and CLOCK_REALTIME; stateless, for any thread, never closed. */
struct clock *clock_system(void);

#endif
