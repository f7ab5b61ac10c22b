/* What the tests' server has at its addresses:
     /ok...                  200 "ok"
     /echo                   200 with the request's method, a space and its body
     /hold...                200 "ok", once the test says peer_go
     /pause                  the first byte of ten; the rest once the test says peer_go
     /drip                   the first byte of four; one more each time the test says peer_go
     /statuses/503,429,200   these in turn, whatever comes between them; the last one for ever
     /wait/MS                429 with `retry-after-ms: MS` to the server's first request, then 200
     /redirect/STATUS/N/PATH STATUS with `Location: /PATH`, for the server's first N requests
     /leave/STATUS           STATUS with `Location:` the address in the site's `elsewhere`
     /close, /reset          no answer, and the end of the connection
     /half-close, /half-reset  half an answer, and that end
     /big/N                  200 with N bytes
     /dead                   200 on a new connection; the end of one that had a request before */
#ifndef SHEAF_SPEC_SITE_H
#define SHEAF_SPEC_SITE_H

#include "peer.h"

typedef struct site {
  const char *elsewhere;
} site;


static inline bool site_begins(const char *target, const char *with) {
  return strncmp(target, with, strlen(with)) == 0;
}


static inline int site_status(const char *list, int turn) {
  for (; turn > 1 && strchr(list, ',') != NULL; turn--)
    list = strchr(list, ',') + 1;
  return atoi(list);
}


static inline peer_reply site_echo(const peer_request *request) {
  char text[256];
  int method = (int)strcspn(request->head, " ");
  snprintf(text, sizeof text, "%.*s %.200s", method, request->head, request->body);
  return peer_answers(200, "", text);
}


static inline peer_reply site_redirect(int status, const char *to) {
  char header[256];
  snprintf(header, sizeof header, "Location: %s\r\n", to);
  return peer_answers(status, header, "");
}


static inline peer_reply site_big(size_t size) {
  char *text = malloc(size + 1);
  memset(text, 'x', size);
  text[size] = '\0';
  peer_reply reply = peer_answers(200, "", text);
  free(text);
  return reply;
}


static inline peer_reply site_script(const peer_request *request, void *data) {
  const site *it = data;
  const char *target = request->target;
  char path[PEER_TARGET], header[64];
  int status, count;
  if (site_begins(target, "/echo"))
    return site_echo(request);
  if (site_begins(target, "/hold"))
    return peer_holds(200, "ok");
  if (site_begins(target, "/pause"))
    return peer_pauses("0123456789");
  if (site_begins(target, "/drip"))
    return peer_drips("0123");
  if (site_begins(target, "/statuses/"))
    return peer_answers(site_status(target + strlen("/statuses/"), request->number), "", "ok");
  if (site_begins(target, "/wait/") && request->number == 1) {
    snprintf(header, sizeof header, "retry-after-ms: %s\r\n", target + strlen("/wait/"));
    return peer_answers(429, header, "");
  }
  if (sscanf(target, "/redirect/%d/%d%47s", &status, &count, path) == 3)
    return request->number <= count ? site_redirect(status, path) : peer_answers(200, "", "ok");
  if (sscanf(target, "/leave/%d", &status) == 1)
    return site_redirect(status, it->elsewhere);
  if (site_begins(target, "/close"))
    return peer_ends(PEER_CLOSE);
  if (site_begins(target, "/reset"))
    return peer_ends(PEER_RESET);
  if (site_begins(target, "/half-close"))
    return peer_breaks_off(PEER_CLOSE);
  if (site_begins(target, "/half-reset"))
    return peer_breaks_off(PEER_RESET);
  if (sscanf(target, "/big/%d", &count) == 1)
    return site_big((size_t)count);
  if (site_begins(target, "/dead") && request->place > 1)
    return peer_ends(PEER_CLOSE);
  return peer_answers(200, "", "ok");
}


static inline peer *site_start(site *it) {
  return peer_start(site_script, it);
}

#endif
