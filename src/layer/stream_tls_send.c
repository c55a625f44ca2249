/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way out: pieces become records, and records wait in one buffer for the stream below. OpenSSL
 * is given no more than there is room for, so that it never has to keep what it cannot hand over;
 * what it says of its own accord in a handshake may have to wait, and then it is asked again.
 */
#include <openssl/err.h>

#include "base/assert.h"
#include "base/macros.h"
#include "layer/stream_tls_state.h"

enum {
	OUT_FIRST = 4 << 10,
	OUT_MAX = 256 << 10,
	ROOM_MIN = 1 << 10, /* less than that is no room for a record: what waits goes first */
	/*
	 * A receiver can decrypt a record when all of it has come. So after a pause, when the
	 * sender's window is small, records fit a segment of TCP; then they are as large as can be.
	 */
	SMALL_RECORD = 1350,
	SMALL_BYTES = 16 << 10,
	STARVED_NS = 1000000,
};
#define PAUSE_NS 1000000000ull

struct lower_frame {
	struct frame frame;
};

/* Room for ciphertext. */

static void out_release(struct tls_stream *t)
{
	if (t->out != NULL)
		buf_unref(t->out);
	t->out = NULL;
	t->out_start = t->out_sent = 0;
}

/* A larger one, with what waits; not while a part of the old one is on its way. */
static void out_grow(struct tls_stream *t, size_t size)
{
	struct buf *old = t->out, *bigger;
	uint32_t waiting = old != NULL ? old->used - t->out_start : 0;

	assert(!t->lower_sending);
	bigger = buf_get(t->tls->options.bufs, waiting + size);
	/* Some room is better than none. */
	if (bigger == NULL && old == NULL && size > OUT_FIRST)
		bigger = buf_get(t->tls->options.bufs, OUT_FIRST);
	if (bigger == NULL)
		return;
	if (waiting > 0)
		memcpy(bigger->data, old->data + t->out_start, waiting);
	out_release(t);
	bigger->used = waiting;
	t->out = bigger;
}

/* How much there is, after trying to have `size`. */
static size_t out_room(struct tls_stream *t, size_t size)
{
	size_t room = t->out != NULL ? t->out->size - t->out->used : 0;

	if (room >= size || t->lower_sending)
		return room;
	if (t->out == NULL || t->out->used - t->out_start + size <= OUT_MAX)
		out_grow(t, size);
	return t->out != NULL ? t->out->size - t->out->used : 0;
}

/* OpenSSL's way to the stream below. */

static int bio_write(BIO *bio, const char *data, int size)
{
	struct tls_stream *t = BIO_get_data(bio);
	size_t room, part;

	assert(size > 0);
	BIO_clear_retry_flags(bio);
	if (t->unwritable)
		return -1;
	room = out_room(t, t->out == NULL && size < OUT_FIRST ? OUT_FIRST : (size_t)size);
	part = room < (size_t)size ? room : (size_t)size;
	if (part == 0) {
		BIO_set_retry_write(bio);
		return -1;
	}
	memcpy(t->out->data + t->out->used, data, part);
	t->out->used += (uint32_t)part;
	return (int)part;
}

static int bio_read(BIO *bio, char *out, int size)
{
	struct tls_stream *t = BIO_get_data(bio);
	size_t part = t->in.size < (size_t)size ? t->in.size : (size_t)size;

	assert(size > 0);
	BIO_clear_retry_flags(bio);
	if (part == 0) {
		BIO_set_retry_read(bio);
		return -1;
	}
	memcpy(out, t->in.data, part);
	t->in = bytes_of(t->in.data + part, t->in.size - part);
	return (int)part;
}

static long bio_control(BIO *bio, int command, long number, void *pointer)
{
	(void)bio;
	(void)number;
	(void)pointer;
	return command == BIO_CTRL_FLUSH;
}

static int bio_create(BIO *bio)
{
	BIO_set_init(bio, 1);
	return 1;
}

bool tls_bio_open(struct stream_tls *tls)
{
	BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "weir stream");

	tls->bio_method = method;
	return method != NULL && BIO_meth_set_write(method, bio_write) == 1 &&
	       BIO_meth_set_read(method, bio_read) == 1 &&
	       BIO_meth_set_ctrl(method, bio_control) == 1 &&
	       BIO_meth_set_create(method, bio_create) == 1;
}

/* Records. */

