/* SPDX-License-Identifier: Apache-2.0 */
/* Browser uploads, as s3_upload.c sees them. */
#ifndef SERVER_S3_FORM_H
#define SERVER_S3_FORM_H

#include "server/s3_internal.h"

/* What a body of a form is taken by, as s3_upload_body() and its end. */
size_t s3_form_body(struct s3_call *call, struct bytes piece);
void s3_form_body_ended(struct s3_call *call);

#endif
