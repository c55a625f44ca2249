/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/conf.h"

static struct conf conf;

static int setup(void **state)
{
	(void)state;
	conf_init(&conf);
	return 0;
}

static enum status parse(const char *text)
{
	return conf_parse(&conf, bytes_of(text, strlen(text)), "weir.conf");
}

static void assert_error(const char *text, const char *error)
{
	conf_init(&conf);
	assert_int_equal(parse(text), STATUS_INVALID);
	assert_int_equal(conf.error_count, 1);
	assert_string_equal(conf.errors[0], error);
}

static void test_defaults(void **state)
{
	struct conf_cores cores;

	(void)state;
	assert_int_equal(conf.error_count, 0);
	assert_int_equal(conf_number(&conf, CONF_MEMORY), 256 << 20);
	assert_int_equal(conf_number(&conf, CONF_WORKERS_SPIN), 20000);
	assert_string_equal(conf_text(&conf, CONF_RESP_LISTEN), "127.0.0.1:6379");
	assert_false(conf_is_set(&conf, CONF_MEMORY));
	conf_cores(&conf, CONF_WORKERS_CORES, &cores);
	assert_int_equal(cores.count, 0);
}

static void test_file(void **state)
{
	struct conf_cores cores;

	(void)state;
	assert_int_equal(parse("# a server\n"
	                       "memory = 1.5G   # of 2\r\n"
	                       "\n"
	                       "[resp] ; Redis\n"
	                       "  listen=unix:/run/weir#1.sock\n"
	                       "password = \"a \\\"b\\\" # \\\\c\"  # quoted\n"
	                       "[workers]\n"
	                       "network_cores = 0-2,33\n"
	                       "pin = off\n"
	                       "spin = 1.5us\n"
	                       "profile = block\n"
	                       "[stack fast]\n"
	                       "layers = cache size=1G | uring path=/dev/nvme0n1"),
	                 STATUS_OK);
	assert_int_equal(conf_number(&conf, CONF_MEMORY), 1536ull << 20);
	assert_string_equal(conf_text(&conf, CONF_RESP_LISTEN), "unix:/run/weir#1.sock");
	assert_string_equal(conf_text(&conf, CONF_RESP_PASSWORD), "a \"b\" # \\c");
	conf_cores(&conf, CONF_WORKERS_NETWORK_CORES, &cores);
	assert_int_equal(cores.count, 4);
	assert_int_equal(cores.cores[3], 33);
	assert_int_equal(conf_number(&conf, CONF_WORKERS_PIN), 0);
	assert_int_equal(conf_number(&conf, CONF_WORKERS_SPIN), 1500);
	assert_int_equal(conf_number(&conf, CONF_WORKERS_PROFILE), 2);
	assert_true(conf_is_set(&conf, CONF_MEMORY));
	assert_int_equal(conf.stack_count, 1);
	assert_string_equal(conf.stacks[0].name, "fast");
	assert_string_equal(conf.stacks[0].layers, "cache size=1G | uring path=/dev/nvme0n1");
}

static void test_errors_name_place_key_and_what_is_allowed(void **state)
{
	(void)state;
	assert_error("\n\nmemory = 12Q\n",
	             "weir.conf:3: memory = 12Q: allowed: size in bytes, or with K, M, G or T, "
	             "16M to 64T");
	assert_error("memory = 1M\n",
	             "weir.conf:1: memory = 1M: allowed: size in bytes, or with K, M, G or T, "
	             "16M to 64T");
	assert_error(
	        "[resp]\nlisen = off\n",
	        "weir.conf:2: resp.lisen: there is no such setting; did you mean resp.listen?");
	assert_error("spin = 1us\n",
	             "weir.conf:1: spin: there is no such setting; did you mean workers.spin?");
	assert_error("colour = red\n", "weir.conf:1: colour: there is no such setting; "
	                               "weir serve --help-config lists all");
	assert_error(
	        "[workers]\nspin = 20\n",
	        "weir.conf:2: workers.spin = 20: allowed: duration with ns, us, ms, s, m or h, "
	        "0 to 1ms");
	assert_error("[workers]\ncores = 0-3,2\n",
	             "weir.conf:2: workers.cores = 0-3,2: core 2 is named twice");
	assert_error("[log]\nlevel = loud\n",
	             "weir.conf:2: log.level = loud: allowed: one of debug|info|warn|error");
	assert_error("memory = 1G\nmemory = 2G\n",
	             "weir.conf:2: memory is set twice, first in line 1");
	assert_error("[resp]\npassword = \"open\n",
	             "weir.conf:2: resp.password: a quoted value ends "
	             "in a quote, with nothing after it");
	assert_error("[resp\n", "weir.conf:1: a section is written [name], alone on its line");
	assert_error("memory\n", "weir.conf:1: neither [section] nor key = value: memory");
	assert_error("[stack a]\nsize = 1\n",
	             "weir.conf:2: stack a.size: a stack has the keys layers, export and "
	             "read_only");
	assert_error("\x01", "weir.conf:1: control characters: this is no text");
}

