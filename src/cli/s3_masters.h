/* SPDX-License-Identifier: Apache-2.0 */
/* The file of the keys that wrap those of encrypted objects (s3.encryption_key_file). */
#ifndef CLI_S3_MASTERS_H
#define CLI_S3_MASTERS_H

#include "host/host.h"
#include "server/s3_server.h"

/*
 * Into options->masters. The file beside a store in a directory is made when it is not there; a
 * store on a device has none unless the setting names one. Blocks; at start, of the main thread.
 * What is wrong with the file is in the host's message.
 */
enum status s3_masters_read(struct host *host, struct s3_server_options *options)
        __attribute__((warn_unused_result));

#endif
