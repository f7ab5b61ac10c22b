-- The batch object: submit, gather, fetch, completed, cancel, set, stats, close. `each` and `map` are in
-- each.lua.

local check = require "sheaf.check"
local core = require "sheaf.core"
local loop = require "sheaf.loop"
local options = require "sheaf.options"
local request = require "sheaf.request"
local response = require "sheaf.response"
local set = require "sheaf.set"
local stats = require "sheaf.stats"
local ticket = require "sheaf.ticket"

local batch = {}

---@class sheaf.Batch
---@field package options table checked, with all defaults
---@field package core userdata
---@field package pending table<integer, sheaf.Ticket> what is on its way, by slot
---@field package unfinished integer requests whose response hasn't been moved to Lua yet
local Batch = {}
Batch.__index = Batch
Batch.__name = "sheaf.Batch"

---@class sheaf.Limiter
local Limiter = {}
Limiter.__index = Limiter
Limiter.__name = "sheaf.Limiter"

local MAIN = {}                 -- stands for the main chunk where tasks are keys

local limiter_rules = { concurrency = check.positive }

--- A limit that several batches share.
---
---     local limiter = sheaf.limiter{ concurrency = 20 }
---     local a = sheaf.batch{ limiter = limiter, base_url = ... }
---
---@param given { concurrency: integer? }
---@return sheaf.Limiter
function batch.limiter(given)
  check.options("sheaf.limiter", given, limiter_rules, 2)
  local concurrency = given.concurrency or options.defaults.concurrency
  options.check_descriptors("sheaf.limiter", concurrency, 2)
  local inner, message = core.limiter(concurrency)
  if not inner then error("sheaf.limiter: " .. message, 2) end
  return setmetatable({ core = inner, concurrency = concurrency }, Limiter)
end

local function header_lines(full)
  return request.lines(request.batch_headers(full))
end

local function pool_options(full)
  local pool = options.merge(full.pool, full.tls)
  pool.proxy, pool.no_proxy, pool.unix_socket = full.proxy, full.no_proxy, full.unix_socket
  return pool
end

local function limit_of(given, full)
  if given.limiter ~= nil then
    if getmetatable(given.limiter) ~= Limiter then
      check.fail("sheaf.batch", "limiter", "what sheaf.limiter returns", given.limiter, 3)
    elseif given.concurrency then
      error("sheaf.batch: 'limiter' and 'concurrency' together: the limiter has its own", 3)
    end
    return given.limiter
  elseif given.from and not given.concurrency then
    return given.from.limit
  end
  return batch.limiter{ concurrency = full.concurrency }
end

--- Makes a batch: one policy over many requests. README has a table of the options and their defaults.
---
---     local batch = sheaf.batch{ base_url = "https://api.openai.com/v1", api_key = key, concurrency = 50 }
---
---@param given table
---@return sheaf.Batch batch raises on wrong options
function batch.new(given)
  if type(given) == "table" and given.from ~= nil and getmetatable(given.from) ~= Batch then
    check.fail("sheaf.batch", "from", "a batch", given.from, 2)
  end
  local base = type(given) == "table" and given.from and given.from.options
  local full = options.batch("sheaf.batch", given, base, 2)
  if full.api_key and full.api_key:find("[%z\r\n]") then
    error("sheaf.batch: 'api_key' must not contain CR, LF or NUL", 2)
  end
  local limit = limit_of(given, full)
  local inner, message = core.batch(limit.core, pool_options(full), header_lines(full),
    full.max_buffered)
  if not inner then error("sheaf.batch: " .. message, 2) end
  local self = setmetatable({
    options = full, core = inner, limit = limit, settings = options.settings(full),
    pending = {}, unfinished = 0, counts = stats.new(), labels = core.logs(),
    waiting = { first = 1, last = 0 },
    sets = setmetatable({}, { __mode = "k" }),
  }, Batch)
  loop.batches[self] = true
  return self
end

---@package
function Batch:check_open(who)
  if getmetatable(self) ~= Batch then
    error(("%s: not a batch: call it with a colon"):format(who), 3)
  elseif self.closed then
    error(("%s: the batch is closed"):format(who), 3)
  end
end

-- Submit --------------------------------------------------------------------------------------------

-- Those who wait for room in the queue have handed over their request: it is started, in their order, when
-- there is room, whether they can run then or not. A task that drives in place must not be held up by those
-- before it, which it may not resume.

