/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AWS Signature Version 4 as S3 takes it: in the Authorization header, in the query of a presigned
 * URL, in the chunks of a body ("Authenticating Requests (AWS Signature Version 4)" of the API
 * reference), and in forms. Pure: the time is given.
 */
#ifndef WIRE_S3_SIGV4_H
#define WIRE_S3_SIGV4_H

#include "base/digest.h"
#include "wire/http.h"
#include "wire/s3_error.h"
#include "wire/text.h"

enum {
	SIGV4_SKEW_MAX_S = 15 * 60,
	SIGV4_EXPIRES_MAX_S = 7 * 24 * 3600,
	SIGV4_HEX_SIZE = 64,
	SIGV4_SCOPE_MAX = 128,
	SIGV4_SIGNED_HEADERS_MAX = 64,
};

/* What a request says of its body, in x-amz-content-sha256. */
enum sigv4_payload {
	SIGV4_UNSIGNED,         /* UNSIGNED-PAYLOAD; a presigned URL that says nothing */
	SIGV4_SHA256,           /* the digest of the body */
	SIGV4_CHUNKS,           /* STREAMING-AWS4-HMAC-SHA256-PAYLOAD */
	SIGV4_CHUNKS_TRAILER,   /* STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER */
	SIGV4_UNSIGNED_TRAILER, /* STREAMING-UNSIGNED-PAYLOAD-TRAILER */
};

/* A request as its signature sees it. `query` is decoded. */
struct sigv4_request {
	struct bytes method;
	struct bytes raw_path; /* percent-encoded, as sent */
	const struct http_field *query;
	uint32_t query_count;
	const struct http_field *fields; /* names in lower case */
	uint32_t field_count;
};

enum sigv4_kind { SIGV4_ANONYMOUS, SIGV4_HEADER, SIGV4_QUERY };

/* Memory: the caller's; the runs of bytes are the request's. */
struct sigv4 {
	enum sigv4_kind kind;
	enum sigv4_payload payload;
	uint8_t payload_sha256[SHA256_SIZE];                   /* SIGV4_SHA256 */
	struct bytes payload_text;                             /* as the canonical request has it */
	struct bytes access_key, date, region, service, scope; /* of the credential */
	struct bytes signed_headers;                           /* as sent, with semicolons */
	struct bytes signature;                                /* 64 hexadecimal digits */
	struct bytes timestamp;                                /* 20130524T000000Z */
	char timestamp_memory[16];                             /* when it was a Date of HTTP */
	uint64_t time_s, expires_s; /* SIGV4_QUERY: how long after time_s */
};

/*
 * Reads who claims to have signed, and checks all that needs no key: form, mode of the body, time
 * against `now_s`. Anonymous requests are S3_NONE with kind SIGV4_ANONYMOUS. What is not Version 4
 * is refused.
 */
enum s3_error sigv4_parse(struct sigv4 *sig, const struct sigv4_request *request, uint64_t now_s);

/* The key of a day, region and service, from the secret. 32 bytes. */
void sigv4_signing_key(struct digest *sha256, struct bytes secret, const struct sigv4 *sig,
                       uint8_t *out);

/*
 * Whether the signature is right: S3_NONE or S3_SIGNATURE_DOES_NOT_MATCH; S3_ACCESS_DENIED when a
 * header is not signed that must be. `scratch` needs room for the canonical request.
 */
enum s3_error sigv4_verify(const struct sigv4 *sig, const struct sigv4_request *request,
                           struct digest *sha256, const uint8_t *signing_key, struct text *scratch);

/* For tests: the canonical request, and what sigv4_verify() compares with. */
bool sigv4_canonical(const struct sigv4 *sig, const struct sigv4_request *request,
                     struct text *out);
void sigv4_sign(const struct sigv4 *sig, struct digest *sha256, const uint8_t *signing_key,
                struct bytes canonical, char *out_hex);

/*
 * The chain of signatures of a body in chunks. Memory: the caller's. `sha256` is the digest that
 * runs over the chunk's data; it is started by sigv4_chunk_begin().
 */
struct sigv4_chain {
	uint8_t key[SHA256_SIZE];
	char timestamp[16];
	char scope[SIGV4_SCOPE_MAX];
	size_t scope_size;
	char previous[SIGV4_HEX_SIZE];
	bool trailer; /* the next to verify is the trailer's */
};

bool sigv4_chain_init(struct sigv4_chain *chain, const struct sigv4 *sig, const uint8_t *key);
/* `data_sha256`: of the chunk, or of the trailer in canonical form. True: it is right. */
bool sigv4_chain_verify(struct sigv4_chain *chain, struct digest *sha256,
                        const uint8_t *data_sha256, struct bytes signature);

/*
 * A signature of a form's policy: HMAC-SHA256 with the signing key, in hexadecimal; or of Version
 * 2, which forms of old SDKs still carry: HMAC-SHA1 with the secret, in base64.
 */
bool sigv4_verify_policy(struct digest *sha256, const uint8_t *signing_key, struct bytes policy,
                         struct bytes signature);
bool sigv2_verify_policy(struct digest *sha1, struct bytes secret, struct bytes policy,
                         struct bytes signature);

/* "AKID/20130524/us-east-1/s3/aws4_request" into sig; false: malformed. */
bool sigv4_parse_credential(struct sigv4 *sig, struct bytes credential);

#endif
