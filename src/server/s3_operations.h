/* SPDX-License-Identifier: Apache-2.0 */
/* The starts of all routes: s3_route.c's table says when each runs. */
#ifndef SERVER_S3_OPERATIONS_H
#define SERVER_S3_OPERATIONS_H

#include "server/s3_internal.h"

/* s3_bucket.c */
s3_next_fn s3_list_buckets, s3_bucket_create, s3_bucket_delete, s3_bucket_head, s3_location_get;
s3_next_fn s3_versioning_get, s3_versioning_put;

/* s3_document.c */
s3_next_fn s3_document_get, s3_document_put, s3_document_delete, s3_policy_status;
s3_next_fn s3_lock_config_get, s3_lock_config_put;
s3_next_fn s3_logging_put, s3_nothing_delete;
s3_next_fn s3_no_website, s3_no_replication, s3_no_logging, s3_no_accelerate;

/* s3_acl_face.c */
s3_next_fn s3_bucket_acl_get, s3_bucket_acl_put, s3_object_acl_get, s3_object_acl_put;

/* s3_object.c */
s3_next_fn s3_object_tags_get, s3_object_tags_put, s3_object_tags_delete;
s3_next_fn s3_retention_get, s3_retention_put, s3_hold_get, s3_hold_put;

/* s3_get.c, s3_attributes.c, s3_put.c, s3_copy.c, s3_delete.c, s3_post.c */
s3_next_fn s3_get, s3_attributes_get, s3_put, s3_copy_object, s3_copy_part;
s3_next_fn s3_delete, s3_delete_many, s3_post_form;

/* s3_multipart.c, s3_complete.c */
s3_next_fn s3_multipart_create, s3_part_put, s3_multipart_complete, s3_multipart_abort;

/* s3_list.c, s3_list_uploads.c */
s3_next_fn s3_list, s3_list_versions, s3_list_uploads, s3_list_parts;

#endif