---@package
function Batch:give_room()
  local waiting = self.waiting
  while waiting.first <= waiting.last and self.unfinished < self.options.queue do
    local one = waiting[waiting.first]
    waiting[waiting.first] = nil
    waiting.first = waiting.first + 1
    if not one.gone then
      if one.tell then
        one.tell(self:start(one.new, one.item))
      else
        one.made, one.message, one.code = self:start(one.new, one.item)
        loop.notify(one)
      end
    end
  end
end

--- Starts a prepared ticket now. Returns nil, message, code where the machine or the address is at fault,
--- or the batch has been closed.
---@package
function Batch:start(new, item)
  if self.closed then return nil, "the batch is closed", "closed" end
  local slot, message, code = request.start(new, item)
  if not slot then return nil, message, code end
  stats.submitted(self.counts)
  return ticket.started(new, slot)
end

--- Whether a request can be started without waiting.
---@package
function Batch:has_room()
  return self.unfinished < self.options.queue
end

local function cancel_waiting(one)
  one.gone = true
  if one.made then one.made:cancel() end
end

--- Starts a prepared ticket when there is room. Then it calls tell with what start returns; without tell,
--- what this returns is a latch that opens, with start's results in `made`, `message` and `code`. Setting
--- its `gone` takes the request back.
---@package
function Batch:start_later(new, item, tell)
  local waiting = self.waiting
  local one = loop.latch(1)
  one.new, one.item, one.tell, one.on_cancel = new, item, tell, cancel_waiting
  waiting.last = waiting.last + 1
  waiting[waiting.last] = one
  return one
end

--- What a ticket couldn't be started for, as a message about wrong use; nil where the machine is at fault.
---@package
function Batch.misuse(who, new, message, code)
  if code == "url" then
    -- Neither the query nor a name with a password has a place in a message.
    local shown = new.url:gsub("[?#].*", ""):gsub("^(%a*:?/*)[^/]*@", "%1")
    return ("%s: %s is no http or https address: %s"):format(who, check.show(shown), message)
  elseif code == "closed" then
    return ("%s: %s"):format(who, message)
  end
end

--- Waits for room and starts a prepared ticket.
local function start_waiting(self, new, item, who)
  local one = self:start_later(new, item)
  loop.await(one, who)
  return one.made, one.message, one.code
end

--- Starts a request, and waits for room first, if it must. Raises at the level of its caller's caller.
local function submit(self, given, who)
  local new = request.prepare(self, given, who, 3)
  local running = loop.current()
  local item = running and running.item
  local made, message, code
  if self:has_room() then
    made, message, code = self:start(new, item)
  elseif loop.can_wait() then
    made, message, code = start_waiting(self, new, item, who)
  else
    return nil, "queue full", "full"
  end
  local wrong = not made and Batch.misuse(who, new, message, code)
  if wrong then error(wrong, 3) end
  return made, message, code
end

--- Queues one request; it is sent as soon as the limits let it. Yields only while `queue` requests are
--- unfinished.
---
---     local ticket = batch:submit{ path = "/chat/completions", json = { ... } }
---
---@param given table the request: README lists its fields
---@return sheaf.Ticket? ticket raises on a wrong request
---@return string? message why the machine refused; "queue full" where the caller can't wait
---@return string? code
function Batch:submit(given)
  Batch.check_open(self, "batch:submit")
  local new, message, code = submit(self, given, "batch:submit")
  if not new then return nil, message, code end
  if not new.on_done and not loop.in_hook() then self:own_set():add(new) end
  return new
end

--- The set of what the calling task, or the main chunk, submitted and has not been handed yet.
---@package
function Batch:own_set()
  local key = loop.current() or MAIN
  local own = self.sets[key]
  if not own then
    own = set.new()
    self.sets[key] = own
  end
  return own
end

--- Submits a request and waits for its response.
---
---     print(assert(batch:fetch{ path = "/models" }:json()).data[1].id)
---
---@param given table
---@return sheaf.Response
function Batch:fetch(given)
  Batch.check_open(self, "batch:fetch")
  loop.check_wait("batch:fetch")
  local new, message, code = submit(self, given, "batch:fetch")
  if not new then
    return response.without_answer("internal", given.id, 0, ("%s (%s)"):format(message, code))
  end
  return new:wait()
end

-- Waiting for several -------------------------------------------------------------------------------

