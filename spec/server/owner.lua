-- Ends the server when the process that asked for it is gone, however that ended.

local ffi = require "ffi"

local M = {}

ffi.cdef [[int kill(int pid, int signal);]]

local ESRCH = 3
local EVERY = 0.5 -- seconds

local function shell_word(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

--- Called once in each worker; the first one watches.
function M.watch()
  math.randomseed(ngx.worker.pid() + ngx.now() * 1000)
  local owner = tonumber(os.getenv("SHEAF_SERVER_OWNER"))
  if not owner or ngx.worker.id() ~= 0 then
    return
  end
  local stop = shell_word(os.getenv("SHEAF_SERVER_STOP"))
    .. " " .. shell_word(os.getenv("SHEAF_SERVER_DIR")) .. " >/dev/null 2>&1 &"
  ngx.timer.every(EVERY, function(premature)
    if not premature and ffi.C.kill(owner, 0) ~= 0 and ffi.errno() == ESRCH then
      os.execute(stop)
    end
  end)
end

return M
