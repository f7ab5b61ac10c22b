-- The Lua thread's side of the engine: hands what came back to those who wait for it, resumes tasks, and
-- drives in place where a wait can't yield. DESIGN.md §5.

local core = require "sheaf.core"
local unclaimed = require "sheaf.unclaimed"
local yieldable = require "sheaf.yieldable"

local loop = {}

local resume, running = coroutine.resume, coroutine.running
local yield, create = coroutine.yield, coroutine.create
local unpack = table.unpack or unpack
local now = core.now

local function pack(...)
  return { n = select("#", ...), ... }
end

--- How long step() works before it gives the host its thread back.
local SLICE = 0.002

--- How long a wait in poll may last: a Lua hook, as Ctrl-C sets one, is seen at least this often.
local PATIENCE = 0.5

--- What a waiting coroutine of ours yields; whoever resumes it passes this on outwards.
local WAIT = {}

--- What a wait raises in a task that was cancelled.
loop.CANCELLED = setmetatable({ kind = "cancelled", message = "the task was cancelled" }, {
  __tostring = function(self) return "cancelled: " .. self.message end,
})

--- What the host's loop is like; see lua/sheaf/host.
loop.host = require "sheaf.host.block"

--- Functions by the first value of core.next(); modules add theirs.
---@type table<string, function>
loop.handlers = {}

--- A foreign loop waits on the descriptor: it has to be woken for what becomes ready outside a step.
loop.watched = false

--- Armed timers. While there are any, or unfinished requests, something can still happen.
loop.armed = 0

--- Batches, for their `unfinished`. Weak: the requests of a batch that was collected are cancelled, and
--- nothing comes of them.
loop.batches = setmetatable({}, { __mode = "k" })

local current                   -- the task that runs now; nil: the main chunk, or a host's callback
-- Coroutine of ours -> the task it belongs to. Values are weak, too, since a task refers to its coroutine,
-- which Lua 5.1 would then never collect; live tasks are anchored.
local owners = setmetatable({}, { __mode = "kv" })
local ready = { first = 1, last = 0 }  -- tasks to resume, in order; holes where one was taken out
local depth = 0                 -- step() and drives in progress
local in_hook = false           -- validate, on_retry, on_done or progress is running
local anchored = {}             -- every task from spawn to its end, so that it isn't collected
local busy = setmetatable({}, { __mode = "k" })  -- coroutines that resume_within is resuming

---@type fun(err: any, traceback: string)
function loop.on_error(_, traceback)
  io.stderr:write("sheaf: an error that nobody waits for: ", traceback, "\n")
end

-- Ready list ----------------------------------------------------------------------------------------

local function make_ready(task)
  ready.last = ready.last + 1
  ready[ready.last] = task
  if loop.watched and depth == 0 then core.wake() end
end

local function descends(task, root)
  while task do
    if task == root then return true end
    task = task.parent
  end
  return false
end

local function close_holes()
  while ready.first <= ready.last and not ready[ready.first] do
    ready[ready.first] = nil
    ready.first = ready.first + 1
  end
end

--- The next ready task that descends from root (nil: any), taken out.
local function take_ready(root)
  for i = ready.first, ready.last do
    local task = ready[i]
    if task and (root == nil or descends(task, root)) then
      ready[i] = false
      close_holes()
      return task
    end
  end
end

-- Tasks ---------------------------------------------------------------------------------------------

--- An error as a task's waiter gets it: text with the traceback of where it was thrown, all else as
--- it is.
local function with_traceback(co, err)
  if type(err) == "string" then return debug.traceback(co, err) end
  return err
end

local function finish(task, ok, ...)
  task.done, task.ok = true, ok
  anchored[task] = nil
  local group = task.group
  if group then
    group.live = group.live - 1
    if group.live == 0 then loop.notify(group.latch) end
  end
  local on_end = task.on_end
  if on_end then
    if ok then return on_end(task, ...) end
    return on_end(task, nil, with_traceback(task.co, (...)))
  end
  if ok then
    task.results = pack(...)
  else
    task.err = with_traceback(task.co, (...))
  end
  for _, latch in ipairs(task.latches or {}) do loop.notify(latch) end
  if not ok and not task.awaited and not (task.latches and task.latches[1]) then
    unclaimed.add(task)
  end
end

-- A coroutine serves one task after the other: making one costs as much as a request's tables. While it
-- is idle, nothing of the last task is left on its stack; after an error it is not used again.
local idle = {}

--- Idle coroutines that are kept.
local IDLE_MOST = 256

--- What a coroutine yields when its task has ended.
local ENDED = {}

local function begin(fn, ...)
  finish(current, true, fn(...))
end

local function life()
  while true do begin(yield(ENDED)) end
end

local function take_coroutine(task)
  local co = table.remove(idle)
  if not co then
    co = create(life)
    resume(co)
  end
  owners[co] = task
  task.co = co
  return co
end

