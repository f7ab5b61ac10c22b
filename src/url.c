#include "url.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char no_memory[] = "not enough memory";


static const char *reason(CURLUcode code) {
  switch (code) {
    case CURLUE_OUT_OF_MEMORY:      return no_memory;
    case CURLUE_BAD_PORT_NUMBER:    return "its port is no number from 1 to 65535";
    case CURLUE_NO_HOST:            return "it names no host";
    case CURLUE_BAD_SCHEME:
    case CURLUE_NO_SCHEME:
    case CURLUE_UNSUPPORTED_SCHEME: return "it does not begin with http:// or https://";
    default:                        return "it is malformed";
  }
}


/* Fills origin and shown from the parts. Each part is NULL or libcurl's, freed by the caller. */
static bool describe(sheaf_url *url, const char *scheme, const char *host, const char *port,
                     const char *path) {
  bool usual = strcmp(port, url->secure ? "443" : "80") == 0;
  size_t origin = strlen(scheme) + strlen(host) + strlen(port) + sizeof "://:";
  size_t shown = strlen(host) + strlen(port) + strlen(path) + sizeof ":";
  url->origin = malloc(origin);
  url->shown = malloc(shown);
  if (url->origin == NULL || url->shown == NULL)
    return false;
  snprintf(url->origin, origin, "%s://%s:%s", scheme, host, port);
  for (char *c = url->origin; *c != '\0'; c++)
    *c = (char)tolower((unsigned char)*c);
  snprintf(url->shown, shown, "%s%s%s%s", host, usual ? "" : ":", usual ? "" : port, path);
  return true;
}


/* Takes over the handle, whatever comes of it. */
static sheaf_url *from_handle(CURLU *handle, const char **why) {
  char *scheme = NULL, *host = NULL, *port = NULL, *path = NULL, *text = NULL;
  sheaf_url *url = NULL;
  *why = no_memory;
  if (curl_url_get(handle, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK)
    goto done;
  bool secure = strcmp(scheme, "https") == 0;
  if (!secure && strcmp(scheme, "http") != 0) {
    *why = reason(CURLUE_UNSUPPORTED_SCHEME);
    goto done;
  }
  CURLUcode code = curl_url_get(handle, CURLUPART_HOST, &host, 0);
  if (code == CURLUE_OK)
    code = curl_url_get(handle, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT);
  if (code == CURLUE_OK && strcmp(port, "0") == 0)
    code = CURLUE_BAD_PORT_NUMBER;
  if (code == CURLUE_OK)
    code = curl_url_get(handle, CURLUPART_PATH, &path, 0);
  if (code == CURLUE_OK)
    code = curl_url_get(handle, CURLUPART_URL, &text, 0);
  if (code != CURLUE_OK) {
    *why = reason(code);
    goto done;
  }
  url = calloc(1, sizeof *url);
  if (url == NULL)
    goto done;
  atomic_init(&url->references, 1);
  url->handle = handle;
  handle = NULL;
  url->secure = secure;
  url->text = strdup(text);
  if (url->text == NULL || !describe(url, scheme, host, port, path)) {
    sheaf_url_drop(url);
    url = NULL;
  }
done:
  curl_free(scheme);
  curl_free(host);
  curl_free(port);
  curl_free(path);
  curl_free(text);
  curl_url_cleanup(handle);
  return url;
}


sheaf_url *sheaf_url_new(const char *text, const char **why) {
  CURLU *handle = curl_url();
  if (handle == NULL) {
    *why = no_memory;
    return NULL;
  }
  CURLUcode code = curl_url_set(handle, CURLUPART_URL, text, 0);
  if (code != CURLUE_OK) {
    *why = reason(code);
    curl_url_cleanup(handle);
    return NULL;
  }
  sheaf_url *url = from_handle(handle, why);
  if (url != NULL && strcmp(url->text, text) != 0) {
    char *given = strdup(text);
    if (given == NULL) {
      sheaf_url_drop(url);
      *why = no_memory;
      return NULL;
    }
    free(url->text);
    url->text = given;
  }
  return url;
}


sheaf_url *sheaf_url_follow(const sheaf_url *base, const char *location, const char **why) {
  CURLU *handle = curl_url_dup(base->handle);
  if (handle == NULL) {
    *why = no_memory;
    return NULL;
  }
  CURLUcode code = curl_url_set(handle, CURLUPART_URL, location, 0);
  if (code != CURLUE_OK) {
    *why = reason(code);
    curl_url_cleanup(handle);
    return NULL;
  }
  return from_handle(handle, why);
}


sheaf_url *sheaf_url_keep(sheaf_url *url) {
  atomic_fetch_add_explicit(&url->references, 1, memory_order_relaxed);
  return url;
}


void sheaf_url_drop(sheaf_url *url) {
  if (atomic_fetch_sub_explicit(&url->references, 1, memory_order_acq_rel) != 1)
    return;
  curl_url_cleanup(url->handle);
  free(url->text);
  free(url->origin);
  free(url->shown);
  free(url);
}
