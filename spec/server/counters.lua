-- What the server has seen: hits, items, open requests, connections, statuses.
--
-- Shared dictionaries, so that the numbers are right with several workers: `items` maps an item's
-- name to its hits, `counts` holds all else. A maximum has no atomic operation there, so each
-- worker keeps the greatest value that it has seen of the shared count, and the answer is the
-- greatest of them.

local cjson = require "cjson.safe"

local M = {}

local counts = ngx.shared.counts
local items = ngx.shared.items
local unnamed = ngx.shared.unnamed

local function raise(name, value)
  local key = name .. ":" .. ngx.worker.id()
  if value > (counts:get(key) or 0) then
    counts:set(key, value)
  end
end

local function greatest(name)
  local most = 0
  for id = 0, ngx.worker.count() - 1 do
    most = math.max(most, counts:get(name .. ":" .. id) or 0)
  end
  return most
end

--- Counts a request that has just arrived.
--- @param item string? the item's name
--- @return integer serial number of the request, from 1
--- @return integer? try how often this item has been asked for, this one included
function M.arrive(item)
  local serial = counts:incr("hits", 1, 0)
  local try = item and items:incr(item, 1, 0)
  raise("max_open", counts:incr("open", 1, 0))
  raise("max_connections", tonumber(ngx.var.connections_active) or 0)
  if ngx.var.connection_requests == "1" then
    counts:incr("accepted", 1, 0)
  end
  ngx.ctx.counted = true
  return serial, try
end

--- Counts a try of a request without an item's name, by what it asks.
--- @param key string
--- @return integer try from 1
function M.unnamed_try(key)
  return unnamed:incr(ngx.md5(key), 1, 0)
end

--- Counts a request as ended. Called before the last byte goes out: the client's next request,
--- which another worker may take, never finds this one still open.
--- @param status integer
function M.leave(status)
  local ctx = ngx.ctx
  if ctx.counted and not ctx.left then
    ctx.left = true
    counts:incr("open", -1, 0)
    counts:incr("status:" .. status, 1, 0)
  end
end

--- The log phase: ends what has not left by itself, such as a request whose client went away.
function M.log()
  M.leave(ngx.status)
end

--- Counts a request that came through the proxy.
function M.proxied()
  counts:incr("proxied", 1, 0)
end

--- GET /_stats, or GET /_stats?item=NAME for one number.
function M.answer()
  local item = ngx.var.arg_item
  if item then
    ngx.header.content_type = "text/plain"
    ngx.say(items:get(ngx.unescape_uri(item)) or 0)
    return
  end
  local stats = {
    hits = counts:get("hits") or 0,
    open = counts:get("open") or 0,
    max_open = greatest("max_open"),
    connections = (tonumber(ngx.var.connections_active) or 1) - 1,
    max_connections = greatest("max_connections"),
    accepted = counts:get("accepted") or 0,
    proxied = counts:get("proxied") or 0,
    statuses = {},
    items = {},
  }
  for _, key in ipairs(counts:get_keys(0)) do
    local status = key:match("^status:(.+)$")
    if status then
      stats.statuses[status] = counts:get(key)
    end
  end
  for _, name in ipairs(items:get_keys(0)) do
    stats.items[name] = items:get(name)
  end
  ngx.say(cjson.encode(stats))
end

--- POST /_reset: all zero, but what is open stays counted as open.
function M.reset()
  ngx.req.read_body()
  items:flush_all()
  unnamed:flush_all()
  for _, key in ipairs(counts:get_keys(0)) do
    if key ~= "open" then
      counts:delete(key)
    end
  end
  ngx.say("{}")
end

return M
