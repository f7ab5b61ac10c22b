#include "pool.h"

#include <math.h>

/* The way from submit to the wire: batch's heap -> permit -> pool and host -> attempt. */


static void join_ring(sheaf_queue *queue, sheaf_batch *batch) {
  sheaf_batch *next = queue->ring;
  if (next == NULL) {
    batch->ring_next = batch->ring_previous = batch;
    queue->ring = batch;
    return;
  }
  batch->ring_next = next;
  batch->ring_previous = next->ring_previous;
  next->ring_previous->ring_next = batch;
  next->ring_previous = batch;
}


static void leave_ring(sheaf_queue *queue, sheaf_batch *batch) {
  if (batch->ring_next == batch) {
    queue->ring = NULL;
    atomic_store(&queue->saturated, false);
  } else {
    batch->ring_next->ring_previous = batch->ring_previous;
    batch->ring_previous->ring_next = batch->ring_next;
    if (queue->ring == batch)
      queue->ring = batch->ring_next;
  }
  batch->ring_next = batch->ring_previous = NULL;
}


static void list(sheaf_queue **place, sheaf_queue *queue) {
  queue->listed = true;
  queue->next = *place;
  *place = queue;
}


/* A queue in a list holds a reference: its last batch may go while it waits there. */
void sheaf_admission_look(sheaf_engine *engine, sheaf_queue *queue) {
  if (queue->listed || queue->ring == NULL)
    return;
  list(&engine->queues, sheaf_queue_keep(queue));
}


void sheaf_admission_ready(sheaf_engine *engine, sheaf_request *request) {
  sheaf_batch *batch = request->batch;
  if (!sheaf_heap_push(&batch->ready, &request->order)) {
    sheaf_attempt_fail(engine, request, SHEAF_KIND_INTERNAL, "not enough memory");
    return;
  }
  request->stage = SHEAF_STAGE_READY;
  if (batch->ready.count == 1)
    join_ring(batch->queue, batch);
  sheaf_io_set_timer(engine, request, request->tries.deadline);
  sheaf_admission_look(engine, batch->queue);
}


static void take_ready(sheaf_request *request) {
  sheaf_batch *batch = request->batch;
  sheaf_heap_remove(&batch->ready, &request->order);
  if (batch->ready.count == 0)
    leave_ring(batch->queue, batch);
}


/* One that was moved back from its host and goes away without an attempt leaves its room to others. */
void sheaf_admission_withdraw(sheaf_engine *engine, sheaf_request *request) {
  if (request->stage == SHEAF_STAGE_PARKED)
    sheaf_heap_remove(request->parked, &request->order);
  else if (request->stage == SHEAF_STAGE_READY) {
    take_ready(request);
    if (request->host != NULL)
      sheaf_pool_unpark(engine, request->host);
  }
}


/* Finds the request's host; false where it ended for lack of memory. */
static bool place(sheaf_engine *engine, sheaf_request *request) {
  sheaf_batch *batch = request->batch;
  if (batch->pool == NULL)
    batch->pool = sheaf_pool_for(engine, batch);
  if (batch->pool != NULL && request->host == NULL)
    request->host = sheaf_pool_host(batch->pool, request->url);
  if (request->host != NULL)
    return true;
  take_ready(request);
  sheaf_attempt_fail(engine, request, SHEAF_KIND_INTERNAL, "not enough memory");
  return false;
}


/* Sets a request aside whose host or pool is full, so that others pass it. */
static void park(sheaf_engine *engine, sheaf_request *request, sheaf_heap *heap) {
  take_ready(request);
  if (!sheaf_heap_push(heap, &request->order)) {
    sheaf_attempt_fail(engine, request, SHEAF_KIND_INTERNAL, "not enough memory");
    return;
  }
  request->parked = heap;
  request->stage = SHEAF_STAGE_PARKED;
  /* The room in the pool that it was called back for is another's now. */
  const sheaf_pool *pool = request->host->pool;
  if (heap != &pool->waiting && pool->waiting.count > 0)
    sheaf_pool_unpark(engine, request->host);
}


