/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/s3_sigv4.h"

#include "base/assert.h"
#include "base/base64.h"
#include "wire/s3_time.h"
#include "wire/s3_uri.h"

static const struct http_field *find(const struct http_field *fields, uint32_t count,
                                     const char *name)
{
	struct bytes wanted = bytes_of(name, strlen(name));

	for (uint32_t i = 0; i < count; i++) {
		if (bytes_equal(fields[i].name, wanted))
			return &fields[i];
	}
	return NULL;
}

static bool get(const struct http_field *fields, uint32_t count, const char *name,
                struct bytes *ret_value)
{
	const struct http_field *field = find(fields, count, name);

	*ret_value = field == NULL ? (struct bytes){ 0 } : field->value;
	return field != NULL;
}

static enum s3_error parse_payload(struct sigv4 *sig, const struct sigv4_request *request)
{
	static const struct {
		struct bytes text;
		enum sigv4_payload payload;
	} modes[] = {
		{ { (const uint8_t *)"UNSIGNED-PAYLOAD", 16 }, SIGV4_UNSIGNED },
		{ { (const uint8_t *)"STREAMING-AWS4-HMAC-SHA256-PAYLOAD", 34 }, SIGV4_CHUNKS },
		{ { (const uint8_t *)"STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", 42 },
		  SIGV4_CHUNKS_TRAILER },
		{ { (const uint8_t *)"STREAMING-UNSIGNED-PAYLOAD-TRAILER", 34 },
		  SIGV4_UNSIGNED_TRAILER },
	};
	bool said = get(request->fields, request->field_count, "x-amz-content-sha256",
	                &sig->payload_text);

	if (!said && sig->kind == SIGV4_QUERY)
		said = get(request->query, request->query_count, "X-Amz-Content-Sha256",
		           &sig->payload_text);
	if (!said) {
		sig->payload = SIGV4_UNSIGNED;
		sig->payload_text = BYTES("UNSIGNED-PAYLOAD");
		return sig->kind == SIGV4_HEADER ? S3_INVALID_REQUEST : S3_NONE;
	}
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		if (bytes_equal(modes[i].text, sig->payload_text)) {
			sig->payload = modes[i].payload;
			return S3_NONE;
		}
	}
	sig->payload = SIGV4_SHA256;
	if (sig->payload_text.size != SIGV4_HEX_SIZE ||
	    !hex_parse(sig->payload_text, sig->payload_sha256))
		return S3_INVALID_ARGUMENT;
	return S3_NONE;
}

bool sigv4_parse_credential(struct sigv4 *sig, struct bytes credential)
{
	/* From the end: an access key may hold slashes, what follows it may not. */
	struct bytes parts[4], rest = credential;

	for (unsigned i = 0; i < 4; i++) {
		const uint8_t *slash = rest.size == 0 ? NULL : memrchr(rest.data, '/', rest.size);

		if (slash == NULL)
			return false;
		parts[3 - i] = bytes_of(slash + 1, rest.size - (size_t)(slash + 1 - rest.data));
		rest.size = (size_t)(slash - rest.data);
	}
	sig->access_key = rest;
	sig->date = parts[0];
	sig->region = parts[1];
	sig->service = parts[2];
	sig->scope = bytes_of(parts[0].data, credential.size - rest.size - 1);
	return rest.size > 0 && parts[0].size == 8 && bytes_equal(sig->service, BYTES("s3")) &&
	       bytes_equal(parts[3], BYTES("aws4_request")) && sig->scope.size <= SIGV4_SCOPE_MAX;
}

/* "Credential=..., SignedHeaders=..., Signature=...", in any order. */
static enum s3_error parse_header(struct sigv4 *sig, struct bytes value)
{
	struct bytes credential = { 0 };

