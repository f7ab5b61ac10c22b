#include "poller.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#define EVENTS_AT_ONCE 256

struct sheaf_poller {
  int fd;
  struct epoll_event ready[EVENTS_AT_ONCE];
};


sheaf_poller *sheaf_poller_new(void) {
  sheaf_poller *poller = malloc(sizeof *poller);
  if (poller == NULL) {
    errno = ENOMEM;
    return NULL;
  }
  poller->fd = epoll_create1(EPOLL_CLOEXEC);
  if (poller->fd < 0) {
    int error = errno;
    free(poller);
    errno = error;
    return NULL;
  }
  return poller;
}


void sheaf_poller_free(sheaf_poller *poller) {
  close(poller->fd);
  free(poller);
}


static int control(const sheaf_poller *poller, int operation, int fd, int events) {
  struct epoll_event event = {.events = 0};
  if (events & SHEAF_READABLE)
    event.events |= EPOLLIN;
  if (events & SHEAF_WRITABLE)
    event.events |= EPOLLOUT;
  event.data.fd = fd;
  return epoll_ctl(poller->fd, operation, fd, &event) == 0 ? 0 : errno;
}


int sheaf_poller_add(sheaf_poller *poller, int fd, int events) {
  return control(poller, EPOLL_CTL_ADD, fd, events);
}


int sheaf_poller_mod(sheaf_poller *poller, int fd, int events) {
  return control(poller, EPOLL_CTL_MOD, fd, events);
}


int sheaf_poller_del(sheaf_poller *poller, int fd) {
  return control(poller, EPOLL_CTL_DEL, fd, 0);
}


/* Rounded up, so that a timer is never found not yet due and asked for again with 0 ms. */
static int to_milliseconds(double seconds) {
  if (seconds < 0)
    return -1;
  double milliseconds = ceil(seconds * 1e3);
  return milliseconds > INT_MAX ? INT_MAX : (int)milliseconds;
}


int sheaf_poller_wait(sheaf_poller *poller, double seconds, sheaf_event *events, int room) {
  if (room > EVENTS_AT_ONCE)
    room = EVENTS_AT_ONCE;
  int count = epoll_wait(poller->fd, poller->ready, room, to_milliseconds(seconds));
  for (int i = 0; i < count; i++) {
    unsigned flags = poller->ready[i].events;
    int found = 0;
    if (flags & (EPOLLIN | EPOLLERR | EPOLLHUP))
      found |= SHEAF_READABLE;
    if (flags & (EPOLLOUT | EPOLLERR | EPOLLHUP))
      found |= SHEAF_WRITABLE;
    events[i] = (sheaf_event){poller->ready[i].data.fd, found};
  }
  return count < 0 ? 0 : count;
}
