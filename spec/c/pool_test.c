#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <sys/resource.h>

#include "client.h"
#include "site.h"

#define CONCURRENCY 10

typedef struct scene {
  site here;
  peer *server, *other;
  client it;
} scene;


static int set_up(void **state) {
  scene *all = calloc(1, sizeof *all);
  all->server = site_start(&all->here);
  all->other = site_start(&all->here);
  *state = all;
  return 0;
}


static int tear_down(void **state) {
  scene *all = *state;
  if (all->it.batch != NULL)
    client_free(&all->it);
  peer_stop(all->server);
  peer_stop(all->other);
  free(all);
  return 0;
}


static client *open_client(scene *all, sheaf_clock clock, int total, int per_host, bool keepalive) {
  sheaf_pool_options options = client_pool;
  options.total = total;
  options.per_host = per_host;
  options.keepalive = keepalive;
  all->it = client_with(clock, CONCURRENCY, &options, MAX_BUFFERED);
  return &all->it;
}


static void assert_ok(client *it, sheaf_request *request) {
  client_expect_ok(it, request);
  sheaf_request_free(request);
}


/* How often the server was asked for this. */
static int hits(peer *server, const char *target) {
  int count = 0;
  pthread_mutex_lock(&server->lock);
  for (int i = 0; i < server->requests && i < PEER_LOG; i++)
    count += strcmp(server->targets[i], target) == 0;
  pthread_mutex_unlock(&server->lock);
  return count;
}


/* {======================================================
** Kept connections
** ======================================================= */

static void a_connection_is_used_again(void **state) {
  scene *all = *state;
  client *it = open_client(all, sheaf_clock_monotonic, 0, 0, true);
  for (int i = 0; i < 5; i++)
    assert_ok(it, client_get(it, all->server, "/ok"));
  assert_int_equal(PEER_NUMBER(all->server, connections), 1);
  assert_int_equal(atomic_load(&it->batch->counters.opened), 1);
  assert_int_equal(atomic_load(&it->batch->counters.reused), 4);
}


static void without_keepalive_each_request_has_its_own_connection(void **state) {
  scene *all = *state;
  client *it = open_client(all, sheaf_clock_monotonic, 0, 0, false);
  for (int i = 0; i < 5; i++)
    assert_ok(it, client_get(it, all->server, "/ok"));
  assert_int_equal(PEER_NUMBER(all->server, connections), 5);
  PEER_UNTIL(all->server, open, 0);
}


static void batches_with_equal_options_share_their_connections(void **state) {
  scene *all = *state;
  client *it = open_client(all, sheaf_clock_monotonic, 0, 0, true);
  sheaf_pool_options options = client_pool;
  sheaf_batch *equal = client_add_batch(it->queue, &options, MAX_BUFFERED);
  options.idle++;
  sheaf_batch *unequal = client_add_batch(it->queue, &options, MAX_BUFFERED);
  sheaf_batch *batches[] = {it->batch, equal, unequal};
  const int connections[] = {1, 1, 2};
  char address[64];
  snprintf(address, sizeof address, "http://127.0.0.1:%d/ok", all->server->port);
  for (int i = 0; i < 3; i++) {
    assert_ok(it, client_submit(it, client_request_to(it, batches[i], address, "GET", NULL)));
    assert_int_equal(PEER_NUMBER(all->server, connections), connections[i]);
  }
  sheaf_batch_drop(equal);
  sheaf_batch_drop(unequal);
}


/* The clock stands still: whatever waits for a backoff would never come. */
static void a_kept_connection_that_dies_under_a_request_costs_one_attempt_and_no_wait(void **state) {
  scene *all = *state;
  client *it = open_client(all, client_clock, 0, 0, true);
  assert_ok(it, client_get(it, all->server, "/dead"));
  sheaf_request *request = client_request(it, all->server, "/dead?2");
  request->told = true;
  client_submit(it, request);
  sheaf_notice *notice = CLIENT_OWNER(client_expect(it, SHEAF_RETRIED), sheaf_notice, mail);
  assert_int_equal(notice->kind, SHEAF_KIND_RESET);
  assert_true(notice->wait == 0);
  free(notice);
  client_expect_ok(it, request);
  assert_int_equal(request->attempts, 2);
  assert_int_equal(request->tries.resent, 1);
  assert_int_equal(request->tries.transient, 0);
  assert_int_equal(hits(all->server, "/dead?2"), 2);
  assert_int_equal(atomic_load(&it->batch->counters.attempts), 3);
  sheaf_request_free(request);
}


