#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "../../src/retry.h"

#define NOW 1000.0
#define DRAWS 20000
#define EPSILON 1e-9

/* The defaults of WIRE.md, without jitter where a test wants to see the plain numbers. */
static const sheaf_retry_policy defaults = { .max = 5, .throttled = 20, .invalid = 2, .base = 0.5,
                                             .cap = 30, .jitter = SHEAF_JITTER_FULL };
static const sheaf_retry_policy plain = { .max = 5, .throttled = 20, .invalid = 2, .base = 0.5,
                                          .cap = 30, .jitter = SHEAF_JITTER_NONE };


static sheaf_retry_state fresh(void) {
  return (sheaf_retry_state){ .submitted = NOW, .deadline = INFINITY, .random = 88172645463325252 };
}


static sheaf_outcome answer(int status) {
  return (sheaf_outcome){ .status = status, .retry_after = -1, .should_retry = -1 };
}


static sheaf_outcome wire(sheaf_kind kind) {
  return (sheaf_outcome){ .kind = kind, .retry_after = -1, .should_retry = -1 };
}


static sheaf_verdict judge(const sheaf_retry_policy *policy, sheaf_outcome outcome) {
  sheaf_retry_state state = fresh();
  sheaf_verdict verdict = sheaf_retry_verdict(policy, &state, &outcome, NOW);
  assert_non_null(verdict.why);
  return verdict;
}


static void assert_fails(sheaf_outcome outcome, sheaf_kind kind) {
  sheaf_verdict verdict = judge(&plain, outcome);
  assert_int_equal(verdict.action, SHEAF_ACTION_FAIL);
  assert_int_equal(verdict.kind, kind);
  assert_true(verdict.at == NOW);
}


static void assert_retried(sheaf_outcome outcome, sheaf_kind kind, double delay) {
  sheaf_verdict verdict = judge(&plain, outcome);
  assert_int_equal(verdict.action, SHEAF_ACTION_RETRY);
  assert_int_equal(verdict.kind, kind);
  assert_true(fabs(verdict.at - NOW - delay) < EPSILON);
}


/* Judges the same outcome until it isn't retried any more; returns how often it was. */
static int count_retries(const sheaf_retry_policy *policy, sheaf_outcome outcome, sheaf_kind kind) {
  sheaf_retry_state state = fresh();
  for (int retries = 0; retries < 1000; retries++) {
    sheaf_verdict verdict = sheaf_retry_verdict(policy, &state, &outcome, NOW);
    assert_int_equal(verdict.kind, kind);
    if (verdict.action != SHEAF_ACTION_RETRY) {
      assert_int_equal(verdict.action, SHEAF_ACTION_FAIL);
      return retries;
    }
  }
  fail_msg("retried without end");
  return -1;
}


static void every_kind_has_a_name_that_leads_back(void **state) {
  (void)state;
  static const char *const names[] = { "ok", "dns", "connect", "tls", "timeout", "reset", "protocol",
                                       "http", "rate_limit", "quota", "invalid", "too_large",
                                       "cancelled", "deadline", "budget", "closed", "internal" };
  assert_int_equal(SHEAF_KIND_COUNT, sizeof names / sizeof *names);
  for (unsigned i = 0; i < SHEAF_KIND_COUNT; i++) {
    assert_string_equal(sheaf_kind_name((sheaf_kind)i), names[i]);
    assert_int_equal(sheaf_kind_from_name(names[i]), i);
  }
  assert_int_equal(sheaf_kind_from_name("Dns"), SHEAF_KIND_COUNT);
  assert_int_equal(sheaf_kind_from_name(""), SHEAF_KIND_COUNT);
  assert_string_equal(sheaf_kind_name(SHEAF_KIND_COUNT), "unknown");
}


