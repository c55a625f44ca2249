/* SPDX-License-Identifier: Apache-2.0 */
/* Signatures: the examples of the S3 API reference, and what is made of them wrongly. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/macros.h"
#include "wire/s3_payload.h"
#include "wire/s3_time.h"

#define ACCESS "AKIAIOSFODNN7EXAMPLE"
#define SECRET "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
#define SCOPE "20130524/us-east-1/s3/aws4_request"
#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define HOST "examplebucket.s3.amazonaws.com"
#define NOW 1369353600ull /* 20130524T000000Z */

#define FIELD(n, v)                                                                                \
	{                                                                                          \
		{ (const uint8_t *)(n), sizeof(n) - 1 },                                           \
		{                                                                                  \
			(const uint8_t *)(v), sizeof(v) - 1                                        \
		}                                                                                  \
	}

static struct digest sha256;
static char scratch_memory[65536];

static int open_digest(void **state)
{
	(void)state;
	return digest_open(&sha256, DIGEST_SHA256) ? 0 : -1;
}

static int close_digest(void **state)
{
	(void)state;
	digest_close(&sha256);
	return 0;
}

static enum s3_error verify(const struct sigv4_request *request, uint64_t now_s, struct sigv4 *sig)
{
	uint8_t key[SHA256_SIZE];
	struct text scratch;
	enum s3_error error = sigv4_parse(sig, request, now_s);

	if (error != S3_NONE)
		return error;
	text_init(&scratch, scratch_memory, sizeof(scratch_memory));
	sigv4_signing_key(&sha256, BYTES(SECRET), sig, key);
	return sigv4_verify(sig, request, &sha256, key, &scratch);
}

#define AUTHORIZATION(headers, signature)                                                          \
	FIELD("authorization", "AWS4-HMAC-SHA256 Credential=" ACCESS "/" SCOPE                     \
	                       ",SignedHeaders=" headers ",Signature=" signature)

