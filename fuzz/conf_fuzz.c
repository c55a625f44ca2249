/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a configuration file, and as the value of --set. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "core/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct conf conf;

static void read_all(void)
{
	struct conf_address address;
	struct conf_cores cores;

	assert(conf_number(&conf, CONF_MEMORY) >= 16 << 20);
	assert(conf_number(&conf, CONF_WORKERS_COUNT) <= 64);
	conf_address(&conf, CONF_RESP_LISTEN, &address);
	conf_cores(&conf, CONF_WORKERS_CORES, &cores);
	assert(cores.count <= CONF_CORES_MAX);
	for (unsigned i = 0; i < CONF_ERRORS_MAX && i < conf.error_count; i++)
		assert(memchr(conf.errors[i], '\0', CONF_ERROR_MAX) != NULL);
	assert(conf.stack_count <= CONF_STACKS_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	enum status status;

	conf_init(&conf);
	status = conf_parse(&conf, bytes_of(data, size), "fuzz");
	assert((status == STATUS_OK) == (conf.error_count == 0));
	read_all();
	memcpy(text, data, size);
	text[size] = '\0';
	status = conf_set(&conf, text);
	assert(status == STATUS_OK || conf.error_count > 0);
	read_all();
	free(text);
	return 0;
}
