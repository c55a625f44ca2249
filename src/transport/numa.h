/* SPDX-License-Identifier: Apache-2.0 */
/* Where memory lies on a machine with several memory nodes. */
#ifndef TRANSPORT_NUMA_H
#define TRANSPORT_NUMA_H

#include <stddef.h>

#include "base/status.h"

/* Nodes as the operating system numbers them. */
enum { NUMA_NODES_MAX = 1024 };

/*
 * What the calling thread touches first lies on that node, as long as the node has room; else on
 * another one. Lasts until numa_default(). UNSUPPORTED, DENIED (a sandbox), INVALID: no such node.
 */
enum status numa_prefer(unsigned node) __attribute__((warn_unused_result));
void numa_default(void);

/* The same for memory, of whole pages, whoever touches it. What was touched stays where it is. */
enum status numa_place(void *memory, size_t size, unsigned node)
        __attribute__((warn_unused_result));

/* The node that the calling thread prefers; -1: none, or unknown. */
int numa_preferred(void);

#endif
