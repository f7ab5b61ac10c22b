/* Whether the running function may yield. PUC Lua has a function for it from 5.3 on, LuaJIT has it, too;
   5.1 and 5.2 know the answer, but tell it only by raising an error. There the thread's own struct is read,
   which has not changed since 2006 and 2011 and will not; the Lua side checks at load that what is
   read is true, and never yields if it isn't. */
#include "lua_private.h"

#if LUA_VERSION_NUM >= 503

bool sheaf_lua_yieldable(lua_State *L) {
  return lua_isyieldable(L) != 0;
}

#else

/* The beginning of every collectable object of both versions. */
typedef struct object_head {
  void *next;
  unsigned char type, marked, status;
} object_head;

#if LUA_VERSION_NUM == 502

typedef struct thread_head {
  object_head head;
  void *top, *global, *call, *old_pc, *stack_last, *stack;
  int stack_size;
  unsigned short not_yieldable; /* calls on the stack that can't be yielded across */
} thread_head;

bool sheaf_lua_yieldable(lua_State *L) {
  return ((const thread_head *)(const void *)L)->not_yieldable == 0;
}

#else

typedef struct thread_head {
  object_head head;
  void *top, *base, *global, *call, *saved_pc, *stack_last, *stack, *end_call, *base_call;
  int stack_size, calls_size;
  unsigned short c_calls, base_c_calls;  /* nested C calls: now, and when it was resumed */
} thread_head;

/* In LuaJIT, which loads the same file, but not in PUC 5.1. */
extern int lua_isyieldable(lua_State *L) __attribute__((weak));

bool sheaf_lua_yieldable(lua_State *L) {
  if (lua_isyieldable != NULL)
    return lua_isyieldable(L) != 0;
  const thread_head *thread = (const void *)L;
  return thread->c_calls <= thread->base_c_calls;
}

#endif
#endif