static void test_documented_headers(void **state)
{
	const struct http_field get[] = {
		FIELD("host", HOST),
		FIELD("range", "bytes=0-9"),
		FIELD("x-amz-content-sha256", EMPTY),
		FIELD("x-amz-date", "20130524T000000Z"),
		AUTHORIZATION("host;range;x-amz-content-sha256;x-amz-date",
		              "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
	};
	const struct http_field put[] = {
		FIELD("date", "Fri, 24 May 2013 00:00:00 GMT"),
		FIELD("host", HOST),
		FIELD("x-amz-content-sha256",
		      "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"),
		FIELD("x-amz-date", "20130524T000000Z"),
		FIELD("x-amz-storage-class", "REDUCED_REDUNDANCY"),
		AUTHORIZATION("date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
		              "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"),
	};
	const struct http_field lifecycle[] = {
		FIELD("host", HOST),
		FIELD("x-amz-content-sha256", EMPTY),
		FIELD("x-amz-date", "20130524T000000Z"),
		AUTHORIZATION("host;x-amz-content-sha256;x-amz-date",
		              "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
	};
	const struct http_field list[] = {
		FIELD("host", HOST),
		FIELD("x-amz-content-sha256", EMPTY),
		FIELD("x-amz-date", "20130524T000000Z"),
		AUTHORIZATION("host;x-amz-content-sha256;x-amz-date",
		              "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
	};
	const struct http_field lifecycle_query[] = { FIELD("lifecycle", "") };
	const struct http_field list_query[] = { FIELD("prefix", "J"), FIELD("max-keys", "2") };
	const struct sigv4_request requests[] = {
		{ BYTES("GET"), BYTES("/test.txt"), NULL, 0, get, array_count(get) },
		{ BYTES("PUT"), BYTES("/test%24file.text"), NULL, 0, put, array_count(put) },
		{ BYTES("GET"), BYTES("/"), lifecycle_query, 1, lifecycle, array_count(lifecycle) },
		{ BYTES("GET"), BYTES("/"), list_query, 2, list, array_count(list) },
	};
	struct sigv4 sig;

	(void)state;
	for (size_t i = 0; i < array_count(requests); i++) {
		struct sigv4_request other = requests[i];

		assert_int_equal(verify(&requests[i], NOW, &sig), S3_NONE);
		assert_int_equal(sig.kind, SIGV4_HEADER);
		assert_true(bytes_equal(sig.access_key, BYTES(ACCESS)));
		assert_true(bytes_equal(sig.region, BYTES("us-east-1")));
		assert_int_equal(sig.payload, SIGV4_SHA256);
		other.method = BYTES("POST");
		assert_int_equal(verify(&other, NOW, &sig), S3_SIGNATURE_DOES_NOT_MATCH);
		other = requests[i];
		other.raw_path = BYTES("/other");
		assert_int_equal(verify(&other, NOW, &sig), S3_SIGNATURE_DOES_NOT_MATCH);
		assert_int_equal(verify(&requests[i], NOW + 899, &sig), S3_NONE);
		assert_int_equal(verify(&requests[i], NOW + 901, &sig), S3_REQUEST_TIME_TOO_SKEWED);
		assert_int_equal(verify(&requests[i], NOW - 901, &sig), S3_REQUEST_TIME_TOO_SKEWED);
	}
}

static void test_documented_query(void **state)
{
	const struct http_field fields[] = { FIELD("host", HOST) };
	struct http_field query[] = {
		FIELD("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
		FIELD("X-Amz-Credential", ACCESS "/" SCOPE),
		FIELD("X-Amz-Date", "20130524T000000Z"),
		FIELD("X-Amz-Expires", "86400"),
		FIELD("X-Amz-SignedHeaders", "host"),
		FIELD("X-Amz-Signature",
		      "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"),
	};
	const struct sigv4_request request = { BYTES("GET"), BYTES("/test.txt"),
		                               query,        array_count(query),
		                               fields,       1 };
	struct sigv4 sig;

	(void)state;
	assert_int_equal(verify(&request, NOW, &sig), S3_NONE);
	assert_int_equal(sig.kind, SIGV4_QUERY);
	assert_int_equal(sig.payload, SIGV4_UNSIGNED);
	assert_int_equal(verify(&request, NOW + 86399, &sig), S3_NONE);
	assert_int_equal(verify(&request, NOW + 86400, &sig), S3_ACCESS_DENIED_EXPIRED);
	query[3].value = BYTES("604801");
	assert_int_equal(verify(&request, NOW, &sig), S3_AUTHORIZATION_EXPIRES);
	query[3].value = BYTES("-1");
	assert_int_equal(verify(&request, NOW, &sig), S3_AUTHORIZATION_EXPIRES);
	query[3].value = BYTES("86401");
	assert_int_equal(verify(&request, NOW, &sig), S3_SIGNATURE_DOES_NOT_MATCH);
}

static void test_refused(void **state)
{
	struct http_field field = FIELD("authorization", "");
	struct sigv4_request request = { BYTES("GET"), BYTES("/"), NULL, 0, &field, 1 };
	const struct http_field query[] = { FIELD("AWSAccessKeyId", "a"), FIELD("Signature", "b") };
	static const struct {
		const char *value;
		enum s3_error error;
	} rows[] = {
		{ "", S3_ACCESS_DENIED },
		{ "AWS a:b", S3_UNSUPPORTED_AUTHORIZATION },
		{ "AWS HAHAHA", S3_UNSUPPORTED_AUTHORIZATION_TYPE },
		{ "Basic x", S3_UNSUPPORTED_AUTHORIZATION_TYPE },
		{ "AWS4-HMAC-SHA256 x", S3_AUTHORIZATION_HEADER_MALFORMED },
		{ "AWS4-HMAC-SHA256 Credential=a/20130524/r/s3/aws4_request,SignedHeaders=host,"
		  "Signature=",
		  S3_AUTHORIZATION_HEADER_MALFORMED },
		{ "AWS4-HMAC-SHA256 Credential=a/20130524/r/ec2/aws4_request,SignedHeaders=host,"
		  "Signature=x",
		  S3_AUTHORIZATION_HEADER_MALFORMED },
		{ "AWS4-HMAC-SHA256 Credential=a/20130524/r/s3/aws4_request,SignedHeaders=host,"
		  "Signature=x",
		  S3_ACCESS_DENIED_DATE },
	};
	struct sigv4 sig;

	(void)state;
	for (size_t i = 0; i < array_count(rows); i++) {
		field.value = bytes_of(rows[i].value, strlen(rows[i].value));
		assert_int_equal(sigv4_parse(&sig, &request, NOW), rows[i].error);
	}
	request = (struct sigv4_request){ .query = query, .query_count = 2 };
	assert_int_equal(sigv4_parse(&sig, &request, NOW), S3_UNSUPPORTED_AUTHORIZATION);
	request = (struct sigv4_request){ .method = BYTES("GET") };
	assert_int_equal(sigv4_parse(&sig, &request, NOW), S3_NONE);
	assert_int_equal(sig.kind, SIGV4_ANONYMOUS);
}

/* A header that nobody signed must not come in by the way. */
static void test_unsigned_header(void **state)
{
	const struct http_field fields[] = {
		FIELD("host", HOST),
		FIELD("range", "bytes=0-9"),
		FIELD("x-amz-content-sha256", EMPTY),
		FIELD("x-amz-date", "20130524T000000Z"),
		AUTHORIZATION("host;range;x-amz-content-sha256;x-amz-date",
		              "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
		FIELD("x-amz-acl", "public-read"),
	};
	const struct sigv4_request request = { BYTES("GET"), BYTES("/test.txt"), NULL, 0,
		                               fields,       array_count(fields) };
	struct sigv4 sig;

	(void)state;
	assert_int_equal(verify(&request, NOW, &sig), S3_ACCESS_DENIED);
}

/* The body of the documented upload in chunks: 64 KiB and 1 KiB of the letter a. */
static struct bytes chunked_body(const char *const signatures[3], const char *trailer)
{
	static char body[70000];
	static const size_t sizes[] = { 65536, 1024, 0 };
	struct text text;

	text_init(&text, body, sizeof(body));
	for (unsigned i = 0; i < 3; i++) {
		static const char *const heads[] = { "10000", "400", "0" };

		text_string(&text, heads[i]);
		text_string(&text, ";chunk-signature=");
		text_string(&text, signatures[i]);
		text_string(&text, "\r\n");
		for (size_t k = 0; k < sizes[i]; k++)
			text_put(&text, 'a');
		if (i < 2)
			text_string(&text, "\r\n");
	}
	text_string(&text, trailer);
	assert_false(text.overflowed);
	return text_bytes(&text);
}

static enum s3_error receive(const struct sigv4_request *request, struct bytes body, size_t step,
                             uint64_t *ret_size)
{
	struct s3_digests digests;
	struct s3_payload payload;
	uint8_t key[SHA256_SIZE];
	struct sigv4 sig;
	enum s3_error error = sigv4_parse(&sig, request, NOW);

	assert_int_equal(error, S3_NONE);
	assert_true(s3_digests_open(&digests));
	sigv4_signing_key(&sha256, BYTES(SECRET), &sig, key);
	s3_payload_init(&payload, &sha256, S3_CHECKSUM_NONE);
	error = s3_payload_start(&payload, &sig, request, key, &digests);
	for (size_t at = 0; error == S3_NONE && at < body.size; at += step) {
		struct bytes piece =
		        bytes_of(body.data + at, body.size - at < step ? body.size - at : step);

		while (piece.size > 0 && payload.error == S3_NONE) {
			struct bytes data = s3_payload_next(&payload, &piece);

			for (size_t i = 0; i < data.size; i++)
				assert_int_equal(data.data[i], 'a');
		}
		error = payload.error;
	}
	*ret_size = payload.size;
	if (error == S3_NONE)
		error = s3_payload_finish(&payload);
	s3_digests_close(&digests);
	return error;
}

static const char *const chunk_signatures[3] = {
	"ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
	"0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
	"b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
};

static void test_documented_chunks(void **state)
{
	const struct http_field fields[] = {
		FIELD("content-encoding", "aws-chunked"),
		FIELD("content-length", "66824"),
		FIELD("host", "s3.amazonaws.com"),
		FIELD("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
		FIELD("x-amz-date", "20130524T000000Z"),
		FIELD("x-amz-decoded-content-length", "66560"),
		FIELD("x-amz-storage-class", "REDUCED_REDUNDANCY"),
		AUTHORIZATION(
		        "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;"
		        "x-amz-decoded-content-length;x-amz-storage-class",
		        "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"),
	};
	const struct sigv4_request request = {
		BYTES("PUT"),       BYTES("/examplebucket/chunkObject.txt"), NULL, 0, fields,
		array_count(fields)
	};
	struct bytes body = chunked_body(chunk_signatures, "\r\n");
	struct sigv4 sig;
	uint64_t size;
	uint8_t *spoiled;

	(void)state;
	assert_int_equal(verify(&request, NOW, &sig), S3_NONE);
	assert_int_equal(sig.payload, SIGV4_CHUNKS);
	assert_int_equal(body.size, 66824);
	for (size_t step = 1; step <= body.size; step = step * 7 + 1) {
		assert_int_equal(receive(&request, body, step, &size), S3_NONE);
		assert_int_equal(size, 66560);
	}
	assert_int_equal(receive(&request, bytes_of(body.data, body.size - 100), 4096, &size),
	                 S3_INCOMPLETE_BODY);
	spoiled = (uint8_t *)(uintptr_t)body.data;
	spoiled[30] ^= 1; /* of the first signature */
	assert_int_equal(receive(&request, body, 4096, &size), S3_SIGNATURE_DOES_NOT_MATCH);
}

static void test_documented_trailer(void **state)
{
	static const char *const signatures[3] = {
		"b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
		"1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
		"2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
	};
	static const char trailer[] =
	        "x-amz-checksum-crc32c:sOO8/Q==\r\n"
	        "x-amz-trailer-signature:"
	        "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n";
	const struct http_field fields[] = {
		FIELD("content-encoding", "aws-chunked"),
		FIELD("host", "s3.amazonaws.com"),
		FIELD("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"),
		FIELD("x-amz-date", "20130524T000000Z"),
		FIELD("x-amz-decoded-content-length", "66560"),
		FIELD("x-amz-storage-class", "REDUCED_REDUNDANCY"),
		FIELD("x-amz-trailer", "x-amz-checksum-crc32c"),
		AUTHORIZATION("content-encoding;host;x-amz-content-sha256;x-amz-date;"
		              "x-amz-decoded-content-length;x-amz-storage-class;x-amz-trailer",
		              "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"),
	};
	const struct sigv4_request request = {
		BYTES("PUT"),       BYTES("/examplebucket/chunkObject.txt"), NULL, 0, fields,
		array_count(fields)
	};
	struct sigv4 sig;
	uint64_t size;

	(void)state;
	assert_int_equal(verify(&request, NOW, &sig), S3_NONE);
	for (size_t step = 1; step < 70000; step = step * 9 + 5)
		assert_int_equal(receive(&request, chunked_body(signatures, trailer), step, &size),
		                 S3_NONE);
	/* Without the trailer that was promised. */
	assert_int_equal(receive(&request, chunked_body(signatures, "\r\n"), 4096, &size),
	                 S3_INCOMPLETE_BODY);
}

static void test_unsigned_trailer(void **state)
{
	struct http_field fields[] = {
		FIELD("host", HOST),
		FIELD("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
		FIELD("x-amz-decoded-content-length", "3"),
		FIELD("x-amz-trailer", "x-amz-checksum-crc32"),
	};
	const struct sigv4_request request = { .fields = fields, .field_count = 4 };
	static const struct {
		const char *body;
		enum s3_error error;
	} rows[] = {
		{ "3\r\naaa\r\n0\r\nx-amz-checksum-crc32:8AdzLQ==\r\n\r\n", S3_NONE },
		{ "1\r\na\r\n2\r\naa\r\n0\r\nX-Amz-Checksum-Crc32: 8AdzLQ==\r\n\r\n", S3_NONE },
		{ "3\r\naaa\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n", S3_BAD_CHECKSUM },
		{ "3\r\naaa\r\n0\r\nx-amz-checksum-crc32:AAAA\r\n\r\n", S3_INVALID_CHECKSUM },
		{ "3\r\naaa\r\n0\r\n\r\n", S3_INCOMPLETE_BODY },
		{ "2\r\naa\r\n0\r\nx-amz-checksum-crc32:8AdzLQ==\r\n\r\n", S3_INCOMPLETE_BODY },
		{ "4\r\naaaa\r\n0\r\n\r\n", S3_INCOMPLETE_BODY },
		{ "3\r\naaaX\r\n0\r\n\r\n", S3_INCOMPLETE_BODY },
		{ "g\r\naaa\r\n0\r\n\r\n", S3_INCOMPLETE_BODY },
		{ "3;junk\r\naaa\r\n0\r\n\r\n", S3_INCOMPLETE_BODY },
		{ "3\r\naaa\r\n", S3_INCOMPLETE_BODY },
		{ "3\r\naaa\r\n0\r\nx-amz-checksum-crc32:8AdzLQ==\r\n\r\nmore",
		  S3_INCOMPLETE_BODY },
		{ "3\r\naaa\r\n0\r\nx-amz-checksum-sha1:8AdzLQ==\r\n\r\n", S3_INVALID_REQUEST },
	};
	uint64_t size;

	(void)state;
	for (size_t i = 0; i < array_count(rows); i++) {
		for (size_t step = 1; step < 40; step += 13)
			assert_int_equal(receive(&request,
			                         bytes_of(rows[i].body, strlen(rows[i].body)), step,
			                         &size),
			                 rows[i].error);
	}
}

static void test_plain_payload(void **state)
{
	struct http_field fields[] = {
		FIELD("x-amz-content-sha256",
		      "9834876dcfb05cb167a5c24953eba58c4ac89b1adf57f28f2f9d09af107ee8f0"),
		FIELD("content-md5", "R7zmwCGjRhg+rwmD6BQN1A=="), /* not of aaa */
	};
	struct sigv4_request request = { .fields = fields, .field_count = 1 };
	uint64_t size;

	(void)state;
	assert_int_equal(receive(&request, BYTES("aaa"), 1, &size), S3_NONE);
	assert_int_equal(receive(&request, BYTES("aa"), 1, &size), S3_SHA256_MISMATCH);
	request.field_count = 2;
	assert_int_equal(receive(&request, BYTES("aaa"), 2, &size), S3_BAD_DIGEST);
	fields[1].value = BYTES("R7zmwCGjRhg+rwmD6BQN1");
	assert_int_equal(receive(&request, BYTES("aaa"), 2, &size), S3_INVALID_DIGEST);
}

static void test_times(void **state)
{
	static const struct {
		const char *text;
		uint64_t s;
	} http[] = {
		{ "Sun, 06 Nov 1994 08:49:37 GMT", 784111777 },
		{ "Sunday, 06-Nov-94 08:49:37 GMT", 784111777 },
		{ "Sun Nov  6 08:49:37 1994", 784111777 },
		{ "Thu, 29 Feb 2024 00:00:00 GMT", 1709164800 },
	};
	char iso[S3_TIME_ISO_SIZE], text[S3_TIME_HTTP_SIZE];
	uint64_t s;

	(void)state;
	for (size_t i = 0; i < array_count(http); i++) {
		assert_true(s3_time_parse_http(bytes_of(http[i].text, strlen(http[i].text)), &s));
		assert_int_equal(s, http[i].s);
	}
	s3_time_format_http(784111777, text);
	assert_memory_equal(text, http[0].text, sizeof(text));
	assert_true(s3_time_parse_iso(BYTES("2013-05-24T00:00:00.000Z"), &s));
	assert_int_equal(s, NOW);
	assert_true(s3_time_parse_iso(BYTES("2013-05-24"), &s));
	assert_int_equal(s, NOW);
	s3_time_format_iso(NOW * 1000 + 7, iso);
	assert_memory_equal(iso, "2013-05-24T00:00:00.007Z", sizeof(iso));
	assert_false(s3_time_parse_iso(BYTES("20200101"), &s));
	assert_false(s3_time_parse_iso(BYTES("2013-02-29T00:00:00Z"), &s));
	assert_false(s3_time_parse_http(BYTES("Sun, 31 Nov 1994 08:49:37 GMT"), &s));
	assert_false(s3_time_parse_http(BYTES(""), &s));
	assert_false(s3_time_parse_basic(BYTES("20130524T000000"), &s));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_documented_headers),
		cmocka_unit_test(test_documented_query),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_unsigned_header),
		cmocka_unit_test(test_documented_chunks),
		cmocka_unit_test(test_documented_trailer),
		cmocka_unit_test(test_unsigned_trailer),
		cmocka_unit_test(test_plain_payload),
		cmocka_unit_test(test_times),
	};

	return cmocka_run_group_tests(tests, open_digest, close_digest);
}
