/* SPDX-License-Identifier: Apache-2.0 */
#include "transport/numa.h"

#include <errno.h>
#include <linux/mempolicy.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/assert.h"

enum { BITS = 8 * sizeof(unsigned long), WORDS = NUMA_NODES_MAX / BITS };

struct mask {
	unsigned long words[WORDS];
};

static struct mask mask_of(unsigned node)
{
	struct mask mask = { { 0 } };

	assert(node < NUMA_NODES_MAX);
	mask.words[node / BITS] = 1ul << node % BITS;
	return mask;
}

static enum status result(long status)
{
	if (status == 0)
		return STATUS_OK;
	return errno == ENOSYS ? STATUS_UNSUPPORTED : status_from_errno(errno);
}

enum status numa_prefer(unsigned node)
{
	struct mask mask = mask_of(node);

	/* The kernel counts one bit more than it looks at. */
	return result(syscall(SYS_set_mempolicy, MPOL_PREFERRED, mask.words, NUMA_NODES_MAX + 1));
}

void numa_default(void)
{
	syscall(SYS_set_mempolicy, MPOL_DEFAULT, NULL, 0);
}

enum status numa_place(void *memory, size_t size, unsigned node)
{
	struct mask mask = mask_of(node);

	return result(syscall(SYS_mbind, memory, size, MPOL_PREFERRED, mask.words,
	                      NUMA_NODES_MAX + 1, 0));
}

int numa_preferred(void)
{
	struct mask mask = { { 0 } };
	int policy;

	if (syscall(SYS_get_mempolicy, &policy, mask.words, NUMA_NODES_MAX + 1, NULL, 0) != 0 ||
	    policy != MPOL_PREFERRED)
		return -1;
	for (unsigned node = 0; node < NUMA_NODES_MAX; node++) {
		if (mask.words[node / BITS] & 1ul << node % BITS)
			return (int)node;
	}
	return -1;
}
