/* SPDX-License-Identifier: Apache-2.0 */
/* The one file that includes hwloc. Reads the machine at start and never again. */
#include "core/topology.h"

#include <hwloc.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* hwloc's header brings the assert() that goes away in release builds. */
#undef assert
#include "base/assert.h"

void topology_add_device(struct topology *t, enum topology_kind kind, const char *name, int node)
{
	struct topology_device *device;

	assert(kind < TOPOLOGY_KINDS);
	assert(node >= -1 && node < (int)t->node_count);
	if (t->device_count == TOPOLOGY_DEVICES_MAX)
		return; /* more say nothing new about where devices are */
	device = &t->devices[t->device_count++];
	*device = (struct topology_device){ .kind = kind, .node = node };
	snprintf(device->name, sizeof(device->name), "%s", name);
}

/* The index of the one node that an object is near; -1: of several. */
static int node_of(const struct topology *t, hwloc_obj_t obj)
{
	int id;

	if (obj == NULL || obj->nodeset == NULL || hwloc_bitmap_weight(obj->nodeset) != 1)
		return -1;
	id = hwloc_bitmap_first(obj->nodeset);
	for (unsigned i = 0; i < t->node_count; i++) {
		if (t->nodes[i] == id)
			return (int)i;
	}
	return -1;
}

static void add_nodes(struct topology *t, hwloc_topology_t hw)
{
	int count = hwloc_get_nbobjs_by_type(hw, HWLOC_OBJ_NUMANODE);

	for (int i = 0; i < count && t->node_count < TOPOLOGY_NODES_MAX; i++) {
		hwloc_obj_t node = hwloc_get_obj_by_type(hw, HWLOC_OBJ_NUMANODE, (unsigned)i);

		/* A node without processors (CXL memory) is nobody's home. */
		if (!hwloc_bitmap_iszero(node->cpuset))
			t->nodes[t->node_count++] = (uint16_t)node->os_index;
	}
	if (t->node_count == 0)
		t->node_count = 1;
}

static void add_cpus(struct topology *t, hwloc_topology_t hw, hwloc_const_cpuset_t allowed)
{
	hwloc_obj_t pu = NULL;

	while ((pu = hwloc_get_next_obj_by_type(hw, HWLOC_OBJ_PU, pu)) != NULL) {
		hwloc_obj_t core = hwloc_get_ancestor_obj_by_type(hw, HWLOC_OBJ_CORE, pu);
		int node = node_of(t, pu);
		unsigned at = t->cpu_count;

		if (t->cpu_count == TOPOLOGY_CPUS_MAX || pu->os_index > UINT16_MAX)
			break;
		if (allowed != NULL && !hwloc_bitmap_isset(allowed, pu->os_index))
			continue;
		for (; at > 0 && t->cpus[at - 1].id > pu->os_index; at--)
			t->cpus[at] = t->cpus[at - 1];
		t->cpus[at] = (struct topology_cpu){
			.id = (uint16_t)pu->os_index,
			.core = (uint16_t)(core == NULL ? pu->logical_index : core->logical_index),
			.node = (uint16_t)(node < 0 ? 0 : node),
			.thread = (uint16_t)(core == NULL ? 0 : pu->sibling_rank),
		};
		t->cpu_count++;
	}
}

static void add_devices(struct topology *t, hwloc_topology_t hw)
{
	hwloc_obj_t obj = NULL;

	while ((obj = hwloc_get_next_osdev(hw, obj)) != NULL) {
		int node = node_of(t, hwloc_get_non_io_ancestor_obj(hw, obj));

		if (obj->name == NULL)
			continue;
		if (obj->attr->osdev.type == HWLOC_OBJ_OSDEV_NETWORK)
			topology_add_device(t, TOPOLOGY_NETWORK, obj->name, node);
		else if (obj->attr->osdev.type == HWLOC_OBJ_OSDEV_BLOCK)
			topology_add_device(t, TOPOLOGY_STORAGE, obj->name, node);
	}
}