	while (value.size > 0) {
		struct bytes text = bytes_trim(bytes_cut(&value, ','));
		struct bytes name = bytes_cut(&text, '=');

		if (bytes_equal(name, BYTES("Credential")))
			credential = text;
		else if (bytes_equal(name, BYTES("SignedHeaders")))
			sig->signed_headers = text;
		else if (bytes_equal(name, BYTES("Signature")))
			sig->signature = text;
	}
	if (!sigv4_parse_credential(sig, credential) || sig->signed_headers.size == 0 ||
	    sig->signature.size == 0)
		return S3_AUTHORIZATION_HEADER_MALFORMED;
	return S3_NONE;
}

static enum s3_error check_time(struct sigv4 *sig, uint64_t now_s)
{
	uint64_t skew = sig->time_s > now_s ? sig->time_s - now_s : now_s - sig->time_s;

	if (sig->kind == SIGV4_HEADER)
		return skew > SIGV4_SKEW_MAX_S ? S3_REQUEST_TIME_TOO_SKEWED : S3_NONE;
	if (sig->time_s > now_s + SIGV4_SKEW_MAX_S)
		return S3_REQUEST_TIME_TOO_SKEWED;
	return now_s >= sig->time_s + sig->expires_s ? S3_ACCESS_DENIED_EXPIRED : S3_NONE;
}

static enum s3_error parse_header_kind(struct sigv4 *sig, const struct sigv4_request *request,
                                       struct bytes value, uint64_t now_s)
{
	struct bytes word = bytes_cut(&value, ' '), date;
	enum s3_error error;

	sig->kind = SIGV4_HEADER;
	if (bytes_equal(word, BYTES("AWS"))) {
		return value.size == 0 || memchr(value.data, ':', value.size) == NULL
		               ? S3_UNSUPPORTED_AUTHORIZATION_TYPE
		               : S3_UNSUPPORTED_AUTHORIZATION;
	}
	if (!bytes_equal(word, BYTES("AWS4-HMAC-SHA256")))
		return word.size == 0 ? S3_ACCESS_DENIED : S3_UNSUPPORTED_AUTHORIZATION_TYPE;
	error = parse_header(sig, value);
	if (error != S3_NONE)
		return error;
	if (get(request->fields, request->field_count, "x-amz-date", &date)) {
		sig->timestamp = date;
		if (!s3_time_parse_basic(date, &sig->time_s) &&
		    !s3_time_parse_http(date, &sig->time_s))
			return S3_ACCESS_DENIED_DATE;
	} else if (!get(request->fields, request->field_count, "date", &date) ||
	           !s3_time_parse_http(date, &sig->time_s)) {
		return S3_ACCESS_DENIED_DATE;
	}
	if (sig->timestamp.size != S3_TIME_BASIC_SIZE) {
		char iso[S3_TIME_ISO_SIZE];

		s3_time_format_iso(sig->time_s * 1000, iso);
		struct text text;
		text_init(&text, sig->timestamp_memory, sizeof(sig->timestamp_memory));
		for (unsigned i = 0; i < 19; i++) {
			if (iso[i] != '-' && iso[i] != ':')
				text_put(&text, iso[i]);
		}
		text_put(&text, 'Z');
		assert(!text.overflowed && text.size == S3_TIME_BASIC_SIZE);
		sig->timestamp = text_bytes(&text);
	}
	error = check_time(sig, now_s);
	if (error == S3_NONE && !bytes_starts_with(sig->timestamp, sig->date))
		error = S3_AUTHORIZATION_HEADER_MALFORMED;
	return error;
}