static void every_jitter_has_a_name(void **state) {
  (void)state;
  static const char *const names[] = { "full", "equal", "decorrelated", "none" };
  for (unsigned i = 0; i < 4; i++) {
    sheaf_jitter jitter = SHEAF_JITTER_NONE;
    assert_true(sheaf_jitter_from_name(names[i], &jitter));
    assert_int_equal(jitter, i);
  }
  sheaf_jitter jitter = SHEAF_JITTER_EQUAL;
  assert_false(sheaf_jitter_from_name("half", &jitter));
  assert_int_equal(jitter, SHEAF_JITTER_EQUAL);
}


static void every_status_gets_what_the_list_says(void **state) {
  (void)state;
  static const int transient[] = { 408, 409, 425, 500, 502, 504, 520, 521, 522, 523, 524 };
  for (int status = 0; status <= 999; status++) {
    bool listed = false;
    for (size_t i = 0; i < sizeof transient / sizeof *transient; i++)
      listed = listed || transient[i] == status;
    if (status >= 200 && status <= 299) {
      sheaf_verdict verdict = judge(&plain, answer(status));
      assert_int_equal(verdict.action, SHEAF_ACTION_DONE);
      assert_int_equal(verdict.kind, SHEAF_KIND_NONE);
    } else if (listed) {
      assert_retried(answer(status), SHEAF_KIND_HTTP, 0.5);
    } else if (status == 503 || status == 529) {
      assert_retried(answer(status), SHEAF_KIND_HTTP, 1);
    } else if (status == 429) {
      assert_retried(answer(status), SHEAF_KIND_RATE_LIMIT, 1);
    } else {
      assert_fails(answer(status), SHEAF_KIND_HTTP);
    }
  }
}


static void wire_errors_are_transient_unless_permanent(void **state) {
  (void)state;
  static const sheaf_kind kinds[] = { SHEAF_KIND_DNS, SHEAF_KIND_CONNECT, SHEAF_KIND_TLS,
                                      SHEAF_KIND_TIMEOUT, SHEAF_KIND_RESET, SHEAF_KIND_PROTOCOL,
                                      SHEAF_KIND_INTERNAL };
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    sheaf_outcome outcome = wire(kinds[i]);
    assert_retried(outcome, kinds[i], 0.5);
    outcome.permanent = true;
    assert_fails(outcome, kinds[i]);
  }
}


static void what_the_user_or_a_bound_ended_is_never_retried(void **state) {
  (void)state;
  static const sheaf_kind kinds[] = { SHEAF_KIND_TOO_LARGE, SHEAF_KIND_CANCELLED, SHEAF_KIND_DEADLINE,
                                      SHEAF_KIND_BUDGET, SHEAF_KIND_CLOSED, SHEAF_KIND_HTTP,
                                      SHEAF_KIND_RATE_LIMIT, SHEAF_KIND_QUOTA };
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    sheaf_outcome outcome = wire(kinds[i]);
    assert_fails(outcome, kinds[i]);
    outcome.should_retry = 1;
    assert_fails(outcome, kinds[i]);
  }
}


static void a_quota_answer_is_never_retried(void **state) {
  (void)state;
  static const int statuses[] = { 400, 402, 403, 429, 503 };
  for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
    sheaf_outcome outcome = answer(statuses[i]);
    outcome.quota = true;
    assert_fails(outcome, SHEAF_KIND_QUOTA);
    outcome.should_retry = 1;
    outcome.retry_after = 1;
    assert_fails(outcome, SHEAF_KIND_QUOTA);
  }
  sheaf_outcome good = answer(200);
  good.quota = true;
  assert_int_equal(judge(&plain, good).action, SHEAF_ACTION_DONE);
}


