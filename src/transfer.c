#include "pool.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "headers.h"
#include "version.h"

/* TCP keepalive: seconds of silence before the first probe, and between two. */
#define KEEPALIVE_SECONDS 60L


/* {======================================================
** Callbacks: they copy bytes and set flags, nothing else
** ======================================================= */

static size_t store(sheaf_transfer *transfer, sheaf_buffer *buffer, size_t limit, const char *bytes,
                    size_t length) {
  sheaf_times *times = &transfer->request->times;
  times->last_byte = transfer->pool->engine->now;
  if (times->first_byte == 0)
    times->first_byte = times->last_byte; /* the clock that the end is read from, too */
  if (length > limit - buffer->length) {
    transfer->too_large = true;
    return 0;
  }
  if (!sheaf_buffer_append(buffer, bytes, length)) {
    transfer->no_memory = true;
    return 0;
  }
  return length;
}


static size_t on_head(char *bytes, size_t size, size_t count, void *data) {
  sheaf_transfer *transfer = data;
  sheaf_buffer *head = &transfer->request->answer.head;
  size_t length = size * count;
  if (length >= 5 && memcmp(bytes, "HTTP/", 5) == 0) {
    head->length = 0;           /* what came before was a 1xx */
    transfer->head_lines = 0;
  }
  transfer->long_head = ++transfer->head_lines > SHEAF_MAX_HEAD_LINES || length > SHEAF_MAX_HEAD - head->length;
  if (transfer->long_head)
    return length + 1;
  return store(transfer, head, SHEAF_MAX_HEAD, bytes, length) == length ? length : length + 1;
}


static size_t on_body(char *bytes, size_t size, size_t count, void *data) {
  sheaf_transfer *transfer = data;
  sheaf_request *request = transfer->request;
  size_t length = size * count;
  return store(transfer, &request->answer.body, request->max_body, bytes, length) == length
             ? length
             : length + 1;
}


/* The connection is ready and the request goes out. A second time within one attempt libcurl wants to
   send it again by itself: that would be a hit nobody counts. */
static int on_send(void *data, char *remote, char *local, int remote_port, int local_port) {
  sheaf_transfer *transfer = data;
  (void)remote;
  (void)local;
  (void)remote_port;
  (void)local_port;
  if (++transfer->sent > 1) {
    transfer->resent = true;
    return CURL_PREREQFUNC_ABORT;
  }
  sheaf_request *request = transfer->request;
  sheaf_engine *engine = transfer->pool->engine;
  request->times.sent = engine->clock();
  sheaf_pool_opened(transfer, true);
  sheaf_attempt_sent(engine, request);
  return CURL_PREREQFUNC_OK;
}

/* }====================================================== */


/* {======================================================
** Setting up a handle
** ======================================================= */

static void set_trust(CURL *easy, const sheaf_pool_options *options) {
  const char *ca = options->ca;
  curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, options->verify ? 1L : 0L);
  curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, options->verify ? 2L : 0L);
  if (ca == NULL)
    ca = getenv("CURL_CA_BUNDLE");
  if (ca == NULL)
    ca = getenv("SSL_CERT_FILE");
  if (ca == NULL)
    ca = curl_version_info(CURLVERSION_NOW)->cainfo;
  if (ca != NULL) {
    /* With a CA folder set (Debian's default) libcurl keeps no CA store, and reads 140 certificates for
       each connection: 25 ms. */
    curl_easy_setopt(easy, CURLOPT_CAINFO, ca);
    curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
    curl_easy_setopt(easy, CURLOPT_PROXY_CAINFO, ca);
    curl_easy_setopt(easy, CURLOPT_PROXY_CAPATH, NULL);
  }
  if (options->cert != NULL)
    curl_easy_setopt(easy, CURLOPT_SSLCERT, options->cert);
  if (options->key != NULL)
    curl_easy_setopt(easy, CURLOPT_SSLKEY, options->key);
}


/* For libcurl 0 means for ever. */
static long whole_seconds(double seconds) {
  return (long)fmin(fmax(ceil(seconds), 1), INT_MAX);
}


/* What never changes over the life of a handle. */
static void set_constants(sheaf_transfer *transfer) {
  CURL *easy = transfer->easy;
  const sheaf_pool_options *options = &transfer->pool->options;
  curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
  curl_easy_setopt(easy, CURLOPT_SHARE, transfer->pool->share);
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 1L);
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->error);
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_head);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
  curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_send);
  curl_easy_setopt(easy, CURLOPT_PREREQDATA, transfer);
  curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, sheaf_multi_open_socket);
  curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, transfer);
  curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, sheaf_multi_close_socket);
  curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "");
  curl_easy_setopt(easy, CURLOPT_USERAGENT, SHEAF_USER_AGENT);
  curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
  curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, KEEPALIVE_SECONDS);
  curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, KEEPALIVE_SECONDS);
  curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, whole_seconds(options->idle));
  curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, options->keepalive ? 0L : 1L);
#if LIBCURL_VERSION_NUM >= 0x075700
  curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
#endif
  set_trust(easy, options);
  if (options->proxy != NULL)
    curl_easy_setopt(easy, CURLOPT_PROXY, options->proxy);
  if (options->no_proxy != NULL)
    curl_easy_setopt(easy, CURLOPT_NOPROXY, options->no_proxy);
  if (options->unix_socket != NULL)
    curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, options->unix_socket);
}


sheaf_transfer *sheaf_transfer_new(sheaf_pool *pool) {
  sheaf_transfer *transfer = calloc(1, sizeof *transfer);
  if (transfer == NULL)
    return NULL;
  transfer->pool = pool;
  transfer->easy = curl_easy_init();
  if (transfer->easy == NULL) {
    free(transfer);
    return NULL;
  }
  return transfer;
}


