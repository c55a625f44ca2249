/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/s3_payload.h"

#include "base/assert.h"

bool s3_digests_open(struct s3_digests *digests)
{
	*digests = (struct s3_digests){ 0 };
	if (digest_open(&digests->md5, DIGEST_MD5) &&
	    digest_open(&digests->sha256, DIGEST_SHA256) &&
	    digest_open(&digests->checksum_sha1, DIGEST_SHA1) &&
	    digest_open(&digests->checksum_sha256, DIGEST_SHA256))
		return true;
	s3_digests_close(digests);
	return false;
}

void s3_digests_close(struct s3_digests *digests)
{
	digest_close(&digests->md5);
	digest_close(&digests->sha256);
	digest_close(&digests->checksum_sha1);
	digest_close(&digests->checksum_sha256);
}

static bool get(const struct sigv4_request *request, const char *name, struct bytes *ret_value)
{
	struct bytes wanted = bytes_of(name, strlen(name));

	for (uint32_t i = 0; i < request->field_count; i++) {
		if (bytes_equal(request->fields[i].name, wanted)) {
			*ret_value = request->fields[i].value;
			return true;
		}
	}
	return false;
}

static bool is_chunked(enum sigv4_payload mode)
{
	return mode == SIGV4_CHUNKS || mode == SIGV4_CHUNKS_TRAILER ||
	       mode == SIGV4_UNSIGNED_TRAILER;
}

static bool is_signed(enum sigv4_payload mode)
{
	return mode == SIGV4_CHUNKS || mode == SIGV4_CHUNKS_TRAILER;
}

/* One x-amz-checksum-* at most, and it is what x-amz-sdk-checksum-algorithm says. */
static enum s3_error read_checksum(struct s3_payload *payload, const struct sigv4_request *request,
                                   enum s3_checksum_kind *ret_kind)
{
	enum s3_checksum_kind kind = S3_CHECKSUM_NONE;
	struct bytes text;

	for (uint32_t i = 0; i < request->field_count; i++) {
		const struct http_field *field = &request->fields[i];
		enum s3_checksum_kind found = s3_checksum_of_header(field->name);

		if (found == S3_CHECKSUM_NONE || payload->ignores_checksum)
			continue;
		if (kind != S3_CHECKSUM_NONE)
			return S3_INVALID_REQUEST;
		if (!s3_checksum_parse(found, field->value, payload->checksum_expected))
			return S3_INVALID_CHECKSUM;
		kind = found;
		payload->has_checksum = true;
	}
	if (get(request, "x-amz-trailer", &text)) {
		enum s3_checksum_kind trailer = s3_checksum_of_header(text);

		if (trailer == S3_CHECKSUM_NONE || kind != S3_CHECKSUM_NONE)
			return S3_INVALID_REQUEST;
		payload->trailer_wanted = true;
		kind = trailer;
	}
	if (kind == S3_CHECKSUM_NONE && get(request, "x-amz-sdk-checksum-algorithm", &text)) {
		kind = s3_checksum_of_name(text);
		if (kind == S3_CHECKSUM_NONE)
			return S3_INVALID_REQUEST;
	}
	*ret_kind = kind == S3_CHECKSUM_NONE ? payload->checksum_wanted : kind;
	return S3_NONE;
}

static enum s3_error read_md5(struct s3_payload *payload, const struct sigv4_request *request)
{
	struct bytes text;
	size_t size;

	if (!get(request, "content-md5", &text))
		return S3_NONE;
	if (!base64_parse(text, payload->md5_expected, S3_MD5_SIZE, &size) || size != S3_MD5_SIZE)
		return S3_INVALID_DIGEST;
	payload->has_md5 = true;
	return S3_NONE;
}

void s3_payload_init(struct s3_payload *payload, struct digest *scratch,
                     enum s3_checksum_kind wanted)
{
	*payload = (struct s3_payload){ .scratch = scratch, .checksum_wanted = wanted };
}