static void starving_over(struct timer *timer)
{
	struct stream_tls *tls = container_of(timer, struct stream_tls, starving_timer);
	struct tls_stream *t;

	while ((t = STAILQ_FIRST(&tls->starving)) != NULL) {
		STAILQ_REMOVE_HEAD(&tls->starving, starving_link);
		t->starved = false;
		tls_queue(t);
	}
}

void tls_starve(struct tls_stream *t)
{
	struct stream_tls *tls = t->tls;
	struct worker *worker = tls->options.worker;

	if (t->starved || t->lower_sending)
		return;
	t->starved = true;
	STAILQ_INSERT_TAIL(&tls->starving, t, starving_link);
	if (!tls->starving_timer.armed)
		timer_arm(&worker->timers, &tls->starving_timer, worker->now_ns + STARVED_NS,
		          starving_over);
}

static void iov_skip(struct tls_stream *t, size_t size)
{
	assert(size <= t->send_left);
	t->send_left -= size;
	while (t->iov_count > 0 && size >= t->iov[0].iov_len - t->iov_skip) {
		size -= t->iov[0].iov_len - t->iov_skip;
		t->iov_skip = 0;
		t->iov++;
		t->iov_count--;
	}
	assert(size == 0 || t->iov_count > 0);
	t->iov_skip += size;
}

/* The next `size` bytes to be sent: where they lie, or put together where many pieces are. */
static const uint8_t *gather(struct tls_stream *t, size_t size)
{
	const struct iovec *iov = t->iov;
	size_t skip = t->iov_skip, used = 0;

	assert(size > 0 && size <= TLS_RECORD_MAX);
	assert(size <= t->send_left);
	while (iov->iov_len == skip) {
		iov++;
		skip = 0;
	}
	if (iov->iov_len - skip >= size)
		return (const uint8_t *)iov->iov_base + skip;
	while (used < size) {
		size_t part = iov->iov_len - skip;

		part = part < size - used ? part : size - used;
		if (part > 0)
			memcpy(t->tls->scratch + used, (const uint8_t *)iov->iov_base + skip, part);
		used += part;
		iov++;
		skip = 0;
	}
	return t->tls->scratch;
}

static uint32_t record_size(struct tls_stream *t)
{
	uint64_t size = t->small_left > 0 ? SMALL_RECORD : TLS_RECORD_MAX;

	return (uint32_t)(size < t->send_left ? size : t->send_left);
}

static void note_sent(struct tls_stream *t)
{
	uint64_t now_ns = t->tls->options.worker->now_ns;

	if (!t->stream.local && now_ns - t->sent_ns >= PAUSE_NS)
		t->small_left = SMALL_BYTES;
	t->sent_ns = now_ns;
}

/* One record; false: no more now. */
static bool write_record(struct tls_stream *t)
{
	uint32_t size = t->write_size != 0 ? t->write_size : record_size(t);
	uint64_t wanted = t->send_left + t->send_left / 64 + TLS_RECORD_EXTRA;
	size_t room = out_room(t, wanted < OUT_MAX / 2 ? wanted : OUT_MAX / 2);
	size_t written = 0;
	int error;

	if (t->write_size == 0) {
		if (room < size + TLS_RECORD_EXTRA && room < ROOM_MIN)
			return false;
		if (room < size + TLS_RECORD_EXTRA)
			size = (uint32_t)(room - TLS_RECORD_EXTRA);
	}
	tls_forget_errors();
	if (SSL_write_ex(t->ssl, gather(t, size), size, &written) == 1) {
		assert(written == size);
		t->write_size = 0;
		t->small_left -= size < t->small_left ? size : t->small_left;
		iov_skip(t, size);
		return true;
	}
	error = SSL_get_error(t->ssl, 0);
	if (error == SSL_ERROR_WANT_WRITE || error == SSL_ERROR_WANT_READ)
		t->write_size = size; /* it wants to be asked for the same again */
	else
		tls_fail(t, "a record could not be written", STATUS_UNAVAILABLE);
	return false;
}

void tls_send_end(struct tls_stream *t, enum status status)
{
	struct req *req = t->send;

	if (req == NULL)
		return;
	t->send = NULL;
	t->write_size = 0;
	t->stream.sending = false;
	metric_add(&t->tls->stats.sent_size, t->send_size - t->send_left);
	req_complete(req, status, t->send_size - t->send_left);
}

