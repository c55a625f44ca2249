/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a bucket's policy: what is taken can be evaluated. */
#include <stdint.h>
#include <stdlib.h>

#include "base/assert.h"
#include "wire/s3_policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool fact(void *owner, struct bytes name, uint32_t index, struct bytes *ret_value)
{
	(void)owner;
	*ret_value = name.size % 2 == 0 ? BYTES("10.0.0.1") : BYTES("42");
	return index < name.size % 3;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct json_value values[S3_POLICY_VALUES_MAX];
	const struct s3_policy_request request = {
		.user = BYTES("u"),
		.user_name = BYTES("n"),
		.action = "s3:GetObject",
		.bucket = BYTES("b"),
		.key = BYTES("k"),
		.value = fact,
	};
	struct s3_policy policy;
	uint8_t *copy = malloc(size == 0 ? 1 : size);

	assert(copy != NULL);
	if (size > 0)
		memcpy(copy, data, size);
	if (s3_policy_parse(&policy, BYTES("b"), copy, size, values)) {
		assert(s3_policy_evaluate(&policy, &request) <= S3_POLICY_DENIES);
		s3_policy_is_public(&policy);
	}
	free(copy);
	return 0;
}
