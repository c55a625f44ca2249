/* SPDX-License-Identifier: Apache-2.0 */
/* Lifecycle: one worker of a server walks over all buckets now and then, and removes what is due.
 */
#ifndef SERVER_S3_SWEEP_H
#define SERVER_S3_SWEEP_H

#include <stdbool.h>

struct s3_server;
struct s3_sweep;

/* NULL: no memory. */
struct s3_sweep *s3_sweep_open(struct s3_server *server);
void s3_sweep_close(struct s3_sweep *sweep); /* it is idle */
void s3_sweep_start(struct s3_sweep *sweep); /* arms its timer */
void s3_sweep_stop(struct s3_sweep *sweep);  /* starts nothing new */
bool s3_sweep_is_idle(const struct s3_sweep *sweep);

#endif
