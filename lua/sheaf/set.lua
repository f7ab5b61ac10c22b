-- Tickets of one task (or of one call of completed) that have not been handed out yet: in the order of
-- submission for gather, in that of completion for completed.

local loop = require "sheaf.loop"

local Set = {}
Set.__index = Set

local set = {}

function set.new()
  return setmetatable({
    tickets = {}, first = 1, last = 0,  -- by submission; holes where one was handed out
    places = {},                -- ticket -> its index in tickets
    done = {}, done_first = 1, done_last = 0,  -- by completion; may hold some handed out since
    count = 0,                  -- tickets inside
    latches = {},               -- of those who wait for the next that is done
  }, Set)
end

function Set:add(ticket)
  self.last = self.last + 1
  self.tickets[self.last] = ticket
  self.places[ticket] = self.last
  self.count = self.count + 1
  if ticket.response then self:notify(ticket) else ticket:listen(self) end
end

--- A ticket has its response.
function Set:notify(ticket)
  if not self.places[ticket] then return end
  self.done_last = self.done_last + 1
  self.done[self.done_last] = ticket
  self:wake()
end

--- Lets those who wait look again.
function Set:wake()
  local latches = self.latches
  if not latches[1] then return end
  self.latches = {}
  for _, latch in ipairs(latches) do loop.open(latch) end
end

--- All tickets in the order of submission; the set is empty then.
function Set:take_all()
  local taken = { n = 0 }
  for i = self.first, self.last do
    local ticket = self.tickets[i]
    if ticket then
      taken.n = taken.n + 1
      taken[taken.n] = ticket
    end
  end
  self.tickets, self.first, self.last, self.places = {}, 1, 0, {}
  self.done, self.done_first, self.done_last, self.count = {}, 1, 0, 0
  self:wake()
  return taken
end

local function remove(self, ticket)
  local place = self.places[ticket]
  self.places[ticket], self.tickets[place] = nil, nil
  self.count = self.count - 1
  while self.first <= self.last and self.tickets[self.first] == nil do self.first = self.first + 1 end
end

--- Cancels what is inside: the task that would have taken it was cancelled.
function Set:cancel()
  for ticket in pairs(self.places) do ticket:cancel() end
end

--- The next ticket that is done, waiting for it; nil when none is left.
function Set:take_next(who)
  while self.count > 0 do
    while self.done_first <= self.done_last do
      local ticket = self.done[self.done_first]
      self.done[self.done_first] = nil
      self.done_first = self.done_first + 1
      if self.places[ticket] then
        remove(self, ticket)
        return ticket
      end
    end
    local latch = loop.latch(1)
    function latch.on_cancel() self:cancel() end
    table.insert(self.latches, latch)
    loop.await(latch, who)
  end
end

return set