static void x_should_retry_overrules_the_status_but_no_success(void **state) {
  (void)state;
  static const int statuses[] = { 301, 400, 401, 402, 404, 501, 505 };
  for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
    sheaf_outcome outcome = answer(statuses[i]);
    outcome.should_retry = 1;
    assert_retried(outcome, SHEAF_KIND_HTTP, 0.5);
    assert_int_equal(count_retries(&plain, outcome, SHEAF_KIND_HTTP), plain.max);
  }
  static const int transient[] = { 408, 500, 503, 529 };
  for (size_t i = 0; i < sizeof transient / sizeof *transient; i++) {
    sheaf_outcome outcome = answer(transient[i]);
    outcome.should_retry = 0;
    assert_fails(outcome, SHEAF_KIND_HTTP);
  }
  sheaf_outcome throttled = answer(429);
  throttled.should_retry = 0;
  assert_fails(throttled, SHEAF_KIND_RATE_LIMIT);
  throttled.should_retry = 1;
  assert_retried(throttled, SHEAF_KIND_RATE_LIMIT, 1);
  assert_int_equal(count_retries(&plain, throttled, SHEAF_KIND_RATE_LIMIT), plain.throttled);
  for (int told = 0; told <= 1; told++) {
    sheaf_outcome good = answer(204);
    good.should_retry = told;
    assert_int_equal(judge(&plain, good).action, SHEAF_ACTION_DONE);
  }
}


static void each_class_has_its_own_count(void **state) {
  (void)state;
  assert_int_equal(count_retries(&plain, answer(500), SHEAF_KIND_HTTP), 5);
  assert_int_equal(count_retries(&plain, answer(529), SHEAF_KIND_HTTP), 5);
  assert_int_equal(count_retries(&plain, answer(429), SHEAF_KIND_RATE_LIMIT), 20);
  assert_int_equal(count_retries(&plain, wire(SHEAF_KIND_TIMEOUT), SHEAF_KIND_TIMEOUT), 5);
  assert_int_equal(count_retries(&plain, wire(SHEAF_KIND_INVALID), SHEAF_KIND_INVALID), 2);
  sheaf_retry_state memory = fresh();
  sheaf_outcome ends[] = { answer(429), wire(SHEAF_KIND_INVALID), answer(503), answer(429),
                           wire(SHEAF_KIND_DNS) };
  for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
    sheaf_verdict verdict = sheaf_retry_verdict(&plain, &memory, &ends[i], NOW);
    assert_int_equal(verdict.action, SHEAF_ACTION_RETRY);
  }
  assert_int_equal(memory.throttled, 2);
  assert_int_equal(memory.invalid, 1);
  assert_int_equal(memory.transient, 2);
  assert_int_equal(memory.resent, 0);
}


static void without_retries_each_failure_is_the_last(void **state) {
  (void)state;
  sheaf_retry_policy none = plain;
  none.max = none.throttled = none.invalid = 0;
  assert_int_equal(count_retries(&none, answer(500), SHEAF_KIND_HTTP), 0);
  assert_int_equal(count_retries(&none, answer(429), SHEAF_KIND_RATE_LIMIT), 0);
  assert_int_equal(count_retries(&none, wire(SHEAF_KIND_RESET), SHEAF_KIND_RESET), 0);
  assert_int_equal(count_retries(&none, wire(SHEAF_KIND_INVALID), SHEAF_KIND_INVALID), 0);
}


static void an_invalid_answer_is_retried_unless_permanent(void **state) {
  (void)state;
  sheaf_outcome outcome = wire(SHEAF_KIND_INVALID);
  outcome.status = 200;
  assert_retried(outcome, SHEAF_KIND_INVALID, 0.5);
  outcome.permanent = true;
  assert_fails(outcome, SHEAF_KIND_INVALID);
}


static void a_verdict_says_why(void **state) {
  (void)state;
  assert_string_equal(judge(&plain, answer(200)).why, "ok");
  assert_string_equal(judge(&plain, answer(404)).why, "not worth a retry");
  assert_string_equal(judge(&plain, answer(429)).why, "throttled");
  assert_string_equal(judge(&plain, answer(500)).why, "transient");
  assert_string_equal(judge(&plain, answer(503)).why, "overloaded");
  assert_string_equal(judge(&plain, wire(SHEAF_KIND_INVALID)).why, "invalid");
}


