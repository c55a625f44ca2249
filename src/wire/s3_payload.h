/* SPDX-License-Identifier: Apache-2.0 */
/* The body of an upload: unwrapped, and checked against all that the request said of it. Pure. */
#ifndef WIRE_S3_PAYLOAD_H
#define WIRE_S3_PAYLOAD_H

#include "wire/aws_chunked.h"
#include "wire/s3_checksum.h"
#include "wire/s3_sigv4.h"

enum { S3_MD5_SIZE = 16 };

/* The digests that an upload may need; opened once, lent to one payload at a time. */
struct s3_digests {
	struct digest md5, sha256, checksum_sha1, checksum_sha256;
};

bool s3_digests_open(struct s3_digests *digests); /* false: no memory. Allocates. */
void s3_digests_close(struct s3_digests *digests);

/*
 * Memory: the caller's. Data is handed on before it is known to be right: nothing may be made
 * visible before s3_payload_finish() has said so.
 */
struct s3_payload {
	enum sigv4_payload mode;
	struct aws_chunked chunked;
	struct sigv4_chain chain;
	struct s3_digests *digests;
	struct digest *scratch; /* SHA-256, for one call at a time */
	struct s3_checksum checksum;
	uint64_t size;          /* bytes of data so far */
	uint64_t size_expected; /* x-amz-decoded-content-length; UINT64_MAX: not said */
	uint8_t sha256[SHA256_SIZE];
	uint8_t md5_expected[S3_MD5_SIZE], checksum_expected[S3_CHECKSUM_SIZE_MAX];
	enum s3_checksum_kind checksum_wanted;
	bool has_md5, has_checksum;
	bool ignores_checksum; /* set between init and start: x-amz-checksum-* is of something else
	                        */
	bool trailer_wanted, trailer_signed;
	char signature[SIGV4_HEX_SIZE]; /* of the chunk that comes */
	enum s3_error error;
	uint8_t md5[S3_MD5_SIZE], checksum_value[S3_CHECKSUM_SIZE_MAX]; /* after finish */
};

/*
 * Reads Content-MD5, x-amz-checksum-*, x-amz-sdk-checksum-algorithm, x-amz-trailer and
 * x-amz-decoded-content-length of the request. `key`: the signing key, NULL when anonymous.
 */
enum s3_error s3_payload_start(struct s3_payload *payload, const struct sigv4 *sig,
                               const struct sigv4_request *request, const uint8_t *key,
                               struct s3_digests *digests);

/*
 * Before start: what is lent for a call at a time; and a checksum that is made even when the
 * request says nothing of one (S3_CHECKSUM_NONE: none).
 */
void s3_payload_init(struct s3_payload *payload, struct digest *scratch,
                     enum s3_checksum_kind wanted);

/* Instead: data that no request has wrapped or said anything of. */
void s3_payload_start_plain(struct s3_payload *payload, enum s3_checksum_kind kind,
                            struct s3_digests *digests);

/*
 * The next run of data, taken from the front of *input; empty: all input is taken. After an error,
 * payload->error, nothing more is taken.
 */
struct bytes s3_payload_next(struct s3_payload *payload, struct bytes *input);

/* The body has ended: whether it was all, and what was said. Sets md5 and checksum_value. */
enum s3_error s3_payload_finish(struct s3_payload *payload);

#endif
