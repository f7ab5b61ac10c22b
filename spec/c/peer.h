/* An HTTP server in a thread of the test: it listens on a free port of the loopback below 32768, asks the
   test's script what to do with each request, and counts. Its script runs on the server's thread. */
#ifndef SHEAF_SPEC_PEER_H
#define SHEAF_SPEC_PEER_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <linux/sockios.h>

/* Outgoing connections get their ports from 32768 on. */
#define PEER_PORT_FIRST 12000
#define PEER_PORT_LAST 32767

#define PEER_CONNECTIONS 1200
#define PEER_REQUEST_SIZE 8192
#define PEER_LOG 4096
#define PEER_TARGET 48

/* Longer than anything here takes, also under load: only a failing test waits so long. */
#define PEER_PATIENCE 60

/* What follows the last byte of an answer. */
typedef enum peer_end { PEER_KEEP, PEER_CLOSE, PEER_RESET } peer_end;

/* What to do with a request. The texts are malloc'd and become the server's; NULL: nothing. */
typedef struct peer_reply {
  char *now;                    /* sent at once */
  char *later;                  /* sent when the test says peer_go */
  bool held;                    /* until then nothing more happens, also without `later` */
  bool drips;                   /* `later` goes one byte at a time, each for itself */
  peer_end end;
} peer_reply;

typedef struct peer_request {
  int number;                   /* from 1, of this server */
  int connection;               /* from 1: over which one it came */
  int place;                    /* from 1: its number on that connection */
  const char *head;             /* NUL-terminated, with the body behind it */
  const char *target;           /* NUL-terminated */
  const char *body;             /* NUL-terminated */
} peer_request;

typedef peer_reply (*peer_script)(const peer_request *request, void *data);

typedef struct peer_connection {
  int fd;                       /* -1: free */
  int number, requests;
  size_t length;
  char text[PEER_REQUEST_SIZE];
  bool busy;                    /* a request came and isn't answered whole */
  peer_reply reply;             /* what is left of its answer */
} peer_connection;

typedef struct peer {
  peer_script script;
  void *data;
  int port, listener, wake;
  pthread_t thread;
  pthread_mutex_t lock;         /* guards all below */
  pthread_cond_t changed;
  int connections;              /* accepted so far */
  int open, most_open;          /* of these open now, and at once at most */
  int requests;                 /* received so far */
  int busy, most_busy;          /* of these unanswered now, and at once at most */
  int closed;                   /* connections that the client closed */
  int dripped;                  /* bytes sent one at a time, but for last ones */
  bool stop, close_idle;
  int go;                       /* how many of the held ones may be answered */
  char targets[PEER_LOG][PEER_TARGET];  /* of the requests, in order */
  char last[PEER_REQUEST_SIZE]; /* the latest request, whole */
  peer_connection table[PEER_CONNECTIONS];
} peer;


/* {======================================================
** Answers
** ======================================================= */

/* A whole answer. `headers` are lines that end with CRLF, or "". */
static inline char *peer_text(int status, const char *headers, const char *body) {
  size_t size = strlen(headers) + strlen(body) + 96;
  char *text = malloc(size);
  snprintf(text, size, "HTTP/1.1 %d Status\r\n%sContent-Length: %zu\r\n\r\n%s", status, headers,
           strlen(body), body);
  return text;
}


static inline peer_reply peer_answers(int status, const char *headers, const char *body) {
  return (peer_reply){.now = peer_text(status, headers, body)};
}


/* Answers, and closes the connection without having said so. */
static inline peer_reply peer_answers_and_closes(int status, const char *body) {
  return (peer_reply){.now = peer_text(status, "", body), .end = PEER_CLOSE};
}


/* Stays silent until peer_go. */
static inline peer_reply peer_holds(int status, const char *body) {
  return (peer_reply){.later = peer_text(status, "", body), .held = true};
}