enum s3_error s3_payload_start(struct s3_payload *payload, const struct sigv4 *sig,
                               const struct sigv4_request *request, const uint8_t *key,
                               struct s3_digests *digests)
{
	enum s3_checksum_kind kind = S3_CHECKSUM_NONE;
	enum s3_error error;
	struct bytes text;

	assert(payload->scratch != NULL);
	payload->mode = sig->payload;
	payload->digests = digests;
	payload->size_expected = UINT64_MAX;
	memcpy(payload->sha256, sig->payload_sha256, SHA256_SIZE);
	error = read_checksum(payload, request, &kind);
	if (error == S3_NONE)
		error = read_md5(payload, request);
	if (error != S3_NONE)
		return error;
	if (is_chunked(payload->mode)) {
		if (!get(request, "x-amz-decoded-content-length", &text))
			return S3_MISSING_CONTENT_LENGTH;
		if (!bytes_parse_u64(text, UINT64_MAX - 1, &payload->size_expected))
			return S3_INVALID_ARGUMENT;
	}
	if (payload->trailer_wanted && !is_chunked(payload->mode))
		return S3_INVALID_REQUEST;
	if (is_signed(payload->mode) &&
	    (key == NULL || !sigv4_chain_init(&payload->chain, sig, key)))
		return S3_ACCESS_DENIED;
	s3_checksum_start(&payload->checksum, kind,
	                  kind == S3_CHECKSUM_SHA1 ? &digests->checksum_sha1
	                                           : &digests->checksum_sha256);
	digest_start(&digests->md5);
	if (payload->mode == SIGV4_SHA256)
		digest_start(&digests->sha256);
	return S3_NONE;
}

void s3_payload_start_plain(struct s3_payload *payload, enum s3_checksum_kind kind,
                            struct s3_digests *digests)
{
	payload->mode = SIGV4_UNSIGNED;
	payload->digests = digests;
	payload->size_expected = UINT64_MAX;
	s3_checksum_start(&payload->checksum, kind,
	                  kind == S3_CHECKSUM_SHA1 ? &digests->checksum_sha1
	                                           : &digests->checksum_sha256);
	digest_start(&digests->md5);
}

static struct bytes fail(struct s3_payload *payload, enum s3_error error)
{
	assert(error != S3_NONE);
	payload->error = error;
	return (struct bytes){ 0 };
}

static void take(struct s3_payload *payload, struct bytes data)
{
	payload->size += data.size;
	digest_add(&payload->digests->md5, data);
	s3_checksum_add(&payload->checksum, data);
	if (payload->mode == SIGV4_SHA256 || is_signed(payload->mode))
		digest_add(&payload->digests->sha256, data);
}

static enum s3_error begin_chunk(struct s3_payload *payload)
{
	if (!is_signed(payload->mode))
		return S3_NONE;
	if (payload->chunked.value.size != SIGV4_HEX_SIZE)
		return S3_SIGNATURE_DOES_NOT_MATCH;
	memcpy(payload->signature, payload->chunked.value.data, SIGV4_HEX_SIZE);
	digest_start(&payload->digests->sha256);
	return S3_NONE;
}

static enum s3_error end_chunk(struct s3_payload *payload)
{
	uint8_t hash[SHA256_SIZE];

	if (!is_signed(payload->mode))
		return S3_NONE;
	digest_finish(&payload->digests->sha256, hash);
	return sigv4_chain_verify(&payload->chain, payload->scratch, hash,
	                          bytes_of(payload->signature, SIGV4_HEX_SIZE))
	               ? S3_NONE
	               : S3_SIGNATURE_DOES_NOT_MATCH;
}

/* The trailer's signature is over "name:value\n". */
static enum s3_error verify_trailer(struct s3_payload *payload, struct bytes signature)
{
	const char *name = s3_checksum_header(payload->checksum.kind);
	uint8_t hash[SHA256_SIZE];
	char memory[128];
	struct text text;

