#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "headers.h"
#include "pool.h"

/* How attempts end, and what follows. */


/* Takes the request off the wire and gives its permit back. */
static void leave_wire(sheaf_engine *engine, sheaf_request *request) {
  sheaf_batch *batch = request->batch;
  sheaf_queue *queue = batch->queue;
  if (request->wire_previous != NULL)
    request->wire_previous->wire_next = request->wire_next;
  else
    batch->wire_first = request->wire_next;
  if (request->wire_next != NULL)
    request->wire_next->wire_previous = request->wire_previous;
  else
    batch->wire_last = request->wire_previous;
  double oldest = batch->wire_first != NULL ? batch->wire_first->times.started : 0;
  atomic_store_explicit(&batch->counters.oldest, oldest, memory_order_relaxed);
  request->wired = false;
  if (request->transfer != NULL)
    sheaf_pool_release(engine, request);
  sheaf_count(&batch->counters.in_flight, -1);
  engine->on_wire--;
  sheaf_limiter_release(&queue->limiter);
  sheaf_admission_look(engine, queue);
}


/* Leaves whatever stage it is in; after this the request is in no heap and has no permit. */
static void leave_stage(sheaf_engine *engine, sheaf_request *request) {
  if (request->wired)
    leave_wire(engine, request);
  else if (request->stage == SHEAF_STAGE_BACKOFF)
    sheaf_count(&request->batch->counters.backing_off, -1);
  else
    sheaf_admission_withdraw(engine, request);
  sheaf_io_set_timer(engine, request, INFINITY);
}


static void tell(sheaf_engine *engine, const sheaf_request *request, const sheaf_verdict *verdict) {
  sheaf_notice *notice = request->told ? malloc(sizeof *notice) : NULL;
  if (notice == NULL)
    return;
  notice->slot = request->slot;
  notice->attempt = request->attempts;
  notice->status = request->answer.status;
  notice->kind = verdict->kind;
  notice->wait = fmax(0, verdict->at - engine->now);
  notice->mail.type = SHEAF_RETRIED;
  sheaf_io_send(engine, &notice->mail);
}


void sheaf_attempt_again(sheaf_engine *engine, sheaf_request *request, double at) {
  request->stage = SHEAF_STAGE_BACKOFF;
  sheaf_count(&request->batch->counters.backing_off, 1);
  sheaf_io_set_timer(engine, request, at);
}


void sheaf_attempt_fail(sheaf_engine *engine, sheaf_request *request, sheaf_kind kind,
                        const char *message) {
  sheaf_answer *answer = &request->answer;
  request->times.ended = engine->now;
  answer->kind = kind;
  if (message != NULL) {
    free(answer->message);
    answer->message = strdup(message);
  }
  sheaf_io_deliver(engine, request);
}


/* {======================================================
** Redirects
** ======================================================= */

static bool is_redirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}


/* Points the request at where the answer redirects it to. False if it must not be followed: none asked
   for, too many, or to another scheme, host or port, where its credentials have no business. */
static bool follow(sheaf_request *request) {
  const sheaf_answer *answer = &request->answer;
  const char *value;
  size_t length;
  if (answer->kind != SHEAF_KIND_NONE || !is_redirect(answer->status) || request->redirects == 0 ||
      !sheaf_header_find(answer->head.bytes, answer->head.length, "location", &value, &length))
    return false;
  char *location = strndup(value, length);
  const char *why;
  sheaf_url *url = location != NULL ? sheaf_url_follow(request->url, location, &why) : NULL;
  free(location);
  if (url == NULL)
    return false;
  if (strcmp(url->origin, request->url->origin) != 0) {
    sheaf_url_drop(url);
    return false;
  }
  sheaf_url_drop(request->url);
  request->url = url;
  request->redirects--;
  bool keeps_method = answer->status == 307 || answer->status == 308;
  bool was_post = strcmp(request->method, "POST") == 0;
  if (!keeps_method && (was_post || answer->status == 303) && strcmp(request->method, "HEAD") != 0) {
    request->method = "GET";
    request->body = NULL;
    request->body_length = 0;
  }
  return true;
}

/* }====================================================== */


static sheaf_outcome outcome_of(const sheaf_request *request, bool permanent, bool resent) {
  const sheaf_answer *answer = &request->answer;
  const char *head = answer->head.bytes;
  size_t length = answer->head.length;
  sheaf_outcome outcome = {.kind = answer->kind,
                           .permanent = permanent,
                           .resent = resent,
                           .status = answer->status,
                           .retry_after = -1,
                           .should_retry = -1};
  if (answer->kind == SHEAF_KIND_NONE && answer->status >= 300) {
    outcome.retry_after = sheaf_retry_after(head, length, sheaf_clock_wall());
    outcome.should_retry = sheaf_should_retry(head, length);
    outcome.quota = sheaf_body_tells_quota(answer->body.bytes, answer->body.length);
  }
  return outcome;
}


