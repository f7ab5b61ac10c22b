/* What the files of the binding share. All of it belongs to the Lua thread. */
#ifndef SHEAF_LUA_PRIVATE_H
#define SHEAF_LUA_PRIVATE_H

#include <lauxlib.h>
#include <lua.h>

#include "engine.h"

#pragma GCC visibility push(hidden)

/* Names of metatables in the registry. */
#define SHEAF_LIMITER_TYPE "sheaf.limiter"
#define SHEAF_BATCH_TYPE "sheaf.batch"
#define SHEAF_SETTINGS_TYPE "sheaf.settings"
#define SHEAF_HISTOGRAM_TYPE "sheaf.histogram"
#define SHEAF_GUARD_TYPE "sheaf.guard"

/* A request on its way, under the number by which Lua knows it. */
typedef struct sheaf_slot {
  sheaf_request *request;       /* NULL: free */
  bool cancelled;               /* Lua has its response; only SHEAF_CANCELLED is waited for */
  bool orphaned;                /* cancelled because its batch was collected */
  unsigned next_free;
} sheaf_slot;

/* One per Lua state; a userdata in its registry and the upvalue of every core function. */
typedef struct sheaf_state {
  sheaf_engine *engine;         /* made at first use */
  bool closed;                  /* its finalizer has run */
  sheaf_chain taken;            /* messages from the engine, not yet given to Lua */
  sheaf_slot *slots;            /* from 1; slots[0] is unused */
  unsigned slots_size, first_free;
  unsigned unfinished;          /* slots in use and not cancelled */
  sheaf_request *spares;        /* to be used again */
  int spare_count;
  unsigned long long serial;    /* of the last request or timer */
  unsigned *abandoned;          /* ids of guards that were collected */
  size_t abandoned_count, guards;  /* guards: alive, plus abandoned; never above the array's size */
} sheaf_state;

/* What requests are sent with; immutable, shared by many. */
typedef struct sheaf_settings {
  sheaf_retry_policy retry;
  sheaf_timeouts timeout;
  size_t max_body;
  int redirects;
} sheaf_settings;

/* The Lua object of a batch. */
typedef struct sheaf_batch_box {
  sheaf_batch *batch;           /* NULL: closed */
  sheaf_url *url;               /* the last one, since most requests of a batch go to the same */
  sheaf_state *state;
} sheaf_batch_box;

/* The state of this Lua state, from the running function's first upvalue. */
sheaf_state *sheaf_lua_state(lua_State *L);

/* The engine, made or (run) started if need be. Where that fails, or in a forked child: pushes nil, a
   message and a code, and returns NULL; the caller returns 3. */
sheaf_engine *sheaf_lua_engine(lua_State *L, sheaf_state *state, bool run);

/* Pushes nil, message, code. Returns 3. */
int sheaf_lua_refuse(lua_State *L, const char *message, const char *code);

/* Posts the cancellation of a slot that isn't cancelled yet. */
void sheaf_lua_cancel_slot(sheaf_state *state, unsigned slot);

/* Frees a slot and its request. */
void sheaf_lua_free_slot(sheaf_state *state, unsigned slot);

/* Reads the array of strings at `index`, header lines. On no memory frees all and returns false. */
bool sheaf_lua_lines(lua_State *L, int index, struct curl_slist **lines);

/* Pushes what a request was, for messages: "POST api.example.com/v1/embeddings". */
void sheaf_lua_push_where(lua_State *L, const sheaf_request *request);

/* Pushes the table that becomes a response. */
void sheaf_lua_push_answer(lua_State *L, const sheaf_request *request);

/* True if the running function may yield. See lua_yieldable.c. */
bool sheaf_lua_yieldable(lua_State *L);

/* Each registers its metatables, and adds its functions to the table on top, with the state at
   `state_index` as their upvalue. */
void sheaf_lua_open_messages(lua_State *L, int state_index);
void sheaf_lua_open_batch(lua_State *L, int state_index);
void sheaf_lua_open_request(lua_State *L, int state_index);
void sheaf_lua_open_histogram(lua_State *L, int state_index);
void sheaf_lua_open_json(lua_State *L, int state_index);

/* luaL_setfuncs with one upvalue, in all versions: adds functions to the table on top. */
void sheaf_lua_add(lua_State *L, const luaL_Reg *functions, int state_index);

/* Makes a metatable with the given methods and finalizer; leaves nothing on the stack. */
void sheaf_lua_type(lua_State *L, const char *name, const luaL_Reg *methods, int state_index);

#if LUA_VERSION_NUM < 502
#define lua_rawlen lua_objlen
#endif

#pragma GCC visibility pop

#endif