local function continue(task, ok, mark)
  local co = task.co
  if not ok then
    finish(task, false, mark)
  elseif mark == ENDED then
    owners[co] = nil
    if #idle < IDLE_MOST then idle[#idle + 1] = co end
  elseif mark ~= WAIT then
    make_ready(task)            -- a plain yield inside a task gives the others a turn
  end
end

local function resume_task(task)
  local before = current
  current = task
  task.latch = false
  local fn = task.fn
  if not fn then
    continue(task, resume(task.co))
  else
    task.fn = false
    local co, args = take_coroutine(task), task.args
    if args then
      task.args = false
      continue(task, resume(co, fn, unpack(args, 1, args.n)))
    else
      continue(task, resume(co, fn, task.first, task.second))
    end
  end
  current = before
end

--- Starts a task: it begins in the next step.
---@param task { fn: function, args: table?, first: any, second: any, on_end: function?, item: integer?, group: table?, awaited: boolean? }
--- calls fn with args (packed), or else with first and second. `on_end(task, result, err)` takes the place of
--- all who could wait for it; `awaited`: somebody sees to its error; item and group are inherited from the
--- running task
function loop.spawn(task)
  task.parent = current
  if current then
    -- The dead are skipped: else a task that spawns the next and ends, for ever, would keep them all.
    while current.parent and current.parent.done do current.parent = current.parent.parent end
    task.item = task.item or current.item
    task.group = task.group or current.group
  end
  local group = task.group
  if group then group.live = group.live + 1 end
  anchored[task] = true
  make_ready(task)
  return task
end

--- The task that runs now; nil in the main chunk.
function loop.current()
  return current
end

--- Cancels a task: its wait, if it is in one, raises. False if it is done already.
function loop.cancel(task)
  if task.done then return false end
  task.cancelled = true
  local latch = task.latch
  if latch then
    local was_ready = latch.open
    latch.task, task.latch = nil, false
    if latch.on_cancel then latch:on_cancel() end
    if latch.ticket then latch.ticket:cancel() end
    if not was_ready then make_ready(task) end
  elseif task.fn then           -- not begun: it never will
    for i = ready.first, ready.last do
      if ready[i] == task then ready[i] = false end
    end
    close_holes()
    finish(task, false, loop.CANCELLED)
  end
  return true
end

