/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way in, and the life of a connection. What comes from below is decrypted at once and handed
 * up from memory that all connections of the worker share, so that a silent one has little. Input
 * is kept only while nobody may take it: who is above has paused, or the turn has done its share of
 * handshakes; then the stream below is paused, too.
 */
#include <openssl/err.h>
#include <stdio.h>

#include "base/assert.h"
#include "base/macros.h"
#include "core/log.h"
#include "layer/stream_tls_state.h"

enum { STEPS_PER_TURN = 4 };      /* of handshakes: each is up to a millisecond, for a key of RSA */
#define FAREWELL_NS 5000000000ull /* for a peer to take what closing says */

static uint64_t now_ns(const struct stream_tls *tls)
{
	return tls->options.worker->now_ns;
}

/* Input that waits. */

static void held_drop(struct tls_stream *t)
{
	if (t->held != NULL)
		buf_unref(t->held);
	t->held = NULL;
	t->held_start = 0;
}

/* Puts `data` behind what waits. False: there is no memory. */
static bool hold(struct tls_stream *t, struct bytes data)
{
	struct buf *held = t->held, *bigger;
	uint32_t waiting = held != NULL ? held->used - t->held_start : 0;

	if (data.size == 0)
		return true;
	if (waiting + data.size > BUF_SIZE_MAX)
		return false;
	if (held == NULL || held->used + data.size > held->size) {
		bigger = buf_get(t->tls->options.bufs, waiting + data.size);
		if (bigger == NULL)
			return false;
		if (waiting > 0)
			memcpy(bigger->data, held->data + t->held_start, waiting);
		held_drop(t);
		t->held = held = bigger;
		held->used = waiting;
	}
	memcpy(held->data + held->used, data.data, data.size);
	held->used += (uint32_t)data.size;
	return true;
}

void tls_match_pause(struct tls_stream *t)
{
	bool paused = t->paused || t->held != NULL;

	if (t->phase == TLS_CLOSING || (t->phase == TLS_SHAKING && t->held == NULL))
		paused = false;
	if (t->lower == NULL || t->lower_paused == paused)
		return;
	t->lower_paused = paused;
	stream_pause(t->lower, paused);
}

void tls_queue(struct tls_stream *t)
{
	if (t->queued)
		return;
	t->queued = true;
	STAILQ_INSERT_TAIL(&t->tls->ready, t, ready_link);
}

/* The end. */

static void not_shaking(struct tls_stream *t)
{
	struct stream_tls *tls = t->tls;

	assert(t->phase == TLS_SHAKING);
	timer_cancel(&tls->options.worker->timers, &t->timer);
	metric_set(&tls->stats.shaking, tls->stats.shaking - 1);
	if (t->listener != NULL)
		TAILQ_REMOVE(&tls->shaking, t, link);
	t->listener = NULL;
}

static void release(struct tls_stream *t)
{
	struct stream_tls *tls = t->tls;

	if (t->lower != NULL || t->phase != TLS_CLOSING || t->lower_sending || t->running ||
	    t->queued || t->starved)
		return;
	assert(t->send == NULL);
	assert(t->held == NULL && t->out == NULL);
	assert(!t->timer.armed);
	SSL_free(t->ssl);
	t->ssl = NULL;
	/* First in, last out: the warm ones are used again. */
	TAILQ_INSERT_HEAD(&tls->free, t, link);
	assert(tls->stream_used > 0);
	metric_set(&tls->stats.connections, --tls->stream_used);
}

void tls_close_lower(struct tls_stream *t)
{
	struct stream *lower = t->lower;

	assert(t->phase == TLS_CLOSING);
	if (lower != NULL) {
		t->lower = NULL;
		timer_cancel(&t->tls->options.worker->timers, &t->timer);
		stream_close(lower);
	}
	/* What is on its way comes back, with its buffer, by tls_lower_sent(). */
	if (!t->lower_sending && t->out != NULL) {
		buf_unref(t->out);
		t->out = NULL;
	}
	release(t);
}

