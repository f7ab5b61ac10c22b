#include "histogram.h"
#include "lua_private.h"


/* histogram() -> histogram */
static int histogram_new(lua_State *L) {
  sheaf_histogram *histogram = lua_newuserdata(L, sizeof *histogram);
  sheaf_histogram_init(histogram);
  luaL_getmetatable(L, SHEAF_HISTOGRAM_TYPE);
  lua_setmetatable(L, -2);
  return 1;
}


/* histogram:add(seconds) */
static int histogram_add(lua_State *L) {
  sheaf_histogram_add(luaL_checkudata(L, 1, SHEAF_HISTOGRAM_TYPE), luaL_checknumber(L, 2));
  return 0;
}


/* histogram:percentile(p from 0 to 1) -> seconds */
static int histogram_percentile(lua_State *L) {
  const sheaf_histogram *histogram = luaL_checkudata(L, 1, SHEAF_HISTOGRAM_TYPE);
  lua_pushnumber(L, sheaf_histogram_percentile(histogram, luaL_checknumber(L, 2)));
  return 1;
}


static const luaL_Reg functions[] = {
  {"histogram", histogram_new},
  {NULL, NULL}
};

static const luaL_Reg methods[] = {
  {"add", histogram_add},
  {"percentile", histogram_percentile},
  {NULL, NULL}
};


void sheaf_lua_open_histogram(lua_State *L, int state_index) {
  sheaf_lua_type(L, SHEAF_HISTOGRAM_TYPE, methods, state_index);
  sheaf_lua_add(L, functions, state_index);
}
