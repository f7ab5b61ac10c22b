/* Waiting for descriptors. One implementation is linked: poller_epoll.c. Used by the I/O thread only. */
#ifndef SHEAF_POLLER_H
#define SHEAF_POLLER_H

#pragma GCC visibility push(hidden)

#define SHEAF_READABLE 1
#define SHEAF_WRITABLE 2

/* An error or a hang-up is reported as both. */
typedef struct sheaf_event {
  int fd;
  int events;
} sheaf_event;

typedef struct sheaf_poller sheaf_poller;

/* NULL, with errno set, where the system gives no descriptor or memory. */
sheaf_poller *sheaf_poller_new(void);
void sheaf_poller_free(sheaf_poller *poller);

/* Each returns 0 or errno. Level-triggered. */
int sheaf_poller_add(sheaf_poller *poller, int fd, int events);
int sheaf_poller_mod(sheaf_poller *poller, int fd, int events);
int sheaf_poller_del(sheaf_poller *poller, int fd);

/* Waits at most `seconds` (negative: without end) and fills up to `room` events. Returns their number;
   0 on a time-out or when a signal came. */
int sheaf_poller_wait(sheaf_poller *poller, double seconds, sheaf_event *events, int room);

#pragma GCC visibility pop

#endif
