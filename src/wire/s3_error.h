/* SPDX-License-Identifier: Apache-2.0 */
/* The errors of S3: code, HTTP status and text, as the API reference's "Error responses". */
#ifndef WIRE_S3_ERROR_H
#define WIRE_S3_ERROR_H

// clang-format off
#define S3_ERROR_TABLE(X) \
	X(NONE, "", 200, "") \
	X(ACCESS_DENIED, "AccessDenied", 403, "Access Denied") \
	X(ACCESS_DENIED_EXPIRED, "AccessDenied", 403, "Request has expired") \
	X(ACCESS_DENIED_DATE, "AccessDenied", 403, \
	  "AWS authentication requires a valid Date or x-amz-date header") \
	X(ACCESS_DENIED_LOCKED, "AccessDenied", 403, \
	  "Access Denied because object protected by object lock.") \
	X(ACCESS_DENIED_POLICY, "AccessDenied", 403, \
	  "Invalid according to Policy: Policy Condition failed") \
	X(ACCESS_DENIED_POLICY_EXPIRED, "AccessDenied", 403, \
	  "Invalid according to Policy: Policy expired.") \
	X(ACCESS_CONTROL_LIST_NOT_SUPPORTED, "AccessControlListNotSupported", 400, \
	  "The bucket does not allow ACLs") \
	X(AUTHORIZATION_HEADER_MALFORMED, "AuthorizationHeaderMalformed", 400, \
	  "The authorization header that you provided is not valid.") \
	X(AUTHORIZATION_QUERY_PARAMETERS, "AuthorizationQueryParametersError", 400, \
	  "Error parsing the X-Amz-Credential parameter or another authorization query " \
	  "parameter.") \
	X(AUTHORIZATION_EXPIRES, "AccessDenied", 403, \
	  "X-Amz-Expires must be between 1 and 604800 seconds") \
	X(UNSUPPORTED_AUTHORIZATION, "InvalidRequest", 400, \
	  "The authorization mechanism you have provided is not supported. Please use " \
	  "AWS4-HMAC-SHA256.") \
	X(UNSUPPORTED_AUTHORIZATION_TYPE, "InvalidArgument", 400, \
	  "Unsupported Authorization Type") \
	X(TWO_AUTHORIZATIONS, "InvalidArgument", 400, "Only one auth mechanism allowed") \
	X(BAD_DIGEST, "BadDigest", 400, \
	  "The Content-MD5 you specified did not match what we received.") \
	X(BAD_CHECKSUM, "BadDigest", 400, \
	  "The checksum you specified did not match what we received.") \
	X(BUCKET_ALREADY_EXISTS, "BucketAlreadyExists", 409, \
	  "The requested bucket name is not available. The bucket namespace is shared by all " \
	  "users of the system. Please select a different name and try again.") \
	X(BUCKET_ALREADY_OWNED_BY_YOU, "BucketAlreadyOwnedByYou", 409, \
	  "Your previous request to create the named bucket succeeded and you already own it.") \
	X(BUCKET_NOT_EMPTY, "BucketNotEmpty", 409, "The bucket you tried to delete is not empty.") \
	X(CONDITIONAL_REQUEST_CONFLICT, "ConditionalRequestConflict", 409, \
	  "The conditional request cannot succeed due to a conflicting operation against this " \
	  "resource.") \
	X(CORS_FORBIDDEN, "AccessForbidden", 403, \
	  "CORSResponse: This CORS request is not allowed. This is usually because the " \
	  "evalution of Origin, request method / Access-Control-Request-Method or " \
	  "Access-Control-Request-Headers are not whitelisted by the resource's CORS spec.") \
	X(CORS_NOT_ENABLED, "AccessForbidden", 403, \
	  "CORSResponse: CORS is not enabled for this bucket.") \
	X(CORS_ORIGIN, "BadRequest", 400, \
	  "Insufficient information. Origin request header needed.") \
	X(ENTITY_TOO_LARGE, "EntityTooLarge", 400, \
	  "Your proposed upload exceeds the maximum allowed object size.") \
	X(ENTITY_TOO_SMALL, "EntityTooSmall", 400, \
	  "Your proposed upload is smaller than the minimum allowed object size.") \
	X(ILLEGAL_LOCATION, "IllegalLocationConstraintException", 400, \
	  "The specified location-constraint is not valid") \
	X(ILLEGAL_VERSIONING, "IllegalVersioningConfigurationException", 400, \
	  "The versioning configuration specified in the request is invalid.") \
	X(INCOMPLETE_BODY, "IncompleteBody", 400, \
	  "You did not provide the number of bytes specified by the Content-Length HTTP header.") \
	X(INTERNAL_ERROR, "InternalError", 500, \
	  "We encountered an internal error. Please try again.") \
	X(INVALID_ACCESS_KEY_ID, "InvalidAccessKeyId", 403, \
	  "The AWS Access Key Id you provided does not exist in our records.") \
	X(INVALID_ACL_WITH_OWNERSHIP, "InvalidBucketAclWithObjectOwnership", 400, \
	  "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting") \
	X(INVALID_ARGUMENT, "InvalidArgument", 400, "Invalid Argument") \
	X(INVALID_BUCKET_NAME, "InvalidBucketName", 400, "The specified bucket is not valid.") \
	X(INVALID_BUCKET_STATE, "InvalidBucketState", 409, \
	  "The request is not valid for the current state of the bucket.") \
	X(INVALID_CHECKSUM, "InvalidRequest", 400, \
	  "Value for x-amz-checksum header or trailer is invalid.") \
	X(INVALID_DIGEST, "InvalidDigest", 400, "The Content-MD5 you specified was invalid.") \
	X(INVALID_ENCRYPTION, "InvalidEncryptionAlgorithmError", 400, \
	  "The encryption request that you specified is not valid.") \
	X(INVALID_LOCATION, "InvalidLocationConstraint", 400, \
	  "The specified location-constraint is not valid") \
	X(INVALID_OBJECT_STATE, "InvalidObjectState", 403, \
	  "The operation is not valid for the current state of the object.") \
	X(INVALID_PART, "InvalidPart", 400, \
	  "One or more of the specified parts could not be found. The part may not have been " \
	  "uploaded, or the specified entity tag may not match the part's entity tag.") \
	X(INVALID_PART_NUMBER, "InvalidPartNumber", 416, \
	  "The requested partnumber is not satisfiable") \
	X(INVALID_PART_ORDER, "InvalidPartOrder", 400, \
	  "The list of parts was not in ascending order. The parts list must be specified in " \
	  "order by part number.") \
	X(INVALID_POLICY_DOCUMENT, "InvalidPolicyDocument", 400, \
	  "The content of the form does not meet the conditions specified in the policy " \
	  "document.") \
	X(INVALID_RANGE, "InvalidRange", 416, "The requested range is not satisfiable") \
	X(INVALID_REQUEST, "InvalidRequest", 400, "Invalid Request") \
	X(INVALID_RETENTION, "InvalidRetentionPeriod", 400, \
	  "Default retention period must be a positive integer value.") \
	X(INVALID_SSE_KEY_MD5, "InvalidArgument", 400, \
	  "The calculated MD5 hash of the key did not match the hash that was provided.") \
	X(INVALID_SSE_KEY, "InvalidArgument", 400, \
	  "The secret key was invalid for the specified algorithm.") \
	X(MISSING_SSE_KEY, "InvalidRequest", 400, \
	  "The object was stored using a form of Server Side Encryption. The correct " \
	  "parameters must be provided to retrieve the object.") \
	X(WRONG_SSE_KEY, "InvalidRequest", 400, \
	  "The provided encryption parameters did not match the ones used originally.") \
	X(UNEXPECTED_SSE_KEY, "InvalidRequest", 400, \
	  "The encryption parameters are not applicable to this object.") \
	X(TWO_ENCRYPTIONS, "InvalidArgument", 400, \
	  "Server Side Encryption with Customer provided key is incompatible with the " \
	  "encryption method specified") \
	X(UNKNOWN_ENCRYPTION, "InvalidArgument", 400, \
	  "The encryption method specified is not supported") \
	X(ENCRYPTION_OF_READ, "InvalidArgument", 400, \
	  "x-amz-server-side-encryption header is not supported for this operation.") \
	X(NO_KMS, "NotImplemented", 501, \
	  "This server has no key management service: aws:kms is not implemented.") \
	X(NO_KMS_KEY, "InvalidArgument", 400, \
	  "This server has no key management service, and no default key of one.") \
	X(NO_ENCRYPTION_KEY, "NotImplemented", 501, \
	  "This server has no key for server-side encryption.") \
	X(LOST_ENCRYPTION_KEY, "InternalError", 500, \
	  "This server does not have the key that the object was encrypted with.") \
	X(INVALID_STORAGE_CLASS, "InvalidStorageClass", 400, \
	  "The storage class you specified is not valid") \
	X(INVALID_TAG, "InvalidTag", 400, "The tag provided was not a valid tag.") \
	X(INVALID_URI, "InvalidURI", 400, "Couldn't parse the specified URI.") \
	X(KEY_TOO_LONG, "KeyTooLongError", 400, "Your key is too long") \
	X(MALFORMED_ACL, "MalformedACLError", 400, \
	  "The XML you provided was not well-formed or did not validate against our published " \
	  "schema") \
	X(MALFORMED_POLICY, "MalformedPolicy", 400, \
	  "Policies must be valid JSON and the statements valid.") \
	X(MALFORMED_POST, "MalformedPOSTRequest", 400, \
	  "The body of your POST request is not well-formed multipart/form-data.") \
	X(MALFORMED_XML, "MalformedXML", 400, \
	  "The XML you provided was not well-formed or did not validate against our published " \
	  "schema") \
	X(MAX_MESSAGE, "MaxMessageLengthExceeded", 400, "Your request was too big.") \
	X(METADATA_TOO_LARGE, "MetadataTooLarge", 400, \
	  "Your metadata headers exceed the maximum allowed metadata size.") \
	X(METHOD_NOT_ALLOWED, "MethodNotAllowed", 405, \
	  "The specified method is not allowed against this resource.") \
	X(MISSING_CONTENT_LENGTH, "MissingContentLength", 411, \
	  "You must provide the Content-Length HTTP header.") \
	X(MISSING_CONTENT_MD5, "InvalidRequest", 400, \
	  "Missing required header for this request: Content-MD5 OR x-amz-checksum-*") \
	X(MISSING_REQUEST_BODY, "MissingRequestBodyError", 400, "Request body is empty.") \
	X(NO_SUCH_BUCKET, "NoSuchBucket", 404, "The specified bucket does not exist") \
	X(NO_SUCH_BUCKET_POLICY, "NoSuchBucketPolicy", 404, "The bucket policy does not exist") \
	X(NO_SUCH_CORS, "NoSuchCORSConfiguration", 404, "The CORS configuration does not exist") \
	X(NO_SUCH_KEY, "NoSuchKey", 404, "The specified key does not exist.") \
	X(NO_SUCH_LIFECYCLE, "NoSuchLifecycleConfiguration", 404, \
	  "The lifecycle configuration does not exist") \
	X(NO_SUCH_LOCK_ON_OBJECT, "NoSuchObjectLockConfiguration", 404, \
	  "The specified object does not have a ObjectLock configuration") \
	X(NO_SUCH_LOCK, "ObjectLockConfigurationNotFoundError", 404, \
	  "Object Lock configuration does not exist for this bucket") \
	X(NO_SUCH_ENCRYPTION, "ServerSideEncryptionConfigurationNotFoundError", 404, \
	  "The server side encryption configuration was not found") \
	X(NO_SUCH_OWNERSHIP, "OwnershipControlsNotFoundError", 404, \
	  "The bucket ownership controls were not found") \
	X(NO_SUCH_PUBLIC_BLOCK, "NoSuchPublicAccessBlockConfiguration", 404, \
	  "The public access block configuration was not found") \
	X(NO_SUCH_TAG_SET, "NoSuchTagSet", 404, "The TagSet does not exist") \
	X(NO_SUCH_UPLOAD, "NoSuchUpload", 404, \
	  "The specified multipart upload does not exist. The upload ID may be invalid, or " \
	  "the upload may have been aborted or completed.") \
	X(NO_SUCH_VERSION, "NoSuchVersion", 404, "The specified version does not exist.") \
	X(NO_SUCH_WEBSITE, "NoSuchWebsiteConfiguration", 404, \
	  "The specified bucket does not have a website configuration") \
	X(NO_SUCH_REPLICATION, "ReplicationConfigurationNotFoundError", 404, \
	  "The replication configuration was not found") \
	X(NOT_IMPLEMENTED, "NotImplemented", 501, \
	  "A header or query you provided implies functionality that is not implemented.") \
	X(NOT_MODIFIED, "NotModified", 304, "Not Modified") \
	X(POST_TOO_LARGE_FIELDS, "MaxPostPreDataLengthExceededError", 400, \
	  "Your POST request fields preceding the upload file were too large.") \
	X(PRECONDITION_FAILED, "PreconditionFailed", 412, \
	  "At least one of the pre-conditions you specified did not hold") \
	X(REQUEST_TIMEOUT, "RequestTimeout", 400, \
	  "Your socket connection to the server was not read from or written to within the " \
	  "timeout period.") \
	X(REQUEST_TIME_TOO_SKEWED, "RequestTimeTooSkewed", 403, \
	  "The difference between the request time and the current time is too large.") \
	X(SHA256_MISMATCH, "XAmzContentSHA256Mismatch", 400, \
	  "The provided 'x-amz-content-sha256' header does not match what was computed.") \
	X(SIGNATURE_DOES_NOT_MATCH, "SignatureDoesNotMatch", 403, \
	  "The request signature we calculated does not match the signature you provided. " \
	  "Check your key and signing method.") \
	X(SLOW_DOWN, "SlowDown", 503, "Please reduce your request rate.") \
	X(SERVICE_UNAVAILABLE, "ServiceUnavailable", 503, "Please reduce your request rate.") \
	X(STORAGE_FULL, "InsufficientStorage", 507, "There is no space left.") \
	X(TOO_MANY_BUCKETS, "TooManyBuckets", 400, \
	  "You have attempted to create more buckets than allowed") \
	X(UNEXPECTED_CONTENT, "UnexpectedContent", 400, "This request does not support content") \
	X(UNRESOLVABLE_GRANT, "UnresolvableGrantByEmailAddress", 400, \
	  "The e-mail address you provided does not match any account on record.") \
	X(USER_KEY_MUST_BE_SPECIFIED, "UserKeyMustBeSpecified", 400, \
	  "The bucket POST must contain the specified field name. If it is specified, check " \
	  "the order of the fields.")

enum s3_error {
#define X(id, ...) S3_##id,
	S3_ERROR_TABLE(X)
#undef X
	S3_ERROR_COUNT
};
// clang-format on

const char *s3_error_code(enum s3_error error);
const char *s3_error_text(enum s3_error error);
unsigned s3_error_http(enum s3_error error);

#endif