static void farewell_late(struct timer *timer)
{
	tls_close_lower(container_of(timer, struct tls_stream, timer));
}

void tls_close(struct tls_stream *t, enum tls_farewell farewell)
{
	struct worker *worker = t->tls->options.worker;

	assert(t->send == NULL);
	assert(t->phase != TLS_CLOSING);
	if (t->phase == TLS_SHAKING)
		not_shaking(t);
	if (farewell == TLS_NOTIFY && t->lower != NULL) {
		tls_forget_errors();
		SSL_shutdown(t->ssl);
	}
	t->phase = TLS_CLOSING;
	t->stream.closed = true;
	t->in = bytes_of(NULL, 0);
	held_drop(t);
	if (farewell != TLS_ABORT)
		tls_flush(t);
	if (farewell == TLS_ABORT || !t->lower_sending) {
		tls_close_lower(t);
		return;
	}
	timer_arm(&worker->timers, &t->timer, now_ns(t->tls) + FAREWELL_NS, farewell_late);
	tls_match_pause(t); /* what still comes is thrown away, and its end is seen */
}

static void note_reason(struct tls_stream *t, const char *reason)
{
	unsigned long code = ERR_peek_error();
	const char *more = code != 0 ? ERR_reason_error_string(code) : NULL;

	if (t->reason[0] == '\0')
		snprintf(t->reason, sizeof(t->reason), "%s%s%s", reason, more != NULL ? ": " : "",
		         more != NULL ? more : "");
	ERR_clear_error();
}

/* Told in run(), because a handler may not run inside of a submit. */
static void end(struct tls_stream *t, enum status status)
{
	if (t->end_held || t->stream.ended)
		return;
	t->end_held = true;
	t->end_status = status;
	tls_queue(t);
}

void tls_fail(struct tls_stream *t, const char *reason, enum status status)
{
	struct stream_tls *tls = t->tls;
	bool shaking = t->phase == TLS_SHAKING;

	assert(t->phase < TLS_BROKEN);
	note_reason(t, reason);
	metric_add(shaking ? &tls->stats.failed : &tls->stats.broken, 1);
	log_put(tls->options.worker, LOG_DEBUG, "tls: peer=%s %s", t->stream.peer, t->reason);
	if (shaking && t->listener != NULL) {
		tls_close(t, TLS_FLUSH); /* the alert that says why */
		return;
	}
	if (shaking)
		not_shaking(t);
	t->phase = TLS_BROKEN;
	tls_send_end(t, STATUS_UNAVAILABLE);
	t->in = bytes_of(NULL, 0);
	held_drop(t);
	tls_flush(t);
	end(t, status);
}

static void handshake_late(struct timer *timer)
{
	struct tls_stream *t = container_of(timer, struct tls_stream, timer);

	metric_add(&t->tls->stats.timed_out, 1);
	tls_fail(t, "the handshake took too long", STATUS_TIMEOUT);
}

/* The way in. */

static void shaken(struct tls_stream *t)
{
	struct stream_tls *tls = t->tls;
	struct tls_listener *listener = t->listener;

	tls_describe(t);
	not_shaking(t);
	t->phase = TLS_OPEN;
	metric_add(&tls->stats.handshakes, 1);
	metric_add(&tls->stats.resumed, t->security.resumed);
	if (listener == NULL) {
		if (t->send != NULL && t->send_left > 0)
			tls_send_some(t);
		else
			tls_send_end(t, STATUS_OK);
		return;
	}
	t->stream.closed = false;
	if (!listener->listener.handler->accepted(&listener->listener, &t->stream)) {
		assert(!t->stream.closed);
		tls_close(t, TLS_NOTIFY);
	}
}

