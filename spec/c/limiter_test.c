#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "../../src/limiter.h"


static int take_all(sheaf_limiter *limiter) {
  int taken = 0;
  while (sheaf_limiter_try(limiter))
    taken++;
  return taken;
}


static void no_more_permits_go_out_than_there_are(void **state) {
  (void)state;
  sheaf_limiter limiter;
  sheaf_limiter_init(&limiter, 3);
  assert_int_equal(sheaf_limiter_room(&limiter), 3);
  assert_int_equal(take_all(&limiter), 3);
  assert_int_equal(sheaf_limiter_room(&limiter), 0);
  assert_false(sheaf_limiter_try(&limiter));
  assert_int_equal(limiter.taken, 3);
}


static void each_permit_that_comes_back_lets_one_go(void **state) {
  (void)state;
  sheaf_limiter limiter;
  sheaf_limiter_init(&limiter, 10);
  take_all(&limiter);
  for (int i = 0; i < 100; i++) {
    sheaf_limiter_release(&limiter);
    assert_int_equal(sheaf_limiter_room(&limiter), 1);
    assert_true(sheaf_limiter_try(&limiter));
    assert_false(sheaf_limiter_try(&limiter));
  }
}


static void a_raised_limit_holds_at_once(void **state) {
  (void)state;
  sheaf_limiter limiter;
  sheaf_limiter_init(&limiter, 2);
  take_all(&limiter);
  sheaf_limiter_set(&limiter, 5);
  assert_int_equal(sheaf_limiter_room(&limiter), 3);
  assert_int_equal(take_all(&limiter), 3);
}


static void a_lowered_limit_gives_nothing_until_enough_came_back(void **state) {
  (void)state;
  sheaf_limiter limiter;
  sheaf_limiter_init(&limiter, 10);
  take_all(&limiter);
  sheaf_limiter_set(&limiter, 4);
  for (int out = 10; out > 4; out--) {
    assert_int_equal(sheaf_limiter_room(&limiter), 0);
    assert_false(sheaf_limiter_try(&limiter));
    sheaf_limiter_release(&limiter);
  }
  assert_false(sheaf_limiter_try(&limiter));
  sheaf_limiter_release(&limiter);
  assert_int_equal(sheaf_limiter_room(&limiter), 1);
  assert_true(sheaf_limiter_try(&limiter));
  assert_int_equal(limiter.taken, 4);
}


static void a_limit_of_zero_or_less_lets_nothing_go(void **state) {
  (void)state;
  sheaf_limiter limiter;
  sheaf_limiter_init(&limiter, 0);
  assert_false(sheaf_limiter_try(&limiter));
  sheaf_limiter_init(&limiter, -5);
  assert_int_equal(sheaf_limiter_room(&limiter), 0);
  assert_false(sheaf_limiter_try(&limiter));
  sheaf_limiter_set(&limiter, 1);
  assert_true(sheaf_limiter_try(&limiter));
  sheaf_limiter_set(&limiter, -1);
  sheaf_limiter_release(&limiter);
  assert_false(sheaf_limiter_try(&limiter));
}


static void no_permit_is_lost_or_made_in_random_use(void **state) {
  (void)state;
  sheaf_limiter limiter;
  int limit = 20, out = 0;
  sheaf_limiter_init(&limiter, limit);
  srand(5);
  for (int step = 0; step < 100000; step++) {
    int choice = rand() % 20;
    if (choice == 0) {
      limit = rand() % 40;
      sheaf_limiter_set(&limiter, limit);
    } else if (choice < 10 && out > 0) {
      sheaf_limiter_release(&limiter);
      out--;
    } else {
      assert_int_equal(sheaf_limiter_try(&limiter), out < limit);
      out += out < limit;
    }
    assert_int_equal(limiter.taken, out);
    assert_int_equal(sheaf_limiter_room(&limiter), out < limit ? limit - out : 0);
  }
}


int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(no_more_permits_go_out_than_there_are),
    cmocka_unit_test(each_permit_that_comes_back_lets_one_go),
    cmocka_unit_test(a_raised_limit_holds_at_once),
    cmocka_unit_test(a_lowered_limit_gives_nothing_until_enough_came_back),
    cmocka_unit_test(a_limit_of_zero_or_less_lets_nothing_go),
    cmocka_unit_test(no_permit_is_lost_or_made_in_random_use),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
