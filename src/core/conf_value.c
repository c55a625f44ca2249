/* SPDX-License-Identifier: Apache-2.0 */
#include "core/conf_value.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <strings.h>

#include "base/assert.h"
#include "base/macros.h"

struct unit {
	const char *suffix;
	uint64_t factor;
};

static const struct unit sizes[] = {
	{ "T", 1ull << 40 }, { "G", 1ull << 30 }, { "M", 1ull << 20 },
	{ "K", 1ull << 10 }, { "", 1 },
};

static const struct unit durations[] = {
	{ "h", 3600000000000 }, { "m", 60000000000 }, { "s", 1000000000 },
	{ "ms", 1000000 },      { "us", 1000 },       { "ns", 1 },
};

/* Digits only, so neither sign, space nor another base; false: none, or too large. */
static bool parse_digits(const char **text, uint64_t *value)
{
	const char *at = *text;

	*value = 0;
	for (; *at >= '0' && *at <= '9'; at++) {
		if (*value > (UINT64_MAX - 9) / 10)
			return false;
		*value = *value * 10 + (uint64_t)(*at - '0');
	}
	if (at == *text)
		return false;
	*text = at;
	return true;
}

/* A number, at most 3 decimals and a unit; what the decimals stand for must be whole. */
static bool parse_scaled(const char *text, const struct unit *units, size_t count, uint64_t *value)
{
	uint64_t whole, part = 0, scale = 1;
	const char *start;

	if (!parse_digits(&text, &whole))
		return false;
	if (*text == '.') {
		start = ++text;
		if (!parse_digits(&text, &part) || text - start > 3)
			return false;
		for (; start < text; start++)
			scale *= 10;
	}
	for (size_t i = 0; i < count; i++) {
		uint64_t factor = units[i].factor;

		if (strcasecmp(text, units[i].suffix) != 0)
			continue;
		if (whole > UINT64_MAX / factor - 1 || (part != 0 && factor == 1))
			return false;
		*value = whole * factor + part * factor / scale;
		return true;
	}
	return false;
}

static bool parse_size(const char *text, uint64_t *value)
{
	char plain[32];
	size_t size = strlen(text);

	/* 1GiB, 1GB and 1G are the same here. */
	if (size >= sizeof(plain))
		return false;
	memcpy(plain, text, size + 1);
	if (size > 1 && strchr("Bb", plain[size - 1]) != NULL)
		plain[--size] = '\0';
	if (size > 1 && plain[size - 1] == 'i')
		plain[--size] = '\0';
	return parse_scaled(plain, sizes, array_count(sizes), value);
}

static bool parse_duration(const char *text, uint64_t *value)
{
	*value = 0;
	return strcmp(text, "0") == 0 ||
	       parse_scaled(text, durations, array_count(durations), value);
}

static bool parse_boolean(const char *text, uint64_t *value)
{
	static const char *const words[] = { "no", "yes", "off", "on", "false", "true", "0", "1" };

	for (unsigned i = 0; i < array_count(words); i++) {
		if (strcasecmp(text, words[i]) == 0) {
			*value = i & 1;
			return true;
		}
	}
	return false;
}

static bool parse_choice(const char *choices, const char *text, uint64_t *value)
{
	size_t size = strlen(text);

	for (*value = 0; size > 0; ++*value) {
		const char *end = strchr(choices, '|');
		size_t choice = end == NULL ? strlen(choices) : (size_t)(end - choices);

		if (choice == size && memcmp(choices, text, size) == 0)
			return true;
		if (end == NULL)
			break;
		choices = end + 1;
	}
	return false;
}

