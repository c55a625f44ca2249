/* SPDX-License-Identifier: Apache-2.0 */
/* Any lines as a request that claims to be signed: path, query and fields, one a line. */
#include <stdint.h>
#include <stdlib.h>

#include "base/assert.h"
#include "wire/s3_sigv4.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FIELDS_MAX = 40 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char scratch_memory[128 << 10];
	struct http_field query[FIELDS_MAX], fields[FIELDS_MAX];
	struct bytes rest = bytes_of(data, size);
	struct sigv4_request request = { .method = BYTES("GET"), .query = query, .fields = fields };
	struct digest sha256;
	struct text scratch;
	struct sigv4 sig;
	uint8_t key[SHA256_SIZE];

	request.raw_path = bytes_cut(&rest, '\n');
	while (rest.size > 0) {
		struct bytes value = bytes_cut(&rest, '\n');
		bool is_query = value.size > 0 && value.data[0] == '?';
		uint32_t *count = is_query ? &request.query_count : &request.field_count;

		if (*count == FIELDS_MAX)
			break;
		if (is_query)
			value = bytes_of(value.data + 1, value.size - 1);
		(is_query ? query : fields)[*count].name = bytes_cut(&value, is_query ? '=' : ':');
		(is_query ? query : fields)[(*count)++].value = bytes_trim(value);
	}
	if (sigv4_parse(&sig, &request, 1369353600) != S3_NONE || sig.kind == SIGV4_ANONYMOUS)
		return 0;
	assert(sig.scope.size <= SIGV4_SCOPE_MAX && sig.timestamp.size == 16);
	if (!digest_open(&sha256, DIGEST_SHA256))
		return 0;
	text_init(&scratch, scratch_memory, sizeof(scratch_memory));
	sigv4_signing_key(&sha256, BYTES("secret"), &sig, key);
	/* Nobody has signed it with this. */
	assert(sigv4_verify(&sig, &request, &sha256, key, &scratch) != S3_NONE);
	digest_close(&sha256);
	return 0;
}
