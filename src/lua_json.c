#include <math.h>

#include "lua_private.h"

/* Walks over JSON values, for lua/sheaf/json.lua: every answer goes through them. */

/* Deeper than lua-cjson goes (1,000 by default); there is an end to it for tables that contain
   themselves. */
#define DEPTH_MOST 1100

/* Integers from here on an old lua-cjson writes as 1e+14. */
#define SAFE_INTEGER 1e14

/* What a float holds exactly. */
#define EXACT 9007199254740992.0


/* The float on top becomes the integer it is, where the version has integers and it is one. */
static bool to_integer(lua_State *L) {
#if LUA_VERSION_NUM >= 503
  lua_Number number = lua_tonumber(L, -1);
  if (lua_isinteger(L, -1) || !(fabs(number) < EXACT) || floor(number) != number)
    return false;
  lua_pop(L, 1);
  lua_pushinteger(L, (lua_Integer)number);
  return true;
#else
  (void)L;
  return false;
#endif
}


/* Tidies the table on top; the value of null is at index 2. Setting fields that exist, also to nil, is
   allowed while a table is traversed. */
static void tidy_table(lua_State *L, int depth) {
  int table = lua_gettop(L);
  luaL_checkstack(L, 6, "JSON nested too deeply");
  lua_pushnil(L);
  while (lua_next(L, table) != 0) {
    int kind = lua_type(L, -1);
    bool null = lua_rawequal(L, -1, 2) != 0;  /* a codec's null may be a table */
    if (kind == LUA_TTABLE && !null && depth < DEPTH_MOST)
      tidy_table(L, depth + 1);
    else if (kind == LUA_TNUMBER && to_integer(L)) {
      lua_pushvalue(L, -2);
      lua_insert(L, -2);
      lua_rawset(L, table);
      continue;
    } else if (null && lua_type(L, -2) == LUA_TSTRING) {
      lua_pushvalue(L, -2);
      lua_pushnil(L);
      lua_rawset(L, table);
    }
    lua_pop(L, 1);
  }
}


/* tidy(value, null) -> value: nulls dropped from objects, integers made of floats that are, in place. */
static int tidy(lua_State *L) {
  lua_settop(L, 2);
  lua_pushvalue(L, 1);
  if (lua_istable(L, -1))
    tidy_table(L, 0);
  else if (lua_type(L, -1) == LUA_TNUMBER)
    (void)to_integer(L);
  lua_settop(L, 3);
  return 1;
}


/* Whether the value on top is one that an old lua-cjson writes right. */
static bool is_plain(lua_State *L, int depth) {
  int kind = lua_type(L, -1);
  if (kind == LUA_TNUMBER) {
    lua_Number number = lua_tonumber(L, -1);
    return !(fabs(number) >= SAFE_INTEGER) || floor(number) != number;
  }
  if (kind != LUA_TTABLE)
    return true;
  if (depth >= DEPTH_MOST)
    return false;
  luaL_checkstack(L, 6, "JSON nested too deeply");
  bool plain = true, empty = true;
  lua_pushnil(L);
  while (plain && lua_next(L, -2) != 0) {
    empty = false;
    plain = is_plain(L, depth + 1);
    lua_pop(L, 1);
  }
  if (!plain)
    lua_pop(L, 1);              /* the key: the loop was left early */
  else if (empty && lua_getmetatable(L, -1)) {
    plain = lua_rawequal(L, -1, 2) == 0;
    lua_pop(L, 1);
  }
  return plain;
}


/* plain(value, mark) -> whether it has neither long integers nor empty tables with the metatable mark */
static int plain(lua_State *L) {
  lua_settop(L, 2);
  lua_pushvalue(L, 1);
  lua_pushboolean(L, is_plain(L, 0));
  return 1;
}


static const luaL_Reg functions[] = {
  {"tidy", tidy},
  {"plain", plain},
  {NULL, NULL}
};


void sheaf_lua_open_json(lua_State *L, int state_index) {
  sheaf_lua_add(L, functions, state_index);
}
