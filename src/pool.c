#include "pool.h"

#include <stdlib.h>
#include <string.h>

/* Transfers that one shard takes. Plain: where the cost of a completion, which grows with the number of
   connections of a multi, meets that of another multi. TLS: each multi reads the CA bundle once, 25 ms
   and 840 KB, so that fewer and larger ones pay. */
#define ROOM_PLAIN 256
#define ROOM_TLS 1024

/* Streams that libcurl puts on one HTTP/2 connection: its own limit, and RFC 9113 §6.5.2 asks servers to
   allow no fewer. */
#define STREAMS_PER_CONNECTION 100

/* Names of a host that doesn't answer that are looked up at once. */
#define RESOLVERS_MOST 4

/* Idle easy handles a pool keeps beyond what is on the wire. */
#define IDLE_TRANSFERS 64


/* {======================================================
** Pools and hosts
** ======================================================= */

static CURLSH *new_share(void) {
  CURLSH *share = curl_share_init();
  if (share == NULL)
    return NULL;
  if (curl_share_setopt(share, CURLSHOPT_SHARE, CURL_LOCK_DATA_DNS) == CURLSHE_OK &&
      curl_share_setopt(share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION) == CURLSHE_OK)
    return share;
  curl_share_cleanup(share);
  return NULL;
}


sheaf_pool *sheaf_pool_for(sheaf_engine *engine, sheaf_batch *batch) {
  for (sheaf_pool *pool = engine->pools; pool != NULL; pool = pool->next) {
    if (sheaf_pool_options_equal(&pool->options, &batch->pool_options))
      return pool;
  }
  sheaf_pool *pool = calloc(1, sizeof *pool);
  if (pool == NULL)
    return NULL;
  pool->engine = engine;
  pool->share = new_share();
  if (pool->share == NULL || !sheaf_pool_options_copy(&pool->options, &batch->pool_options)) {
    if (pool->share != NULL)
      curl_share_cleanup(pool->share);
    free(pool);
    return NULL;
  }
  sheaf_heap_init(&pool->waiting, sheaf_request_before);
  pool->next = engine->pools;
  engine->pools = pool;
  return pool;
}


/* FNV-1a. */
static unsigned bucket_of(const char *text) {
  unsigned hash = 2166136261u;
  for (; *text != '\0'; text++)
    hash = (hash ^ (unsigned char)*text) * 16777619u;
  return hash % SHEAF_HOST_BUCKETS;
}


sheaf_host *sheaf_pool_host(sheaf_pool *pool, const sheaf_url *url) {
  sheaf_host **bucket = &pool->hosts[bucket_of(url->origin)];
  for (sheaf_host *host = *bucket; host != NULL; host = host->next) {
    if (strcmp(host->origin, url->origin) == 0)
      return host;
  }
  sheaf_host *host = calloc(1, sizeof *host);
  if (host == NULL)
    return NULL;
  host->origin = strdup(url->origin);
  if (host->origin == NULL) {
    free(host);
    return NULL;
  }
  host->pool = pool;
  host->secure = url->secure;
  sheaf_heap_init(&host->waiting, sheaf_request_before);
  host->next = *bucket;
  *bucket = host;
  return host;
}


/* An attempt now would open a connection. */
static bool needs_connection(const sheaf_host *host) {
  if (host->protocol == SHEAF_HTTP2)
    return host->busy >= (host->sockets - (host->shaking ? 1 : 0)) * STREAMS_PER_CONNECTION;
  return host->busy >= host->sockets;
}


/* Another attempt would open a connection while one is being opened: a slow name would then cost a
   resolver thread each. But where that came to nothing, all of them would time out one by one. */
static bool opens_another(const sheaf_host *host) {
  bool busy = host->doubtful ? host->resolving >= RESOLVERS_MOST : host->opening != NULL;
  return busy && needs_connection(host);
}


sheaf_heap *sheaf_pool_full(sheaf_host *host) {
  sheaf_pool *pool = host->pool;
  if (pool->options.total > 0 && pool->busy >= pool->options.total)
    return &pool->waiting;
  if (pool->options.per_host > 0 && host->busy >= pool->options.per_host)
    return &host->waiting;
  return opens_another(host) ? &host->waiting : NULL;
}