void sheaf_attempt_end(sheaf_engine *engine, sheaf_request *request, bool permanent, bool resent) {
  request->times.ended = engine->now;
  leave_stage(engine, request);
  if (follow(request)) {
    sheaf_log_attempt(engine, request, SHEAF_KIND_NONE, "redirect", 0);
    sheaf_attempt_again(engine, request, engine->now);
    return;
  }
  sheaf_outcome outcome = outcome_of(request, permanent, resent);
  request->answer.retry_after = outcome.retry_after;
  request->fresh = resent;
  if (outcome.status == 429 && outcome.kind == SHEAF_KIND_NONE)
    sheaf_count(&request->batch->counters.throttled, 1);
  sheaf_verdict verdict =
      sheaf_retry_verdict(&request->retry, &request->tries, &outcome, engine->now);
  bool again = verdict.action == SHEAF_ACTION_RETRY;
  sheaf_log_attempt(engine, request, verdict.kind, verdict.why, again ? verdict.at - engine->now : -1);
  if (again) {
    tell(engine, request, &verdict);
    sheaf_attempt_again(engine, request, verdict.at);
    return;
  }
  request->answer.kind = verdict.kind;
  sheaf_io_deliver(engine, request);
}


/* {======================================================
** Timers
** ======================================================= */

static void time_out(sheaf_engine *engine, sheaf_request *request, const char *what, double seconds) {
  char text[96];
  snprintf(text, sizeof text, "%s %g s", what, seconds);
  sheaf_answer_free(&request->answer);
  request->answer.message = strdup(text);
  request->answer.kind = SHEAF_KIND_TIMEOUT;
  sheaf_attempt_end(engine, request, false, false);
}


/* Sets the timer to when an attempt on the wire would be late. Before the first byte the idle time has no
   start: it is looked at again once it might have. */
static void watch(sheaf_engine *engine, sheaf_request *request, double idle_from) {
  const sheaf_timeouts *timeout = &request->timeout;
  double whole = request->times.sent > 0 ? request->times.sent + timeout->attempt : INFINITY;
  double at = fmin(whole, idle_from + timeout->idle);
  sheaf_io_set_timer(engine, request, fmin(at, request->tries.deadline));
}


void sheaf_attempt_sent(sheaf_engine *engine, sheaf_request *request) {
  watch(engine, request, request->times.sent);
}


/* An attempt on the wire: ends it if it is late, else sets the timer again. Bytes only move last_byte, so
   that an answer in a thousand pieces costs one timer. */
static void check_wire(sheaf_engine *engine, sheaf_request *request) {
  const sheaf_times *times = &request->times;
  const sheaf_timeouts *timeout = &request->timeout;
  bool began = times->first_byte > 0;
  if (times->sent > 0 && engine->now >= times->sent + timeout->attempt)
    time_out(engine, request, began ? "the answer was not whole after" : "no answer after",
             timeout->attempt);
  else if (began && engine->now >= times->last_byte + timeout->idle)
    time_out(engine, request, "nothing more of the answer came for", timeout->idle);
  else
    watch(engine, request, began ? times->last_byte : engine->now);
}


void sheaf_attempt_timer(sheaf_engine *engine, sheaf_request *request) {
  if (request->stage == SHEAF_STAGE_BACKOFF) {
    leave_stage(engine, request);
    sheaf_admission_ready(engine, request);
  } else if (engine->now >= request->tries.deadline) {
    if (request->wired)
      sheaf_answer_clear(&request->answer);  /* half an answer; without it, the last attempt's */
    leave_stage(engine, request);
    sheaf_log_attempt(engine, request, SHEAF_KIND_DEADLINE, "timeout.total is over", -1);
    char text[64];
    snprintf(text, sizeof text, "not done within timeout.total, %g s", request->timeout.total);
    sheaf_attempt_fail(engine, request, SHEAF_KIND_DEADLINE, text);
  } else if (request->stage == SHEAF_STAGE_WIRE)
    check_wire(engine, request);
  else if (request->stage == SHEAF_STAGE_ANSWERED)
    /* A transport that raised would raise again. */
    sheaf_attempt_end(engine, request, request->answer.kind == SHEAF_KIND_INTERNAL, false);
}

/* }====================================================== */


void sheaf_attempt_cancel(sheaf_engine *engine, sheaf_request *request) {
  if (request->stage != SHEAF_STAGE_LUA) {
    leave_stage(engine, request);
    request->stage = SHEAF_STAGE_LUA;
    engine->live--;
  }
  request->cancel.type = SHEAF_CANCELLED;
  sheaf_io_send(engine, &request->cancel);
}
