#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lua_private.h"

/* Requests on their way, under slot numbers: start, cancel, judge, answer. What comes back is handed out
   by core.next: see lua_core.c. */

/* Slots made at once. */
#define FIRST_SLOTS 64

/* Requests kept to be used again. */
#define SPARES_MOST 256


/* A free slot's number, or 0 on no memory. */
static unsigned take_slot(sheaf_state *state) {
  if (state->first_free == 0) {
    unsigned size = state->slots_size > 0 ? state->slots_size * 2 : FIRST_SLOTS;
    sheaf_slot *longer = realloc(state->slots, size * sizeof *longer);
    if (longer == NULL)
      return 0;
    unsigned from = state->slots_size > 0 ? state->slots_size : 1;
    longer[0] = (sheaf_slot){0};
    for (unsigned i = from; i < size; i++)
      longer[i] = (sheaf_slot){.next_free = i + 1 < size ? i + 1 : 0};
    state->slots = longer;
    state->slots_size = size;
    state->first_free = from;
  }
  unsigned slot = state->first_free;
  state->first_free = state->slots[slot].next_free;
  return slot;
}


static sheaf_request *take_request(sheaf_state *state) {
  sheaf_request *request = state->spares;
  if (request == NULL)
    return calloc(1, sizeof *request);
  state->spares = request->next_spare;
  state->spare_count--;
  return request;
}


static void put_request(sheaf_state *state, sheaf_request *request) {
  if (state->spare_count >= SPARES_MOST || state->closed) {
    sheaf_request_free(request);
    return;
  }
  sheaf_request_clear(request);
  request->next_spare = state->spares;
  state->spares = request;
  state->spare_count++;
}


void sheaf_lua_free_slot(sheaf_state *state, unsigned slot) {
  sheaf_slot *place = &state->slots[slot];
  if (!place->cancelled)
    state->unfinished--;
  put_request(state, place->request);
  *place = (sheaf_slot){.next_free = state->first_free};
  state->first_free = slot;
}


void sheaf_lua_cancel_slot(sheaf_state *state, unsigned slot) {
  sheaf_slot *place = &state->slots[slot];
  if (place->cancelled || state->engine == NULL || sheaf_engine_alien(state->engine))
    return;
  place->cancelled = true;
  state->unfinished--;
  sheaf_engine_post(state->engine, &place->request->cancel, SHEAF_CANCEL);
}


/* The slot number that is the first argument; it must be in use and not cancelled. */
static unsigned check_slot(lua_State *L, const sheaf_state *state) {
  lua_Integer slot = luaL_checkinteger(L, 1);
  luaL_argcheck(L, slot > 0 && (unsigned)slot < state->slots_size &&
                state->slots[slot].request != NULL && !state->slots[slot].cancelled, 1,
                "no such request");
  return (unsigned)slot;
}


/* The parsed address, from the batch's memory where it is the same as last time. Returns NULL with *why
   set. */
static sheaf_url *url_for(sheaf_batch_box *box, const char *text, const char **why) {
  if (box->url != NULL && strcmp(box->url->text, text) == 0)
    return box->url;
  sheaf_url *url = sheaf_url_new(text, why);
  if (url == NULL)
    return NULL;
  if (box->url != NULL)
    sheaf_url_drop(box->url);
  box->url = url;
  return url;
}


/* Arguments of start. */
enum {
  ARG_BATCH = 1, ARG_SETTINGS, ARG_METHOD, ARG_URL, ARG_BODY, ARG_LINES, ARG_PRIORITY, ARG_ITEM,
  ARG_JUDGED, ARG_TRANSPORT, ARG_TOLD, ARG_LABEL
};

static bool set_label(sheaf_request *request, const char *label) {
  if (label != NULL)
    request->label = strdup(label);
  return label == NULL || request->label != NULL;
}


/* start(batch, settings, method, url, body | nil, header lines | nil, priority, item | nil, judged,
   transport, told, label | nil) -> slot | nil, message, code ("url": the address is at fault) */
