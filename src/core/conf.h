/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration: a typed table of settings, and what a file, the environment and --set say. */
#ifndef CORE_CONF_H
#define CORE_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/status.h"

enum conf_type {
	CONF_SIZE,     /* bytes: 4096, 64K, 1G */
	CONF_DURATION, /* nanoseconds: 0, 20us, 1.5s, 2h; a unit must be said */
	CONF_INTEGER,
	CONF_BOOLEAN, /* yes no on off true false */
	CONF_STRING,
	CONF_ADDRESS, /* 127.0.0.1:6379, [::1]:6379, unix:/run/weir.sock, off */
	CONF_CHOICE,  /* one of the words of the unit column */
	CONF_CORES,   /* 0-3,8 */
	CONF_TYPES
};

/*
 * Every setting there is. A new one is a new row: it is then parsed, checked, printed by
 * --help-config and readable by its id; a key that has no row is an error.
 *
 * id, name, type, default, min, max, choices, live (may change while the server runs), help
 */
// clang-format off
#define CONF_TABLE(X) \
	X(MEMORY, "memory", SIZE, "256M", 16u << 20, 1ull << 46, "", false, \
	  "All the memory that the server may take. It is split over the workers' caches, index," \
	  " buffers and connections; weir inspect shows how. Not set: 256M, or 32M for each" \
	  " worker where that is more.") \
	X(STORAGE_PATH, "storage.path", STRING, "./data", 1, 4095, "", false, \
	  "The directory or block device that holds the store; the argument of weir serve wins.") \
	X(STORAGE_SIZE, "storage.size", SIZE, "0", 0, 1ull << 50, "", false, \
	  "How large the file of a new store may become; at least 64M. It is sparse: what is not" \
	  " used takes no room. 0: as large as its file system.") \
	X(STORAGE_SEGMENT, "storage.segment_size", SIZE, "64M", 1u << 20, 64u << 20, "", false, \
	  "The unit in which a new store takes and gives back space.") \
	X(STORAGE_PARTITIONS, "storage.partitions", INTEGER, "64", 1, 1024, "", false, \
	  "Into how many shares the keys of a new store fall; each has one worker at a time.") \
	X(STORAGE_CHECKPOINT_LOG, "storage.checkpoint_log", SIZE, "1G", 1u << 20, 1ull << 40, "", \
	  false, "Log of a worker after which it writes a checkpoint: a restart reads no more.") \
	X(STORAGE_CHECKPOINT_RECORDS, "storage.checkpoint_records", INTEGER, "2000000", 1000, \
	  1000000000, "", false, \
	  "Changes of a worker after which it writes a checkpoint: a restart replays no more.") \
	X(DURABILITY_DEFAULT, "durability.default", CHOICE, "durable", 0, 0, "durable|relaxed", \
	  false, "What OK means. durable: it is on disk. relaxed: it is in memory, and on disk" \
	  " soon; a crash loses what was acknowledged last.") \
	X(DURABILITY_RELAXED, "durability.relaxed_databases", CORES, "", 0, 0, "", false, \
	  "Redis databases, such as 3,8-11, that are relaxed although the default is durable.") \
	X(WORKERS_COUNT, "workers.count", INTEGER, "0", 0, 64, "", false, \
	  "Workers that each do everything: network, storage and application. 0: as many as there" \
	  " are cores when those are fewer than 8, else split by role.") \
	X(WORKERS_CORES, "workers.cores", CORES, "", 0, 0, "", false, \
	  "The cores of workers that each do everything, in order.") \
	X(WORKERS_NETWORK, "workers.network", INTEGER, "0", 0, 64, "", false, \
	  "Workers for connections. 0: derived from the cores and workers.profile.") \
	X(WORKERS_NETWORK_CORES, "workers.network_cores", CORES, "", 0, 0, "", false, \
	  "The cores of the network workers. Wins over every rule of placement.") \
	X(WORKERS_STORAGE, "workers.storage", INTEGER, "0", 0, 64, "", false, \
	  "Workers for storage. 0: derived from the cores and workers.profile.") \
	X(WORKERS_STORAGE_CORES, "workers.storage_cores", CORES, "", 0, 0, "", false, \
	  "The cores of the storage workers. Wins over every rule of placement.") \
	X(WORKERS_APPLICATION, "workers.application", INTEGER, "0", 0, 64, "", false, \
	  "Workers for application handlers. 0: all cores that no other worker has.") \
	X(WORKERS_APPLICATION_CORES, "workers.application_cores", CORES, "", 0, 0, "", false, \
	  "The cores of the application workers. Wins over every rule of placement.") \
	X(WORKERS_PROFILE, "workers.profile", CHOICE, "kv", 0, 0, "cache|kv|block|object|series", \
	  false, "What the server mostly does: how many of 8 or more cores serve storage.") \
	X(WORKERS_PIN, "workers.pin", BOOLEAN, "yes", 0, 1, "", false, \
	  "Bind every worker to its core. Without it the kernel moves them as it likes.") \
	X(WORKERS_SPIN, "workers.spin", DURATION, "20us", 0, 1000000, "", false, \
	  "How long an idle worker looks for work before it sleeps, as long as that paid lately.") \
	X(TRANSPORT_KIND, "transport.kind", CHOICE, "auto", 0, 0, "auto|uring|plain", false, \
	  "How the kernel is spoken to: io_uring, or plain system calls where it is refused.") \
	X(RESP_LISTEN, "resp.listen", ADDRESS, "127.0.0.1:6379", 0, 0, "", false, \
	  "Where Redis clients connect. A default port that is taken gives way to the next free" \
	  " one; a port set here that is taken is an error.") \
	X(RESP_TLS_LISTEN, "resp.tls_listen", ADDRESS, "off", 0, 0, "", false, \
	  "Where Redis clients connect with TLS.") \
	X(RESP_PASSWORD, "resp.password", STRING, "", 0, 512, "", false, \
	  "What clients must say with AUTH. Empty: nothing, and only loopback is served.") \
	X(RESP_ACL_FILE, "resp.acl_file", STRING, "", 0, 4095, "", false, \
	  "A file of users, in lines as ACL LIST shows them; ACL LOAD reads and ACL SAVE writes" \
	  " it. Empty: users are kept in the store, and ACL SETUSER changes them for good.") \
	X(RESP_CLIENTS_MAX, "resp.clients_max", INTEGER, "10000", 1, 1000000, "", false, \
	  "Connections at a time; the next one is told so and closed.") \
	X(HTTP_LISTEN, "http.listen", ADDRESS, "127.0.0.1:8080", 0, 0, "", false, \
	  "Where keys, health, metrics and facts are had by HTTP. A default port that is taken" \
	  " gives way to the next free one; a port set here that is taken is an error.") \
	X(HTTP_TLS_LISTEN, "http.tls_listen", ADDRESS, "off", 0, 0, "", false, \
	  "Where clients connect by HTTPS.") \
	X(HTTP_HOSTS, "http.hosts", STRING, "", 0, 4095, "", false, \
	  "Names, such as weir.example.org, by which clients may call this server, beside" \
	  " localhost and addresses. Others are refused, so that web pages of others cannot use" \
	  " a browser here. Empty, and reachable by strangers: any name.") \
	X(HTTP_CLIENTS_MAX, "http.clients_max", INTEGER, "10000", 1, 1000000, "", false, \
	  "Connections of HTTP at a time; the next one is closed.") \
	X(HTTP_HEAD_TIMEOUT, "http.head_timeout", DURATION, "10s", 1000000, 3600000000000, "", \
	  false, "How long the head of a request may take to come.") \
	X(HTTP_BODY_TIMEOUT, "http.body_timeout", DURATION, "30s", 1000000, 3600000000000, "", \
	  false, "How long a body that is read may pause; it must come at 500 bytes/s at least.") \
	X(HTTP_IDLE_TIMEOUT, "http.idle_timeout", DURATION, "75s", 1000000, 86400000000000, "", \
	  false, "How long a connection of HTTP may stay without a request.") \
	X(HTTP_SEND_TIMEOUT, "http.send_timeout", DURATION, "60s", 1000000, 3600000000000, "", \
	  false, "How long a client may take nothing of an answer.") \
	X(S3_LISTEN, "s3.listen", ADDRESS, "127.0.0.1:9000", 0, 0, "", false, \
	  "Where S3 clients connect. Requests are signed with keys of weir key; strangers may do" \
	  " what buckets' policies and access lists let them.") \
	X(S3_TLS_LISTEN, "s3.tls_listen", ADDRESS, "off", 0, 0, "", false, \
	  "Where S3 clients connect by HTTPS.") \
	X(S3_REGION, "s3.region", STRING, "us-east-1", 1, 63, "", false, \
	  "Where buckets say they are. Clients may sign for any region.") \
	X(S3_DOMAIN, "s3.domain", STRING, "", 0, 255, "", false, \
	  "With it, BUCKET.DOMAIN is a bucket, too; empty: buckets are in the path only.") \
	X(S3_CLIENTS_MAX, "s3.clients_max", INTEGER, "10000", 1, 1000000, "", false, \
	  "Connections of a worker at a time.") \
	X(S3_ENCRYPTION_KEY_FILE, "s3.encryption_key_file", STRING, "", 0, 1023, "", false, \
	  "Keys that wrap those of encrypted objects, 64 hexadecimal digits a line; the first is" \
	  " for new objects. Empty: the file s3.key beside the store, made when it is not there.") \
	X(S3_LIFECYCLE_DAY, "s3.lifecycle_day", DURATION, "24h", 1000000000, 31536000000000000, \
	  "", false, "How long a day of lifecycle rules is. Less than 24h: for tests.") \
	X(NBD_LISTEN, "nbd.listen", ADDRESS, "127.0.0.1:10809", 0, 0, "", false, \
	  "Where clients of the network block device protocol connect: to volumes, and to stacks" \
	  " that are exported. A default port that is taken gives way to the next free one; a" \
	  " port set here that is taken is an error.") \
	X(NBD_CLIENTS_MAX, "nbd.clients_max", INTEGER, "256", 1, 65536, "", false, \
	  "Connections of NBD of a worker at a time; the next one is closed.") \
	X(NBD_HANDSHAKE_TIMEOUT, "nbd.handshake_timeout", DURATION, "10s", 1000000, \
	  3600000000000, "", false, "How long a client may take to choose an export.") \
	X(NBD_STALL_TIMEOUT, "nbd.stall_timeout", DURATION, "60s", 1000000, 3600000000000, "", \
	  false, "How long a client may not send the rest of a request, or take nothing of a" \
	  " reply.") \
	X(STACKS_MEMORY, "stacks.memory", SIZE, "0", 0, 1ull << 46, "", false, \
	  "What the layers of all stacks may take together, out of memory. 0: an eighth of that," \
	  " when there are stacks.") \
	X(TLS_CERTIFICATE, "tls.certificate", STRING, "", 0, 4095, "", false, \
	  "A file with the server's certificate in PEM, and behind it those that vouch for it." \
	  " Files of tls.* are read at the start, and again after SIGHUP.") \
	X(TLS_KEY, "tls.key", STRING, "", 0, 4095, "", false, \
	  "A file with the certificate's key in PEM, without a password.") \
	X(TLS_CLIENT_CA, "tls.client_ca", STRING, "", 0, 4095, "", false, \
	  "A file with the certificates of who may vouch for clients. Empty: clients show none.") \
	X(TLS_CLIENT_AUTH, "tls.client_auth", CHOICE, "required", 0, 0, "required|optional", \
	  false, "Whether clients must show a certificate, where tls.client_ca is set.") \
	X(TLS_MIN_VERSION, "tls.min_version", CHOICE, "1.2", 0, 0, "1.2|1.3", false, \
	  "The oldest TLS that is spoken.") \
	X(TLS_HANDSHAKE_TIMEOUT, "tls.handshake_timeout", DURATION, "10s", 1000000, \
	  3600000000000, "", false, "How long a handshake may take.") \
	X(NVME_LISTEN, "nvme_tcp.listen", ADDRESS, "127.0.0.1:4420", 0, 0, "", false, \
	  "Where NVMe/TCP hosts connect, when a stack is exported. A default port that is taken" \
	  " gives way to the next free one; a port set here that is taken is an error.") \
	X(NVME_NQN, "nvme_tcp.nqn", STRING, "", 0, 223, "", false, \
	  "The name of the subsystem whose namespaces the exports are. Empty: one with the uuid" \
	  " of the store.") \
	X(NVME_HOSTS, "nvme_tcp.hosts", STRING, "", 0, 4095, "", false, \
	  "NQNs of the hosts that may connect, such as \"nqn.2014-08.org.nvmexpress:uuid:...\"." \
	  " A name is no secret. Empty: any host, and only loopback is served.") \
	X(NVME_ADDRESS, "nvme_tcp.address", STRING, "", 0, 127, "", false, \
	  "The address that discovery tells to hosts, when they see this server by another one" \
	  " than it listens at. Empty: nvme_tcp.listen.") \
	X(NVME_CLIENTS_MAX, "nvme_tcp.clients_max", INTEGER, "1024", 2, 65536, "", false, \
	  "Connections of NVMe/TCP of a worker at a time: a host has one and one for each of its" \
	  " I/O queues.") \
	X(SERVE_DRAIN, "serve.drain", DURATION, "10s", 0, 3600000000000, "", false, \
	  "How long requests under way may take to end after SIGTERM.") \
	X(LOG_FORMAT, "log.format", CHOICE, "text", 0, 0, "text|logfmt|json", false, \
	  "How lines of the log look: for people, or as pairs for programs that collect them.") \
	X(LOG_LEVEL, "log.level", CHOICE, "info", 0, 0, "debug|info|warn|error", false, \
	  "The least important lines that are logged.")