static enum s3_error parse_query_kind(struct sigv4 *sig, const struct sigv4_request *request,
                                      uint64_t now_s)
{
	struct bytes algorithm, credential, expires;
	const struct http_field *q = request->query;
	uint32_t count = request->query_count;

	sig->kind = SIGV4_QUERY;
	if (!get(q, count, "X-Amz-Algorithm", &algorithm) ||
	    !get(q, count, "X-Amz-Credential", &credential) ||
	    !get(q, count, "X-Amz-Date", &sig->timestamp) ||
	    !get(q, count, "X-Amz-SignedHeaders", &sig->signed_headers) ||
	    !get(q, count, "X-Amz-Signature", &sig->signature) ||
	    !get(q, count, "X-Amz-Expires", &expires))
		return S3_AUTHORIZATION_QUERY_PARAMETERS;
	if (!bytes_equal(algorithm, BYTES("AWS4-HMAC-SHA256")) ||
	    !sigv4_parse_credential(sig, credential) ||
	    !s3_time_parse_basic(sig->timestamp, &sig->time_s) ||
	    !bytes_starts_with(sig->timestamp, sig->date))
		return S3_AUTHORIZATION_QUERY_PARAMETERS;
	if (!bytes_parse_u64(expires, SIGV4_EXPIRES_MAX_S, &sig->expires_s))
		return S3_AUTHORIZATION_EXPIRES;
	return check_time(sig, now_s);
}

enum s3_error sigv4_parse(struct sigv4 *sig, const struct sigv4_request *request, uint64_t now_s)
{
	struct bytes authorization;
	bool header = get(request->fields, request->field_count, "authorization", &authorization);
	bool query = find(request->query, request->query_count, "X-Amz-Algorithm") != NULL ||
	             find(request->query, request->query_count, "X-Amz-Signature") != NULL;
	enum s3_error error = S3_NONE;

	*sig = (struct sigv4){ 0 };
	if (header && query)
		return S3_TWO_AUTHORIZATIONS;
	if (find(request->query, request->query_count, "AWSAccessKeyId") != NULL &&
	    find(request->query, request->query_count, "Signature") != NULL)
		return S3_UNSUPPORTED_AUTHORIZATION;
	if (header)
		error = parse_header_kind(sig, request, authorization, now_s);
	else if (query)
		error = parse_query_kind(sig, request, now_s);
	return error == S3_NONE ? parse_payload(sig, request) : error;
}

static void hmac(struct digest *sha256, const uint8_t *key, struct bytes bytes, uint8_t *out)
{
	assert(sha256->kind == DIGEST_SHA256);
	digest_hmac(sha256, bytes_of(key, SHA256_SIZE), bytes, out);
}

void sigv4_signing_key(struct digest *sha256, struct bytes secret, const struct sigv4 *sig,
                       uint8_t *out)
{
	uint8_t first[4 + 128];
	uint8_t key[SHA256_SIZE];

	assert(secret.size <= sizeof(first) - 4);
	memcpy(first, "AWS4", 4);
	memcpy(first + 4, secret.data, secret.size);
	digest_hmac(sha256, bytes_of(first, 4 + secret.size), sig->date, key);
	hmac(sha256, key, sig->region, key);
	hmac(sha256, key, sig->service, key);
	hmac(sha256, key, BYTES("aws4_request"), out);
	explicit_bzero(first, sizeof(first));
	explicit_bzero(key, sizeof(key));
}

/* Decoded and encoded again, once: S3 leaves dots and double slashes alone. */
static bool add_path(const struct sigv4_request *request, struct text *out)
{
	struct bytes path = request->raw_path;

	if (path.size == 0)
		text_put(out, '/');
	while (path.size > 0) {
		uint8_t c = path.data[0];
		size_t taken = 1;

		if (c == '%') {
			taken = 3;
			if (path.size < 3 || s3_uri_decode(bytes_of(path.data, 3), false, &c) != 1)
				return false;
		}
		s3_uri_encode(out, bytes_of(&c, 1), true);
		path = bytes_of(path.data + taken, path.size - taken);
	}
	return true;
}

/* "name=value" encoded and in order, "&" between; the signature itself left out. */
static bool add_query(const struct sigv4 *sig, const struct sigv4_request *request,
                      struct text *out)
{
	struct bytes pairs[256];
	struct text scratch; /* behind what will be written, which is as large: room for both */
	size_t room = out->size_max - out->size;
	uint32_t count = 0;

