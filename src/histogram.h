/* A log-linear histogram of durations, for the p50, p95 and p99 of `stats()` (DESIGN.md §8): each
   octave is cut into equal buckets, so that a percentile is at most 2 % off at any scale. Not locked:
   owned and used by one thread; may be copied as a plain struct. */
#ifndef SHEAF_HISTOGRAM_H
#define SHEAF_HISTOGRAM_H

#include <stdint.h>

#pragma GCC visibility push(hidden)

/* A bucket is told as its middle, so it is at most 1/(2·32) = 1.6 % off. */
#define SHEAF_HISTOGRAM_STEPS 32

/* From SHEAF_HISTOGRAM_LEAST to SHEAF_HISTOGRAM_MOST are 36.5 octaves. */
#define SHEAF_HISTOGRAM_OCTAVES 37

#define SHEAF_HISTOGRAM_LEAST 1e-6 /* seconds; the clock tells no less */
#define SHEAF_HISTOGRAM_MOST 1e5   /* seconds; more than a day, longer than any request lives */

/* One bucket before the octaves, for what is shorter than SHEAF_HISTOGRAM_LEAST. */
#define SHEAF_HISTOGRAM_BUCKETS (1 + SHEAF_HISTOGRAM_OCTAVES * SHEAF_HISTOGRAM_STEPS)

typedef struct sheaf_histogram {
  uint64_t count; /* the sum of all buckets */
  uint32_t buckets[SHEAF_HISTOGRAM_BUCKETS];
} sheaf_histogram;

void sheaf_histogram_init(sheaf_histogram *histogram);

/* Counts one duration. Below SHEAF_HISTOGRAM_LEAST, as well as negative and NaN, it counts as 0, above
   SHEAF_HISTOGRAM_MOST as that. A bucket that is full (2^32 - 1) takes no more. */
void sheaf_histogram_add(sheaf_histogram *histogram, double seconds);

/* The duration in seconds that the share `p` (0 to 1) of all was not longer than, by the nearest rank:
   p = 0 is the shortest, p = 1 the longest. 0 if nothing was counted. */
double sheaf_histogram_percentile(const sheaf_histogram *histogram, double p);

/* How many durations are in it. */
uint64_t sheaf_histogram_count(const sheaf_histogram *histogram);

#pragma GCC visibility pop

#endif
