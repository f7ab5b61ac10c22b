#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <math.h>

#include "../../src/histogram.h"

#define TOLERANCE 0.02

#define SAMPLES 20000


static void assert_near(double found, double wanted) {
  if (fabs(found - wanted) > TOLERANCE * wanted)
    fail_msg("%g is more than 2 %% off %g", found, wanted);
}


static double uniform(void) {
  return (rand() + 0.5) / ((double)RAND_MAX + 1);
}


static double normal(void) {
  return sqrt(-2 * log(uniform())) * cos(6.283185307179586 * uniform());
}


static int compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}


/* Each percentile of many draws against the same rank of the sorted draws. */
static void check_distribution(double (*draw)(void)) {
  static const double shares[] = { 0, 0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1 };
  static double values[SAMPLES];
  sheaf_histogram histogram;
  sheaf_histogram_init(&histogram);
  srand(7);
  for (size_t i = 0; i < SAMPLES; i++) {
    values[i] = fmin(fmax(draw(), SHEAF_HISTOGRAM_LEAST), SHEAF_HISTOGRAM_MOST);
    sheaf_histogram_add(&histogram, values[i]);
  }
  qsort(values, SAMPLES, sizeof *values, compare);
  for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
    double rank = fmax(ceil(shares[i] * SAMPLES - 1e-6), 1);
    assert_near(sheaf_histogram_percentile(&histogram, shares[i]), values[(size_t)rank - 1]);
  }
}


static double draw_uniform(void) { return 0.1 + 2 * uniform(); }
static double draw_exponential(void) { return -0.5 * log(uniform()); }
static double draw_lognormal(void) { return exp(2 * normal() - 1); }
static double draw_all_scales(void) { return pow(10, -6 + 11 * uniform()); }
static double draw_two_peaks(void) { return uniform() < 0.9 ? 0.002 * uniform() : 60 + uniform(); }
static double draw_pareto(void) { return 0.01 / pow(uniform(), 2); }


static void percentiles_of_any_distribution_are_within_two_percent(void **state) {
  (void)state;
  check_distribution(draw_uniform);
  check_distribution(draw_exponential);
  check_distribution(draw_lognormal);
  check_distribution(draw_all_scales);
  check_distribution(draw_two_peaks);
  check_distribution(draw_pareto);
}


static void a_single_value_at_any_scale_is_within_two_percent(void **state) {
  (void)state;
  for (double value = SHEAF_HISTOGRAM_LEAST; value <= SHEAF_HISTOGRAM_MOST; value *= 1.003) {
    sheaf_histogram histogram;
    sheaf_histogram_init(&histogram);
    sheaf_histogram_add(&histogram, value);
    assert_near(sheaf_histogram_percentile(&histogram, 0), value);
    assert_near(sheaf_histogram_percentile(&histogram, 0.5), value);
    assert_near(sheaf_histogram_percentile(&histogram, 1), value);
  }
}


static void an_empty_histogram_tells_zero(void **state) {
  (void)state;
  sheaf_histogram histogram;
  sheaf_histogram_init(&histogram);
  assert_int_equal(sheaf_histogram_count(&histogram), 0);
  assert_true(sheaf_histogram_percentile(&histogram, 0.5) == 0);
}


static void what_is_no_duration_counts_as_zero(void **state) {
  (void)state;
  static const double values[] = { 0, -0.0, -1, -INFINITY, NAN, 1e-9, 5e-324 };
  sheaf_histogram histogram;
  sheaf_histogram_init(&histogram);
  for (size_t i = 0; i < sizeof values / sizeof *values; i++)
    sheaf_histogram_add(&histogram, values[i]);
  assert_int_equal(sheaf_histogram_count(&histogram), sizeof values / sizeof *values);
  assert_true(sheaf_histogram_percentile(&histogram, 1) == 0);
}


static void what_is_too_long_counts_as_the_longest(void **state) {
  (void)state;
  static const double values[] = { 100001, 1e300, INFINITY };
  for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
    sheaf_histogram histogram;
    sheaf_histogram_init(&histogram);
    sheaf_histogram_add(&histogram, values[i]);
    assert_near(sheaf_histogram_percentile(&histogram, 1), SHEAF_HISTOGRAM_MOST);
    assert_true(sheaf_histogram_percentile(&histogram, 1) <= SHEAF_HISTOGRAM_MOST);
  }
}


static void a_percentile_is_the_nearest_rank(void **state) {
  (void)state;
  sheaf_histogram histogram;
  sheaf_histogram_init(&histogram);
  for (int i = 1; i <= 100; i++)
    sheaf_histogram_add(&histogram, pow(1.1, i));
  for (int i = 1; i <= 100; i++) /* 0.07 · 100 is a little over 7 in floating point */
    assert_near(sheaf_histogram_percentile(&histogram, i / 100.0), pow(1.1, i));
  assert_near(sheaf_histogram_percentile(&histogram, 0.501), pow(1.1, 51));
}


static void a_share_outside_zero_to_one_is_the_nearer_end(void **state) {
  (void)state;
  sheaf_histogram histogram;
  sheaf_histogram_init(&histogram);
  sheaf_histogram_add(&histogram, 1);
  sheaf_histogram_add(&histogram, 100);
  assert_near(sheaf_histogram_percentile(&histogram, -1), 1);
  assert_near(sheaf_histogram_percentile(&histogram, NAN), 1);
  assert_near(sheaf_histogram_percentile(&histogram, 2), 100);
}


static void a_full_bucket_takes_no_more(void **state) {
  (void)state;
  sheaf_histogram histogram;
  sheaf_histogram_init(&histogram);
  histogram.buckets[0] = UINT32_MAX;
  histogram.count = UINT32_MAX;
  sheaf_histogram_add(&histogram, 0);
  assert_int_equal(sheaf_histogram_count(&histogram), UINT32_MAX);
  sheaf_histogram_add(&histogram, 3);
  assert_true(sheaf_histogram_count(&histogram) == (uint64_t)UINT32_MAX + 1);
  assert_true(sheaf_histogram_percentile(&histogram, 0.99) == 0);
  assert_near(sheaf_histogram_percentile(&histogram, 1), 3);
}


int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(percentiles_of_any_distribution_are_within_two_percent),
    cmocka_unit_test(a_single_value_at_any_scale_is_within_two_percent),
    cmocka_unit_test(an_empty_histogram_tells_zero),
    cmocka_unit_test(what_is_no_duration_counts_as_zero),
    cmocka_unit_test(what_is_too_long_counts_as_the_longest),
    cmocka_unit_test(a_percentile_is_the_nearest_rank),
    cmocka_unit_test(a_share_outside_zero_to_one_is_the_nearer_end),
    cmocka_unit_test(a_full_bucket_takes_no_more),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
