#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lua_private.h"

/* The userdata behind limiters, batches and settings. Options come checked: see lua/sheaf/options.lua. */


/* {======================================================
** Reading tables
** ======================================================= */

/* The number in field `key` of the table at `index`; nil stands for no limit. */
static double number_field(lua_State *L, int index, const char *key) {
  lua_getfield(L, index, key);
  double value = lua_isnil(L, -1) ? INFINITY : luaL_checknumber(L, -1);
  lua_pop(L, 1);
  return value;
}


/* A count; nil stands for 0. */
static int count_field(lua_State *L, int index, const char *key) {
  lua_getfield(L, index, key);
  int value = lua_isnil(L, -1) ? 0 : (int)luaL_checkinteger(L, -1);
  lua_pop(L, 1);
  return value;
}


static bool boolean_field(lua_State *L, int index, const char *key) {
  lua_getfield(L, index, key);
  bool value = lua_toboolean(L, -1) != 0;
  lua_pop(L, 1);
  return value;
}


/* The string in a field, or NULL. It lives as long as the table. */
static char *text_field(lua_State *L, int index, const char *key) {
  lua_getfield(L, index, key);
  const char *value = lua_isnil(L, -1) ? NULL : luaL_checkstring(L, -1);
  lua_pop(L, 1);
  return (char *)value;
}


bool sheaf_lua_lines(lua_State *L, int index, struct curl_slist **lines) {
  size_t count = lua_rawlen(L, index);
  *lines = NULL;
  for (size_t i = 1; i <= count; i++) {
    lua_rawgeti(L, index, (int)i);
    const char *line = lua_tostring(L, -1);
    bool appended = line != NULL && sheaf_lines_append(lines, line);
    lua_pop(L, 1);
    if (!appended) {
      sheaf_lines_free(*lines);
      *lines = NULL;
      return false;
    }
  }
  return true;
}

/* }====================================================== */


/* {======================================================
** Limiters and settings
** ======================================================= */

/* limiter(concurrency) -> limiter */
static int limiter_new(lua_State *L) {
  int concurrency = (int)luaL_checkinteger(L, 1);
  sheaf_queue **box = lua_newuserdata(L, sizeof *box);
  *box = NULL;
  luaL_getmetatable(L, SHEAF_LIMITER_TYPE);
  lua_setmetatable(L, -2);
  *box = sheaf_queue_new(concurrency);
  return *box != NULL ? 1 : sheaf_lua_refuse(L, "not enough memory", "memory");
}


static int limiter_gc(lua_State *L) {
  sheaf_queue **box = luaL_checkudata(L, 1, SHEAF_LIMITER_TYPE);
  if (*box != NULL)
    sheaf_queue_drop(*box);
  *box = NULL;
  return 0;
}


/* settings{ max, throttled, invalid, base, cap, jitter, connect, attempt, idle, total, max_body,
   redirects } -> settings */
static int settings_new(lua_State *L) {
  sheaf_jitter jitter = SHEAF_JITTER_FULL;
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_getfield(L, 1, "jitter");
  luaL_argcheck(L, sheaf_jitter_from_name(luaL_checkstring(L, -1), &jitter), 1, "unknown jitter");
  lua_pop(L, 1);
  sheaf_settings *settings = lua_newuserdata(L, sizeof *settings);
  *settings = (sheaf_settings){
      .retry = {.max = count_field(L, 1, "max"),
                .throttled = count_field(L, 1, "throttled"),
                .invalid = count_field(L, 1, "invalid"),
                .base = number_field(L, 1, "base"),
                .cap = number_field(L, 1, "cap"),
                .jitter = jitter},
      .timeout = {.connect = number_field(L, 1, "connect"),
                  .attempt = number_field(L, 1, "attempt"),
                  .idle = number_field(L, 1, "idle"),
                  .total = number_field(L, 1, "total")},
      .max_body = (size_t)number_field(L, 1, "max_body"),
      .redirects = count_field(L, 1, "redirects")};
  luaL_getmetatable(L, SHEAF_SETTINGS_TYPE);
  lua_setmetatable(L, -2);
  return 1;
}

/* }====================================================== */


/* {======================================================
** Batches
** ======================================================= */

/* batch(limiter, { ca, cert, key, verify, proxy, no_proxy, unix_socket, keepalive, http2, total,
   per_host, idle }, header lines, max_buffered) -> batch | nil, message, code */
static int batch_new(lua_State *L) {
  sheaf_queue **queue = luaL_checkudata(L, 1, SHEAF_LIMITER_TYPE);
  luaL_checktype(L, 2, LUA_TTABLE);
  luaL_checktype(L, 3, LUA_TTABLE);
  size_t max_buffered = (size_t)luaL_checknumber(L, 4);
  const sheaf_pool_options options = {.ca = text_field(L, 2, "ca"),
                                      .cert = text_field(L, 2, "cert"),
                                      .key = text_field(L, 2, "key"),
                                      .proxy = text_field(L, 2, "proxy"),
                                      .no_proxy = text_field(L, 2, "no_proxy"),
                                      .unix_socket = text_field(L, 2, "unix_socket"),
                                      .verify = boolean_field(L, 2, "verify"),
                                      .keepalive = boolean_field(L, 2, "keepalive"),
                                      .http2 = boolean_field(L, 2, "http2"),
                                      .total = count_field(L, 2, "total"),
                                      .per_host = count_field(L, 2, "per_host"),
                                      .idle = number_field(L, 2, "idle")};
  sheaf_batch_box *box = lua_newuserdata(L, sizeof *box);
  *box = (sheaf_batch_box){.state = sheaf_lua_state(L)};
  luaL_getmetatable(L, SHEAF_BATCH_TYPE);
  lua_setmetatable(L, -2);
  struct curl_slist *lines = NULL;
  if (sheaf_lua_lines(L, 3, &lines)) {
    sheaf_header_set *headers = sheaf_header_set_new(lines);
    if (headers != NULL)
      box->batch = sheaf_batch_new(*queue, &options, headers, max_buffered);
  }
  return box->batch != NULL ? 1 : sheaf_lua_refuse(L, "not enough memory", "memory");
}


