/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/topology.h"

static struct topology t;

static void test_synthetic(void **state)
{
	(void)state;
	assert_int_equal(topology_from_synthetic(&t, "node:2 core:2 pu:2"), STATUS_OK);
	assert_int_equal(t.cpu_count, 8);
	assert_int_equal(t.node_count, 2);
	for (unsigned i = 0; i < 8; i++) {
		assert_int_equal(t.cpus[i].id, i);
		assert_int_equal(t.cpus[i].core, i / 2);
		assert_int_equal(t.cpus[i].thread, i % 2);
		assert_int_equal(t.cpus[i].node, i / 4);
	}
	assert_int_equal(t.device_count, 0);
}

static void test_nonsense_is_refused(void **state)
{
	(void)state;
	assert_int_equal(topology_from_synthetic(&t, "nonsense"), STATUS_INVALID);
	assert_int_equal(topology_from_xml(&t, "/nonexistent"), STATUS_INVALID);
}

/* What lstopo writes of a machine with two nodes, a NIC at one and an NVMe drive at the other. */
static const char xml[] =
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
        "<!DOCTYPE topology SYSTEM \"hwloc2.dtd\">\n"
        "<topology version=\"2.0\">\n"
        "<object type=\"Machine\" os_index=\"0\" cpuset=\"0x0000000f\" "
        "complete_cpuset=\"0x0000000f\" allowed_cpuset=\"0x0000000f\" nodeset=\"0x00000003\" "
        "complete_nodeset=\"0x00000003\" allowed_nodeset=\"0x00000003\" gp_index=\"1\">\n"
        "%s%s"
        "</object></topology>\n";

static const char package[] =
        "<object type=\"Package\" os_index=\"%u\" cpuset=\"%#010x\" complete_cpuset=\"%#010x\" "
        "nodeset=\"%#010x\" complete_nodeset=\"%#010x\" gp_index=\"%u\">\n"
        "<object type=\"NUMANode\" os_index=\"%u\" cpuset=\"%#010x\" complete_cpuset=\"%#010x\" "
        "nodeset=\"%#010x\" complete_nodeset=\"%#010x\" gp_index=\"%u\" "
        "local_memory=\"1073741824\"/>\n"
        "%s%s%s</object>\n";

static const char core[] =
        "<object type=\"Core\" os_index=\"%u\" cpuset=\"%#010x\" complete_cpuset=\"%#010x\" "
        "nodeset=\"%#010x\" complete_nodeset=\"%#010x\" gp_index=\"%u\">"
        "<object type=\"PU\" os_index=\"%u\" cpuset=\"%#010x\" complete_cpuset=\"%#010x\" "
        "nodeset=\"%#010x\" complete_nodeset=\"%#010x\" gp_index=\"%u\"/></object>\n";

static const char bridge[] =
        "<object type=\"Bridge\" gp_index=\"%u\" bridge_type=\"0-1\" depth=\"0\" "
        "bridge_pci=\"0000:[0%u-0%u]\">"
        "<object type=\"PCIDev\" gp_index=\"%u\" pci_busid=\"0000:0%u:00.0\" "
        "pci_type=\"%s [8086:1572] [8086:0000] 01\" pci_link_speed=\"0.0\">"
        "<object type=\"OSDev\" gp_index=\"%u\" name=\"%s\" osdev_type=\"%u\"/>"
        "</object></object>\n";

static void put_package(char *out, size_t out_max, unsigned node)
{
	char cores[2][1024], device[1024];
	unsigned cpus = 3u << (2 * node), set = 1u << node, base = 100 * (node + 1);

	for (unsigned i = 0; i < 2; i++) {
		unsigned pu = 2 * node + i, bit = 1u << pu;

		snprintf(cores[i], sizeof(cores[i]), core, pu, bit, bit, set, set, base + 10 + i,
		         pu, bit, bit, set, set, base + 20 + i);
	}
	snprintf(device, sizeof(device), bridge, base + 30, node + 1, node + 1, base + 31, node + 1,
	         node == 0 ? "0200" : "0108", base + 32, node == 0 ? "eth0" : "nvme0n1",
	         node == 0 ? 2 : 0);
	snprintf(out, out_max, package, node, cpus, cpus, set, set, base, node, cpus, cpus, set,
	         set, base + 1, cores[0], cores[1], device);
}

static void test_xml_with_devices(void **state)
{
	char packages[2][8192], path[] = "/tmp/topology_test.XXXXXX";
	int fd = mkstemp(path);
	FILE *file = fdopen(fd, "w");

	(void)state;
	assert_non_null(file);
	put_package(packages[0], sizeof(packages[0]), 0);
	put_package(packages[1], sizeof(packages[1]), 1);
	fprintf(file, xml, packages[0], packages[1]);
	fclose(file);
	assert_int_equal(topology_from_xml(&t, path), STATUS_OK);
	unlink(path);
	assert_int_equal(t.cpu_count, 4);
	assert_int_equal(t.node_count, 2);
	assert_int_equal(t.cpus[3].node, 1);
	assert_int_equal(t.device_count, 2);
	assert_string_equal(t.devices[0].name, "eth0");
	assert_int_equal(t.devices[0].kind, TOPOLOGY_NETWORK);
	assert_int_equal(t.devices[0].node, 0);
	assert_string_equal(t.devices[1].name, "nvme0n1");
	assert_int_equal(t.devices[1].kind, TOPOLOGY_STORAGE);
	assert_int_equal(t.devices[1].node, 1);
}

static void test_here(void **state)
{
	(void)state;
	assert_int_equal(topology_detect(&t), STATUS_OK);
	assert_true(t.cpu_count >= 1);
	assert_true(t.node_count >= 1);
	for (unsigned i = 0; i < t.cpu_count; i++) {
		assert_true(t.cpus[i].node < t.node_count);
		assert_true(i == 0 || t.cpus[i].id > t.cpus[i - 1].id);
	}
}

static void test_quota(void **state)
{
	(void)state;
	assert_int_equal(topology_quota("max 100000\n"), 0);
	assert_int_equal(topology_quota("150000 100000\n"), 1500);
	assert_int_equal(topology_quota("1 100000\n"), 1);
	assert_int_equal(topology_quota("18446744073709551615 1\n"), 0);
	assert_int_equal(topology_quota("5 0\n"), 0);
	assert_int_equal(topology_quota(""), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_synthetic),
		cmocka_unit_test(test_nonsense_is_refused),
		cmocka_unit_test(test_xml_with_devices),
		cmocka_unit_test(test_here),
		cmocka_unit_test(test_quota),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