	text_init(&text, memory, sizeof(memory));
	text_string(&text, name);
	text_put(&text, ':');
	text_base64(&text,
	            bytes_of(payload->checksum_expected, s3_checksum_size(payload->checksum.kind)));
	text_put(&text, '\n');
	assert(!text.overflowed);
	digest_of(payload->scratch, text_bytes(&text), hash);
	payload->chain.trailer = true;
	payload->trailer_signed = true;
	return sigv4_chain_verify(&payload->chain, payload->scratch, hash, signature)
	               ? S3_NONE
	               : S3_SIGNATURE_DOES_NOT_MATCH;
}

static enum s3_error read_trailer(struct s3_payload *payload)
{
	const struct aws_chunked *chunked = &payload->chunked;

	if (bytes_equal(chunked->name, BYTES("x-amz-trailer-signature"))) {
		if (payload->mode != SIGV4_CHUNKS_TRAILER || !payload->has_checksum)
			return S3_INVALID_REQUEST;
		return verify_trailer(payload, chunked->value);
	}
	if (!payload->trailer_wanted || payload->has_checksum ||
	    s3_checksum_of_header(chunked->name) != payload->checksum.kind)
		return S3_INVALID_REQUEST;
	if (!s3_checksum_parse(payload->checksum.kind, chunked->value, payload->checksum_expected))
		return S3_INVALID_CHECKSUM;
	payload->has_checksum = true;
	return S3_NONE;
}

static enum s3_error handle(struct s3_payload *payload, enum aws_chunked_event event)
{
	switch (event) {
	case AWS_CHUNKED_CHUNK:
		return begin_chunk(payload);
	case AWS_CHUNKED_CHUNK_END:
		return end_chunk(payload);
	case AWS_CHUNKED_TRAILER:
		return read_trailer(payload);
	case AWS_CHUNKED_ERROR:
		return S3_INCOMPLETE_BODY;
	case AWS_CHUNKED_MORE:
	case AWS_CHUNKED_DATA:
		break;
	}
	unreachable();
}

struct bytes s3_payload_next(struct s3_payload *payload, struct bytes *input)
{
	struct bytes data = *input;

	assert(payload->error == S3_NONE);
	if (!is_chunked(payload->mode)) {
		*input = (struct bytes){ 0 };
		if (data.size > 0)
			take(payload, data);
		return data;
	}
	for (;;) {
		enum aws_chunked_event event = aws_chunked_next(&payload->chunked, input);
		enum s3_error error;

		if (event == AWS_CHUNKED_MORE)
			return (struct bytes){ 0 };
		if (event == AWS_CHUNKED_DATA) {
			data = payload->chunked.value;
			take(payload, data);
			if (payload->size > payload->size_expected)
				return fail(payload, S3_INCOMPLETE_BODY);
			return data;
		}
		error = handle(payload, event);
		if (error != S3_NONE)
			return fail(payload, error);
	}
}

enum s3_error s3_payload_finish(struct s3_payload *payload)
{
	uint8_t hash[SHA256_SIZE];

	if (payload->error != S3_NONE)
		return payload->error;
	digest_finish(&payload->digests->md5, payload->md5);
	if (payload->checksum.kind != S3_CHECKSUM_NONE)
		s3_checksum_finish(&payload->checksum, payload->checksum_value);
	if (is_chunked(payload->mode) &&
	    (!aws_chunked_is_ended(&payload->chunked) || payload->size != payload->size_expected))
		return S3_INCOMPLETE_BODY;
	if (payload->mode == SIGV4_SHA256) {
		digest_finish(&payload->digests->sha256, hash);
		if (memcmp(hash, payload->sha256, SHA256_SIZE) != 0)
			return S3_SHA256_MISMATCH;
	}
	if (payload->trailer_wanted &&
	    (!payload->has_checksum ||
	     (payload->mode == SIGV4_CHUNKS_TRAILER && !payload->trailer_signed)))
		return S3_INCOMPLETE_BODY;
	if (payload->has_md5 && memcmp(payload->md5, payload->md5_expected, S3_MD5_SIZE) != 0)
		return S3_BAD_DIGEST;
	if (payload->has_checksum && memcmp(payload->checksum_value, payload->checksum_expected,
	                                    s3_checksum_size(payload->checksum.kind)) != 0)
		return S3_BAD_CHECKSUM;
	return S3_NONE;
}
