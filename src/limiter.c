#include "limiter.h"

#include <assert.h>


void sheaf_limiter_init(sheaf_limiter *limiter, int limit) {
  limiter->taken = 0;
  sheaf_limiter_set(limiter, limit);
}


bool sheaf_limiter_try(sheaf_limiter *limiter) {
  if (sheaf_limiter_room(limiter) == 0)
    return false;
  limiter->taken++;
  return true;
}


void sheaf_limiter_release(sheaf_limiter *limiter) {
  assert(limiter->taken > 0);
  limiter->taken--;
}


void sheaf_limiter_set(sheaf_limiter *limiter, int limit) {
  limiter->limit = limit > 0 ? limit : 0;
}


int sheaf_limiter_room(const sheaf_limiter *limiter) {
  return limiter->taken < limiter->limit ? limiter->limit - limiter->taken : 0;
}
