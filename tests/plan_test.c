/* SPDX-License-Identifier: Apache-2.0 */
/* Plans for machines that are only described. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/plan.h"

static struct topology machine;
static struct conf conf;
static struct plan plan;
static char text[1024];

static void describe(const char *description)
{
	assert_int_equal(topology_from_synthetic(&machine, description), STATUS_OK);
	conf_init(&conf);
}

static void set(const char *assignment)
{
	assert_int_equal(conf_set(&conf, assignment), STATUS_OK);
}

/* "0-1,32-33": the cores of the workers with exactly these roles, background aside. */
static const char *cores_of(unsigned roles)
{
	size_t size = 0;
	unsigned i = 0;

	text[0] = '\0';
	while (i < plan.count) {
		unsigned first = plan.workers[i].cpu, last = first;

		if ((plan.workers[i++].roles & ~(unsigned)ROLE_BACKGROUND) != roles)
			continue;
		while (i < plan.count && plan.workers[i].cpu == last + 1u &&
		       (plan.workers[i].roles & ~(unsigned)ROLE_BACKGROUND) == roles) {
			last++;
			i++;
		}
		size += (size_t)snprintf(text + size, sizeof(text) - size,
		                         first == last ? "%s%u" : "%s%u-%u", size > 0 ? "," : "",
		                         first, last);
	}
	return text;
}

static void make(void)
{
	enum status status = plan_make(&plan, &machine, &conf);

	assert_string_equal(plan.error, "");
	assert_int_equal(status, STATUS_OK);
	assert_true(plan.engine_count >= 1);
	for (unsigned i = 0; i < plan.count; i++) {
		bool last = i == plan.count - 1;

		assert_true(!plan.workers[i].engine || (plan.workers[i].roles & ROLE_STORAGE));
		assert_int_equal((plan.workers[i].roles & ROLE_BACKGROUND) != 0, last);
	}
	assert_true(plan.system_count >= 1);
}

static void assert_refused(const char *error)
{
	assert_int_equal(plan_make(&plan, &machine, &conf), STATUS_INVALID);
	assert_string_equal(plan.error, error);
}

enum { ALL = ROLE_NETWORK | ROLE_STORAGE | ROLE_APPLICATION };

static void test_one_core(void **state)
{
	(void)state;
	describe("core:1 pu:1");
	make();
	assert_int_equal(plan.count, 1);
	assert_string_equal(cores_of(ALL), "0");
	assert_int_equal(plan.system[0], 0);
	assert_false(plan.shared);
}

static void test_few_cores_are_fused(void **state)
{
	static const char *const cores[] = { "0-1", "0-2", "0-3", "0-4", "0-5", "0-6" };

	(void)state;
	for (unsigned c = 2; c <= 7; c++) {
		char description[32];

		snprintf(description, sizeof(description), "core:%u pu:1", c);
		describe(description);
		make();
		assert_string_equal(cores_of(ALL), cores[c - 2]);
		assert_int_equal(plan.count, c);
	}
}

static void test_eight_and_more_are_split_by_profile(void **state)
{
	(void)state;
	describe("core:8 pu:1");
	make();
	assert_string_equal(cores_of(ROLE_STORAGE), "0-2");
	assert_string_equal(cores_of(ROLE_NETWORK | ROLE_APPLICATION), "3-7");
	set("workers.profile=cache");
	make();
	assert_string_equal(cores_of(ROLE_STORAGE), "0");
	set("workers.profile=block");
	make();
	assert_string_equal(cores_of(ROLE_STORAGE), "0-3");
}

static void document(const char *description)
{
	describe(description);
	set("workers.network=4");
	set("workers.storage=4");
	make();
	assert_int_equal(plan.count, 64);
	assert_int_equal(plan.engine_count, 4);
	assert_false(plan.shared);
}

static void test_the_64_core_server_with_one_node(void **state)
{
	(void)state;
	document("core:64 pu:1");
	assert_string_equal(cores_of(ROLE_NETWORK), "0-3");
	assert_string_equal(cores_of(ROLE_STORAGE), "4-7");
	assert_string_equal(cores_of(ROLE_APPLICATION), "8-63");
	assert_int_equal(plan.system_count, 2);
	assert_int_equal(plan.system[0], 62);
	assert_int_equal(plan.system[1], 63);
}