static void test_all_errors_are_told(void **state)
{
	(void)state;
	assert_int_equal(parse("a = 1\nmemory = 1G\nb = 2\n"), STATUS_INVALID);
	assert_int_equal(conf.error_count, 2);
	assert_int_equal(conf_number(&conf, CONF_MEMORY), 1 << 30);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(conf_set(&conf, "nonsense"), STATUS_INVALID);
	assert_int_equal(conf.error_count, 102);
}

static void test_later_sources_win(void **state)
{
	char *environment[] = { "HOME=/root", "WEIR_MEMORY=2G", "WEIR_RESP_LISTEN=off", NULL };

	(void)state;
	assert_int_equal(parse("memory = 1G\n[log]\nlevel = warn"), STATUS_OK);
	assert_int_equal(conf_environment(&conf, environment), STATUS_OK);
	assert_int_equal(conf_set(&conf, "resp.listen=127.0.0.1:0"), STATUS_OK);
	assert_int_equal(conf_set(&conf, "resp.listen=127.0.0.1:7000"), STATUS_OK);
	assert_int_equal(conf_number(&conf, CONF_MEMORY), 2ull << 30);
	assert_int_equal(conf_number(&conf, CONF_LOG_LEVEL), 2);
	assert_string_equal(conf_text(&conf, CONF_RESP_LISTEN), "127.0.0.1:7000");
}

static void test_environment_and_set_errors(void **state)
{
	char *environment[] = { "WEIR_RESP_LISEN=off", NULL };

	(void)state;
	assert_int_equal(conf_environment(&conf, environment), STATUS_INVALID);
	assert_string_equal(conf.errors[0],
	                    "environment: WEIR_RESP_LISEN: there is no such setting; "
	                    "did you mean WEIR_RESP_LISTEN?");
	assert_int_equal(conf_set(&conf, "memory"), STATUS_INVALID);
	assert_string_equal(conf.errors[1], "--set memory: written section.key=value");
	assert_int_equal(conf_set(&conf, "memroy=1G"), STATUS_INVALID);
	assert_string_equal(conf.errors[2],
	                    "--set memroy: there is no such setting; did you mean memory?");
}

