#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "client.h"
#include "site.h"

/* Longer than any timeout of the requests here, but for an attempt's. */
#define LONG 100.0

/* Seconds by which a race is shifted from round to round. */
#define STEP 1e-6

typedef struct scene {
  site here;
  peer *server;
  client it;
} scene;


/* One permit and a clock that stands still. */
static int set_up(void **state) {
  scene *all = calloc(1, sizeof *all);
  all->server = site_start(&all->here);
  all->it = client_new(client_clock, 1);
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


static void assert_ends(client *it, sheaf_request *request, sheaf_kind kind, int status, int attempts) {
  assert_ptr_equal(client_done(it), request);
  assert_string_equal(sheaf_kind_name(request->answer.kind), sheaf_kind_name(kind));
  assert_int_equal(request->answer.status, status);
  assert_int_equal(request->attempts, attempts);
  sheaf_request_free(request);
}


static void assert_ok(client *it, sheaf_request *request, int attempts) {
  client_expect_ok(it, request);
  assert_int_equal(request->attempts, attempts);
  sheaf_request_free(request);
}


static void assert_cancelled(client *it, sheaf_request *request) {
  client_expect_cancelled(it, request);
  client_expect_silence(it);
  sheaf_request_free(request);
}


/* Its permit is there again, and its connection doesn't stand in the way. */
static void assert_free(scene *all) {
  assert_ok(&all->it, client_get(&all->it, all->server, "/ok"), 1);
  assert_int_equal(atomic_load(&all->it.batch->counters.in_flight), 0);
  assert_int_equal(atomic_load(&all->it.batch->counters.backing_off), 0);
}


static sheaf_notice expect_notice(client *it) {
  sheaf_notice *notice = CLIENT_OWNER(client_expect(it, SHEAF_RETRIED), sheaf_notice, mail);
  sheaf_notice copy = *notice;
  free(notice);
  return copy;
}


/* {======================================================
** Timeouts
** ======================================================= */

static void a_minute_of_silence_before_the_answer_is_one_attempt(void **state) {
  scene *all = *state;
  sheaf_request *request = client_get(&all->it, all->server, "/hold");
  PEER_UNTIL(all->server, requests, 1);
  client_move_clock(&all->it, 61);
  client_expect_silence(&all->it);
  client_move_clock(&all->it, 300);
  client_expect_silence(&all->it);
  peer_go(all->server, 1);
  assert_ok(&all->it, request, 1);
  assert_int_equal(PEER_NUMBER(all->server, requests), 1);
}


static void a_minute_of_silence_within_the_answer_ends_the_attempt(void **state) {
  scene *all = *state;
  sheaf_request *request = client_request(&all->it, all->server, "/pause");
  request->told = true;
  client_submit(&all->it, request);
  PEER_UNTIL(all->server, requests, 1);
  client_settle(&all->it);
  client_move_clock(&all->it, 59);
  client_expect_silence(&all->it);
  client_move_clock(&all->it, 2);
  sheaf_notice notice = expect_notice(&all->it);
  assert_int_equal(notice.kind, SHEAF_KIND_TIMEOUT);
  assert_int_equal(notice.attempt, 1);
  assert_int_equal(notice.slot, request->slot);
  PEER_UNTIL(all->server, closed, 1);
  client_move_clock(&all->it, 1);
  PEER_UNTIL(all->server, requests, 2);
  peer_go(all->server, 1);
  client_expect_ok(&all->it, request);
  assert_int_equal(request->answer.body.length, 10);
  assert_int_equal(request->attempts, 2);
  assert_int_equal(request->tries.transient, 1);
  sheaf_request_free(request);
}


static void bytes_that_keep_coming_keep_the_attempt_alive(void **state) {
  scene *all = *state;
  sheaf_request *request = client_get(&all->it, all->server, "/drip");
  PEER_UNTIL(all->server, requests, 1);
  for (int byte = 1; byte <= 2; byte++) {
    client_settle(&all->it);
    client_move_clock(&all->it, 59);
    client_expect_silence(&all->it);
    peer_go(all->server, 1);
    PEER_UNTIL(all->server, dripped, byte);
  }
  client_settle(&all->it);
  client_move_clock(&all->it, 59);
  client_settle(&all->it);
  peer_go(all->server, 1);
  assert_ok(&all->it, request, 1);
}


static void an_attempt_without_an_answer_ends_in_time(void **state) {
  scene *all = *state;
  sheaf_request *request = client_request(&all->it, all->server, "/hold");
  request->retry.max = 0;
  client_submit(&all->it, request);
  PEER_UNTIL(all->server, requests, 1);
  client_move_clock(&all->it, ATTEMPT - 1);
  client_expect_silence(&all->it);
  client_move_clock(&all->it, 2);
  client_expect(&all->it, SHEAF_DONE);
  assert_int_equal(request->answer.kind, SHEAF_KIND_TIMEOUT);
  assert_string_equal(request->answer.message, "no answer after 600 s");
  PEER_UNTIL(all->server, closed, 1);
  sheaf_request_free(request);
  assert_free(all);
}


static void what_waits_for_a_permit_has_no_attempt_to_time_out(void **state) {
  scene *all = *state;
  sheaf_request *first = client_request(&all->it, all->server, "/hold");
  first->timeout.attempt = INFINITY;
  client_submit(&all->it, first);
  sheaf_request *second = client_request(&all->it, all->server, "/ok");
  second->timeout.attempt = second->timeout.idle = 1;
  client_submit(&all->it, second);
  PEER_UNTIL(all->server, requests, 1);
  client_move_clock(&all->it, 10000);
  client_expect_silence(&all->it);
  peer_go(all->server, 1);
  assert_ok(&all->it, first, 1);
  assert_ok(&all->it, second, 1);
}


static void the_total_time_runs_in_the_queue(void **state) {
  scene *all = *state;
  sheaf_request *first = client_get(&all->it, all->server, "/hold");
  sheaf_request *second = client_request(&all->it, all->server, "/ok");
  second->timeout.total = 5;
  client_submit(&all->it, second);
  PEER_UNTIL(all->server, requests, 1);
  client_move_clock(&all->it, 4);
  client_expect_silence(&all->it);
  client_move_clock(&all->it, 2);
  client_expect(&all->it, SHEAF_DONE);
  assert_int_equal(second->answer.kind, SHEAF_KIND_DEADLINE);
  assert_string_equal(second->answer.message, "not done within timeout.total, 5 s");
  assert_int_equal(second->attempts, 0);
  assert_true(second->times.ended - second->tries.submitted == 6);
  sheaf_request_free(second);
  peer_go(all->server, 1);
  assert_ok(&all->it, first, 1);
  assert_int_equal(PEER_NUMBER(all->server, requests), 1);
}


static void the_total_time_runs_on_the_wire(void **state) {
  scene *all = *state;
  sheaf_request *request = client_request(&all->it, all->server, "/pause");
  request->timeout.total = 5;
  client_submit(&all->it, request);
  PEER_UNTIL(all->server, requests, 1);
  client_settle(&all->it);
  client_move_clock(&all->it, 6);
  client_expect(&all->it, SHEAF_DONE);
  assert_int_equal(request->answer.kind, SHEAF_KIND_DEADLINE);
  assert_int_equal(request->answer.status, 0);
  assert_int_equal(request->answer.body.length, 0);
  assert_int_equal(request->attempts, 1);
  assert_true(request->times.ended - request->tries.submitted == 6);
  PEER_UNTIL(all->server, closed, 1);
  sheaf_request_free(request);
  assert_free(all);
}


static void the_total_time_runs_in_the_queue_after_a_backoff_too(void **state) {
  scene *all = *state;
  sheaf_request *first = client_request(&all->it, all->server, "/statuses/503");
  first->timeout.total = 5;
  first->told = true;
  client_submit(&all->it, first);
  expect_notice(&all->it);
  sheaf_request *second = client_get(&all->it, all->server, "/hold");
  PEER_UNTIL(all->server, requests, 2);
  client_move_clock(&all->it, 2);
  client_expect_silence(&all->it);
  client_move_clock(&all->it, 4);
  assert_ends(&all->it, first, SHEAF_KIND_DEADLINE, 503, 1);
  peer_go(all->server, 1);
  assert_ok(&all->it, second, 1);
}


static void a_retry_that_would_be_too_late_fails_now_with_the_last_status(void **state) {
  scene *all = *state;
  sheaf_request *request = client_request(&all->it, all->server, "/statuses/503");
  request->timeout.total = 5;
  request->retry.base = 3;      /* 503: twice that */
  client_submit(&all->it, request);
  assert_ends(&all->it, request, SHEAF_KIND_DEADLINE, 503, 1);
}

/* }====================================================== */


/* {======================================================
** Retries
** ======================================================= */

static void an_overloaded_server_is_asked_again_after_the_backoff(void **state) {
  scene *all = *state;
  sheaf_request *request = client_request(&all->it, all->server, "/statuses/503,200");
  request->told = true;
  client_submit(&all->it, request);
  sheaf_notice notice = expect_notice(&all->it);
  assert_int_equal(notice.slot, request->slot);
  assert_int_equal(notice.attempt, 1);
  assert_int_equal(notice.status, 503);
  assert_int_equal(notice.kind, SHEAF_KIND_HTTP);
  assert_true(notice.wait == 1);
  client_move_clock(&all->it, 0.9);
  client_expect_silence(&all->it);
  assert_int_equal(atomic_load(&all->it.batch->counters.backing_off), 1);
  client_move_clock(&all->it, 0.2);
  assert_ok(&all->it, request, 2);
  assert_int_equal(atomic_load(&all->it.batch->counters.attempts), 2);
  assert_int_equal(atomic_load(&all->it.batch->counters.retried), 1);
  assert_int_equal(atomic_load(&all->it.batch->counters.backing_off), 0);
  assert_int_equal(PEER_NUMBER(all->server, requests), 2);
}


static void nobody_is_told_of_retries_who_did_not_ask(void **state) {
  scene *all = *state;
  sheaf_request *request = client_request(&all->it, all->server, "/statuses/503,200");
  request->retry.base = 0;
  client_submit(&all->it, request);
  assert_ok(&all->it, request, 2);
}


static void a_throttled_request_waits_as_long_as_told(void **state) {
  scene *all = *state;
  sheaf_request *request = client_request(&all->it, all->server, "/wait/1500");
  request->told = true;
  client_submit(&all->it, request);
  sheaf_notice notice = expect_notice(&all->it);
  assert_int_equal(notice.kind, SHEAF_KIND_RATE_LIMIT);
  assert_int_equal(notice.status, 429);
  assert_true(notice.wait >= 1.5 && notice.wait <= 1.5 * 1.2);
  client_move_clock(&all->it, 1.4);
  client_expect_silence(&all->it);
  client_move_clock(&all->it, 0.5);
  client_expect_ok(&all->it, request);
  assert_int_equal(request->tries.throttled, 1);
  assert_int_equal(request->tries.transient, 0);
  assert_int_equal(atomic_load(&all->it.batch->counters.throttled), 1);
  sheaf_request_free(request);
}


static void each_class_of_failures_has_its_own_count(void **state) {
  scene *all = *state;
  sheaf_request *request = client_request(&all->it, all->server, "/statuses/503,429,500,429,200");
  request->retry = (sheaf_retry_policy){.max = 2, .throttled = 2};
  client_submit(&all->it, request);
  client_expect_ok(&all->it, request);
  assert_int_equal(request->attempts, 5);
  assert_int_equal(request->tries.transient, 2);
  assert_int_equal(request->tries.throttled, 2);
  sheaf_request_free(request);
}


static void used_up_retries_end_with_the_last_answer(void **state) {
  scene *all = *state;
  sheaf_request *request = client_request(&all->it, all->server, "/statuses/503,429,500,200");
  request->retry = (sheaf_retry_policy){.max = 1, .throttled = 2};
  client_submit(&all->it, request);
  assert_ends(&all->it, request, SHEAF_KIND_HTTP, 500, 3);
}


static void what_no_retry_can_cure_is_not_retried(void **state) {
  scene *all = *state;
  assert_ends(&all->it, client_get(&all->it, all->server, "/statuses/404"), SHEAF_KIND_HTTP, 404, 1);
}


static void a_backoff_leaves_its_permit_to_others(void **state) {
  scene *all = *state;
  sheaf_request *first = client_request(&all->it, all->server, "/statuses/503,200");
  first->told = true;
  client_submit(&all->it, first);
  expect_notice(&all->it);
  assert_ok(&all->it, client_get(&all->it, all->server, "/ok"), 1);
  client_move_clock(&all->it, 1.1);
  assert_ok(&all->it, first, 2);
}


static void a_judged_answer_can_be_asked_for_again(void **state) {
  scene *all = *state;
  sheaf_request *request = client_request(&all->it, all->server, "/ok");
  request->judged = true;
  client_submit(&all->it, request);
  client_expect_ok(&all->it, request);
  request->due = sheaf_engine_now(all->it.engine) + 2;
  sheaf_engine_post(all->it.engine, &request->mail, SHEAF_AGAIN);
  client_expect_silence(&all->it);
  client_move_clock(&all->it, 2);
  assert_ok(&all->it, request, 2);
  assert_int_equal(PEER_NUMBER(all->server, requests), 2);
}


static void an_answer_that_breaks_off_is_a_reset_and_leaves_no_trace(void **state) {
  scene *all = *state;
  const char *const targets[] = {"/close", "/reset", "/half-close", "/half-reset"};
  for (int i = 0; i < 4; i++) {
    sheaf_request *request = client_request(&all->it, all->server, targets[i]);
    int before = PEER_NUMBER(all->server, requests);
    request->retry = (sheaf_retry_policy){.max = 2};
    client_submit(&all->it, request);
    assert_ptr_equal(client_done(&all->it), request);
    assert_string_equal(sheaf_kind_name(request->answer.kind), "reset");
    assert_non_null(request->answer.message);
    assert_int_equal(request->attempts, 3);
    assert_int_equal(PEER_NUMBER(all->server, requests) - before, 3);
    sheaf_request_free(request);
  }
  assert_free(all);
}

/* }====================================================== */


/* {======================================================
** Cancelling
** ======================================================= */

static void a_request_without_a_permit_can_be_cancelled(void **state) {
  scene *all = *state;
  sheaf_request *first = client_get(&all->it, all->server, "/hold");
  sheaf_request *second = client_get(&all->it, all->server, "/ok");
  PEER_UNTIL(all->server, requests, 1);
  client_cancel(&all->it, second);
  assert_cancelled(&all->it, second);
  peer_go(all->server, 1);
  assert_ok(&all->it, first, 1);
  assert_free(all);
  assert_int_equal(PEER_NUMBER(all->server, requests), 2);
}


static void a_request_on_the_wire_can_be_cancelled(void **state) {
  scene *all = *state;
  const char *const targets[] = {"/hold", "/pause"};
  for (int i = 0; i < 2; i++) {
    sheaf_request *request = client_get(&all->it, all->server, targets[i]);
    PEER_UNTIL(all->server, busy, 1);
    client_cancel(&all->it, request);
    assert_cancelled(&all->it, request);
    PEER_UNTIL(all->server, closed, i + 1);
    assert_free(all);
    peer_close_idle(all->server);
  }
}


static void a_request_in_backoff_can_be_cancelled(void **state) {
  scene *all = *state;
  sheaf_request *request = client_request(&all->it, all->server, "/statuses/503");
  request->told = true;
  client_submit(&all->it, request);
  expect_notice(&all->it);
  client_cancel(&all->it, request);
  assert_cancelled(&all->it, request);
  client_move_clock(&all->it, LONG);
  client_expect_silence(&all->it);
  assert_int_equal(PEER_NUMBER(all->server, requests), 1);
  assert_free(all);
}


static void a_request_can_be_cancelled_while_its_transport_is_asked(void **state) {
  scene *all = *state;
  sheaf_request *request = client_request(&all->it, all->server, "/none");
  request->transport = true;
  client_submit(&all->it, request);
  client_expect(&all->it, SHEAF_ASK);
  client_cancel(&all->it, request);
  assert_cancelled(&all->it, request);
  assert_free(all);
}


static void a_request_can_be_cancelled_while_its_answer_waits(void **state) {
  scene *all = *state;
  sheaf_request *request = client_request(&all->it, all->server, "/none");
  request->transport = true;
  client_submit(&all->it, request);
  client_expect(&all->it, SHEAF_ASK);
  request->answer.status = 200;
  request->due = sheaf_engine_now(all->it.engine) + 5;
  sheaf_engine_post(all->it.engine, &request->mail, SHEAF_ANSWER);
  client_cancel(&all->it, request);
  assert_cancelled(&all->it, request);
  client_move_clock(&all->it, LONG);
  client_expect_silence(&all->it);
  assert_free(all);
}


static void a_request_that_is_done_is_confirmed_all_the_same(void **state) {
  scene *all = *state;
  sheaf_request *request = client_get(&all->it, all->server, "/ok");
  client_expect_ok(&all->it, request);
  client_cancel(&all->it, request);
  assert_cancelled(&all->it, request);
}


/* Whether the answer or the cancel comes first is left to chance: the server answers at once, and the
   cancel is later in each round. */
static void a_cancel_that_races_with_the_answer_is_the_last_word(void **state) {
  scene *all = *state;
  enum { ROUNDS = 500 };
  int answered = 0;
  for (int round = 0; round < ROUNDS; round++) {
    sheaf_request *request = client_get(&all->it, all->server, "/ok");
    double later = sheaf_clock_monotonic() + round * STEP;
    while (sheaf_clock_monotonic() < later)
      continue;
    client_cancel(&all->it, request);
    sheaf_message *message = client_next(&all->it);
    if (message->type == SHEAF_DONE) {
      assert_ptr_equal(message, &request->mail);
      sheaf_engine_consumed(all->it.engine, request);
      answered++;
      message = client_next(&all->it);
    }
    assert_int_equal(message->type, SHEAF_CANCELLED);
    assert_ptr_equal(message, &request->cancel);
    sheaf_request_free(request);
  }
  print_message("%d of %d were answered before\n", answered, ROUNDS);
  client_expect_silence(&all->it);
  assert_free(all);
}

/* }====================================================== */


/* {======================================================
** Redirects
** ======================================================= */

static sheaf_request *get_following(scene *all, const char *target, int redirects) {
  sheaf_request *request = client_request(&all->it, all->server, target);
  request->redirects = redirects;
  return client_submit(&all->it, request);
}


static void post_following(scene *all, const char *target, const char *wanted) {
  char address[128];
  snprintf(address, sizeof address, "http://127.0.0.1:%d%s", all->server->port, target);
  sheaf_request *request = client_request_to(&all->it, all->it.batch, address, "POST", "hello");
  request->redirects = 1;
  client_submit(&all->it, request);
  client_expect_ok(&all->it, request);
  assert_int_equal(request->answer.body.length, strlen(wanted));
  assert_memory_equal(request->answer.body.bytes, wanted, strlen(wanted));
  sheaf_request_free(request);
}


static void a_redirect_is_followed_only_where_asked(void **state) {
  scene *all = *state;
  assert_ends(&all->it, get_following(all, "/redirect/302/9/ok", 0), SHEAF_KIND_HTTP, 302, 1);
  assert_ok(&all->it, get_following(all, "/redirect/302/9/ok", 1), 2);
  assert_int_equal(PEER_NUMBER(all->server, requests), 3);
  assert_string_equal(all->server->targets[2], "/ok");
}


static void a_redirect_round_in_circles_ends_at_the_limit(void **state) {
  scene *all = *state;
  sheaf_request *request = get_following(all, "/redirect/302/9/redirect/302/9/ok", 1);
  assert_ends(&all->it, request, SHEAF_KIND_HTTP, 302, 2);
}


static void see_other_turns_a_post_into_a_get(void **state) {
  scene *all = *state;
  post_following(all, "/redirect/303/9/echo", "GET ");
  post_following(all, "/redirect/302/9/echo", "GET ");
  post_following(all, "/redirect/301/9/echo", "GET ");
}


static void a_temporary_redirect_keeps_method_and_body(void **state) {
  scene *all = *state;
  post_following(all, "/redirect/307/9/echo", "POST hello");
  post_following(all, "/redirect/308/9/echo", "POST hello");
}


static void nothing_goes_to_another_origin(void **state) {
  scene *all = *state;
  site there = {NULL};
  peer *other = site_start(&there);
  char by_port[64], by_name[64];
  snprintf(by_port, sizeof by_port, "http://127.0.0.1:%d/ok", other->port);
  snprintf(by_name, sizeof by_name, "http://127.0.0.2:%d/ok", all->server->port);
  const char *const elsewhere[] = {by_port, by_name, "https://127.0.0.1/ok", "ftp://127.0.0.1/ok",
                                   "http://"};
  for (int i = 0; i < 5; i++) {
    all->here.elsewhere = elsewhere[i];
    sheaf_request *request = client_request(&all->it, all->server, "/leave/307");
    assert_true(sheaf_lines_append(&request->headers, "Authorization: Bearer secret"));
    request->redirects = 5;
    client_submit(&all->it, request);
    assert_ends(&all->it, request, SHEAF_KIND_HTTP, 307, 1);
  }
  assert_int_equal(PEER_NUMBER(other, connections), 0);
  assert_int_equal(PEER_NUMBER(all->server, requests), 5);
  peer_stop(other);
}

/* }====================================================== */


/* {======================================================
** Transports
** ======================================================= */

static sheaf_request *ask(scene *all) {
  sheaf_request *request = client_request(&all->it, all->server, "/none");
  request->transport = true;
  client_submit(&all->it, request);
  assert_ptr_equal(client_expect(&all->it, SHEAF_ASK), &request->mail);
  return request;
}


static void answer(scene *all, sheaf_request *request, sheaf_kind kind, int status, double delay) {
  request->answer.kind = kind;
  request->answer.status = status;
  request->due = sheaf_engine_now(all->it.engine) + delay;
  sheaf_engine_post(all->it.engine, &request->mail, SHEAF_ANSWER);
}


static void a_transport_answers_in_place_of_the_wire(void **state) {
  scene *all = *state;
  sheaf_request *request = ask(all);
  assert_int_equal(request->attempts, 1);
  answer(all, request, SHEAF_KIND_NONE, 200, 0);
  assert_ok(&all->it, request, 1);
  assert_int_equal(PEER_NUMBER(all->server, connections), 0);
}


static void a_transport_s_answer_comes_after_its_delay_and_holds_the_permit(void **state) {
  scene *all = *state;
  sheaf_request *request = ask(all);
  sheaf_request *next = client_get(&all->it, all->server, "/ok");
  answer(all, request, SHEAF_KIND_NONE, 200, 5);
  client_move_clock(&all->it, 4);
  client_expect_silence(&all->it);
  assert_int_equal(PEER_NUMBER(all->server, requests), 0);
  client_move_clock(&all->it, 1);
  client_expect_ok(&all->it, request);
  assert_true(request->times.ended - request->times.started == 5);
  sheaf_request_free(request);
  assert_ok(&all->it, next, 1);
}


static void a_transport_s_failure_is_retried_like_the_wire_s(void **state) {
  scene *all = *state;
  sheaf_request *request = ask(all);
  answer(all, request, SHEAF_KIND_CONNECT, 0, 0);
  client_expect_silence(&all->it);
  client_move_clock(&all->it, 0.5);
  assert_ptr_equal(client_expect(&all->it, SHEAF_ASK), &request->mail);
  assert_int_equal(request->attempts, 2);
  answer(all, request, SHEAF_KIND_NONE, 200, 0);
  assert_ok(&all->it, request, 2);
}


static void a_transport_that_takes_too_long_is_a_timeout(void **state) {
  scene *all = *state;
  sheaf_request *request = ask(all);
  request->retry.max = 0;
  answer(all, request, SHEAF_KIND_NONE, 200, ATTEMPT + 1);
  client_move_clock(&all->it, ATTEMPT - 1);
  client_expect_silence(&all->it);
  client_move_clock(&all->it, 1);
  assert_ends(&all->it, request, SHEAF_KIND_TIMEOUT, 0, 1);
}

/* }====================================================== */


#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
    TEST(a_minute_of_silence_before_the_answer_is_one_attempt),
    TEST(a_minute_of_silence_within_the_answer_ends_the_attempt),
    TEST(bytes_that_keep_coming_keep_the_attempt_alive),
    TEST(an_attempt_without_an_answer_ends_in_time),
    TEST(what_waits_for_a_permit_has_no_attempt_to_time_out),
    TEST(the_total_time_runs_in_the_queue),
    TEST(the_total_time_runs_on_the_wire),
    TEST(the_total_time_runs_in_the_queue_after_a_backoff_too),
    TEST(a_retry_that_would_be_too_late_fails_now_with_the_last_status),
    TEST(an_overloaded_server_is_asked_again_after_the_backoff),
    TEST(nobody_is_told_of_retries_who_did_not_ask),
    TEST(a_throttled_request_waits_as_long_as_told),
    TEST(each_class_of_failures_has_its_own_count),
    TEST(used_up_retries_end_with_the_last_answer),
    TEST(what_no_retry_can_cure_is_not_retried),
    TEST(a_backoff_leaves_its_permit_to_others),
    TEST(a_judged_answer_can_be_asked_for_again),
    TEST(an_answer_that_breaks_off_is_a_reset_and_leaves_no_trace),
    TEST(a_request_without_a_permit_can_be_cancelled),
    TEST(a_request_on_the_wire_can_be_cancelled),
    TEST(a_request_in_backoff_can_be_cancelled),
    TEST(a_request_can_be_cancelled_while_its_transport_is_asked),
    TEST(a_request_can_be_cancelled_while_its_answer_waits),
    TEST(a_request_that_is_done_is_confirmed_all_the_same),
    TEST(a_cancel_that_races_with_the_answer_is_the_last_word),
    TEST(a_redirect_is_followed_only_where_asked),
    TEST(a_redirect_round_in_circles_ends_at_the_limit),
    TEST(see_other_turns_a_post_into_a_get),
    TEST(a_temporary_redirect_keeps_method_and_body),
    TEST(nothing_goes_to_another_origin),
    TEST(a_transport_answers_in_place_of_the_wire),
    TEST(a_transport_s_answer_comes_after_its_delay_and_holds_the_permit),
    TEST(a_transport_s_failure_is_retried_like_the_wire_s),
    TEST(a_transport_that_takes_too_long_is_a_timeout),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
