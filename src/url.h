/* A parsed address. Shared by the requests that go there; never changed after it was made, so both
   threads may read it. */
#ifndef SHEAF_URL_H
#define SHEAF_URL_H

#include <curl/curl.h>
#include <stdatomic.h>
#include <stdbool.h>

#pragma GCC visibility push(hidden)

typedef struct sheaf_url {
  atomic_int references;
  CURLU *handle;
  char *text;                   /* as the user gave it */
  char *origin;                 /* scheme://host:port, lower case: what connections are shared by */
  char *shown;                  /* host[:port]/path: for messages, without query and credentials */
  bool secure;                  /* https */
} sheaf_url;

/* Parses an http or https address. On failure returns NULL and sets *why to a static phrase that says
   what is wrong with it ("not enough memory" where that was the reason). */
sheaf_url *sheaf_url_new(const char *text, const char **why);

/* The address that `location`, a Location header's value, means when `base` answered with it. */
sheaf_url *sheaf_url_follow(const sheaf_url *base, const char *location, const char **why);

sheaf_url *sheaf_url_keep(sheaf_url *url);
void sheaf_url_drop(sheaf_url *url);

#pragma GCC visibility pop

#endif
