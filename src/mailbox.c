#include "mailbox.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <unistd.h>

#if defined(__linux__)
#include <sys/eventfd.h>
#endif


#if defined(__linux__)

static int open_signal(sheaf_mailbox *box) {
  int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd < 0)
    return errno;
  box->read_fd = box->write_fd = fd;
  return 0;
}

#else

static int open_signal(sheaf_mailbox *box) {
  int fds[2];
  if (pipe(fds) != 0)
    return errno;
  for (int i = 0; i < 2; i++) {
    (void)fcntl(fds[i], F_SETFD, FD_CLOEXEC);
    (void)fcntl(fds[i], F_SETFL, O_NONBLOCK);
  }
  box->read_fd = fds[0];
  box->write_fd = fds[1];
  return 0;
}

#endif


/* A full pipe (or counter) is readable already, so a failed write loses nothing. EINTR can't be:
   a write that would block is refused before it could sleep. */
static void raise_signal(const sheaf_mailbox *box) {
  uint64_t one = 1;
  ssize_t written = write(box->write_fd, &one, sizeof one);
  (void)written;
}


static void lower_signal(const sheaf_mailbox *box) {
  uint64_t counted[8];
  while (read(box->read_fd, counted, sizeof counted) == (ssize_t)sizeof counted)
    continue;
}


int sheaf_mailbox_open(sheaf_mailbox *box) {
  int error = open_signal(box);
  if (error != 0)
    return error;
  error = pthread_mutex_init(&box->lock, NULL);
  if (error != 0) {
    close(box->read_fd);
    if (box->write_fd != box->read_fd)
      close(box->write_fd);
    return error;
  }
  box->posted = (sheaf_chain){NULL, NULL};
  box->signalled = false;
  return 0;
}


void sheaf_mailbox_close(sheaf_mailbox *box) {
  close(box->read_fd);
  if (box->write_fd != box->read_fd)
    close(box->write_fd);
  pthread_mutex_destroy(&box->lock);
}


/* The descriptor changes under the lock: else a late write could leave it readable with nothing
   behind it, and a loop that waits on it would spin. */
static void signal_locked(sheaf_mailbox *box) {
  if (!box->signalled) {
    box->signalled = true;
    raise_signal(box);
  }
}


static void join_chains(sheaf_chain *to, sheaf_chain *from) {
  if (from->first == NULL)
    return;
  if (to->first == NULL)
    *to = *from;
  else {
    to->last->next = from->first;
    to->last = from->last;
  }
  *from = (sheaf_chain){NULL, NULL};
}


void sheaf_mailbox_post(sheaf_mailbox *box, sheaf_chain *chain, const atomic_bool *quiet) {
  if (chain->first == NULL)
    return;
  pthread_mutex_lock(&box->lock);
  join_chains(&box->posted, chain);
  if (quiet == NULL || !atomic_load(quiet))
    signal_locked(box);
  pthread_mutex_unlock(&box->lock);
}


bool sheaf_mailbox_waiting(sheaf_mailbox *box) {
  pthread_mutex_lock(&box->lock);
  bool waiting = box->posted.first != NULL;
  pthread_mutex_unlock(&box->lock);
  return waiting;
}


void sheaf_mailbox_wake(sheaf_mailbox *box) {
  pthread_mutex_lock(&box->lock);
  signal_locked(box);
  pthread_mutex_unlock(&box->lock);
}


void sheaf_mailbox_take(sheaf_mailbox *box, sheaf_chain *chain) {
  pthread_mutex_lock(&box->lock);
  if (box->signalled) {
    lower_signal(box);
    box->signalled = false;
  }
  join_chains(chain, &box->posted);
  pthread_mutex_unlock(&box->lock);
}


void sheaf_chain_append(sheaf_chain *chain, sheaf_message *message) {
  message->next = NULL;
  if (chain->first == NULL)
    chain->first = message;
  else
    chain->last->next = message;
  chain->last = message;
}


sheaf_message *sheaf_chain_take(sheaf_chain *chain) {
  sheaf_message *message = chain->first;
  if (message == NULL)
    return NULL;
  chain->first = message->next;
  if (chain->first == NULL)
    chain->last = NULL;
  return message;
}
