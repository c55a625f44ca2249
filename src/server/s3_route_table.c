/* SPDX-License-Identifier: Apache-2.0 */
/* The routes of S3: the first that fits is taken; what no row has is not implemented. */
#include "base/macros.h"
#include "server/s3_operations.h"

#define SERVICE S3_ON_SERVICE
#define BUCKET S3_ON_BUCKET
#define OBJECT S3_ON_OBJECT
#define COLLECT S3_ROUTE_COLLECT
#define OWNER S3_ROUTE_OWNER

/* A bucket's document: get, put, delete. */
#define DOCUMENT(parameter, get_action, put_action, number)                                        \
	{ HTTP_GET, BUCKET, parameter, get_action, 0, OWNER, s3_document_get, number },            \
	        { HTTP_PUT, BUCKET,          parameter,       put_action,                          \
		  0,        OWNER | COLLECT, s3_document_put, number },                            \
	{                                                                                          \
		HTTP_DELETE, BUCKET, parameter, put_action, 0, OWNER, s3_document_delete, number   \
	}

// clang-format off
const struct s3_route s3_routes[] = {
	{ HTTP_GET, SERVICE, NULL, "s3:ListAllMyBuckets", 0, S3_ROUTE_NO_BUCKET, s3_list_buckets, 0 },

	{ HTTP_GET, BUCKET, "location", "s3:GetBucketLocation", S3_READ, 0, s3_location_get, 0 },
	{ HTTP_GET, BUCKET, "versioning", "s3:GetBucketVersioning", 0, OWNER, s3_versioning_get, 0 },
	{ HTTP_PUT, BUCKET, "versioning", "s3:PutBucketVersioning", 0, OWNER | COLLECT, s3_versioning_put, 0 },
	{ HTTP_GET, BUCKET, "acl", "s3:GetBucketAcl", S3_READ_ACP, 0, s3_bucket_acl_get, 0 },
	{ HTTP_PUT, BUCKET, "acl", "s3:PutBucketAcl", S3_WRITE_ACP, COLLECT, s3_bucket_acl_put, 0 },
	DOCUMENT("policy", "s3:GetBucketPolicy", "s3:PutBucketPolicy", S3_DOCUMENT_POLICY),
	{ HTTP_GET, BUCKET, "policyStatus", "s3:GetBucketPolicyStatus", 0, OWNER, s3_policy_status, 0 },
	DOCUMENT("cors", "s3:GetBucketCORS", "s3:PutBucketCORS", S3_DOCUMENT_CORS),
	DOCUMENT("lifecycle", "s3:GetLifecycleConfiguration", "s3:PutLifecycleConfiguration",
	         S3_DOCUMENT_LIFECYCLE),
	DOCUMENT("tagging", "s3:GetBucketTagging", "s3:PutBucketTagging", S3_DOCUMENT_TAGGING),
	DOCUMENT("encryption", "s3:GetEncryptionConfiguration", "s3:PutEncryptionConfiguration",
	         S3_DOCUMENT_ENCRYPTION),
	DOCUMENT("publicAccessBlock", "s3:GetBucketPublicAccessBlock",
	         "s3:PutBucketPublicAccessBlock", S3_DOCUMENT_PUBLIC_BLOCK),
	DOCUMENT("ownershipControls", "s3:GetBucketOwnershipControls",
	         "s3:PutBucketOwnershipControls", S3_DOCUMENT_OWNERSHIP),
	{ HTTP_GET, BUCKET, "object-lock", "s3:GetBucketObjectLockConfiguration", 0, OWNER, s3_lock_config_get, 0 },
	{ HTTP_PUT, BUCKET, "object-lock", "s3:PutBucketObjectLockConfiguration", 0, OWNER | COLLECT, s3_lock_config_put, 0 },
	{ HTTP_GET, BUCKET, "notification", "s3:GetBucketNotification", 0, OWNER, s3_document_get, S3_DOCUMENT_NOTIFICATION },
	{ HTTP_PUT, BUCKET, "notification", "s3:PutBucketNotification", 0, OWNER | COLLECT, s3_document_put, S3_DOCUMENT_NOTIFICATION },
	{ HTTP_GET, BUCKET, "requestPayment", "s3:GetBucketRequestPayment", 0, OWNER, s3_document_get, S3_DOCUMENT_PAYMENT },
	{ HTTP_PUT, BUCKET, "requestPayment", "s3:PutBucketRequestPayment", 0, OWNER | COLLECT, s3_document_put, S3_DOCUMENT_PAYMENT },
	{ HTTP_GET, BUCKET, "uploads", "s3:ListBucketMultipartUploads", S3_READ, 0, s3_list_uploads, 0 },
	{ HTTP_GET, BUCKET, "versions", "s3:ListBucketVersions", S3_READ, 0, s3_list_versions, 0 },
	{ HTTP_GET, BUCKET, "website", "s3:GetBucketWebsite", 0, OWNER | S3_ROUTE_STUB, s3_no_website, 0 },
	{ HTTP_GET, BUCKET, "replication", "s3:GetReplicationConfiguration", 0, OWNER | S3_ROUTE_STUB, s3_no_replication, 0 },
	{ HTTP_GET, BUCKET, "logging", "s3:GetBucketLogging", 0, OWNER | S3_ROUTE_STUB, s3_no_logging, 0 },
	{ HTTP_PUT, BUCKET, "logging", "s3:PutBucketLogging", 0, OWNER | COLLECT, s3_logging_put, 0 },
	{ HTTP_DELETE, BUCKET, "website", "s3:DeleteBucketWebsite", 0, OWNER | S3_ROUTE_STUB, s3_nothing_delete, 0 },
	{ HTTP_DELETE, BUCKET, "replication", "s3:PutReplicationConfiguration", 0, OWNER | S3_ROUTE_STUB, s3_nothing_delete, 0 },
	{ HTTP_GET, BUCKET, "accelerate", "s3:GetAccelerateConfiguration", 0, OWNER | S3_ROUTE_STUB, s3_no_accelerate, 0 },
	{ HTTP_POST, BUCKET, "delete", "s3:DeleteObject", S3_WRITE,
	  COLLECT | S3_ROUTE_SELF | S3_ROUTE_NEEDS_MD5, s3_delete_many, 0 },
	{ HTTP_GET, BUCKET, NULL, "s3:ListBucket", S3_READ, 0, s3_list, 0 },
	{ HTTP_HEAD, BUCKET, NULL, "s3:ListBucket", S3_READ, 0, s3_bucket_head, 0 },
	{ HTTP_PUT, BUCKET, NULL, "s3:CreateBucket", 0, S3_ROUTE_NO_BUCKET | COLLECT, s3_bucket_create, 0 },
	{ HTTP_DELETE, BUCKET, NULL, "s3:DeleteBucket", 0, OWNER, s3_bucket_delete, 0 },
	{ HTTP_POST, BUCKET, NULL, "s3:PutObject", S3_WRITE, S3_ROUTE_SELF, s3_post_form, 0 },

	{ HTTP_GET, OBJECT, "acl", "s3:GetObjectAcl", S3_READ_ACP, S3_ROUTE_OBJECT_ACL, s3_object_acl_get, 0 },
	{ HTTP_PUT, OBJECT, "acl", "s3:PutObjectAcl", S3_WRITE_ACP, S3_ROUTE_OBJECT_ACL | COLLECT, s3_object_acl_put, 0 },
	{ HTTP_GET, OBJECT, "tagging", "s3:GetObjectTagging", 0, OWNER, s3_object_tags_get, 0 },
	{ HTTP_PUT, OBJECT, "tagging", "s3:PutObjectTagging", 0, OWNER | COLLECT | S3_ROUTE_SELF, s3_object_tags_put, 0 },
	{ HTTP_DELETE, OBJECT, "tagging", "s3:DeleteObjectTagging", 0, OWNER, s3_object_tags_delete, 0 },
	{ HTTP_GET, OBJECT, "retention", "s3:GetObjectRetention", 0, OWNER, s3_retention_get, 0 },
	{ HTTP_PUT, OBJECT, "retention", "s3:PutObjectRetention", 0, OWNER | COLLECT, s3_retention_put, 0 },
	{ HTTP_GET, OBJECT, "legal-hold", "s3:GetObjectLegalHold", 0, OWNER, s3_hold_get, 0 },
	{ HTTP_PUT, OBJECT, "legal-hold", "s3:PutObjectLegalHold", 0, OWNER | COLLECT, s3_hold_put, 0 },
	{ HTTP_GET, OBJECT, "attributes", "s3:GetObjectAttributes", S3_READ, S3_ROUTE_OBJECT_ACL, s3_attributes_get, 0 },
	{ HTTP_POST, OBJECT, "uploads", "s3:PutObject", S3_WRITE, 0, s3_multipart_create, 0 },
	{ HTTP_PUT, OBJECT, "uploadId", "s3:PutObject", S3_WRITE, 0, s3_part_put, 0 },
	{ HTTP_GET, OBJECT, "uploadId", "s3:ListMultipartUploadParts", S3_WRITE, 0, s3_list_parts, 0 },
	{ HTTP_POST, OBJECT, "uploadId", "s3:PutObject", S3_WRITE, COLLECT, s3_multipart_complete, 0 },
	{ HTTP_DELETE, OBJECT, "uploadId", "s3:AbortMultipartUpload", S3_WRITE, 0, s3_multipart_abort, 0 },
	{ HTTP_GET, OBJECT, NULL, "s3:GetObject", S3_READ, S3_ROUTE_OBJECT_ACL, s3_get, 0 },
	{ HTTP_HEAD, OBJECT, NULL, "s3:GetObject", S3_READ, S3_ROUTE_OBJECT_ACL, s3_get, 0 },
	{ HTTP_PUT, OBJECT, NULL, "s3:PutObject", S3_WRITE, 0, s3_put, 0 },
	{ HTTP_DELETE, OBJECT, NULL, "s3:DeleteObject", S3_WRITE, 0, s3_delete, 0 },
};
// clang-format on

const uint32_t s3_route_count = array_count(s3_routes);
