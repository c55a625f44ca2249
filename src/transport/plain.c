/* SPDX-License-Identifier: Apache-2.0 */
#include "transport/io_ops.h"
enum status plain_open(struct worker *worker, const struct io_options *options, struct io **out,
                       char error[static IO_ERROR_SIZE])
{
	(void)worker;
	(void)options;
	(void)out;
	(void)error;
	return STATUS_UNSUPPORTED;
}