static void test_the_64_core_server_with_two_nodes(void **state)
{
	(void)state;
	document("node:2 core:32 pu:1");
	assert_string_equal(cores_of(ROLE_NETWORK), "0-1,32-33");
	assert_string_equal(cores_of(ROLE_STORAGE), "4-5,36-37");
	assert_string_equal(cores_of(ROLE_APPLICATION), "2-3,6-31,34-35,38-63");
	assert_int_equal(plan.workers[2].node, 1);
	assert_int_equal(plan.system[0], 62);
	assert_int_equal(plan.system[1], 63);
}

static void test_workers_go_where_the_devices_are(void **state)
{
	(void)state;
	describe("node:2 core:32 pu:1");
	topology_add_device(&machine, TOPOLOGY_NETWORK, "eth0", 1);
	topology_add_device(&machine, TOPOLOGY_STORAGE, "nvme0n1", 0);
	topology_add_device(&machine, TOPOLOGY_STORAGE, "nvme1n1", 0);
	topology_add_device(&machine, TOPOLOGY_STORAGE, "nvme2n1", 1);
	topology_add_device(&machine, TOPOLOGY_STORAGE, "pmem0", -1);
	set("workers.network=3");
	set("workers.storage=3");
	make();
	assert_string_equal(cores_of(ROLE_NETWORK), "32-34");
	assert_string_equal(cores_of(ROLE_STORAGE), "3-4,35");
}

static void test_odd_counts_lose_nobody(void **state)
{
	(void)state;
	describe("node:3 core:8 pu:1");
	for (unsigned n = 1; n <= 10; n++) {
		for (unsigned s = 1; s <= 10; s++) {
			bool seen[24] = { false };
			char assignment[64];

			conf_init(&conf);
			snprintf(assignment, sizeof(assignment), "workers.network=%u", n);
			set(assignment);
			snprintf(assignment, sizeof(assignment), "workers.storage=%u", s);
			set(assignment);
			make();
			assert_int_equal(plan.count, 24);
			for (unsigned i = 0; i < plan.count; i++) {
				unsigned roles = plan.workers[i].roles & ~(unsigned)ROLE_BACKGROUND;

				assert_false(seen[plan.workers[i].cpu]);
				seen[plan.workers[i].cpu] = true;
				assert_int_equal(roles, i < n       ? ROLE_NETWORK
				                        : i < n + s ? ROLE_STORAGE
				                                    : ROLE_APPLICATION);
				assert_int_equal(plan.workers[i].node, plan.workers[i].cpu / 8);
			}
		}
	}
}

static void test_lists_win(void **state)
{
	(void)state;
	describe("core:8 pu:1");
	machine.quota_milli = 2000;
	set("workers.network_cores=7,6");
	set("workers.storage_cores=0");
	make();
	assert_string_equal(cores_of(ROLE_NETWORK), "7,6");
	assert_string_equal(cores_of(ROLE_STORAGE), "0");
	assert_string_equal(cores_of(ROLE_APPLICATION), "1-5");
	set("workers.application_cores=2");
	make();
	assert_string_equal(cores_of(ROLE_APPLICATION), "2");
	assert_int_equal(plan.count, 4);
	assert_int_equal(plan.system[0], 2);
}

static void test_a_list_and_a_count(void **state)
{
	(void)state;
	describe("core:8 pu:1");
	set("workers.network=2");
	set("workers.storage_cores=0-1");
	make();
	assert_string_equal(cores_of(ROLE_NETWORK), "2-3");
	assert_string_equal(cores_of(ROLE_STORAGE), "0-1");
}