void sheaf_transfer_free(sheaf_transfer *transfer) {
  curl_easy_cleanup(transfer->easy);
  if (transfer->url != NULL)
    sheaf_url_drop(transfer->url);
  free(transfer);
}


/* Method and body. libcurl has no way back from some of these settings, so that another shape begins
   with a reset handle. */
static bool set_shape(sheaf_transfer *transfer) {
  const sheaf_request *request = transfer->request;
  const char *method = request->method;
  CURL *easy = transfer->easy;
  bool heads = strcmp(method, "HEAD") == 0; /* and sends no body: libcurl would wait for one back */
  bool posts = !heads && (request->body != NULL || strcmp(method, "POST") == 0);
  if (strcmp(method, transfer->method) != 0 || posts != transfer->posts) {
    curl_easy_reset(easy);
    set_constants(transfer);
    transfer->connect = 0;
    transfer->pipewait = transfer->fresh = false;
    if (transfer->url != NULL)
      sheaf_url_drop(transfer->url);
    transfer->url = NULL;
    if (posts)
      curl_easy_setopt(easy, CURLOPT_POST, 1L);
    else if (heads)
      curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    if (strcmp(method, posts ? "POST" : "GET") != 0 &&
        curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method) != CURLE_OK)
      return false;
    transfer->posts = posts;
    snprintf(transfer->method, sizeof transfer->method, "%s", method);
  }
  if (posts) {
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body_length);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request->body != NULL ? request->body : "");
  }
  return true;
}


/* True if the line has the same header name as one of the list. */
static bool overruled(const char *line, const struct curl_slist *list) {
  size_t length = strcspn(line, ":;");
  for (; list != NULL; list = list->next) {
    if (strncasecmp(line, list->data, length) == 0 && strcspn(list->data, ":;") == length)
      return true;
  }
  return false;
}


/* The batch's headers with the request's over them, as a list of its own. NULL on no memory. */
static struct curl_slist *merge_headers(const struct curl_slist *common,
                                        const struct curl_slist *over) {
  struct curl_slist *merged = NULL;
  for (const struct curl_slist *line = common; line != NULL; line = line->next) {
    if (!overruled(line->data, over) && !sheaf_lines_append(&merged, line->data))
      goto no_memory;
  }
  for (const struct curl_slist *line = over; line != NULL; line = line->next) {
    if (!sheaf_lines_append(&merged, line->data))
      goto no_memory;
  }
  return merged;
no_memory:
  curl_slist_free_all(merged);
  return NULL;
}


/* Looked up for each attempt, so that a key changed by batch:set holds for what is queued, too. */
static bool set_headers(sheaf_transfer *transfer) {
  const sheaf_request *request = transfer->request;
  sheaf_header_set *shared = request->batch->headers;
  struct curl_slist *lines = shared->lines;
  if (request->headers != NULL) {
    lines = transfer->own = merge_headers(shared->lines, request->headers);
    if (lines == NULL)
      return false;
  }
  curl_easy_setopt(transfer->easy, CURLOPT_HTTPHEADER, lines);
  shared->references++;
  transfer->shared = shared;
  return true;
}


void sheaf_transfer_finish(sheaf_transfer *transfer) {
  curl_slist_free_all(transfer->own);
  transfer->own = NULL;
  if (transfer->shared != NULL)
    sheaf_header_set_drop(transfer->shared);
  transfer->shared = NULL;
  transfer->request = NULL;
  transfer->host = NULL;
  transfer->shard = NULL;
}


static void set_connection(sheaf_transfer *transfer) {
  const sheaf_request *request = transfer->request;
  const sheaf_pool_options *options = &transfer->pool->options;
  CURL *easy = transfer->easy;
  if (transfer->connect != request->timeout.connect) {
    double seconds = request->timeout.connect;  /* for libcurl 0 means 300 s */
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)fmin(fmax(seconds * 1e3, 1), INT_MAX));
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION,
                     (long)(options->http2 ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1));
    transfer->connect = seconds;
  }
  /* Over plain TCP we speak HTTP/1.1, but libcurl learns that from the first answer only: until then all
     others would wait with it. And nobody waits for a connection where the last one came to nothing. */
  const sheaf_host *host = transfer->host;
  bool multiplexes = host->protocol == SHEAF_HTTP2 ||
                     (host->protocol == SHEAF_UNKNOWN && !host->doubtful);
  bool pipewait = options->http2 && host->secure && multiplexes;
  if (transfer->pipewait != pipewait) {
    curl_easy_setopt(easy, CURLOPT_PIPEWAIT, pipewait ? 1L : 0L);
    transfer->pipewait = pipewait;
  }
  bool fresh = request->fresh || !options->keepalive;
  if (transfer->fresh != fresh) {
    curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, fresh ? 1L : 0L);
    transfer->fresh = fresh;
  }
}


bool sheaf_transfer_prepare(sheaf_transfer *transfer) {
  sheaf_request *request = transfer->request;
  if (!set_shape(transfer) || !set_headers(transfer))
    return false;
  if (transfer->url != request->url) {
    if (curl_easy_setopt(transfer->easy, CURLOPT_CURLU, request->url->handle) != CURLE_OK)
      return false;
    if (transfer->url != NULL)
      sheaf_url_drop(transfer->url);
    transfer->url = sheaf_url_keep(request->url);
  }
  set_connection(transfer);
  transfer->sent = transfer->head_lines = 0;
  transfer->long_head = false;
  transfer->resent = transfer->too_large = transfer->no_memory = transfer->no_descriptor = false;
  transfer->error[0] = '\0';
  return true;
}

/* }====================================================== */
