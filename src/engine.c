#include "engine.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "io.h"
#include "process.h"

/* The Lua thread's side: start, stop, post and take. */


static double read_clock(clockid_t id) {
  struct timespec time;
  clock_gettime(id, &time);
  return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}


double sheaf_clock_monotonic(void) {
  return read_clock(CLOCK_MONOTONIC);
}


double sheaf_clock_wall(void) {
  return read_clock(CLOCK_REALTIME);
}


sheaf_engine *sheaf_engine_new(sheaf_clock clock) {
  sheaf_engine *engine = calloc(1, sizeof *engine);
  if (engine == NULL)
    return NULL;
  sheaf_process_enter();
  engine->clock = clock;
  engine->generation = sheaf_process_generation();
  engine->random = (uint64_t)(sheaf_clock_wall() * 1e9) ^ ((uint64_t)getpid() << 32);
  engine->log = sheaf_log_level();
  sheaf_io_init(engine);
  int error = sheaf_mailbox_open(&engine->inbox);
  if (error != 0) {
    free(engine);
    errno = error;
    return NULL;
  }
  error = sheaf_mailbox_open(&engine->outbox);
  if (error != 0) {
    sheaf_mailbox_close(&engine->inbox);
    free(engine);
    errno = error;
    return NULL;
  }
  return engine;
}


/* Signals belong to the host's threads: they are blocked while the new one (and those that libcurl
   starts for names) inherits its mask. */
static int start_thread(sheaf_engine *engine) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int error = pthread_create(&engine->thread, NULL, sheaf_io_run, engine);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return error;
}


int sheaf_engine_start(sheaf_engine *engine, const char **what) {
  if (engine->running)
    return 0;
  int error = sheaf_process_start(what);
  if (error != 0)
    return error;
  if (engine->poller == NULL) {
    *what = "an epoll descriptor";
    engine->poller = sheaf_poller_new();
    if (engine->poller == NULL)
      return errno;
    error = sheaf_poller_add(engine->poller, engine->inbox.read_fd, SHEAF_READABLE);
    if (error != 0) {
      sheaf_poller_free(engine->poller);
      engine->poller = NULL;
      return error;
    }
  }
  *what = "a thread";
  error = start_thread(engine);
  if (error == 0) {
    engine->running = true;
    sheaf_process_register(engine);
  }
  return error;
}


void sheaf_engine_halt(sheaf_engine *engine, bool abandon) {
  atomic_store(&engine->abandon, abandon);
  atomic_store(&engine->stop, true);
  sheaf_mailbox_wake(&engine->inbox);
  pthread_join(engine->thread, NULL);
}


void sheaf_engine_discard(sheaf_chain *chain) {
  sheaf_message *message;
  while ((message = sheaf_chain_take(chain)) != NULL) {
    switch (message->type) {
      case SHEAF_TIMER:
      case SHEAF_FIRED:
        free(SHEAF_MESSAGE_OWNER(message, sheaf_timer, mail));
        break;
      case SHEAF_RETRIED:
        free(SHEAF_MESSAGE_OWNER(message, sheaf_notice, mail));
        break;
      case SHEAF_CHANGE: {
        sheaf_change *dropped = SHEAF_MESSAGE_OWNER(message, sheaf_change, mail);
        if (dropped->headers != NULL)
          sheaf_header_set_drop(dropped->headers);
        sheaf_batch_drop(dropped->batch);
        free(dropped);
        break;
      }
    }
  }
}


static void free_lists(sheaf_engine *engine) {
  sheaf_chain chain = engine->out;
  sheaf_heap_node *node;
  sheaf_engine_discard(&chain);
  sheaf_mailbox_take(&engine->inbox, &chain);
  sheaf_engine_discard(&chain);
  sheaf_mailbox_take(&engine->outbox, &chain);
  sheaf_engine_discard(&chain);
  while ((node = sheaf_heap_pop(&engine->sleepers)) != NULL)
    free(SHEAF_HEAP_OWNER(node, sheaf_timer, node));
  sheaf_admission_forget(engine);
}


void sheaf_engine_free(sheaf_engine *engine) {
  if (engine->running && sheaf_engine_alien(engine))
    return;                     /* its locks may be held by a thread that isn't here */
  if (engine->running && sheaf_process_unregister(engine))
    sheaf_engine_halt(engine, false);
  free_lists(engine);
  if (engine->poller != NULL)
    sheaf_poller_free(engine->poller);
  sheaf_mailbox_close(&engine->inbox);
  sheaf_mailbox_close(&engine->outbox);
  sheaf_heap_free(&engine->timers);
  sheaf_heap_free(&engine->sleepers);
  free(engine->sockets);
  free(engine);
}


bool sheaf_engine_alien(const sheaf_engine *engine) {
  return engine->generation != sheaf_process_generation();
}


bool sheaf_engine_running(const sheaf_engine *engine) {
  return engine->running;
}


void sheaf_engine_post(sheaf_engine *engine, sheaf_message *message, int type) {
  sheaf_chain chain = {NULL, NULL};
  message->type = type;
  sheaf_chain_append(&chain, message);
  sheaf_mailbox_post(&engine->inbox, &chain, NULL);
}


/* One with a deadline has a timer to be set. */
void sheaf_engine_submit(sheaf_engine *engine, sheaf_request *request) {
  sheaf_chain chain = {NULL, NULL};
  bool may_wait = request->tries.deadline == INFINITY;
  request->mail.type = SHEAF_SUBMIT;
  sheaf_chain_append(&chain, &request->mail);
  sheaf_mailbox_post(&engine->inbox, &chain, may_wait ? &request->batch->queue->saturated : NULL);
}


void sheaf_engine_take(sheaf_engine *engine, sheaf_chain *chain) {
  sheaf_mailbox_take(&engine->outbox, chain);
}


int sheaf_engine_fd(const sheaf_engine *engine) {
  return engine->outbox.read_fd;
}


void sheaf_engine_wake(sheaf_engine *engine) {
  sheaf_mailbox_wake(&engine->outbox);
}


void sheaf_engine_nudge(sheaf_engine *engine) {
  sheaf_mailbox_wake(&engine->inbox);
}


void sheaf_engine_consumed(sheaf_engine *engine, sheaf_request *request) {
  if (!request->unread)
    return;
  request->unread = false;
  atomic_fetch_sub(&engine->buffered, request->answer.body.length);
  if (atomic_load(&engine->starved)) {
    atomic_store(&engine->starved, false);
    sheaf_mailbox_wake(&engine->inbox);
  }
}


double sheaf_engine_now(const sheaf_engine *engine) {
  return engine->clock();
}
