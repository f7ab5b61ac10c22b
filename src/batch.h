/* What the requests of one batch have in common: the limiter's queue they wait in, the pool their
   connections come from, their headers, and the counters. */
#ifndef SHEAF_BATCH_H
#define SHEAF_BATCH_H

#include <curl/curl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "heap.h"
#include "limiter.h"

#pragma GCC visibility push(hidden)

struct sheaf_pool;

/* How connections are made. Batches with equal options share a pool. */
typedef struct sheaf_pool_options {
  char *ca, *cert, *key;        /* files; NULL: the system's CAs, no client certificate */
  char *proxy, *no_proxy;       /* NULL: as the environment says, "": none */
  char *unix_socket;            /* a path; NULL: TCP */
  bool verify;                  /* certificates and host names */
  bool keepalive;               /* false: one connection per request */
  bool http2;
  int total, per_host;          /* attempts at once; 0: no limit but the limiter's */
  double idle;                  /* seconds an unused connection may still be used again */
} sheaf_pool_options;

/* Header lines, kept while an attempt that uses them is on the wire. The I/O thread's, but for the last
   reference, which goes with the batch. */
typedef struct sheaf_header_set {
  int references;
  struct curl_slist *lines;
} sheaf_header_set;

/* A limiter, and the requests that wait for it: one heap a batch. Shared by the batches that were made
   with the same limiter; the last one that goes frees it. */
typedef struct sheaf_queue {
  atomic_int references;
  /* All permits are out and more requests wait: one more is no reason to wake the I/O thread, which comes
     by as soon as a permit comes back. Set by the I/O thread, read by the Lua thread under the inbox's
     lock: cleared before the I/O thread looks into its inbox for the last time, and sleeps. */
  atomic_bool saturated;
  /* The I/O thread's: */
  sheaf_limiter limiter;
  struct sheaf_batch *ring;     /* the batches with requests waiting, circular; the next one to serve */
  bool listed;                  /* in the engine's list of queues to look at */
  struct sheaf_queue *next;     /* there */
} sheaf_queue;

/* Written by the I/O thread, read by any, each for itself: relaxed atomics. */
typedef struct sheaf_counters {
  atomic_llong attempts;        /* started */
  atomic_llong retried;         /* of these, not the first of their request */
  atomic_llong throttled;       /* answered with 429 */
  atomic_llong in_flight;       /* now on the wire */
  atomic_llong backing_off;     /* now waiting for their next attempt */
  atomic_llong opened, reused;  /* attempts that opened a connection, and that found one */
  atomic_llong bytes_in, bytes_out;
  _Atomic double oldest;        /* when the oldest attempt now on the wire began; 0: there is none */
} sheaf_counters;

typedef struct sheaf_batch {
  atomic_int references;        /* the Lua object's, and one for each request */
  sheaf_queue *queue;           /* holds a reference */
  sheaf_pool_options pool_options;
  size_t max_buffered;          /* bytes; while the outbox holds more, no attempt starts */
  sheaf_counters counters;
  /* The I/O thread's: */
  struct sheaf_pool *pool;      /* found at the first attempt */
  sheaf_header_set *headers;    /* sent with every request that doesn't overrule them */
  sheaf_heap ready;             /* requests waiting for a permit */
  struct sheaf_batch *ring_next, *ring_previous;  /* in the queue's ring, while ready isn't empty */
  struct sheaf_request *wire_first, *wire_last;   /* on the wire, in order of their start */
} sheaf_batch;

/* Appends a copy of a header line, "name: value"; "name:" takes a header away. False on no memory. */
bool sheaf_lines_append(struct curl_slist **lines, const char *line);
void sheaf_lines_free(struct curl_slist *lines);

/* A new set with one reference, or NULL on no memory. Takes over lines, also when it fails. */
sheaf_header_set *sheaf_header_set_new(struct curl_slist *lines);
void sheaf_header_set_drop(sheaf_header_set *set);

/* A new queue with one reference, or NULL on no memory. */
sheaf_queue *sheaf_queue_new(int concurrency);
sheaf_queue *sheaf_queue_keep(sheaf_queue *queue);
void sheaf_queue_drop(sheaf_queue *queue);

/* A new batch with one reference, or NULL on no memory. Takes a reference of queue; copies options;
   takes over headers, also when it fails. */
sheaf_batch *sheaf_batch_new(sheaf_queue *queue, const sheaf_pool_options *options,
                             sheaf_header_set *headers, size_t max_buffered);
sheaf_batch *sheaf_batch_keep(sheaf_batch *batch);
void sheaf_batch_drop(sheaf_batch *batch);

/* Deep copies and comparisons of pool options. Copying is false on no memory, with nothing to free. */
bool sheaf_pool_options_copy(sheaf_pool_options *to, const sheaf_pool_options *from);
void sheaf_pool_options_free(sheaf_pool_options *options);
bool sheaf_pool_options_equal(const sheaf_pool_options *a, const sheaf_pool_options *b);

/* A gauge or counter of sheaf_counters. */
static inline void sheaf_count(atomic_llong *counter, long long by) {
  atomic_fetch_add_explicit(counter, by, memory_order_relaxed);
}

#pragma GCC visibility pop

#endif
