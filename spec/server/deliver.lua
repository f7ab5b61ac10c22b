-- Puts a reply on the wire, as fast, slowly, wrongly or rudely as the behaviour wants it.
--
-- A reply: { status, headers, json | body, pad = n, pad_with = one byte, chunked = true,
-- halve = true (half of the body is the body), cut = "cut"|"cutreset", sever = "reset"|"gone" }.

local cjson = require "cjson.safe"
local counters = require "counters"
local gzip = require "gzip"
local sever = require "sever"

local M = {}

local PIECE = 65536
local ENDLESS = 64 * 1024 * 1024
-- What is larger may still be on its way when Lua has handed it over.
local AT_ONCE = 65536
local EXTRA_NAMES = 200

local paddings = {}

local function padding(byte, n)
  if n < PIECE then
    return byte:rep(n)
  end
  paddings[byte] = paddings[byte] or byte:rep(PIECE)
  return paddings[byte]
end

-- Bytes [from, from + n) of the reply, or fewer; never more than one piece of the padding.
local function slice(reply, from, n)
  local body = reply.body
  if from < #body then
    return body:sub(from + 1, math.min(from + n, #body))
  end
  return padding(reply.pad_with or " ", math.min(n, PIECE))
end

local function write(piece)
  ngx.print(piece)
  local ok = ngx.flush(true)
  if not ok then
    counters.leave(499)
    return ngx.exit(ngx.ERROR)
  end
end

-- Writes bytes [from, to), with the waits that the behaviour wants between them.
local function stream(reply, behave, from, to, middle)
  local drip = behave.drip
  local paused = not behave.pause
  while from < to do
    local n = math.min(drip and drip.bytes or PIECE, to - from)
    if not paused and from < middle then
      n = math.min(n, middle - from)
    end
    local piece = slice(reply, from, n)
    write(piece)
    from = from + #piece
    if not paused and from >= middle then
      paused = true
      ngx.sleep(behave.pause)
    end
    if drip and from < to then
      ngx.sleep(drip.seconds)
    end
  end
end

local function endless_headers()
  local socket = ngx.req.http_version() < 2 and ngx.req.socket(true)
  if not socket then
    ngx.status = 400
    counters.leave(400)
    return ngx.say('{"error":{"message":"endless_headers takes HTTP/1.1"}}')
  end
  socket:send("HTTP/1.1 200 OK\r\n")
  local sent, n = 0, 0
  while sent < ENDLESS do
    n = n + 1
    local bytes = socket:send(("x-endless-%d: %s\r\n"):format(n, ("e"):rep(1000)))
    if not bytes then
      break
    end
    sent = sent + bytes
  end
  counters.leave(200)
  return ngx.exit(ngx.ERROR)
end

local function compress(reply, how)
  local accepted = ngx.var.http_accept_encoding
  if how == "broken" then
    ngx.header.content_encoding = "gzip"
  elseif accepted and accepted:find("gzip", 1, true) then
    ngx.header.content_encoding = "gzip"
    local pad = (reply.pad_with or " "):rep(reply.pad or 0)
    reply.body, reply.pad = gzip(reply.body .. pad), 0
  end
end

local function set_headers(reply, behave)
  local header = ngx.header
  header.content_type = "application/json"
  for name, value in pairs(reply.headers or {}) do
    header[name] = value
  end
  if behave.skew then
    header["Date"] = ngx.http_time(ngx.time() + behave.skew)
  end
  -- Each name that is set is looked for among those that are there: a few hundred names with
  -- many values each are added faster than thousands of names.
  local n = behave.headers or 0
  for k = 1, math.min(n, EXTRA_NAMES) do
    local values = {}
    for _ = k, n, EXTRA_NAMES do
      values[#values + 1] = "extra"
    end
    header["x-extra-" .. k] = values
  end
end

--- @param reply table
--- @param behave table
function M.send(reply, behave)
  if reply.sever then
    counters.leave(ngx.HTTP_CLOSE)
    return sever.before(reply.sever)
  end
  if behave.endless_headers then
    return endless_headers()
  end
  ngx.status = reply.status
  set_headers(reply, behave)
  reply.body = reply.body or cjson.encode(reply.json)
  if reply.halve then
    reply.body = reply.body:sub(1, math.floor(#reply.body / 2))
  end
  reply.pad = (reply.pad or 0) + (behave.big or 0)
  if behave.gzip then
    compress(reply, behave.gzip)
  end

  local total = #reply.body + reply.pad
  local said = math.max(0, total + (behave.length or 0))
  if not reply.chunked then
    ngx.header.content_length = said
  end
  local cut = reply.cut or said > total and "cut"
  if cut then
    local last = reply.cut and math.floor(total / 2) or total
    stream(reply, behave, 0, last, math.floor(last / 2))
    counters.leave(reply.status)
    return sever.within(cut == "cutreset")
  end

  local whole = total <= AT_ONCE and not behave.drip and not behave.pause
  if not whole then
    stream(reply, behave, 0, total - 1, math.floor(total / 2))
  end
  counters.leave(reply.status)
  if whole then
    ngx.print(reply.body, padding(reply.pad_with or " ", reply.pad))
  else
    ngx.print(slice(reply, total - 1, 1))
  end
end

return M
