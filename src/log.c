#include "io.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* SHEAF_LOG: what happened on the wire, one line an attempt, on stderr. */

#define LINE_SIZE 512


int sheaf_log_level(void) {
  const char *value = getenv("SHEAF_LOG");
  if (value == NULL)
    return 0;
  return strcmp(value, "debug") == 0 ? 2 : strcmp(value, "info") == 0 ? 1 : 0;
}


/* One write, so that the lines of several processes don't mix. */
static void put(char *line, int length, size_t size) {
  size_t end = length < 0 ? 0 : (size_t)length < size - 1 ? (size_t)length : size - 2;
  line[end] = '\n';
  ssize_t written = write(STDERR_FILENO, line, end + 1);
  (void)written;                /* nowhere left to tell */
}


void sheaf_log_attempt(const sheaf_engine *engine, const sheaf_request *request, sheaf_kind kind,
                       const char *why, double wait) {
  char line[LINE_SIZE], next[64] = "";
  if (engine->log == 0)
    return;
  const sheaf_times *times = &request->times;
  double spent = times->started > 0 ? (engine->now - times->started) * 1e3 : 0;
  if (wait >= 0)
    snprintf(next, sizeof next, ", again in %.3f s", wait);
  int length = snprintf(line, sizeof line, "sheaf: %s attempt %d: %s%s%d %.0f ms%s%s%s",
                        request->label != NULL ? request->label : "?", request->attempts,
                        kind == SHEAF_KIND_NONE ? "" : sheaf_kind_name(kind),
                        kind == SHEAF_KIND_NONE ? "" : " ", request->answer.status, spent,
                        why != NULL ? ", " : "", why != NULL ? why : "", next);
  put(line, length, sizeof line);
  if (engine->log > 1) {
    length = snprintf(line, sizeof line,
                      "sheaf: %s   %s %s, connection %.0f ms, first byte %.0f ms, %zu bytes%s%s",
                      request->label != NULL ? request->label : "?", request->method,
                      request->url->shown,
                      times->sent > 0 ? (times->sent - times->started) * 1e3 : 0,
                      times->first_byte > 0 ? (times->first_byte - times->sent) * 1e3 : 0,
                      request->answer.body.length, request->answer.message != NULL ? ": " : "",
                      request->answer.message != NULL ? request->answer.message : "");
    put(line, length, sizeof line);
  }
}