/* The head and the first byte of the body at once, the rest after peer_go. */
static inline peer_reply peer_pauses(const char *body) {
  char *now = peer_text(200, "", body);
  size_t left = strlen(body) - 1;
  char *cut = now + strlen(now) - left;
  char *later = strdup(cut);
  *cut = '\0';
  return (peer_reply){.now = now, .later = later, .held = true};
}


/* The same, but each peer_go sends one byte only. */
static inline peer_reply peer_drips(const char *body) {
  peer_reply reply = peer_pauses(body);
  reply.drips = true;
  return reply;
}


/* Half of an answer, and then the end. */
static inline peer_reply peer_breaks_off(peer_end end) {
  char *now = peer_text(200, "", "0123456789");
  now[strlen(now) - 5] = '\0';
  return (peer_reply){.now = now, .end = end};
}


/* No answer at all. */
static inline peer_reply peer_ends(peer_end end) {
  return (peer_reply){.end = end};
}

/* }====================================================== */


/* {======================================================
** The thread
** ======================================================= */

static inline void peer_drop(peer *server, peer_connection *connection, peer_end end) {
  if (end == PEER_RESET) {
    struct linger linger = {1, 0};
    setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
  }
  close(connection->fd);
  connection->fd = -1;
  free(connection->reply.now);
  free(connection->reply.later);
  connection->reply = (peer_reply){0};
  server->open--;
  if (connection->busy)
    server->busy--;
  connection->busy = false;
}


static inline bool peer_left(int fd) {
  struct pollfd one = {.fd = fd, .events = POLLRDHUP};
  return poll(&one, 1, 0) != 0;
}


/* Returns when all is in the client's own socket, so that a test may count on it. A client that went away
   is told when its connection is read. */
static inline void peer_send(const peer_connection *connection, char **text) {
  size_t length = *text != NULL ? strlen(*text) : 0;
  int left = length > 0;
  for (size_t sent = 0; sent < length;) {
    ssize_t count = send(connection->fd, *text + sent, length - sent, MSG_NOSIGNAL);
    if (count <= 0)
      break;
    sent += (size_t)count;
  }
  while (left > 0 && !peer_left(connection->fd) && ioctl(connection->fd, SIOCOUTQ, &left) == 0)
    sched_yield();
  free(*text);
  *text = NULL;
}


/* The request counts as answered before its last byte goes: the client may send the next one at once. */
static inline void peer_finish(peer *server, peer_connection *connection) {
  peer_reply *reply = &connection->reply;
  peer_end end = reply->end;
  connection->busy = false;
  server->busy--;
  peer_send(connection, &reply->now);
  peer_send(connection, &reply->later);
  if (end != PEER_KEEP)
    peer_drop(server, connection, end);
}


/* Where the request that begins the text ends, or 0 if it isn't whole. */
static inline size_t peer_whole(const char *text, const char **body) {
  const char *end = strstr(text, "\r\n\r\n");
  if (end == NULL)
    return 0;
  *body = end + 4;
  const char *length = strcasestr(text, "\r\ncontent-length:");
  size_t body_length = length != NULL && length < end ? strtoul(length + 17, NULL, 10) : 0;
  size_t size = (size_t)(*body - text) + body_length;
  return strlen(text) >= size ? size : 0;
}


static inline void peer_receive(peer *server, peer_connection *connection, size_t size,
                                const char *body) {
  char target[PEER_TARGET] = "";
  sscanf(connection->text, "%*s %47s", target);
  if (server->requests < PEER_LOG)
    memcpy(server->targets[server->requests], target, sizeof target);
  peer_request request = {++server->requests, connection->number, ++connection->requests,
                          connection->text, target, body};
  memcpy(server->last, connection->text, size);
  server->last[size] = '\0';
  connection->busy = true;
  if (++server->busy > server->most_busy)
    server->most_busy = server->busy;
  connection->reply = server->script(&request, server->data);
  memmove(connection->text, connection->text + size, connection->length - size + 1);
  connection->length -= size;
  if (connection->reply.held)
    peer_send(connection, &connection->reply.now);
  else
    peer_finish(server, connection);
}