	if (out->overflowed || request->query_count > 256)
		return false;
	text_init(&scratch, out->data + out->size + room / 2, room - room / 2);
	for (uint32_t i = 0; i < request->query_count; i++) {
		size_t start = scratch.size;
		struct bytes pair;
		uint32_t at = count;

		if (sig->kind == SIGV4_QUERY &&
		    bytes_equal(request->query[i].name, BYTES("X-Amz-Signature")))
			continue;
		s3_uri_encode(&scratch, request->query[i].name, false);
		text_put(&scratch, '=');
		s3_uri_encode(&scratch, request->query[i].value, false);
		pair = bytes_of(scratch.data + start, scratch.size - start);
		for (; at > 0 && bytes_compare(pair, pairs[at - 1]) < 0; at--)
			pairs[at] = pairs[at - 1];
		pairs[at] = pair;
		count++;
	}
	if (scratch.overflowed || scratch.size + 1 > room / 2)
		return false;
	for (uint32_t i = 0; i < count; i++) {
		if (i > 0)
			text_put(out, '&');
		text_add(out, pairs[i]);
	}
	return true;
}

/* Blanks at the ends go, runs of them become one. */
static void add_value(struct text *out, struct bytes value)
{
	value = bytes_trim(value);
	for (size_t i = 0; i < value.size; i++) {
		if (value.data[i] != ' ' || value.data[i - 1] != ' ')
			text_put(out, (char)value.data[i]);
	}
}

static void add_header(const struct sigv4_request *request, struct bytes name, struct text *out)
{
	bool first = true;

	text_add(out, name);
	text_put(out, ':');
	for (uint32_t i = 0; i < request->field_count; i++) {
		if (!bytes_equal(request->fields[i].name, name))
			continue;
		if (!first)
			text_put(out, ',');
		add_value(out, request->fields[i].value);
		first = false;
	}
	text_put(out, '\n');
}

bool sigv4_canonical(const struct sigv4 *sig, const struct sigv4_request *request, struct text *out)
{
	struct bytes rest = sig->signed_headers;
	uint32_t count = 0;

	text_add(out, request->method);
	text_put(out, '\n');
	if (!add_path(request, out))
		return false;
	text_put(out, '\n');
	if (!add_query(sig, request, out))
		return false;
	text_put(out, '\n');
	while (rest.size > 0 && count++ < SIGV4_SIGNED_HEADERS_MAX)
		add_header(request, bytes_cut(&rest, ';'), out);
	text_put(out, '\n');
	text_add(out, sig->signed_headers);
	text_put(out, '\n');
	text_add(out, sig->payload_text);
	return rest.size == 0 && !out->overflowed;
}

void sigv4_sign(const struct sigv4 *sig, struct digest *sha256, const uint8_t *signing_key,
                struct bytes canonical, char *out_hex)
{
	uint8_t hash[SHA256_SIZE];
	char hex[SIGV4_HEX_SIZE], memory[256];
	struct text text;

	digest_of(sha256, canonical, hash);
	hex_format(bytes_of(hash, sizeof(hash)), hex);
	text_init(&text, memory, sizeof(memory));
	text_string(&text, "AWS4-HMAC-SHA256\n");
	text_add(&text, sig->timestamp);
	text_put(&text, '\n');
	text_add(&text, sig->scope);
	text_put(&text, '\n');
	text_add(&text, bytes_of(hex, sizeof(hex)));
	assert(!text.overflowed);
	hmac(sha256, signing_key, text_bytes(&text), hash);
	hex_format(bytes_of(hash, sizeof(hash)), out_hex);
}

static bool is_signed(const struct sigv4 *sig, struct bytes name)
{
	struct bytes rest = sig->signed_headers;

	while (rest.size > 0) {
		if (bytes_equal(bytes_cut(&rest, ';'), name))
			return true;
	}
	return false;
}

/* Host, and every x-amz-* header that is there: else a thief of a signature could add some. */
static bool signs_enough(const struct sigv4 *sig, const struct sigv4_request *request)
{
	if (!is_signed(sig, BYTES("host")))
		return false;
	for (uint32_t i = 0; i < request->field_count; i++) {
		struct bytes name = request->fields[i].name;

		if (bytes_starts_with(name, BYTES("x-amz-")) && !is_signed(sig, name) &&
		    !bytes_equal(name, BYTES("x-amz-content-sha256")))
			return false;
	}
	return true;
}

