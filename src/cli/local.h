/* SPDX-License-Identifier: Apache-2.0 */
/* A server inside this process, for commands on a store that nobody serves. */
#ifndef CLI_LOCAL_H
#define CLI_LOCAL_H

#include "cli/client.h"

/*
 * Serves the store at `path` to this process alone, at an address that goes into `options`. One at
 * a time. After an error, which it has told, local_close() is not called.
 */
enum cli_exit local_open(const char *path, struct client_options *options);
void local_close(void);

#endif