static void test_addresses(void **state)
{
	static const struct {
		const char *text;
		int kind; /* -1: refused */
		const char *host;
		unsigned port;
		bool local;
	} cases[] = {
		{ "off", CONF_OFF, "", 0, true },
		{ "127.0.0.1:6379", CONF_IPV4, "127.0.0.1", 6379, true },
		{ "127.8.0.1:0", CONF_IPV4, "127.8.0.1", 0, true },
		{ "localhost:80", CONF_IPV4, "127.0.0.1", 80, true },
		{ "0.0.0.0:65535", CONF_IPV4, "0.0.0.0", 65535, false },
		{ "[::1]:1", CONF_IPV6, "::1", 1, true },
		{ "[::]:1", CONF_IPV6, "::", 1, false },
		{ "unix:/run/x", CONF_UNIX, "/run/x", 0, true },
		{ "unix:", -1, NULL, 0, false },
		{ "127.0.0.1", -1, NULL, 0, false },
		{ "127.0.0.1:65536", -1, NULL, 0, false },
		{ "127.0.0.1:-1", -1, NULL, 0, false },
		{ "127.0.0.1:80x", -1, NULL, 0, false },
		{ "::1:80", -1, NULL, 0, false },
		{ "[::1:80", -1, NULL, 0, false },
		{ "example.org:80", -1, NULL, 0, false },
		{ ":80", -1, NULL, 0, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct conf_address address;
		char text[128] = "resp.listen=";

		conf_init(&conf);
		memcpy(text + 12, cases[i].text, strlen(cases[i].text) + 1);
		if (conf_set(&conf, text) != STATUS_OK) {
			assert_int_equal(cases[i].kind, -1);
			continue;
		}
		conf_address(&conf, CONF_RESP_LISTEN, &address);
		assert_int_equal(address.kind, cases[i].kind);
		assert_string_equal(address.host, cases[i].host);
		assert_int_equal(address.port, cases[i].port);
		assert_int_equal(conf_address_is_local(&address), cases[i].local);
	}
}

static void test_numbers(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes; /* 0: refused */
	} cases[] = {
		{ "16777216", 16 << 20 },
		{ "64m", 64 << 20 },
		{ "64MB", 64 << 20 },
		{ "64MiB", 64 << 20 },
		{ "0.5G", 512 << 20 },
		{ "18446744073709551616", 0 },
		{ "99999999999T", 0 },
		{ "1.2345G", 0 },
		{ "-1G", 0 },
		{ " 1G", 0 },
		{ "0x10000000", 0 },
		{ "20000000.5", 0 },
		{ "", 0 },
		{ "G", 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[64] = "memory=";

		conf_init(&conf);
		memcpy(text + 7, cases[i].text, strlen(cases[i].text) + 1);
		if (cases[i].bytes == 0) {
			assert_int_equal(conf_set(&conf, text), STATUS_INVALID);
			continue;
		}
		assert_int_equal(conf_set(&conf, text), STATUS_OK);
		assert_int_equal(conf_number(&conf, CONF_MEMORY), cases[i].bytes);
	}
}

static void test_values_have_a_bound(void **state)
{
	static char line[6000];

	(void)state;
	memset(line, 'x', sizeof(line) - 1);
	memcpy(line, "storage.path=", 13);
	assert_int_equal(parse(line), STATUS_INVALID);
	assert_int_equal(conf_set(&conf, line), STATUS_INVALID);
	line[4000] = '\0';
	for (unsigned i = 0; i < 17; i++)
		(void)!conf_set(&conf, line);
	assert_int_equal(conf.error_count, 3);
	assert_string_equal(conf.errors[2],
	                    "--set all values together are larger than 65536 bytes");
	assert_int_equal(strlen(conf_text(&conf, CONF_STORAGE_PATH)), 4000 - 13);
}

static void test_every_setting_is_described(void **state)
{
	(void)state;
	for (unsigned i = 0; i < CONF_COUNT; i++) {
		char text[1024];
		size_t size = conf_describe(i, text, sizeof(text));

		assert_true(size > 40);
		assert_int_equal(strlen(text), size);
		assert_ptr_equal(strstr(text, conf_name(i)), text);
	}
}

/* The documents name every setting; they lie beside this file's directory. */
static void test_every_setting_is_in_the_documents(void **state)
{
	static const char *const documents[] = { "configuration.md", "man/weir.conf.5.scd" };
	static char text[1 << 16];

	(void)state;
	for (size_t d = 0; d < 2; d++) {
		const char *end = strrchr(__FILE__, '/');
		char path[512];
		FILE *file;

		assert_non_null(end);
		snprintf(path, sizeof(path), "%.*s/../docs/%s", (int)(end - __FILE__), __FILE__,
		         documents[d]);
		file = fopen(path, "r");
		if (file == NULL)
			skip(); /* run from somewhere else */
		text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
		fclose(file);
		for (unsigned i = 0; i < CONF_COUNT; i++) {
			char name[CONF_NAME_MAX + 3];

			snprintf(name, sizeof(name), d == 0 ? "`%s`" : "*%s*", conf_name(i));
			if (strstr(text, name) == NULL)
				fail_msg("%s does not name %s", path, name);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_defaults, setup),
		cmocka_unit_test_setup(test_file, setup),
		cmocka_unit_test_setup(test_errors_name_place_key_and_what_is_allowed, setup),
		cmocka_unit_test_setup(test_all_errors_are_told, setup),
		cmocka_unit_test_setup(test_later_sources_win, setup),
		cmocka_unit_test_setup(test_environment_and_set_errors, setup),
		cmocka_unit_test_setup(test_addresses, setup),
		cmocka_unit_test_setup(test_numbers, setup),
		cmocka_unit_test_setup(test_values_have_a_bound, setup),
		cmocka_unit_test_setup(test_every_setting_is_described, setup),
		cmocka_unit_test(test_every_setting_is_in_the_documents),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
