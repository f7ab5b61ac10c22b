#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <poll.h>
#include <pthread.h>

#include "../../src/mailbox.h"

#define SENDERS 2
#define MESSAGES 100000

/* Longer than a wake-up ever takes: only a lost one waits so long. */
#define PATIENCE_MS 60000

typedef struct letter {
  sheaf_message mail;
  int sender, number;
} letter;

typedef struct sender {
  sheaf_mailbox *box;
  int number;
  letter *letters;
} sender;


static bool readable(const sheaf_mailbox *box, int milliseconds) {
  struct pollfd fd = {.fd = box->read_fd, .events = POLLIN};
  return poll(&fd, 1, milliseconds) == 1;
}


static void post(sheaf_mailbox *box, sheaf_message *message) {
  sheaf_chain chain = {NULL, NULL};
  sheaf_chain_append(&chain, message);
  sheaf_mailbox_post(box, &chain, NULL);
  assert_null(chain.first);
}


static int open_box(void **state) {
  static sheaf_mailbox box;
  *state = &box;
  return sheaf_mailbox_open(&box);
}


static int close_box(void **state) {
  sheaf_mailbox_close(*state);
  return 0;
}


static void a_chain_gives_back_what_was_appended_in_order(void **state) {
  sheaf_message messages[3] = {{.type = 1}, {.type = 2}, {.type = 3}};
  sheaf_chain chain = {NULL, NULL};
  (void)state;
  assert_null(sheaf_chain_take(&chain));
  for (int round = 0; round < 2; round++) {
    for (int i = 0; i < 3; i++)
      sheaf_chain_append(&chain, &messages[i]);
    for (int i = 0; i < 3; i++)
      assert_ptr_equal(sheaf_chain_take(&chain), &messages[i]);
    assert_null(sheaf_chain_take(&chain));
    assert_null(chain.last);
  }
}


static void it_is_readable_exactly_while_something_is_posted(void **state) {
  sheaf_mailbox *box = *state;
  sheaf_message messages[2] = {{.type = 1}, {.type = 2}};
  sheaf_chain chain = {NULL, NULL};
  assert_false(readable(box, 0));
  for (int round = 0; round < 3; round++) {
    post(box, &messages[0]);
    assert_true(readable(box, 0));
    post(box, &messages[1]);
    assert_true(readable(box, 0));
    sheaf_mailbox_take(box, &chain);
    assert_false(readable(box, 0));
    assert_ptr_equal(sheaf_chain_take(&chain), &messages[0]);
    assert_ptr_equal(sheaf_chain_take(&chain), &messages[1]);
    assert_null(sheaf_chain_take(&chain));
  }
}


static void an_empty_chain_wakes_nobody(void **state) {
  sheaf_mailbox *box = *state;
  sheaf_chain chain = {NULL, NULL};
  sheaf_mailbox_post(box, &chain, NULL);
  assert_false(readable(box, 0));
}


static void a_wake_is_readable_until_it_is_taken(void **state) {
  sheaf_mailbox *box = *state;
  sheaf_chain chain = {NULL, NULL};
  sheaf_mailbox_wake(box);
  sheaf_mailbox_wake(box);
  assert_true(readable(box, 0));
  sheaf_mailbox_take(box, &chain);
  assert_null(chain.first);
  assert_false(readable(box, 0));
  sheaf_mailbox_take(box, &chain);
  assert_null(chain.first);
}


static void a_quiet_message_waits_for_the_next_that_is_not(void **state) {
  sheaf_mailbox *box = *state;
  sheaf_message messages[3] = {{.type = 1}, {.type = 2}, {.type = 3}};
  sheaf_chain chain = {NULL, NULL};
  atomic_bool quiet = true;
  assert_false(sheaf_mailbox_waiting(box));
  sheaf_chain_append(&chain, &messages[0]);
  sheaf_mailbox_post(box, &chain, &quiet);
  assert_false(readable(box, 0));
  assert_true(sheaf_mailbox_waiting(box));
  atomic_store(&quiet, false);
  sheaf_chain_append(&chain, &messages[1]);
  sheaf_mailbox_post(box, &chain, &quiet);
  assert_true(readable(box, 0));
  atomic_store(&quiet, true);
  sheaf_chain_append(&chain, &messages[2]);
  sheaf_mailbox_post(box, &chain, &quiet);
  assert_true(readable(box, 0));
  sheaf_mailbox_take(box, &chain);
  assert_false(readable(box, 0));
  assert_false(sheaf_mailbox_waiting(box));
  for (int i = 0; i < 3; i++)
    assert_ptr_equal(sheaf_chain_take(&chain), &messages[i]);
}


