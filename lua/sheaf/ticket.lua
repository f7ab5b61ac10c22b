-- Tickets: the handles that submit returns, and what happens when the core hands their responses over.

local core = require "sheaf.core"
local loop = require "sheaf.loop"
local request = require "sheaf.request"
local response = require "sheaf.response"
local stats = require "sheaf.stats"
local transport = require "sheaf.transport"

local ticket = {}

---@class sheaf.Ticket
---@field id any the request's
---@field response sheaf.Response? once it is done
---@field package batch sheaf.Batch
---@field package slot integer? while it is on its way
local Ticket = {}
Ticket.__index = Ticket
Ticket.__name = "sheaf.Ticket"

--- Which batch a slot belongs to. Weak: a batch that nobody can reach is collected, and cancels.
local batches = setmetatable({}, { __mode = "v" })

--- Tickets with a callback are waited for by it, so that they keep their batch.
local anchored = {}

function ticket.is(value)
  return getmetatable(value) == Ticket
end

--- Makes a ticket of what request.prepare made, now that the core has started it.
function ticket.started(new, slot)
  local batch = new.batch
  new.slot, new.id, new.began = slot, new.request.id, core.now()
  -- The core has copies; only a transport is shown the request again. What waits in the queue would be
  -- held twice.
  if not new.transport then new.request, new.url, new.body = nil, nil, nil end
  batch.pending[slot] = new
  batch.unfinished = batch.unfinished + 1
  batches[slot] = batch
  if new.on_done then anchored[new] = true end
  return setmetatable(new, Ticket)
end

--- Waits for the response.
---@return sheaf.Response
function Ticket:wait()
  if not self.response then
    loop.check_wait("ticket:wait()")
    local latch = loop.latch(1, self)
    self:listen(latch)
    loop.await(latch, "ticket:wait()")
  end
  return self.response
end

--- Cancels the request: its response is `cancelled` at once. An answer that comes later is dropped.
---@return boolean cancelled false if it was done already
function Ticket:cancel()
  if self.response then return false end
  core.cancel(self.slot)
  ticket.finish_early(self, "cancelled")
  self.batch:give_room()
  return true
end

--- Adds one who is told when the response is there.
---@package
function Ticket:listen(listener)
  if not self.listener then
    self.listener = listener
  else
    self.listeners = self.listeners or {}
    table.insert(self.listeners, listener)
  end
end

local function call_on_done(self)
  local ok, err = loop.hook(self.on_done, self.response)
  if not ok then loop.report(err) end
end

--- The response is there: everyone who waits for it may go on.
local function finish(self, result, later)
  local batch = self.batch
  batch.pending[self.slot] = nil
  batch.unfinished = batch.unfinished - 1
  self.slot, self.request, self.url, self.body = nil, nil, nil, nil
  self.response = result
  stats.finished(batch.counts, result)
  if self.listener then loop.notify(self.listener, self) end
  for _, listener in ipairs(self.listeners or {}) do loop.notify(listener, self) end
  if self.on_done then
    anchored[self] = nil
    if later then loop.defer(function() call_on_done(self) end) else call_on_done(self) end
  end
end

--- Ends a ticket on the Lua thread, without waiting for the engine. Its callback comes in the next step:
--- this may run inside a metamethod.
function ticket.finish_early(self, kind)
  finish(self, response.without_answer(kind, self.id, core.now() - self.began), true)
end

local function find(slot)
  local batch = batches[slot]
  return batch and batch.pending[slot]
end

function loop.handlers.done(slot, raw)
  local self = find(slot)
  if not self then return end
  finish(self, response.new(raw, self.id))
  self.batch:give_room()
end

--- Why a 2xx is not what was asked for, or nil. The second value: another try can't cure it.
local function objection(self, result)
  if self.expects_json then
    local value, message = result:json()
    if value == nil then return message end
  end
  if not self.validate then return nil end
  local ran, ok, why = loop.hook(self.validate, result)
  if not ran then return "validate raised: " .. tostring(ok), true end
  if not ok then return why and tostring(why) or "validate said no" end
end

function loop.handlers.judge(slot, raw)
  local self = find(slot)
  if not self then return core.accept(slot) end
  local result = response.new(raw, self.id)
  local why, permanent = objection(self, result)
  if self.response then return end  -- validate cancelled it
  if not why then
    core.accept(slot)
  else
    local attempts = result.attempts
    local wait, kind, where = core.reject(slot, permanent == true)
    if wait then
      return loop.handlers.retried(slot, attempts, result.status, "invalid", wait, why)
    end
    response.invalidate(result, why, kind, where)
  end
  finish(self, result)
  self.batch:give_room()
end

function loop.handlers.retried(slot, attempt, status, kind, wait, message)
  local self = find(slot)
  if not (self and self.on_retry) then return end
  local ok, err = loop.hook(self.on_retry, {
    id = self.id, attempt = attempt, status = status ~= 0 and status or nil, kind = kind,
    wait = wait, message = message,
  })
  if not ok then loop.report(err) end
end

function loop.handlers.ask(slot, attempt)
  local self = find(slot)
  if not self then return end
  local answer = transport.ask(self.transport, request.shown(self), attempt)
  if self.response then return end  -- the transport cancelled it
  core.answer(slot, answer.status, answer.head, answer.body, answer.delay, answer.kind,
    answer.message)
end

return ticket