enum conf_id {
#define X(id, ...) CONF_##id,
	CONF_TABLE(X)
#undef X
	CONF_COUNT
};
// clang-format on

enum conf_source { CONF_DEFAULT, CONF_FILE, CONF_ENVIRONMENT, CONF_SET };

enum {
	CONF_FILE_MAX = 1 << 20, /* bytes of a configuration file */
	CONF_TEXT_MAX =
	        1 << 16, /* bytes of all values that were set: 4 KiB each for 16 long ones */
	CONF_VALUE_MAX = 4095,
	CONF_ERRORS_MAX = 8,
	CONF_ERROR_MAX = 512,
	CONF_STACKS_MAX = 32,
	CONF_NAME_MAX = 63,
	CONF_CORES_MAX = 256,
};

struct conf_value {
	const char *text;
	uint64_t number; /* size, duration, integer, boolean, index of a choice; else 0 */
	enum conf_source source;
	unsigned line; /* of the file; else 0 */
};

/* `[stack NAME]`: layers by text, for whoever builds stacks. */
struct conf_stack {
	char name[CONF_NAME_MAX + 1];
	const char *layers; /* NULL: not said */
	unsigned line;
	bool exported;  /* `export`: the block faces serve it by its name */
	bool read_only; /* to their clients */
};

