/* Connections: a pool has shards (libcurl multi handles) and knows the hosts they go to. The I/O
   thread's, all of it. */
#ifndef SHEAF_POOL_H
#define SHEAF_POOL_H

#include <curl/curl.h>

#include "io.h"

#pragma GCC visibility push(hidden)

typedef enum sheaf_protocol { SHEAF_UNKNOWN, SHEAF_HTTP1, SHEAF_HTTP2 } sheaf_protocol;

/* One origin as seen from one pool. */
struct sheaf_host {
  char *origin;
  sheaf_pool *pool;
  bool secure;
  sheaf_protocol protocol;      /* UNKNOWN until the first answer */
  int busy;                     /* attempts on the wire */
  int sockets;                  /* open to it */
  sheaf_transfer *opening;      /* between being added and its socket; others wait for it */
  bool first;                   /* that opens the only connection */
  bool doubtful;                /* the last such attempt got no connection: others don't wait for one */
  int resolving;                /* attempts that want a connection and have no socket yet */
  bool shaking;                 /* that has a socket, which doesn't serve others yet */
  bool listed;                  /* in the engine's list of hosts that others may go to again */
  struct sheaf_host *opened_next;
  sheaf_shard *home;            /* HTTP/2: where its connection is */
  sheaf_heap waiting;           /* requests parked until there is room */
  struct sheaf_host *next;      /* in the pool's table */
};

/* One libcurl multi handle. libcurl walks all connections of a multi at each completion, so that a few
   hundred transfers each are cheaper than thousands in one. */
struct sheaf_shard {
  sheaf_pool *pool;
  CURLM *multi;
  int running;                  /* transfers added */
  double deadline;              /* when libcurl wants to be called, by the monotonic clock */
  bool touched;                 /* in the engine's list */
  struct sheaf_shard *touched_next;
};

/* A head longer than this, or with more lines, is no answer of an API: libcurl limits
   single lines only. */
#define SHEAF_MAX_HEAD (256 * 1024)
#define SHEAF_MAX_HEAD_LINES 1000

#define SHEAF_HOST_BUCKETS 64

struct sheaf_pool {
  sheaf_engine *engine;
  sheaf_pool_options options;
  CURLSH *share;                /* DNS and TLS sessions of all shards */
  sheaf_shard **shards;
  int shard_count;
  int busy;                     /* attempts on the wire */
  sheaf_heap waiting;           /* requests parked because `total` are on the wire */
  sheaf_host *hosts[SHEAF_HOST_BUCKETS];
  sheaf_transfer *active;       /* on the wire */
  sheaf_transfer *idle;         /* easy handles for reuse */
  int idle_count;
  struct sheaf_pool *next;
};

/* An easy handle with what it is doing. */
struct sheaf_transfer {
  CURL *easy;
  sheaf_pool *pool;
  sheaf_shard *shard;           /* while running */
  sheaf_host *host;             /* while running */
  sheaf_request *request;       /* while running */
  struct sheaf_transfer *next, *previous;  /* among the active; among the idle only next */
  /* What is set on the handle, so that only what changes is set again: */
  sheaf_url *url;               /* holds a reference */
  char method[16];              /* "": not set up */
  bool posts;                   /* set up with a body */
  double connect;               /* seconds; 0: not set up */
  bool pipewait, fresh;
  bool resolving;               /* counted in the host's */
  struct curl_slist *own;       /* header lines made for this request alone, or NULL */
  sheaf_header_set *shared;     /* the batch's, while running; holds a reference */
  /* Of this attempt: */
  int sent;                     /* how often libcurl came to send it */
  bool resent;                  /* it wanted to send again and was stopped */
  int head_lines;
  bool too_large, long_head, no_memory, no_descriptor;
  char error[CURL_ERROR_SIZE];
};

/* A new, idle transfer for a pool; NULL on no memory. */
sheaf_transfer *sheaf_transfer_new(sheaf_pool *pool);
void sheaf_transfer_free(sheaf_transfer *transfer);

/* Sets the easy handle up for its request. False on no memory. */
bool sheaf_transfer_prepare(sheaf_transfer *transfer);

/* Lets go of what belongs to the request; the handle is off its multi by now. */
void sheaf_transfer_finish(sheaf_transfer *transfer);

/* Fills the request's answer from what libcurl says of a finished transfer. Sets *permanent where
   another attempt would fail the same way. */
void sheaf_transfer_result(sheaf_transfer *transfer, CURLcode code, bool *permanent);

/* Counts connections and bytes into the batch's counters; before the handle is taken off its multi. */
void sheaf_transfer_count(const sheaf_transfer *transfer);

/* A new multi handle for a shard that keeps up to `connections`. NULL on no memory. */
CURLM *sheaf_multi_new(sheaf_shard *shard, int connections);

/* For the easy handle's socket options: opens and closes sockets in the engine's table. */
curl_socket_t sheaf_multi_open_socket(void *transfer, curlsocktype purpose,
                                      struct curl_sockaddr *address);
int sheaf_multi_close_socket(void *shard, curl_socket_t fd);

/* Has libcurl's multi handle of a shard work on what was just added. */
void sheaf_multi_kick(sheaf_shard *shard);

/* The transfer has its socket, or (`ready`) its connection: if others waited for that, they may go. */
void sheaf_pool_opened(sheaf_transfer *transfer, bool ready);

#pragma GCC visibility pop

#endif
