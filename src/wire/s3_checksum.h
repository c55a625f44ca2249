/* SPDX-License-Identifier: Apache-2.0 */
/* The additional checksums of S3 ("Checking object integrity" of the user guide). Pure. */
#ifndef WIRE_S3_CHECKSUM_H
#define WIRE_S3_CHECKSUM_H

#include "base/base64.h"
#include "base/digest.h"

enum s3_checksum_kind {
	S3_CHECKSUM_NONE,
	S3_CHECKSUM_CRC32,
	S3_CHECKSUM_CRC32C,
	S3_CHECKSUM_CRC64NVME,
	S3_CHECKSUM_SHA1,
	S3_CHECKSUM_SHA256,
	S3_CHECKSUM_KIND_COUNT,
};

enum { S3_CHECKSUM_SIZE_MAX = 32, S3_CHECKSUM_TEXT_MAX = 44 };

const char *s3_checksum_name(enum s3_checksum_kind kind);    /* "CRC32C" */
const char *s3_checksum_header(enum s3_checksum_kind kind);  /* "x-amz-checksum-crc32c" */
const char *s3_checksum_element(enum s3_checksum_kind kind); /* "ChecksumCRC32C" */
size_t s3_checksum_size(enum s3_checksum_kind kind);         /* bytes of the value */
/* S3_CHECKSUM_NONE: not one. Names in any case, headers in lower case. */
enum s3_checksum_kind s3_checksum_of_name(struct bytes name);
enum s3_checksum_kind s3_checksum_of_header(struct bytes lower_name);
/* A value in base64 of exactly the kind's size. */
bool s3_checksum_parse(enum s3_checksum_kind kind, struct bytes text, uint8_t *out);

/* Made in pieces. Memory: the caller's; `digest` is lent to it for SHA1 and SHA256. */
struct s3_checksum {
	enum s3_checksum_kind kind;
	uint64_t crc;
	struct digest *digest;
};

void s3_checksum_start(struct s3_checksum *checksum, enum s3_checksum_kind kind,
                       struct digest *digest);
void s3_checksum_add(struct s3_checksum *checksum, struct bytes bytes);
void s3_checksum_finish(struct s3_checksum *checksum, uint8_t *out);

/* Of A and then B, from theirs: for the CRCs alone. `a` becomes it. */
void s3_checksum_combine(enum s3_checksum_kind kind, uint8_t *a, const uint8_t *b, uint64_t b_size);
bool s3_checksum_is_crc(enum s3_checksum_kind kind);

#endif
