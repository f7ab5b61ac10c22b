#include "io.h"

#include <math.h>
#include <stdlib.h>

/* The I/O thread: its timers, its messages, its loop. */

#define EVENTS_AT_ONCE 256

/* Answers are handed over when there is one for every so many attempts on the wire, at most so many, and
   after so many seconds in any case. */
#define HOLD_SHARE 8
#define HOLD_MOST 32
#define HOLD 0.0005


/* {======================================================
** Timers
** ======================================================= */

static bool request_due_before(const sheaf_heap_node *a, const sheaf_heap_node *b) {
  return SHEAF_HEAP_OWNER(a, sheaf_request, timer)->due <
         SHEAF_HEAP_OWNER(b, sheaf_request, timer)->due;
}


static bool timer_due_before(const sheaf_heap_node *a, const sheaf_heap_node *b) {
  return SHEAF_HEAP_OWNER(a, sheaf_timer, node)->due < SHEAF_HEAP_OWNER(b, sheaf_timer, node)->due;
}


void sheaf_io_init(sheaf_engine *engine) {
  sheaf_heap_init(&engine->timers, request_due_before);
  sheaf_heap_init(&engine->sleepers, timer_due_before);
}


void sheaf_io_set_timer(sheaf_engine *engine, sheaf_request *request, double at) {
  if (at == INFINITY) {
    sheaf_heap_remove(&engine->timers, &request->timer);
    return;
  }
  request->due = at;
  if (sheaf_heap_contains(&request->timer))
    sheaf_heap_update(&engine->timers, &request->timer);
  else
    (void)sheaf_heap_push(&engine->timers, &request->timer);
}


static void fire(sheaf_engine *engine, sheaf_timer *timer) {
  timer->mail.type = SHEAF_FIRED;
  sheaf_io_send(engine, &timer->mail);
}


static void run_timers(sheaf_engine *engine) {
  sheaf_heap_node *node;
  while ((node = sheaf_heap_top(&engine->timers)) != NULL) {
    sheaf_request *request = SHEAF_HEAP_OWNER(node, sheaf_request, timer);
    if (request->due > engine->now)
      break;
    sheaf_heap_remove(&engine->timers, node);
    sheaf_attempt_timer(engine, request);
  }
  while ((node = sheaf_heap_top(&engine->sleepers)) != NULL) {
    sheaf_timer *timer = SHEAF_HEAP_OWNER(node, sheaf_timer, node);
    if (timer->due > engine->now)
      break;
    sheaf_heap_remove(&engine->sleepers, node);
    fire(engine, timer);
  }
}

/* }====================================================== */


/* {======================================================
** Messages
** ======================================================= */

void sheaf_io_send(sheaf_engine *engine, sheaf_message *message) {
  sheaf_chain_append(&engine->out, message);
  engine->out_urgent = true;
}


void sheaf_io_ask(sheaf_engine *engine, sheaf_request *request) {
  request->mail.type = SHEAF_ASK;
  sheaf_io_send(engine, &request->mail);
}


void sheaf_io_deliver(sheaf_engine *engine, sheaf_request *request) {
  sheaf_io_set_timer(engine, request, INFINITY);
  request->stage = SHEAF_STAGE_LUA;
  request->unread = true;
  atomic_fetch_add(&engine->buffered, request->answer.body.length);
  engine->live--;
  request->mail.type = SHEAF_DONE;
  sheaf_chain_append(&engine->out, &request->mail);
  if (engine->out_done++ == 0)
    engine->out_since = engine->now;
}


/* Waking the Lua thread costs more than an answer. With many attempts on the wire, answers are handed over
   a few at a time, or after HOLD; with few, each at once. */
static double hold_until(const sheaf_engine *engine) {
  int few = engine->on_wire / HOLD_SHARE;
  if (engine->out.first == NULL)
    return INFINITY;
  if (engine->out_urgent || engine->out_done >= (few < HOLD_MOST ? few : HOLD_MOST))
    return engine->now;
  return engine->out_since + HOLD;
}


static void post_out(sheaf_engine *engine) {
  if (hold_until(engine) > engine->now)
    return;
  sheaf_mailbox_post(&engine->outbox, &engine->out, NULL);
  engine->out_done = 0;
  engine->out_urgent = false;
}


/* A request becomes the I/O thread's. Room for its timer is made here, once, so that setting one can't
   fail later. False where there is no memory for it; then it went back at once. */
static bool adopt(sheaf_engine *engine, sheaf_request *request) {
  engine->live++;
  if (sheaf_heap_reserve(&engine->timers, engine->live))
    return true;
  sheaf_attempt_fail(engine, request, SHEAF_KIND_INTERNAL, "not enough memory");
  return false;
}


static void submit(sheaf_engine *engine, sheaf_request *request) {
  /* Any odd number will do, but 0 would stay 0 for ever. */
  request->tries.random = (engine->random += 0x9E3779B97F4A7C15u) | 1;
  if (adopt(engine, request))
    sheaf_admission_ready(engine, request);
}


