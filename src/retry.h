/* What follows the end of an attempt: the request is done, has failed, or is tried again, and when
   (DESIGN.md §6; statuses and constants: WIRE.md). Pure functions of their arguments; all times are
   seconds on one monotonic clock, which the caller reads. */
#ifndef SHEAF_RETRY_H
#define SHEAF_RETRY_H

#include <stdbool.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

/* How an attempt or a request ended: the closed set of error kinds of the API. */
typedef enum sheaf_kind {
  SHEAF_KIND_NONE = 0,          /* no error, or: an HTTP answer came, look at its status */
  SHEAF_KIND_DNS,
  SHEAF_KIND_CONNECT,
  SHEAF_KIND_TLS,
  SHEAF_KIND_TIMEOUT,
  SHEAF_KIND_RESET,
  SHEAF_KIND_PROTOCOL,
  SHEAF_KIND_HTTP,              /* an answer with a status that isn't 2xx */
  SHEAF_KIND_RATE_LIMIT,        /* 429 */
  SHEAF_KIND_QUOTA,             /* no money or quota left */
  SHEAF_KIND_INVALID,           /* a 2xx that is not what was asked for */
  SHEAF_KIND_TOO_LARGE,
  SHEAF_KIND_CANCELLED,
  SHEAF_KIND_DEADLINE,          /* timeout.total is over, or would be before the next try */
  SHEAF_KIND_BUDGET,
  SHEAF_KIND_CLOSED,
  SHEAF_KIND_INTERNAL,
  SHEAF_KIND_COUNT
} sheaf_kind;

/* The word of the API: "dns", "rate_limit"; "ok" for SHEAF_KIND_NONE. */
const char *sheaf_kind_name(sheaf_kind kind);

/* The other way round. SHEAF_KIND_COUNT if there is no such word. */
sheaf_kind sheaf_kind_from_name(const char *name);

/* How the backoff d = min(cap, base · 2^n) is spread; n counts the retries made before. */
typedef enum sheaf_jitter {
  SHEAF_JITTER_FULL,            /* U(0, d) */
  SHEAF_JITTER_EQUAL,           /* d/2 + U(0, d/2) */
  SHEAF_JITTER_DECORRELATED,    /* min(cap, U(base, 3 · the last delay, at first base)) */
  SHEAF_JITTER_NONE             /* d */
} sheaf_jitter;

/* Reads "full", "equal", "decorrelated" or "none". False, leaving *jitter alone, for all else. */
bool sheaf_jitter_from_name(const char *name, sheaf_jitter *jitter);

/* The retry options of a request; retry.max = 0 has set the other counts to 0 before it gets here. */
typedef struct sheaf_retry_policy {
  int max, throttled, invalid;  /* retries allowed: transient failures, 429s, invalid answers */
  double base, cap;             /* seconds; doubled for 429, 503 and 529 */
  sheaf_jitter jitter;
} sheaf_retry_policy;

/* What a request remembers between its attempts. Zeroed by its owner but for the last three fields;
   only sheaf_retry_verdict changes the others, and only when it says retry. */
typedef struct sheaf_retry_state {
  int transient, throttled, invalid; /* retries made, each against its own limit */
  int resent;                   /* retries made since libcurl was stopped from sending twice */
  double last_delay;            /* the last backoff, without what Retry-After added */
  double submitted;             /* when the request was submitted */
  double deadline;              /* when timeout.total ends; INFINITY without one */
  uint64_t random;              /* see sheaf_random; own for each request, or clients run in step */
} sheaf_retry_state;

/* How an attempt ended. */
typedef struct sheaf_outcome {
  sheaf_kind kind;              /* NONE: an HTTP answer came; else what went wrong, also INVALID */
  bool permanent;               /* another try can't cure it: a refused certificate, a malformed URL,
                                   a validate that threw */
  bool resent;                  /* libcurl tried to send it a second time and was stopped */
  int status;                   /* of the HTTP answer; matters with kind NONE only */
  double retry_after;           /* sheaf_retry_after: seconds, or -1 if not told */
  int should_retry;             /* sheaf_should_retry: 1, 0, or -1 if not told */
  bool quota;                   /* sheaf_body_tells_quota */
} sheaf_outcome;

typedef enum sheaf_action {
  SHEAF_ACTION_DONE,
  SHEAF_ACTION_FAIL,
  SHEAF_ACTION_RETRY
} sheaf_action;

typedef struct sheaf_verdict {
  sheaf_action action;
  double at;                    /* when to try again, never before now; now if not retried */
  sheaf_kind kind;              /* why it failed or is retried; NONE if done */
  const char *why;              /* a phrase for logs, static: "throttled", "retries used up" */
} sheaf_verdict;

/* Judges how an attempt ended at `now`. Where it says retry, the counters in state have counted it.
   Rules that can't be seen elsewhere:
   - x-should-retry overrules the status, but no 2xx and no quota answer.
   - A Retry-After over 15 minutes fails at once, on any status: whoever runs the job should know.
   - Retry-After is spread by up to a fifth (at most 30 s) upwards whatever the jitter, "none" too: a
     hundred requests told "wait 10 s" must not come back in one instant.
   - A retry that would not begin before the deadline fails now, as `deadline`.
   - What libcurl wanted to send again goes out at once, once for each request, on top of all counts:
     the connection was dead before the server saw the request. Later ones are transient resets. */
sheaf_verdict sheaf_retry_verdict(const sheaf_retry_policy *policy, sheaf_retry_state *state,
                                  const sheaf_outcome *outcome, double now);

/* The next number of the generator (xorshift64*, Vigna 2016), uniform in [0, 1). *state is seeded by
   the caller with anything but 0, which the generator would never leave. */
double sheaf_random(uint64_t *state);

#pragma GCC visibility pop

#endif
