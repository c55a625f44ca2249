/* SPDX-License-Identifier: Apache-2.0 */
/* Bucket policies: the common grammar of IAM's JSON policy language, checked and evaluated. Pure.
 */
#ifndef WIRE_S3_POLICY_H
#define WIRE_S3_POLICY_H

#include "wire/json.h"
#include "wire/text.h"

enum {
	S3_POLICY_SIZE_MAX = 20 << 10, /* bytes, as S3 limits them */
	S3_POLICY_VALUES_MAX = 4096,   /* JSON values in it: five bytes each for the densest */
};

/* Memory: the caller's; it points into the document, which was decoded in place. */
struct s3_policy {
	const struct json_value *values;
	uint32_t statements; /* index of the array, or of the only one */
};

/* False: not JSON, or not a policy for that bucket. `values`: S3_POLICY_VALUES_MAX. */
bool s3_policy_parse(struct s3_policy *policy, struct bytes bucket, uint8_t *data, size_t size,
                     struct json_value *values);

/* What is asked, and of whom. */
struct s3_policy_request {
	struct bytes user, user_name; /* empty: anonymous */
	const char *action;           /* "s3:GetObject" */
	struct bytes bucket, key;     /* key empty: the bucket itself */
	uint64_t now_s;
	/* The value of a condition key such as "aws:SourceIp", by index; false: there are no more.
	 */
	bool (*value)(void *owner, struct bytes name, uint32_t index, struct bytes *ret_value);
	void *owner;
};

enum s3_policy_effect { S3_POLICY_SILENT, S3_POLICY_ALLOWS, S3_POLICY_DENIES };

enum s3_policy_effect s3_policy_evaluate(const struct s3_policy *policy,
                                         const struct s3_policy_request *request);

/* Whether it lets everybody do something, with no condition that narrows who they are. */
bool s3_policy_is_public(const struct s3_policy *policy);

/* '*' any run, '?' any one. */
bool s3_wildcard_match(struct bytes pattern, struct bytes text, bool ignore_case);

#endif
