/* A binary min-heap whose nodes are embedded in what it orders: timers, retries, queued requests.
   It holds pointers only and is not locked: owned and used by one thread. */
#ifndef SHEAF_HEAP_H
#define SHEAF_HEAP_H

#include <stdbool.h>
#include <stddef.h>

#pragma GCC visibility push(hidden)

/* Embedded in the owner's struct and zeroed before its first use. */
typedef struct sheaf_heap_node {
  size_t index;                 /* its place in the heap, from 1; 0: in no heap */
} sheaf_heap_node;

/* The struct of `type` that holds `node` as its `member`. */
#define SHEAF_HEAP_OWNER(node, type, member) \
  ((type *)(void *)((char *)(node) - offsetof(type, member)))

/* True if a comes strictly before b. What it compares may change only together with an update. */
typedef bool (*sheaf_heap_less)(const sheaf_heap_node *a, const sheaf_heap_node *b);

typedef struct sheaf_heap {
  sheaf_heap_node **items;      /* owned; items[0] is unused, so that an index is never 0 */
  size_t count, capacity;       /* in nodes; the array has one place more */
  sheaf_heap_less less;
} sheaf_heap;

/* An empty heap; allocates nothing. */
void sheaf_heap_init(sheaf_heap *heap, sheaf_heap_less less);

/* Frees the array and leaves an empty heap. Touches no node, since the owners may be gone already:
   a node that was inside must be zeroed before it is used again. */
void sheaf_heap_free(sheaf_heap *heap);

/* Makes room for `count` nodes in all, so that pushes up to there can't fail. False on no memory,
   with the heap as it was. */
bool sheaf_heap_reserve(sheaf_heap *heap, size_t count);

/* Adds a node that is in no heap. False on no memory, with heap and node as they were. */
bool sheaf_heap_push(sheaf_heap *heap, sheaf_heap_node *node);

/* The least node, or NULL if the heap is empty. Among equal ones, any. */
sheaf_heap_node *sheaf_heap_top(const sheaf_heap *heap);

/* The least node, taken out, or NULL if the heap is empty. */
sheaf_heap_node *sheaf_heap_pop(sheaf_heap *heap);

/* Takes a node out, wherever it is. One that is in no heap stays so. */
void sheaf_heap_remove(sheaf_heap *heap, sheaf_heap_node *node);

/* Moves a node whose key has changed to its new place. One that is in no heap stays so. */
void sheaf_heap_update(sheaf_heap *heap, sheaf_heap_node *node);

/* True if the node is in a heap (any: a node doesn't know which). */
bool sheaf_heap_contains(const sheaf_heap_node *node);

#pragma GCC visibility pop

#endif
