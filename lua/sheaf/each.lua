-- each and map: any number of items through a batch, in bounded memory.

local batch = require "sheaf.batch"
local check = require "sheaf.check"
local core = require "sheaf.core"
local fault = require "sheaf.fault"
local loop = require "sheaf.loop"
local merge = require "sheaf.merge"
local request = require "sheaf.request"
local task = require "sheaf.task"

local each = {}

--- Live tasks for each permit: enough that the wire stays full while results are consumed.
local TASKS_PER_PERMIT = 4

--- When the first so many items all failed, something is wrong with all of them.
local FIRST_FAILURES = 20

local item_number = 0           -- of the last item begun: its requests go before those of later ones

local rules = {
  ordered = check.boolean, tasks = check.positive, total = check.count,
  max_failures = check.positive, merge = check.positive,
}

--- What raised because too many items failed.
---@class sheaf.Failures
---@field kind "failures"
---@field done integer
---@field failed integer
---@field first any the first failed item's error
---@field index integer the first failed item
---@field results table? map's results so far, with `n`
---@field errors table? map's errors so far, with `n`
local Failures = {}
Failures.__index = Failures
Failures.__name = "sheaf.Failures"

function Failures:__tostring()
  return ("sheaf: stopped: %d of %d items failed; item %d, the first: %s"):format(
    self.failed, self.done, self.index, tostring(self.first))
end

-- Sources -------------------------------------------------------------------------------------------

--- How many items an array has; a nil in it counts, one behind its last item is not seen.
local function length_of(who, source, level)
  local length = source.n or 0
  for key in pairs(source) do
    if type(key) == "number" and key >= 1 and key == math.floor(key) then
      if key > length then length = key end
    elseif key ~= "n" then
      error(("%s: the source must be an array of items, or a function that returns the next one; it has "
        .. "the field %s"):format(who, check.show(key)), level + 1)
    end
  end
  return length
end

--- A function that returns true and the next item, or false at the end.
local function reader(who, source, level)
  if type(source) == "function" then
    return function()
      local item = source()
      return item ~= nil, item
    end
  elseif type(source) ~= "table" then
    error(("%s: the source must be an array of items, or a function that returns the next one, got %s")
      :format(who, check.show(source)), level + 1)
  end
  local index, length = 0, length_of(who, source, level + 1)
  return function()
    index = index + 1
    if index > length then return false end
    return true, source[index]
  end, length
end

-- The run -------------------------------------------------------------------------------------------

-- A run is what each works on. Tasks and tickets refer to it, it refers to them, and the iterator refers to
-- it: so that the iterator can be collected, and the run be ended, while tasks are live.
local Run = {}
Run.__index = Run

local runs = {}                 -- live ones by number, for iterators that were collected
local run_number = 0

function loop.handlers.abandoned(number)
  local run = runs[number]
  if run then run:cancel() end
end

local function new_run(self, source, fn, opts, who)
  local read, length = reader(who, source, 4)
  run_number = run_number + 1
  local run = setmetatable({
    batch = self, fn = fn, read = read, number = run_number,
    ordered = opts.ordered, max_failures = opts.max_failures,
    limit = opts.tasks or TASKS_PER_PERMIT * self.limit.concurrency,
    index = 0,                  -- of the last item taken from the source
    live = 0,                   -- items begun and not finished
    held = 0,                   -- finished and not handed out
    done = {}, first = 1, last = 0,  -- finished ones, in order of completion
    by_index = {}, turn = 1,    -- with `ordered`: finished ones by index; the next to hand out
    tasks = {}, tickets = {},   -- live ones, to be cancelled
    finished = 0, failed = 0,
  }, Run)
  if opts.merge then run.groups = merge.new(opts.merge) end
  local counts = self.counts
  if opts.total or length then
    counts.expected = (counts.expected or counts.total) + (opts.total or length)
  end
  runs[run.number] = run
  return run
end

