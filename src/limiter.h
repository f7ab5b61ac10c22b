/* How much may be on the wire at once. A limiter belongs to one batch or is shared by several; it is
   touched by the I/O thread only, so nothing here is locked.

   Semaphore: a permit for each attempt on the wire. It is a sliding window: each permit that comes back
   lets the next attempt go, no wave waits for its slowest. Whoever took a permit gives it back exactly
   once, also when the attempt failed, was cancelled, or goes into backoff. */
#ifndef SHEAF_LIMITER_H
#define SHEAF_LIMITER_H

#include <stdbool.h>

#pragma GCC visibility push(hidden)

typedef struct sheaf_limiter {
  int limit;                    /* permits there are; may be below taken after a set */
  int taken;                    /* permits out now */
} sheaf_limiter;

/* Below 0 counts as 0, which lets nothing go. */
void sheaf_limiter_init(sheaf_limiter *limiter, int limit);

/* Takes a permit. False, taking none, if all are out. */
bool sheaf_limiter_try(sheaf_limiter *limiter);

/* Gives a permit back. */
void sheaf_limiter_release(sheaf_limiter *limiter);

/* Changes the number of permits at once. Nothing that is out is called back: if that is more than the
   new limit, no permit is given until enough came back. */
void sheaf_limiter_set(sheaf_limiter *limiter, int limit);

/* How many permits could be taken now; never negative. */
int sheaf_limiter_room(const sheaf_limiter *limiter);

#pragma GCC visibility pop

#endif
