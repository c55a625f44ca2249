/* SPDX-License-Identifier: Apache-2.0 */
/* Users, and whether they may do what they ask for. */
#include "server/resp_acl.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/macros.h"
#include "server/glob.h"

enum { LOG_GROUP_MS = 60000 }; /* denials alike within it are one entry */

const char *const acl_category_names[ACL_CATEGORY_COUNT] = {
	"keyspace", "read",   "write",       "set",       "sortedset",  "list",        "hash",
	"string",   "bitmap", "hyperloglog", "geo",       "stream",     "pubsub",      "admin",
	"fast",     "slow",   "blocking",    "dangerous", "connection", "transaction", "scripting",
};

uint32_t acl_category_find(struct bytes name)
{
	for (uint32_t i = 0; i < ACL_CATEGORY_COUNT; i++) {
		if (resp_word_is(name, acl_category_names[i]))
			return 1u << i;
	}
	return 0;
}

uint32_t acl_categories(const struct resp_command *command)
{
	uint32_t acl = command->acl, flags = command->flags;

	if (flags & RESP_WRITE)
		acl |= RESP_ACL_WRITE;
	if ((flags & RESP_READONLY) && !(acl & RESP_ACL_SCRIPTING))
		acl |= RESP_ACL_READ;
	if (flags & RESP_ADMIN)
		acl |= RESP_ACL_ADMIN | RESP_ACL_DANGEROUS;
	if (flags & RESP_PUBSUB)
		acl |= RESP_ACL_PUBSUB;
	if (flags & RESP_FAST)
		acl |= RESP_ACL_FAST;
	if (flags & RESP_BLOCKING)
		acl |= RESP_ACL_BLOCKING;
	return acl & RESP_ACL_FAST ? acl : acl | RESP_ACL_SLOW;
}

static void add_command(struct resp_acl *acl, const struct resp_command *command)
{
	assert(acl->command_count < ACL_COMMANDS_MAX);
	acl->docs[acl->command_count] =
	        resp_doc_find(bytes_of(command->name, strlen(command->name)));
	acl->commands[acl->command_count++] = command;
}

/* Ids: a command, its subcommands, the next command. */
static void number_commands(struct resp_acl *acl)
{
	for (uint32_t i = 0; i < resp_command_count(); i++) {
		const struct resp_command *command = resp_command_at(i);

		assert(i < array_count(acl->ids));
		acl->ids[i] = (uint16_t)acl->command_count;
		add_command(acl, command);
		for (uint32_t s = 0; s < command->subcommand_count; s++)
			add_command(acl, &command->subcommands[s]);
	}
}

uint32_t acl_command_id(const struct resp_acl *acl, uint32_t index,
                        const struct resp_command *command)
{
	const struct resp_command *parent = resp_command_at(index);
	uint32_t id = acl->ids[index];

	if (command != parent)
		id += 1 + (uint32_t)(command - parent->subcommands);
	assert(acl->commands[id] == command);
	return id;
}

const struct resp_command *acl_command_find(const struct resp_acl *acl, struct bytes name,
                                            uint32_t *ret_id)
{
	for (uint32_t id = 0; id < acl->command_count; id++) {
		if (!resp_word_is(name, acl->commands[id]->name))
			continue;
		*ret_id = id;
		return acl->commands[id];
	}
	return NULL;
}

size_t acl_memory(uint32_t user_max)
{
	return (user_max + 1) * sizeof(struct resp_user) + user_max * sizeof(struct resp_user *) +
	       ACL_LOG_MAX * sizeof(struct acl_log_entry) +
	       2 * (size_t)ACL_SELECTORS_MAX * sizeof(struct acl_selector);
}

enum status acl_open(struct resp_acl *acl, uint32_t user_max)
{
	const struct bytes all[] = { BYTES("+@all"), BYTES("~*"), BYTES("&*"), BYTES("on"),
		                     BYTES("nopass") };
	struct acl_rules rules = { .words = all, .count = array_count(all) };
	const char *error;

