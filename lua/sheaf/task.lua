-- Tasks as users see them: run, spawn, sleep, wrap, pcall.

local core = require "sheaf.core"
local check = require "sheaf.check"
local loop = require "sheaf.loop"
local unclaimed = require "sheaf.unclaimed"

local task = {}

local unpack = loop.unpack

---@class sheaf.Task
---@field private task table
local Task = {}
Task.__index = Task
Task.__name = "sheaf.Task"

local function callable(who, fn)
  local meta = type(fn) == "table" and getmetatable(fn)
  if type(fn) ~= "function" and not (meta and meta.__call) then
    error(("%s: a function is wanted, got %s"):format(who, check.show(fn)), 3)
  end
end

--- A coroutine of anything that can be called: Lua 5.1 makes none of C functions, and no version of tables.
---@param fn any
---@return thread
local function coroutine_of(fn)
  local ok, co = pcall(coroutine.create, fn)
  if ok then return co end
  return coroutine.create(function(...) return fn(...) end)
end

--- Starts a task: a coroutine that sheaf runs, beside the others, in the next step.
---
---     local a = sheaf.spawn(function() return batch:fetch(request):text() end)
---     local ok, text = a:wait()
---
---@param fn function
---@param ... any its arguments
---@return sheaf.Task
function task.spawn(fn, ...)
  callable("sheaf.spawn", fn)
  local new = loop.spawn{ fn = fn, args = loop.pack(...) }
  local handle = setmetatable({ task = new }, Task)
  unclaimed.set_handle(new, handle)
  return handle
end

--- One who waited for a task was cancelled. Was it the only one, the task's error is nobody's.
local function give_up(inner, latch)
  for i, other in ipairs(inner.latches) do
    if other == latch then table.remove(inner.latches, i) break end
  end
  if inner.done and not inner.ok and not inner.latches[1] then unclaimed.add(inner) end
end

--- Waits for the task's end.
---@return boolean ok
---@return any ... what its function returned, or its error: a text with a traceback, a table as it is
function Task:wait()
  local inner = self.task
  if inner == loop.current() then error("sheaf: a task can't wait for itself", 2) end
  if not inner.done then
    loop.check_wait("task:wait()")
    local latch = loop.latch(1)
    inner.latches = inner.latches or {}
    table.insert(inner.latches, latch)
    function latch.on_cancel() give_up(inner, latch) end
    loop.await(latch, "task:wait()")
  end
  unclaimed.claim(inner)
  if inner.ok then return true, unpack(inner.results, 1, inner.results.n) end
  return false, inner.err
end

--- Cancels the task: the wait it is in raises, and so does any later one; the request it waits for is
--- cancelled.
---@return boolean cancelled false if it was done already
function Task:cancel()
  return loop.cancel(self.task)
end

--- Waits so many seconds; the others run on.
---@param seconds number
function task.sleep(seconds)
  if type(seconds) ~= "number" or seconds ~= seconds or seconds < 0 then
    error(("sheaf.sleep: a number of seconds, 0 or more, is wanted, got %s"):format(
      check.show(seconds)), 2)
  end
  loop.check_wait("sheaf.sleep")
  local latch = loop.latch(1)
  local timers = task.timers
  local id, message = core.timer(seconds)
  if not id then error(message, 2) end
  timers[id] = latch
  loop.armed = loop.armed + 1
  function latch.on_cancel()
    if timers[id] then loop.armed = loop.armed - 1 end
    timers[id] = nil
  end
  loop.await(latch, "sheaf.sleep")
end

task.timers = {}                -- armed ones: id -> latch

loop.handlers.fired = function(id)
  local latch = task.timers[id]
  if latch then
    task.timers[id] = nil
    loop.armed = loop.armed - 1
    loop.notify(latch)
  end
end

--- Runs fn as a task, and everything it spawns, until all of it has ended.
---
---     sheaf.run(function() print(batch:fetch(request):text()) end)
---
---@param fn function
---@param ... any its arguments
---@return any ... what fn returned; raises fn's error
function task.run(fn, ...)
  callable("sheaf.run", fn)
  loop.check_wait("sheaf.run", true)
  local latch = loop.latch(1)
  local before = loop.running
  loop.running = true
  local main = loop.spawn{
    fn = fn, args = loop.pack(...), group = { live = 0, latch = latch }, awaited = true,
  }
  local ok, err = pcall(loop.await, latch, "sheaf.run")
  loop.running = before
  loop.report_unclaimed(true, main)
  if not ok then error(err, 0) end
  if not main.ok then error(main.err, 0) end
  return unpack(main.results, 1, main.results.n)
end

--- A generator whose body may wait, as coroutine.wrap can't on every Lua: waits pass through, yields are
--- the values.
---
---     local pages = sheaf.wrap(function()
---       for page = 1, 10 do coroutine.yield(batch:fetch{ path = "/items", query = { page = page } }) end
---     end)
---
---@param fn function
---@return function generator
function task.wrap(fn)
  callable("sheaf.wrap", fn)
  local co = coroutine_of(fn)
  return function(...)
    local results = loop.resume_within(co, ...)
    if not results[1] then error(results[2], 0) end
    return unpack(results, 2, results.n)
  end
end

--- pcall in which waits work on PUC Lua 5.1, too; elsewhere it is pcall itself.
---@param fn function
---@param ... any
---@return boolean ok
---@return any ...
function task.pcall(fn, ...)
  local co = coroutine_of(fn)
  local results = loop.resume_within(co, ...)
  while results[1] and coroutine.status(co) ~= "dead" do
    results = loop.resume_within(co, coroutine.yield(unpack(results, 2, results.n)))
  end
  return unpack(results, 1, results.n)
end

if _VERSION ~= "Lua 5.1" or rawget(_G, "jit") then task.pcall = pcall end

return task