/* What the last call of OpenSSL for t means, that has not done what was asked. */
static void read_failed(struct tls_stream *t, int error)
{
	switch (error) {
	case SSL_ERROR_WANT_READ:
		return;
	case SSL_ERROR_WANT_WRITE:
		tls_flush(t);
		tls_starve(t);
		return;
	case SSL_ERROR_ZERO_RETURN:
		end(t, STATUS_OK);
		return;
	default:
		tls_fail(t, t->phase == TLS_SHAKING ? "the handshake failed" : "a record is wrong",
		         STATUS_UNAVAILABLE);
	}
}

static void shake(struct tls_stream *t)
{
	int result;

	tls_forget_errors();
	result = SSL_do_handshake(t->ssl);
	if (result == 1)
		shaken(t);
	else
		read_failed(t, SSL_get_error(t->ssl, result));
}

static bool may_read(const struct tls_stream *t)
{
	return t->phase == TLS_OPEN && !t->paused && !t->end_held && !t->stream.ended;
}

/* Records, as many as the scratch holds, are handed up together. */
static void read_records(struct tls_stream *t)
{
	struct stream_tls *tls = t->tls;
	int error = SSL_ERROR_NONE;

	while (may_read(t) && t->in.size > 0 && error == SSL_ERROR_NONE) {
		size_t used = 0, size;

		tls_forget_errors();
		do {
			size = 0;
			if (SSL_read_ex(t->ssl, tls->scratch + used, TLS_SCRATCH_SIZE - used,
			                &size) != 1)
				error = SSL_get_error(t->ssl, 0);
			used += size;
		} while (error == SSL_ERROR_NONE && t->in.size > 0 &&
		         TLS_SCRATCH_SIZE - used >= TLS_RECORD_MAX);
		/* First: it may become an end, which comes behind these bytes. */
		if (error == SSL_ERROR_SSL || error == SSL_ERROR_SYSCALL)
			note_reason(t, "a record is wrong");
		if (used > 0) {
			metric_add(&tls->stats.read_size, used);
			t->stream.handler->received(&t->stream, bytes_of(tls->scratch, used));
		}
	}
	if (t->phase == TLS_OPEN && error != SSL_ERROR_NONE)
		read_failed(t, error);
}

void tls_pump(struct tls_stream *t)
{
	assert(!t->running);
	t->running = true;
	if (t->phase == TLS_SHAKING)
		shake(t);
	if (t->phase == TLS_OPEN)
		read_records(t);
	t->running = false;
	if (t->phase == TLS_OPEN || t->phase == TLS_SHAKING)
		tls_flush(t);
	release(t);
}

/* Whether this turn may do one more step of a handshake. */
static bool step_is_left(struct stream_tls *tls)
{
	uint64_t turn = tls->options.worker->stats.turns + 1;

	if (tls->turn != turn) {
		tls->turn = turn;
		tls->steps_left = STEPS_PER_TURN;
	}
	return tls->steps_left > 0;
}

/* Whether OpenSSL may be given what has come. */
static bool may_take(struct tls_stream *t)
{
	if (t->phase == TLS_SHAKING)
		return step_is_left(t->tls);
	return may_read(t);
}

static void take(struct tls_stream *t, struct bytes data)
{
	t->in = data;
	if (t->phase == TLS_SHAKING)
		t->tls->steps_left--;
	tls_pump(t);
}

static void lower_received(struct stream *lower, struct bytes data)
{
	struct tls_stream *t = lower->owner;

	/* Nothing of what comes behind the end is anybody's. */
	if (t->phase >= TLS_BROKEN || t->end_held || t->stream.ended)
		return;
	if (t->held == NULL && may_take(t)) {
		take(t, data);
		data = t->in;
	}
	t->in = bytes_of(NULL, 0);
	if (t->phase >= TLS_BROKEN || t->end_held || t->stream.ended || data.size == 0)
		return;
	if (!hold(t, data)) {
		tls_fail(t, "there is no memory for what comes", STATUS_NO_SPACE);
		return;
	}
	tls_match_pause(t);
	if (t->phase == TLS_SHAKING)
		tls_queue(t);
}