static void a_failure_counts_nothing(void **state) {
  (void)state;
  sheaf_retry_state memory = fresh();
  memory.transient = 5;
  const sheaf_retry_state before = memory;
  sheaf_outcome bad = answer(404), spent = answer(500), good = answer(200);
  (void)sheaf_retry_verdict(&plain, &memory, &bad, NOW);
  (void)sheaf_retry_verdict(&plain, &memory, &spent, NOW);
  (void)sheaf_retry_verdict(&plain, &memory, &good, NOW);
  assert_memory_equal(&memory, &before, sizeof memory);
}


/* The backoff of the n-th retry (from 0) for a status, without anything that Retry-After adds. */
static double delay_of(const sheaf_retry_policy *policy, sheaf_retry_state *memory, int status, int n) {
  sheaf_outcome outcome = answer(status);
  memory->transient = memory->throttled = n;
  sheaf_verdict verdict = sheaf_retry_verdict(policy, memory, &outcome, NOW);
  assert_int_equal(verdict.action, SHEAF_ACTION_RETRY);
  return verdict.at - NOW;
}


static void delays_double_up_to_the_cap(void **state) {
  (void)state;
  sheaf_retry_policy many = plain;
  many.max = many.throttled = 2000;
  sheaf_retry_state memory = fresh();
  static const double delays[] = { 0.5, 1, 2, 4, 8, 16, 30, 30, 30 };
  for (int n = 0; n < 9; n++) {
    assert_true(fabs(delay_of(&many, &memory, 500, n) - delays[n]) < EPSILON);
    assert_true(fabs(delay_of(&many, &memory, 503, n) - 2 * delays[n]) < EPSILON);
    assert_true(fabs(delay_of(&many, &memory, 529, n) - 2 * delays[n]) < EPSILON);
    assert_true(fabs(delay_of(&many, &memory, 429, n) - 2 * delays[n]) < EPSILON);
  }
  assert_true(fabs(delay_of(&many, &memory, 500, 1000) - 30) < EPSILON);
  assert_true(fabs(delay_of(&many, &memory, 500, 1999) - 30) < EPSILON);
  many.base = 0;
  assert_true(delay_of(&many, &memory, 500, 1999) == 0);
}


/* Draws many delays of one retry; checks their bounds, that they reach near both, and their mean. */
static void check_spread(sheaf_jitter jitter, int status, int n, double least, double most) {
  sheaf_retry_policy policy = defaults;
  policy.jitter = jitter;
  policy.max = policy.throttled = n + 1;
  double lowest = INFINITY, highest = 0, sum = 0;
  sheaf_retry_state memory = fresh();
  for (int i = 0; i < DRAWS; i++) {
    memory.last_delay = 0;
    double delay = delay_of(&policy, &memory, status, n);
    lowest = fmin(lowest, delay);
    highest = fmax(highest, delay);
    sum += delay;
  }
  double width = most - least;
  assert_true(lowest >= least - EPSILON && lowest < least + 0.01 * width);
  assert_true(highest <= most + EPSILON && highest > most - 0.01 * width);
  assert_true(fabs(sum / DRAWS - (least + most) / 2) < 0.01 * width);
}


static void full_jitter_is_even_from_zero_to_the_delay(void **state) {
  (void)state;
  check_spread(SHEAF_JITTER_FULL, 500, 0, 0, 0.5);
  check_spread(SHEAF_JITTER_FULL, 500, 3, 0, 4);
  check_spread(SHEAF_JITTER_FULL, 503, 0, 0, 1);
  check_spread(SHEAF_JITTER_FULL, 429, 2, 0, 4);
  check_spread(SHEAF_JITTER_FULL, 500, 1000, 0, 30);
}


static void equal_jitter_is_even_over_the_upper_half(void **state) {
  (void)state;
  check_spread(SHEAF_JITTER_EQUAL, 500, 0, 0.25, 0.5);
  check_spread(SHEAF_JITTER_EQUAL, 500, 3, 2, 4);
  check_spread(SHEAF_JITTER_EQUAL, 429, 1000, 30, 60);
}


