-- The Lua thread's side of the engine: hands what came back to those who wait for it, resumes tasks, and
-- drives in place where a wait can't yield. DESIGN.md §5.

local core = require "sheaf.core"

local loop = {}

local resume, status, running = coroutine.resume, coroutine.status, coroutine.running
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

--- Unfinished requests and armed timers: while there are any, something can still happen.
loop.pending = 0

local current                   -- the task that runs now; nil: the main chunk, or a host's callback
local owners = setmetatable({}, { __mode = "k" })  -- coroutine of ours -> the task it belongs to
local ready = { first = 1, last = 0 }  -- tasks to resume, in order; holes where one was taken out
local depth = 0                 -- step() and drives in progress
local in_hook = false           -- validate, on_retry, on_done or progress is running
local unclaimed = {}            -- tasks that failed and whose error nobody has taken yet
local anchored = {}             -- every task from spawn to its end, so that it isn't collected
local handles = setmetatable({}, { __mode = "v" })  -- task -> what spawn returned, while it is held

---@type fun(err: any, traceback: string)
function loop.on_error(_, traceback)
  io.stderr:write("sheaf: an error that nobody waits for: ", traceback, "\n")
end

-- Yieldable -----------------------------------------------------------------------------------------

--- What is read from the thread is believed only if it is right in cases with a known answer.
local function can_tell()
  local inside, callback, after
  local co = create(function()
    inside = core.yieldable()
    string.gsub("x", "x", function() callback = core.yieldable() end)
    after = core.yieldable()
  end)
  resume(co)
  return inside == true and callback == false and after == true
end

local yieldable = coroutine.isyieldable or (can_tell() and core.yieldable) or function()
  return false
end

-- Ready list ----------------------------------------------------------------------------------------

local function make_ready(task)
  ready.last = ready.last + 1
  ready[ready.last] = task
  if depth == 0 then core.wake() end
end

local function descends(task, root)
  while task do
    if task == root then return true end
    task = task.parent
  end
  return false
end

--- The next ready task that descends from root (nil: any), taken out.
local function take_ready(root)
  for i = ready.first, ready.last do
    local task = ready[i]
    if task and (root == nil or descends(task, root)) then
      ready[i] = false
      while ready.first <= ready.last and not ready[ready.first] do
        ready[ready.first] = nil
        ready.first = ready.first + 1
      end
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
  if ok then
    task.results = pack(...)
  else
    task.err = with_traceback(task.co, (...))
  end
  local group = task.group
  if group then
    group.live = group.live - 1
    if group.live == 0 then loop.notify(group.latch) end
  end
  local on_end = task.on_end
  if on_end then
    on_end(task)
  elseif task.latches then
    for _, latch in ipairs(task.latches) do loop.notify(latch) end
  elseif not ok and task.err ~= loop.CANCELLED then
    unclaimed[#unclaimed + 1] = task
  end
end

local function continue(task, ok, ...)
  if status(task.co) == "dead" then return finish(task, ok, ...) end
  -- A plain yield inside a task gives the others a turn.
  if (...) ~= WAIT then make_ready(task) end
end

local function resume_task(task)
  local before = current
  current = task
  task.latch = nil
  if task.args then
    local args = task.args
    task.args = nil
    continue(task, resume(task.co, unpack(args, 1, args.n)))
  else
    continue(task, resume(task.co))
  end
  current = before
end

--- Makes a task; it begins in the next step.
---@param fn function
---@param own? { on_end: function?, item: integer?, group: table? } `on_end(task)` takes the place of all
--- who could wait for it; item and group are inherited from the running task
function loop.spawn(fn, own, ...)
  local co = create(fn)
  local task = {
    co = co, parent = current, args = pack(...), on_end = own and own.on_end,
    item = own and own.item or (current and current.item),
    group = own and own.group or (current and current.group),
  }
  local group = task.group
  if group then group.live = group.live + 1 end
  owners[co] = task
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
    latch.task, task.latch = nil, nil
    if latch.on_cancel then latch:on_cancel() end
    make_ready(task)
  elseif task.args then         -- not begun: it never will
    for i = ready.first, ready.last do
      if ready[i] == task then ready[i] = false end
    end
    finish(task, false, loop.CANCELLED)
  end
  return true
end

--- Marks a failed task's error as taken.
function loop.claim(task)
  for i, other in ipairs(unclaimed) do
    if other == task then return table.remove(unclaimed, i) end
  end
end

--- Ties a task to the handle that spawn gives out.
function loop.set_handle(task, handle)
  handles[task] = handle
end

--- Gives an error that nobody can take to sheaf.on_error.
function loop.report(err)
  local ok, failure = pcall(loop.on_error, err, tostring(err))
  if not ok then io.stderr:write("sheaf.on_error raised: ", tostring(failure), "\n") end
end

--- Reports the errors of tasks that nobody can wait for any more; with `all`, of those under root whose
--- handle is still held, too.
function loop.report_unclaimed(all, root)
  if #unclaimed == 0 then return end
  if all == nil and depth == 0 then collectgarbage() end
  local rest = {}
  for _, task in ipairs(unclaimed) do
    if not handles[task] or (all and (root == nil or descends(task, root))) then
      loop.report(task.err)
    else
      rest[#rest + 1] = task
    end
  end
  unclaimed = rest
end

-- Waiting -------------------------------------------------------------------------------------------

--- A latch opens when it has been notified `left` times.
function loop.latch(left)
  return { left = left, open = left <= 0 }
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
  if depth == 0 then core.wake() end
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
  if dispatch(core.next()) then return true end
  if deferred[1] then
    table.remove(deferred, 1)()
    return true
  end
  local task = take_ready(root)
  if not task then return false end
  resume_task(task)
  return true
end

local function drive_until(latch, root)
  while not latch.open do
    if not advance(root) then
      if loop.pending == 0 then
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
  if not ok then error(err, 0) end
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

--- True in a task, or where a wait may drive in place.
function loop.can_wait()
  return not in_hook and (loop.host.blocks or owners[running() or false] ~= nil)
end

--- Waits until the latch is open: yields in a task of ours, else drives in place. `what` names the call
--- for messages.
function loop.await(latch, what)
  if latch.open then return end
  if in_hook then
    error(("sheaf: %s would wait, which validate, on_retry, on_done, transport and progress "
      .. "functions must not"):format(what), 0)
  end
  local task = current
  if task and task.cancelled then error(loop.CANCELLED, 0) end
  if task and owners[running()] == task and yieldable() then
    latch.task, task.latch = task, latch
    yield(WAIT)
    if task.cancelled then error(loop.CANCELLED, 0) end
    return
  end
  if not loop.host.blocks and not loop.running then
    error(("sheaf: %s would block this host: call it inside sheaf.spawn(function() ... end)")
      :format(what), 0)
  end
  drive(latch, task)
  if depth == 0 then loop.report_unclaimed() end
end

--- Resumes a coroutine that waits or yields on behalf of the running task: passes waits on outwards, and
--- hands back what coroutine.resume gives for all else.
function loop.resume_within(co, ...)
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
  return results
end

--- Hands over what came back and runs what is ready, for about two milliseconds; never waits.
function loop.step()
  if current then error("sheaf.step: can't be called inside a task", 3) end
  local until_ = now() + SLICE
  local more
  depth = depth + 1
  repeat
    more = advance(nil)
  until not more or now() >= until_
  depth = depth - 1
  if more then core.wake() end
  loop.report_unclaimed(false)
end

--- Whether a ready task waits for a step.
function loop.has_ready()
  return ready.first <= ready.last
end

loop.pack, loop.unpack = pack, unpack

return loop
