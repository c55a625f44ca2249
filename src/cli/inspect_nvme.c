/* SPDX-License-Identifier: Apache-2.0 */
/* weir inspect nvme: what a discovery controller tells, and what its subsystems are. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "host/host.h"

enum { TYPE_NVM = 2, TRANSPORT_TCP = 3 };
#define WAIT_NS 5000000000ull

/* The first namespace of a subsystem. */
static void print_subsystem(const struct nvme_host_options *options)
{
	char error[IO_ERROR_SIZE], size[CLI_SIZE_MAX], uuid[NVME_UUID_TEXT_SIZE];
	struct nvme_host_facts facts;

	if (nvme_host_probe(options, WAIT_NS, &facts, error) != STATUS_OK) {
		printf("    %s\n", error);
		return;
	}
	nvme_uuid_text(facts.uuid, uuid);
	printf("    controller  %s %s, serial %s, NVMe %" PRIu32 ".%" PRIu32 "\n", facts.model,
	       facts.firmware, facts.serial, facts.version >> 16, facts.version >> 8 & 0xff);
	printf("    namespaces  %" PRIu32 "\n", facts.namespaces);
	printf("    the first   %s, blocks of %u bytes%s, uuid %s\n",
	       cli_size(facts.geometry.block_count * facts.geometry.block_size, size),
	       facts.geometry.block_size, facts.read_only ? ", read-only" : "", uuid);
}

enum cli_exit cli_inspect_nvme(const char *address)
{
	static struct nvme_host_entry entries[NVME_HOST_ENTRIES_MAX];
	struct nvme_host_options options = { .nqn = NVME_DISCOVERY_NQN };
	char error[IO_ERROR_SIZE] = "";
	unsigned count = 0;

	if (strlen(address) > NVME_HOST_ADDRESS_MAX) {
		cli_error("%s: not an address", address);
		return CLI_USAGE;
	}
	memcpy(options.address, address, strlen(address) + 1);
	host_nvme_identity(options.host_id);
	if (nvme_host_discover(&options, WAIT_NS, entries, &count, error) != STATUS_OK) {
		cli_error("%s: %s", address, error);
		return CLI_ENVIRONMENT;
	}
	for (unsigned i = 0; i < count; i++) {
		printf("%s at %s%s\n", entries[i].nqn, entries[i].address,
		       entries[i].transport == TRANSPORT_TCP ? "" : ", not by TCP");
		if (entries[i].subsystem_type != TYPE_NVM || entries[i].transport != TRANSPORT_TCP)
			continue;
		memcpy(options.nqn, entries[i].nqn, sizeof(options.nqn));
		snprintf(options.address, sizeof(options.address), "%s", entries[i].address);
		print_subsystem(&options);
	}
	return CLI_DONE;
}