bool conf_address_parse(const char *text, struct conf_address *address)
{
	const char *colon = strrchr(text, ':');
	unsigned char binary[16];
	uint64_t port;
	size_t size;

	*address = (struct conf_address){ .kind = CONF_OFF };
	if (strcmp(text, "off") == 0)
		return true;
	if (strncmp(text, "unix:", 5) == 0) {
		size = strlen(text + 5);
		if (size == 0 || size >= sizeof(address->host))
			return false;
		address->kind = CONF_UNIX;
		memcpy(address->host, text + 5, size + 1);
		return true;
	}
	if (colon == NULL || (size_t)(colon - text) >= sizeof(address->host))
		return false;
	size = (size_t)(colon - text);
	colon++;
	if (!parse_digits(&colon, &port) || *colon != '\0' || port > UINT16_MAX)
		return false;
	address->port = (uint16_t)port;
	if (size > 2 && text[0] == '[' && text[size - 1] == ']') {
		address->kind = CONF_IPV6;
		memcpy(address->host, text + 1, size - 2);
		return inet_pton(AF_INET6, address->host, binary) == 1;
	}
	address->kind = CONF_IPV4;
	if (size == 9 && memcmp(text, "localhost", 9) == 0)
		memcpy(address->host, "127.0.0.1", 10);
	else
		memcpy(address->host, text, size);
	return inet_pton(AF_INET, address->host, binary) == 1;
}

bool conf_wants_tls(const struct conf *conf)
{
	static const enum conf_id listens[] = { CONF_RESP_TLS_LISTEN, CONF_HTTP_TLS_LISTEN,
		                                CONF_S3_TLS_LISTEN };
	struct conf_address address;
	bool wanted = false;

	for (size_t i = 0; i < array_count(listens); i++) {
		conf_address(conf, listens[i], &address);
		wanted |= address.kind != CONF_OFF;
	}
	return wanted;
}

bool conf_address_is_local(const struct conf_address *address)
{
	switch (address->kind) {
	case CONF_OFF:
	case CONF_UNIX:
		return true;
	case CONF_IPV4:
		return strncmp(address->host, "127.", 4) == 0;
	case CONF_IPV6:
		return strcmp(address->host, "::1") == 0;
	}
	unreachable();
}

bool conf_cores_parse(const char *text, struct conf_cores *cores, char *why)
{
	cores->count = 0;
	if (*text == '\0')
		return true;
	for (;;) {
		uint64_t first, last;

		snprintf(why, CONF_WHY_MAX, "written 0-3,8");
		if (!parse_digits(&text, &first) || first > UINT16_MAX)
			return false;
		last = first;
		if (*text == '-') {
			text++;
			if (!parse_digits(&text, &last) || last > UINT16_MAX || last < first)
				return false;
		}
		for (uint64_t core = first; core <= last; core++) {
			for (unsigned i = 0; i < cores->count; i++) {
				if (cores->cores[i] != core)
					continue;
				snprintf(why, CONF_WHY_MAX, "core %" PRIu64 " is named twice",
				         core);
				return false;
			}
			if (cores->count == CONF_CORES_MAX) {
				snprintf(why, CONF_WHY_MAX, "more than %d cores", CONF_CORES_MAX);
				return false;
			}
			cores->cores[cores->count++] = (uint16_t)core;
		}
		if (*text == '\0')
			return true;
		if (*text++ != ',')
			return false;
	}
}

static void put_scaled(char *out, size_t max, uint64_t value, enum conf_type type)
{
	const struct unit *units = type == CONF_SIZE ? sizes : durations;
	size_t count = type == CONF_SIZE ? array_count(sizes) : array_count(durations);

	for (size_t i = 0; i < count; i++) {
		if (value != 0 && value % units[i].factor == 0) {
			snprintf(out, max, "%" PRIu64 "%s", value / units[i].factor,
			         units[i].suffix);
			return;
		}
	}
	snprintf(out, max, "%" PRIu64, value);
}

