/* A list of messages under a mutex, with a descriptor that is readable while there is something to
   read. The engine has two: the inbox (Lua thread to I/O thread) and the outbox (the other way). */
#ifndef SHEAF_MAILBOX_H
#define SHEAF_MAILBOX_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#pragma GCC visibility push(hidden)

/* Embedded in whatever is sent, so that posting can't fail. Owned by the sender until it is posted,
   by the receiver from the moment it is taken. */
typedef struct sheaf_message {
  struct sheaf_message *next;
  int type;                     /* which struct it is part of, and what is asked: see engine.h */
} sheaf_message;

/* The struct of `type` that holds `message` as its `member`. */
#define SHEAF_MESSAGE_OWNER(message, type, member) \
  ((type *)(void *)((char *)(message) - offsetof(type, member)))

/* A chain of messages in order, owned by one thread. */
typedef struct sheaf_chain {
  sheaf_message *first, *last;
} sheaf_chain;

typedef struct sheaf_mailbox {
  pthread_mutex_t lock;         /* guards posted and signalled */
  sheaf_chain posted;
  bool signalled;               /* the descriptor is readable */
  int read_fd, write_fd;        /* the same one where there is an eventfd, else a pipe */
} sheaf_mailbox;

/* Makes the descriptor. Returns 0, or errno; then nothing needs to be closed. */
int sheaf_mailbox_open(sheaf_mailbox *box);

/* Closes the descriptor. Messages still inside belong to the caller: take them first. */
void sheaf_mailbox_close(sheaf_mailbox *box);

/* Appends a chain (which becomes empty) and makes the descriptor readable if it wasn't; not so if
   *quiet is true, which is read under the lock. NULL: never quiet. */
void sheaf_mailbox_post(sheaf_mailbox *box, sheaf_chain *chain, const atomic_bool *quiet);

/* Whether there is something to take. */
bool sheaf_mailbox_waiting(sheaf_mailbox *box);

/* Makes the descriptor readable without a message. */
void sheaf_mailbox_wake(sheaf_mailbox *box);

/* Appends all that was posted to chain, and makes the descriptor unreadable. */
void sheaf_mailbox_take(sheaf_mailbox *box, sheaf_chain *chain);

void sheaf_chain_append(sheaf_chain *chain, sheaf_message *message);

/* The first message, taken off the chain, or NULL. */
sheaf_message *sheaf_chain_take(sheaf_chain *chain);

#pragma GCC visibility pop

#endif