static void unpark_top(sheaf_engine *engine, sheaf_heap *heap) {
  sheaf_request *request = SHEAF_HEAP_OWNER(sheaf_heap_pop(heap), sheaf_request, order);
  request->parked = NULL;
  sheaf_admission_ready(engine, request);
}


/* As many as there is room for, or all where that has no number: each start looks again. */
static void unpark(sheaf_engine *engine, sheaf_heap *heap, int limit, int busy) {
  int room = limit > 0 ? limit - busy : (int)heap->count;
  for (; room > 0 && heap->count > 0; room--)
    unpark_top(engine, heap);
}


void sheaf_pool_unpark(sheaf_engine *engine, sheaf_host *host) {
  sheaf_pool *pool = host->pool;
  unpark(engine, &pool->waiting, pool->options.total, pool->busy);
  if (!opens_another(host))
    unpark(engine, &host->waiting, pool->options.per_host, host->busy);
}

/* }====================================================== */


/* {======================================================
** Shards and transfers
** ======================================================= */

static sheaf_shard *add_shard(sheaf_pool *pool) {
  size_t count = (size_t)pool->shard_count;
  sheaf_shard **longer = realloc(pool->shards, (count + 1) * sizeof *longer);
  if (longer == NULL)
    return NULL;
  pool->shards = longer;
  sheaf_shard *shard = calloc(1, sizeof *shard);
  if (shard == NULL)
    return NULL;
  shard->pool = pool;
  shard->multi = sheaf_multi_new(shard, pool->options.total > 0 ? pool->options.total : ROOM_TLS);
  if (shard->multi == NULL) {
    free(shard);
    return NULL;
  }
  pool->shards[pool->shard_count++] = shard;
  return shard;
}


/* The lowest-numbered shard with room, so that connections are used again; HTTP/2 stays where its
   connection is. */
static sheaf_shard *shard_for(const sheaf_host *host) {
  sheaf_pool *pool = host->pool;
  int room = host->secure ? ROOM_TLS : ROOM_PLAIN;
  if (host->protocol == SHEAF_HTTP2 && host->home != NULL)
    return host->home;
  for (int i = 0; i < pool->shard_count; i++) {
    if (pool->shards[i]->running < room)
      return pool->shards[i];
  }
  return add_shard(pool);
}


static sheaf_transfer *take_transfer(sheaf_pool *pool) {
  sheaf_transfer *transfer = pool->idle;
  if (transfer == NULL)
    return sheaf_transfer_new(pool);
  pool->idle = transfer->next;
  pool->idle_count--;
  return transfer;
}


static void put_transfer(sheaf_transfer *transfer) {
  sheaf_pool *pool = transfer->pool;
  sheaf_transfer_finish(transfer);
  if (pool->idle_count > pool->busy + IDLE_TRANSFERS) {
    sheaf_transfer_free(transfer);
    return;
  }
  transfer->next = pool->idle;
  pool->idle = transfer;
  pool->idle_count++;
}


static void join_active(sheaf_transfer *transfer) {
  sheaf_pool *pool = transfer->pool;
  transfer->previous = NULL;
  transfer->next = pool->active;
  if (pool->active != NULL)
    pool->active->previous = transfer;
  pool->active = transfer;
}


static void leave_active(sheaf_transfer *transfer) {
  if (transfer->previous != NULL)
    transfer->previous->next = transfer->next;
  else
    transfer->pool->active = transfer->next;
  if (transfer->next != NULL)
    transfer->next->previous = transfer->previous;
}


bool sheaf_pool_start(sheaf_request *request) {
  sheaf_host *host = request->host;
  sheaf_pool *pool = host->pool;
  sheaf_shard *shard = shard_for(host);
  sheaf_transfer *transfer = shard != NULL ? take_transfer(pool) : NULL;
  if (transfer == NULL)
    goto no_memory;
  transfer->request = request;
  transfer->host = host;
  transfer->shard = shard;
  bool opens = needs_connection(host);
  if (!sheaf_transfer_prepare(transfer) ||
      curl_easy_setopt(transfer->easy, CURLOPT_CLOSESOCKETDATA, shard) != CURLE_OK ||
      curl_multi_add_handle(shard->multi, transfer->easy) != CURLM_OK) {
    sheaf_transfer_finish(transfer);
    sheaf_transfer_free(transfer);
    goto no_memory;
  }
  request->transfer = transfer;
  join_active(transfer);
  shard->running++;
  host->busy++;
  pool->busy++;
  if (host->home == NULL)
    host->home = shard;
  if (!opens)
    return true;
  transfer->resolving = true;
  host->resolving++;
  if (host->opening == NULL) {
    host->opening = transfer;
    host->first = host->sockets == 0;
  }
  sheaf_multi_kick(shard);
  return true;
no_memory:
  request->answer.kind = SHEAF_KIND_INTERNAL;
  request->answer.message = strdup("not enough memory");
  return false;
}


