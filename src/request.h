/* One request from submit to its response. Made and freed by the Lua thread; between posting it to the
   engine and getting it back it belongs to the I/O thread, and the Lua thread may only post its
   cancel message. */
#ifndef SHEAF_REQUEST_H
#define SHEAF_REQUEST_H

#include <stdint.h>

#include "batch.h"
#include "mailbox.h"
#include "retry.h"
#include "url.h"

#pragma GCC visibility push(hidden)

/* Where a request is, as the I/O thread sees it. */
typedef enum sheaf_stage {
  SHEAF_STAGE_LUA,              /* not the I/O thread's: not posted yet, or handed over */
  SHEAF_STAGE_READY,            /* in its batch's heap, waiting for a permit */
  SHEAF_STAGE_PARKED,           /* its host or pool is full: in the heap of that one */
  SHEAF_STAGE_WIRE,             /* an attempt is running */
  SHEAF_STAGE_ASKED,            /* its transport is asked for an answer; holds a permit */
  SHEAF_STAGE_ANSWERED,         /* its transport's answer waits for its delay; holds a permit */
  SHEAF_STAGE_BACKOFF           /* waits for its next attempt */
} sheaf_stage;

/* Seconds; INFINITY: no limit. */
typedef struct sheaf_timeouts {
  double connect;               /* name, TCP and TLS */
  double attempt;               /* from sending an attempt to its last byte */
  double idle;                  /* between two bytes of an answer */
  double total;                 /* from submit, through queue and retries */
} sheaf_timeouts;

/* Bytes that grow. */
typedef struct sheaf_buffer {
  char *bytes;
  size_t length, capacity;
} sheaf_buffer;

/* How the last attempt ended: what the response is made of. */
typedef struct sheaf_answer {
  sheaf_kind kind;              /* SHEAF_KIND_NONE: status tells */
  int status;                   /* 0: there was no answer */
  sheaf_buffer head, body;      /* the head as it came, from its status line on */
  char *message;                /* what libcurl or the transport said of a failure, or NULL */
  double retry_after;           /* seconds, -1: not told */
} sheaf_answer;

/* Of the last attempt, by the engine's clock; 0: not reached. */
typedef struct sheaf_times {
  double started;               /* it got its permit */
  double sent;                  /* its connection was ready */
  double first_byte;
  double last_byte;
  double ended;
} sheaf_times;

typedef struct sheaf_request {
  sheaf_message mail;           /* there and back */
  sheaf_message cancel;         /* Lua thread to I/O thread and back; then the request may be freed */

  /* Set by the Lua thread before posting, then read by both: */
  sheaf_batch *batch;           /* holds a reference */
  unsigned slot;                /* its number on the Lua side */
  int priority;                 /* higher goes first */
  uint64_t item, serial;        /* age: lower goes first */
  sheaf_retry_policy retry;
  sheaf_timeouts timeout;
  size_t max_body;              /* bytes, after decompression */
  bool transport;               /* attempts are answered by a function on the Lua thread */
  bool judged;                  /* a 2xx is only done when the Lua side has accepted it */
  bool told;                    /* on_retry wants to know */
  char *label;                  /* for SHEAF_LOG; NULL where there is none */
  struct curl_slist *headers;   /* over the batch's; "name:" takes one away */

  /* Whoever owns it: */
  sheaf_url *url;               /* a redirect may change these four */
  const char *method;           /* static, or in `text` */
  const char *body;             /* in `text`; NULL: none */
  size_t body_length;
  int redirects;                /* how many may still be followed */
  int attempts;                 /* begun */
  sheaf_retry_state tries;
  sheaf_answer answer;
  sheaf_times times;

  /* The I/O thread's: */
  sheaf_stage stage;
  sheaf_heap_node order;        /* in a ready or a parked heap */
  sheaf_heap *parked;           /* which one, while PARKED */
  sheaf_heap_node timer;        /* in the engine's timers */
  double due;                   /* when that fires */
  struct sheaf_transfer *transfer;
  struct sheaf_host *host;
  struct sheaf_request *wire_next, *wire_previous;
  bool wired;                   /* in the batch's list of what is on the wire */
  bool fresh;                   /* the next attempt takes a new connection */
  bool unread;                  /* its answer still counts as buffered */

  sheaf_buffer text;            /* method and body */
  struct sheaf_request *next_spare;  /* the Lua thread's: among those to be used again */
} sheaf_request;

/* A new request, or NULL on no memory. Copies method and body, takes references of batch and url;
   everything else is zero, for the caller to fill in. */
sheaf_request *sheaf_request_new(sheaf_batch *batch, sheaf_url *url, const char *method,
                                 const char *body, size_t body_length);
void sheaf_request_free(sheaf_request *request);

/* Lets go of all but the request's memory; then it can be filled again, as a new one is. Saves five
   allocations a request, of which two would cross threads. Filling is false on no memory. */
void sheaf_request_clear(sheaf_request *request);
bool sheaf_request_fill(sheaf_request *request, sheaf_batch *batch, sheaf_url *url,
                        const char *method, const char *body, size_t body_length);

/* Empties the answer for the next attempt, keeping its buffers. */
void sheaf_answer_clear(sheaf_answer *answer);

/* Frees what an answer holds and leaves it empty. */
void sheaf_answer_free(sheaf_answer *answer);

/* False on no memory, with the buffer as it was. */
bool sheaf_buffer_append(sheaf_buffer *buffer, const char *bytes, size_t length);

/* Which of two requests goes first; for the heaps of what waits. DESIGN.md §4, "Order on the wire". */
bool sheaf_request_before(const sheaf_heap_node *a, const sheaf_heap_node *b);

#pragma GCC visibility pop

#endif
