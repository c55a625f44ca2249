/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chance for OpenSSL: a provider whose only generator asks the owner of the layer. So a library
 * context reads no device and no clock for it, and with a seed handshakes are the same each time.
 */
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#include "base/assert.h"
#include "layer/stream_tls_state.h"

enum { STRENGTH = 256 };
#define REQUEST_MAX (1u << 20)

/* OpenSSL hands nothing of ours to a provider that it starts: whose it is is told beside it. */
static _Thread_local struct stream_tls *opening;

static void *random_new(void *provider, void *parent, const OSSL_DISPATCH *parent_calls)
{
	(void)parent;
	(void)parent_calls;
	return provider;
}

static void random_free(void *tls)
{
	(void)tls;
}

static int random_instantiate(void *tls, unsigned strength, int resistance, const uint8_t *text,
                              size_t size, const OSSL_PARAM params[])
{
	(void)tls;
	(void)resistance;
	(void)text;
	(void)size;
	(void)params;
	return strength <= STRENGTH;
}

static int random_uninstantiate(void *tls)
{
	(void)tls;
	return 1;
}

static int random_generate(void *owner, uint8_t *out, size_t size, unsigned strength,
                           int resistance, const uint8_t *more, size_t more_size)
{
	struct stream_tls *tls = owner;

	(void)resistance;
	(void)more;
	(void)more_size;
	if (strength > STRENGTH)
		return 0;
	tls->options.random(tls->options.random_owner, out, size);
	return 1;
}

/* options.random may be called by any thread. */
static int random_enable_locking(void *tls)
{
	(void)tls;
	return 1;
}

static int random_lock(void *tls)
{
	(void)tls;
	return 1;
}

static void random_unlock(void *tls)
{
	(void)tls;
}

static const OSSL_PARAM *random_gettable(void *tls, void *provider)
{
	static const OSSL_PARAM known[] = {
		OSSL_PARAM_int(OSSL_RAND_PARAM_STATE, NULL),
		OSSL_PARAM_uint(OSSL_RAND_PARAM_STRENGTH, NULL),
		OSSL_PARAM_size_t(OSSL_RAND_PARAM_MAX_REQUEST, NULL),
		OSSL_PARAM_END,
	};

	(void)tls;
	(void)provider;
	return known;
}

static int random_get(void *tls, OSSL_PARAM params[])
{
	OSSL_PARAM *param;

	(void)tls;
	param = OSSL_PARAM_locate(params, OSSL_RAND_PARAM_STATE);
	if (param != NULL && !OSSL_PARAM_set_int(param, EVP_RAND_STATE_READY))
		return 0;
	param = OSSL_PARAM_locate(params, OSSL_RAND_PARAM_STRENGTH);
	if (param != NULL && !OSSL_PARAM_set_uint(param, STRENGTH))
		return 0;
	param = OSSL_PARAM_locate(params, OSSL_RAND_PARAM_MAX_REQUEST);
	return param == NULL || OSSL_PARAM_set_size_t(param, REQUEST_MAX);
}

#define CALL(id, function)                                                                         \
	{                                                                                          \
		OSSL_FUNC_RAND_##id, (void (*)(void))(function)                                    \
	}

static const OSSL_DISPATCH random_calls[] = {
	CALL(NEWCTX, random_new),
	CALL(FREECTX, random_free),
	CALL(INSTANTIATE, random_instantiate),
	CALL(UNINSTANTIATE, random_uninstantiate),
	CALL(GENERATE, random_generate),
	CALL(ENABLE_LOCKING, random_enable_locking),
	CALL(LOCK, random_lock),
	CALL(UNLOCK, random_unlock),
	CALL(GETTABLE_CTX_PARAMS, random_gettable),
	CALL(GET_CTX_PARAMS, random_get),
	{ 0, NULL },
};

static const OSSL_ALGORITHM *provider_query(void *provider, int operation, int *no_cache)
{
	static const OSSL_ALGORITHM generators[] = {
		{ "WEIR-RANDOM", "provider=weir-random", random_calls, NULL },
		{ NULL, NULL, NULL, NULL },
	};

	(void)provider;
	*no_cache = 0;
	return operation == OSSL_OP_RAND ? generators : NULL;
}

static const OSSL_DISPATCH provider_calls[] = {
	{ OSSL_FUNC_PROVIDER_QUERY_OPERATION, (void (*)(void))provider_query },
	{ 0, NULL },
};

static int provider_init(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in,
                         const OSSL_DISPATCH **out, void **provider)
{
	(void)handle;
	(void)in;
	assert(opening != NULL);
	*out = provider_calls;
	*provider = opening;
	return 1;
}

bool tls_random_open(struct stream_tls *tls)
{
	bool opened;

	assert(tls->options.random != NULL);
	opening = tls;
	opened = OSSL_PROVIDER_add_builtin(tls->library, "weir-random", provider_init) == 1 &&
	         (tls->random = OSSL_PROVIDER_load(tls->library, "weir-random")) != NULL &&
	         RAND_set_DRBG_type(tls->library, "WEIR-RANDOM", "provider=weir-random", NULL,
	                            NULL) == 1;
	opening = NULL;
	return opened;
}
