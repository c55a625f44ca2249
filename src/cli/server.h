/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of `weir serve` share. */
#ifndef CLI_SERVER_H
#define CLI_SERVER_H

#include "cli/cli.h"
#include "host/host.h"
#include "server/http_server.h"

/* For messages, with its exit code, that a host which could not be opened has left. */
enum cli_exit server_explain(const struct host *host, enum status status);

/* log_write of a server: to stderr. */
void server_write_line(const char *line, size_t size);

/* All faces of a server. */
enum { SERVER_FACES = 6 };
extern const struct face *const server_faces[SERVER_FACES];
extern const struct face face_exports; /* exports.c: what the block faces after it serve */
extern const struct face face_resp;    /* face_resp.c */
extern const struct face face_http;    /* face_http.c */
extern const struct face face_s3;      /* face_s3.c */
extern const struct face face_nbd;     /* face_nbd.c */
extern const struct face face_nvme;    /* face_nvme.c */

/* Whether NVMe/TCP listens: somebody asked for it, or a stack is exported. */
bool server_nvme_is_on(const struct host *host);

/*
 * Bytes of each worker's memory for connections that the face whose address is `listen` may have:
 * those that listen share it by weight.
 */
uint64_t server_memory(const struct host *host, enum conf_id listen);

/* What the settings http.* say to every face of HTTP. */
void server_http_limits(const struct conf *conf, struct http_limits *limits); /* face_http.c */

/*
 * Signals. Fatal ones dump all flight recorders; the others stay blocked in every thread, and the
 * main thread takes them with sigwait.
 */
void signals_install(struct host *host);
void signals_dump(const struct host *host, unsigned limit); /* to stderr */

/* Tells systemd, when that has asked to be told: "READY=1", "STOPPING=1". */
void notify(const char *state);

#endif