static inline void peer_read(peer *server, peer_connection *connection) {
  char *text = connection->text;
  size_t room = sizeof connection->text - 1 - connection->length;
  ssize_t count = recv(connection->fd, text + connection->length, room, MSG_DONTWAIT);
  if (count < 0 && (errno == EAGAIN || errno == EINTR))
    return;
  if (count <= 0) {
    server->closed++;
    peer_drop(server, connection, PEER_CLOSE);
    return;
  }
  connection->length += (size_t)count;
  text[connection->length] = '\0';
  const char *body;
  size_t size;
  while (connection->fd >= 0 && !connection->busy && (size = peer_whole(text, &body)) > 0)
    peer_receive(server, connection, size, body);
}


static inline void peer_accept(peer *server) {
  int fd = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC);
  int on = 1;
  if (fd < 0)
    return;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  for (int i = 0; i < PEER_CONNECTIONS; i++) {
    peer_connection *connection = &server->table[i];
    if (connection->fd >= 0)
      continue;
    connection->fd = fd;
    connection->number = ++server->connections;
    connection->requests = 0;
    connection->length = 0;
    connection->text[0] = '\0';
    if (++server->open > server->most_open)
      server->most_open = server->open;
    return;
  }
  close(fd);
}


static inline void peer_drip(peer *server, peer_connection *connection) {
  char *rest = strdup(connection->reply.later + 1);
  connection->reply.later[1] = '\0';
  peer_send(connection, &connection->reply.later);
  connection->reply.later = rest;
  server->dripped++;
}


static inline void peer_obey(peer *server) {
  for (int i = 0; i < PEER_CONNECTIONS; i++) {
    peer_connection *connection = &server->table[i];
    if (connection->fd >= 0 && connection->busy && server->go > 0) {
      const peer_reply *reply = &connection->reply;
      server->go--;
      if (reply->drips && strlen(reply->later) > 1)
        peer_drip(server, connection);
      else
        peer_finish(server, connection);
    } else if (connection->fd >= 0 && !connection->busy && server->close_idle)
      peer_drop(server, connection, PEER_CLOSE);
  }
  server->close_idle = false;
}


static inline void *peer_run(void *data) {
  peer *server = data;
  struct pollfd *fds = calloc(PEER_CONNECTIONS + 2, sizeof *fds);
  peer_connection **owners = calloc(PEER_CONNECTIONS + 2, sizeof *owners);
  pthread_mutex_lock(&server->lock);
  while (!server->stop) {
    nfds_t count = 2;
    fds[0] = (struct pollfd){.fd = server->wake, .events = POLLIN};
    fds[1] = (struct pollfd){.fd = server->listener, .events = POLLIN};
    for (int i = 0; i < PEER_CONNECTIONS; i++) {
      if (server->table[i].fd >= 0) {
        owners[count] = &server->table[i];
        fds[count++] = (struct pollfd){.fd = server->table[i].fd, .events = POLLIN};
      }
    }
    pthread_mutex_unlock(&server->lock);
    poll(fds, count, -1);
    pthread_mutex_lock(&server->lock);
    if (fds[0].revents != 0) {
      eventfd_t value;
      eventfd_read(server->wake, &value);
    }
    for (nfds_t i = 2; i < count; i++) {
      if (fds[i].revents != 0 && owners[i]->fd == fds[i].fd)
        peer_read(server, owners[i]);
    }
    peer_obey(server);
    if (fds[1].revents != 0)
      peer_accept(server);
    pthread_cond_broadcast(&server->changed);
  }
  for (int i = 0; i < PEER_CONNECTIONS; i++) {
    if (server->table[i].fd >= 0)
      peer_drop(server, &server->table[i], PEER_CLOSE);
  }
  pthread_mutex_unlock(&server->lock);
  free(fds);
  free(owners);
  return NULL;
}

