-- Starts the local stand-in for a provider, for one spec file or one test.
--
--   local server = require "spec.support.server"
--   local s = server.start { default = "latency=0.01" }
--   -- … requests to s.url …
--   assert.equal(2, s:hits("item-7"))
--   s:stop()

local cjson = require "cjson"

--- @class sheaf.spec.Server
--- @field url string plain HTTP/1.1, "http://127.0.0.1:PORT"
--- @field tls string TLS with HTTP/2 or HTTP/1.1, "https://localhost:PORT"
--- @field tls1 string TLS with HTTP/1.1 only
--- @field v6 string? as url, on [::1], where the machine has IPv6
--- @field socket string path of a Unix-domain socket that speaks HTTP/1.1
--- @field proxy string URL of a plain HTTP forward proxy; names other than this host's lead to url
--- @field ca string file with the CA of the server's certificate
--- @field other_ca string file with a CA that has signed nothing
--- @field client_cert string file with a client certificate by ca
--- @field client_key string file with its key
--- @field port integer of url
--- @field pid integer of nginx's master
--- @field dir string folder with all of these files and error.log
local Server = {}
Server.__index = Server

local M = {}

local KEYS = { "dir", "pid", "http", "https", "https1", "proxy", "socket", "ca", "other_ca",
  "client_cert", "client_key", "v6" }

local here = debug.getinfo(1, "S").source:match("^@(.*)support/server%.lua$") or "spec/"
local scripts = here .. "server/"

local function word(text)
  return "'" .. tostring(text):gsub("'", "'\\''") .. "'"
end

local function read(command)
  local pipe = assert(io.popen(command, "r"))
  local text = pipe:read("*a")
  pipe:close()
  return text
end

local function ask(url)
  return read("curl --silent --show-error --max-time 10 --noproxy '*' " .. word(url) .. " 2>&1")
end

--- Starts a server; it accepts connections when this returns. It ends at stop(), or by itself
--- soon after this process has gone. Raises if it can't start.
--- @param options { workers: integer?, default: string?, dir: string? }?
---   workers: nginx processes (1); default: the behaviour of all requests, see behaviour.lua;
---   dir: an empty or new folder to use, removed at stop (a new one under TMPDIR)
--- @return sheaf.spec.Server
function M.start(options)
  local command = { word(scripts .. "start"), '--owner "$PPID"' }
  for _, name in ipairs { "workers", "default", "dir" } do
    local value = options and options[name]
    if value then
      command[#command + 1] = "--" .. name .. " " .. word(value)
    end
  end
  local out = read(table.concat(command, " ") .. " 2>&1")
  local said = {}
  for key, value in out:gmatch("([%w_]+)=([^\n]*)\n") do
    said[key] = value
  end
  for _, key in ipairs(KEYS) do
    if not said[key] then
      error("the test server does not start: " .. out, 2)
    end
  end
  return setmetatable({
    url = "http://127.0.0.1:" .. said.http,
    tls = "https://localhost:" .. said.https,
    tls1 = "https://localhost:" .. said.https1,
    v6 = said.v6 == "1" and "http://[::1]:" .. said.http or nil,
    proxy = "http://127.0.0.1:" .. said.proxy,
    socket = said.socket,
    ca = said.ca,
    other_ca = said.other_ca,
    client_cert = said.client_cert,
    client_key = said.client_key,
    port = tonumber(said.http),
    pid = tonumber(said.pid),
    dir = said.dir,
  }, Server)
end

--- What the server has counted since it started or was reset: hits, items { name = hits },
--- open, max_open, connections, max_connections, accepted (connections that came since, by their
--- first request), proxied, statuses { ["200"] = n }.
--- @return table
function Server:stats()
  local text = ask(self.url .. "/_stats")
  local ok, stats = pcall(cjson.decode, text)
  if not ok then
    error("the test server gives no stats: " .. text, 2)
  end
  return stats
end

--- How often the item has been asked for.
--- @param item string
--- @return integer
function Server:hits(item)
  local name = item:gsub("[^%w]", function(c) return ("%%%02X"):format(c:byte()) end)
  local text = ask(self.url .. "/_stats?item=" .. name)
  return tonumber(text) or error("the test server gives no stats: " .. text, 2)
end

--- Sets all counts to zero, the tries that `fail=…*K` has counted too; what is open stays open.
function Server:reset()
  ask(self.url .. "/_reset")
end

--- Ends the server and removes its folder. A second call does nothing.
function Server:stop()
  if not self.stopped then
    self.stopped = true
    read(word(scripts .. "stop") .. " " .. word(self.dir) .. " 2>&1")
  end
end

return M