/* Memory: the caller's, fixed size. Not to be moved: values point into it. */
struct conf {
	struct conf_value values[CONF_COUNT];
	struct conf_stack stacks[CONF_STACKS_MAX];
	unsigned stack_count;
	unsigned error_count; /* of which the first CONF_ERRORS_MAX have a text */
	char errors[CONF_ERRORS_MAX]
	           [CONF_ERROR_MAX]; /* whole sentences: where, what, what is allowed */
	size_t text_size;
	char text[CONF_TEXT_MAX];
};

void conf_init(struct conf *conf); /* everything at its default */

/*
 * What is set later wins: a file, then the environment, then --set. All give INVALID when
 * conf->error_count has grown; they go on after an error, so that all are told at once.
 */
enum status conf_parse(struct conf *conf, struct bytes text, const char *file_name)
        __attribute__((warn_unused_result));

/* "section.key=value", as after --set. */
enum status conf_set(struct conf *conf, const char *assignment) __attribute__((warn_unused_result));

/* WEIR_SECTION_KEY=value; variables that do not begin with WEIR_ are not ours. */
enum status conf_environment(struct conf *conf, char *const *environment)
        __attribute__((warn_unused_result));

const char *conf_text(const struct conf *conf, enum conf_id id);
uint64_t conf_number(const struct conf *conf, enum conf_id id);
bool conf_is_set(const struct conf *conf, enum conf_id id); /* by anyone: not the default */

struct conf_address {
	enum { CONF_OFF, CONF_IPV4, CONF_IPV6, CONF_UNIX } kind;
	uint16_t port;
	char host[108]; /* without brackets; CONF_UNIX: the path */
};

/* The value of a CONF_ADDRESS. */
void conf_address(const struct conf *conf, enum conf_id id, struct conf_address *address);
bool conf_wants_tls(const struct conf *conf);                   /* somebody may connect with it */
bool conf_address_is_local(const struct conf_address *address); /* loopback, unix or off */

struct conf_cores {
	unsigned count;
	uint16_t cores[CONF_CORES_MAX]; /* as the operating system numbers them; each once */
};

/* The value of a CONF_CORES. */
void conf_cores(const struct conf *conf, enum conf_id id, struct conf_cores *cores);

/* For help and completion: never NULL. */
const char *conf_name(enum conf_id id);

/* Name, default, type, unit, range and meaning for people, in out, terminated; returns its size. */
size_t conf_describe(enum conf_id id, char *out, size_t out_max);

#endif