--- An item has ended: its result waits for the consumer.
function Run:deliver(index, result, err)
  self.live = self.live - 1
  if self.cancelled then return end
  self.held = self.held + 1
  self.finished = self.finished + 1
  if err ~= nil then
    self.failed = self.failed + 1
    if not self.first_failure then self.first_failure = { index = index, err = err } end
    local most = self.max_failures or (self.finished == FIRST_FAILURES and FIRST_FAILURES)
    if most and self.failed >= most then
      self.ended, self.too_many = true, true
    end
  end
  local entry = { index, result, err }
  if self.ordered then
    self.by_index[index] = entry
  else
    self.last = self.last + 1
    self.done[self.last] = entry
  end
  self:wake()
end

--- Lets the consumer look again.
function Run:wake()
  local latch = self.latch
  self.latch = nil
  if latch then loop.open(latch) end
end

local function new_item()
  item_number = item_number + 1
  return item_number
end

--- A second value is an error only where the first is nil; with no second that is a result of nil.
local function task_ended(ended, result, err)
  local run = ended.run
  run.tasks[ended] = nil
  if result ~= nil then err = nil end
  run:deliver(ended.index, result, err)
end

--- Begins a task for an item, or for a group of them with the array of their indices.
function Run:begin_task(item, index, on_end)
  self.tasks[loop.spawn{
    fn = self.fn, first = item, second = index, run = self, index = index, item = new_item(),
    on_end = on_end, co = false, parent = false, latch = false, done = false, ok = false,
  }] = true
end

--- An item that is no request, or that the machine refuses.
function Run:refuse(index, why)
  why = ("item %d: %s"):format(index, why)
  self:deliver(index, nil, fault.new{ kind = "internal", message = why })
end

--- What start returned for an item.
function Run:request_begun(index, prepared, ticket, message, code)
  if not ticket then
    return self:refuse(index, batch.Batch.misuse("batch:each", prepared, message, code) or
      ("%s (%s)"):format(message, code))
  end
  if self.cancelled then return ticket:cancel() end
  self.tickets[ticket] = true
  ticket:listen{
    notify = function(_, done)
      self.tickets[done] = nil
      self:deliver(index, done.response, done.response.error)
    end,
  }
end

--- Without fn, items are requests. One of them may wait for room in the queue.
function Run:begin_request(item, index)
  local ok, prepared = pcall(request.prepare, self.batch, item, "batch:each", 1)
  if not ok then
    return self:refuse(index, (tostring(prepared):gsub("^.-:%d+: ", "", 1)))
  end
  if self.batch:has_room() then
    return self:request_begun(index, prepared, self.batch:start(prepared, new_item()))
  end
  self.waiting = self.batch:start_later(prepared, new_item(), function(...)
    self.waiting = nil
    self:request_begun(index, prepared, ...)
    self:wake()
  end)
end

function Run:begin(item, index)
  self.live = self.live + 1
  if item == nil then
    self:deliver(index, nil, fault.new{
      kind = "internal", message = ("item %d of the array is nil"):format(index),
    })
  elseif self.fn then
    self:begin_task(item, index, task_ended)
  else
    self:begin_request(item, index)
  end
end

local function with_traceback(err)
  return type(err) == "string" and debug.traceback(err, 2) or err
end

--- The next item of the source; nothing at its end. What the source throws ends the run, once all that is
--- live was handed out.
function Run:take()
  local ok, more, item = xpcall(self.read, with_traceback)
  if not ok then self.source_error = { more } end
  if not ok or not more then
    self.ended = true
    return false
  end
  self.index = self.index + 1
  return true, item, self.index
end

--- Begins as many items as there is room for. Halves of a group are of items that are live already.
function Run:fill()
  while self.groups and self.groups:begin_half(self) do end -- luacheck: ignore 542
  while not (self.cancelled or self.waiting) and self.live + self.held < self.limit do
    if self.groups then
      if not self.groups:begin(self) then return end
    else
      if self.ended then return end
      local more, item, index = self:take()
      if not more then return end
      self:begin(item, index)
    end
  end
end

function Run:take_entry()
  local entry
  if self.ordered then
    entry = self.by_index[self.turn]
    if not entry then return end
    self.by_index[self.turn] = nil
    self.turn = self.turn + 1
  else
    entry = self.done[self.first]
    if not entry then return end
    self.done[self.first] = nil
    self.first = self.first + 1
  end
  self.held = self.held - 1
  return entry
