/* The engine: one I/O thread that owns all connections and timers of one Lua state. It knows no Lua.
   All functions here are for the owning (Lua) thread; none of them waits, except stop. */
#ifndef SHEAF_ENGINE_H
#define SHEAF_ENGINE_H

#include <stdbool.h>
#include <stddef.h>

#include "batch.h"
#include "mailbox.h"
#include "request.h"

#pragma GCC visibility push(hidden)

typedef struct sheaf_engine sheaf_engine;

/* The types of messages, and the struct each is part of. */
enum {
  /* To the I/O thread: */
  SHEAF_SUBMIT = 1,             /* sheaf_request.mail: a new one */
  SHEAF_AGAIN,                  /* sheaf_request.mail: judged invalid, try again when due */
  SHEAF_ANSWER,                 /* sheaf_request.mail: the transport's answer, to be taken when due */
  SHEAF_CANCEL,                 /* sheaf_request.cancel */
  SHEAF_TIMER,                  /* sheaf_timer.mail: tell me when it is due */
  SHEAF_CHANGE,                 /* sheaf_change.mail */
  /* To the Lua thread: */
  SHEAF_DONE,                   /* sheaf_request.mail: answer is whole */
  SHEAF_ASK,                    /* sheaf_request.mail: its transport is to answer an attempt */
  SHEAF_CANCELLED,              /* sheaf_request.cancel: the last that is heard of it */
  SHEAF_RETRIED,                /* sheaf_notice.mail */
  SHEAF_FIRED                   /* sheaf_timer.mail */
};

/* Made by the Lua thread, freed by it when it comes back. */
typedef struct sheaf_timer {
  sheaf_message mail;
  sheaf_heap_node node;
  double due;                   /* by sheaf_engine_now */
  unsigned long long id;        /* the Lua side's */
} sheaf_timer;

/* New settings for a batch. Made by the Lua thread, freed by the I/O thread. */
typedef struct sheaf_change {
  sheaf_message mail;
  sheaf_batch *batch;           /* holds a reference */
  int concurrency;              /* 0: as it is */
  sheaf_header_set *headers;    /* NULL: as they are */
} sheaf_change;

/* That an attempt failed and another follows. Made by the I/O thread, freed by the Lua thread. */
typedef struct sheaf_notice {
  sheaf_message mail;
  unsigned slot;
  int attempt, status;
  sheaf_kind kind;
  double wait;                  /* seconds until the next attempt */
} sheaf_notice;

/* What SHEAF_LOG asks for: 0 nothing, 1 info, 2 debug. */
int sheaf_log_level(void);

typedef double (*sheaf_clock)(void);

/* Seconds of the monotonic clock. */
double sheaf_clock_monotonic(void);

/* Seconds since the epoch, for the dates that servers send. */
double sheaf_clock_wall(void);

/* Makes an engine without starting its thread. `clock` is what timeouts and backoff are measured with:
   sheaf_clock_monotonic, or a test's. Returns NULL and errno. */
sheaf_engine *sheaf_engine_new(sheaf_clock clock);

/* Starts the thread, if it isn't running. Returns 0, or an errno with *what naming what was refused. */
int sheaf_engine_start(sheaf_engine *engine, const char **what);

/* Ends all transfers, joins the thread and closes every descriptor. What was submitted is not handed
   back: its memory is the caller's again. In a forked child an engine that ran is left alone. */
void sheaf_engine_free(sheaf_engine *engine);

/* True in a child forked after the engine was made: it is the parent's, and can only be freed. */
bool sheaf_engine_alien(const sheaf_engine *engine);

/* True from a successful start on. */
bool sheaf_engine_running(const sheaf_engine *engine);

/* Posts a message of the given type. The thread must be running. */
void sheaf_engine_post(sheaf_engine *engine, sheaf_message *message, int type);

/* Posts a new request. The I/O thread is not woken for one that couldn't go out yet anyway. */
void sheaf_engine_submit(sheaf_engine *engine, sheaf_request *request);

/* Appends what has come back to chain. */
void sheaf_engine_take(sheaf_engine *engine, sheaf_chain *chain);

/* Frees the timers, notices and changes of a chain; its requests are on the caller's own list. */
void sheaf_engine_discard(sheaf_chain *chain);

/* Readable while there is something to take, or after wake. */
int sheaf_engine_fd(const sheaf_engine *engine);
void sheaf_engine_wake(sheaf_engine *engine);

/* Tells that the answer of a request that came back was copied and no longer counts as buffered. */
void sheaf_engine_consumed(sheaf_engine *engine, sheaf_request *request);

/* Now, by the engine's clock. */
double sheaf_engine_now(const sheaf_engine *engine);

/* For tests: makes the I/O thread look at its clock again. */
void sheaf_engine_nudge(sheaf_engine *engine);

#pragma GCC visibility pop

#endif
