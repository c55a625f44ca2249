/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates for development and tests: a new key, and who it belongs to. RFC 5280. */
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>

#include "base/assert.h"
#include "layer/stream_tls_state.h"

enum { SERIAL_BITS = 127, NAME_MAX_SIZE = 253 };

static bool add_extension_of(X509 *certificate, X509 *issuer, int kind, const char *value)
{
	X509_EXTENSION *extension;
	X509V3_CTX context;
	bool added;

	X509V3_set_ctx_nodb(&context);
	X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &context, kind, value);
	added = extension != NULL && X509_add_ext(certificate, extension, -1) == 1;
	X509_EXTENSION_free(extension);
	return added;
}

static bool add_extension(X509 *certificate, int kind, const char *value)
{
	return add_extension_of(certificate, certificate, kind, value);
}

/* Which of several issuers of the same name it is: RFC 5280, 4.2.1.1. Then it is signed. */
static bool sign(X509 *certificate, X509 *issuer, EVP_PKEY *key)
{
	return X509_set_issuer_name(certificate, X509_get_subject_name(issuer)) == 1 &&
	       add_extension_of(certificate, issuer, NID_authority_key_identifier,
	                        "keyid:always") &&
	       X509_sign(certificate, key, EVP_sha256()) > 0;
}

/* One that says something to the parser of extensions would be no name. */
static bool name_is_plain(const char *name)
{
	size_t size = strlen(name);

	return size > 0 && size <= NAME_MAX_SIZE &&
	       strspn(name,
	              "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_*:") ==
	               size;
}

static bool is_address(const char *name)
{
	ASN1_OCTET_STRING *address = a2i_IPADDRESS(name);
	bool is = address != NULL;

	ASN1_OCTET_STRING_free(address);
	ERR_clear_error();
	return is;
}

static bool add_names(X509 *certificate, const struct stream_tls_make *make)
{
	char text[STREAM_TLS_NAMES_MAX * (NAME_MAX_SIZE + 8)];
	size_t used = 0;

	for (unsigned i = 0; i < make->name_count; i++) {
		const char *name = make->names[i];

		if (!name_is_plain(name))
			return false;
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s:%s",
		                         i > 0 ? "," : "", is_address(name) ? "IP" : "DNS", name);
		assert(used < sizeof(text));
	}
	return add_extension(certificate, NID_subject_alt_name, text);
}

static bool set_serial(X509 *certificate)
{
	BIGNUM *serial = BN_new();
	bool set = serial != NULL && BN_rand(serial, SERIAL_BITS, BN_RAND_TOP_ONE, 0) == 1 &&
	           BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(certificate)) != NULL;

	BN_free(serial);
	return set;
}

static bool fill(X509 *certificate, EVP_PKEY *key, const struct stream_tls_make *make)
{
	X509_NAME *subject = X509_get_subject_name(certificate);
	const char *use = make->client ? "clientAuth" : "serverAuth";

	if (make->issuer == NULL)
		use = "serverAuth,clientAuth"; /* else nobody whom it vouches for could be more */

	return X509_set_version(certificate, X509_VERSION_3) == 1 && set_serial(certificate) &&
	       ASN1_TIME_set(X509_getm_notBefore(certificate), (time_t)make->from_s) != NULL &&
	       ASN1_TIME_set(X509_getm_notAfter(certificate), (time_t)make->to_s) != NULL &&
	       X509_set_pubkey(certificate, key) == 1 &&
	       X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
	                                  (const unsigned char *)make->names[0], -1, -1, 0) == 1 &&
	       /* Its own issuer, so that who trusts it may say so. */
	       add_extension(certificate, NID_basic_constraints,
	                     make->issuer == NULL ? "critical,CA:TRUE" : "critical,CA:FALSE") &&
	       add_extension(certificate, NID_ext_key_usage, use) &&
	       add_extension(certificate, NID_subject_key_identifier, "hash") &&
	       add_names(certificate, make);
}

static bool sign_by_issuer(X509 *certificate, const struct stream_tls_pair *issuer)
{
	BIO *bio = BIO_new_mem_buf(issuer->certificate, -1), *key_bio;
	X509 *by = bio != NULL ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	EVP_PKEY *key = NULL;
	bool signed_now;

	key_bio = BIO_new_mem_buf(issuer->key, -1);
	if (key_bio != NULL)
		key = PEM_read_bio_PrivateKey(key_bio, NULL, NULL, NULL);
	signed_now = by != NULL && key != NULL && sign(certificate, by, key);
	EVP_PKEY_free(key);
	X509_free(by);
	BIO_free(key_bio);
	BIO_free(bio);
	return signed_now;
}

static bool take_text(BIO *bio, char out[static STREAM_TLS_PEM_MAX])
{
	int size = BIO_read(bio, out, STREAM_TLS_PEM_MAX - 1);

	out[size < 0 ? 0 : size] = '\0';
	return size > 0 && BIO_pending(bio) == 0;
}

static bool write_pair(X509 *certificate, EVP_PKEY *key, struct stream_tls_pair *out)
{
	uint8_t digest[EVP_MAX_MD_SIZE];
	unsigned size = 0, used = 0;
	BIO *bio = BIO_new(BIO_s_mem());
	bool written = bio != NULL && PEM_write_bio_X509(bio, certificate) == 1 &&
	               take_text(bio, out->certificate) &&
	               PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1 &&
	               take_text(bio, out->key) &&
	               X509_digest(certificate, EVP_sha256(), digest, &size) == 1;

	BIO_free(bio);
	for (unsigned i = 0; i < size; i++)
		used += (unsigned)snprintf(out->fingerprint + used, sizeof(out->fingerprint) - used,
		                           "%s%02X", i > 0 ? ":" : "", digest[i]);
	return written;
}

enum status stream_tls_make(const struct stream_tls_make *make, struct stream_tls_pair *out)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *certificate = X509_new();
	bool made;

	assert(make->name_count > 0 && make->name_count <= STREAM_TLS_NAMES_MAX);
	*out = (struct stream_tls_pair){ .fingerprint = "" };
	made = key != NULL && certificate != NULL && fill(certificate, key, make);
	if (made && make->issuer != NULL)
		made = sign_by_issuer(certificate, make->issuer);
	else if (made)
		made = sign(certificate, certificate, key);
	made = made && write_pair(certificate, key, out);
	X509_free(certificate);
	EVP_PKEY_free(key);
	ERR_clear_error();
	return made ? STATUS_OK : STATUS_INVALID;
}
