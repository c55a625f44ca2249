/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/s3_checksum.h"

#include "base/assert.h"
#include "base/crc.h"
#include "base/hash.h"
#include "wire/text.h"

static const struct {
	const char *name, *header, *element;
	size_t size;
} kinds[S3_CHECKSUM_KIND_COUNT] = {
	[S3_CHECKSUM_CRC32] = { "CRC32", "x-amz-checksum-crc32", "ChecksumCRC32", 4 },
	[S3_CHECKSUM_CRC32C] = { "CRC32C", "x-amz-checksum-crc32c", "ChecksumCRC32C", 4 },
	[S3_CHECKSUM_CRC64NVME] = { "CRC64NVME", "x-amz-checksum-crc64nvme", "ChecksumCRC64NVME",
	                            8 },
	[S3_CHECKSUM_SHA1] = { "SHA1", "x-amz-checksum-sha1", "ChecksumSHA1", 20 },
	[S3_CHECKSUM_SHA256] = { "SHA256", "x-amz-checksum-sha256", "ChecksumSHA256", 32 },
};

const char *s3_checksum_name(enum s3_checksum_kind kind)
{
	assert(kind > S3_CHECKSUM_NONE && kind < S3_CHECKSUM_KIND_COUNT);
	return kinds[kind].name;
}

const char *s3_checksum_header(enum s3_checksum_kind kind)
{
	assert(kind > S3_CHECKSUM_NONE && kind < S3_CHECKSUM_KIND_COUNT);
	return kinds[kind].header;
}

const char *s3_checksum_element(enum s3_checksum_kind kind)
{
	assert(kind > S3_CHECKSUM_NONE && kind < S3_CHECKSUM_KIND_COUNT);
	return kinds[kind].element;
}

size_t s3_checksum_size(enum s3_checksum_kind kind)
{
	assert(kind < S3_CHECKSUM_KIND_COUNT);
	return kinds[kind].size;
}

enum s3_checksum_kind s3_checksum_of_name(struct bytes name)
{
	for (unsigned i = 1; i < S3_CHECKSUM_KIND_COUNT; i++) {
		if (bytes_equal_ignoring_case(name, bytes_of(kinds[i].name, strlen(kinds[i].name))))
			return (enum s3_checksum_kind)i;
	}
	return S3_CHECKSUM_NONE;
}

enum s3_checksum_kind s3_checksum_of_header(struct bytes lower_name)
{
	for (unsigned i = 1; i < S3_CHECKSUM_KIND_COUNT; i++) {
		if (bytes_equal(lower_name, bytes_of(kinds[i].header, strlen(kinds[i].header))))
			return (enum s3_checksum_kind)i;
	}
	return S3_CHECKSUM_NONE;
}

bool s3_checksum_parse(enum s3_checksum_kind kind, struct bytes text, uint8_t *out)
{
	size_t size;

	return base64_parse(text, out, s3_checksum_size(kind), &size) &&
	       size == s3_checksum_size(kind);
}

bool s3_checksum_is_crc(enum s3_checksum_kind kind)
{
	return kind == S3_CHECKSUM_CRC32 || kind == S3_CHECKSUM_CRC32C ||
	       kind == S3_CHECKSUM_CRC64NVME;
}

void s3_checksum_start(struct s3_checksum *checksum, enum s3_checksum_kind kind,
                       struct digest *digest)
{
	*checksum = (struct s3_checksum){ .kind = kind };
	if (kind != S3_CHECKSUM_SHA1 && kind != S3_CHECKSUM_SHA256)
		return;
	assert(digest != NULL);
	assert(digest->kind == (kind == S3_CHECKSUM_SHA1 ? DIGEST_SHA1 : DIGEST_SHA256));
	checksum->digest = digest;
	digest_start(digest);
}

void s3_checksum_add(struct s3_checksum *checksum, struct bytes bytes)
{
	switch (checksum->kind) {
	case S3_CHECKSUM_CRC32:
		checksum->crc = crc32_gzip((uint32_t)checksum->crc, bytes);
		return;
	case S3_CHECKSUM_CRC32C:
		checksum->crc = crc32c((uint32_t)checksum->crc, bytes.data, bytes.size);
		return;
	case S3_CHECKSUM_CRC64NVME:
		checksum->crc = crc64_nvme(checksum->crc, bytes);
		return;
	case S3_CHECKSUM_SHA1:
	case S3_CHECKSUM_SHA256:
		digest_add(checksum->digest, bytes);
		return;
	case S3_CHECKSUM_NONE:
		return;
	case S3_CHECKSUM_KIND_COUNT:
		break;
	}
	unreachable();
}

static void put_big_endian(uint8_t *out, uint64_t value, size_t size)
{
	for (size_t i = 0; i < size; i++)
		out[i] = (uint8_t)(value >> (8 * (size - 1 - i)));
}

static uint64_t get_big_endian(const uint8_t *in, size_t size)
{
	uint64_t value = 0;

	for (size_t i = 0; i < size; i++)
		value = value << 8 | in[i];
	return value;
}

void s3_checksum_finish(struct s3_checksum *checksum, uint8_t *out)
{
	if (checksum->digest != NULL)
		digest_finish(checksum->digest, out);
	else
		put_big_endian(out, checksum->crc, s3_checksum_size(checksum->kind));
}

void s3_checksum_combine(enum s3_checksum_kind kind, uint8_t *a, const uint8_t *b, uint64_t b_size)
{
	size_t size = s3_checksum_size(kind);
	uint64_t left = get_big_endian(a, size), right = get_big_endian(b, size);

	assert(s3_checksum_is_crc(kind));
	if (kind == S3_CHECKSUM_CRC32)
		left = crc32_gzip_combine((uint32_t)left, (uint32_t)right, b_size);
	else if (kind == S3_CHECKSUM_CRC32C)
		left = crc32c_combine((uint32_t)left, (uint32_t)right, b_size);
	else
		left = crc64_nvme_combine(left, right, b_size);
	put_big_endian(a, left, size);
}