static void a_post_on_a_dying_connection_is_never_sent_twice_in_one_attempt(void **state) {
  scene *all = *state;
  client *it = open_client(all, client_clock, 0, 0, true);
  char address[64];
  snprintf(address, sizeof address, "http://127.0.0.1:%d/dead?post", all->server->port);
  assert_ok(it, client_get(it, all->server, "/ok"));
  sheaf_request *request = client_request_to(it, it->batch, address, "POST", "hello");
  client_submit(it, request);
  client_expect_ok(it, request);
  assert_int_equal(request->attempts, 2);
  assert_int_equal(hits(all->server, "/dead?post"), 2);
  sheaf_request_free(request);
}


/* Where one kept connection died, the others are not to be trusted either. */
static void what_died_on_a_kept_connection_goes_out_on_a_new_one(void **state) {
  enum { KEPT = 3 };
  scene *all = *state;
  client *it = open_client(all, client_clock, 0, 0, true);
  for (int i = 0; i < KEPT; i++)
    client_get(it, all->server, "/hold");
  PEER_UNTIL(all->server, busy, KEPT);
  peer_go(all->server, KEPT);
  for (int i = 0; i < KEPT; i++)
    sheaf_request_free(client_done(it));
  sheaf_request *request = client_get(it, all->server, "/dead");
  client_expect_ok(it, request);
  assert_int_equal(request->attempts, 2);
  assert_int_equal(PEER_NUMBER(all->server, connections), KEPT + 1);
  sheaf_request_free(request);
}


static void only_the_first_death_is_free_of_charge(void **state) {
  scene *all = *state;
  client *it = open_client(all, client_clock, 0, 0, true);
  assert_ok(it, client_get(it, all->server, "/ok"));
  sheaf_request *request = client_request(it, all->server, "/close");
  request->retry.max = 1;
  request->retry.base = 0;
  client_submit(it, request);
  assert_ptr_equal(client_done(it), request);
  assert_int_equal(request->answer.kind, SHEAF_KIND_RESET);
  assert_int_equal(request->attempts, 3);
  assert_int_equal(hits(all->server, "/close"), 3);
  sheaf_request_free(request);
}


static peer_reply answers_and_leaves(const peer_request *request, void *data) {
  (void)request;
  (void)data;
  return peer_answers_and_closes(200, "ok");
}


/* The server's close meets the next request somewhere on the way. */
static void a_close_that_crosses_the_next_request_is_never_a_hidden_second_hit(void **state) {
  scene *all = *state;
  client *it = open_client(all, client_clock, 0, 0, true);
  peer *server = peer_start(answers_and_leaves, NULL);
  for (int round = 0; round < 500; round++) {
    char target[32];
    snprintf(target, sizeof target, "/round/%d", round);
    sheaf_request *request = client_get(it, server, target);
    client_expect_ok(it, request);
    assert_in_range(request->attempts, 1, 2);
    assert_int_equal(hits(server, target), 1);  /* an attempt over a dead connection never got there */
    assert_int_equal(request->tries.transient, 0);
    sheaf_request_free(request);
  }
  client_stop(it);
  peer_stop(server);
}


/* A loop that is woken for ever by what it doesn't read needs a whole core. */
static void a_close_of_all_idle_connections_does_not_keep_the_thread_busy(void **state) {
  enum { COUNT = 100 };
  scene *all = *state;
  client *it = &all->it;
  *it = client_new(sheaf_clock_monotonic, COUNT);
  for (int i = 0; i < COUNT; i++)
    client_get(it, all->server, "/hold");
  PEER_UNTIL(all->server, busy, COUNT);
  peer_go(all->server, COUNT);
  for (int i = 0; i < COUNT; i++)
    sheaf_request_free(client_done(it));
  assert_int_equal(PEER_NUMBER(all->server, open), COUNT);
  peer_close_idle(all->server);
  client_settle(it);
  struct rusage before, after;
  getrusage(RUSAGE_SELF, &before);
  struct timespec second = {1, 0};
  nanosleep(&second, NULL);
  getrusage(RUSAGE_SELF, &after);
  double spent = (double)(after.ru_utime.tv_sec - before.ru_utime.tv_sec) +
                 (double)(after.ru_utime.tv_usec - before.ru_utime.tv_usec) * 1e-6 +
                 (double)(after.ru_stime.tv_sec - before.ru_stime.tv_sec) +
                 (double)(after.ru_stime.tv_usec - before.ru_stime.tv_usec) * 1e-6;
  assert_true(spent < 0.1);
  long switches = after.ru_nvcsw - before.ru_nvcsw;
  assert_true(switches < 100);
  assert_ok(it, client_get(it, all->server, "/ok"));
}


