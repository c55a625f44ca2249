/* SPDX-License-Identifier: Apache-2.0 */
/* Pure: bytes in, values and errors out. Whoever calls has read the file. */
#include "core/conf.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <strings.h>

#include "base/assert.h"
#include "base/macros.h"
#include "core/conf_value.h"

static const struct conf_setting settings[] = {
#define X(id, name, type, initial, min, max, choices, live, help)                                  \
	{ name, CONF_##type, live, initial, min, max, choices, help },
	CONF_TABLE(X)
#undef X
};
_Static_assert(array_count(settings) == CONF_COUNT, "one row per setting");

/* Where an assignment stands, for messages. */
struct place {
	enum conf_source source;
	const char *file_name; /* CONF_FILE */
	unsigned line;
};

void conf_init(struct conf *conf)
{
	memset(conf, 0, sizeof(*conf));
	for (unsigned i = 0; i < CONF_COUNT; i++) {
		struct conf_value *value = &conf->values[i];
		char why[CONF_WHY_MAX];

		value->text = settings[i].initial;
		assert(strlen(settings[i].name) <= CONF_NAME_MAX);
		/* A default that is not allowed is a mistake in the table. */
		assert(conf_value_parse(&settings[i], value->text, &value->number, why));
	}
}

__attribute__((format(printf, 3, 4))) static void fail(struct conf *conf, const struct place *place,
                                                       const char *format, ...)
{
	char *out;
	va_list args;
	int size = 0;

	if (conf->error_count++ >= CONF_ERRORS_MAX)
		return;
	out = conf->errors[conf->error_count - 1];
	if (place->source == CONF_FILE)
		size = snprintf(out, CONF_ERROR_MAX, "%s:%u: ", place->file_name, place->line);
	else if (place->source == CONF_SET)
		size = snprintf(out, CONF_ERROR_MAX, "--set ");
	assert(size >= 0);
	if (size >= CONF_ERROR_MAX)
		size = CONF_ERROR_MAX - 1;
	va_start(args, format);
	vsnprintf(out + size, CONF_ERROR_MAX - (size_t)size, format, args);
	va_end(args);
}

/* Levenshtein's, in one row; both names are at most CONF_NAME_MAX long. */
static unsigned distance(const char *a, const char *b)
{
	unsigned row[CONF_NAME_MAX + 1];
	size_t b_size = strlen(b);

	assert(b_size <= CONF_NAME_MAX);
	for (unsigned j = 0; j <= b_size; j++)
		row[j] = j;
	for (unsigned i = 0; a[i] != '\0'; i++) {
		unsigned corner = row[0];

		row[0] = i + 1;
		for (unsigned j = 0; j < b_size; j++) {
			unsigned change = corner + (a[i] != b[j]);
			unsigned least = row[j] < row[j + 1] ? row[j] + 1 : row[j + 1] + 1;

			corner = row[j + 1];
			row[j + 1] = change < least ? change : least;
		}
	}
	return row[b_size];
}

/* The setting that was most likely meant; CONF_COUNT: none is near. */
static unsigned nearest(const char *name)
{
	const char *last = strrchr(name, '.');
	unsigned best = CONF_COUNT, best_distance = 0;

	for (unsigned i = 0; i < CONF_COUNT; i++) {
		const char *key = strrchr(settings[i].name, '.');
		unsigned d = distance(name, settings[i].name);

		/* The right key in another section, or in none, is near too. */
		if (key != NULL && strcmp(key + 1, last == NULL ? name : last + 1) == 0)
			d = d < 2 ? d : 2;
		if (best == CONF_COUNT || d < best_distance) {
			best = i;
			best_distance = d;
		}
	}
	return best_distance <= 2 || best_distance <= strlen(name) / 3 ? best : CONF_COUNT;
}

static void fail_unknown(struct conf *conf, const struct place *place, const char *name)
{
	unsigned guess = nearest(name);

	if (guess < CONF_COUNT)
		fail(conf, place, "%s: there is no such setting; did you mean %s?", name,
		     settings[guess].name);
	else
		fail(conf, place,
		     "%s: there is no such setting; weir serve --help-config lists all", name);
}

/* Copies a value to where it stays; NULL, with an error: no room. */
static const char *keep(struct conf *conf, const struct place *place, const char *text)
{
	size_t size = strlen(text) + 1;
	char *kept = &conf->text[conf->text_size];

	if (size > CONF_TEXT_MAX - conf->text_size) {
		fail(conf, place, "all values together are larger than %d bytes", CONF_TEXT_MAX);
		return NULL;
	}
	memcpy(kept, text, size);
	conf->text_size += size;
	return kept;
}

static void assign(struct conf *conf, const struct place *place, enum conf_id id, const char *text)
{
	struct conf_value *value = &conf->values[id];
	const struct conf_setting *setting = &settings[id];
	char why[CONF_WHY_MAX];
	uint64_t number;
	const char *kept;

	if (value->source == place->source && place->source == CONF_FILE) {
		fail(conf, place, "%s is set twice, first in line %u", setting->name, value->line);
		return;
	}
	if (!conf_value_parse(setting, text, &number, why)) {
		fail(conf, place, "%s = %.64s%s: %s", setting->name, text,
		     strlen(text) > 64 ? "..." : "", why);
		return;
	}
	kept = keep(conf, place, text);
	if (kept == NULL)
		return;
	*value = (struct conf_value){
		.text = kept, .number = number, .source = place->source, .line = place->line
	};
}

/* The stack of that name, made if it is new; NULL after an error. */
static struct conf_stack *find_stack(struct conf *conf, const struct place *place, const char *name,
                                     size_t size)
{
	struct conf_stack *stack;

	for (unsigned i = 0; i < conf->stack_count; i++) {
		stack = &conf->stacks[i];
		if (strlen(stack->name) == size && memcmp(stack->name, name, size) == 0)
			return stack;
	}
	if (conf->stack_count == CONF_STACKS_MAX) {
		fail(conf, place, "more than %d stacks", CONF_STACKS_MAX);
		return NULL;
	}
	stack = &conf->stacks[conf->stack_count++];
	memcpy(stack->name, name, size);
	stack->name[size] = '\0';
	stack->line = place->line;
	return stack;
}

static void assign_layers(struct conf *conf, const struct place *place, struct conf_stack *stack,
                          const char *text)
{
	if (stack->layers != NULL)
		fail(conf, place, "stack %s is there twice", stack->name);
	else if (text[0] == '\0')
		fail(conf, place, "stack %s: a stack needs layers", stack->name);
	else
		stack->layers = keep(conf, place, text);
}

static void assign_stack(struct conf *conf, const struct place *place, const char *name,
                         const char *text)
{
	static const struct conf_setting flag = { .name = "flag", .type = CONF_BOOLEAN, .max = 1 };
	const char *dot = strrchr(name, '.');
	size_t size = dot == NULL ? 0 : (size_t)(dot - name);
	const char *key = dot == NULL ? "" : dot + 1;
	struct conf_stack *stack;
	char why[CONF_WHY_MAX];
	uint64_t number = 0;

	if (strcmp(key, "layers") != 0 && strcmp(key, "export") != 0 &&
	    strcmp(key, "read_only") != 0) {
		fail(conf, place, "stack %s: a stack has the keys layers, export and read_only",
		     name);
		return;
	}
	if (size == 0) {
		fail(conf, place, "stack %s: a stack needs a name", name);
		return;
	}
	stack = find_stack(conf, place, name, size);
	if (stack == NULL)
		return;
	if (key[0] == 'l') {
		assign_layers(conf, place, stack, text);
		return;
	}
	if (!conf_value_parse(&flag, text, &number, why))
		fail(conf, place, "stack %s = %.64s: %s", name, text, why);
	*(key[0] == 'e' ? &stack->exported : &stack->read_only) = number != 0;
}

static void assign_name(struct conf *conf, const struct place *place, const char *name,
                        const char *text)
{
	if (strncmp(name, "stack ", 6) == 0) {
		assign_stack(conf, place, name + 6, text);
		return;
	}
	for (unsigned i = 0; i < CONF_COUNT; i++) {
		if (strcmp(settings[i].name, name) == 0) {
			assign(conf, place, i, text);
			return;
		}
	}
	fail_unknown(conf, place, name);
}

/* One line of a file, without its end, as the parser goes through it. */
struct reader {
	struct conf *conf;
	struct place place;
	char section[CONF_NAME_MAX + 1];
	char line[CONF_VALUE_MAX + CONF_NAME_MAX + 8];
};

static void read_section(struct reader *r, char *text)
{
	char *end = strchr(text, ']');
	char *after = end == NULL ? NULL : conf_trim(end + 1);
	char *name;

	if (end == NULL || (after[0] != '\0' && after[0] != '#' && after[0] != ';')) {
		fail(r->conf, &r->place, "a section is written [name], alone on its line");
		return;
	}
	*end = '\0';
	name = conf_trim(text + 1);
	if (name[0] == '\0' || strlen(name) > CONF_NAME_MAX) {
		fail(r->conf, &r->place, "a section's name has 1 to %d characters", CONF_NAME_MAX);
		return;
	}
	memcpy(r->section, name, strlen(name) + 1);
}

static void read_line(struct reader *r)
{
	char name[CONF_NAME_MAX + 1];
	char *text = conf_trim(r->line), *equals, *key;
	int size;

	if (text[0] == '\0' || text[0] == '#' || text[0] == ';')
		return;
	if (text[0] == '[') {
		read_section(r, text);
		return;
	}
	equals = strchr(text, '=');
	if (equals == NULL) {
		fail(r->conf, &r->place, "neither [section] nor key = value: %.64s", text);
		return;
	}
	*equals = '\0';
	key = conf_trim(text);
	size = snprintf(name, sizeof(name), "%s%s%s", r->section, r->section[0] ? "." : "", key);
	if (key[0] == '\0' || size > CONF_NAME_MAX) {
		fail(r->conf, &r->place, "a key has 1 to %d characters, with its section",
		     CONF_NAME_MAX);
		return;
	}
	text = conf_trim(equals + 1);
	if (!conf_unquote(text)) {
		fail(r->conf, &r->place,
		     "%s: a quoted value ends in a quote, with nothing after it", name);
		return;
	}
	assign_name(r->conf, &r->place, name, text);
}

enum status conf_parse(struct conf *conf, struct bytes text, const char *file_name)
{
	struct reader r = { .conf = conf, .place = { CONF_FILE, file_name, 0 } };
	unsigned errors = conf->error_count;
	size_t at = 0;

	if (text.size > CONF_FILE_MAX) {
		fail(conf, &r.place, "larger than %d bytes", CONF_FILE_MAX);
		return STATUS_INVALID;
	}
	while (at < text.size) {
		const uint8_t *start = text.data + at;
		const uint8_t *end = memchr(start, '\n', text.size - at);
		size_t size = end == NULL ? text.size - at : (size_t)(end - start);

		at += size + 1;
		r.place.line++;
		if (size >= sizeof(r.line)) {
			fail(conf, &r.place, "longer than %zu bytes", sizeof(r.line) - 1);
			continue;
		}
		memcpy(r.line, start, size);
		r.line[size] = '\0';
		if (!conf_is_text(r.line, size)) {
			fail(conf, &r.place, "control characters: this is no text");
			continue;
		}
		read_line(&r);
	}
	return conf->error_count == errors ? STATUS_OK : STATUS_INVALID;
}

enum status conf_set(struct conf *conf, const char *assignment)
{
	const struct place place = { .source = CONF_SET };
	const char *equals = strchr(assignment, '=');
	unsigned errors = conf->error_count;
	char name[CONF_NAME_MAX + 1];

	if (equals == NULL || equals == assignment || equals - assignment > CONF_NAME_MAX) {
		fail(conf, &place, "%.64s: written section.key=value", assignment);
		return STATUS_INVALID;
	}
	memcpy(name, assignment, (size_t)(equals - assignment));
	name[equals - assignment] = '\0';
	if (!conf_is_text(assignment, strlen(assignment)))
		fail(conf, &place, "%s: control characters", conf_trim(name));
	else
		assign_name(conf, &place, conf_trim(name), equals + 1);
	return conf->error_count == errors ? STATUS_OK : STATUS_INVALID;
}

/* WEIR_RESP_LISTEN for resp.listen. */
static void variable_of(const char *name, char *out)
{
	size_t i;

	memcpy(out, "WEIR_", 5);
	for (i = 0; name[i] != '\0'; i++) {
		char c = name[i];

		out[5 + i] = (char)(c == '.' ? '_' : c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
	}
	out[5 + i] = '\0';
}

static void assign_variable(struct conf *conf, const char *variable, size_t name_size)
{
	const struct place place = { .source = CONF_ENVIRONMENT };
	char name[CONF_NAME_MAX + 6], guess[CONF_NAME_MAX + 1];
	size_t size = name_size < sizeof(guess) ? name_size : sizeof(guess) - 1;
	unsigned id;

	for (id = 0; id < CONF_COUNT; id++) {
		variable_of(settings[id].name, name);
		if (strlen(name) == name_size && memcmp(name, variable, name_size) == 0)
			break;
	}
	if (id < CONF_COUNT) {
		assign(conf, &place, id, variable + name_size + 1);
		return;
	}
	/* As a setting's name, so that the nearest one is found. */
	for (size_t i = 5; i < size; i++) {
		char c = variable[i];

		guess[i - 5] = (char)(c == '_' ? '.' : c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
	}
	guess[size < 5 ? 0 : size - 5] = '\0';
	id = nearest(guess);
	if (id < CONF_COUNT)
		variable_of(settings[id].name, name);
	fail(conf, &place, "environment: %.*s: there is no such setting; %s%s%s", (int)name_size,
	     variable, id < CONF_COUNT ? "did you mean " : "weir serve --help-config lists all",
	     id < CONF_COUNT ? name : "", id < CONF_COUNT ? "?" : "");
}

enum status conf_environment(struct conf *conf, char *const *environment)
{
	unsigned errors = conf->error_count;

	for (; *environment != NULL; environment++) {
		const char *equals = strchr(*environment, '=');

		if (equals == NULL || strncmp(*environment, "WEIR_", 5) != 0)
			continue;
		assign_variable(conf, *environment, (size_t)(equals - *environment));
	}
	return conf->error_count == errors ? STATUS_OK : STATUS_INVALID;
}

const char *conf_text(const struct conf *conf, enum conf_id id)
{
	assert(id < CONF_COUNT);
	return conf->values[id].text;
}

uint64_t conf_number(const struct conf *conf, enum conf_id id)
{
	assert(id < CONF_COUNT);
	assert(settings[id].type <= CONF_BOOLEAN || settings[id].type == CONF_CHOICE);
	return conf->values[id].number;
}

bool conf_is_set(const struct conf *conf, enum conf_id id)
{
	assert(id < CONF_COUNT);
	return conf->values[id].source != CONF_DEFAULT;
}

void conf_address(const struct conf *conf, enum conf_id id, struct conf_address *address)
{
	bool parsed;

	assert(settings[id].type == CONF_ADDRESS);
	parsed = conf_address_parse(conf->values[id].text, address);
	assert(parsed); /* it was checked when it was set */
}

void conf_cores(const struct conf *conf, enum conf_id id, struct conf_cores *cores)
{
	char why[CONF_WHY_MAX];
	bool parsed;

	assert(settings[id].type == CONF_CORES);
	parsed = conf_cores_parse(conf->values[id].text, cores, why);
	assert(parsed); /* it was checked when it was set */
}

const char *conf_name(enum conf_id id)
{
	assert(id < CONF_COUNT);
	return settings[id].name;
}

size_t conf_describe(enum conf_id id, char *out, size_t out_max)
{
	const struct conf_setting *s = &settings[id];
	char allowed[CONF_WHY_MAX];
	int size;

	assert(id < CONF_COUNT);
	conf_value_allowed(s, allowed);
	size = snprintf(out, out_max, "%s = %s\n    %s; %s\n    %s\n", s->name, s->initial, allowed,
	                s->live ? "can change while the server runs" : "read at start", s->help);
	assert(size > 0 && (size_t)size < out_max);
	return (size_t)size;
}
