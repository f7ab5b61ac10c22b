-- What a batch counts on the Lua thread, and the table that batch:stats() returns.

local answer = require "sheaf.answer"
local core = require "sheaf.core"

local stats = {}

--- Over how many seconds requests_per_s is taken.
local WINDOW = 10

local floor, min, max = math.floor, math.min, math.max

function stats.new()
  return {
    total = 0, done = 0, ok = 0, failed = 0, tokens_in = 0, tokens_out = 0,
    latency = core.histogram(), began = nil, seconds = {}, expected = nil,
  }
end

--- Counts a submit.
function stats.submitted(counts)
  counts.total = counts.total + 1
  counts.began = counts.began or core.now()
end

--- Counts into the second, and forgets those out of the window when a new one begins.
local function count_second(counts, second)
  local seconds = counts.seconds
  local before = seconds[second]
  if before then
    seconds[second] = before + 1
    return
  end
  seconds[second] = 1
  for old in pairs(seconds) do
    if old < second - WINDOW then seconds[old] = nil end
  end
end

--- Counts a request's end.
function stats.finished(counts, response)
  counts.done = counts.done + 1
  if response.ok then
    counts.ok = counts.ok + 1
    counts.latency:add(response._total)
  else
    counts.failed = counts.failed + 1
  end
  count_second(counts, floor(core.now()))
  local decoded = rawget(response, "_json")
  if decoded then
    local input, output = answer.tokens(decoded)
    if input then
      counts.tokens_in = counts.tokens_in + input
      counts.tokens_out = counts.tokens_out + output
    end
  end
end

local function recent_rate(counts)
  if not counts.began then return 0 end
  local now = core.now()
  local oldest = floor(now) - WINDOW
  local done = 0
  for second, count in pairs(counts.seconds) do
    if second > oldest then done = done + count end
  end
  local span = min(now - counts.began, now - oldest - 1)
  return span > 0 and done / max(span, 0.001) or 0
end

--- The table of batch:stats(): see there.
function stats.table(batch)
  local counts = batch.counts
  local engine = batch.core:counters()
  local rate = recent_rate(counts)
  local total = max(counts.expected or 0, counts.total)
  local latency = counts.latency
  local unfinished = counts.total - counts.done
  return {
    total = total, done = counts.done, ok = counts.ok, failed = counts.failed,
    attempts = engine.attempts, retried = engine.retried, throttled = engine.throttled,
    in_flight = engine.in_flight, backing_off = engine.backing_off,
    queued = max(0, unfinished - engine.in_flight - engine.backing_off),
    concurrency_now = batch.limit.concurrency,
    requests_per_s = rate,
    bytes_in = engine.bytes_in, bytes_out = engine.bytes_out,
    connections_opened = engine.opened, connections_reused = engine.reused,
    latency = {
      p50 = latency:percentile(0.50), p95 = latency:percentile(0.95), p99 = latency:percentile(0.99),
    },
    tokens_in = counts.tokens_in, tokens_out = counts.tokens_out,
    oldest_in_flight = engine.oldest,
    eta = rate > 0 and (total - counts.done) / rate or nil,
  }
end

return stats
