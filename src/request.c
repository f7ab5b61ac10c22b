#include "request.h"

#include <stdlib.h>
#include <string.h>

/* The first piece of an answer; most API answers fit in one or two. */
#define FIRST_CAPACITY 1024

/* A buffer up to this size stays with a request that is used again. */
#define KEPT_CAPACITY 16384


bool sheaf_request_fill(sheaf_request *request, sheaf_batch *batch, sheaf_url *url,
                        const char *method, const char *body, size_t body_length) {
  size_t method_size = strlen(method) + 1;
  if (!sheaf_buffer_append(&request->text, method, method_size) ||
      !sheaf_buffer_append(&request->text, body, body_length))
    return false;
  request->method = request->text.bytes;
  request->body = body != NULL ? request->text.bytes + method_size : NULL;
  request->body_length = body_length;
  request->batch = sheaf_batch_keep(batch);
  request->url = sheaf_url_keep(url);
  request->answer.retry_after = -1;
  return true;
}


/* What takes little is kept for the next request. */
static sheaf_buffer kept(sheaf_buffer buffer) {
  buffer.length = 0;
  if (buffer.capacity <= KEPT_CAPACITY)
    return buffer;
  free(buffer.bytes);
  return (sheaf_buffer){0};
}


void sheaf_request_clear(sheaf_request *request) {
  free(request->answer.message);
  sheaf_lines_free(request->headers);
  if (request->url != NULL)
    sheaf_url_drop(request->url);
  if (request->batch != NULL)
    sheaf_batch_drop(request->batch);
  free(request->label);
  sheaf_buffer text = kept(request->text);
  sheaf_buffer head = kept(request->answer.head), body = kept(request->answer.body);
  memset(request, 0, sizeof *request);
  request->text = text;
  request->answer.head = head;
  request->answer.body = body;
}


sheaf_request *sheaf_request_new(sheaf_batch *batch, sheaf_url *url, const char *method,
                                 const char *body, size_t body_length) {
  sheaf_request *request = calloc(1, sizeof *request);
  if (request == NULL || sheaf_request_fill(request, batch, url, method, body, body_length))
    return request;
  sheaf_request_free(request);
  return NULL;
}


void sheaf_request_free(sheaf_request *request) {
  sheaf_request_clear(request);
  free(request->text.bytes);
  sheaf_answer_free(&request->answer);
  free(request);
}


void sheaf_answer_clear(sheaf_answer *answer) {
  answer->kind = SHEAF_KIND_NONE;
  answer->status = 0;
  answer->head.length = answer->body.length = 0;
  answer->retry_after = -1;
  free(answer->message);
  answer->message = NULL;
}


void sheaf_answer_free(sheaf_answer *answer) {
  free(answer->head.bytes);
  free(answer->body.bytes);
  free(answer->message);
  *answer = (sheaf_answer){.retry_after = -1};
}


bool sheaf_buffer_append(sheaf_buffer *buffer, const char *bytes, size_t length) {
  size_t wanted = buffer->length + length;
  if (wanted > buffer->capacity) {
    size_t capacity = buffer->capacity > 0 ? buffer->capacity : FIRST_CAPACITY;
    while (capacity < wanted)
      capacity *= 2;
    char *longer = realloc(buffer->bytes, capacity);
    if (longer == NULL)
      return false;
    buffer->bytes = longer;
    buffer->capacity = capacity;
  }
  if (length > 0)
    memcpy(buffer->bytes + buffer->length, bytes, length);
  buffer->length = wanted;
  return true;
}


bool sheaf_request_before(const sheaf_heap_node *a, const sheaf_heap_node *b) {
  const sheaf_request *first = SHEAF_HEAP_OWNER(a, sheaf_request, order);
  const sheaf_request *second = SHEAF_HEAP_OWNER(b, sheaf_request, order);
  if (first->priority != second->priority)
    return first->priority > second->priority;
  if ((first->attempts > 0) != (second->attempts > 0))
    return first->attempts > 0;
  if (first->item != second->item)
    return first->item < second->item;
  return first->serial < second->serial;
}
