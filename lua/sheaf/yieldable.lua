-- Whether the running function may yield, on every Lua.

local core = require "sheaf.core"

--- What is read from the thread is believed only if it is right in cases with a known answer.
local function can_tell()
  local inside, callback, after
  local co = coroutine.create(function()
    inside = core.yieldable()
    string.gsub("x", "x", function() callback = core.yieldable() end)
    after = core.yieldable()
  end)
  coroutine.resume(co)
  return inside == true and callback == false and after == true
end

return coroutine.isyieldable or (can_tell() and core.yieldable) or function() return false end