enum s3_error sigv4_verify(const struct sigv4 *sig, const struct sigv4_request *request,
                           struct digest *sha256, const uint8_t *signing_key, struct text *scratch)
{
	char expected[SIGV4_HEX_SIZE];

	assert(sig->kind != SIGV4_ANONYMOUS);
	if (!signs_enough(sig, request))
		return S3_ACCESS_DENIED;
	if (!sigv4_canonical(sig, request, scratch))
		return S3_SIGNATURE_DOES_NOT_MATCH;
	sigv4_sign(sig, sha256, signing_key, text_bytes(scratch), expected);
	return digest_equal(bytes_of(expected, sizeof(expected)), sig->signature)
	               ? S3_NONE
	               : S3_SIGNATURE_DOES_NOT_MATCH;
}

bool sigv4_chain_init(struct sigv4_chain *chain, const struct sigv4 *sig, const uint8_t *key)
{
	if (sig->signature.size != SIGV4_HEX_SIZE ||
	    sig->timestamp.size != sizeof(chain->timestamp) ||
	    sig->scope.size > sizeof(chain->scope))
		return false;
	*chain = (struct sigv4_chain){ .scope_size = sig->scope.size };
	memcpy(chain->key, key, sizeof(chain->key));
	memcpy(chain->timestamp, sig->timestamp.data, sizeof(chain->timestamp));
	memcpy(chain->scope, sig->scope.data, sig->scope.size);
	memcpy(chain->previous, sig->signature.data, sizeof(chain->previous));
	return true;
}

bool sigv4_chain_verify(struct sigv4_chain *chain, struct digest *sha256,
                        const uint8_t *data_sha256, struct bytes signature)
{
	static const char empty[] =
	        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
	char memory[512], expected[SIGV4_HEX_SIZE];
	uint8_t mac[SHA256_SIZE];
	struct text text;

	text_init(&text, memory, sizeof(memory));
	text_string(&text,
	            chain->trailer ? "AWS4-HMAC-SHA256-TRAILER\n" : "AWS4-HMAC-SHA256-PAYLOAD\n");
	text_add(&text, bytes_of(chain->timestamp, sizeof(chain->timestamp)));
	text_put(&text, '\n');
	text_add(&text, bytes_of(chain->scope, chain->scope_size));
	text_put(&text, '\n');
	text_add(&text, bytes_of(chain->previous, sizeof(chain->previous)));
	text_put(&text, '\n');
	if (!chain->trailer) {
		text_string(&text, empty);
		text_put(&text, '\n');
	}
	text_hex(&text, bytes_of(data_sha256, SHA256_SIZE));
	assert(!text.overflowed);
	hmac(sha256, chain->key, text_bytes(&text), mac);
	hex_format(bytes_of(mac, sizeof(mac)), expected);
	memcpy(chain->previous, expected, sizeof(expected));
	return digest_equal(bytes_of(expected, sizeof(expected)), signature);
}

bool sigv4_verify_policy(struct digest *sha256, const uint8_t *signing_key, struct bytes policy,
                         struct bytes signature)
{
	uint8_t mac[SHA256_SIZE];
	char hex[SIGV4_HEX_SIZE];

	hmac(sha256, signing_key, policy, mac);
	hex_format(bytes_of(mac, sizeof(mac)), hex);
	return digest_equal(bytes_of(hex, sizeof(hex)), signature);
}

bool sigv2_verify_policy(struct digest *sha1, struct bytes secret, struct bytes policy,
                         struct bytes signature)
{
	uint8_t mac[DIGEST_SIZE_MAX];
	char text[BASE64_SIZE(20)];

	assert(sha1->kind == DIGEST_SHA1);
	digest_hmac(sha1, secret, policy, mac);
	base64_format(bytes_of(mac, digest_size(DIGEST_SHA1)), text);
	return digest_equal(bytes_of(text, sizeof(text)), signature);
}
