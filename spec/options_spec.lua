-- What sheaf.batch, sheaf.limiter and batch:set take, and what they say of what they don't.

local options = require "sheaf.options"
local sheaf = require "sheaf"

local NAN = 0 / 0

describe("sheaf.batch", function()
  local opened

  before_each(function() opened = {} end)
  after_each(function()
    for _, batch in ipairs(opened) do batch:close() end
  end)

  local function open(given)
    local batch = sheaf.batch(given)
    opened[#opened + 1] = batch
    return batch
  end

  -- Fails with the text at the line of the call.
  local function refuses(given, text)
    local line
    local ok, message = pcall(function()
      line = debug.getinfo(1, "l").currentline + 1
      sheaf.batch(given)
      return 0
    end)
    assert.is_false(ok, text)
    assert.equal("spec/options_spec.lua:" .. line .. ": ", message:match("^.-:%d+: "), text)
    assert.truthy(message:find(text, 1, true), message)
  end

  it("needs no options but a table", function()
    open{}
    refuses(nil, "sheaf.batch: a table of options is wanted, got nil")
    refuses("https://x", 'a table of options is wanted, got "https://x"')
  end)

  it("fills in the defaults", function()
    local full = open{}.options
    assert.equal(50, full.concurrency)
    assert.equal(1000, full.queue)
    assert.same({ max = 5, throttled = 20, invalid = 2, base = 0.5, cap = 30, jitter = "full" },
      full.retry)
    assert.same({ connect = 5, attempt = 600, idle = 60, total = false }, full.timeout)
    assert.same({ keepalive = true, idle = 60, http2 = true }, full.pool)
  end)

  it("leaves the defaults and the given tables as they were", function()
    local retry, headers = { max = 1 }, { ["x-a"] = "1" }
    local batch = open{ retry = retry, timeout = { idle = 1 }, pool = { idle = 1 }, headers = headers }
    batch:set{ headers = { ["x-b"] = "2" } }
    assert.same({ max = 1 }, retry)
    assert.same({ ["x-a"] = "1" }, headers)
    assert.equal(5, options.defaults.retry.max)
    assert.equal(60, options.defaults.timeout.idle)
    assert.equal(60, options.defaults.pool.idle)
  end)

  it("takes a number of seconds as timeout.attempt", function()
    local full = open{ timeout = 30 }.options
    assert.same({ connect = 5, attempt = 30, idle = 60, total = false }, full.timeout)
    assert.is_false(open{ timeout = false }.options.timeout.attempt)
  end)

  it("takes a number of retries as retry.max", function()
    assert.equal(7, open{ retry = 7 }.options.retry.max)
    assert.equal(20, open{ retry = 7 }.options.retry.throttled)
  end)

  it("turns all retries off with retry.max = 0", function()
    for _, retry in ipairs{ 0, { max = 0 }, { max = 0, throttled = 5, invalid = 5 } } do
      local full = open{ retry = retry }.options.retry
      assert.same({ 0, 0, 0 }, { full.max, full.throttled, full.invalid })
    end
  end)

  it("names the field, what was found and what is wanted", function()
    refuses({ concurrency = -3 }, "sheaf.batch: 'concurrency' must be a positive integer, got -3")
    refuses({ concurrency = 0 }, "'concurrency' must be")
    refuses({ concurrency = 1.5 }, "'concurrency' must be")
    refuses({ concurrency = NAN }, "'concurrency' must be")
    refuses({ concurrency = math.huge }, "'concurrency' must be")
    refuses({ concurrency = "50" }, "'concurrency' must be a positive integer, got \"50\"")
    refuses({ queue = 0 }, "'queue' must be a positive integer, got 0")
    refuses({ retry = -1 }, "'retry' must be")
    refuses({ retry = { base = -1 } }, "'retry.base' must be a number of seconds, 0 or more, got -1")
    refuses({ retry = { cap = NAN } }, "'retry.cap' must be")
    refuses({ retry = { jitter = "some" } },
      "'retry.jitter' must be \"full\", \"equal\", \"decorrelated\" or \"none\", got \"some\"")
    refuses({ timeout = 0 }, "'timeout' must be")
    refuses({ timeout = { total = -1 } }, "'timeout.total' must be")
    refuses({ timeout = { connect = NAN } }, "'timeout.connect' must be")
    refuses({ timeout = { attempt = "5" } }, "'timeout.attempt' must be")
    refuses({ pool = true }, "'pool' must be a table")
    refuses({ pool = { per_host = 0 } }, "'pool.per_host' must be a positive integer")
    refuses({ pool = { keepalive = 1 } }, "'pool.keepalive' must be true or false, got 1")
    refuses({ tls = { verify = "no" } }, "'tls.verify' must be true or false")
    refuses({ max_body = 0 }, "'max_body' must be a positive number of bytes, got 0")
    refuses({ max_body = math.huge }, "'max_body' must be")
    refuses({ base_url = 5 }, "'base_url' must be a string, got 5")
    refuses({ api_key = {} }, "'api_key' must be a string, got a table")
    refuses({ validate = "ok" }, "'validate' must be a function")
    refuses({ expect = "xml" }, '\'expect\' must be "json" or "any", got "xml"')
    refuses({ priority = 0.5 }, "'priority' must be an integer")
    refuses({ redirects = -1 }, "'redirects' must be")
  end)

  it("knows the names of its options", function()
    refuses({ concurency = 5 }, "unknown option 'concurency' (did you mean 'concurrency'?)")
    refuses({ retry = { maximum = 5 } }, "sheaf.batch 'retry': unknown option 'maximum'")
    refuses({ timeout = { idel = 5 } }, "unknown option 'idel' (did you mean 'idle'?)")
    refuses({ "https://x" }, "unknown option 1")
  end)

  it("lets nothing into a header that ends it", function()
    refuses({ api_key = "k\r\nX-Evil: 1" }, "'api_key' must not contain CR, LF or NUL")
    refuses({ headers = { ["x-a"] = "1\n2" } }, "'headers[\"x-a\"]' must not contain CR, LF or NUL")
    refuses({ headers = { ["x-a"] = "1\0" } }, "'headers[\"x-a\"]' must not contain CR, LF or NUL")
    refuses({ headers = { ["x a"] = "1" } }, "no header name")
    refuses({ headers = "x" }, "'headers' must be a table")
  end)

  it("looks whether certificate files can be read", function()
    refuses({ tls = { ca = "no/such/file" } }, "sheaf.batch: 'tls.ca': can't be read: no/such/file")
    refuses({ tls = { key = "no/such/file" } }, "'tls.key'")
    open{ tls = { ca = "spec/options_spec.lua" } }
  end)

  it("counts descriptors, and names the command that allows more", function()
    local core = require "sheaf.core"
    local real = core.descriptors
    core.descriptors = function() return 100 end
    local ok, failure = pcall(function()
      refuses({ concurrency = 37 }, "'concurrency' = 37 needs 101 file descriptors, and this process may "
        .. "have 100: raise the limit in the shell that starts it (ulimit -n 101)")
      refuses({}, "'concurrency' = 50 needs 114")
      open{ concurrency = 36 }
      assert.has_error(function() sheaf.limiter{ concurrency = 37 } end)
      local limiter = sheaf.limiter{ concurrency = 5 }
      open{ limiter = limiter }
      assert.has_error(function() open{ concurrency = 5 }:set{ concurrency = 37 } end)
    end)
    core.descriptors = real
    assert(ok, failure)
  end)

  it("takes over the options of another batch, and own ones win", function()
    local first = open{ base_url = "http://a", concurrency = 3, retry = { max = 1 }, timeout = 9,
      headers = { ["x-a"] = "1" } }
    local second = open{ from = first, retry = { base = 0.1 }, headers = { ["x-b"] = "2" } }
    local full = second.options
    assert.equal("http://a", full.base_url)
    assert.equal(9, full.timeout.attempt)
    assert.equal(1, full.retry.max)
    assert.equal(0.1, full.retry.base)
    assert.same({ ["x-a"] = "1", ["x-b"] = "2" }, full.headers)
    assert.equal(first.limit, second.limit)
    assert.equal(0.5, first.options.retry.base)
    assert.are_not.equal(first.limit, open{ from = first, concurrency = 2 }.limit)
  end)

  it("takes only batches as from, and only limiters as limiter", function()
    refuses({ from = {} }, "'from' must be a batch, got a table")
    refuses({ from = "x" }, "'from' must be a batch, got \"x\"")
    refuses({ limiter = {} }, "'limiter' must be what sheaf.limiter returns, got a table")
    refuses({ limiter = 5 }, "'limiter' must be")
  end)

  it("takes a limiter or a concurrency", function()
    refuses({ limiter = sheaf.limiter{ concurrency = 2 }, concurrency = 2 },
      "'limiter' and 'concurrency' together")
  end)
end)

describe("sheaf.limiter", function()
  it("takes a concurrency", function()
    assert.equal(3, sheaf.limiter{ concurrency = 3 }.concurrency)
    assert.equal(50, sheaf.limiter{}.concurrency)
  end)

  it("refuses all else", function()
    for given, text in pairs{
      [{ concurrency = 0 }] = "sheaf.limiter: 'concurrency' must be a positive integer, got 0",
      [{ concurency = 1 }] = "sheaf.limiter: unknown option 'concurency'",
      [5] = "sheaf.limiter: a table of options is wanted, got 5",
    } do
      local line
      local ok, message = pcall(function()
        line = debug.getinfo(1, "l").currentline + 1
        sheaf.limiter(given)
        return 0
      end)
      assert.is_false(ok)
      assert.equal("spec/options_spec.lua:" .. line .. ": " .. text, message:sub(1,
        #("spec/options_spec.lua:" .. line .. ": " .. text)))
    end
  end)
end)

describe("batch:set", function()
  it("refuses what it can't change", function()
    local batch = sheaf.batch{}
    for given, text in pairs{
      [{ concurrency = 0 }] = "batch:set: 'concurrency' must be a positive integer, got 0",
      [{ queue = 5 }] = "batch:set: unknown option 'queue'",
      [{ headers = { ["x-a"] = "\n" } }] = "batch:set: 'headers[\"x-a\"]' must not contain CR",
    } do
      local line
      local ok, message = pcall(function()
        line = debug.getinfo(1, "l").currentline + 1
        batch:set(given)
        return 0
      end)
      assert.is_false(ok)
      assert.equal("spec/options_spec.lua:" .. line .. ": ", message:match("^.-:%d+: "))
      assert.truthy(message:find(text, 1, true), message)
    end
    batch:close()
  end)
end)