static void test_lists_that_are_wrong(void **state)
{
	(void)state;
	describe("core:8 pu:1");
	set("workers.storage=4");
	set("workers.storage_cores=4,5");
	assert_refused("workers.storage = 4, but workers.storage_cores names only 2: name all, or "
	               "leave the count out");
	describe("core:8 pu:1");
	set("workers.storage_cores=4-5");
	set("workers.network_cores=5-6");
	assert_refused("core 5 is in workers.storage_cores and in a list before it: a core has one "
	               "role, or use workers.cores");
	describe("core:8 pu:1");
	set("workers.application_cores=5-6");
	set("workers.network_cores=5");
	assert_refused("core 5 is in workers.application_cores and in a list before it: a core has "
	               "one role, or use workers.cores");
	describe("core:8 pu:1");
	set("workers.network_cores=8");
	assert_refused("workers.network_cores: core 8 is not there, or not ours to use");
	describe("core:8 pu:1");
	set("workers.count=2");
	set("workers.network=2");
	assert_refused(
	        "workers.count and workers.cores make workers with all roles: there can be no "
	        "others beside them");
}

static void test_more_workers_than_cores_share(void **state)
{
	(void)state;
	describe("core:2 pu:1");
	set("workers.network=4");
	set("workers.storage=4");
	make();
	assert_true(plan.shared);
	assert_int_equal(plan.engine_count, 2); /* storage workers were asked for */
	assert_string_equal(cores_of(ALL), "0-1");
	assert_non_null(strstr(plan.notice, "every core runs one worker with all roles"));
	describe("core:2 pu:1");
	set("workers.count=3");
	make();
	assert_true(plan.shared);
	assert_int_equal(plan.count, 3);
	assert_int_equal(plan.engine_count, 1);
	assert_int_equal(plan.workers[2].cpu, 0);
}

static void test_one_network_one_storage_on_two_cores(void **state)
{
	(void)state;
	describe("core:2 pu:1");
	set("workers.network=1");
	set("workers.storage=1");
	make();
	assert_false(plan.shared);
	assert_string_equal(cores_of(ROLE_NETWORK | ROLE_APPLICATION), "0");
	assert_string_equal(cores_of(ROLE_STORAGE), "1");
}

static void test_fused_on_named_cores(void **state)
{
	(void)state;
	describe("core:4 pu:1");
	set("workers.cores=3,1");
	make();
	assert_string_equal(cores_of(ALL), "3,1");
	assert_int_equal(plan.system[0], 2); /* idle */
}

static void test_quota_limits_the_workers(void **state)
{
	(void)state;
	describe("core:16 pu:1");
	machine.quota_milli = 1500;
	make();
	assert_int_equal(plan.count, 2);
	assert_string_equal(cores_of(ALL), "0-1");
}

static void test_siblings_come_last(void **state)
{
	(void)state;
	/* Processors 0-15: the two threads of a core are neighbours here. */
	describe("core:8 pu:2");
	set("workers.network=2");
	set("workers.storage=2");
	make();
	assert_string_equal(cores_of(ROLE_NETWORK), "0,2");
	assert_string_equal(cores_of(ROLE_STORAGE), "4,6");
	assert_string_equal(cores_of(ROLE_APPLICATION), "8,10,12,14,1,3,5,7,9,11,13,15");
}

static void test_at_most_64_workers(void **state)
{
	(void)state;
	describe("node:4 core:64 pu:2");
	make();
	assert_int_equal(plan.count, 64);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_core),
		cmocka_unit_test(test_few_cores_are_fused),
		cmocka_unit_test(test_eight_and_more_are_split_by_profile),
		cmocka_unit_test(test_the_64_core_server_with_one_node),
		cmocka_unit_test(test_the_64_core_server_with_two_nodes),
		cmocka_unit_test(test_workers_go_where_the_devices_are),
		cmocka_unit_test(test_odd_counts_lose_nobody),
		cmocka_unit_test(test_lists_win),
		cmocka_unit_test(test_a_list_and_a_count),
		cmocka_unit_test(test_lists_that_are_wrong),
		cmocka_unit_test(test_more_workers_than_cores_share),
		cmocka_unit_test(test_one_network_one_storage_on_two_cores),
		cmocka_unit_test(test_fused_on_named_cores),
		cmocka_unit_test(test_quota_limits_the_workers),
		cmocka_unit_test(test_siblings_come_last),
		cmocka_unit_test(test_at_most_64_workers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
