/* SPDX-License-Identifier: Apache-2.0 */
/* Who may do what, settings, and what the RESP face tells of itself: for those who open it. */
#ifndef SERVER_RESP_ADMIN_H
#define SERVER_RESP_ADMIN_H

#include "server/resp_server.h"

/*
 * What INFO tells and the face cannot know: each worker tells its own part. Zeros are told as such.
 */
struct resp_facts {
	/* Added up over the workers. */
	uint64_t records_acknowledged;  /* changes answered with OK */
	uint64_t records_durable;       /* changes on disk */
	uint64_t commits, commit_bytes; /* groups of changes made durable together */
	uint64_t expired;               /* keys removed because their time had passed */
	/* Of the process or the store: the largest is told. */
	uint64_t last_commit_ms;                             /* wall clock */
	uint64_t memory_resident, memory_peak, memory_total; /* bytes */
	uint64_t store_size, store_used;                     /* bytes */
	uint64_t store_live, store_free;                     /* bytes */
	/* Bytes written to the device: all; of them again by the cleaner, and for the index. */
	uint64_t written_bytes, moved_bytes, index_bytes;
	uint64_t checkpoints;
	uint64_t cpu_user_us, cpu_system_us;
	bool relaxed;   /* some answers do not wait for the disk */
	bool read_only; /* a device failed */
};

/* The file of users, to be read or written whole. */
enum { RESP_FILE_ERROR = 256 };
struct resp_file {
	char *data;
	size_t size, size_max; /* read: result, and room; write: what there is */
	bool writes;
	char error[RESP_FILE_ERROR]; /* result: "": it went well; else why not, for people */
};

/* All may be NULL. */
struct resp_admin_hooks {
	/* On each worker, in its turn, with the owner that its own admin was opened with. */
	void (*facts)(void *owner, struct resp_facts *facts);
	/* SHUTDOWN: ends the process soon. All servers drain; runs on the worker of the call. */
	void (*shutdown)(void *owner);
	/*
	 * ACL LOAD and SAVE, one at a time: completes the request, with OK, on its worker when the
	 * file was read or written, or file->error says why it was not. Needed with
	 * options->users_path.
	 */
	void (*file)(void *owner, struct req *req, struct resp_file *file);
	/* WEIR.METRICS: all that the process counts. */
	const struct metrics *(*metrics)(void *owner);
};

enum { RESP_SECRET_SIZE = 32, RESP_RUN_ID_SIZE = 40 };

struct resp_admin_options {
	struct bytes password;  /* requirepass; empty: none is needed */
	struct bytes users;     /* lines "user NAME RULES", as ACL LIST shows them; may be empty */
	const char *users_path; /* of the file that they are from; NULL: they are in no file */
	const uint8_t *secret;  /* RESP_SECRET_SIZE random bytes: run id and ACL GENPASS */
	const char *executable, *version; /* for INFO */
	uint32_t process_id;
	uint16_t port;
	uint32_t workers;                     /* how many serve; 0: 1 */
	uint32_t users_max;                   /* 0: 64 */
	const struct resp_admin_hooks *hooks; /* NULL: none */
	void *hooks_owner;
};

/*
 * Gives the server its commands of administration and the check of rights, before its listener is
 * opened. NO_SPACE: no memory. INVALID: the users' lines are wrong; `error`, of at least 256 bytes,
 * says where and why.
 */
uint64_t resp_admin_memory(void); /* bytes of one, with as many users as there may be */
enum status resp_admin_open(struct resp_server *server, const struct resp_admin_options *options,
                            char *error) __attribute__((warn_unused_result));
void resp_admin_close(struct resp_server *server); /* before the server is closed */

/*
 * Makes the servers of all workers one: what is set on one holds on all. `servers` in the order of
 * changes; all of them open, none of them in use yet.
 */
enum { RESP_SERVERS_MAX = 64 };
void resp_admin_join(struct resp_server *const *servers, uint32_t count);

/*
 * From then on users are kept in the store, space KV_SPACE_SERVER: loads those that are there into
 * all joined servers, of which this is the first, none of them in use yet. Completes `req`, which
 * carries a frame of the caller's, on its worker. INVALID: `error`, of RESP_FILE_ERROR bytes, says
 * which record is not understood; others: the store's.
 */
void resp_users_load_open(struct resp_server *server, struct req *req, char *error);

/* The password of `default`, which is on with it, whatever was loaded: for all joined servers. */
void resp_admin_set_password(struct resp_server *server, struct bytes password);

/* Whether somebody who says no password may do anything. */
bool resp_admin_is_open(const struct resp_server *server);

#endif