static void join_wire(sheaf_request *request) {
  sheaf_batch *batch = request->batch;
  request->wire_previous = batch->wire_last;
  request->wire_next = NULL;
  if (batch->wire_last != NULL)
    batch->wire_last->wire_next = request;
  else {
    batch->wire_first = request;
    atomic_store_explicit(&batch->counters.oldest, request->times.started, memory_order_relaxed);
  }
  batch->wire_last = request;
  request->wired = true;
}


/* Starts an attempt; the permit is taken. */
static void start(sheaf_engine *engine, sheaf_request *request) {
  sheaf_counters *counters = &request->batch->counters;
  take_ready(request);
  sheaf_answer_clear(&request->answer);
  request->times = (sheaf_times){.started = engine->now};
  sheaf_count(&counters->attempts, 1);
  sheaf_count(&counters->in_flight, 1);
  engine->on_wire++;
  if (request->attempts++ > 0)
    sheaf_count(&counters->retried, 1);
  join_wire(request);
  if (request->transport) {
    request->stage = SHEAF_STAGE_ASKED;
    sheaf_io_set_timer(engine, request, INFINITY);
    sheaf_io_ask(engine, request);
    return;
  }
  request->stage = SHEAF_STAGE_WIRE;
  if (!sheaf_pool_start(request))
    sheaf_attempt_end(engine, request, false, false);
}


/* True while the Lua thread has to copy answers first. It wakes us once it sees `starved`, so that is
   set before the second look. */
static bool over_buffered(sheaf_engine *engine, const sheaf_batch *batch) {
  if (atomic_load(&engine->buffered) <= batch->max_buffered)
    return false;
  atomic_store(&engine->starved, true);
  if (atomic_load(&engine->buffered) > batch->max_buffered)
    return true;
  atomic_store(&engine->starved, false);
  return false;
}


/* Serves the queue's batches in turn, one request each, as long as there are permits. False if it
   stopped because the outbox is full. */
static bool admit(sheaf_engine *engine, sheaf_queue *queue) {
  while (queue->ring != NULL && sheaf_limiter_room(&queue->limiter) > 0) {
    sheaf_batch *batch = queue->ring;
    if (over_buffered(engine, batch))
      return false;
    sheaf_request *request =
        SHEAF_HEAP_OWNER(sheaf_heap_top(&batch->ready), sheaf_request, order);
    if (!request->transport) {
      if (!place(engine, request))
        continue;
      sheaf_heap *full = sheaf_pool_full(request->host);
      if (full != NULL) {
        park(engine, request, full);
        continue;
      }
    }
    sheaf_limiter_try(&queue->limiter);
    start(engine, request);
    if (queue->ring == batch)
      queue->ring = batch->ring_next;
  }
  atomic_store(&queue->saturated, queue->ring != NULL);
  return true;
}


static void run_list(sheaf_engine *engine, sheaf_queue *queue) {
  while (queue != NULL) {
    sheaf_queue *next = queue->next;
    if (admit(engine, queue)) {
      queue->listed = false;
      sheaf_queue_drop(queue);
    } else
      list(&engine->held, queue);
    queue = next;
  }
}


void sheaf_admission_run(sheaf_engine *engine) {
  sheaf_queue *queues = engine->queues;
  engine->queues = NULL;
  run_list(engine, queues);
  if (engine->held != NULL && !atomic_load(&engine->starved)) {
    queues = engine->held;
    engine->held = NULL;
    run_list(engine, queues);
  }
}


static void drop_list(sheaf_queue *queue) {
  while (queue != NULL) {
    sheaf_queue *next = queue->next;
    sheaf_queue_drop(queue);
    queue = next;
  }
}


void sheaf_admission_forget(sheaf_engine *engine) {
  drop_list(engine->queues);
  drop_list(engine->held);
  engine->queues = engine->held = NULL;
}
