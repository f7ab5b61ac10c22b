/* sheaf.core: the non-waiting primitives under the Lua face. Private: its functions trust their callers
   to have checked what users gave. */
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "lua_private.h"
#include "process.h"
#include "version.h"

/* The registry's key of the state; its address is what counts. */
static const char state_key = 0;


/* {======================================================
** State and engine
** ======================================================= */

sheaf_state *sheaf_lua_state(lua_State *L) {
  return lua_touserdata(L, lua_upvalueindex(1));
}


int sheaf_lua_refuse(lua_State *L, const char *message, const char *code) {
  lua_pushnil(L);
  lua_pushstring(L, message);
  lua_pushstring(L, code);
  return 3;
}


static sheaf_engine *refuse_errno(lua_State *L, const char *what, int error) {
  lua_pushnil(L);
  lua_pushfstring(L, "sheaf: can't get %s: %s", what, strerror(error));
  lua_pushstring(L, error == EMFILE || error == ENFILE ? "fd" : error == EAGAIN ? "thread" : "memory");
  return NULL;
}


sheaf_engine *sheaf_lua_engine(lua_State *L, sheaf_state *state, bool run) {
  const char *what;
  if (state->closed) {
    sheaf_lua_refuse(L, "sheaf: the Lua state is closing", "closed");
    return NULL;
  }
  if (state->engine != NULL && sheaf_engine_alien(state->engine)) {
    if (sheaf_engine_running(state->engine)) {
      sheaf_lua_refuse(L, "sheaf: this process was forked after sheaf was used, and has none of its "
                          "connections: fork first, or require sheaf in a new Lua state", "forked");
      return NULL;
    }
    sheaf_engine_free(state->engine);
    state->engine = NULL;
  }
  if (state->engine == NULL) {
    state->engine = sheaf_engine_new(sheaf_clock_monotonic);
    if (state->engine == NULL)
      return refuse_errno(L, "a descriptor", errno);
  }
  int error = run ? sheaf_engine_start(state->engine, &what) : 0;
  return error == 0 ? state->engine : refuse_errno(L, what, error);
}


static void tell_unfinished(unsigned unfinished) {
  char text[160];
  int length = snprintf(text, sizeof text,
                        "sheaf: the script ended with %u unfinished request%s: wait for them with "
                        "batch:gather(), or cancel them\n", unfinished, unfinished == 1 ? "" : "s");
  ssize_t written = write(STDERR_FILENO, text, (size_t)length);
  (void)written;
}


/* Requests nobody will hear of. When a state closes, its batches are finalized before this, which
   orphans their requests; those of a batch collected earlier have been confirmed and freed since. */
static unsigned count_unfinished(const sheaf_state *state) {
  unsigned count = state->unfinished;
  for (unsigned slot = 1; slot < state->slots_size; slot++) {
    if (state->slots[slot].orphaned)
      count++;
  }
  return count;
}


/* Joins the thread first: after that all requests are ours again, wherever they were. */
static int state_gc(lua_State *L) {
  sheaf_state *state = lua_touserdata(L, 1);
  if (state->closed)
    return 0;
  state->closed = true;
  if (state->engine != NULL && sheaf_engine_running(state->engine) &&
      sheaf_engine_alien(state->engine))
    return 0;                   /* the parent's: nothing here may be touched */
  unsigned unfinished = count_unfinished(state);
  if (unfinished > 0)
    tell_unfinished(unfinished);
  if (state->engine != NULL)
    sheaf_engine_free(state->engine);
  state->engine = NULL;
  sheaf_engine_discard(&state->taken);
  for (unsigned slot = 1; slot < state->slots_size; slot++) {
    if (state->slots[slot].request != NULL)
      sheaf_lua_free_slot(state, slot);
  }
  while (state->spares != NULL) {
    sheaf_request *request = state->spares;
    state->spares = request->next_spare;
    sheaf_request_free(request);
  }
  free(state->slots);
  free(state->abandoned);
  state->slots = NULL;
  state->abandoned = NULL;
  state->slots_size = state->first_free = 0;
  return 0;
}

/* }====================================================== */


/* {======================================================
** Clock, timers, descriptor
** ======================================================= */

/* now() -> seconds of the monotonic clock */
static int now(lua_State *L) {
  lua_pushnumber(L, sheaf_clock_monotonic());
  return 1;
}


/* timer(seconds) -> id | nil, message, code. next() says "fired" when it is due. */
static int timer_new(lua_State *L) {
  sheaf_state *state = sheaf_lua_state(L);
  double seconds = luaL_checknumber(L, 1);
  sheaf_engine *engine = sheaf_lua_engine(L, state, true);
  if (engine == NULL)
    return 3;
  sheaf_timer *timer = calloc(1, sizeof *timer);
  if (timer == NULL)
    return sheaf_lua_refuse(L, "not enough memory", "memory");
  timer->id = ++state->serial;
  timer->due = sheaf_engine_now(engine) + seconds;
  lua_pushnumber(L, (lua_Number)timer->id);
  sheaf_engine_post(engine, &timer->mail, SHEAF_TIMER);
  return 1;
}