static int start_request(lua_State *L) {
  sheaf_state *state = sheaf_lua_state(L);
  sheaf_batch_box *box = luaL_checkudata(L, ARG_BATCH, SHEAF_BATCH_TYPE);
  const sheaf_settings *settings = luaL_checkudata(L, ARG_SETTINGS, SHEAF_SETTINGS_TYPE);
  const char *method = luaL_checkstring(L, ARG_METHOD);
  const char *address = luaL_checkstring(L, ARG_URL);
  size_t length = 0;
  const char *body = luaL_optlstring(L, ARG_BODY, NULL, &length);
  int priority = (int)luaL_optinteger(L, ARG_PRIORITY, 0);
  double item = luaL_optnumber(L, ARG_ITEM, 0);
  const char *label = luaL_optstring(L, ARG_LABEL, NULL);
  const char *why;
  luaL_argcheck(L, box->batch != NULL, ARG_BATCH, "closed");
  sheaf_engine *engine = sheaf_lua_engine(L, state, true);
  if (engine == NULL)
    return 3;
  sheaf_url *url = url_for(box, address, &why);
  if (url == NULL)
    return sheaf_lua_refuse(L, why, "url");
  unsigned slot = take_slot(state);
  if (slot == 0)
    return sheaf_lua_refuse(L, "not enough memory", "memory");
  sheaf_request *request = take_request(state);
  if (request != NULL && !sheaf_request_fill(request, box->batch, url, method, body, length)) {
    sheaf_request_free(request);
    request = NULL;
  }
  state->slots[slot] = (sheaf_slot){.request = request};
  state->unfinished++;
  if (request == NULL || !set_label(request, label) ||
      (lua_istable(L, ARG_LINES) && !sheaf_lua_lines(L, ARG_LINES, &request->headers))) {
    if (request != NULL)
      sheaf_lua_free_slot(state, slot);
    else {
      state->unfinished--;
      state->slots[slot].next_free = state->first_free;
      state->first_free = slot;
    }
    return sheaf_lua_refuse(L, "not enough memory", "memory");
  }
  request->slot = slot;
  request->priority = priority;
  request->serial = ++state->serial;
  request->item = item > 0 ? (uint64_t)item : request->serial;
  request->retry = settings->retry;
  request->timeout = settings->timeout;
  request->max_body = settings->max_body;
  request->redirects = settings->redirects;
  request->judged = lua_toboolean(L, ARG_JUDGED) != 0;
  request->transport = lua_toboolean(L, ARG_TRANSPORT) != 0;
  request->told = lua_toboolean(L, ARG_TOLD) != 0;
  request->tries.submitted = sheaf_engine_now(engine);
  request->tries.deadline = request->tries.submitted + settings->timeout.total;
  sheaf_engine_submit(engine, request);
  lua_pushinteger(L, (lua_Integer)slot);
  return 1;
}


/* cancel(slot). The slot is Lua's no more; its number comes back for another request later. */
static int cancel_request(lua_State *L) {
  sheaf_state *state = sheaf_lua_state(L);
  sheaf_lua_cancel_slot(state, check_slot(L, state));
  return 0;
}


/* accept(slot): the response that came as "judge" is good. */
static int accept_answer(lua_State *L) {
  sheaf_state *state = sheaf_lua_state(L);
  sheaf_lua_free_slot(state, check_slot(L, state));
  return 0;
}


/* reject(slot, permanent) -> seconds until it is tried again | nil, kind, where: that was its last attempt */
static int reject_answer(lua_State *L) {
  sheaf_state *state = sheaf_lua_state(L);
  unsigned slot = check_slot(L, state);
  sheaf_request *request = state->slots[slot].request;
  const sheaf_outcome outcome = {.kind = SHEAF_KIND_INVALID,
                                 .permanent = lua_toboolean(L, 2) != 0,
                                 .retry_after = -1,
                                 .should_retry = -1};
  double now = sheaf_engine_now(state->engine);
  sheaf_verdict verdict = sheaf_retry_verdict(&request->retry, &request->tries, &outcome, now);
  if (verdict.action != SHEAF_ACTION_RETRY) {
    lua_pushnil(L);
    lua_pushstring(L, sheaf_kind_name(verdict.kind));
    sheaf_lua_push_where(L, request);
    sheaf_lua_free_slot(state, slot);
    return 3;
  }
  request->due = verdict.at;
  sheaf_engine_post(state->engine, &request->mail, SHEAF_AGAIN);
  lua_pushnumber(L, verdict.at - now);
  return 1;
}


static bool copy_text(lua_State *L, int index, sheaf_buffer *buffer) {
  size_t length = 0;
  const char *text = luaL_optlstring(L, index, "", &length);
  return sheaf_buffer_append(buffer, text, length);
}


/* answer(slot, status | nil, head, body, delay, kind | nil, message | nil): what the transport says. */
static int give_answer(lua_State *L) {
  sheaf_state *state = sheaf_lua_state(L);
  sheaf_request *request = state->slots[check_slot(L, state)].request;
  int status = (int)luaL_optinteger(L, 2, 0);
  double delay = luaL_optnumber(L, 5, 0);
  const char *kind = luaL_optstring(L, 6, NULL);
  const char *message = luaL_optstring(L, 7, NULL);
  sheaf_answer *given = &request->answer;
  if (copy_text(L, 3, &given->head) && copy_text(L, 4, &given->body)) {
    given->status = status;
    given->kind = kind != NULL ? sheaf_kind_from_name(kind) : SHEAF_KIND_NONE;
    given->message = message != NULL ? strdup(message) : NULL;
  } else {
    sheaf_answer_clear(given);
    given->kind = SHEAF_KIND_INTERNAL;
  }
  request->due = sheaf_engine_now(state->engine) + delay;
  sheaf_engine_post(state->engine, &request->mail, SHEAF_ANSWER);
  return 0;
}


static const luaL_Reg functions[] = {
  {"start", start_request},
  {"cancel", cancel_request},
  {"accept", accept_answer},
  {"reject", reject_answer},
  {"answer", give_answer},
  {NULL, NULL}
};


void sheaf_lua_open_request(lua_State *L, int state_index) {
  sheaf_lua_add(L, functions, state_index);
}
