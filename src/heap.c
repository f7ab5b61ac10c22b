#include "heap.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

/* The first growth: enough for a small batch, and half a kilobyte. */
#define FIRST_CAPACITY 64


static void place(sheaf_heap *heap, size_t index, sheaf_heap_node *node) {
  heap->items[index] = node;
  node->index = index;
}


/* Both sifts move a hole instead of swapping, so that each node on the way is written once. */
static void sift_up(sheaf_heap *heap, size_t hole, sheaf_heap_node *node) {
  while (hole > 1 && heap->less(node, heap->items[hole / 2])) {
    place(heap, hole, heap->items[hole / 2]);
    hole /= 2;
  }
  place(heap, hole, node);
}


static void sift_down(sheaf_heap *heap, size_t hole, sheaf_heap_node *node) {
  while (hole <= heap->count / 2) {
    size_t child = 2 * hole;
    if (child < heap->count && heap->less(heap->items[child + 1], heap->items[child]))
      child++;
    if (!heap->less(heap->items[child], node))
      break;
    place(heap, hole, heap->items[child]);
    hole = child;
  }
  place(heap, hole, node);
}


/* Puts a node into a hole whose neighbours may be on either side of it. */
static void settle(sheaf_heap *heap, size_t hole, sheaf_heap_node *node) {
  if (hole > 1 && heap->less(node, heap->items[hole / 2]))
    sift_up(heap, hole, node);
  else
    sift_down(heap, hole, node);
}


void sheaf_heap_init(sheaf_heap *heap, sheaf_heap_less less) {
  heap->items = NULL;
  heap->count = heap->capacity = 0;
  heap->less = less;
}


void sheaf_heap_free(sheaf_heap *heap) {
  free(heap->items);
  sheaf_heap_init(heap, heap->less);
}


bool sheaf_heap_reserve(sheaf_heap *heap, size_t count) {
  const size_t most = SIZE_MAX / sizeof *heap->items - 1;
  if (count <= heap->capacity)
    return true;
  if (count > most)
    return false;
  size_t capacity = heap->capacity > 0 ? heap->capacity : FIRST_CAPACITY;
  while (capacity < count)
    capacity = capacity <= most / 2 ? 2 * capacity : most;
  sheaf_heap_node **items = realloc(heap->items, (capacity + 1) * sizeof *items);
  if (items == NULL)
    return false;
  heap->items = items;
  heap->capacity = capacity;
  return true;
}


bool sheaf_heap_push(sheaf_heap *heap, sheaf_heap_node *node) {
  assert(node->index == 0);
  if (!sheaf_heap_reserve(heap, heap->count + 1))
    return false;
  heap->count++;
  sift_up(heap, heap->count, node);
  return true;
}


sheaf_heap_node *sheaf_heap_top(const sheaf_heap *heap) {
  return heap->count > 0 ? heap->items[1] : NULL;
}


sheaf_heap_node *sheaf_heap_pop(sheaf_heap *heap) {
  sheaf_heap_node *node = sheaf_heap_top(heap);
  if (node != NULL)
    sheaf_heap_remove(heap, node);
  return node;
}


void sheaf_heap_remove(sheaf_heap *heap, sheaf_heap_node *node) {
  size_t hole = node->index;
  if (hole == 0)
    return;
  assert(hole <= heap->count && heap->items[hole] == node);
  sheaf_heap_node *last = heap->items[heap->count];
  heap->count--;
  node->index = 0;
  if (last != node)
    settle(heap, hole, last);
}


void sheaf_heap_update(sheaf_heap *heap, sheaf_heap_node *node) {
  if (node->index == 0)
    return;
  assert(node->index <= heap->count && heap->items[node->index] == node);
  settle(heap, node->index, node);
}


bool sheaf_heap_contains(const sheaf_heap_node *node) {
  return node->index != 0;
}
