-- CONNECT for the proxy. nginx knows no such method; what it refuses comes here, with the request
-- still unread on the raw socket.

local counters = require "counters"

local M = {}

local PIECE = 65536
local LOCAL = { ["127.0.0.1"] = true, ["localhost"] = true, ["[::1]"] = true }
local IDLE = 300000 -- ms

local function pump(from, to)
  while true do
    local data = from:receiveany(PIECE)
    if not data or not to:send(data) then
      return
    end
  end
end

--- Tunnels to this host's port that is asked for; a foreign name leads to `port`.
--- @param port integer
function M.run(port)
  local client = ngx.req.socket(true)
  if not client then
    return ngx.exit(ngx.HTTP_CLOSE)
  end
  client:settimeout(IDLE)
  local host, wanted = (client:receive("*l") or ""):match("^CONNECT ([^ ]+):(%d+) HTTP/1%.%d")
  if not host then
    client:send("HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
    return ngx.exit(ngx.ERROR)
  end
  local line
  repeat
    line = client:receive("*l")
  until not line or line == ""
  counters.proxied()
  local server = ngx.socket.tcp()
  server:settimeout(IDLE)
  if not server:connect("127.0.0.1", LOCAL[host] and tonumber(wanted) or port) then
    client:send("HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
    return ngx.exit(ngx.ERROR)
  end
  client:send("HTTP/1.1 200 Connection established\r\nx-via-proxy: 1\r\n\r\n")
  local up = ngx.thread.spawn(pump, client, server)
  local down = ngx.thread.spawn(pump, server, client)
  ngx.thread.wait(up, down)
  ngx.thread.kill(up)
  ngx.thread.kill(down)
  server:close()
  return ngx.exit(ngx.ERROR)
end

return M
