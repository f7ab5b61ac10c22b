-- Several items in one request: fn gets up to k of them and returns as many results; what is missing comes
-- again in halves, down to one.

local Groups = {}
Groups.__index = Groups

local merge = {}

--- Statuses that smaller requests may cure: bad request (too long, often), too large, can't be processed.
local SPLIT_STATUS = { [400] = true, [413] = true, [422] = true }

--- Kinds that smaller requests may cure.
local SPLIT_KIND = { invalid = true, too_large = true }

---@param size integer items in one request
function merge.new(size)
  return setmetatable({ size = size, halves = {} }, Groups)
end

--- Whether an error may come from the items being together. A key that is refused, or a server that can't
--- be reached, fails each half as well, and costs a call each.
local function may_split(err)
  if type(err) ~= "table" or err.kind == nil then return true end
  return SPLIT_KIND[err.kind] or (err.kind == "http" and SPLIT_STATUS[err.status]) or false
end

local function split(group)
  local middle = math.ceil(group.n / 2)
  local halves = { { n = 0, indices = {} }, { n = 0, indices = {} } }
  for i = 1, group.n do
    local half = halves[i <= middle and 1 or 2]
    half.n = half.n + 1
    half[half.n], half.indices[half.n] = group[i], group.indices[i]
  end
  return halves
end

--- What fn left out, as a group of its own; what it gave is delivered.
local function settle(run, group, results)
  local missing = { n = 0, indices = {} }
  for i = 1, group.n do
    local result = results[i]
    if result ~= nil then
      run:deliver(group.indices[i], result, nil)
    else
      missing.n = missing.n + 1
      missing[missing.n], missing.indices[missing.n] = group[i], group.indices[i]
    end
  end
  return missing
end

local function group_ended(groups, run, group)
  return function(task, results, err)
    run.tasks[task] = nil
    if results ~= nil and type(results) ~= "table" then
      results, err = nil, "with merge, fn must return an array, one result an item"
    end
    local missing = settle(run, group, results or {})
    if missing.n == 0 then return end
    if missing.n == 1 and group.n == 1 or not may_split(err) then
      for i = 1, missing.n do
        run:deliver(missing.indices[i], nil, err or "fn returned no result for the item")
      end
      return
    end
    -- What is left of a larger group is asked for again as it is, unless all of it is left.
    local halves = missing.n < group.n and { missing } or split(missing)
    for _, half in ipairs(halves) do table.insert(groups.halves, half) end
    run:wake()
  end
end

local function read_group(groups, run)
  local group = { n = 0, indices = {} }
  while group.n < groups.size and not run.ended do
    local more, item, index = run:take()
    if not more then break end
    run.live = run.live + 1
    if item == nil then
      run.live = run.live - 1
      run:begin(item, index)
    else
      group.n = group.n + 1
      group[group.n], group.indices[group.n] = item, index
    end
  end
  return group.n > 0 and group or nil
end

local function begin(self, run, group)
  if not group then return false end
  run:begin_task(group, group.indices, group_ended(self, run, group))
  return true
end

--- Begins a group that is asked for again. False if there is none.
function Groups:begin_half(run)
  return begin(self, run, table.remove(self.halves, 1))
end

--- Begins a group of new items. False if there are no more.
function Groups:begin(run)
  return begin(self, run, not run.ended and read_group(self, run))
end

return merge