/* }====================================================== */


/* {======================================================
** For the test
** ======================================================= */

static inline int peer_listen(int *port) {
  int range = PEER_PORT_LAST - PEER_PORT_FIRST + 1;
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  int start = (int)((unsigned long)(getpid() * 131 + now.tv_nsec / 1000) % (unsigned long)range);
  for (int i = 0; i < range; i++) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    *port = PEER_PORT_FIRST + (start + i) % range;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((in_port_t)*port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 1024) == 0)
      return fd;
    close(fd);
  }
  abort();
}


static inline peer *peer_start(peer_script script, void *data) {
  peer *server = calloc(1, sizeof *server);
  server->script = script;
  server->data = data;
  server->listener = peer_listen(&server->port);
  server->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  pthread_mutex_init(&server->lock, NULL);
  pthread_cond_init(&server->changed, NULL);
  for (int i = 0; i < PEER_CONNECTIONS; i++)
    server->table[i].fd = -1;
  if (pthread_create(&server->thread, NULL, peer_run, server) != 0)
    abort();
  return server;
}


static inline void peer_stop(peer *server) {
  pthread_mutex_lock(&server->lock);
  server->stop = true;
  eventfd_write(server->wake, 1);
  pthread_mutex_unlock(&server->lock);
  pthread_join(server->thread, NULL);
  pthread_mutex_destroy(&server->lock);
  pthread_cond_destroy(&server->changed);
  close(server->listener);
  close(server->wake);
  free(server);
}


/* Lets up to `count` held requests be answered, those to come included. */
static inline void peer_go(peer *server, int count) {
  pthread_mutex_lock(&server->lock);
  server->go += count;
  eventfd_write(server->wake, 1);
  pthread_mutex_unlock(&server->lock);
}


/* Has the server close the connections that have no request, and waits until it has. */
static inline void peer_close_idle(peer *server) {
  pthread_mutex_lock(&server->lock);
  server->close_idle = true;
  eventfd_write(server->wake, 1);
  while (server->close_idle)
    pthread_cond_wait(&server->changed, &server->lock);
  pthread_mutex_unlock(&server->lock);
}


/* One of the server's numbers, as it is now: PEER_NUMBER(server, requests). */
static inline int peer_number(peer *server, const int *number) {
  pthread_mutex_lock(&server->lock);
  int value = *number;
  pthread_mutex_unlock(&server->lock);
  return value;
}

#define PEER_NUMBER(server, name) peer_number(server, &(server)->name)


/* Whether the latest request has this text in it. */
static inline bool peer_saw(peer *server, const char *text) {
  pthread_mutex_lock(&server->lock);
  bool saw = strstr(server->last, text) != NULL;
  pthread_mutex_unlock(&server->lock);
  return saw;
}


/* Waits until one of the server's numbers is exactly, or (`least`) at least, `wanted`. False if it never
   came to that. */
static inline bool peer_until(peer *server, const int *number, int wanted, bool least) {
  struct timespec end;
  clock_gettime(CLOCK_REALTIME, &end);
  end.tv_sec += PEER_PATIENCE;
  pthread_mutex_lock(&server->lock);
  int error = 0;
  while ((least ? *number < wanted : *number != wanted) && error != ETIMEDOUT)
    error = pthread_cond_timedwait(&server->changed, &server->lock, &end);
  bool reached = least ? *number >= wanted : *number == wanted;
  pthread_mutex_unlock(&server->lock);
  return reached;
}

#define PEER_UNTIL(server, name, wanted) \
  assert_true(peer_until(server, &(server)->name, wanted, false))
#define PEER_UNTIL_LEAST(server, name, wanted) \
  assert_true(peer_until(server, &(server)->name, wanted, true))

/* }====================================================== */

#endif
