/* SPDX-License-Identifier: Apache-2.0 */
/* The file of resp.acl_file. */
#ifndef CLI_USERS_FILE_H
#define CLI_USERS_FILE_H

#include "server/resp_admin.h"

/* Both block, and leave in file->error what went wrong. */
void users_file_read(const char *path, struct resp_file *file);
void users_file_write(const char *path,
                      struct resp_file *file); /* all of it, durably, or nothing */

#endif
