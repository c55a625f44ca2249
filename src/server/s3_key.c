/* SPDX-License-Identifier: Apache-2.0 */
/* Access keys as the store has them. */
#include "base/assert.h"
#include "base/base64.h"
#include "server/s3_server.h"

enum { KEY_VERSION = 1 };

static bool take(struct bytes *record, size_t max, struct bytes *ret_part)
{
	size_t size;

	if (record->size < 1)
		return false;
	size = record->data[0];
	if (record->size - 1 < size || size > max)
		return false;
	*ret_part = bytes_of(record->data + 1, size);
	*record = bytes_of(record->data + 1 + size, record->size - 1 - size);
	return true;
}

/* Version (1), time of creation (8, little-endian), then size (1) and bytes of each part. */
bool s3_key_parse(struct s3_key *key, struct bytes record)
{
	if (record.size < 9 || record.data[0] != KEY_VERSION)
		return false;
	key->created_ms = 0;
	for (unsigned i = 0; i < 8; i++)
		key->created_ms |= (uint64_t)record.data[1 + i] << (8 * i);
	record = bytes_of(record.data + 9, record.size - 9);
	return take(&record, S3_SECRET_KEY_MAX, &key->secret) && key->secret.size > 0 &&
	       take(&record, 56, &key->user) && key->user.size > 0 &&
	       take(&record, 127, &key->name) && take(&record, 127, &key->email);
}

size_t s3_key_format(const struct s3_key *key, uint8_t *out)
{
	const struct bytes parts[] = { key->secret, key->user, key->name, key->email };
	static const size_t limits[] = { S3_SECRET_KEY_MAX, 56, 127, 127 };
	size_t size = 9;

	out[0] = KEY_VERSION;
	for (unsigned i = 0; i < 8; i++)
		out[1 + i] = (uint8_t)(key->created_ms >> (8 * i));
	for (unsigned i = 0; i < 4; i++) {
		if (parts[i].size > limits[i])
			return 0;
		out[size++] = (uint8_t)parts[i].size;
		if (parts[i].size > 0)
			memcpy(out + size, parts[i].data, parts[i].size);
		size += parts[i].size;
	}
	assert(size <= S3_KEY_RECORD_MAX);
	return size;
}

void s3_key_generate(const uint8_t *random, char access[20], char secret[40])
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

	for (unsigned i = 0; i < 20; i++)
		access[i] = letters[random[i] & 31];
	base64_format(bytes_of(random + 20, 30), secret);
}
