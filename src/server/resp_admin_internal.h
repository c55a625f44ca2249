/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of administration share. */
#ifndef SERVER_RESP_ADMIN_INTERNAL_H
#define SERVER_RESP_ADMIN_INTERNAL_H

#include "server/resp_acl.h"
#include "server/resp_admin.h"
#include "server/resp_server.h"

enum {
	ADMIN_SLOW_MAX = 128,   /* calls kept; slowlog-max-len beyond it is cut */
	ADMIN_SLOW_WORDS = 32,  /* of a call, as Redis */
	ADMIN_SLOW_WORD = 128,  /* bytes of a word, as Redis */
	ADMIN_SLOW_TEXT = 1024, /* bytes of all words of a call */
	ADMIN_LATENCY_EVENTS = 8,
	ADMIN_LATENCY_SAMPLES = 160, /* of an event, as Redis */
	ADMIN_ERRORS_MAX = 64,       /* error codes counted apart */
	ADMIN_ERROR_CODE = 16,       /* bytes of a code */
	ADMIN_VALUE_MAX = 256,       /* bytes of a setting that is text */
	ADMIN_CLIENT_MAX = 512,      /* bytes of a line of CLIENT LIST */
	ADMIN_SAMPLES = 4,           /* of the rates of INFO */
	ADMIN_SAMPLE_NS = 500 * 1000 * 1000,
	ADMIN_BUCKETS = 32,       /* of a command's latency: powers of two of a microsecond */
	ADMIN_WORDS_COMMAND = 64, /* words of CONFIG GET and SET looked at */
};

struct admin_slow {
	uint64_t id, wall_ms, duration_us;
	uint64_t waited_us, read_us, commit_us; /* see struct resp_call */
	uint64_t client_id;
	uint32_t word_count;
	uint8_t user_size, db;
	uint16_t word_sizes[ADMIN_SLOW_WORDS];
	uint8_t name_size;
	char peer[64], name[RESP_NAME_MAX + 1], user[ACL_NAME_MAX];
	char text[ADMIN_SLOW_TEXT]; /* the words, one after the other */
};

struct admin_latency {
	const char *name; /* NULL: free */
	uint32_t next, count, max_ms;
	struct {
		uint64_t wall_s;
		uint32_t ms;
	} samples[ADMIN_LATENCY_SAMPLES];
};

struct admin_error {
	char code[ADMIN_ERROR_CODE]; /* "" : free */
	uint64_t count;
};

struct admin_sample {
	uint64_t at_ns, commands, bytes_in, bytes_out;
};

/* What calls of one command, or subcommand, came to. */
struct admin_command_sum {
	struct resp_command_stats stats;
	uint32_t buckets[ADMIN_BUCKETS]; /* by time */
};

/* One per worker. Memory: taken when opened. Thread: its worker's. */
struct resp_admin {
	struct resp_server *server;
	struct resp_acl acl;
	const struct resp_admin_hooks *hooks;
	void *hooks_owner;
	struct resp_server *servers[RESP_SERVERS_MAX]; /* all that serve, this one included */
	uint32_t server_count;
	char executable[256], version[32], run_id[RESP_RUN_ID_SIZE];
	uint32_t process_id, workers;
	uint16_t port;
	uint8_t secret[RESP_SECRET_SIZE];
	uint64_t secret_uses;
	uint64_t started_ns, started_ms, resets;
	char (*texts)[ADMIN_VALUE_MAX]; /* settings, by their row in resp_admin_settings.c */
	int64_t *numbers;
	struct admin_slow *slow; /* a ring: slow_next is written next */
	uint32_t slow_next, slow_count;
	uint64_t slow_id;
	int64_t slow_after_us, latency_after_ms; /* < 0, 0: never */
	uint32_t slow_max;
	bool latency_tracked;
	struct admin_latency latencies[ADMIN_LATENCY_EVENTS];
	struct admin_error errors[ADMIN_ERRORS_MAX];
	struct admin_command_sum *commands; /* by acl_command_id() */
	struct admin_sample samples[ADMIN_SAMPLES];
	uint32_t sample_next;
	struct timer sampler, pause_timer;
	struct resp_stats stats_before; /* at CONFIG RESETSTAT */
	uint64_t pause_end_ns;          /* 0: no pause */
	bool keeps_users;               /* in the store: resp_acl_store.c */
	bool changing;                  /* the first server: a change of users is under way */
	struct resp_call_list changes;  /* and these wait, by wait_link */
};

/*
 * A tour: a step on every worker, in the order of the servers, and then back home. What a step
 * learns it keeps in the tour, which lies at the start of the call's state.
 */