static void decorrelated_jitter_goes_from_base_to_three_times_the_last(void **state) {
  (void)state;
  check_spread(SHEAF_JITTER_DECORRELATED, 500, 0, 0.5, 1.5);
  check_spread(SHEAF_JITTER_DECORRELATED, 503, 0, 1, 3);
  sheaf_retry_policy policy = defaults;
  policy.jitter = SHEAF_JITTER_DECORRELATED;
  policy.max = 1000;
  sheaf_retry_state memory = fresh();
  double last = policy.base, highest = 0;
  for (int n = 0; n < 1000; n++) {
    double delay = delay_of(&policy, &memory, 500, n);
    assert_true(delay >= policy.base - EPSILON);
    assert_true(delay <= fmin(policy.cap, 3 * last) + EPSILON);
    assert_true(fabs(memory.last_delay - delay) < EPSILON);
    last = fmax(delay, policy.base);
    highest = fmax(highest, delay);
  }
  assert_true(fabs(highest - policy.cap) < EPSILON);
}


static void what_the_server_told_does_not_feed_decorrelated_jitter(void **state) {
  (void)state;
  sheaf_retry_policy policy = defaults;
  policy.jitter = SHEAF_JITTER_DECORRELATED;
  sheaf_retry_state memory = fresh();
  sheaf_outcome outcome = answer(429);
  outcome.retry_after = 600;
  (void)sheaf_retry_verdict(&policy, &memory, &outcome, NOW);
  assert_true(memory.last_delay <= 3);
}


static void retry_after_is_the_least_wait_and_is_spread_upwards_only(void **state) {
  (void)state;
  static const int statuses[] = { 429, 503, 500, 408 };
  static const double told[] = { 0, 10, 200, 600 };
  for (size_t i = 0; i < 4; i++) {
    for (size_t j = 0; j < 4; j++) {
      sheaf_outcome outcome = answer(statuses[i]);
      outcome.retry_after = told[j];
      sheaf_retry_state memory = fresh();
      double spread = fmin(0.2 * told[j], 30), lowest = INFINITY, highest = 0;
      double least = fmax(told[j], statuses[i] == 429 || statuses[i] == 503 ? 1 : 0.5);
      for (int draw = 0; draw < 2000; draw++) {
        memory.transient = memory.throttled = 0;
        sheaf_verdict verdict = sheaf_retry_verdict(&plain, &memory, &outcome, NOW);
        assert_int_equal(verdict.action, SHEAF_ACTION_RETRY);
        lowest = fmin(lowest, verdict.at - NOW);
        highest = fmax(highest, verdict.at - NOW);
      }
      assert_true(lowest >= least - EPSILON && lowest <= least + 0.02 * spread + EPSILON);
      assert_true(highest <= least + spread + EPSILON && highest >= least + 0.98 * spread - EPSILON);
    }
  }
}


static void a_longer_backoff_goes_before_a_short_retry_after(void **state) {
  (void)state;
  sheaf_retry_state memory = fresh();
  memory.throttled = 5;
  sheaf_outcome outcome = answer(429);
  outcome.retry_after = 1;
  double delay = sheaf_retry_verdict(&plain, &memory, &outcome, NOW).at - NOW;
  assert_true(delay >= 32 && delay <= 32.2);
}


static void a_retry_after_over_fifteen_minutes_fails_at_once(void **state) {
  (void)state;
  sheaf_outcome outcome = answer(429);
  outcome.retry_after = 901;
  assert_fails(outcome, SHEAF_KIND_RATE_LIMIT);
  outcome.retry_after = 1e9;
  assert_fails(outcome, SHEAF_KIND_RATE_LIMIT);
  outcome.status = 503;
  assert_fails(outcome, SHEAF_KIND_HTTP);
  outcome.status = 429;
  outcome.retry_after = 900;
  assert_int_equal(judge(&plain, outcome).action, SHEAF_ACTION_RETRY);
}


