/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Application workers with storage. ProcessData {key, data} counts the words of a text and stores
 * the count; QueryData {key, reply} asks for it. The handler never blocks: what follows a read or a
 * write is a function that runs when that has ended, on the same worker, so it needs no lock.
 *
 *     cc process_query.c $(pkg-config --cflags --libs weir) -o process_query && ./process_query
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include <weir.h>

enum { PROCESS_DATA, QUERY_DATA }; /* weir_message.type */
enum { SPACE_COUNTS = 1 };

/* Each instance has one, which starts zeroed. */
struct state {
	unsigned processed, queried;
};

static unsigned count_words(struct weir_bytes text)
{
	const char *at = (const char *)text.data;
	unsigned count = 0;
	bool in_word = false;

	for (size_t i = 0; i < text.size; i++) {
		bool is_letter = !isspace((unsigned char)at[i]);

		count += is_letter && !in_word;
		in_word = is_letter;
	}
	return count;
}

/* The write has ended: it is on disk, or status says why not. */
static void stored(struct weir_request *request)
{
	struct weir_message *message = (struct weir_message *)request->context;

	message->result = *(const unsigned *)message->out;
	weir_reply(message, request->status);
}

static void queried(struct weir_request *request)
{
	struct weir_message *message = (struct weir_message *)request->context;

	message->out_size = request->out_size;
	weir_reply(message, request->status);
}

static void handle(struct weir_worker *worker, void *memory, struct weir_message *message)
{
	struct weir_request *request = &message->request; /* there for what the handler does */
	const struct weir_key key = { message->key.data, message->key.size, SPACE_COUNTS };
	struct weir_value room = { .data = message->out, .size_max = message->out_max };
	struct state *state = (struct state *)memory;
	enum weir_status status = WEIR_INVALID;

	if (message->type == PROCESS_DATA && message->out_max >= sizeof(unsigned)) {
		state->processed++;
		*(unsigned *)message->out = count_words(message->data);
		status = weir_worker_put(worker, request, key,
		                         (struct weir_bytes){ message->out, sizeof(unsigned) },
		                         stored);
	} else if (message->type == QUERY_DATA) {
		state->queried++;
		status = weir_worker_get(worker, request, key, room, queried);
	}
	if (status != WEIR_OK) /* else: stored() or queried() replies */
		weir_reply(message, status);
}

static enum weir_status ask(struct weir_app *app, unsigned type, const char *name, const char *text)
{
	static struct weir_message message; /* zeroed before its first use */
	unsigned count = 0;
	enum weir_status status;

	message.type = type;
	message.key = weir_key(0, name);
	message.data = weir_text(text);
	message.out = &count;
	message.out_max = sizeof(count);
	status = weir_call(app, &message); /* weir_send() and message.done instead: does not wait */
	printf("%s %s: ", type == PROCESS_DATA ? "process" : "query", name);
	if (status == WEIR_OK)
		printf("%u words\n", count);
	else
		printf("%s\n", weir_status_text(status));
	return status;
}

int main(int argc, char **argv)
{
	const struct weir_app_options app_options = { .handler = handle,
		                                      .state_size = sizeof(struct state) };
	char error[WEIR_ERROR_SIZE];
	struct weir *weir;
	struct weir_app *app;
	bool ok;

	if (weir_open(argc > 1 ? argv[1] : "./data", NULL, &weir, error) != WEIR_OK ||
	    weir_app_start(weir, &app_options, &app) != WEIR_OK) {
		fprintf(stderr, "process_query: %s\n", error);
		return 1;
	}
	ok = ask(app, PROCESS_DATA, "hamlet", "To be, or not to be") == WEIR_OK;
	ok = ask(app, PROCESS_DATA, "weir", "Anything else") == WEIR_OK && ok;
	ok = ask(app, QUERY_DATA, "hamlet", "") == WEIR_OK && ok;
	ok = ask(app, QUERY_DATA, "macbeth", "") == WEIR_NOT_FOUND && ok;
	weir_app_stop(app);
	weir_close(weir);
	return ok ? 0 : 1;
}
