/* What the Lua side is to the engine, for tests: an engine with one queue and one batch, requests with
   the usual settings, and the messages that come back, in order. */
#ifndef SHEAF_SPEC_CLIENT_H
#define SHEAF_SPEC_CLIENT_H

#include <math.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "peer.h"

/* The defaults of the README. */
#define ATTEMPT 600.0
#define IDLE 60.0
#define MAX_BODY (64u << 20)
#define MAX_BUFFERED ((size_t)256 << 20)

/* A backoff that takes no time, for tests on the real clock. */
#define AT_ONCE 1e-4

#define CLIENT_OWNER(message, type, member) \
  ((type *)(void *)((char *)(message) - offsetof(type, member)))

typedef struct client {
  sheaf_engine *engine;
  sheaf_queue *queue;
  sheaf_batch *batch;
  uint64_t serial;
  sheaf_chain taken;            /* came back, and wasn't looked at yet */
} client;

static const sheaf_pool_options client_pool = {
    .proxy = (char *)(uintptr_t) "", .verify = true, .keepalive = true, .http2 = true, .idle = 60};


/* {======================================================
** A clock that stands still until it is moved
** ======================================================= */

static _Atomic double client_time = 1000;

static inline double client_clock(void) {
  return atomic_load(&client_time);
}


static inline void client_move_clock(client *it, double seconds) {
  atomic_store(&client_time, atomic_load(&client_time) + seconds);
  sheaf_engine_nudge(it->engine);
}

/* }====================================================== */


static inline sheaf_batch *client_add_batch(sheaf_queue *queue, const sheaf_pool_options *options,
                                            size_t max_buffered) {
  sheaf_batch *batch = sheaf_batch_new(queue, options, sheaf_header_set_new(NULL), max_buffered);
  assert_non_null(batch);
  return batch;
}


static inline client client_with(sheaf_clock clock, int concurrency,
                                 const sheaf_pool_options *options, size_t max_buffered) {
  client it = {.engine = sheaf_engine_new(clock), .queue = sheaf_queue_new(concurrency)};
  const char *what;
  assert_non_null(it.engine);
  assert_int_equal(sheaf_engine_start(it.engine, &what), 0);
  it.batch = client_add_batch(it.queue, options, max_buffered);
  return it;
}


static inline client client_new(sheaf_clock clock, int concurrency) {
  return client_with(clock, concurrency, &client_pool, MAX_BUFFERED);
}


/* Requests that are still out are the test's to free, afterwards. */
static inline void client_stop(client *it) {
  sheaf_engine_free(it->engine);
  it->engine = NULL;
  sheaf_engine_discard(&it->taken);
}


static inline void client_free(client *it) {
  if (it->engine != NULL)
    client_stop(it);
  sheaf_batch_drop(it->batch);
  sheaf_queue_drop(it->queue);
}


static inline sheaf_request *client_request_to(client *it, sheaf_batch *batch, const char *address,
                                               const char *method, const char *body) {
  const char *why;
  sheaf_url *url = sheaf_url_new(address, &why);
  assert_non_null(url);
  sheaf_request *request =
      sheaf_request_new(batch, url, method, body, body != NULL ? strlen(body) : 0);
  sheaf_url_drop(url);
  assert_non_null(request);
  request->serial = request->item = ++it->serial;
  request->slot = (unsigned)it->serial;
  request->retry = (sheaf_retry_policy){
      .max = 5, .throttled = 20, .invalid = 2, .base = 0.5, .cap = 30, .jitter = SHEAF_JITTER_NONE};
  request->timeout = (sheaf_timeouts){.connect = 30, .attempt = ATTEMPT, .idle = IDLE,
                                      .total = INFINITY};
  request->max_body = MAX_BODY;
  return request;
}


/* A GET of this target from the server. */
static inline sheaf_request *client_request(client *it, const peer *server, const char *target) {
  char address[256];
  snprintf(address, sizeof address, "http://127.0.0.1:%d%s", server->port, target);
  return client_request_to(it, it->batch, address, "GET", NULL);
}


static inline sheaf_request *client_submit(client *it, sheaf_request *request) {
  request->tries.submitted = sheaf_engine_now(it->engine);
  request->tries.deadline = request->tries.submitted + request->timeout.total;
  sheaf_engine_submit(it->engine, request);
  return request;
}