static void throttled_requests_give_up_half_an_hour_after_submission(void **state) {
  (void)state;
  sheaf_outcome outcome = answer(429);
  sheaf_retry_state memory = fresh();
  sheaf_verdict verdict = sheaf_retry_verdict(&plain, &memory, &outcome, NOW + 1798.9);
  assert_int_equal(verdict.action, SHEAF_ACTION_RETRY);
  memory = fresh();
  verdict = sheaf_retry_verdict(&plain, &memory, &outcome, NOW + 1799.1);
  assert_int_equal(verdict.action, SHEAF_ACTION_FAIL);
  assert_int_equal(verdict.kind, SHEAF_KIND_RATE_LIMIT);
  assert_int_equal(memory.throttled, 0);
  verdict = sheaf_retry_verdict(&plain, &memory, &outcome, NOW + 1799);
  assert_int_equal(verdict.action, SHEAF_ACTION_RETRY);
  outcome.status = 503;
  verdict = sheaf_retry_verdict(&plain, &memory, &outcome, NOW + 5000);
  assert_int_equal(verdict.action, SHEAF_ACTION_RETRY);
}


static void a_retry_that_would_miss_the_deadline_fails_now(void **state) {
  (void)state;
  static const int statuses[] = { 429, 500 };
  for (size_t i = 0; i < 2; i++) {
    sheaf_outcome outcome = answer(statuses[i]);
    sheaf_retry_state memory = fresh();
    memory.deadline = NOW + 1.01;
    assert_int_equal(sheaf_retry_verdict(&plain, &memory, &outcome, NOW).action, SHEAF_ACTION_RETRY);
    memory = fresh();
    memory.deadline = NOW + (statuses[i] == 429 ? 1 : 0.5); /* to begin at its end is too late */
    sheaf_verdict verdict = sheaf_retry_verdict(&plain, &memory, &outcome, NOW);
    assert_int_equal(verdict.action, SHEAF_ACTION_FAIL);
    assert_int_equal(verdict.kind, SHEAF_KIND_DEADLINE);
    assert_true(verdict.at == NOW);
    assert_int_equal(memory.transient + memory.throttled, 0);
  }
}


static void past_the_deadline_nothing_is_retried_but_answers_stand(void **state) {
  (void)state;
  sheaf_outcome ends[] = { answer(500), answer(429), wire(SHEAF_KIND_TIMEOUT), wire(SHEAF_KIND_RESET),
                           wire(SHEAF_KIND_INVALID) };
  for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
    sheaf_retry_state memory = fresh();
    memory.deadline = NOW;
    memory.transient = 5; /* a timeout cut short by the deadline is that, retries left or not */
    ends[i].resent = ends[i].kind == SHEAF_KIND_RESET;
    sheaf_verdict verdict = sheaf_retry_verdict(&plain, &memory, &ends[i], NOW);
    assert_int_equal(verdict.action, SHEAF_ACTION_FAIL);
    assert_int_equal(verdict.kind, SHEAF_KIND_DEADLINE);
  }
  sheaf_retry_state memory = fresh();
  memory.deadline = NOW - 1;
  sheaf_outcome good = answer(200), bad = answer(404);
  assert_int_equal(sheaf_retry_verdict(&plain, &memory, &good, NOW).action, SHEAF_ACTION_DONE);
  assert_int_equal(sheaf_retry_verdict(&plain, &memory, &bad, NOW).kind, SHEAF_KIND_HTTP);
}


static void what_was_nearly_sent_twice_goes_at_once_and_uncounted_but_once(void **state) {
  (void)state;
  sheaf_retry_policy none = plain;
  none.max = none.throttled = none.invalid = 0;
  sheaf_outcome outcome = wire(SHEAF_KIND_RESET);
  outcome.resent = true;
  sheaf_retry_state memory = fresh();
  sheaf_verdict verdict = sheaf_retry_verdict(&none, &memory, &outcome, NOW);
  assert_int_equal(verdict.action, SHEAF_ACTION_RETRY);
  assert_int_equal(verdict.kind, SHEAF_KIND_RESET);
  assert_true(verdict.at == NOW);
  assert_int_equal(memory.resent, 1);
  assert_int_equal(memory.transient, 0);
  verdict = sheaf_retry_verdict(&none, &memory, &outcome, NOW);
  assert_int_equal(verdict.action, SHEAF_ACTION_FAIL);
  assert_int_equal(verdict.kind, SHEAF_KIND_RESET);
  verdict = sheaf_retry_verdict(&plain, &memory, &outcome, NOW);
  assert_int_equal(verdict.action, SHEAF_ACTION_RETRY);
  assert_true(fabs(verdict.at - NOW - 0.5) < EPSILON);
  assert_int_equal(memory.transient, 1);
  assert_int_equal(memory.resent, 1);
}


