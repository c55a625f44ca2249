/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls that fail on purpose: the Nth of a kind, for N = 0 to the end. For programs that the linker
 * gave these functions instead of the real ones: `wrapped` in tests/meson.build.
 */
#ifndef TESTS_FAULT_H
#define TESTS_FAULT_H

#include <stdbool.h>
#include <stdint.h>

enum fault_kind {
	FAULT_MEMORY, /* malloc, calloc, realloc, aligned_alloc, mmap of memory: NULL, MAP_FAILED */
	FAULT_STEP,   /* a read, write, flush of a file ends with `result` instead */
	FAULT_FUA,    /* the same of those alone that make a write durable */
	FAULT_SHORT,  /* a read or write ends in the middle */
	FAULT_ENTER,  /* io_uring is not entered: `result` */
	FAULT_KINDS
};

/* After `skip` more calls of the kind the next `count` fail; UINT32_MAX: for ever. */
struct fault {
	enum fault_kind kind;
	uint32_t skip, count;
	int result; /* negative errno */
};

/* Threads: any may run into it; armed and disarmed while none does. Counts from 0 again. */
void fault_arm(const struct fault *fault);
void fault_disarm(void);

uint64_t fault_calls(enum fault_kind kind); /* since the last of these two */
uint64_t fault_hits(void);                  /* that failed */

/* Bytes that are mapped and not unmapped. */
uint64_t fault_mapped(void);

/* Whether something is not reachable any more: asks the leak sanitizer, and says no without one. */
bool fault_has_leaked(void);

#endif
