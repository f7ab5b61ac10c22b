#include "retry.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

/* 429, 503 and 529 say that the provider is short of room, not that something broke: coming back soon
   makes it worse, so they back off by twice the policy's base and cap (WIRE.md: 1 s and 60 s). */
#define SCARCE_FACTOR 2

/* The longest Retry-After that is worth waiting for, in seconds (WIRE.md: 15 min). */
#define WAIT_MAX 900

/* How long after its submission a request may still be retried because of a 429 (WIRE.md: 30 min). */
#define THROTTLED_WINDOW 1800

/* The share of a Retry-After, and the seconds, by which it is spread at most (WIRE.md). */
#define SPREAD_SHARE 0.2
#define SPREAD_MAX 30

/* The growth of decorrelated jitter, from the text that named it (AWS, "Exponential Backoff And Jitter"). */
#define DECORRELATED_GROWTH 3

static const char *const kind_names[SHEAF_KIND_COUNT] = {
  [SHEAF_KIND_NONE] = "ok",
  [SHEAF_KIND_DNS] = "dns",
  [SHEAF_KIND_CONNECT] = "connect",
  [SHEAF_KIND_TLS] = "tls",
  [SHEAF_KIND_TIMEOUT] = "timeout",
  [SHEAF_KIND_RESET] = "reset",
  [SHEAF_KIND_PROTOCOL] = "protocol",
  [SHEAF_KIND_HTTP] = "http",
  [SHEAF_KIND_RATE_LIMIT] = "rate_limit",
  [SHEAF_KIND_QUOTA] = "quota",
  [SHEAF_KIND_INVALID] = "invalid",
  [SHEAF_KIND_TOO_LARGE] = "too_large",
  [SHEAF_KIND_CANCELLED] = "cancelled",
  [SHEAF_KIND_DEADLINE] = "deadline",
  [SHEAF_KIND_BUDGET] = "budget",
  [SHEAF_KIND_CLOSED] = "closed",
  [SHEAF_KIND_INTERNAL] = "internal",
};

static const char *const jitter_names[] = {
  [SHEAF_JITTER_FULL] = "full",
  [SHEAF_JITTER_EQUAL] = "equal",
  [SHEAF_JITTER_DECORRELATED] = "decorrelated",
  [SHEAF_JITTER_NONE] = "none",
};

/* What an attempt's end calls for, before counts and clocks are looked at. */
typedef enum treatment {
  ACCEPT,
  GIVE_UP,
  TRY_AT_ONCE,
  BACK_OFF,
  BACK_OFF_LONGER,
  BACK_OFF_THROTTLED,
  BACK_OFF_INVALID
} treatment;


const char *sheaf_kind_name(sheaf_kind kind) {
  return kind < SHEAF_KIND_COUNT ? kind_names[kind] : "unknown";
}


sheaf_kind sheaf_kind_from_name(const char *name) {
  for (unsigned i = 0; i < SHEAF_KIND_COUNT; i++)
    if (strcmp(name, kind_names[i]) == 0)
      return (sheaf_kind)i;
  return SHEAF_KIND_COUNT;
}


bool sheaf_jitter_from_name(const char *name, sheaf_jitter *jitter) {
  for (unsigned i = 0; i < sizeof jitter_names / sizeof *jitter_names; i++) {
    if (strcmp(name, jitter_names[i]) == 0) {
      *jitter = (sheaf_jitter)i;
      return true;
    }
  }
  return false;
}


double sheaf_random(uint64_t *state) {
  uint64_t x = *state;
  x ^= x >> 12;
  x ^= x << 25;
  x ^= x >> 27;
  *state = x;
  /* The upper 53 bits, as many as a double holds. */
  return (double)((x * UINT64_C(0x2545F4914F6CDD1D)) >> 11) * 0x1p-53;
}


static double uniform(uint64_t *state, double from, double to) {
  return from + (to - from) * sheaf_random(state);
}


/* The statuses that another try may cure (WIRE.md "Status and error codes"). */
static treatment treatment_of_status(int status) {
  switch (status) {
    case 408: case 409: case 425:
    case 500: case 502: case 504:
    case 520: case 521: case 522: case 523: case 524:
      return BACK_OFF;
    case 503: case 529:
      return BACK_OFF_LONGER;
    case 429:
      return BACK_OFF_THROTTLED;
    default:
      return GIVE_UP;
  }
}


static treatment treatment_of_answer(const sheaf_outcome *outcome, sheaf_kind *kind) {
  if (outcome->status >= 200 && outcome->status <= 299) {
    *kind = SHEAF_KIND_NONE;
    return ACCEPT;
  }
  if (outcome->quota) {
    *kind = SHEAF_KIND_QUOTA;
    return GIVE_UP;
  }
  treatment needs = treatment_of_status(outcome->status);
  *kind = needs == BACK_OFF_THROTTLED ? SHEAF_KIND_RATE_LIMIT : SHEAF_KIND_HTTP;
  if (outcome->should_retry == 0)
    return GIVE_UP;
  if (outcome->should_retry == 1 && needs == GIVE_UP)
    return BACK_OFF;
  return needs;
}


