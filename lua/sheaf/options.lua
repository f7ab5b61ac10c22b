-- The options of batches and requests: what each takes, and its default.

local check = require "sheaf.check"
local core = require "sheaf.core"

local options = {}

local huge = math.huge

--- Defaults: seconds, bytes, counts. WIRE.md of the design gives the reasons; README shows this table.
options.defaults = {
  concurrency = 50,
  queue = 1000,
  max_body = 64 * 1024 * 1024,
  max_buffered = 256 * 1024 * 1024,
  redirects = 0,
  priority = 0,
  retry = { max = 5, throttled = 20, invalid = 2, base = 0.5, cap = 30, jitter = "full" },
  timeout = { connect = 5, attempt = 600, idle = 60, total = false },
  pool = { keepalive = true, idle = 60, http2 = true },
  tls = { verify = true },
}

--- Descriptors a process needs beside its connections: its files, the engine's own, resolvers.
local SPARE_DESCRIPTORS = 64

local retry_rules = {
  max = check.count, throttled = check.count, invalid = check.count,
  base = check.seconds, cap = check.seconds,
  jitter = check.one_of("full", "equal", "decorrelated", "none"),
}
local timeout_rules = {
  connect = check.duration, attempt = check.duration, idle = check.duration, total = check.duration,
}

--- Options that a batch sets for its requests, and a request for itself.
local shared = {
  method = check.string, path = check.string, query = check.table, headers = check.table,
  timeout = check.nested(timeout_rules, check.duration),
  retry = check.nested(retry_rules, check.count),
  max_body = check.bytes, redirects = check.count, priority = check.integer,
  expect = check.one_of("json", "any"),
  validate = check.func, on_done = check.func, on_retry = check.func, transport = check.func,
}

options.request_rules = {
  url = check.string, body = check.string, json = check.any, id = check.any,
}
options.batch_rules = {
  base_url = check.string, api_key = check.string,
  concurrency = check.positive, queue = check.positive, max_buffered = check.bytes,
  limiter = check.table, from = check.table,
  pool = check.nested{
    total = check.positive, per_host = check.positive, keepalive = check.boolean,
    idle = check.seconds, http2 = check.boolean,
  },
  tls = check.nested{
    ca = check.string, cert = check.string, key = check.string, verify = check.boolean,
  },
  proxy = check.either(check.string, check.one_of("")), no_proxy = check.string,
  unix_socket = check.string,
}
for name, rule in pairs(shared) do
  options.request_rules[name] = rule
  options.batch_rules[name] = rule
end

--- A copy of `over` with what it lacks from `under`, one level deep.
function options.merge(under, over)
  local merged = {}
  for k, v in pairs(under) do merged[k] = v end
  for k, v in pairs(over or {}) do merged[k] = v end
  return merged
end

--- retry as a table: a number means max; max = 0 turns all retries off.
function options.retry(under, given)
  if given == nil then return under end
  if type(given) == "number" then given = { max = given } end
  local merged = options.merge(under, given)
  if merged.max == 0 then merged.throttled, merged.invalid = 0, 0 end
  return merged
end

--- timeout as a table: a number means attempt.
function options.timeout(under, given)
  if given == nil then return under end
  if type(given) ~= "table" then given = { attempt = given } end
  return options.merge(under, given)
end

--- What the core sends requests with.
function options.settings(from)
  local retry, timeout = from.retry, from.timeout
  return core.settings{
    max = retry.max, throttled = retry.throttled, invalid = retry.invalid,
    base = retry.base, cap = retry.cap, jitter = retry.jitter,
    connect = timeout.connect or huge, attempt = timeout.attempt or huge,
    idle = timeout.idle or huge, total = timeout.total or huge,
    max_body = from.max_body, redirects = from.redirects,
  }
end

local function check_file(who, field, path, level)
  local file, message = io.open(path, "rb")
  if not file then
    error(("%s: '%s': can't be read: %s"):format(who, field, message), level + 1)
  end
  file:close()
end

--- Raises where so many attempts at once would need more descriptors than the process may have.
function options.check_descriptors(who, concurrency, level)
  local limit = core.descriptors()
  if concurrency + SPARE_DESCRIPTORS > limit then
    error(("%s: 'concurrency' = %d needs %d file descriptors, and this process may have %d: raise the "
      .. "limit in the shell that starts it (ulimit -n %d) or lower 'concurrency'"):format(
        who, concurrency, concurrency + SPARE_DESCRIPTORS, limit,
        concurrency + SPARE_DESCRIPTORS), level + 1)
  end
end

--- Checks what sheaf.batch was given and fills in the defaults.
---@param who string
---@param given table
---@param base table? the options of the batch that `from` names
---@param level integer
function options.batch(who, given, base, level)
  check.options(who, given, options.batch_rules, level + 1)
  if given.headers then check.headers(who, given.headers, level + 1) end
  base = base or options.defaults
  local full = options.merge(base, given)
  full.retry = options.retry(base.retry, given.retry)
  full.timeout = options.timeout(base.timeout, given.timeout)
  for _, name in ipairs{ "pool", "tls", "headers" } do
    full[name] = options.merge(base[name] or {}, given[name])
  end
  full.from = nil
  for _, field in ipairs{ "ca", "cert", "key" } do
    if full.tls[field] then check_file(who, "tls." .. field, full.tls[field], level + 1) end
  end
  if given.concurrency or (base == options.defaults and not given.limiter) then
    options.check_descriptors(who, full.concurrency, level + 1)
  end
  return full
end

return options
