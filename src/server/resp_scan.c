/* SPDX-License-Identifier: Apache-2.0 */
/* Commands that walk over keys. */
#include "server/resp_internal.h"

enum status resp_scans_open(struct resp_server *server)
{
	(void)server;
	return STATUS_OK;
}

void resp_scans_close(struct resp_server *server)
{
	(void)server;
}
