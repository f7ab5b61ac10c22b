#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "client.h"
#include "site.h"

/* Seconds by which a race is shifted from round to round. */
#define STEP 2e-6

typedef struct scene {
  site here;
  peer *server;
  client it;
} scene;


static int set_up(void **state) {
  scene *all = calloc(1, sizeof *all);
  all->server = site_start(&all->here);
  *state = all;
  return 0;
}


static int tear_down(void **state) {
  scene *all = *state;
  client_free(&all->it);
  peer_stop(all->server);
  free(all);
  return 0;
}


static client *open_client(scene *all, sheaf_clock clock, int concurrency) {
  all->it = client_new(clock, concurrency);
  return &all->it;
}


static void take_done(client *it, int count) {
  for (int i = 0; i < count; i++) {
    sheaf_request *request = client_done(it);
    assert_int_equal(request->answer.status, 200);
    sheaf_request_free(request);
  }
}


static void submit(client *it, const peer *server, const char *target, int priority, uint64_t item) {
  sheaf_request *request = client_request(it, server, target);
  request->priority = priority;
  request->item = item;
  client_submit(it, request);
}


/* The server was asked for these, in this order, from its `from`th request on. */
static void assert_order(peer *server, int from, const char *const *targets, int count) {
  PEER_UNTIL(server, requests, from + count - 1);
  for (int i = 0; i < count; i++)
    assert_string_equal(server->targets[from - 1 + i], targets[i]);
}


/* {======================================================
** The semaphore
** ======================================================= */

static void no_more_than_concurrency_are_ever_on_the_wire(void **state) {
  enum { CONCURRENCY = 7, COUNT = 1000 };
  scene *all = *state;
  client *it = open_client(all, sheaf_clock_monotonic, CONCURRENCY);
  for (int i = 0; i < COUNT; i++)
    client_get(it, all->server, "/ok");
  take_done(it, COUNT);
  assert_in_range(PEER_NUMBER(all->server, most_busy), 1, CONCURRENCY);
  assert_in_range(PEER_NUMBER(all->server, most_open), 1, CONCURRENCY);
  for (int i = 0; i < CONCURRENCY + 1; i++)
    client_get(it, all->server, "/hold");
  PEER_UNTIL(all->server, busy, CONCURRENCY);
  client_settle(it);
  assert_int_equal(PEER_NUMBER(all->server, requests), COUNT + CONCURRENCY);
  peer_go(all->server, CONCURRENCY + 1);
  take_done(it, CONCURRENCY + 1);
}


static void each_answer_lets_the_next_go_without_waiting_for_the_others(void **state) {
  scene *all = *state;
  client *it = open_client(all, client_clock, 3);
  for (int i = 0; i < 6; i++)
    client_get(it, all->server, "/hold");
  PEER_UNTIL(all->server, busy, 3);
  for (int came = 1; came <= 3; came++) {
    peer_go(all->server, 1);
    take_done(it, 1);
    PEER_UNTIL(all->server, requests, 3 + came);
    assert_int_equal(PEER_NUMBER(all->server, busy), 3);
  }
  peer_go(all->server, 3);
  take_done(it, 3);
}


static void a_raised_limit_holds_at_once(void **state) {
  scene *all = *state;
  client *it = open_client(all, client_clock, 2);
  for (int i = 0; i < 10; i++)
    client_get(it, all->server, "/hold");
  PEER_UNTIL(all->server, busy, 2);
  client_set_concurrency(it, 5);
  PEER_UNTIL(all->server, busy, 5);
  client_settle(it);
  assert_int_equal(PEER_NUMBER(all->server, requests), 5);
  peer_go(all->server, 10);
  take_done(it, 10);
}


static void a_lowered_limit_lets_nothing_go_until_enough_came_back(void **state) {
  scene *all = *state;
  client *it = open_client(all, client_clock, 5);
  for (int i = 0; i < 8; i++)
    client_get(it, all->server, "/hold");
  PEER_UNTIL(all->server, busy, 5);
  client_set_concurrency(it, 1);
  client_settle(it);
  peer_go(all->server, 4);
  take_done(it, 4);
  client_settle(it);
  assert_int_equal(PEER_NUMBER(all->server, requests), 5);
  for (int left = 4; left > 0; left--) {
    assert_int_equal(PEER_NUMBER(all->server, busy), 1);
    peer_go(all->server, 1);
    take_done(it, 1);
    if (left > 1)
      PEER_UNTIL(all->server, requests, 10 - left);
  }
}


