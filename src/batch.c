#include "batch.h"

#include <stdlib.h>
#include <string.h>

#include "request.h"


bool sheaf_lines_append(struct curl_slist **lines, const char *line) {
  struct curl_slist *longer = curl_slist_append(*lines, line);
  if (longer == NULL)
    return false;
  *lines = longer;
  return true;
}


void sheaf_lines_free(struct curl_slist *lines) {
  curl_slist_free_all(lines);
}


sheaf_header_set *sheaf_header_set_new(struct curl_slist *lines) {
  sheaf_header_set *set = malloc(sizeof *set);
  if (set == NULL) {
    curl_slist_free_all(lines);
    return NULL;
  }
  *set = (sheaf_header_set){1, lines};
  return set;
}


void sheaf_header_set_drop(sheaf_header_set *set) {
  if (--set->references > 0)
    return;
  curl_slist_free_all(set->lines);
  free(set);
}


sheaf_queue *sheaf_queue_new(int concurrency) {
  sheaf_queue *queue = calloc(1, sizeof *queue);
  if (queue == NULL)
    return NULL;
  atomic_init(&queue->references, 1);
  atomic_init(&queue->saturated, false);
  sheaf_limiter_init(&queue->limiter, concurrency);
  return queue;
}


sheaf_queue *sheaf_queue_keep(sheaf_queue *queue) {
  atomic_fetch_add_explicit(&queue->references, 1, memory_order_relaxed);
  return queue;
}


void sheaf_queue_drop(sheaf_queue *queue) {
  if (atomic_fetch_sub_explicit(&queue->references, 1, memory_order_acq_rel) == 1)
    free(queue);
}


/* The strings of the options, as places, so that they are listed once. */
#define STRINGS 6

static void strings_of(sheaf_pool_options *options, char **places[STRINGS]) {
  places[0] = &options->ca;
  places[1] = &options->cert;
  places[2] = &options->key;
  places[3] = &options->proxy;
  places[4] = &options->no_proxy;
  places[5] = &options->unix_socket;
}


bool sheaf_pool_options_copy(sheaf_pool_options *to, const sheaf_pool_options *from) {
  char **places[STRINGS];
  bool whole = true;
  *to = *from;
  strings_of(to, places);
  for (int i = 0; i < STRINGS; i++) {
    if (*places[i] != NULL) {
      *places[i] = strdup(*places[i]);
      whole = whole && *places[i] != NULL;
    }
  }
  if (!whole)
    sheaf_pool_options_free(to);
  return whole;
}


void sheaf_pool_options_free(sheaf_pool_options *options) {
  char **places[STRINGS];
  strings_of(options, places);
  for (int i = 0; i < STRINGS; i++) {
    free(*places[i]);
    *places[i] = NULL;
  }
}


static bool same_text(const char *a, const char *b) {
  return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}


bool sheaf_pool_options_equal(const sheaf_pool_options *a, const sheaf_pool_options *b) {
  return same_text(a->ca, b->ca) && same_text(a->cert, b->cert) && same_text(a->key, b->key) &&
         same_text(a->proxy, b->proxy) && same_text(a->no_proxy, b->no_proxy) &&
         same_text(a->unix_socket, b->unix_socket) && a->verify == b->verify &&
         a->keepalive == b->keepalive && a->http2 == b->http2 && a->total == b->total &&
         a->per_host == b->per_host && a->idle == b->idle;
}


sheaf_batch *sheaf_batch_new(sheaf_queue *queue, const sheaf_pool_options *options,
                             sheaf_header_set *headers, size_t max_buffered) {
  sheaf_batch *batch = calloc(1, sizeof *batch);
  if (batch == NULL || !sheaf_pool_options_copy(&batch->pool_options, options)) {
    free(batch);
    sheaf_header_set_drop(headers);
    return NULL;
  }
  atomic_init(&batch->references, 1);
  batch->queue = sheaf_queue_keep(queue);
  batch->headers = headers;
  batch->max_buffered = max_buffered;
  sheaf_heap_init(&batch->ready, sheaf_request_before);
  return batch;
}


sheaf_batch *sheaf_batch_keep(sheaf_batch *batch) {
  atomic_fetch_add_explicit(&batch->references, 1, memory_order_relaxed);
  return batch;
}


void sheaf_batch_drop(sheaf_batch *batch) {
  if (atomic_fetch_sub_explicit(&batch->references, 1, memory_order_acq_rel) != 1)
    return;
  sheaf_heap_free(&batch->ready);
  sheaf_pool_options_free(&batch->pool_options);
  sheaf_header_set_drop(batch->headers);
  sheaf_queue_drop(batch->queue);
  free(batch);
}
