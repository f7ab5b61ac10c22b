-- The stand-in for the wire: a function on the Lua thread answers attempts. Retries, limits, order and
-- timing stay real.

local check = require "sheaf.check"
local fault = require "sheaf.fault"
local json = require "sheaf.json"
local loop = require "sheaf.loop"
local request = require "sheaf.request"

local transport = {}

local function failed(message)
  return { kind = "internal", message = message, delay = 0 }
end

--- Why what a transport returned can't be an answer, or nil.
local function fault_in(given)
  for _, field in ipairs{ "body", "message" } do
    local value = given[field]
    if value ~= nil and type(value) ~= "string" then
      return ("the transport's '%s' must be a string, got a %s"):format(field, type(value))
    end
  end
  if given.headers == nil then return nil end
  local ok, message = pcall(check.headers, "the transport", given.headers, 0)
  if not ok then return (message:gsub("^.-:%d+: ", "", 1)) end
end

local function head_of(status, headers)
  local lines = { ("HTTP/1.1 %d"):format(status) }
  for _, line in ipairs(request.lines(headers or {})) do lines[#lines + 1] = line end
  return table.concat(lines, "\r\n") .. "\r\n\r\n"
end

--- Asks a transport function for an answer to one attempt.
---@param fn function (request, attempt) -> { status?, headers?, body? | json?, delay? } | { error = kind, message? }
---@return table answer what core.answer takes; a function that raises or returns nonsense is `internal`
function transport.ask(fn, shown, attempt)
  local ok, given = loop.hook(fn, shown, attempt)
  if not ok then return failed("the transport raised: " .. tostring(given)) end
  if type(given) ~= "table" then
    return failed(("the transport must return a table, got %s"):format(type(given)))
  end
  local wrong = fault_in(given)
  if wrong then return failed(wrong) end
  local delay = given.delay or 0
  if type(delay) ~= "number" or delay ~= delay or delay < 0 then
    return failed("the transport's 'delay' must be a number of seconds, 0 or more")
  end
  if given.error ~= nil then
    if not fault.kinds[given.error] then
      return failed(("the transport's 'error' is no kind of error: %s"):format(
        tostring(given.error)))
    end
    return { kind = given.error, message = given.message, delay = delay }
  end
  local status = given.status or 200
  if type(status) ~= "number" or status < 100 or status > 599 or status ~= math.floor(status) then
    return failed(("the transport's 'status' must be a number from 100 to 599, got %s"):format(
      tostring(status)))
  end
  local body = given.body
  if given.json ~= nil then
    local message
    body, message = json.encode(given.json)
    if not body then return failed("the transport's 'json' can't be encoded: " .. message) end
  end
  return { status = status, head = head_of(status, given.headers), body = body or "", delay = delay }
end

return transport