/* Cancels all requests of a batch and lets go of it. */
static void close_batch(sheaf_batch_box *box, bool orphan) {
  sheaf_state *state = box->state;
  if (box->batch == NULL)
    return;
  for (unsigned slot = 1; slot < state->slots_size; slot++) {
    sheaf_slot *place = &state->slots[slot];
    if (place->request != NULL && place->request->batch == box->batch && !place->cancelled) {
      place->orphaned = orphan;
      sheaf_lua_cancel_slot(state, slot);
    }
  }
  if (box->url != NULL)
    sheaf_url_drop(box->url);
  sheaf_batch_drop(box->batch);
  box->url = NULL;
  box->batch = NULL;
}


/* Nobody can wait for its requests any more. */
static int batch_gc(lua_State *L) {
  close_batch(luaL_checkudata(L, 1, SHEAF_BATCH_TYPE), true);
  return 0;
}


static int batch_close(lua_State *L) {
  close_batch(luaL_checkudata(L, 1, SHEAF_BATCH_TYPE), false);
  return 0;
}


static sheaf_batch *check_batch(lua_State *L) {
  const sheaf_batch_box *box = luaL_checkudata(L, 1, SHEAF_BATCH_TYPE);
  luaL_argcheck(L, box->batch != NULL, 1, "closed");
  return box->batch;
}


/* batch:change(concurrency | nil, header lines | nil) -> true | nil, message, code */
static int batch_change(lua_State *L) {
  sheaf_state *state = sheaf_lua_state(L);
  sheaf_batch *batch = check_batch(L);
  int concurrency = (int)luaL_optinteger(L, 2, 0);
  bool has_lines = !lua_isnoneornil(L, 3);
  if (has_lines)
    luaL_checktype(L, 3, LUA_TTABLE);
  sheaf_engine *engine = sheaf_lua_engine(L, state, true);
  if (engine == NULL)
    return 3;
  sheaf_change *change = calloc(1, sizeof *change);
  if (change == NULL)
    return sheaf_lua_refuse(L, "not enough memory", "memory");
  struct curl_slist *lines = NULL;
  if (has_lines && sheaf_lua_lines(L, 3, &lines))
    change->headers = sheaf_header_set_new(lines);
  if (has_lines && change->headers == NULL) {
    free(change);
    return sheaf_lua_refuse(L, "not enough memory", "memory");
  }
  change->batch = sheaf_batch_keep(batch);
  change->concurrency = concurrency;
  sheaf_engine_post(engine, &change->mail, SHEAF_CHANGE);
  lua_pushboolean(L, 1);
  return 1;
}


static void set_count(lua_State *L, const char *key, atomic_llong *counter) {
  lua_pushinteger(L, (lua_Integer)atomic_load_explicit(counter, memory_order_relaxed));
  lua_setfield(L, -2, key);
}


/* batch:counters() -> { attempts, retried, throttled, in_flight, backing_off, opened, reused, bytes_in,
   bytes_out, oldest } */
static int batch_counters(lua_State *L) {
  sheaf_counters *counters = &check_batch(L)->counters;
  lua_createtable(L, 0, 10);
  set_count(L, "attempts", &counters->attempts);
  set_count(L, "retried", &counters->retried);
  set_count(L, "throttled", &counters->throttled);
  set_count(L, "in_flight", &counters->in_flight);
  set_count(L, "backing_off", &counters->backing_off);
  set_count(L, "opened", &counters->opened);
  set_count(L, "reused", &counters->reused);
  set_count(L, "bytes_in", &counters->bytes_in);
  set_count(L, "bytes_out", &counters->bytes_out);
  double oldest = atomic_load_explicit(&counters->oldest, memory_order_relaxed);
  if (oldest > 0) {
    lua_pushnumber(L, sheaf_clock_monotonic() - oldest);
    lua_setfield(L, -2, "oldest");
  }
  return 1;
}

/* }====================================================== */


static const luaL_Reg functions[] = {
  {"limiter", limiter_new},
  {"settings", settings_new},
  {"batch", batch_new},
  {NULL, NULL}
};

static const luaL_Reg limiter_methods[] = {
  {"__gc", limiter_gc},
  {NULL, NULL}
};

static const luaL_Reg settings_methods[] = {
  {NULL, NULL}
};

static const luaL_Reg batch_methods[] = {
  {"change", batch_change},
  {"counters", batch_counters},
  {"close", batch_close},
  {"__gc", batch_gc},
  {NULL, NULL}
};


void sheaf_lua_open_batch(lua_State *L, int state_index) {
  sheaf_lua_type(L, SHEAF_LIMITER_TYPE, limiter_methods, state_index);
  sheaf_lua_type(L, SHEAF_SETTINGS_TYPE, settings_methods, state_index);
  sheaf_lua_type(L, SHEAF_BATCH_TYPE, batch_methods, state_index);
  sheaf_lua_add(L, functions, state_index);
}
