-- Runs a Lua script in a process of its own, by the interpreter that runs the specs and with its paths.
--
--   local child = require "spec.support.child"
--   local ended = child.run([[ print(...) os.exit(3) ]], { args = { "a" } })
--   assert.equal(3, ended.status)

local system = require "system"

--- @class sheaf.spec.Child
--- @field stdout string
--- @field stderr string
--- @field status integer exit status; where a signal ended it, 128 + its number, as shells have it
--- @field signal integer? the signal that ended it
--- @field seconds number how long it ran

local M = {}

-- Seconds after which a child that hangs is ended: its status is 124 then.
local PATIENCE = 30

--- Quotes text as one word for the shell.
--- @param text any
--- @return string
function M.word(text)
  return "'" .. tostring(text):gsub("'", "'\\''") .. "'"
end

local word = M.word

--- The interpreter's name: the first word of the command line.
--- @return string
function M.interpreter()
  local first = 0
  while arg[first - 1] do
    first = first - 1
  end
  return arg[first]
end

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

local function write(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

--- Runs a shell command and returns what it wrote.
--- @param command string
--- @return string
function M.shell(command)
  local pipe = assert(io.popen(command, "r"))
  local text = pipe:read("*a")
  pipe:close()
  return text
end

--- The environment that a child gets: paths of this process, and nothing that steers sheaf or curl.
local function environment(own)
  local words = { "env -u SHEAF_LOG -u OPENAI_API_KEY -u OPENAI_BASE_URL -u http_proxy -u https_proxy",
    "-u HTTPS_PROXY -u all_proxy -u ALL_PROXY -u no_proxy -u NO_PROXY -u LUA_INIT",
    "LUA_PATH=" .. word(package.path), "LUA_CPATH=" .. word(package.cpath) }
  for name, value in pairs(own or {}) do
    words[#words + 1] = name .. "=" .. word(value)
  end
  return table.concat(words, " ")
end

--- Runs a script to its end.
--- @param script string Lua; its `...` are the args
--- @param options { args: any[]?, env: table<string, string>?, before: string?, as: string? }?
---   before: shell text that runs first, "ulimit -n 80"; as: words before the interpreter, "nice -n 5"
--- @return sheaf.spec.Child
function M.run(script, options)
  options = options or {}
  local base = os.tmpname()
  write(base, script)
  local words = { "timeout --foreground " .. PATIENCE, environment(options.env), options.as or "",
    M.interpreter(), "-" }
  for _, value in ipairs(options.args or {}) do
    words[#words + 1] = word(value)
  end
  local command = ("%s\n%s <%s >%s 2>%s; echo $?"):format(options.before or "",
    table.concat(words, " "), word(base), word(base .. ".out"), word(base .. ".err"))
  local began = system.monotime()
  local status = tonumber(M.shell(command):match("(%d+)%s*$"))
  local ended = {
    stdout = read(base .. ".out"), stderr = read(base .. ".err"), status = status,
    signal = status > 128 and status - 128 or nil, seconds = system.monotime() - began,
  }
  os.remove(base)
  os.remove(base .. ".out")
  os.remove(base .. ".err")
  return ended
end

return M
