-- Tasks that failed and whose error nobody has taken yet. Somebody may still: who holds the handle that
-- spawn returned.

local unclaimed = {}

local tasks = {}
local is_new = false            -- some were added since the last look
local handles = setmetatable({}, { __mode = "v" })  -- task -> what spawn returned, while it is held

--- Ties a task to the handle that spawn gives out.
function unclaimed.set_handle(task, handle)
  handles[task] = handle
end

--- Keeps a failed task: nobody waits for it now. One that was cancelled has nothing to tell.
function unclaimed.add(task)
  if task.cancelled and type(task.err) == "table" and task.err.kind == "cancelled" then return end
  tasks[#tasks + 1] = task
  is_new = true
end

--- Marks a failed task's error as taken.
function unclaimed.claim(task)
  for i, other in ipairs(tasks) do
    if other == task then return table.remove(tasks, i) end
  end
end

--- Takes out those that nobody can wait for any more, and those that are ours to report in any case.
---@param collect boolean whether a collection may be run to find out
---@param is_ours fun(task: table): boolean?
---@return table[]
function unclaimed.take(collect, is_ours)
  if #tasks == 0 then return tasks end
  if collect and is_new then collectgarbage() end
  is_new = false
  local taken, rest = {}, {}
  for _, task in ipairs(tasks) do
    local list = (not handles[task] or is_ours(task)) and taken or rest
    list[#list + 1] = task
  end
  tasks = rest
  return taken
end

return unclaimed