/* Of the machine that hw has been told about; frees hw. */
static enum status fill(struct topology *t, hwloc_topology_t hw, bool here)
{
	hwloc_bitmap_t allowed = NULL;
	enum status status = STATUS_OK;

	memset(t, 0, sizeof(*t));
	hwloc_topology_set_io_types_filter(hw, HWLOC_TYPE_FILTER_KEEP_IMPORTANT);
	if (hwloc_topology_load(hw) != 0) {
		hwloc_topology_destroy(hw);
		return here ? STATUS_IO : STATUS_INVALID;
	}
	if (here) {
		allowed = hwloc_bitmap_alloc();
		if (allowed != NULL && hwloc_get_cpubind(hw, allowed, HWLOC_CPUBIND_PROCESS) != 0) {
			hwloc_bitmap_free(allowed);
			allowed = NULL; /* cannot tell: then the control group's set alone */
		}
	}
	add_nodes(t, hw);
	add_cpus(t, hw, allowed);
	add_devices(t, hw);
	if (t->cpu_count == 0)
		status = here ? STATUS_IO : STATUS_INVALID;
	hwloc_bitmap_free(allowed);
	hwloc_topology_destroy(hw);
	return status;
}

unsigned topology_quota(const char *cpu_max)
{
	uint64_t quota, period;

	if (sscanf(cpu_max, "%" SCNu64 " %" SCNu64, &quota, &period) != 2)
		return 0;
	if (period == 0 || quota == 0 || quota / period >= TOPOLOGY_CPUS_MAX)
		return 0;
	quota = quota * 1000 / period;
	return quota == 0 ? 1 : (unsigned)quota;
}

static bool read_text(const char *path, char *out, size_t out_max)
{
	FILE *file = fopen(path, "re");
	size_t size;

	if (file == NULL)
		return false;
	size = fread(out, 1, out_max - 1, file);
	out[size] = '\0';
	fclose(file);
	return size > 0;
}

/* The tightest of our control group and all above it. */
static unsigned detect_quota(void)
{
	char groups[4096], path[4200], text[64];
	unsigned tightest = 0;
	char *group, *end;

	if (!read_text("/proc/self/cgroup", groups, sizeof(groups)))
		return 0;
	group = strstr(groups, "0::/");
	if (group == NULL)
		return 0;
	group += 3;
	group[strcspn(group, "\n")] = '\0';
	while ((end = strrchr(group, '/')) != NULL) {
		unsigned quota;

		snprintf(path, sizeof(path), "/sys/fs/cgroup%s/cpu.max", group);
		quota = read_text(path, text, sizeof(text)) ? topology_quota(text) : 0;
		if (quota != 0 && (tightest == 0 || quota < tightest))
			tightest = quota;
		*end = '\0';
	}
	/* In a container the group is often the root of what we see. */
	if (tightest == 0 && read_text("/sys/fs/cgroup/cpu.max", text, sizeof(text)))
		tightest = topology_quota(text);
	return tightest;
}

enum status topology_detect(struct topology *t)
{
	hwloc_topology_t hw;
	enum status status;

	if (hwloc_topology_init(&hw) != 0)
		return STATUS_IO;
	status = fill(t, hw, true);
	t->quota_milli = detect_quota();
	return status;
}

enum status topology_from_synthetic(struct topology *t, const char *description)
{
	hwloc_topology_t hw;

	if (hwloc_topology_init(&hw) != 0)
		return STATUS_IO;
	if (hwloc_topology_set_synthetic(hw, description) != 0) {
		hwloc_topology_destroy(hw);
		return STATUS_INVALID;
	}
	return fill(t, hw, false);
}

enum status topology_from_xml(struct topology *t, const char *path)
{
	hwloc_topology_t hw;

	if (hwloc_topology_init(&hw) != 0)
		return STATUS_IO;
	if (hwloc_topology_set_xml(hw, path) != 0) {
		hwloc_topology_destroy(hw);
		return STATUS_INVALID;
	}
	return fill(t, hw, false);
}