static inline sheaf_request *client_get(client *it, const peer *server, const char *target) {
  return client_submit(it, client_request(it, server, target));
}


static inline void client_cancel(client *it, sheaf_request *request) {
  sheaf_engine_post(it->engine, &request->cancel, SHEAF_CANCEL);
}


static inline sheaf_timer *client_timer(client *it, double seconds, unsigned long long id) {
  sheaf_timer *timer = calloc(1, sizeof *timer);
  assert_non_null(timer);
  timer->id = id;
  timer->due = sheaf_engine_now(it->engine) + seconds;
  sheaf_engine_post(it->engine, &timer->mail, SHEAF_TIMER);
  return timer;
}


static inline void client_set_concurrency(client *it, int concurrency) {
  sheaf_change *change = calloc(1, sizeof *change);
  assert_non_null(change);
  change->batch = sheaf_batch_keep(it->batch);
  change->concurrency = concurrency;
  sheaf_engine_post(it->engine, &change->mail, SHEAF_CHANGE);
}


static inline bool client_readable(const client *it) {
  struct pollfd fd = {.fd = sheaf_engine_fd(it->engine), .events = POLLIN};
  return poll(&fd, 1, 0) == 1;
}


/* Waits until more has come back. */
static inline void client_take(client *it) {
  struct pollfd fd = {.fd = sheaf_engine_fd(it->engine), .events = POLLIN};
  if (poll(&fd, 1, PEER_PATIENCE * 1000) != 1)
    fail_msg("nothing came back from the engine");
  sheaf_engine_take(it->engine, &it->taken);
}


/* The next message that comes back. */
static inline sheaf_message *client_next(client *it) {
  while (it->taken.first == NULL)
    client_take(it);
  return sheaf_chain_take(&it->taken);
}


static inline sheaf_message *client_expect(client *it, int type) {
  sheaf_message *message = client_next(it);
  assert_int_equal(message->type, type);
  return message;
}


/* The next message, which must be a whole answer. */
static inline sheaf_request *client_done(client *it) {
  sheaf_request *request =
      CLIENT_OWNER(client_expect(it, SHEAF_DONE), sheaf_request, mail);
  sheaf_engine_consumed(it->engine, request);
  return request;
}


/* The next message must be this request's answer, without an error. */
static inline void client_expect_ok(client *it, const sheaf_request *request) {
  const sheaf_request *done = client_done(it);
  assert_ptr_equal(done, request);
  if (done->answer.kind != SHEAF_KIND_NONE)
    fail_msg("kind %s, status %d: %s", sheaf_kind_name(done->answer.kind), done->answer.status,
             done->answer.message != NULL ? done->answer.message : "");
  assert_int_equal(done->answer.status, 200);
}


static inline void client_expect_cancelled(client *it, const sheaf_request *request) {
  assert_ptr_equal(CLIENT_OWNER(client_expect(it, SHEAF_CANCELLED), sheaf_request, cancel), request);
}


/* Takes a message of one timer out of what came back, if it is there. */
static inline bool client_remove(client *it, const sheaf_timer *timer) {
  sheaf_chain rest = {NULL, NULL};
  sheaf_message *message;
  bool found = false;
  while ((message = sheaf_chain_take(&it->taken)) != NULL) {
    if (message == &timer->mail)
      found = true;
    else
      sheaf_chain_append(&rest, message);
  }
  it->taken = rest;
  return found;
}


/* Waits until the I/O thread has taken what was posted before, at the time the clock shows now, has
   started what may start and ended what is due. A timer that is due at once comes back from the pass after the
   one that read it; a second one, so that what the first pass began has had its pass, too. */
static inline void client_settle(client *it) {
  for (int pass = 0; pass < 2; pass++) {
    sheaf_timer *timer = client_timer(it, 0, 0);
    while (!client_remove(it, timer))
      client_take(it);
    free(timer);
  }
}


/* Nothing has come back, and nothing that was posted before now will bring anything. */
static inline void client_expect_silence(client *it) {
  client_settle(it);
  assert_null(it->taken.first);
}

#endif