/* Sorts an attempt's end; *kind becomes what the request fails with, unless the deadline is nearer. */
static treatment treatment_of(const sheaf_outcome *outcome, const sheaf_retry_state *state,
                              sheaf_kind *kind) {
  if (outcome->kind == SHEAF_KIND_NONE)
    return treatment_of_answer(outcome, kind);
  *kind = outcome->kind;
  if (outcome->permanent)
    return GIVE_UP;
  switch (outcome->kind) {
    case SHEAF_KIND_RESET:
      return outcome->resent && state->resent == 0 ? TRY_AT_ONCE : BACK_OFF;
    case SHEAF_KIND_DNS:
    case SHEAF_KIND_CONNECT:
    case SHEAF_KIND_TLS:
    case SHEAF_KIND_TIMEOUT:
    case SHEAF_KIND_PROTOCOL:
    case SHEAF_KIND_INTERNAL:
      return BACK_OFF;
    case SHEAF_KIND_INVALID:
      return BACK_OFF_INVALID;
    default:
      return GIVE_UP;
  }
}


/* The next delay in seconds, n retries after the first. An overflow of 2^n is INFINITY, hence cap. */
static double backoff(sheaf_jitter jitter, double base, double cap, int n, double last_delay,
                      uint64_t *random) {
  double delay = fmin(cap, ldexp(base, n));
  switch (jitter) {
    case SHEAF_JITTER_FULL:
      return uniform(random, 0, delay);
    case SHEAF_JITTER_EQUAL:
      return delay / 2 + uniform(random, 0, delay / 2);
    case SHEAF_JITTER_DECORRELATED: {
      double last = fmax(last_delay, base); /* at first, or after a failure of another class */
      return fmin(cap, uniform(random, base, DECORRELATED_GROWTH * last));
    }
    default:
      return delay;
  }
}


static sheaf_verdict ends(sheaf_action action, sheaf_kind kind, const char *why, double now) {
  return (sheaf_verdict){ .action = action, .at = now, .kind = kind, .why = why };
}


/* Decides about an end that calls for a delay: whether one is left, how long, and whether it is over in
   time. */
static sheaf_verdict delayed(const sheaf_retry_policy *policy, sheaf_retry_state *state,
                             const sheaf_outcome *outcome, treatment needs, sheaf_kind kind,
                             double now) {
  int *made = &state->transient;
  int allowed = policy->max;
  int factor = 1;
  double latest = INFINITY;
  const char *why = "transient";
  if (needs == BACK_OFF_THROTTLED) {
    made = &state->throttled;
    allowed = policy->throttled;
    factor = SCARCE_FACTOR;
    latest = state->submitted + THROTTLED_WINDOW;
    why = "throttled";
  } else if (needs == BACK_OFF_LONGER) {
    factor = SCARCE_FACTOR;
    why = "overloaded";
  } else if (needs == BACK_OFF_INVALID) {
    made = &state->invalid;
    allowed = policy->invalid;
    why = "invalid";
  }
  if (*made >= allowed)
    return ends(SHEAF_ACTION_FAIL, kind, "retries used up", now);
  if (outcome->retry_after > WAIT_MAX)
    return ends(SHEAF_ACTION_FAIL, kind, "told to wait too long", now);
  double told = fmax(outcome->retry_after, 0);
  double delay = backoff(policy->jitter, factor * policy->base, factor * policy->cap, *made,
                         state->last_delay, &state->random);
  double spread = uniform(&state->random, 0, fmin(SPREAD_SHARE * told, SPREAD_MAX));
  double at = now + fmax(told, delay) + spread;
  if (at > latest)
    return ends(SHEAF_ACTION_FAIL, kind, "throttled for too long", now);
  if (at >= state->deadline)
    return ends(SHEAF_ACTION_FAIL, SHEAF_KIND_DEADLINE, "no time left for a retry", now);
  ++*made;
  state->last_delay = delay;
  return (sheaf_verdict){ .action = SHEAF_ACTION_RETRY, .at = at, .kind = kind, .why = why };
}


sheaf_verdict sheaf_retry_verdict(const sheaf_retry_policy *policy, sheaf_retry_state *state,
                                  const sheaf_outcome *outcome, double now) {
  sheaf_kind kind;
  treatment needs = treatment_of(outcome, state, &kind);
  if (needs == ACCEPT)
    return ends(SHEAF_ACTION_DONE, kind, "ok", now);
  if (needs == GIVE_UP)
    return ends(SHEAF_ACTION_FAIL, kind, "not worth a retry", now);
  if (now >= state->deadline)
    return ends(SHEAF_ACTION_FAIL, SHEAF_KIND_DEADLINE, "out of time", now);
  if (needs == TRY_AT_ONCE) {
    state->resent++;
    return ends(SHEAF_ACTION_RETRY, kind, "connection was dead", now);
  }
  return delayed(policy, state, outcome, needs, kind, now);
}
