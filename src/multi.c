#include "pool.h"

#include <errno.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* libcurl's multi handles: their sockets in the poller, their timers, their finished transfers. */

/* After how many milliseconds without an acknowledgement the kernel gives a connection up: a dead peer
   must not hold the last request of a run for a quarter of an hour. */
#define USER_TIMEOUT_MS 60000u

/* Unanswered keepalive probes after which a silent connection is dead. */
#define KEEPALIVE_PROBES 5


/* {======================================================
** Sockets
** ======================================================= */

/* The table's place for a descriptor, or NULL on no memory. */
static sheaf_socket *socket_at(sheaf_engine *engine, curl_socket_t fd) {
  size_t index = (size_t)fd;
  if (index >= engine->sockets_size) {
    size_t size = engine->sockets_size > 0 ? engine->sockets_size : 64;
    while (size <= index)
      size *= 2;
    sheaf_socket *longer = realloc(engine->sockets, size * sizeof *longer);
    if (longer == NULL)
      return NULL;
    memset(longer + engine->sockets_size, 0, (size - engine->sockets_size) * sizeof *longer);
    engine->sockets = longer;
    engine->sockets_size = size;
  }
  return &engine->sockets[index];
}


static void watch(sheaf_engine *engine, sheaf_socket *socket_, int fd, int events) {
  int error = 0;
  if (events == socket_->registered)
    return;
  if (events == 0)
    (void)sheaf_poller_del(engine->poller, fd);
  else if (socket_->registered == 0)
    error = sheaf_poller_add(engine->poller, fd, events);
  else
    error = sheaf_poller_mod(engine->poller, fd, events);
  socket_->registered = error == 0 ? (unsigned char)events : 0;
}