static void a_refused_connection_is_told_as_such(void **state) {
  scene *all = *state;
  client *it = open_client(all, client_clock, 0, 0, true);
  int port = 0;
  close(peer_listen(&port));
  char address[64];
  snprintf(address, sizeof address, "http://127.0.0.1:%d/ok", port);
  sheaf_request *request = client_request_to(it, it->batch, address, "GET", NULL);
  request->retry = (sheaf_retry_policy){.max = 1};
  client_submit(it, request);
  assert_ptr_equal(client_done(it), request);
  assert_int_equal(request->answer.kind, SHEAF_KIND_CONNECT);
  assert_int_equal(request->attempts, 2);
  sheaf_request_free(request);
}


static void an_answer_larger_than_wanted_ends_without_a_retry(void **state) {
  scene *all = *state;
  client *it = open_client(all, client_clock, 0, 0, true);
  sheaf_request *request = client_request(it, all->server, "/big/1001");
  request->max_body = 1000;
  client_submit(it, request);
  assert_ptr_equal(client_done(it), request);
  assert_int_equal(request->answer.kind, SHEAF_KIND_TOO_LARGE);
  assert_int_equal(request->attempts, 1);
  sheaf_request_free(request);
  request = client_request(it, all->server, "/big/1000");
  request->max_body = 1000;
  client_submit(it, request);
  assert_ok(it, request);
}

/* }====================================================== */


/* {======================================================
** Limits
** ======================================================= */

static void no_more_go_to_a_host_than_it_may_have(void **state) {
  scene *all = *state;
  client *it = open_client(all, sheaf_clock_monotonic, 0, 3, true);
  for (int i = 0; i < 100; i++)
    client_get(it, all->server, "/ok");
  for (int i = 0; i < 100; i++)
    sheaf_request_free(client_done(it));
  assert_in_range(PEER_NUMBER(all->server, most_busy), 1, 3);
  assert_in_range(PEER_NUMBER(all->server, most_open), 1, 3);
  for (int i = 0; i < 6; i++)
    client_get(it, all->server, "/hold");
  PEER_UNTIL(all->server, busy, 3);
  client_settle(it);
  assert_int_equal(PEER_NUMBER(all->server, requests), 103);
  peer_go(all->server, 6);
  for (int i = 0; i < 6; i++)
    sheaf_request_free(client_done(it));
}


static void no_more_go_out_than_the_pool_may_have(void **state) {
  scene *all = *state;
  client *it = open_client(all, client_clock, 3, 0, true);
  for (int i = 0; i < 8; i++)
    client_get(it, i < 7 ? all->server : all->other, "/hold");
  PEER_UNTIL(all->server, busy, 3);
  client_settle(it);
  for (int left = 7; left > 2; left--) {
    assert_int_equal(PEER_NUMBER(all->server, busy), 3);
    assert_int_equal(PEER_NUMBER(all->other, busy), 0);
    peer_go(all->server, 1);
    sheaf_request_free(client_done(it));
    if (left > 3)
      PEER_UNTIL(all->server, requests, 11 - left);
    client_settle(it);
  }
  PEER_UNTIL(all->other, busy, 1);
  peer_go(all->other, 1);
  sheaf_request_free(client_done(it));
  peer_go(all->server, 2);
  for (int i = 0; i < 2; i++)
    sheaf_request_free(client_done(it));
}


static void a_full_host_is_passed_by_others_and_costs_no_permits(void **state) {
  scene *all = *state;
  client *it = open_client(all, client_clock, 0, 1, true);
  sheaf_request *held[CONCURRENCY + 1];
  for (int i = 0; i < CONCURRENCY + 1; i++)
    held[i] = client_get(it, all->server, "/hold");
  for (int i = 0; i < 3; i++)
    assert_ok(it, client_get(it, all->other, "/ok"));
  assert_int_equal(PEER_NUMBER(all->server, requests), 1);
  assert_int_equal(atomic_load(&it->batch->counters.in_flight), 1);
  peer_go(all->server, CONCURRENCY + 1);
  for (int i = 0; i < CONCURRENCY + 1; i++)
    assert_ok(it, held[i]);
}


