-- The ways to fail: which one a try gets, and how it looks on the wire.
--
-- fail=WHAT, WHAT is a status from 300 on, or
--   quota     429 with insufficient_quota          any       a 429, 500, 503 or 529, by turns
--   reset     RST before any byte                  gone      closed without a byte
--   cut       half of the body, then closed        cutreset  half of the body, then RST
--   badjson   200, no JSON                         halfjson  200, half of a JSON text
--   html      200, a page                          empty     200, no body
--
-- retry=FORM on 4xx and 5xx answers
--   after:S     Retry-After: S                     ms:N      retry-after-ms: N
--   date:S date850:S asctime:S                     Retry-After: now + S, in each date form
--   both:N:S    retry-after-ms: N, Retry-After: S  raw:TEXT  Retry-After: TEXT      none

local M = {}

local ANY = { 429, 500, 503, 529 }

local WORDS = { quota = true, any = true, reset = true, gone = true, cut = true, cutreset = true,
  badjson = true, halfjson = true, html = true, empty = true }

local STATUSES = {
  [400] = { "invalid_request_error", "invalid_request", "The request was invalid." },
  [401] = { "invalid_request_error", "invalid_api_key", "Incorrect API key provided." },
  [403] = { "invalid_request_error", "forbidden", "You may not do this." },
  [404] = { "invalid_request_error", "not_found", "There is no such thing." },
  [408] = { "timeout_error", "request_timeout", "The request took too long." },
  [429] = { "requests", "rate_limit_exceeded", "Rate limit reached for requests." },
  [500] = { "server_error", "internal_error", "The server had an error." },
  [502] = { "server_error", "bad_gateway", "Bad gateway." },
  [503] = { "server_error", "service_unavailable", "The engine is currently overloaded." },
  [504] = { "server_error", "gateway_timeout", "Gateway time-out." },
  [529] = { "overloaded_error", "overloaded", "Overloaded." },
}

local PAGE = "<!DOCTYPE html>\n<html><head><title>Just a moment</title></head>"
  .. "<body><h1>Just a moment</h1></body></html>\n"

--- @param text string
--- @return table[]? steps, each with `what` and `times`
--- @return string wanted
function M.parse_fail(text)
  local wanted = "WHAT*K[,WHAT*K], WHAT a status from 300 to 599 or one of quota any reset gone "
    .. "cut cutreset badjson halfjson html empty"
  local steps = {}
  for part in (text .. ","):gmatch("([^,]*),") do
    local what, times = part:match("^(%w+)%*(%d+)$")
    what = what or part
    local status = what:match("^[345]%d%d$")
    if not status and not WORDS[what] then
      return nil, wanted
    end
    steps[#steps + 1] = { what = tonumber(status) or what, times = tonumber(times) or math.huge }
  end
  return steps, wanted
end

local DATES = {
  date = function(time) return ngx.http_time(time) end,
  date850 = function(time) return os.date("!%A, %d-%b-%y %H:%M:%S GMT", time) end,
  asctime = function(time) return os.date("!%a %b %e %H:%M:%S %Y", time) end,
}

--- @param text string
--- @return function? headers called with the server's time, returns a table of headers
--- @return string wanted
function M.parse_retry(text)
  local wanted = "after:S ms:N date:S date850:S asctime:S both:N:S raw:TEXT or none"
  if text == "none" then
    return function() return {} end, wanted
  end
  local form, value = text:match("^(%w+):(.*)$")
  if form == "raw" or form == "after" and tonumber(value) then
    return function() return { ["Retry-After"] = value } end, wanted
  elseif form == "ms" and tonumber(value) then
    return function() return { ["retry-after-ms"] = value } end, wanted
  elseif DATES[form] and tonumber(value) then
    return function(now)
      return { ["Retry-After"] = DATES[form](math.floor(now + tonumber(value))) }
    end, wanted
  end
  local milliseconds, seconds = text:match("^both:([%d.]+):([%d.]+)$")
  if tonumber(milliseconds) and tonumber(seconds) then
    return function()
      return { ["retry-after-ms"] = milliseconds, ["Retry-After"] = seconds }
    end, wanted
  end
  return nil, wanted
end

-- A fraction of one that depends on nothing but the item and the try.
local function chance(key, try)
  return tonumber(ngx.md5(key .. "\0" .. try):sub(1, 8), 16) / 2 ^ 32
end

local FAULTS = { 429, 500, 503, 529, "reset" }

--- Which failure this try gets, if any.
--- @param behave table
--- @param key string the item's name, or what the request asks
--- @param try integer from 1
--- @return integer|string|nil what
--- @return boolean? by_fault true if `faults` chose it
function M.choose(behave, key, try)
  local before = 0
  for _, step in ipairs(behave.fail or {}) do
    if try <= before + step.times then
      local what = step.what
      return what == "any" and ANY[(try - 1) % #ANY + 1] or what
    end
    before = before + step.times
  end
  if behave.faults and chance(key, try) < behave.faults then
    return FAULTS[math.floor(chance(key .. "\0kind", try) * #FAULTS) + 1], true
  end
end

--- An error as providers word it.
--- @param status integer
--- @param code string?
--- @param message string?
--- @param kind string? error.type
--- @return table reply
function M.error(status, code, message, kind)
  local known = STATUSES[status] or { "error", "status_" .. status, "Status " .. status .. "." }
  return { status = status, json = { error = {
    type = kind or known[1],
    code = code or known[2],
    message = message or known[3],
  } } }
end

--- The headers by which a failing answer says when to come back.
--- @param behave table
--- @param by_fault boolean? these name a short wait of their own
--- @param status integer
--- @return table headers
function M.headers(behave, by_fault, status)
  local headers = {}
  if behave.retry then
    headers = behave.retry(ngx.now() + (behave.skew or 0))
  elseif by_fault and status == 429 then
    headers = { ["retry-after-ms"] = "100", ["Retry-After"] = "1" }
  end
  headers["x-should-retry"] = behave.should_retry
  return headers
end

--- Makes a failure of a good reply.
--- @param what integer|string
--- @param good fun():table makes the reply that the request would have got
--- @return table reply
function M.reply(what, good)
  if type(what) == "number" then
    return M.error(what)
  elseif what == "quota" then
    return M.error(429, "insufficient_quota",
      "You exceeded your current quota, please check your plan and billing details.",
      "insufficient_quota")
  elseif what == "reset" or what == "gone" then
    return { sever = what }
  elseif what == "badjson" then
    return { status = 200, body = '{"choices": [oops}' }
  elseif what == "html" then
    return { status = 200, body = PAGE, headers = { ["Content-Type"] = "text/html" } }
  elseif what == "empty" then
    return { status = 200, body = "" }
  end
  local reply = good()
  if what == "halfjson" then
    reply.halve = true
  else
    reply.cut = what
  end
  return reply
end

return M
