/* SPDX-License-Identifier: Apache-2.0 */
/* The values of settings as text: how each type is written, and what is wrong with it. */
#ifndef CORE_CONF_VALUE_H
#define CORE_CONF_VALUE_H

#include "core/conf.h"

enum { CONF_WHY_MAX = 256 };

struct conf_setting {
	const char *name;
	enum conf_type type;
	bool live;
	const char *initial;
	uint64_t min, max;   /* of a string: bytes */
	const char *choices; /* "a|b|c" */
	const char *help;
};

/* False: `why` tells what is allowed instead, in CONF_WHY_MAX bytes. */
bool conf_value_parse(const struct conf_setting *setting, const char *text, uint64_t *number,
                      char *why);

/* "size in bytes, with K, M, G or T, 16M to 64T": what may be written, in CONF_WHY_MAX bytes. */
void conf_value_allowed(const struct conf_setting *setting, char *out);

bool conf_address_parse(const char *text, struct conf_address *address);
bool conf_cores_parse(const char *text, struct conf_cores *cores, char *why);

char *conf_trim(char *text);   /* without the blanks around it, in place */
bool conf_unquote(char *text); /* takes off quotes and a comment; false: a quote is open */
bool conf_is_text(const char *text, size_t size); /* no control characters but tab and return */

#endif