	assert(user_max >= 1);
	*acl = (struct resp_acl){ .user_max = user_max, .log_max = ACL_LOG_MAX };
	acl->users = calloc(user_max + 1, sizeof(*acl->users));
	acl->sorted = calloc(user_max, sizeof(struct resp_user *));
	acl->log = calloc(ACL_LOG_MAX, sizeof(*acl->log));
	acl->selectors = calloc(2 * ACL_SELECTORS_MAX, sizeof(*acl->selectors));
	if (!acl->users || !acl->sorted || !acl->selectors || !acl->log ||
	    !digest_open(&acl->sha256, DIGEST_SHA256)) {
		acl_close(acl);
		return STATUS_NO_SPACE;
	}
	number_commands(acl);
	for (unsigned i = 2 * ACL_SELECTORS_MAX; i-- > 0;) {
		acl->selectors[i].next = acl->selectors_free;
		acl->selectors_free = &acl->selectors[i];
	}
	error = acl_user_set(acl, BYTES("default"), &rules);
	assert(error == NULL);
	acl->default_user = acl_user_find(acl, BYTES("default"));
	assert(acl->default_user != NULL);
	return STATUS_OK;
}

void acl_close(struct resp_acl *acl)
{
	if (acl->sha256.context != NULL)
		digest_close(&acl->sha256);
	free(acl->users);
	free(acl->sorted);
	free(acl->selectors);
	free(acl->log);
	*acl = (struct resp_acl){ 0 };
}

static struct bytes name_of(const struct resp_user *user)
{
	return bytes_of(user->name, user->name_size);
}

struct resp_user *acl_user_find(const struct resp_acl *acl, struct bytes name)
{
	for (uint32_t i = 0; i < acl->user_count; i++) {
		if (bytes_equal(name_of(acl->sorted[i]), name))
			return acl->sorted[i];
	}
	return NULL;
}

void acl_set_default_password(struct resp_acl *acl, struct bytes password)
{
	struct resp_user *user = acl->default_user;

	memset(user->passwords, 0, sizeof(user->passwords));
	user->password_count = 0;
	user->nopass = password.size == 0;
	if (!user->nopass)
		digest_of(&acl->sha256, password, user->passwords[user->password_count++]);
}

struct resp_user *acl_authenticate(struct resp_acl *acl, struct bytes name, struct bytes password)
{
	static const uint8_t none[SHA256_SIZE];
	struct resp_user *user = acl_user_find(acl, name);
	uint8_t hash[SHA256_SIZE];
	bool equal = false;

	digest_of(&acl->sha256, password, hash);
	for (uint32_t i = 0; i < ACL_PASSWORDS_MAX; i++) {
		bool used = user != NULL && i < user->password_count;
		const uint8_t *other = used ? user->passwords[i] : none;

		equal |= digest_equal(bytes_of(other, SHA256_SIZE), bytes_of(hash, SHA256_SIZE)) &&
		         used;
	}
	if (user == NULL || !user->enabled || !(user->nopass || equal)) {
		acl->denied_auth++;
		return NULL;
	}
	return user;
}

static bool has_bit(const uint64_t *bits, uint32_t id)
{
	assert(id < ACL_COMMANDS_MAX);
	return bits[id / 64] >> (id % 64) & 1;
}

/* Whether the rules have "+name|word", in lower case. */
static bool names_first(const struct acl_selector *selector, const char *name, struct bytes word)
{
	size_t name_size = strlen(name), at = 0;

	while (at < selector->rules_used) {
		const char *rule = selector->rules + at;
		const char *end = memchr(rule, ' ', selector->rules_used - at);
		size_t size = end != NULL ? (size_t)(end - rule) : selector->rules_used - at;
		char first[ACL_COMMAND_NAME_MAX];

		at += size + 1;
		if (size < name_size + 2 || size >= sizeof(first) || rule[0] != '+' ||
		    memcmp(rule + 1, name, name_size) != 0 || rule[name_size + 1] != '|')
			continue;
		memcpy(first, rule + name_size + 2, size - name_size - 2);
		first[size - name_size - 2] = '\0';
		if (resp_word_is(word, first))
			return true;
	}
	return false;
}

static bool may_run(const struct resp_acl *acl, const struct acl_selector *selector, uint32_t id,
                    struct resp_words words)
{
	if (has_bit(selector->allowed, id))
		return true;
	return has_bit(selector->by_first, id) && words.argc > 1 &&
	       names_first(selector, acl->commands[id]->name, words.argv[1]);
}

