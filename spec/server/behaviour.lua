-- What a request may ask of the stand-in: `name=value;name=value` in the header x-behave, the
-- query `behave`, or the server's --default; the request's own win over the default's, each name
-- for itself.
--
--   latency=S | uniform:A:B | exp:MEAN | lognormal:MEAN:SIGMA     seconds before the answer
--   silent=S                    seconds more, without a byte
--   fail=WHAT[*K][,WHAT[*K]]    the item's first K tries (without *K: all), then the next WHAT;
--                               WHAT is a status or a word of failure.lua
--   faults=SHARE                that share of all tries fails, the same ones in each run
--   retry=FORM                  how failing answers say when to come back, see failure.lua
--   should_retry=true|false     x-should-retry on failing answers
--   skew=S                      the server's clock is off by S seconds
--   reused=gone|reset           a connection ends so at its second request
--   drip=BYTES:S                the body in pieces, S seconds between them
--   pause=S                     S seconds in the middle of the body
--   close=1                     Connection: close
--   idle_close=S                the connection is closed after S idle seconds (0.1 0.2 0.5 1 2 5)
--   length=+N | -N              a Content-Length that is wrong by N
--   gzip=1 | broken             compressed for a client that accepts it; or only said to be
--   redirect=N, redirect_code=C N redirects to itself (308)
--   redirect_to=URL             one redirect there
--   headers=N                   N extra headers
--   endless_headers=1           headers until the client goes or 64 MiB are sent (HTTP/1.1)
--   big=N                       N bytes of white space behind the body
--   skip_lines=2,5              a merged answer without these lines

local failure = require "failure"

local M = {}

local CACHE_MAX = 1000
local IDLE = { ["0.1"] = true, ["0.2"] = true, ["0.5"] = true, ["1"] = true, ["2"] = true,
  ["5"] = true }

local function number(text)
  local value = tonumber(text)
  if value and value >= 0 and value < math.huge then
    return value
  end
end

local function integer(text)
  return text:match("^%d+$") and tonumber(text)
end

local function flag(text)
  return text == "1" or nil
end

local function one_of(words)
  return function(text)
    return words[text] and text
  end
end

local function seconds(text)
  return number(text), "seconds"
end

local function count(text)
  return integer(text), "a non-negative integer"
end

local function switch(text)
  return flag(text), "1"
end

local SHAPES = { uniform = 2, exp = 1, lognormal = 2 }

local function latency(text)
  local wanted = "seconds, uniform:A:B, exp:MEAN or lognormal:MEAN:SIGMA"
  local fixed = number(text)
  if fixed then
    return { shape = "fixed", fixed }
  end
  local shape, rest = text:match("^(%a+):(.+)$")
  if not SHAPES[shape] then
    return nil, wanted
  end
  local value = { shape = shape }
  for part in (rest .. ":"):gmatch("([^:]*):") do
    value[#value + 1] = number(part)
    if not number(part) then
      return nil, wanted
    end
  end
  return #value == SHAPES[shape] and value, wanted
end

local function drip(text)
  local bytes, pause = text:match("^(%d+):(.+)$")
  bytes, pause = tonumber(bytes), pause and number(pause)
  return bytes and bytes > 0 and pause and { bytes = bytes, seconds = pause }, "BYTES:SECONDS"
end

local function lines(text)
  local set = {}
  for part in (text .. ","):gmatch("([^,]*),") do
    if not integer(part) then
      return nil, "line numbers such as 2,5"
    end
    set[integer(part)] = true
  end
  return set
end

local PARSERS = {
  latency = latency,
  silent = seconds,
  fail = failure.parse_fail,
  faults = function(text)
    local value = number(text)
    return value and value <= 1 and value, "a share from 0 to 1"
  end,
  retry = failure.parse_retry,
  should_retry = function(text)
    return one_of({ ["true"] = true, ["false"] = true })(text), "true or false"
  end,
  skew = function(text)
    local value = tonumber(text)
    return value and value == value and math.abs(value) < 2 ^ 31 and value, "seconds"
  end,
  reused = function(text)
    return one_of({ gone = true, reset = true })(text), "gone or reset"
  end,
  drip = drip,
  pause = seconds,
  close = switch,
  idle_close = function(text)
    return one_of(IDLE)(text), "0.1, 0.2, 0.5, 1, 2 or 5"
  end,
  length = function(text)
    return text:match("^[+-]%d+$") and tonumber(text), "+N or -N"
  end,
  gzip = function(text)
    return one_of({ ["1"] = true, broken = true })(text), "1 or broken"
  end,
  redirect = count,
  redirect_code = function(text)
    return text:match("^30[12378]$") and tonumber(text), "301, 302, 303, 307 or 308"
  end,
  redirect_to = function(text)
    return text ~= "" and text, "a URL"
  end,
  headers = count,
  endless_headers = switch,
  big = count,
  skip_lines = lines,
}

local function known_names()
  local names = {}
  for name in pairs(PARSERS) do
    names[#names + 1] = name
  end
  table.sort(names)
  return table.concat(names, " ")
end

--- @param text string
--- @return table? behaviour by name, with the values in use
--- @return string? why the text is none
function M.parse(text)
  local behave = {}
  for part in text:gmatch("[^;]+") do
    local name, value = part:match("^%s*([%w_]+)%s*=%s*(.-)%s*$")
    if name then
      local parser = PARSERS[name]
      if not parser then
        return nil, "unknown behaviour '" .. name .. "', known are " .. known_names()
      end
      local parsed, wanted = parser(value)
      if not parsed then
        return nil, ("behaviour '%s' takes %s, got '%s'"):format(name, wanted, value)
      end
      behave[name] = parsed
    elseif part:find("%S") then
      return nil, "a behaviour is name=value, got '" .. part .. "'"
    end
  end
  return behave
end

local default = {}
local cache, cached = {}, 0

--- Sets what holds for each request that doesn't ask for something else; raises if it is wrong.
--- @param text string
function M.set_default(text)
  default = assert(M.parse(text))
end

--- The behaviour of one request.
--- @param text string? what the request asks for
--- @return table? behaviour
--- @return string? why the text is none
function M.of(text)
  if not text then
    return default
  end
  local known = cache[text]
  if known then
    return known
  end
  local own, why = M.parse(text)
  if not own then
    return nil, why
  end
  for name, value in pairs(default) do
    if own[name] == nil then
      own[name] = value
    end
  end
  if cached >= CACHE_MAX then
    cache, cached = {}, 0
  end
  cache[text], cached = own, cached + 1
  return own
end

local function exponential(mean)
  return -mean * math.log(1 - math.random())
end

local function normal()
  local radius = math.sqrt(-2 * math.log(1 - math.random()))
  return radius * math.cos(2 * math.pi * math.random())
end

local SAMPLES = {
  fixed = function(value) return value[1] end,
  uniform = function(value) return value[1] + (value[2] - value[1]) * math.random() end,
  exp = function(value) return exponential(value[1]) end,
  -- MEAN is the mean of the latency itself, SIGMA the deviation of its logarithm.
  lognormal = function(value)
    return value[1] * math.exp(value[2] * normal() - value[2] ^ 2 / 2)
  end,
}

--- Seconds to wait before the answer.
--- @param behave table
--- @return number
function M.delay(behave)
  local value = behave.latency
  return (value and SAMPLES[value.shape](value) or 0) + (behave.silent or 0)
end

return M
