#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <dirent.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "client.h"
#include "io.h"
#include "site.h"

/* An end takes far less; a thread that waited for its transfers would take minutes. */
#define PROMPT 1.0

/* Seconds after which a child that hangs is ended. */
#define CHILD_PATIENCE 10


static int count_entries(const char *path) {
  int count = 0;
  DIR *folder = opendir(path);
  assert_non_null(folder);
  while (readdir(folder) != NULL)
    count++;
  closedir(folder);
  return count;
}


static int open_descriptors(void) {
  return count_entries("/proc/self/fd");
}


/* A thread that was joined may still be listed for a moment. */
static void assert_threads(int wanted) {
  double end = sheaf_clock_monotonic() + PEER_PATIENCE;
  while (count_entries("/proc/self/task") != wanted && sheaf_clock_monotonic() < end)
    sched_yield();
  assert_int_equal(count_entries("/proc/self/task"), wanted);
}


static bool is_readable(int fd) {
  struct pollfd one = {.fd = fd, .events = POLLIN};
  return poll(&one, 1, 0) == 1;
}


/* {======================================================
** Timers and the descriptor
** ======================================================= */

static void timers_fire_when_they_are_due_in_the_order_of_their_times(void **state) {
  (void)state;
  client it = client_new(client_clock, 1);
  const double seconds[] = {5, 1, 3, 2, 4};
  for (unsigned i = 0; i < 5; i++)
    client_timer(&it, seconds[i], (unsigned long long)seconds[i]);
  client_expect_silence(&it);
  for (unsigned i = 1; i <= 5; i++) {
    client_move_clock(&it, 0.9);
    client_expect_silence(&it);
    client_move_clock(&it, 0.1 + 1e-9);
    sheaf_timer *timer = CLIENT_OWNER(client_expect(&it, SHEAF_FIRED), sheaf_timer, mail);
    assert_int_equal(timer->id, i);
    free(timer);
    client_expect_silence(&it);
  }
  client_free(&it);
}


static void a_timer_on_the_real_clock_is_never_early(void **state) {
  (void)state;
  client it = client_new(sheaf_clock_monotonic, 1);
  for (int i = 0; i < 20; i++) {
    client_timer(&it, 0.001 * i, 0);
    sheaf_timer *timer = CLIENT_OWNER(client_expect(&it, SHEAF_FIRED), sheaf_timer, mail);
    assert_true(sheaf_engine_now(it.engine) >= timer->due);
    free(timer);
  }
  client_free(&it);
}


static void the_descriptor_is_readable_exactly_while_there_is_something_to_take(void **state) {
  (void)state;
  client it = client_new(client_clock, 1);
  int fd = sheaf_engine_fd(it.engine);
  assert_false(is_readable(fd));
  sheaf_timer *timer = client_timer(&it, 0, 7);
  struct pollfd one = {.fd = fd, .events = POLLIN};
  assert_int_equal(poll(&one, 1, PEER_PATIENCE * 1000), 1);
  assert_true(is_readable(fd));
  assert_ptr_equal(client_expect(&it, SHEAF_FIRED), &timer->mail);
  assert_false(is_readable(fd));
  free(timer);
  sheaf_engine_wake(it.engine);
  assert_true(is_readable(fd));
  sheaf_engine_take(it.engine, &it.taken);
  assert_null(it.taken.first);
  assert_false(is_readable(fd));
  client_free(&it);
}


static void a_changed_header_holds_for_what_is_queued_too(void **state) {
  site here = {NULL};
  (void)state;
  peer *server = site_start(&here);
  client it = client_new(client_clock, 1);
  sheaf_request *first = client_get(&it, server, "/hold");
  sheaf_request *second = client_get(&it, server, "/hold");
  PEER_UNTIL(server, requests, 1);
  sheaf_change *change = calloc(1, sizeof *change);
  struct curl_slist *lines = NULL;
  assert_true(sheaf_lines_append(&lines, "x-new: yes"));
  change->batch = sheaf_batch_keep(it.batch);
  change->headers = sheaf_header_set_new(lines);
  sheaf_engine_post(it.engine, &change->mail, SHEAF_CHANGE);
  client_settle(&it);
  peer_go(server, 1);
  client_expect_ok(&it, first);
  PEER_UNTIL(server, requests, 2);
  assert_true(peer_saw(server, "x-new: yes"));
  peer_go(server, 1);
  client_expect_ok(&it, second);
  sheaf_request_free(first);
  sheaf_request_free(second);
  client_free(&it);
  peer_stop(server);
}

/* }====================================================== */


/* {======================================================
** Start and stop
** ======================================================= */

static void an_engine_that_never_ran_leaves_nothing(void **state) {
  (void)state;
  int descriptors = open_descriptors();
  sheaf_engine *engine = sheaf_engine_new(sheaf_clock_monotonic);
  assert_non_null(engine);
  assert_false(sheaf_engine_running(engine));
  assert_false(sheaf_engine_alien(engine));
  sheaf_engine_free(engine);
  assert_int_equal(open_descriptors(), descriptors);
}


static void a_second_start_changes_nothing(void **state) {
  const char *what;
  (void)state;
  client it = client_new(sheaf_clock_monotonic, 1);
  assert_true(sheaf_engine_running(it.engine));
  assert_int_equal(sheaf_engine_start(it.engine, &what), 0);
  client_settle(&it);
  client_free(&it);
}


static void what_was_posted_last_is_not_lost_memory(void **state) {
  (void)state;
  for (int round = 0; round < 50; round++) {
    client it = client_new(sheaf_clock_monotonic, 1);
    for (int i = 0; i < 5; i++) {
      client_timer(&it, i, 0);
      client_set_concurrency(&it, i + 1);
    }
    client_free(&it);
  }
}