static void taking_appends_to_what_the_chain_has(void **state) {
  sheaf_mailbox *box = *state;
  sheaf_message messages[3] = {{.type = 1}, {.type = 2}, {.type = 3}};
  sheaf_chain chain = {NULL, NULL};
  sheaf_chain_append(&chain, &messages[0]);
  post(box, &messages[1]);
  sheaf_mailbox_take(box, &chain);
  post(box, &messages[2]);
  sheaf_mailbox_take(box, &chain);
  for (int i = 0; i < 3; i++)
    assert_ptr_equal(sheaf_chain_take(&chain), &messages[i]);
  assert_null(sheaf_chain_take(&chain));
}


static void *send_all(void *data) {
  sender *me = data;
  for (int i = 0; i < MESSAGES;) {
    sheaf_chain chain = {NULL, NULL};
    for (int length = 1 + i % 3; length > 0 && i < MESSAGES; length--, i++) {
      me->letters[i] = (letter){.sender = me->number, .number = i};
      sheaf_chain_append(&chain, &me->letters[i].mail);
    }
    sheaf_mailbox_post(me->box, &chain, NULL);
  }
  return NULL;
}


/* The receiver sleeps on the descriptor alone, so that a lost wake-up ends in its time-out, and it counts
   the wake-ups that brought nothing, of which there must be none. */
static void nothing_is_lost_or_reordered_between_threads(void **state) {
  sheaf_mailbox *box = *state;
  pthread_t threads[SENDERS];
  sender senders[SENDERS];
  int next[SENDERS] = {0};
  int came = 0, in_vain = 0;
  for (int i = 0; i < SENDERS; i++) {
    senders[i] = (sender){box, i, calloc(MESSAGES, sizeof(letter))};
    assert_non_null(senders[i].letters);
    assert_int_equal(pthread_create(&threads[i], NULL, send_all, &senders[i]), 0);
  }
  while (came < SENDERS * MESSAGES) {
    sheaf_chain chain = {NULL, NULL};
    sheaf_message *message;
    assert_true(readable(box, PATIENCE_MS));
    sheaf_mailbox_take(box, &chain);
    in_vain += chain.first == NULL;
    while ((message = sheaf_chain_take(&chain)) != NULL) {
      const letter *got = (const letter *)(const void *)message;
      assert_int_equal(got->number, next[got->sender]++);
      came++;
    }
  }
  assert_int_equal(in_vain, 0);
  assert_false(readable(box, 0));
  for (int i = 0; i < SENDERS; i++) {
    pthread_join(threads[i], NULL);
    assert_int_equal(next[i], MESSAGES);
    free(senders[i].letters);
  }
}


int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_chain_gives_back_what_was_appended_in_order),
    cmocka_unit_test_setup_teardown(it_is_readable_exactly_while_something_is_posted, open_box, close_box),
    cmocka_unit_test_setup_teardown(an_empty_chain_wakes_nobody, open_box, close_box),
    cmocka_unit_test_setup_teardown(a_wake_is_readable_until_it_is_taken, open_box, close_box),
    cmocka_unit_test_setup_teardown(a_quiet_message_waits_for_the_next_that_is_not, open_box, close_box),
    cmocka_unit_test_setup_teardown(taking_appends_to_what_the_chain_has, open_box, close_box),
    cmocka_unit_test_setup_teardown(nothing_is_lost_or_reordered_between_threads, open_box, close_box),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
