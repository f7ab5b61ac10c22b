--- sheaf: thousands of API calls as one batch, in straight-line Lua.
---
---     local sheaf = require "sheaf"
---     local batch = sheaf.batch{ base_url = "https://api.openai.com/v1", api_key = key }
---     for index, answer, err in batch:each(texts, ask) do print(index, answer or err) end
---
--- README explains which call to use when. This file only puts the parts together.

local batch = require "sheaf.batch"
local core = require "sheaf.core"
local each = require "sheaf.each"
local json = require "sheaf.json"
local loop = require "sheaf.loop"
local task = require "sheaf.task"

batch.Batch.each = each.each
batch.Batch.map = each.map

---@class sheaf
---@field version string
---@field json sheaf.json
---@field on_error fun(err: any, traceback: string) gets errors that nobody waits for; by default it writes to stderr
local sheaf = {
  version = core.version,
  json = json,
  batch = batch.new,
  limiter = batch.limiter,
  run = task.run,
  spawn = task.spawn,
  sleep = task.sleep,
  wrap = task.wrap,
  pcall = task.pcall,
  now = core.now,
}

--- The descriptor that is readable while step() has something to do.
---@return integer fd raises where the machine gives none
function sheaf.pollfd()
  local fd, message = core.fd()
  if not fd then error(message, 2) end
  if not loop.watched and loop.has_ready() then core.wake() end
  loop.watched = true
  return fd
end

--- What to wait for on pollfd(): always "r".
function sheaf.events()
  return "r"
end

--- How long a loop may wait for pollfd(): 0 while a task is ready, else nil, without end.
---@return number?
function sheaf.timeout()
  return loop.has_ready() and 0 or nil
end

--- Hands over what came back and runs the tasks that can go on, for about 2 ms; never waits. For event
--- loops that wait on pollfd(). Raises inside a task.
function sheaf.step()
  loop.step()
end

return setmetatable(sheaf, {
  __index = function(_, key)
    if key == "on_error" then return loop.on_error end
    if key == "processor" then
      local made = require "sheaf.processor".new
      rawset(sheaf, "processor", made)
      return made
    end
  end,
  __newindex = function(_, key, value)
    if key ~= "on_error" then rawset(sheaf, key, value) return end
    if type(value) ~= "function" then
      error("sheaf.on_error must be a function", 2)
    end
    loop.on_error = value
  end,
})