local function check_tickets(self, tickets, who)
  if type(tickets) ~= "table" then
    error(("%s: a list of tickets is wanted, got %s"):format(who, check.show(tickets)), 3)
  end
  for i = 1, tickets.n or #tickets do
    local one = tickets[i]
    if not ticket.is(one) then
      error(("%s: entry %d of the list is no ticket, but %s"):format(who, i, check.show(one)), 3)
    elseif one.batch ~= self then
      error(("%s: ticket %d belongs to another batch"):format(who, i), 3)
    end
  end
end

--- Waits until all are done.
---
---     local responses = batch:gather()
---     for i = 1, responses.n do print(responses[i].status) end
---
---@param tickets? sheaf.Ticket[] by default, what the calling task submitted and was not handed yet
---@return sheaf.Response[] responses one per ticket, in the tickets' order, with their number in `n`
function Batch:gather(tickets)
  Batch.check_open(self, "batch:gather")
  if tickets then
    check_tickets(self, tickets, "batch:gather")
  else
    tickets = self:own_set():take_all()
  end
  local count = tickets.n or #tickets
  local latch = loop.latch(0)
  for i = 1, count do
    if not tickets[i].response then
      latch.left = latch.left + 1
      tickets[i]:listen(latch)
    end
  end
  latch.open = latch.left == 0
  function latch.on_cancel()
    for i = 1, count do tickets[i]:cancel() end
  end
  loop.await(latch, "batch:gather")
  local responses = { n = count }
  for i = 1, count do responses[i] = tickets[i].response end
  return responses
end

--- Iterates in the order of completion. Without tickets it is about what the calling task submitted and
--- was not handed yet; what is submitted inside the loop joins in.
---
---     for ticket, response in batch:completed() do print(ticket.id, response.ok) end
---
---@param tickets? sheaf.Ticket[]
---@return fun(): sheaf.Ticket?, sheaf.Response?
function Batch:completed(tickets)
  Batch.check_open(self, "batch:completed")
  local from
  if tickets then
    check_tickets(self, tickets, "batch:completed")
    from = set.new()
    for i = 1, tickets.n or #tickets do from:add(tickets[i]) end
  else
    from = self:own_set()
  end
  return function()
    local one = from:take_next("batch:completed")
    if one then return one, one.response end
  end
end

-- Control -------------------------------------------------------------------------------------------

local function end_all(self, kind)
  local count = 0
  for slot, one in pairs(self.pending) do
    core.cancel(slot)
    ticket.finish_early(one, kind)
    count = count + 1
  end
  self:give_room()
  return count
end

--- Cancels all that is unfinished: those responses are `cancelled` at once.
---@return integer count how many that were
function Batch:cancel()
  Batch.check_open(self, "batch:cancel")
  return end_all(self, "cancelled")
end

local set_rules = { concurrency = check.positive, headers = check.table }

--- Changes a running batch, at once: also for what is queued and for the retries of what was sent.
---
---     batch:set{ concurrency = 10, headers = { Authorization = "Bearer " .. new_key } }
---
---@param given { concurrency: integer?, headers: table? } headers are laid over those the batch has
function Batch:set(given)
  Batch.check_open(self, "batch:set")
  check.options("batch:set", given, set_rules, 2)
  if given.concurrency then options.check_descriptors("batch:set", given.concurrency, 2) end
  local lines
  if given.headers then
    check.headers("batch:set", given.headers, 2)
    self.options.headers = options.merge(self.options.headers, given.headers)
    lines = header_lines(self.options)
  end
  local ok, message = self.core:change(given.concurrency, lines)
  if not ok then error("batch:set: " .. message, 2) end
  if given.concurrency then self.limit.concurrency = given.concurrency end
end

--- What the batch has done so far; README explains each field.
---@return table
function Batch:stats()
  if getmetatable(self) ~= Batch then error("batch:stats: not a batch", 2) end
  if self.closed then return self.last_stats end
  return stats.table(self)
end

--- Ends the batch: unfinished requests become `closed`. Any number of times.
function Batch:close()
  if self.closed then return end
  self.closed = true
  end_all(self, "closed")
  self.last_stats = stats.table(self)
  for _, name in ipairs{ "in_flight", "backing_off", "queued" } do self.last_stats[name] = 0 end
  self.last_stats.oldest_in_flight, self.last_stats.eta = nil, nil
  loop.batches[self] = nil
  self.core:close()
end

Batch.__close = Batch.close

function batch.is(value)
  return getmetatable(value) == Batch
end

batch.Batch = Batch

return batch
