#include <stdlib.h>

#include "lua_private.h"

/* What the engine hands back, one message at a time, and guards that were collected. */


/* {======================================================
** What came back
** ======================================================= */

/* Each hands out the first message and takes it off the chain only when nothing can raise any more: an
   error for want of memory loses nothing. Returns how many values it pushed; 0: nothing for Lua. */

static int take_done(lua_State *L, sheaf_state *state) {
  sheaf_request *request = SHEAF_MESSAGE_OWNER(state->taken.first, sheaf_request, mail);
  unsigned slot = request->slot;
  if (state->slots[slot].cancelled) {
    sheaf_engine_consumed(state->engine, request);
    sheaf_chain_take(&state->taken);
    return 0;
  }
  bool judge = request->judged && request->answer.kind == SHEAF_KIND_NONE;
  lua_pushstring(L, judge ? "judge" : "done");
  lua_pushinteger(L, (lua_Integer)slot);
  sheaf_lua_push_answer(L, request);
  sheaf_engine_consumed(state->engine, request);
  sheaf_chain_take(&state->taken);
  if (!judge)
    sheaf_lua_free_slot(state, slot);
  return 3;
}


static int take_ask(lua_State *L, sheaf_state *state) {
  const sheaf_request *request = SHEAF_MESSAGE_OWNER(state->taken.first, sheaf_request, mail);
  unsigned slot = request->slot;
  sheaf_chain_take(&state->taken);
  if (state->slots[slot].cancelled)
    return 0;
  lua_pushstring(L, "ask");
  lua_pushinteger(L, (lua_Integer)slot);
  lua_pushinteger(L, request->attempts);
  return 3;
}


static int take_retried(lua_State *L, sheaf_state *state) {
  sheaf_notice notice = *SHEAF_MESSAGE_OWNER(state->taken.first, sheaf_notice, mail);
  free(SHEAF_MESSAGE_OWNER(sheaf_chain_take(&state->taken), sheaf_notice, mail));
  if (state->slots[notice.slot].cancelled)
    return 0;
  lua_pushstring(L, "retried");
  lua_pushinteger(L, (lua_Integer)notice.slot);
  lua_pushinteger(L, notice.attempt);
  lua_pushinteger(L, notice.status);
  lua_pushstring(L, sheaf_kind_name(notice.kind));
  lua_pushnumber(L, notice.wait);
  return 6;
}


static int take_fired(lua_State *L, sheaf_state *state) {
  sheaf_timer *timer = SHEAF_MESSAGE_OWNER(sheaf_chain_take(&state->taken), sheaf_timer, mail);
  lua_Number id = (lua_Number)timer->id;
  free(timer);
  lua_pushstring(L, "fired");
  lua_pushnumber(L, id);
  return 2;
}


static int take(lua_State *L, sheaf_state *state) {
  switch (state->taken.first->type) {
    case SHEAF_DONE:
      return take_done(L, state);
    case SHEAF_ASK:
      return take_ask(L, state);
    case SHEAF_RETRIED:
      return take_retried(L, state);
    case SHEAF_FIRED:
      return take_fired(L, state);
    default: {                  /* SHEAF_CANCELLED */
      const sheaf_request *request = SHEAF_MESSAGE_OWNER(sheaf_chain_take(&state->taken), sheaf_request, cancel);
      sheaf_lua_free_slot(state, request->slot);
      return 0;
    }
  }
}


/* next() -> nil: nothing more for now
          | "done", slot, answer: the slot is free again
          | "judge", slot, answer: accept or reject it
          | "ask", slot, attempt: answer it
          | "retried", slot, attempt, status, kind, wait
          | "fired", timer
          | "abandoned", guard */
static int next(lua_State *L) {
  sheaf_state *state = sheaf_lua_state(L);
  lua_settop(L, 0);
  if (state->abandoned_count > 0) {
    lua_pushstring(L, "abandoned");
    lua_pushinteger(L, (lua_Integer)state->abandoned[--state->abandoned_count]);
    state->guards--;
    return 2;
  }
  if (state->engine == NULL || sheaf_engine_alien(state->engine))
    return 0;
  if (state->taken.first == NULL)
    sheaf_engine_take(state->engine, &state->taken);
  while (state->taken.first != NULL) {
    int count = take(L, state);
    if (count > 0)
      return count;
  }
  return 0;
}

/* }====================================================== */


/* {======================================================
** Guards: userdata that tell when they are collected
** ======================================================= */

/* guard(id) -> guard. Once it is collected, next() says "abandoned". */
static int guard_new(lua_State *L) {
  sheaf_state *state = sheaf_lua_state(L);
  unsigned id = (unsigned)luaL_checkinteger(L, 1);
  unsigned *longer = realloc(state->abandoned, (state->guards + 1) * sizeof *longer);
  if (longer == NULL)
    return luaL_error(L, "not enough memory");
  state->abandoned = longer;
  unsigned *guard = lua_newuserdata(L, sizeof *guard);
  state->guards++;
  *guard = id;
  luaL_getmetatable(L, SHEAF_GUARD_TYPE);
  lua_setmetatable(L, -2);
  return 1;
}


static int guard_gc(lua_State *L) {
  sheaf_state *state = sheaf_lua_state(L);
  const unsigned *guard = luaL_checkudata(L, 1, SHEAF_GUARD_TYPE);
  if (state->closed)
    return 0;
  state->abandoned[state->abandoned_count++] = *guard;
  if (state->engine != NULL && !sheaf_engine_alien(state->engine))
    sheaf_engine_wake(state->engine);
  return 0;
}

/* }====================================================== */


static const luaL_Reg functions[] = {
  {"next", next},
  {"guard", guard_new},
  {NULL, NULL}
};

static const luaL_Reg guard_methods[] = {
  {"__gc", guard_gc},
  {NULL, NULL}
};


void sheaf_lua_open_messages(lua_State *L, int state_index) {
  sheaf_lua_type(L, SHEAF_GUARD_TYPE, guard_methods, state_index);
  sheaf_lua_add(L, functions, state_index);
}
