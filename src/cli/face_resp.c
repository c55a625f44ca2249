/* SPDX-License-Identifier: Apache-2.0 */
/* The RESP face on every network worker. */
#include "cli/server.h"

static enum cli_exit resp_open(struct server *server, unsigned index)
{
	(void)server;
	(void)index;
	return CLI_DONE;
}
static void resp_drain(void *face)
{
	(void)face;
}
static bool resp_is_drained(const void *face)
{
	(void)face;
	return true;
}
static void resp_close(void *face)
{
	(void)face;
}

const struct face face_resp = {
	.name = "resp",
	.open = resp_open,
	.drain = resp_drain,
	.is_drained = resp_is_drained,
	.close = resp_close,
};