static void stop_resolving(sheaf_transfer *transfer) {
  if (transfer->resolving)
    transfer->host->resolving--;
  transfer->resolving = false;
}


/* In a callback of libcurl's: what waited is let go in the next pass. */
static void list_opened(sheaf_host *host) {
  sheaf_engine *engine = host->pool->engine;
  if (host->waiting.count == 0 || host->listed)
    return;
  host->listed = true;
  host->opened_next = engine->opened;
  engine->opened = host;
}


void sheaf_pool_opened(sheaf_transfer *transfer, bool ready) {
  sheaf_host *host = transfer->host;
  stop_resolving(transfer);
  if (host->doubtful)
    list_opened(host);
  if (ready)
    host->doubtful = false;
  /* Whether the first TLS connection speaks HTTP/2, and so serves all, is known after its handshake; and a
     further one of HTTP/2 serves many, too. */
  bool asks = host->secure && host->pool->options.http2 &&
              (host->first || host->protocol == SHEAF_HTTP2);
  if (host->opening != transfer)
    return;
  host->shaking = asks && !ready;
  if (host->shaking)
    return;
  if (ready && host->protocol == SHEAF_UNKNOWN && host->secure && host->busy > host->sockets)
    host->protocol = SHEAF_HTTP2; /* it goes out on a connection that another one is using */
  host->opening = NULL;
  list_opened(host);
}


void sheaf_pools_unpark(sheaf_engine *engine) {
  while (engine->opened != NULL) {
    sheaf_host *host = engine->opened;
    engine->opened = host->opened_next;
    host->listed = false;
    sheaf_pool_unpark(engine, host);
  }
}


void sheaf_pool_release(sheaf_engine *engine, sheaf_request *request) {
  sheaf_transfer *transfer = request->transfer;
  sheaf_host *host = transfer->host;
  sheaf_shard *shard = transfer->shard;
  sheaf_transfer_count(transfer);
  curl_multi_remove_handle(shard->multi, transfer->easy);
  request->transfer = NULL;
  leave_active(transfer);
  shard->running--;
  host->busy--;
  host->pool->busy--;
  stop_resolving(transfer);
  if (host->opening == transfer) {
    host->opening = NULL;
    host->shaking = false;
    host->doubtful = host->doubtful || transfer->sent == 0;
  }
  put_transfer(transfer);
  sheaf_pool_unpark(engine, host);
}


static void free_host(sheaf_host *host) {
  sheaf_heap_free(&host->waiting);
  free(host->origin);
  free(host);
}


/* The requests still running are the Lua thread's again after this: only their transfers go. */
static void free_pool(sheaf_pool *pool) {
  while (pool->active != NULL) {
    sheaf_transfer *transfer = pool->active;
    curl_multi_remove_handle(transfer->shard->multi, transfer->easy);
    leave_active(transfer);
    sheaf_transfer_finish(transfer);
    sheaf_transfer_free(transfer);
  }
  for (int i = 0; i < pool->shard_count; i++) {
    curl_multi_cleanup(pool->shards[i]->multi);
    free(pool->shards[i]);
  }
  while (pool->idle != NULL) {
    sheaf_transfer *transfer = pool->idle;
    pool->idle = transfer->next;
    sheaf_transfer_free(transfer);
  }
  for (int i = 0; i < SHEAF_HOST_BUCKETS; i++) {
    while (pool->hosts[i] != NULL) {
      sheaf_host *host = pool->hosts[i];
      pool->hosts[i] = host->next;
      free_host(host);
    }
  }
  curl_share_cleanup(pool->share);
  sheaf_heap_free(&pool->waiting);
  sheaf_pool_options_free(&pool->options);
  free(pool->shards);
  free(pool);
}


void sheaf_pools_free(sheaf_engine *engine) {
  while (engine->pools != NULL) {
    sheaf_pool *pool = engine->pools;
    engine->pools = pool->next;
    free_pool(pool);
  }
}

/* }====================================================== */