void tls_send_some(struct tls_stream *t)
{
	assert(t->phase == TLS_OPEN);
	while (t->send != NULL && t->send_left > 0 && write_record(t))
		continue;
	tls_flush(t);
	if (t->send != NULL && t->send_left > 0)
		tls_starve(t);
}

static void tls_stream_send(struct stream *stream, struct req *req, const struct stream_cmd *cmd)
{
	struct tls_stream *t = container_of(stream, struct tls_stream, stream);

	assert(t->send == NULL);
	assert(t->write_size == 0);
	t->send = req;
	t->iov = cmd->iov;
	t->iov_count = cmd->iov_count;
	t->iov_skip = 0;
	t->send_size = 0;
	for (uint32_t i = 0; i < cmd->iov_count; i++)
		t->send_size += cmd->iov[i].iov_len;
	t->send_left = t->send_size;
	if (t->phase == TLS_BROKEN || t->unwritable) {
		tls_send_end(t, STATUS_UNAVAILABLE);
		return;
	}
	if (t->phase == TLS_SHAKING)
		return;
	assert(t->phase == TLS_OPEN);
	note_sent(t);
	if (t->send_left > 0)
		tls_send_some(t);
	else
		tls_send_end(t, STATUS_OK);
}

void tls_flush(struct tls_stream *t)
{
	const struct stream_cmd cmd = { .iov_count = 1, .iov = &t->lower_iov };

	if (t->lower_sending || t->lower == NULL || t->out == NULL || t->unwritable)
		return;
	if (t->out->used == t->out_start) {
		out_release(t);
		return;
	}
	t->lower_iov = (struct iovec){ t->out->data + t->out_start, t->out->used - t->out_start };
	t->out_sent = t->out->used;
	t->lower_sending = true;
	req_init(&t->lower_req, t->tls->options.worker);
	req_push(&t->lower_req, struct lower_frame, tls_lower_sent);
	stream_send(t->lower, &t->lower_req, &cmd);
}

/* The stream below takes nothing more: what waited for it has failed. */
static void lower_broke(struct tls_stream *t)
{
	t->unwritable = true;
	tls_send_end(t, STATUS_UNAVAILABLE);
	if (t->phase == TLS_CLOSING)
		tls_close_lower(t);
	else if (t->phase == TLS_SHAKING)
		tls_fail(t, "the connection broke", STATUS_UNAVAILABLE);
}

void tls_lower_sent(struct req *req)
{
	struct tls_stream *t = container_of(req, struct tls_stream, lower_req);
	enum status status = req->status;

	req_pop(req, struct lower_frame);
	assert(t->lower_sending);
	t->lower_sending = false;
	t->out_start = t->out_sent;
	if (status != STATUS_OK || t->lower == NULL)
		out_release(t);
	if (t->lower == NULL) {
		tls_close_lower(t);
		return;
	}
	if (status != STATUS_OK) {
		lower_broke(t);
		return;
	}
	tls_flush(t); /* what was said meanwhile; else gives the buffer back */
	if (t->phase == TLS_OPEN && t->send != NULL && t->send_left > 0)
		tls_send_some(t);
	if (t->send != NULL && t->send_left == 0 && !t->lower_sending && t->phase == TLS_OPEN)
		tls_send_end(t, STATUS_OK);
	if (t->phase == TLS_CLOSING && !t->lower_sending)
		tls_close_lower(t);
	else if (t->phase < TLS_BROKEN && t->write_size == 0 && SSL_want_write(t->ssl))
		tls_queue(t);
}

static void tls_stream_pause(struct stream *stream, bool paused)
{
	struct tls_stream *t = container_of(stream, struct tls_stream, stream);

	if (t->paused == paused)
		return;
	t->paused = paused;
	if (t->lower == NULL || t->phase == TLS_SHAKING)
		return;
	if (!paused && (t->held != NULL || t->end_held))
		tls_queue(t);
	tls_match_pause(t);
}

static void tls_stream_close(struct stream *stream)
{
	struct tls_stream *t = container_of(stream, struct tls_stream, stream);
	bool cut = t->send != NULL; /* then a close_notify would say that all of it came */

	tls_send_end(t, STATUS_CANCELED);
	if (cut || t->unwritable)
		tls_close(t, TLS_ABORT);
	else
		tls_close(t, t->phase == TLS_OPEN ? TLS_NOTIFY : TLS_FLUSH);
}

const struct stream_ops tls_stream_ops = {
	.name = "tls",
	.send = tls_stream_send,
	.pause = tls_stream_pause,
	.close = tls_stream_close,
};
