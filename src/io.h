/* What the I/O thread has, and what its files call in each other. Everything here is touched by the I/O
   thread only, except where a field says otherwise. */
#ifndef SHEAF_IO_H
#define SHEAF_IO_H

#include <pthread.h>

#include "engine.h"
#include "poller.h"

#pragma GCC visibility push(hidden)

typedef struct sheaf_shard sheaf_shard;
typedef struct sheaf_host sheaf_host;
typedef struct sheaf_pool sheaf_pool;
typedef struct sheaf_transfer sheaf_transfer;

/* What the engine knows of a descriptor that libcurl uses, indexed by its number. */
typedef struct sheaf_socket {
  sheaf_shard *shard;
  sheaf_host *host;             /* whose connection it is; NULL: a resolver's, say */
  unsigned char registered;     /* what the poller watches it for */
  unsigned char wanted;         /* what libcurl wants to know of; 0: it has put it aside */
  bool ours;                    /* opened by us, and closed by us: may stay registered when put aside */
} sheaf_socket;

struct sheaf_engine {
  /* Set before the thread starts, then constant: */
  sheaf_clock clock;
  pthread_t thread;
  unsigned generation;          /* of the process: forked children have others */
  bool running;                 /* the Lua thread's */
  struct sheaf_engine *registered_next;  /* guarded by the process's list lock: process.c */

  /* Shared: */
  sheaf_mailbox inbox, outbox;
  atomic_bool stop;             /* end everything and return */
  atomic_bool abandon;          /* with stop: the process exits, leave all as it is */
  atomic_size_t buffered;       /* bytes of answers not yet copied by the Lua thread */
  atomic_bool starved;          /* admission waits for buffered to fall */

  /* The I/O thread's: */
  sheaf_poller *poller;
  double now;                   /* by clock, at the last wake-up */
  sheaf_chain out;              /* goes to the outbox, at once or when a few have gathered */
  int out_done;                 /* responses in it */
  bool out_urgent;              /* something else is in it */
  double out_since;             /* when the first came, by clock */
  int on_wire;                  /* attempts in progress */
  sheaf_heap timers;            /* of sheaf_request.timer */
  sheaf_heap sleepers;          /* of sheaf_timer.node */
  size_t live;                  /* requests the I/O thread has: the size timers and heaps must have */
  sheaf_queue *queues;          /* those with something to admit */
  sheaf_queue *held;            /* those that would, if the outbox weren't full */
  sheaf_pool *pools;
  sheaf_socket *sockets;
  size_t sockets_size;
  sheaf_shard *touched;         /* shards that may have finished transfers */
  sheaf_host *opened;           /* hosts whose waiting requests may go on */
  uint64_t random;
  int log;                      /* SHEAF_LOG: 0 nothing, 1 info, 2 debug */
};

/* --- io.c --- */

/* Before the thread starts: its heaps. */
void sheaf_io_init(sheaf_engine *engine);

/* The thread itself; data is the engine. */
void *sheaf_io_run(void *data);

/* Hands a request with its answer to the Lua thread. */
void sheaf_io_deliver(sheaf_engine *engine, sheaf_request *request);

/* Has the Lua thread ask a request's transport for an answer; the request stays ours. */
void sheaf_io_ask(sheaf_engine *engine, sheaf_request *request);

/* Sends any other message to the Lua thread. */
void sheaf_io_send(sheaf_engine *engine, sheaf_message *message);

/* Sets, moves or (INFINITY) removes a request's timer. Can't fail: room was reserved at submit. */
void sheaf_io_set_timer(sheaf_engine *engine, sheaf_request *request, double at);

/* --- admission.c: the way from submit to the wire --- */

/* Puts a request into its batch's heap. */
void sheaf_admission_ready(sheaf_engine *engine, sheaf_request *request);

/* Takes a waiting request out of whatever heap it is in. */
void sheaf_admission_withdraw(sheaf_engine *engine, sheaf_request *request);

/* Starts what limiters, pools and hosts have room for. */
void sheaf_admission_run(sheaf_engine *engine);

/* Asks for a look at a queue in the next pass: a permit came back, or its limit changed. */
void sheaf_admission_look(sheaf_engine *engine, sheaf_queue *queue);

/* Lets go of all queues, at the end. */
void sheaf_admission_forget(sheaf_engine *engine);

/* --- attempt.c: how attempts end, and what follows --- */

/* An attempt has ended as request->answer tells. `permanent` and `resent` as in sheaf_outcome. Gives
   the permit back and hands the request over or schedules its next attempt. */
void sheaf_attempt_end(sheaf_engine *engine, sheaf_request *request, bool permanent, bool resent);

/* A request ends without (another) attempt. The message is copied; NULL: none. */
void sheaf_attempt_fail(sheaf_engine *engine, sheaf_request *request, sheaf_kind kind,
                        const char *message);

/* Schedules the next attempt of a request that holds no permit, at `at`. */
void sheaf_attempt_again(sheaf_engine *engine, sheaf_request *request, double at);

/* The request goes out on a connection that is ready: sets its first timer. */
void sheaf_attempt_sent(sheaf_engine *engine, sheaf_request *request);

/* The request's timer has fired. */
void sheaf_attempt_timer(sheaf_engine *engine, sheaf_request *request);

/* The Lua thread has cancelled the request: forgets it, wherever it is. */
void sheaf_attempt_cancel(sheaf_engine *engine, sheaf_request *request);

/* --- pool.c: hosts and shards --- */

/* The pool for a batch, made if there is none. NULL on no memory. */
sheaf_pool *sheaf_pool_for(sheaf_engine *engine, sheaf_batch *batch);

/* The host of a request in its pool. NULL on no memory. */
sheaf_host *sheaf_pool_host(sheaf_pool *pool, const sheaf_url *url);

/* NULL where an attempt to the host may start; else the heap in which a request waits for that. */
sheaf_heap *sheaf_pool_full(sheaf_host *host);

/* Moves what waited for room at the host back to its batch. */
void sheaf_pool_unpark(sheaf_engine *engine, sheaf_host *host);

/* The same for all hosts that got their connection since. */
void sheaf_pools_unpark(sheaf_engine *engine);

/* Starts an attempt on the wire. Returns false with request->answer telling what the machine refused. */
bool sheaf_pool_start(sheaf_request *request);

/* Takes the request's transfer off the wire, finished or not. */
void sheaf_pool_release(sheaf_engine *engine, sheaf_request *request);

void sheaf_pools_free(sheaf_engine *engine);

/* --- multi.c: libcurl's multi handles, sockets and timers --- */

/* Tells libcurl of what the poller found. */
void sheaf_multi_event(sheaf_engine *engine, const sheaf_event *event);

/* Runs the shards whose deadline has come, and ends the transfers that finished. */
void sheaf_multi_run(sheaf_engine *engine);

/* How long the poller may wait for the shards' sake: seconds, 0 or more; INFINITY: without end. */
double sheaf_multi_patience(const sheaf_engine *engine);

/* --- log.c --- */

/* One line for an attempt that ended. `wait` < 0: it was the last one. */
void sheaf_log_attempt(const sheaf_engine *engine, const sheaf_request *request, sheaf_kind kind,
                       const char *why, double wait);

#pragma GCC visibility pop

#endif
