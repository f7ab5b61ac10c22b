#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "../../src/heap.h"

/* The node isn't first, so that the owner's address and its node's differ. */
typedef struct item {
  double key;
  sheaf_heap_node node;
} item;


static bool is_less(const sheaf_heap_node *a, const sheaf_heap_node *b) {
  return SHEAF_HEAP_OWNER(a, item, node)->key < SHEAF_HEAP_OWNER(b, item, node)->key;
}


static item *owner(sheaf_heap_node *node) {
  return node != NULL ? SHEAF_HEAP_OWNER(node, item, node) : NULL;
}


static void push(sheaf_heap *heap, item *items, const double *keys, size_t count) {
  for (size_t i = 0; i < count; i++) {
    items[i] = (item){ .key = keys[i] };
    assert_true(sheaf_heap_push(heap, &items[i].node));
  }
}


/* Every node knows its place, and no child comes before its parent. */
static void assert_sound(const sheaf_heap *heap) {
  assert_true(heap->count <= heap->capacity);
  for (size_t i = 1; i <= heap->count; i++) {
    assert_int_equal(heap->items[i]->index, i);
    if (i > 1)
      assert_false(is_less(heap->items[i], heap->items[i / 2]));
  }
}


static void an_empty_heap_has_no_top(void **state) {
  (void)state;
  sheaf_heap heap;
  sheaf_heap_init(&heap, is_less);
  assert_null(sheaf_heap_top(&heap));
  assert_null(sheaf_heap_pop(&heap));
  assert_int_equal(heap.count, 0);
  sheaf_heap_free(&heap);
}


static void nodes_come_out_in_order(void **state) {
  (void)state;
  static const double keys[] = { 5, 1, 4, 1, 5, 9, 2, 6, 5, 3 };
  static const double sorted[] = { 1, 1, 2, 3, 4, 5, 5, 5, 6, 9 };
  item items[10];
  sheaf_heap heap;
  sheaf_heap_init(&heap, is_less);
  push(&heap, items, keys, 10);
  for (size_t i = 0; i < 10; i++) {
    assert_true(owner(sheaf_heap_top(&heap))->key == sorted[i]);
    assert_true(owner(sheaf_heap_pop(&heap))->key == sorted[i]);
    assert_sound(&heap);
  }
  assert_null(sheaf_heap_pop(&heap));
  sheaf_heap_free(&heap);
}


static void a_node_knows_whether_it_is_in_a_heap(void **state) {
  (void)state;
  item one = { .key = 1 };
  sheaf_heap heap;
  sheaf_heap_init(&heap, is_less);
  assert_false(sheaf_heap_contains(&one.node));
  assert_true(sheaf_heap_push(&heap, &one.node));
  assert_true(sheaf_heap_contains(&one.node));
  sheaf_heap_pop(&heap);
  assert_false(sheaf_heap_contains(&one.node));
  assert_true(sheaf_heap_push(&heap, &one.node));
  sheaf_heap_remove(&heap, &one.node);
  assert_false(sheaf_heap_contains(&one.node));
  sheaf_heap_free(&heap);
}


static void any_node_can_be_removed(void **state) {
  (void)state;
  static const double keys[] = { 1, 10, 2, 11, 12, 3, 4, 13, 14, 15 };
  for (size_t gone = 0; gone < 10; gone++) {
    item items[10];
    sheaf_heap heap;
    sheaf_heap_init(&heap, is_less);
    push(&heap, items, keys, 10);
    sheaf_heap_remove(&heap, &items[gone].node);
    assert_sound(&heap);
    assert_int_equal(heap.count, 9);
    double last = 0;
    for (item *it = owner(sheaf_heap_pop(&heap)); it != NULL; it = owner(sheaf_heap_pop(&heap))) {
      assert_ptr_not_equal(it, &items[gone]);
      assert_true(it->key > last);
      last = it->key;
    }
    sheaf_heap_free(&heap);
  }
}


static void removing_or_updating_what_is_in_no_heap_does_nothing(void **state) {
  (void)state;
  static const double keys[] = { 2, 1 };
  item items[2], stranger = { .key = 0 };
  sheaf_heap heap;
  sheaf_heap_init(&heap, is_less);
  sheaf_heap_remove(&heap, &stranger.node);
  sheaf_heap_update(&heap, &stranger.node);
  push(&heap, items, keys, 2);
  sheaf_heap_remove(&heap, &stranger.node);
  sheaf_heap_update(&heap, &stranger.node);
  assert_false(sheaf_heap_contains(&stranger.node));
  assert_int_equal(heap.count, 2);
  assert_ptr_equal(owner(sheaf_heap_top(&heap)), &items[1]);
  sheaf_heap_free(&heap);
}


