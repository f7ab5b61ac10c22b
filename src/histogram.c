#include "histogram.h"

#include <float.h>
#include <math.h>
#include <string.h>


static unsigned bucket_of(double seconds) {
  if (!(seconds >= SHEAF_HISTOGRAM_LEAST)) /* NaN too */
    return 0;
  int exponent;
  double fraction = frexp(fmin(seconds, SHEAF_HISTOGRAM_MOST) / SHEAF_HISTOGRAM_LEAST, &exponent);
  unsigned octave = (unsigned)exponent - 1;
  unsigned step = (unsigned)((2 * fraction - 1) * SHEAF_HISTOGRAM_STEPS);
  return 1 + octave * SHEAF_HISTOGRAM_STEPS + step;
}


static double middle_of(unsigned bucket) {
  if (bucket == 0)
    return 0;
  unsigned octave = (bucket - 1) / SHEAF_HISTOGRAM_STEPS;
  unsigned step = (bucket - 1) % SHEAF_HISTOGRAM_STEPS;
  double middle = 1 + (step + 0.5) / SHEAF_HISTOGRAM_STEPS;
  return fmin(ldexp(middle, (int)octave) * SHEAF_HISTOGRAM_LEAST, SHEAF_HISTOGRAM_MOST);
}


/* The nearest rank, from 1. A product like 0.07 · 100 comes out a hair above 7, which must not make
   it the eighth: hence the two epsilons. */
static uint64_t rank_of(double p, uint64_t count) {
  if (!(p > 0))
    return 1;
  if (p >= 1)
    return count;
  return (uint64_t)ceil(p * (double)count * (1 - 2 * DBL_EPSILON));
}


void sheaf_histogram_init(sheaf_histogram *histogram) {
  memset(histogram, 0, sizeof *histogram);
}


void sheaf_histogram_add(sheaf_histogram *histogram, double seconds) {
  uint32_t *bucket = &histogram->buckets[bucket_of(seconds)];
  if (*bucket == UINT32_MAX)
    return;
  ++*bucket;
  histogram->count++;
}


double sheaf_histogram_percentile(const sheaf_histogram *histogram, double p) {
  if (histogram->count == 0)
    return 0;
  uint64_t rank = rank_of(p, histogram->count);
  uint64_t seen = 0;
  unsigned bucket = 0;
  while (bucket < SHEAF_HISTOGRAM_BUCKETS - 1) {
    seen += histogram->buckets[bucket];
    if (seen >= rank)
      break;
    bucket++;
  }
  return middle_of(bucket);
}


uint64_t sheaf_histogram_count(const sheaf_histogram *histogram) {
  return histogram->count;
}