void conf_value_allowed(const struct conf_setting *s, char *out)
{
	char min[32], max[32];

	switch (s->type) {
	case CONF_SIZE:
	case CONF_DURATION:
		put_scaled(min, sizeof(min), s->min, s->type);
		put_scaled(max, sizeof(max), s->max, s->type);
		snprintf(out, CONF_WHY_MAX, "%s, %s to %s",
		         s->type == CONF_SIZE ? "size in bytes, or with K, M, G or T"
		                              : "duration with ns, us, ms, s, m or h",
		         min, max);
		return;
	case CONF_INTEGER:
		snprintf(out, CONF_WHY_MAX, "integer, %" PRIu64 " to %" PRIu64, s->min, s->max);
		return;
	case CONF_BOOLEAN:
		snprintf(out, CONF_WHY_MAX, "boolean, yes or no");
		return;
	case CONF_STRING:
		snprintf(out, CONF_WHY_MAX, "text, %" PRIu64 " to %" PRIu64 " bytes", s->min,
		         s->max);
		return;
	case CONF_ADDRESS:
		snprintf(out, CONF_WHY_MAX,
		         "address, 127.0.0.1:PORT, [::1]:PORT, unix:PATH or off");
		return;
	case CONF_CHOICE:
		snprintf(out, CONF_WHY_MAX, "one of %s", s->choices);
		return;
	case CONF_CORES:
		snprintf(out, CONF_WHY_MAX, "list of cores, 0-3,8");
		return;
	case CONF_TYPES:
		break;
	}
	unreachable();
}

static bool parse_typed(const struct conf_setting *s, const char *text, uint64_t *number, char *why)
{
	struct conf_address address;
	struct conf_cores cores;

	switch (s->type) {
	case CONF_SIZE:
		return parse_size(text, number);
	case CONF_DURATION:
		return parse_duration(text, number);
	case CONF_INTEGER:
		return parse_digits(&text, number) && *text == '\0';
	case CONF_BOOLEAN:
		return parse_boolean(text, number);
	case CONF_STRING:
		*number = strlen(text);
		return true;
	case CONF_ADDRESS:
		return conf_address_parse(text, &address);
	case CONF_CHOICE:
		return parse_choice(s->choices, text, number);
	case CONF_CORES:
		return conf_cores_parse(text, &cores, why);
	case CONF_TYPES:
		break;
	}
	unreachable();
}

bool conf_value_parse(const struct conf_setting *s, const char *text, uint64_t *number, char *why)
{
	bool ranged = s->type != CONF_ADDRESS && s->type != CONF_CHOICE && s->type != CONF_CORES;
	char allowed[CONF_WHY_MAX];

	*number = 0;
	why[0] = '\0';
	if (strlen(text) <= CONF_VALUE_MAX && parse_typed(s, text, number, why) &&
	    (!ranged || (*number >= s->min && *number <= s->max)))
		return true;
	if (why[0] == '\0') {
		conf_value_allowed(s, allowed);
		snprintf(why, CONF_WHY_MAX, "allowed: %.200s", allowed);
	}
	return false;
}

char *conf_trim(char *text)
{
	size_t size;

	while (*text == ' ' || *text == '\t')
		text++;
	size = strlen(text);
	while (size > 0 && strchr(" \t\r", text[size - 1]) != NULL)
		size--;
	text[size] = '\0';
	return text;
}

bool conf_unquote(char *text)
{
	char *to = text;

	if (*text != '"') {
		/* A comment needs a blank before it, so that a # may stand in a value. */
		for (; *text != '\0'; text++) {
			if ((*text == '#' || *text == ';') &&
			    (text == to || text[-1] == ' ' || text[-1] == '\t')) {
				*text = '\0';
				break;
			}
		}
		conf_trim(to);
		return true;
	}
	for (text++; *text != '"'; text++) {
		if (*text == '\\' && (text[1] == '"' || text[1] == '\\'))
			text++;
		if (*text == '\0')
			return false;
		*to++ = *text;
	}
	text = conf_trim(text + 1);
	*to = '\0';
	return *text == '\0' || *text == '#' || *text == ';';
}

bool conf_is_text(const char *text, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		unsigned char c = (unsigned char)text[i];

		if ((c < ' ' && c != '\t' && c != '\r') || c == 0x7f)
			return false;
	}
	return true;
}