/* A request that comes while all permits are out doesn't wake the I/O thread; the last permit may come
   back at this very moment. */
static void no_request_is_forgotten_that_comes_as_the_last_permit_does(void **state) {
  enum { ROUNDS = 1000, STEPS = 100 };
  scene *all = *state;
  client *it = open_client(all, sheaf_clock_monotonic, 1);
  int out = 0;
  for (int round = 0; round < ROUNDS; round++) {
    for (int i = 0; i < 2; i++, out++)
      client_get(it, all->server, "/ok");
    double later = sheaf_clock_monotonic() + round % STEPS * STEP;
    while (sheaf_clock_monotonic() < later)
      continue;
    client_get(it, all->server, "/ok");
    take_done(it, out + 1);
    out = 0;
  }
  assert_int_equal(PEER_NUMBER(all->server, requests), 3 * ROUNDS);
  assert_int_equal(PEER_NUMBER(all->server, most_busy), 1);
}

/* }====================================================== */


/* {======================================================
** Order
** ======================================================= */

static void higher_priority_goes_first_then_older_items_then_submission(void **state) {
  scene *all = *state;
  client *it = open_client(all, client_clock, 1);
  client_get(it, all->server, "/hold");
  PEER_UNTIL(all->server, requests, 1);
  submit(it, all->server, "/ok/f", -1, 1);
  submit(it, all->server, "/ok/d", 0, 20);
  submit(it, all->server, "/ok/e", 0, 20);
  submit(it, all->server, "/ok/b", 0, 10);
  submit(it, all->server, "/ok/c", 0, 10);
  submit(it, all->server, "/ok/a", 1, 30);
  client_settle(it);
  peer_go(all->server, 1);
  take_done(it, 7);
  const char *const wanted[] = {"/ok/a", "/ok/b", "/ok/c", "/ok/d", "/ok/e", "/ok/f"};
  assert_order(all->server, 2, wanted, 6);
}


static void a_due_retry_goes_before_new_requests_of_its_priority(void **state) {
  scene *all = *state;
  client *it = open_client(all, client_clock, 1);
  sheaf_request *retried = client_request(it, all->server, "/statuses/503,200");
  retried->told = true;
  retried->item = 100;
  client_submit(it, retried);
  free(CLIENT_OWNER(client_expect(it, SHEAF_RETRIED), sheaf_notice, mail));
  client_get(it, all->server, "/hold");
  PEER_UNTIL(all->server, requests, 2);
  submit(it, all->server, "/ok/c", 0, 1);
  submit(it, all->server, "/ok/a", 1, 200);
  client_move_clock(it, 2);
  client_settle(it);
  peer_go(all->server, 1);
  take_done(it, 4);
  const char *const wanted[] = {"/hold", "/ok/a", "/statuses/503,200", "/ok/c"};
  assert_order(all->server, 2, wanted, 4);
}


static void batches_of_one_queue_are_served_in_turn(void **state) {
  scene *all = *state;
  client *it = open_client(all, client_clock, 1);
  sheaf_batch *second = client_add_batch(it->queue, &client_pool, MAX_BUFFERED);
  char address[64];
  client_get(it, all->server, "/hold");
  PEER_UNTIL(all->server, requests, 1);
  for (int i = 0; i < 3; i++)
    client_get(it, all->server, "/ok/a");
  for (int i = 0; i < 6; i++) {
    snprintf(address, sizeof address, "http://127.0.0.1:%d/ok/b", all->server->port);
    sheaf_request *request = client_request_to(it, second, address, "GET", NULL);
    request->priority = 9;      /* strict within a batch only */
    client_submit(it, request);
  }
  client_settle(it);
  peer_go(all->server, 1);
  take_done(it, 10);
  const char *const wanted[] = {"/ok/a", "/ok/b", "/ok/a", "/ok/b", "/ok/a",
                                "/ok/b", "/ok/b", "/ok/b", "/ok/b"};
  assert_order(all->server, 2, wanted, 9);
  sheaf_batch_drop(second);
}