static void two_requests_with_different_seeds_do_not_come_back_together(void **state) {
  (void)state;
  sheaf_retry_state one = fresh(), other = fresh();
  other.random = 12345;
  sheaf_outcome outcome = answer(500);
  assert_true(sheaf_retry_verdict(&defaults, &one, &outcome, NOW).at !=
              sheaf_retry_verdict(&defaults, &other, &outcome, NOW).at);
}


static void random_numbers_are_even_and_below_one(void **state) {
  (void)state;
  static int counts[20];
  uint64_t generator = 1;
  for (int i = 0; i < 200000; i++) {
    double number = sheaf_random(&generator);
    assert_true(number >= 0 && number < 1);
    counts[(int)(number * 20)]++;
  }
  for (int i = 0; i < 20; i++)
    assert_in_range(counts[i], 9500, 10500);
  /* The first and the third number from 1, by another implementation. */
  generator = 1;
  assert_true(sheaf_random(&generator) == (double)(UINT64_C(0x47e4ce4b896cdd1d) >> 11) * 0x1p-53);
  (void)sheaf_random(&generator);
  assert_true(sheaf_random(&generator) == (double)(UINT64_C(0xb9d10d8feb731f57) >> 11) * 0x1p-53);
}


int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(every_kind_has_a_name_that_leads_back),
    cmocka_unit_test(every_jitter_has_a_name),
    cmocka_unit_test(every_status_gets_what_the_list_says),
    cmocka_unit_test(wire_errors_are_transient_unless_permanent),
    cmocka_unit_test(what_the_user_or_a_bound_ended_is_never_retried),
    cmocka_unit_test(a_quota_answer_is_never_retried),
    cmocka_unit_test(x_should_retry_overrules_the_status_but_no_success),
    cmocka_unit_test(each_class_has_its_own_count),
    cmocka_unit_test(without_retries_each_failure_is_the_last),
    cmocka_unit_test(an_invalid_answer_is_retried_unless_permanent),
    cmocka_unit_test(a_verdict_says_why),
    cmocka_unit_test(a_failure_counts_nothing),
    cmocka_unit_test(delays_double_up_to_the_cap),
    cmocka_unit_test(full_jitter_is_even_from_zero_to_the_delay),
    cmocka_unit_test(equal_jitter_is_even_over_the_upper_half),
    cmocka_unit_test(decorrelated_jitter_goes_from_base_to_three_times_the_last),
    cmocka_unit_test(what_the_server_told_does_not_feed_decorrelated_jitter),
    cmocka_unit_test(retry_after_is_the_least_wait_and_is_spread_upwards_only),
    cmocka_unit_test(a_longer_backoff_goes_before_a_short_retry_after),
    cmocka_unit_test(a_retry_after_over_fifteen_minutes_fails_at_once),
    cmocka_unit_test(throttled_requests_give_up_half_an_hour_after_submission),
    cmocka_unit_test(a_retry_that_would_miss_the_deadline_fails_now),
    cmocka_unit_test(past_the_deadline_nothing_is_retried_but_answers_stand),
    cmocka_unit_test(what_was_nearly_sent_twice_goes_at_once_and_uncounted_but_once),
    cmocka_unit_test(two_requests_with_different_seeds_do_not_come_back_together),
    cmocka_unit_test(random_numbers_are_even_and_below_one),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