static void an_update_moves_a_node_up_or_down(void **state) {
  (void)state;
  static const double keys[] = { 1, 2, 3, 4, 5, 6, 7 };
  item items[7];
  sheaf_heap heap;
  sheaf_heap_init(&heap, is_less);
  push(&heap, items, keys, 7);
  items[6].key = 0;
  sheaf_heap_update(&heap, &items[6].node);
  assert_sound(&heap);
  assert_ptr_equal(owner(sheaf_heap_top(&heap)), &items[6]);
  items[6].key = 100;
  sheaf_heap_update(&heap, &items[6].node);
  assert_sound(&heap);
  assert_ptr_equal(owner(sheaf_heap_top(&heap)), &items[0]);
  sheaf_heap_update(&heap, &items[3].node);
  assert_sound(&heap);
  sheaf_heap_free(&heap);
}


static void a_reserve_is_enough_and_growth_doubles(void **state) {
  (void)state;
  sheaf_heap heap;
  sheaf_heap_init(&heap, is_less);
  assert_true(sheaf_heap_reserve(&heap, 0));
  assert_null(heap.items);
  assert_true(sheaf_heap_reserve(&heap, 1000));
  assert_true(heap.capacity >= 1000);
  sheaf_heap_node **before = heap.items;
  size_t capacity = heap.capacity;
  item *items = calloc(capacity + 1, sizeof *items);
  assert_non_null(items);
  for (size_t i = 0; i < capacity; i++)
    assert_true(sheaf_heap_push(&heap, &items[i].node));
  assert_ptr_equal(heap.items, before);
  assert_true(sheaf_heap_push(&heap, &items[capacity].node));
  assert_int_equal(heap.capacity, 2 * capacity);
  assert_sound(&heap);
  sheaf_heap_free(&heap);
  assert_int_equal(heap.count, 0);
  assert_null(sheaf_heap_top(&heap));
  free(items);
}


static void what_can_not_be_allocated_changes_nothing(void **state) {
  (void)state;
  static const double keys[] = { 2, 1 };
  item items[2], more = { .key = 0 };
  sheaf_heap heap;
  sheaf_heap_init(&heap, is_less);
  push(&heap, items, keys, 2);
  size_t capacity = heap.capacity;
  assert_false(sheaf_heap_reserve(&heap, SIZE_MAX));
  assert_false(sheaf_heap_reserve(&heap, SIZE_MAX / sizeof(void *)));
  assert_int_equal(heap.capacity, capacity);
  heap.count = SIZE_MAX - 1; /* as if it were that full: the next push can't be served */
  assert_false(sheaf_heap_push(&heap, &more.node));
  assert_int_equal(heap.count, SIZE_MAX - 1);
  assert_false(sheaf_heap_contains(&more.node));
  heap.count = 2;
  assert_ptr_equal(owner(sheaf_heap_pop(&heap)), &items[1]);
  sheaf_heap_free(&heap);
}


static void random_use_agrees_with_a_linear_search(void **state) {
  (void)state;
  enum { ITEMS = 300, STEPS = 60000 };
  static item items[ITEMS];
  sheaf_heap heap;
  sheaf_heap_init(&heap, is_less);
  srand(20);
  for (int step = 0; step < STEPS; step++) {
    item *it = &items[rand() % ITEMS];
    int choice = rand() % 10;
    if (choice == 0) {
      it = owner(sheaf_heap_pop(&heap));
      for (size_t i = 0; it != NULL && i < ITEMS; i++)
        assert_false(sheaf_heap_contains(&items[i].node) && items[i].key < it->key);
    } else if (!sheaf_heap_contains(&it->node)) {
      it->key = rand() % 1000; /* few enough values that equal keys are common */
      assert_true(sheaf_heap_push(&heap, &it->node));
    } else if (choice < 5) {
      sheaf_heap_remove(&heap, &it->node);
    } else {
      it->key = rand() % 1000;
      sheaf_heap_update(&heap, &it->node);
    }
    size_t inside = 0;
    const item *least = NULL;
    for (size_t i = 0; i < ITEMS; i++) {
      if (!sheaf_heap_contains(&items[i].node))
        continue;
      inside++;
      if (least == NULL || items[i].key < least->key)
        least = &items[i];
    }
    assert_int_equal(heap.count, inside);
    if (least == NULL)
      assert_null(sheaf_heap_top(&heap));
    else
      assert_true(owner(sheaf_heap_top(&heap))->key == least->key);
    if (step % 100 == 0)
      assert_sound(&heap);
  }
  double last = -1;
  for (item *it = owner(sheaf_heap_pop(&heap)); it != NULL; it = owner(sheaf_heap_pop(&heap))) {
    assert_true(it->key >= last);
    last = it->key;
  }
  sheaf_heap_free(&heap);
}


int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(an_empty_heap_has_no_top),
    cmocka_unit_test(nodes_come_out_in_order),
    cmocka_unit_test(a_node_knows_whether_it_is_in_a_heap),
    cmocka_unit_test(any_node_can_be_removed),
    cmocka_unit_test(removing_or_updating_what_is_in_no_heap_does_nothing),
    cmocka_unit_test(an_update_moves_a_node_up_or_down),
    cmocka_unit_test(a_reserve_is_enough_and_growth_doubles),
    cmocka_unit_test(what_can_not_be_allocated_changes_nothing),
    cmocka_unit_test(random_use_agrees_with_a_linear_search),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
