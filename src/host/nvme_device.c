/* SPDX-License-Identifier: Apache-2.0 */
/* A namespace of an NVMe/TCP target as the lowest stage of a stack. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/macros.h"
#include "host/host.h"
#include "transport/nvme_host.h"

enum {
	OPTION_ADDRESS,
	OPTION_NQN,
	OPTION_NSID,
	OPTION_QUEUES,
	OPTION_DEPTH,
	OPTION_DIGESTS,
	OPTION_ON_LOSS,
	OPTION_LOSS,
	OPTION_TIMEOUT,
	OPTION_KEEP_ALIVE,
	OPTION_HOST_NQN,
	OPTION_WAIT,
	OPTIONS,
};

enum { DIGESTS_NONE, DIGESTS_HEADER, DIGESTS_DATA, DIGESTS_BOTH };

static const struct conf_setting options[OPTIONS] = {
	[OPTION_ADDRESS] = { .name = "addr",
	                     .type = CONF_STRING,
	                     .min = 1,
	                     .max = NVME_HOST_ADDRESS_MAX,
	                     .help = "HOST:PORT of the target; a number, not a name." },
	[OPTION_NQN] = { .name = "nqn",
	                 .type = CONF_STRING,
	                 .min = 5,
	                 .max = NVME_NQN_MAX,
	                 .help = "The subsystem's name; weir inspect nvme ADDR lists them." },
	[OPTION_NSID] = { .name = "nsid",
	                  .type = CONF_INTEGER,
	                  .initial = "1",
	                  .min = 1,
	                  .max = UINT32_MAX - 1,
	                  .help = "Which of its namespaces." },
	[OPTION_QUEUES] = { .name = "queues",
	                    .type = CONF_INTEGER,
	                    .initial = "2",
	                    .min = 1,
	                    .max = NVME_HOST_QUEUES_MAX,
	                    .help = "I/O queues, each a connection." },
	[OPTION_DEPTH] = { .name = "depth",
	                   .type = CONF_INTEGER,
	                   .initial = "127",
	                   .min = 2,
	                   .max = NVME_HOST_DEPTH_MAX,
	                   .help = "Commands under way in a queue." },
	[OPTION_DIGESTS] = { .name = "digests",
	                     .type = CONF_CHOICE,
	                     .initial = "none",
	                     .choices = "none|header|data|both",
	                     .help = "CRC32C over what is sent." },
	[OPTION_ON_LOSS] = { .name = "on_loss",
	                     .type = CONF_CHOICE,
	                     .initial = "redrive",
	                     .choices = "redrive|fail",
	                     .help = "Commands under way when the connection is lost." },
	[OPTION_LOSS] = { .name = "loss",
	                  .type = CONF_DURATION,
	                  .initial = "60s",
	                  .min = 1000000,
	                  .max = 86400ull * 1000000000,
	                  .help = "How long commands wait for a target that is away." },
	[OPTION_TIMEOUT] = { .name = "timeout",
	                     .type = CONF_DURATION,
	                     .initial = "30s",
	                     .min = 1000000,
	                     .max = 3600ull * 1000000000,
	                     .help = "Without an answer to a command: it is connected anew." },
	[OPTION_KEEP_ALIVE] = { .name = "keep_alive",
	                        .type = CONF_DURATION,
	                        .initial = "10s",
	                        .min = 1000000000,
	                        .max = 3600ull * 1000000000,
	                        .help = "How long either side believes in a silent other." },
	[OPTION_HOST_NQN] = { .name = "host_nqn",
	                      .type = CONF_STRING,
	                      .initial = "",
	                      .max = NVME_NQN_MAX,
	                      .help = "Who this is; empty: made from the name of the machine." },
	[OPTION_WAIT] = { .name = "wait",
	                  .type = CONF_DURATION,
	                  .initial = "10s",
	                  .min = 1000000,
	                  .max = 3600ull * 1000000000,
	                  .help = "For the target, when the stack is opened." },
};

/* The same host after every restart: by what systemd calls this machine, else by its name. */
void host_nvme_identity(uint8_t id[static 16])
{
	char text[128] = "";
	FILE *file = fopen("/etc/machine-id", "re");
	uint64_t half;

	if (file != NULL) {
		if (fgets(text, sizeof(text), file) == NULL)
			text[0] = '\0';
		fclose(file);
	}
	if (text[0] == '\0' && gethostname(text, sizeof(text) - 1) != 0)
		memcpy(text, "weir", 5);
	half = hash64(bytes_of(text, strlen(text)));
	memcpy(id, &half, sizeof(half));
	half = hash64(bytes_of(text, strlen(text) / 2));
	memcpy(id + 8, &half, sizeof(half));
	id[6] = (id[6] & 0x0f) | 0x80; /* RFC 9562: version 8 */
	id[8] = (id[8] & 0x3f) | 0x80;
}