/* What the pool had no room for, and then finds its host full, leaves its place to the next. */
static void room_in_the_pool_is_not_lost_on_a_full_host(void **state) {
  scene *all = *state;
  client *it = open_client(all, client_clock, 2, 1, true);
  sheaf_request *long_one = client_get(it, all->server, "/hold");
  sheaf_request *short_one = client_get(it, all->other, "/hold");
  PEER_UNTIL(all->server, busy, 1);
  PEER_UNTIL(all->other, busy, 1);
  sheaf_request *behind[3];
  for (int i = 0; i < 3; i++)
    behind[i] = client_get(it, all->server, "/hold");
  sheaf_request *passing = client_get(it, all->other, "/ok");
  client_settle(it);
  peer_go(all->other, 1);
  assert_ok(it, short_one);
  assert_ok(it, passing);
  assert_int_equal(PEER_NUMBER(all->server, requests), 1);
  peer_go(all->server, 4);
  assert_ok(it, long_one);
  for (int i = 0; i < 3; i++)
    assert_ok(it, behind[i]);
}


static void a_parked_request_can_be_cancelled(void **state) {
  scene *all = *state;
  client *it = open_client(all, client_clock, 0, 1, true);
  sheaf_request *first = client_get(it, all->server, "/hold");
  sheaf_request *second = client_get(it, all->server, "/ok?2");
  sheaf_request *third = client_get(it, all->server, "/ok?3");
  PEER_UNTIL(all->server, busy, 1);
  client_cancel(it, second);
  client_expect_cancelled(it, second);
  client_expect_silence(it);
  sheaf_request_free(second);
  peer_go(all->server, 1);
  assert_ok(it, first);
  assert_ok(it, third);
  assert_int_equal(hits(all->server, "/ok?2"), 0);
}


static void a_parked_request_meets_its_deadline(void **state) {
  scene *all = *state;
  client *it = open_client(all, client_clock, 0, 1, true);
  sheaf_request *first = client_get(it, all->server, "/hold");
  sheaf_request *second = client_request(it, all->server, "/ok");
  second->timeout.total = 5;
  client_submit(it, second);
  PEER_UNTIL(all->server, busy, 1);
  client_move_clock(it, 6);
  assert_ptr_equal(client_done(it), second);
  assert_int_equal(second->answer.kind, SHEAF_KIND_DEADLINE);
  sheaf_request_free(second);
  peer_go(all->server, 1);
  assert_ok(it, first);
}

/* }====================================================== */


/* The first connection over TLS is waited for, since it may serve all. Where none comes of it, the others
   must not find that out one after the other. */
static void a_host_that_never_shakes_hands_is_waited_for_once(void **state) {
  scene *all = *state;
  client *it = open_client(all, sheaf_clock_monotonic, 0, 0, true);
  char address[64];
  snprintf(address, sizeof address, "https://127.0.0.1:%d/", all->server->port);
  for (int i = 0; i < CONCURRENCY; i++) {
    sheaf_request *request = client_request_to(it, it->batch, address, "GET", NULL);
    request->retry.max = 0;
    request->timeout.connect = 0.5;
    client_submit(it, request);
  }
  PEER_UNTIL(all->server, open, 1);
  PEER_UNTIL(all->server, open, CONCURRENCY - 1);
  for (int i = 0; i < CONCURRENCY; i++) {
    sheaf_request *request = client_done(it);
    assert_int_equal(request->answer.kind, SHEAF_KIND_TIMEOUT);
    sheaf_request_free(request);
  }
}


#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
    TEST(a_connection_is_used_again),
    TEST(without_keepalive_each_request_has_its_own_connection),
    TEST(batches_with_equal_options_share_their_connections),
    TEST(a_kept_connection_that_dies_under_a_request_costs_one_attempt_and_no_wait),
    TEST(a_post_on_a_dying_connection_is_never_sent_twice_in_one_attempt),
    TEST(what_died_on_a_kept_connection_goes_out_on_a_new_one),
    TEST(only_the_first_death_is_free_of_charge),
    TEST(a_close_that_crosses_the_next_request_is_never_a_hidden_second_hit),
    TEST(a_close_of_all_idle_connections_does_not_keep_the_thread_busy),
    TEST(a_refused_connection_is_told_as_such),
    TEST(an_answer_larger_than_wanted_ends_without_a_retry),
    TEST(no_more_go_to_a_host_than_it_may_have),
    TEST(no_more_go_out_than_the_pool_may_have),
    TEST(a_full_host_is_passed_by_others_and_costs_no_permits),
    TEST(room_in_the_pool_is_not_lost_on_a_full_host),
    TEST(a_parked_request_can_be_cancelled),
    TEST(a_parked_request_meets_its_deadline),
    TEST(a_host_that_never_shakes_hands_is_waited_for_once),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