static void set_socket_options(int fd, int family) {
  unsigned patience = USER_TIMEOUT_MS;
  int probes = KEEPALIVE_PROBES;
  if (family != AF_INET && family != AF_INET6)
    return;
#if defined(TCP_USER_TIMEOUT)
  (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &patience, sizeof patience);
#endif
#if defined(TCP_KEEPCNT)
  (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
#endif
}


curl_socket_t sheaf_multi_open_socket(void *data, curlsocktype purpose,
                                      struct curl_sockaddr *address) {
  sheaf_transfer *transfer = data;
  sheaf_engine *engine = transfer->pool->engine;
  (void)purpose;
  int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
  sheaf_socket *place = fd >= 0 ? socket_at(engine, fd) : NULL;
  if (place == NULL) {
    transfer->no_descriptor = fd < 0 && (errno == EMFILE || errno == ENFILE);
    transfer->no_memory = !transfer->no_descriptor;
    if (fd >= 0)
      close(fd);
    return CURL_SOCKET_BAD;
  }
  set_socket_options(fd, address->family);
  *place = (sheaf_socket){.shard = transfer->shard, .host = transfer->host, .ours = true};
  transfer->host->sockets++;
  sheaf_pool_opened(transfer, false);
  return fd;
}


int sheaf_multi_close_socket(void *data, curl_socket_t fd) {
  sheaf_shard *shard = data;
  sheaf_engine *engine = shard->pool->engine;
  sheaf_socket *place = &engine->sockets[fd];
  watch(engine, place, fd, 0);
  place->host->sockets--;
  *place = (sheaf_socket){0};
  return close(fd);
}


/* A connection put aside stays with the poller: it will be wanted again, mostly within a moment. Not so
   a descriptor of libcurl's own, which is closed without a word. */
static int on_socket(CURL *easy, curl_socket_t fd, int what, void *data, void *unused) {
  sheaf_shard *shard = data;
  sheaf_engine *engine = shard->pool->engine;
  sheaf_socket *place = socket_at(engine, fd);
  (void)easy;
  (void)unused;
  if (place == NULL)
    return 0;                   /* the attempt's timers will end it */
  int wanted = 0;
  if (what != CURL_POLL_REMOVE)
    wanted = (what & CURL_POLL_IN ? SHEAF_READABLE : 0) | (what & CURL_POLL_OUT ? SHEAF_WRITABLE : 0);
  place->shard = shard;
  place->wanted = (unsigned char)wanted;
  if (wanted != 0 || !place->ours)
    watch(engine, place, fd, wanted);
  return 0;
}


static void touch(sheaf_shard *shard) {
  sheaf_engine *engine = shard->pool->engine;
  if (shard->touched)
    return;
  shard->touched = true;
  shard->touched_next = engine->touched;
  engine->touched = shard;
}


void sheaf_multi_event(sheaf_engine *engine, const sheaf_event *event) {
  int running;
  if ((size_t)event->fd >= engine->sockets_size)
    return;
  sheaf_socket *place = &engine->sockets[event->fd];
  if (place->registered == 0)
    return;                     /* closed by an earlier event of the same wait */
  if (place->wanted == 0) {
    /* Most often its peer closed it. Level-triggered, it would be reported for ever. */
    watch(engine, place, event->fd, 0);
    return;
  }
  int found = (event->events & SHEAF_READABLE ? CURL_CSELECT_IN : 0) |
              (event->events & SHEAF_WRITABLE ? CURL_CSELECT_OUT : 0);
  sheaf_shard *shard = place->shard;
  curl_multi_socket_action(shard->multi, event->fd, found, &running);
  touch(shard);
}

/* }====================================================== */


/* {======================================================
** Timers
** ======================================================= */

/* libcurl's time is the real one, also where a test moves the engine's clock. */
static double deadline_in(long milliseconds) {
  return sheaf_clock_monotonic() + (double)milliseconds * 1e-3;
}


/* A soft deadline, kept as a number and given to the poller: an armed timer descriptor costs as much as
   all the rest. */
static int on_timer(CURLM *multi, long milliseconds, void *data) {
  sheaf_shard *shard = data;
  (void)multi;
  shard->deadline = milliseconds < 0 ? INFINITY : milliseconds == 0 ? 0 : deadline_in(milliseconds);
  return 0;
}


void sheaf_multi_kick(sheaf_shard *shard) {
  int running;
  long milliseconds = -1;
  shard->deadline = INFINITY;
  curl_multi_socket_action(shard->multi, CURL_SOCKET_TIMEOUT, 0, &running);
  touch(shard);
  if (shard->deadline != INFINITY)
    return;
  /* libcurl tells a deadline only when it has changed; one that we were too early for it has not. */
  if (curl_multi_timeout(shard->multi, &milliseconds) == CURLM_OK && milliseconds >= 0)
    shard->deadline = deadline_in(milliseconds > 0 ? milliseconds : 1);
}


double sheaf_multi_patience(const sheaf_engine *engine) {
  double earliest = INFINITY;
  for (const sheaf_pool *pool = engine->pools; pool != NULL; pool = pool->next) {
    for (int i = 0; i < pool->shard_count; i++)
      earliest = fmin(earliest, pool->shards[i]->deadline);
  }
  return earliest == INFINITY ? INFINITY : fmax(0, earliest - sheaf_clock_monotonic());
}

/* }====================================================== */


/* Ends the attempts whose transfers have finished. */
static void collect(sheaf_engine *engine, sheaf_shard *shard) {
  CURLMsg *message;
  int left;
  while ((message = curl_multi_info_read(shard->multi, &left)) != NULL) {
    sheaf_transfer *transfer;
    bool permanent;
    CURLcode code = message->data.result;
    if (message->msg != CURLMSG_DONE ||
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&transfer) != CURLE_OK)
      continue;
    sheaf_request *request = transfer->request;
    bool resent = transfer->resent;
    sheaf_transfer_result(transfer, code, &permanent);
    sheaf_attempt_end(engine, request, permanent, resent);
  }
}


void sheaf_multi_run(sheaf_engine *engine) {
  double now = sheaf_clock_monotonic();
  for (sheaf_pool *pool = engine->pools; pool != NULL; pool = pool->next) {
    for (int i = 0; i < pool->shard_count; i++) {
      if (pool->shards[i]->deadline <= now)
        sheaf_multi_kick(pool->shards[i]);
    }
  }
  while (engine->touched != NULL) {
    sheaf_shard *shard = engine->touched;
    engine->touched = shard->touched_next;
    shard->touched = false;
    collect(engine, shard);
  }
  sheaf_pools_unpark(engine);
}


CURLM *sheaf_multi_new(sheaf_shard *shard, int connections) {
  CURLM *multi = curl_multi_init();
  if (multi == NULL)
    return NULL;
  shard->deadline = INFINITY;
  curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket);
  curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, shard);
  curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timer);
  curl_multi_setopt(multi, CURLMOPT_TIMERDATA, shard);
  curl_multi_setopt(multi, CURLMOPT_PIPELINING, (long)CURLPIPE_MULTIPLEX);
  curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long)connections);
  return multi;
}