static enum status open_nvme(struct layer_open *open, struct blk **out)
{
	const struct layer_value *v = open->values;
	struct io_devices *devices = open->env->owner;
	struct nvme_host_options with = {
		.worker = open->env->worker,
		.net = &devices->net.net,
		.nsid = (uint32_t)v[OPTION_NSID].number,
		.queues = (unsigned)v[OPTION_QUEUES].number,
		.depth = (unsigned)v[OPTION_DEPTH].number,
		.header_digest = v[OPTION_DIGESTS].number & DIGESTS_HEADER,
		.data_digest = v[OPTION_DIGESTS].number & DIGESTS_DATA,
		.loss = v[OPTION_ON_LOSS].number != 0 ? NVME_HOST_FAIL : NVME_HOST_REDRIVE,
		.loss_ns = v[OPTION_LOSS].number,
		.timeout_ns = v[OPTION_TIMEOUT].number,
		.keep_alive_ns = v[OPTION_KEEP_ALIVE].number,
		.seed = open->env->seed,
	};
	struct nvme_host_facts facts;
	char error[IO_ERROR_SIZE];
	enum status status;

	snprintf(with.address, sizeof(with.address), "%s", v[OPTION_ADDRESS].text);
	snprintf(with.nqn, sizeof(with.nqn), "%s", v[OPTION_NQN].text);
	snprintf(with.host_nqn, sizeof(with.host_nqn), "%s", v[OPTION_HOST_NQN].text);
	if (nvme_host_size(&with) > open->env->memory)
		return layer_fail(open, STATUS_NO_SPACE,
		                  "stacks.memory leaves too little for its queues");
	host_nvme_identity(with.host_id);
	nvme_host_io_net_init(&devices->net, devices->io);
	status = nvme_host_probe(&with, v[OPTION_WAIT].number, &facts, error);
	if (status != STATUS_OK) {
		layer_fail_option(open, OPTION_ADDRESS, "%s", error);
		return status;
	}
	status = nvme_host_open(&with, &facts, out);
	if (status != STATUS_OK)
		return layer_fail(open, status, "%s", status_text(status));
	open->env->memory -= nvme_host_size(&with);
	return STATUS_OK;
}

static void describe_nvme(const struct blk *blk, char *out, size_t out_max)
{
	const struct nvme_host_facts *facts = nvme_host_facts(blk);
	const struct nvme_host_stats *stats = nvme_host_stats(blk);
	const char *error = nvme_host_error(blk);

	snprintf(out, out_max, "%s %s, serial %s, %s%s%s, lost %llu times", facts->model,
	         facts->firmware, facts->serial,
	         nvme_host_is_ready(blk) ? "connected" : "not connected",
	         error[0] != '\0' ? ": " : "", error, (unsigned long long)stats->losses);
}

const struct blk_layer device_nvme_tcp = {
	.name = "nvme_tcp",
	.help = "A namespace of an NVMe/TCP target on another machine.",
	.options = options,
	.option_count = OPTIONS,
	.open = open_nvme,
	.describe = describe_nvme,
};
