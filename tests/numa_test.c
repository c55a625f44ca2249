/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "core/topology.h"
#include "transport/numa.h"

enum { SIZE = 1 << 20 };

static void test_a_thread_prefers_a_node(void **state)
{
	static struct topology machine;

	(void)state;
	assert_int_equal(topology_detect(&machine), STATUS_OK);
	if (numa_prefer(machine.nodes[0]) != STATUS_OK)
		skip(); /* a kernel without memory policies, or a sandbox */
	assert_int_equal(numa_preferred(), machine.nodes[0]);
	numa_default();
	assert_int_equal(numa_preferred(), -1);
}

static void test_memory_is_placed(void **state)
{
	static struct topology machine;
	void *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	enum status status;

	(void)state;
	assert_true(memory != MAP_FAILED);
	assert_int_equal(topology_detect(&machine), STATUS_OK);
	status = numa_place(memory, SIZE, machine.nodes[0]);
	if (status == STATUS_OK)
		memset(memory, 1, SIZE);
	munmap(memory, SIZE);
	if (status != STATUS_OK)
		skip();
}

static void test_a_node_that_is_not_there(void **state)
{
	(void)state;
	assert_int_not_equal(numa_prefer(NUMA_NODES_MAX - 1), STATUS_OK);
	assert_int_equal(numa_preferred(), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_thread_prefers_a_node),
		cmocka_unit_test(test_memory_is_placed),
		cmocka_unit_test(test_a_node_that_is_not_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