/* Both ends of each connection are this process's. False where it may not have so many. */
static bool allow_descriptors(rlim_t count) {
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur >= count)
    return true;
  limit.rlim_cur = count;
  return limit.rlim_max >= count && setrlimit(RLIMIT_NOFILE, &limit) == 0;
}


static void an_engine_with_a_thousand_transfers_in_flight_ends_at_once(void **state) {
  enum { ON_WIRE = 1000, QUEUED = 500, RETRIED = 20, TIMERS = 100 };
  site here = {NULL};
  (void)state;
  if (!allow_descriptors(2 * ON_WIRE + 200))
    skip();
  peer *server = site_start(&here);
  int threads = count_entries("/proc/self/task");
  int descriptors = open_descriptors();
  client it = client_new(sheaf_clock_monotonic, ON_WIRE);
  sheaf_request **out = calloc(ON_WIRE + QUEUED + RETRIED, sizeof(sheaf_request *));
  int count = 0;
  for (int i = 0; i < RETRIED; i++) {
    sheaf_request *request = client_request(&it, server, "/statuses/503");
    request->retry.base = 1000;
    request->told = true;
    out[count++] = client_submit(&it, request);
  }
  for (int i = 0; i < RETRIED; i++)
    free(CLIENT_OWNER(client_expect(&it, SHEAF_RETRIED), sheaf_notice, mail));
  for (int i = 0; i < ON_WIRE + QUEUED; i++) {
    sheaf_request *request = client_request(&it, server, "/hold");
    request->timeout.total = 1000;
    out[count++] = client_submit(&it, request);
  }
  for (int i = 0; i < TIMERS; i++)
    client_timer(&it, 1000, 0);
  PEER_UNTIL(server, busy, ON_WIRE);
  double begin = sheaf_clock_monotonic();
  client_stop(&it);
  assert_true(sheaf_clock_monotonic() - begin < PROMPT);
  assert_threads(threads);
  PEER_UNTIL(server, open, 0);
  assert_int_equal(open_descriptors(), descriptors);
  for (int i = 0; i < count; i++)
    sheaf_request_free(out[i]);
  free(out);
  client_free(&it);
  peer_stop(server);
}


static void engines_are_independent(void **state) {
  site here = {NULL};
  (void)state;
  peer *server = site_start(&here);
  client first = client_new(client_clock, 1), second = client_new(client_clock, 1);
  sheaf_request *held = client_get(&first, server, "/hold");
  PEER_UNTIL(server, requests, 1);
  sheaf_request *request = client_get(&second, server, "/ok");
  client_expect_ok(&second, request);
  sheaf_request_free(request);
  client_free(&second);
  peer_go(server, 1);
  client_expect_ok(&first, held);
  sheaf_request_free(held);
  client_free(&first);
  peer_stop(server);
}

/* }====================================================== */


/* The locks are held at the fork, as the I/O thread's may be: a child that took one would wait for ever. */
static void a_forked_child_leaves_the_parent_s_engine_alone(void **state) {
  site here = {NULL};
  int status;
  (void)state;
  peer *server = site_start(&here);
  client it = client_new(sheaf_clock_monotonic, 1);
  sheaf_request *request = client_get(&it, server, "/hold");
  PEER_UNTIL(server, requests, 1);
  pthread_mutex_lock(&it.engine->inbox.lock);
  pthread_mutex_lock(&it.engine->outbox.lock);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    alarm(CHILD_PATIENCE);
    bool alien = sheaf_engine_alien(it.engine);
    sheaf_engine_free(it.engine);
    _exit(alien ? 0 : 1);
  }
  pthread_mutex_unlock(&it.engine->outbox.lock);
  pthread_mutex_unlock(&it.engine->inbox.lock);
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  assert_false(sheaf_engine_alien(it.engine));
  client_settle(&it);
  assert_int_equal(PEER_NUMBER(server, closed), 0);
  peer_go(server, 1);
  client_expect_ok(&it, request);
  assert_int_equal(request->attempts, 1);
  sheaf_request_free(request);
  client_free(&it);
  peer_stop(server);
}


static void a_forked_child_can_free_an_engine_that_never_ran(void **state) {
  int status;
  (void)state;
  sheaf_engine *engine = sheaf_engine_new(sheaf_clock_monotonic);
  assert_non_null(engine);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    alarm(CHILD_PATIENCE);
    bool alien = sheaf_engine_alien(engine);
    sheaf_engine_free(engine);
    _exit(alien ? 0 : 1);
  }
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  sheaf_engine_free(engine);
}


int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(timers_fire_when_they_are_due_in_the_order_of_their_times),
    cmocka_unit_test(a_timer_on_the_real_clock_is_never_early),
    cmocka_unit_test(the_descriptor_is_readable_exactly_while_there_is_something_to_take),
    cmocka_unit_test(a_changed_header_holds_for_what_is_queued_too),
    cmocka_unit_test(an_engine_that_never_ran_leaves_nothing),
    cmocka_unit_test(a_second_start_changes_nothing),
    cmocka_unit_test(what_was_posted_last_is_not_lost_memory),
    cmocka_unit_test(an_engine_with_a_thousand_transfers_in_flight_ends_at_once),
    cmocka_unit_test(engines_are_independent),
    cmocka_unit_test(a_forked_child_leaves_the_parent_s_engine_alone),
    cmocka_unit_test(a_forked_child_can_free_an_engine_that_never_ran),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