end

--- All has been handed out: raises what ended the run early.
function Run:finish()
  runs[self.number] = nil
  self.cancelled = true
  if self.source_error then error(self.source_error[1], 0) end
  if self.too_many then
    error(setmetatable({
      kind = "failures", done = self.finished, failed = self.failed,
      first = self.first_failure.err, index = self.first_failure.index,
    }, Failures), 0)
  end
end

function Run:next()
  while not self.cancelled do
    self:fill()
    local entry = self:take_entry()
    if entry then return entry[1], entry[2], entry[3] end
    if self.live == 0 and self.held == 0 then return self:finish() end
    local latch = loop.latch(1)
    self.latch = latch
    loop.await(latch, "batch:each")
  end
end

--- Takes no new items and cancels what is live, and the tasks that items have spawned.
function Run:cancel()
  if self.cancelled then return end
  self.cancelled = true
  runs[self.number] = nil
  if self.waiting then self.waiting.gone = true end
  if next(self.tasks) then loop.cancel_families(self.tasks) end
  for ticket in pairs(self.tickets) do ticket:cancel() end
  self:wake()
end

-- The iterator --------------------------------------------------------------------------------------

---@class sheaf.Iterator
local Iterator = {}
Iterator.__index = Iterator
Iterator.__name = "sheaf.Iterator"

function Iterator:__call()
  return self.run:next()
end

--- Ends the iteration: takes no new items, cancels what is live. On Lua 5.4 leaving the loop does it.
function Iterator:cancel()
  self.run:cancel()
end

Iterator.__close = Iterator.cancel

local function start(self, source, fn, opts, who)
  if fn ~= nil and type(fn) ~= "function" then
    error(("%s: the second argument must be a function, got %s"):format(who, check.show(fn)), 3)
  end
  opts = opts or {}
  check.options(who, opts, rules, 3)
  if opts.merge and not fn then
    error(("%s: 'merge' needs a function that makes one request of several items"):format(who), 3)
  end
  local run = new_run(self, source, fn, opts, who)  -- no tail call: messages count levels
  return run
end

--- Streams any number of items through the batch, in bounded memory.
---
---     for index, result, err in batch:each(io.lines("reviews.txt"), function(review)
---       return batch:fetch(label_request(review)):text()
---     end) do print(index, result or err) end
---
---@param source table|fun(): any an array, or a function called without arguments until it returns nil
---@param fn? fun(item: any, index: integer): any, any? runs as a task for each item; returns the result, or
--- nil and an error. Without it, items are requests and results are responses
---@param opts? { ordered: boolean?, tasks: integer?, total: integer?, max_failures: integer?, merge: integer? }
---@return sheaf.Iterator iterator of index, result, err; raises at the end where too many items failed, or
--- with what the source threw
function each.each(self, source, fn, opts)
  batch.Batch.check_open(self, "batch:each")
  local run = start(self, source, fn, opts, "batch:each")
  local iterator = setmetatable({ run = run, guard = core.guard(run.number) }, Iterator)
  return iterator, nil, nil, iterator
end

--- As each, collected in the items' order.
---
---     local results, errors = batch:map(texts, function(text) return ask(text) end)
---
---@return table results with their number in `n`
---@return table errors by index, with the same `n`; nil where an item went well
function each.map(self, source, fn, opts)
  batch.Batch.check_open(self, "batch:map")
  local run = start(self, source, fn, opts, "batch:map")
  local results, errors = { n = 0 }, { n = 0 }
  local ok, failure = task.pcall(function()
    -- No for loop: on Lua 5.1 its iterator couldn't yield.
    local index, result, err = run:next()
    while index do
      results[index], errors[index] = result, err
      if index > results.n then results.n, errors.n = index, index end
      index, result, err = run:next()
    end
  end)
  if not ok then
    run:cancel()
    if getmetatable(failure) == Failures then failure.results, failure.errors = results, errors end
    error(failure, 0)
  end
  return results, errors
end

return each