/* fd() -> descriptor, readable while next() has something | nil, message, code */
static int fd(lua_State *L) {
  sheaf_engine *engine = sheaf_lua_engine(L, sheaf_lua_state(L), false);
  if (engine == NULL)
    return 3;
  lua_pushinteger(L, sheaf_engine_fd(engine));
  return 1;
}


/* wake() -> true: the descriptor is readable now | nil, message, code */
static int wake(lua_State *L) {
  sheaf_engine *engine = sheaf_lua_engine(L, sheaf_lua_state(L), false);
  if (engine == NULL)
    return 3;
  sheaf_engine_wake(engine);
  lua_pushboolean(L, 1);
  return 1;
}


/* poll(seconds): waits until the descriptor is readable, the time is over or a signal came. */
static int wait_readable(lua_State *L) {
  sheaf_state *state = sheaf_lua_state(L);
  double seconds = luaL_checknumber(L, 1);
  if (state->taken.first != NULL || state->abandoned_count > 0)
    return 0;
  sheaf_engine *engine = sheaf_lua_engine(L, state, false);
  if (engine == NULL)
    return 3;
  struct pollfd waited = {.fd = sheaf_engine_fd(engine), .events = POLLIN};
  (void)poll(&waited, 1, (int)ceil(seconds * 1e3));
  return 0;
}


/* descriptors() -> how many this process may have open (the soft limit) */
static int descriptors(lua_State *L) {
  struct rlimit limit;
  bool known = getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
  lua_pushnumber(L, known ? (lua_Number)limit.rlim_cur : (lua_Number)HUGE_VAL);
  return 1;
}


/* logs() -> whether SHEAF_LOG asks for lines, which need labels */
static int logs(lua_State *L) {
  lua_pushboolean(L, sheaf_log_level() > 0);
  return 1;
}


/* yieldable() -> whether its caller may yield */
static int yieldable(lua_State *L) {
  lua_pushboolean(L, sheaf_lua_yieldable(L));
  return 1;
}

/* }====================================================== */


static const luaL_Reg functions[] = {
  {"now", now},
  {"timer", timer_new},
  {"fd", fd},
  {"wake", wake},
  {"poll", wait_readable},
  {"descriptors", descriptors},
  {"logs", logs},
  {"yieldable", yieldable},
  {NULL, NULL}
};

void sheaf_lua_add(lua_State *L, const luaL_Reg *list, int state_index) {
  for (; list->name != NULL; list++) {
    lua_pushvalue(L, state_index);
    lua_pushcclosure(L, list->func, 1);
    lua_setfield(L, -2, list->name);
  }
}


void sheaf_lua_type(lua_State *L, const char *name, const luaL_Reg *methods, int state_index) {
  luaL_newmetatable(L, name);
  sheaf_lua_add(L, methods, state_index);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  lua_pushliteral(L, "sheaf");
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
}


/* Pushes the state, anchored in the registry: it has to go last, after all that is made with it. */
static void push_state(lua_State *L) {
  sheaf_state *state = lua_newuserdata(L, sizeof *state);
  memset(state, 0, sizeof *state);
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, state_gc);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  lua_pushlightuserdata(L, (void *)&state_key);
  lua_pushvalue(L, -2);
  lua_rawset(L, LUA_REGISTRYINDEX);
}


/* Raises, if the state has sheaf already: two copies of the module would wait for one another. */
static void check_once(lua_State *L) {
  lua_pushlightuserdata(L, (void *)&state_key);
  lua_rawget(L, LUA_REGISTRYINDEX);
  if (!lua_isnil(L, -1))
    luaL_error(L, "sheaf.core is loaded already in this Lua state");
  lua_pop(L, 1);
}


__attribute__((visibility("default"))) int luaopen_sheaf_core(lua_State *L);

int luaopen_sheaf_core(lua_State *L) {
  check_once(L);
  sheaf_process_enter();
  push_state(L);
  int state_index = lua_gettop(L);
  lua_newtable(L);
  sheaf_lua_open_messages(L, state_index);
  sheaf_lua_open_batch(L, state_index);
  sheaf_lua_open_request(L, state_index);
  sheaf_lua_open_histogram(L, state_index);
  sheaf_lua_open_json(L, state_index);
  sheaf_lua_add(L, functions, state_index);
  lua_pushliteral(L, SHEAF_VERSION);
  lua_setfield(L, -2, "version");
  return 1;
}