struct admin_tour;
typedef void admin_step_fn(struct resp_call *call, struct resp_admin *admin);
struct admin_tour {
	admin_step_fn *step;
	resp_run_fn *home; /* replies; the call is done when it returns, unless it sets `stays` */
	struct worker *worker; /* home's */
	uint64_t count;
	uint32_t next; /* server */
	bool stays;
	bool again; /* set by a step: home first, and then to the same server once more */
	struct admin_page *pages, *page; /* text; see admin_tour_text() */
	uint64_t cursor;                 /* the steps' own */
};
_Static_assert(sizeof(struct admin_tour) <= RESP_STATE_SIZE, "it lies in a call's state");

void admin_tour_start(struct resp_call *call, admin_step_fn *step, resp_run_fn *home);
struct admin_tour *admin_tour(struct resp_call *call);

/*
 * Text that grows over a tour: pages from home's buffers, so a step can only fill the page that is
 * there. False: it is full; the step sets `again` and returns, and goes on when it is back.
 */
struct admin_page {
	struct admin_page *next;
	struct buf *buf;
	uint32_t size, used;
	uint8_t data[];
};
bool admin_tour_text(struct admin_tour *tour, const void *data, size_t size);
/* Before admin_tour_start(). `size` of the first page; 0: as the others. False: none, replied. */
bool admin_tour_pages(struct resp_call *call, size_t size);
/* At home: the records of that size which the steps have put there, one by one; NULL: no more. */
void *admin_tour_record(struct admin_tour *tour, size_t size, struct admin_page **page,
                        uint32_t *at);
void admin_tour_pages_free(struct admin_tour *tour);
/* At home: replies all text as one string, "txt", and gives the pages back. */
void admin_tour_reply_text(struct resp_call *call);

/* Text into memory of a fixed size; what does not fit is cut and sets `full`. */
struct admin_text {
	char *data;
	size_t size, used;
	bool full;
};
void admin_put(struct admin_text *text, const char *format, ...)
        __attribute__((format(printf, 2, 3)));
void admin_put_bytes(struct admin_text *text, struct bytes bytes);

/* resp_admin.c */
struct resp_admin *admin_of(const struct resp_call *call);
struct bytes admin_text_of(const char *text);
struct resp_facts admin_facts(const struct resp_admin *admin); /* of this worker */
void admin_random(struct resp_admin *admin, uint8_t *out, size_t size);
/* Lines of HELP, and the one about HELP itself. */
void admin_reply_help(struct resp_call *call, const char *name, const char *const *lines,
                      uint32_t count);
bool admin_authenticate(struct resp_call *call, struct bytes name, struct bytes password);
bool admin_is_authenticated(struct resp_connection *connection);
/*
 * Whether it has shown who it is, for what gives rights beyond this protocol: by a password; by a
 * unix socket, which the file system guards; or it is of this machine, and no user but `default`
 * exists, so that nobody is kept out of anything yet.
 */
bool admin_is_proven(const struct resp_connection *connection);
/* The server's settings follow the default user's. */
void admin_acl_changed(struct resp_admin *admin);

/* resp_admin_client.c */
size_t admin_describe_client(const struct resp_connection *connection, char *out);
bool admin_set_name(struct resp_call *call, struct bytes name); /* false: replied */

/* resp_admin_settings.c: by name; -1: none. */
uint64_t admin_pools_memory(const struct resp_admin *admin); /* bytes, of all servers */
size_t admin_settings_memory(void);                          /* bytes that it takes */
bool admin_settings_open(struct resp_admin *admin);
int64_t admin_number(const struct resp_admin *admin, const char *name);
void admin_tell_setting(struct resp_admin *admin, const char *name, const char *text);
const char *admin_text_setting(const struct resp_admin *admin, const char *name);

/*
 * resp_admin_gather.c: what all workers have counted, added up in the first page of the tour.
 * home() runs with the sum, and gives the pages back. False: replied.
 */
struct admin_sum {
	struct resp_stats stats;
	struct resp_facts facts;
	uint64_t connections, connections_max, paused, calls_used, buffers_used, commands_per_s;
	uint64_t bytes_in_per_s, bytes_out_per_s;
	uint64_t denied_auth, denied_command, denied_key, denied_channel;
	uint64_t topics[RESP_TOPIC_KINDS]; /* one that two workers have counts twice */
	uint64_t keys[RESP_DATABASES];     /* set by INFO */
	uint8_t db, space;                 /* which of them comes next */
	struct admin_error errors[ADMIN_ERRORS_MAX];
	struct admin_command_sum commands[]; /* by acl_command_id() */
};
bool admin_gather(struct resp_call *call, resp_run_fn *home);
struct admin_sum *admin_sum(struct resp_call *call);
/* Microseconds that so much of the calls, of 100, stayed below. */
uint64_t admin_percentile_us(const struct admin_command_sum *command, double percentile);

/* resp_admin_log.c */
void admin_observe(struct resp_call *call, uint64_t duration_ns);
void admin_latency_add(struct resp_admin *admin, const char *name, uint32_t ms);

#endif