static void queues_do_not_share_their_permits(void **state) {
  scene *all = *state;
  client *it = open_client(all, client_clock, 1);
  sheaf_queue *queue = sheaf_queue_new(2);
  sheaf_batch *second = client_add_batch(queue, &client_pool, MAX_BUFFERED);
  char address[64];
  snprintf(address, sizeof address, "http://127.0.0.1:%d/hold", all->server->port);
  for (int i = 0; i < 3; i++) {
    client_get(it, all->server, "/hold");
    client_submit(it, client_request_to(it, second, address, "GET", NULL));
  }
  PEER_UNTIL(all->server, busy, 3);
  client_settle(it);
  assert_int_equal(PEER_NUMBER(all->server, requests), 3);
  peer_go(all->server, 6);
  take_done(it, 6);
  sheaf_batch_drop(second);
  sheaf_queue_drop(queue);
}

/* }====================================================== */


/* {======================================================
** The outbox's bound
** ======================================================= */

/* Its answer is taken, but not yet copied: it counts as buffered. */
static sheaf_request *expect_uncopied(client *it) {
  return CLIENT_OWNER(client_expect(it, SHEAF_DONE), sheaf_request, mail);
}


static void copy(client *it, sheaf_request *request) {
  sheaf_engine_consumed(it->engine, request);
  sheaf_request_free(request);
}


static void nothing_starts_while_the_outbox_holds_more_than_its_bound(void **state) {
  scene *all = *state;
  client *it = &all->it;
  *it = client_with(client_clock, 1, &client_pool, 1000);
  for (int i = 0; i < 5; i++)
    client_get(it, all->server, "/big/600");
  for (int round = 0; round < 2; round++) {
    sheaf_request *first = expect_uncopied(it);
    sheaf_request *second = expect_uncopied(it);
    client_expect_silence(it);
    assert_int_equal(PEER_NUMBER(all->server, requests), 2 * round + 2);
    copy(it, first);
    copy(it, second);
  }
  copy(it, expect_uncopied(it));
  assert_int_equal(PEER_NUMBER(all->server, requests), 5);
}


static void copying_one_answer_is_enough_if_the_rest_is_within_the_bound(void **state) {
  scene *all = *state;
  client *it = &all->it;
  *it = client_with(client_clock, 1, &client_pool, 1000);
  for (int i = 0; i < 3; i++)
    client_get(it, all->server, "/big/600");
  sheaf_request *first = expect_uncopied(it), *second = expect_uncopied(it);
  client_expect_silence(it);
  copy(it, first);
  sheaf_request *third = expect_uncopied(it);
  copy(it, second);
  copy(it, third);
}


static void what_waits_for_the_outbox_can_be_cancelled(void **state) {
  scene *all = *state;
  client *it = &all->it;
  *it = client_with(client_clock, 1, &client_pool, 100);
  client_get(it, all->server, "/big/600");
  sheaf_request *waiting = client_get(it, all->server, "/ok");
  sheaf_request *first = expect_uncopied(it);
  client_expect_silence(it);
  client_cancel(it, waiting);
  client_expect_cancelled(it, waiting);
  sheaf_request_free(waiting);
  copy(it, first);
  client_get(it, all->server, "/ok");
  copy(it, expect_uncopied(it));
}


static void many_answers_through_a_narrow_outbox_all_arrive(void **state) {
  enum { COUNT = 2000 };
  scene *all = *state;
  client *it = &all->it;
  *it = client_with(sheaf_clock_monotonic, 8, &client_pool, 1);
  for (int i = 0; i < COUNT; i++)
    client_get(it, all->server, "/ok");
  take_done(it, COUNT);
  assert_int_equal(PEER_NUMBER(all->server, requests), COUNT);
}

/* }====================================================== */


#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
    TEST(no_more_than_concurrency_are_ever_on_the_wire),
    TEST(each_answer_lets_the_next_go_without_waiting_for_the_others),
    TEST(a_raised_limit_holds_at_once),
    TEST(a_lowered_limit_lets_nothing_go_until_enough_came_back),
    TEST(no_request_is_forgotten_that_comes_as_the_last_permit_does),
    TEST(higher_priority_goes_first_then_older_items_then_submission),
    TEST(a_due_retry_goes_before_new_requests_of_its_priority),
    TEST(batches_of_one_queue_are_served_in_turn),
    TEST(queues_do_not_share_their_permits),
    TEST(nothing_starts_while_the_outbox_holds_more_than_its_bound),
    TEST(copying_one_answer_is_enough_if_the_rest_is_within_the_bound),
    TEST(what_waits_for_the_outbox_can_be_cancelled),
    TEST(many_answers_through_a_narrow_outbox_all_arrive),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