--- Cancels the given tasks and all that descend from them.
---@param roots table<table, boolean>
function loop.cancel_families(roots)
  local found = {}
  for task in pairs(anchored) do
    local above = task
    while above and not roots[above] do above = above.parent end
    if above then found[#found + 1] = task end
  end
  for _, task in ipairs(found) do loop.cancel(task) end
end

--- Gives an error that nobody can take to sheaf.on_error.
---@param err any
---@param traceback? string by default the error itself, which has one where it is a text
function loop.report(err, traceback)
  local ok, failure = loop.hook(loop.on_error, err, traceback or tostring(err))
  if not ok then io.stderr:write("sheaf.on_error raised: ", tostring(failure), "\n") end
end

--- Reports the errors of tasks that nobody can wait for any more; with `all`, of those under root whose
--- handle is still held, too.
function loop.report_unclaimed(all, root)
  local collect = all == nil and depth == 0
  local function is_ours(task) return all and (root == nil or descends(task, root)) end
  for _, task in ipairs(unclaimed.take(collect, is_ours)) do
    local err = task.err
    loop.report(err, type(err) ~= "string" and debug.traceback(task.co, tostring(err)) or nil)
  end
end

-- When the Lua state ends, nobody will wait any more.
local function last_report()
  loop.report_unclaimed(true)
end

if newproxy then
  loop.sentinel = newproxy(true)
  getmetatable(loop.sentinel).__gc = last_report
else
  loop.sentinel = setmetatable({}, { __gc = last_report })
end

-- Waiting -------------------------------------------------------------------------------------------

--- A latch opens when it has been notified `left` times. Where the task that waits for it is cancelled, its
--- `on_cancel` is called and its `ticket` cancelled.
function loop.latch(left, ticket)
  return { left = left, open = left <= 0, ticket = ticket, task = nil }
end

--- Opens a latch, and makes the task that waits for it ready.
function loop.open(latch)
  latch.open = true
  local task = latch.task
  if task then
    latch.task = nil
    make_ready(task)
  end
end

--- What has finished tells each of its listeners; a latch counts.
function loop.notify(listener, what)
  if listener.notify then return listener:notify(what) end
  listener.left = listener.left - 1
  if listener.left == 0 then loop.open(listener) end
end

local deferred = {}             -- functions to call in the next step

--- Calls fn in the next step.
function loop.defer(fn)
  deferred[#deferred + 1] = fn
  if loop.watched and depth == 0 then core.wake() end
end

local function dispatch(kind, ...)
  if not kind then return false end
  local handler = loop.handlers[kind]
  if handler then handler(...) end
  return true
end

--- Does one thing: hands one message over, or else resumes one task under root. False if there was
--- neither.
local function advance(root)
  local before = current
  current = nil                 -- what comes back belongs to no task
  local did = dispatch(core.next())
  if not did and deferred[1] then
    did = true
    table.remove(deferred, 1)()
  end
  current = before
  if did then return true end
  local task = take_ready(root)
  if not task then return false end
  resume_task(task)
  return true
end

local function is_anything_due()
  if loop.armed > 0 then return true end
  for batch in pairs(loop.batches) do
    if batch.unfinished > 0 then return true end
  end
  return false
end

local function drive_until(latch, root)
  while not latch.open do
    if root and root.cancelled then error(loop.CANCELLED, 0) end
    if not advance(root) then
      if not is_anything_due() then
        error("sheaf: this would wait for ever: nothing is in flight, no timer is armed and no task "
          .. "can run", 0)
      end
      loop.host.wait(PATIENCE)
    end
  end
end

--- Drives in place: resumes only tasks under root, so that the C stack follows the tree of tasks. What an
--- interrupt (Ctrl-C) throws in the middle leaves everything as it was.
local function drive(latch, root)
  local before = current
  depth = depth + 1
  local ok, err = pcall(drive_until, latch, root)
  depth = depth - 1
  current = before
  if not ok then
    if err == loop.CANCELLED then
      if latch.on_cancel then latch:on_cancel() end
      if latch.ticket then latch.ticket:cancel() end
    end
    error(err, 0)
  end
end

--- Runs fn as a hook: it must not wait. Returns like pcall, with a traceback in a text error.
function loop.hook(fn, ...)
  local before = in_hook
  in_hook = true
  local args, n = { ... }, select("#", ...)
  local results = pack(xpcall(function() return fn(unpack(args, 1, n)) end, function(err)
    return type(err) == "string" and debug.traceback(err, 2) or err
  end))
  in_hook = before
  return unpack(results, 1, results.n)
end

--- True while a hook runs.
function loop.in_hook()
  return in_hook
end

--- True in a task, or where a wait may drive in place.
function loop.can_wait()
  return not in_hook and (loop.host.blocks or owners[running() or false] ~= nil)
end

--- Raises where a wait is not possible at all; for calls that do something before they wait.
---@param what string names the call for messages
---@param blocks? boolean it may block any host
function loop.check_wait(what, blocks)
  if in_hook then
    error(("sheaf: %s would wait, which validate, on_retry, on_done, on_error, transport and progress "
      .. "functions must not"):format(what), 0)
  elseif not (blocks or loop.running or loop.can_wait()) then
    error(("sheaf: %s would block this host: call it inside sheaf.spawn(function() ... end)")
      :format(what), 0)
  elseif current and current.cancelled then
    error(loop.CANCELLED, 0)
  end
end

--- Waits until the latch is open: yields in a task of ours, else drives in place. `what` names the call
--- for messages.
function loop.await(latch, what)
  if latch.open then return end
  loop.check_wait(what)
  local task = current
  if task and owners[running()] == task and yieldable() then
    latch.task, task.latch = task, latch
    yield(WAIT)
    if task.cancelled then error(loop.CANCELLED, 0) end
    return
  end
  if not loop.host.blocks and not loop.running then
    error(("sheaf: %s can't wait here, in a call that can't yield, without blocking this host")
      :format(what), 0)
  end
  drive(latch, task)
  if depth == 0 then loop.report_unclaimed() end
end

--- Resumes a coroutine that waits or yields on behalf of the running task: passes waits on outwards, and
--- hands back what coroutine.resume gives for all else.
function loop.resume_within(co, ...)
  if busy[co] then
    return { n = 2, false, "sheaf: the generator is in use: another task waits inside it" }
  end
  busy[co] = true
  owners[co] = current
  local results = pack(resume(co, ...))
  while results[1] and results[2] == WAIT do
    local task = current
    local latch = task.latch
    if owners[running()] == task and yieldable() then
      yield(WAIT)
    else
      latch.task, task.latch = nil, nil
      drive(latch, task)
    end
    owners[co] = current
    results = pack(resume(co))
  end
  busy[co] = nil
  return results
end

--- Advances until there is nothing to do or the time is over. True: there may be more.
local function work(until_)
  local more
  repeat
    more = advance(nil)
  until not more or now() >= until_
  return more
end

--- Hands over what came back and runs what is ready, for about two milliseconds; never waits.
function loop.step()
  if current then error("sheaf.step: can't be called inside a task", 3) end
  if in_hook then
    error("sheaf.step: can't be called inside validate, on_retry, on_done and the like", 3)
  end
  depth = depth + 1
  local ok, more = pcall(work, now() + SLICE)
  depth = depth - 1
  current = nil
  if more then core.wake() end  -- also after an interrupt: it may have left something
  if not ok then error(more, 0) end
  loop.report_unclaimed(false)
end

--- Whether a ready task waits for a step.
function loop.has_ready()
  return ready.first <= ready.last
end

loop.pack, loop.unpack = pack, unpack

return loop