static void answer(sheaf_engine *engine, sheaf_request *request) {
  double late = request->times.started + request->timeout.attempt;
  request->stage = SHEAF_STAGE_ANSWERED;
  request->times.sent = request->times.started;
  request->times.first_byte = request->times.last_byte = request->due;
  if (request->due > late) {
    sheaf_answer_clear(&request->answer);
    request->answer.kind = SHEAF_KIND_TIMEOUT;
    request->due = late;
  }
  sheaf_io_set_timer(engine, request, fmin(request->due, request->tries.deadline));
}


static void change(sheaf_engine *engine, sheaf_change *change_) {
  sheaf_batch *batch = change_->batch;
  if (change_->concurrency > 0) {
    sheaf_limiter_set(&batch->queue->limiter, change_->concurrency);
    sheaf_admission_look(engine, batch->queue);
  }
  if (change_->headers != NULL) {
    sheaf_header_set_drop(batch->headers);
    batch->headers = change_->headers;
  }
  sheaf_batch_drop(batch);
  free(change_);
}


static void dispatch(sheaf_engine *engine, sheaf_message *message) {
  switch (message->type) {
    case SHEAF_SUBMIT:
      submit(engine, SHEAF_MESSAGE_OWNER(message, sheaf_request, mail));
      break;
    case SHEAF_AGAIN: {
      sheaf_request *request = SHEAF_MESSAGE_OWNER(message, sheaf_request, mail);
      double at = request->due;
      if (adopt(engine, request))
        sheaf_attempt_again(engine, request, at);
      break;
    }
    case SHEAF_ANSWER:
      answer(engine, SHEAF_MESSAGE_OWNER(message, sheaf_request, mail));
      break;
    case SHEAF_CANCEL:
      sheaf_attempt_cancel(engine, SHEAF_MESSAGE_OWNER(message, sheaf_request, cancel));
      break;
    case SHEAF_TIMER: {
      sheaf_timer *timer = SHEAF_MESSAGE_OWNER(message, sheaf_timer, mail);
      if (!sheaf_heap_push(&engine->sleepers, &timer->node))
        fire(engine, timer);    /* without memory, too early is better than never */
      break;
    }
    case SHEAF_CHANGE:
      change(engine, SHEAF_MESSAGE_OWNER(message, sheaf_change, mail));
      break;
  }
}


static void read_inbox(sheaf_engine *engine) {
  sheaf_chain chain = {NULL, NULL};
  sheaf_message *message;
  sheaf_mailbox_take(&engine->inbox, &chain);
  /* Only now: a nudge that was taken tells of a clock that was moved before it. */
  engine->now = engine->clock();
  while ((message = sheaf_chain_take(&chain)) != NULL)
    dispatch(engine, message);
}

/* }====================================================== */


/* {======================================================
** The thread
** ======================================================= */

/* How long the poller may wait. */
static double patience(const sheaf_engine *engine) {
  double least = fmin(sheaf_multi_patience(engine), hold_until(engine) - engine->now);
  const sheaf_heap_node *node = sheaf_heap_top(&engine->timers);
  if (node != NULL)
    least = fmin(least, SHEAF_HEAP_OWNER(node, sheaf_request, timer)->due - engine->now);
  node = sheaf_heap_top(&engine->sleepers);
  if (node != NULL)
    least = fmin(least, SHEAF_HEAP_OWNER(node, sheaf_timer, node)->due - engine->now);
  return least == INFINITY ? -1 : fmax(0, least);
}


static void wait_for_events(sheaf_engine *engine, double seconds) {
  sheaf_event events[EVENTS_AT_ONCE];
  int count = sheaf_poller_wait(engine->poller, seconds, events, EVENTS_AT_ONCE);
  engine->now = engine->clock();
  for (int i = 0; i < count; i++) {
    if (events[i].fd != engine->inbox.read_fd)
      sheaf_multi_event(engine, &events[i]);
  }
}


/* For top, gdb and perf; 15 letters at most. */
static void name_thread(void) {
#if defined(__linux__)
  (void)pthread_setname_np(pthread_self(), "sheaf-io");
#endif
}


/* One pass: what came in, what is due, what may start, what ended. Everything for the Lua thread goes
   over in one go, so that it is woken once. */
void *sheaf_io_run(void *data) {
  sheaf_engine *engine = data;
  name_thread();
  for (;;) {
    read_inbox(engine);
    /* Looked at behind the inbox, whose reading may have taken the wake-up that came with it. */
    if (atomic_load(&engine->stop))
      break;
    run_timers(engine);
    sheaf_admission_run(engine);
    sheaf_multi_run(engine);
    post_out(engine);
    /* What is in the inbox keeps us from sleeping, not from looking: a Lua thread that submits without a
       pause would starve the wire. */
    if (engine->queues == NULL)
      wait_for_events(engine, sheaf_mailbox_waiting(&engine->inbox) ? 0 : patience(engine));
  }
  if (!atomic_load(&engine->abandon))
    sheaf_pools_free(engine);
  return NULL;
}

/* }====================================================== */
