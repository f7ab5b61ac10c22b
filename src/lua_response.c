#include <string.h>

#include "lua_private.h"

/* From the engine's answer to the table that becomes a response: see lua/sheaf/response.lua. */


static void set_number(lua_State *L, const char *key, double value) {
  lua_pushnumber(L, value);
  lua_setfield(L, -2, key);
}


static void set_text(lua_State *L, const char *key, const char *text, size_t length) {
  lua_pushlstring(L, length > 0 ? text : "", length);
  lua_setfield(L, -2, key);
}


static double between(double from, double to) {
  return from > 0 && to > from ? to - from : 0;
}


/* The fields of response.timing, which is made of them when somebody looks. */
static void set_timing(lua_State *L, const sheaf_request *request) {
  const sheaf_times *times = &request->times;
  double started = times->started > 0 ? times->started : times->ended;
  set_number(L, "_queued", between(request->tries.submitted, started));
  set_number(L, "_connect", between(times->started, times->sent));
  set_number(L, "_first_byte", between(times->sent, times->first_byte));
  set_number(L, "_total", between(times->started, times->ended));
}


void sheaf_lua_push_where(lua_State *L, const sheaf_request *request) {
  lua_pushfstring(L, "%s %s", request->method, request->url->shown);
}


/* What only a failure has: kind, message (libcurl's or the transport's, if any), where. */
static void set_failure(lua_State *L, const sheaf_request *request) {
  const sheaf_answer *answer = &request->answer;
  lua_pushstring(L, sheaf_kind_name(answer->kind));
  lua_setfield(L, -2, "_kind");
  if (answer->message != NULL)
    set_text(L, "_message", answer->message, strlen(answer->message));
  if (answer->retry_after >= 0)
    set_number(L, "_retry_after", answer->retry_after);
  sheaf_lua_push_where(L, request);
  lua_setfield(L, -2, "_where");
}


/* Those below, and the few that the Lua side adds: Lua rounds to a power of two. */
#define FIELDS 16

void sheaf_lua_push_answer(lua_State *L, const sheaf_request *request) {
  const sheaf_answer *answer = &request->answer;
  bool ok = answer->kind == SHEAF_KIND_NONE;
  double elapsed = between(request->tries.submitted, request->times.ended);
  lua_createtable(L, 0, FIELDS);
  lua_pushboolean(L, ok);
  lua_setfield(L, -2, "ok");
  if (answer->status > 0) {
    lua_pushinteger(L, answer->status);
    lua_setfield(L, -2, "status");
  }
  set_text(L, "body", answer->body.bytes, answer->body.length);
  set_text(L, "_head", answer->head.bytes, answer->head.length);
  lua_pushinteger(L, request->attempts);
  lua_setfield(L, -2, "attempts");
  set_number(L, "elapsed", elapsed);
  set_timing(L, request);
  if (!ok)
    set_failure(L, request);
}