static struct bytes pattern_of(const struct acl_selector *selector,
                               const struct acl_pattern *pattern)
{
	assert(pattern->start + pattern->size <= selector->text_used);
	return bytes_of(selector->text + pattern->start, pattern->size);
}

static bool may_use_channel(const struct acl_selector *selector, struct bytes channel,
                            bool is_pattern)
{
	if (selector->all_channels)
		return true;
	for (uint32_t i = 0; i < selector->pattern_count; i++) {
		const struct acl_pattern *pattern = &selector->patterns[i];
		struct bytes text = pattern_of(selector, pattern);

		if (pattern->access != ACL_CHANNEL)
			continue;
		if (is_pattern ? bytes_equal(text, channel) : glob_match(text, channel, false))
			return true;
	}
	return false;
}

bool acl_may_use_channel(const struct resp_user *user, struct bytes channel, bool is_pattern)
{
	const struct acl_selector *selector = &user->root;

	while (selector != NULL && !may_use_channel(selector, channel, is_pattern))
		selector = selector == &user->root ? user->others : selector->next;
	return selector != NULL;
}

static bool may_use_key(const struct acl_selector *selector, struct bytes key, uint8_t access)
{
	for (uint32_t i = 0; i < selector->pattern_count; i++) {
		const struct acl_pattern *pattern = &selector->patterns[i];

		if (pattern->access == ACL_CHANNEL || (pattern->access & access) != access)
			continue;
		if (glob_match(pattern_of(selector, pattern), key, false))
			return true;
	}
	return false;
}

struct key_check {
	const struct acl_selector *selector;
	struct resp_words words;
	uint32_t denied; /* the first word that was; 0: none */
};

static bool check_key(void *owner, uint32_t index, uint16_t flags)
{
	struct key_check *check = owner;
	uint8_t access = 0;

	assert(index > 0 && index < check->words.argc);
	if (flags & KEY_ACCESS)
		access |= ACL_READ;
	if (flags & (KEY_INSERT | KEY_DELETE | KEY_UPDATE))
		access |= ACL_WRITE;
	if (!may_use_key(check->selector, check->words.argv[index], access))
		check->denied = index;
	return check->denied == 0;
}

/* The first word that is a channel which may not be used, or 0. */
static uint32_t check_channels(const struct acl_selector *selector,
                               const struct resp_command *command, struct resp_words words)
{
	bool publishes =
	        strcmp(command->name, "publish") == 0 || strcmp(command->name, "spublish") == 0;
	bool patterns = strcmp(command->name, "psubscribe") == 0;
	bool subscribes = patterns || strcmp(command->name, "subscribe") == 0 ||
	                  strcmp(command->name, "ssubscribe") == 0;
	uint32_t end = publishes ? 2 : subscribes ? words.argc : 1;

	for (uint32_t i = 1; i < end && i < words.argc; i++) {
		if (!may_use_channel(selector, words.argv[i], patterns))
			return i;
	}
	return 0;
}

/* For a command without documentation: the keys that its row names. */
static bool find_by_row(const struct resp_command *command, struct resp_words words,
                        struct key_check *check)
{
	struct resp_key_spec spec = {
		.flags = command->flags & RESP_READONLY ? KEY_RO | KEY_ACCESS
		                                        : KEY_RW | KEY_ACCESS | KEY_UPDATE,
		.begin = { NULL, command->key_first },
		.find = { .last = command->key_last, .step = command->key_step },
	};
	struct resp_doc doc = { .name = command->name, .keys = &spec, .key_count = 1 };

	if (spec.find.last > 0) /* there from the start, here from the first key */
		spec.find.last = (int8_t)(spec.find.last - command->key_first);
	return resp_keys_find(&doc, words, check_key, check);
}

static enum acl_reason check_selector(const struct resp_acl *acl,
                                      const struct acl_selector *selector, uint32_t id,
                                      struct resp_words words, uint32_t *ret_word)
{
	const struct resp_command *command = acl->commands[id];
	const struct resp_doc *doc = acl->docs[id];
	struct key_check check = { selector, words, 0 };