static void lower_ended(struct stream *lower, enum status status)
{
	struct tls_stream *t = lower->owner;

	switch (t->phase) {
	case TLS_SHAKING:
		tls_fail(t, "the peer went away in the handshake", STATUS_UNAVAILABLE);
		break;
	case TLS_OPEN:
		if (t->end_held || t->stream.ended)
			break;
		/* Anybody between us and the peer can end a connection of TCP. */
		if (status == STATUS_OK) {
			metric_add(&t->tls->stats.truncated, 1);
			note_reason(t, "it ended without a close_notify");
		}
		end(t, STATUS_UNAVAILABLE);
		break;
	case TLS_BROKEN:
		break;
	case TLS_CLOSING:
		tls_close_lower(t);
		break;
	}
}

static const struct stream_handler lower_handler = {
	.received = lower_received,
	.ended = lower_ended,
};

/* The turn. */

/* Goes on with what had to wait. False: it has to wait still. */
static bool go_on(struct tls_stream *t)
{
	if (t->phase == TLS_SHAKING && !step_is_left(t->tls))
		return false;
	if (t->phase == TLS_OPEN && t->send != NULL && t->send_left > 0)
		tls_send_some(t);
	if (t->held != NULL && may_take(t)) {
		struct buf *held = t->held;
		uint32_t start = t->held_start;

		/* Ours meanwhile: what is left goes back. */
		t->held = NULL;
		t->held_start = 0;
		take(t, bytes_of(held->data + start, held->used - start));
		if (t->phase < TLS_BROKEN && t->in.size > 0) {
			assert(t->held == NULL);
			t->held = held;
			t->held_start = held->used - (uint32_t)t->in.size;
		} else {
			buf_unref(held);
		}
		t->in = bytes_of(NULL, 0);
	} else if (t->phase == TLS_SHAKING) {
		take(t, bytes_of(NULL, 0));
	}
	if (t->end_held && !t->paused && t->phase < TLS_CLOSING) {
		t->end_held = false;
		t->stream.ended = true;
		t->running = true;
		t->stream.handler->ended(&t->stream, t->end_status);
		t->running = false;
	}
	tls_match_pause(t);
	return true;
}

static unsigned tls_run(struct actor *actor)
{
	struct stream_tls *tls = container_of(actor, struct stream_tls, actor);
	struct tls_stream_queue ready = STAILQ_HEAD_INITIALIZER(ready);
	struct tls_stream *t;
	unsigned count = 0;

	STAILQ_CONCAT(&ready, &tls->ready);
	while ((t = STAILQ_FIRST(&ready)) != NULL) {
		STAILQ_REMOVE_HEAD(&ready, ready_link);
		t->queued = false;
		if (go_on(t))
			count++;
		else
			tls_queue(t);
		release(t);
	}
	return count;
}

static bool tls_has_work(const struct actor *actor)
{
	const struct stream_tls *tls = container_of(actor, const struct stream_tls, actor);

	return !STAILQ_EMPTY(&tls->ready);
}

const struct actor_ops tls_actor_ops = {
	.name = "tls",
	.run = tls_run,
	.has_work = tls_has_work,
};

void tls_begin(struct tls_stream *t, struct stream *lower)
{
	struct stream_tls *tls = t->tls;

	t->lower = lower;
	lower->handler = &lower_handler;
	lower->owner = t;
	t->stream.local = lower->local;
	memcpy(t->stream.peer, lower->peer, sizeof(t->stream.peer));
	metric_set(&tls->stats.connections, ++tls->stream_used);
	metric_set(&tls->stats.shaking, tls->stats.shaking + 1);
	timer_arm(&tls->options.worker->timers, &t->timer,
	          now_ns(tls) + tls->options.handshake_timeout_ns, handshake_late);
}