	*ret_word = 0;
	if (!may_run(acl, selector, id, words) && !(command->flags & RESP_NO_AUTH))
		return ACL_COMMAND;
	if (!selector->all_keys && (doc != NULL || command->key_first > 0)) {
		bool understood = doc != NULL ? resp_keys_find(doc, words, check_key, &check)
		                              : find_by_row(command, words, &check);

		*ret_word = check.denied;
		if (check.denied > 0 || !understood)
			return ACL_KEY;
	}
	if (!selector->all_channels && (command->flags & RESP_PUBSUB))
		*ret_word = check_channels(selector, command, words);
	return *ret_word > 0 ? ACL_CHANNEL_NAME : ACL_GRANTED;
}

/* Of several refusals the one that came furthest is told. */
enum acl_reason acl_check(const struct resp_acl *acl, const struct resp_user *user, uint32_t id,
                          struct resp_words words, uint32_t *ret_word)
{
	enum acl_reason reason = ACL_COMMAND;

	_Static_assert(ACL_COMMAND < ACL_KEY && ACL_KEY < ACL_CHANNEL_NAME, "in order of checks");
	*ret_word = 0;
	if (acl_may_all(user))
		return ACL_GRANTED;
	for (const struct acl_selector *s = &user->root; s != NULL;
	     s = s == &user->root ? user->others : s->next) {
		uint32_t word;
		enum acl_reason why = check_selector(acl, s, id, words, &word);

		if (why == ACL_GRANTED) {
			*ret_word = 0;
			return ACL_GRANTED;
		}
		if (why > reason || (why == reason && word > *ret_word)) {
			reason = why;
			*ret_word = word;
		}
	}
	return reason;
}

static uint8_t copy_cut(struct bytes text, char *out, size_t out_size)
{
	size_t size = text.size < out_size ? text.size : out_size;

	if (size > 0)
		memcpy(out, text.data, size);
	return (uint8_t)size;
}

static bool is_alike(const struct acl_log_entry *a, const struct acl_log_entry *b)
{
	return a->reason == b->reason && a->in_multi == b->in_multi &&
	       b->last_ms - a->last_ms <= LOG_GROUP_MS &&
	       bytes_equal(bytes_of(a->object, a->object_size),
	                   bytes_of(b->object, b->object_size)) &&
	       bytes_equal(bytes_of(a->name, a->name_size), bytes_of(b->name, b->name_size));
}

static void count_denial(struct resp_acl *acl, enum acl_reason reason)
{
	switch (reason) {
	case ACL_COMMAND:
		acl->denied_command++;
		return;
	case ACL_KEY:
		acl->denied_key++;
		return;
	case ACL_CHANNEL_NAME:
		acl->denied_channel++;
		return;
	case ACL_AUTH:
		return; /* acl_authenticate() has */
	case ACL_GRANTED:
		break;
	}
	unreachable();
}

void acl_log_add(struct resp_acl *acl, const struct acl_denial *denial)
{
	struct acl_log_entry entry = { .count = 1,
		                       .first_ms = denial->wall_ms,
		                       .last_ms = denial->wall_ms,
		                       .reason = (uint8_t)denial->reason,
		                       .in_multi = denial->in_multi };
	uint32_t at = 0;

	count_denial(acl, denial->reason);
	entry.object_size = copy_cut(denial->object, entry.object, sizeof(entry.object));
	entry.name_size = copy_cut(denial->user, entry.name, sizeof(entry.name));
	entry.client_size =
	        (uint16_t)(denial->client.size < sizeof(entry.client) ? denial->client.size
	                                                              : sizeof(entry.client));
	memcpy(entry.client, denial->client.data, entry.client_size);
	if (acl->log_max == 0)
		return;
	while (at < acl->log_count && at < 10 && !is_alike(&acl->log[at], &entry))
		at++;
	if (at < acl->log_count && at < 10) {
		entry.count += acl->log[at].count;
		entry.first_ms = acl->log[at].first_ms;
	} else {
		acl->log_count += acl->log_count < acl->log_max;
		at = acl->log_count - 1;
	}
	memmove(&acl->log[1], &acl->log[0], at * sizeof(*acl->log));
	acl->log[0] = entry;
}

void acl_log_reset(struct resp_acl *acl)
{
	acl->log_count = 0;
}
