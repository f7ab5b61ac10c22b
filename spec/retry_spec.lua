-- Retries on the real wire: which answers are tried again, when, how often, and that the server's hits are
-- the attempts that the response tells of. The rules themselves: spec/c/retry_test.c.

local server = require "spec.support.server"
local sheaf = require "sheaf"

describe("a retry", function()
  local s, batches, item

  setup(function()
    s = server.start()
    item = 0
  end)
  teardown(function() s:stop() end)

  before_each(function() batches = {} end)

  after_each(function()
    for _, batch in ipairs(batches) do batch:close() end
  end)

  local QUICK = { max = 5, throttled = 20, invalid = 2, base = 0.001, cap = 0.01 }

  local function open(options)
    options = options or {}
    options.base_url = options.base_url or s.url
    options.retry = options.retry or QUICK
    local batch = sheaf.batch(options)
    batches[#batches + 1] = batch
    return batch
  end

  -- Sends one request; checks its attempts against the server's hits. Returns the response and what
  -- on_retry was told.
  local function try(behave, retry, request, options)
    item = item + 1
    request = request or {}
    request.path = request.path or "/echo"
    request.id = "item" .. item
    request.headers = { ["x-behave"] = behave, ["x-item"] = request.id }
    local told = {}
    function request.on_retry(notice) told[#told + 1] = notice end
    options = options or {}
    options.retry = retry
    local response = open(options):fetch(request)
    assert.equal(response.attempts, s:hits(request.id))
    assert.equal(response.attempts - 1, #told)
    for i, notice in ipairs(told) do
      assert.equal(i, notice.attempt)
      assert.equal(request.id, notice.id)
    end
    return response, told
  end

  it("follows each status that another try may cure", function()
    for _, status in ipairs{ 408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529 } do
      local response, told = try("fail=" .. status .. "*2")
      assert.is_true(response.ok, "after " .. status)
      assert.equal(3, response.attempts)
      assert.equal(status, told[1].status)
      assert.equal(status == 429 and "rate_limit" or "http", told[1].kind)
    end
  end)

  it("follows no status that will stay the same", function()
    for _, status in ipairs{ 300, 304, 400, 401, 402, 403, 404, 405, 413, 415, 422, 451, 501, 505 } do
      local response = try("fail=" .. status .. "*2")
      assert.equal("http", response.error.kind)
      assert.equal(status, response.error.status)
      assert.equal(1, response.attempts)
    end
  end)

  it("ends after retry.max, with the last failure", function()
    local response = try("fail=500", { max = 3, base = 0.001 })
    assert.equal(4, response.attempts)
    assert.same({ "http", 500, 4 }, { response.error.kind, response.error.status,
      response.error.attempts })
    assert.equal(1, try("fail=500", 0).attempts)
    assert.equal(1, try("fail=429", 0).attempts)
  end)

  it("after a 429 has a count of its own", function()
    local response = try("fail=429", { max = 1, throttled = 4, base = 0.001, cap = 0.01 })
    assert.equal(5, response.attempts)
    assert.equal("rate_limit", response.error.kind)
    assert.equal(8, try("fail=429*4,500*3", { max = 3, throttled = 4, base = 0.001,
      cap = 0.01 }).attempts)
    assert.is_true(try("fail=any*6").ok)
  end)

  it("never follows a quota answer, whatever else it says", function()
    for _, more in ipairs{ "", ";retry=after:0", ";should_retry=true" } do
      local response = try("fail=quota" .. more)
      assert.equal("quota", response.error.kind)
      assert.equal("insufficient_quota", response.error.code)
      assert.equal(1, response.attempts)
    end
  end)

  it("obeys x-should-retry over the status", function()
    assert.equal(1, try("fail=500;should_retry=false").attempts)
    assert.equal(1, try("fail=429;should_retry=false").attempts)
    assert.is_true(try("fail=400*2;should_retry=true").ok)
  end)

  it("follows broken connections, before the answer and within it", function()
    for _, how in ipairs{ "reset", "gone", "cut", "cutreset" } do
      local response, told = try("fail=" .. how .. "*2")
      assert.is_true(response.ok, how)
      assert.equal(3, response.attempts)
      assert.equal("reset", told[2].kind)
      response = try("fail=" .. how .. "*2", nil, nil, { base_url = s.tls, tls = { ca = s.ca } })
      assert.is_true(response.ok, how .. " over HTTP/2")
      assert.equal(3, response.attempts)
    end
    assert.is_true(try("fail=reset*1,500*1,cut*1,429*1,gone*1").ok)
  end)

  it("follows timeouts", function()
    item = item + 1
    local batch = open{ timeout = 0.1, retry = { max = 2, base = 0.001 } }
    local response = batch:fetch{ path = "/echo", headers = { ["x-behave"] = "silent=10",
      ["x-item"] = "slow" } }
    assert.equal("timeout", response.error.kind)
    assert.equal(3, response.attempts)
    assert.equal(3, s:hits("slow"))
  end)

  it("follows an answer that is not what was asked for, at most retry.invalid times", function()
    local response, told = try("fail=badjson*2", nil, { expect = "json" })
    assert.is_true(response.ok)
    assert.equal("invalid", told[1].kind)
    response = try("fail=html", nil, { expect = "json" })
    assert.equal("invalid", response.error.kind)
    assert.equal(3, response.attempts)
    assert.equal(1, try("fail=halfjson", 0, { expect = "json" }).attempts)
    local calls = 0
    response = try("latency=0", nil, { validate = function()
      calls = calls + 1
      return calls == 3, "not yet"
    end })
    assert.is_true(response.ok)
    assert.equal(3, response.attempts)
  end)

  describe("waits as long as it is told", function()
    -- Waits are what on_retry tells; the wire may take longer, so that only the least is certain.
    local function wait_of(form, more)
      local response, told = try("fail=429*1;retry=" .. form .. (more or ""))
      assert.is_true(response.ok)
      assert.is_true(response.elapsed >= told[1].wait)
      return told[1].wait
    end

    local function between(least, most, wait)
      assert.is_true(wait >= least and wait <= most, ("%g to %g, got %g"):format(least, most, wait))
    end

    it("by Retry-After in seconds, also fractions of them", function()
      between(0.3, 0.36, wait_of("after:0.3"))
      between(1, 1.2, wait_of("after:1"))
    end)

    it("by retry-after-ms, which goes first", function()
      between(0.25, 0.3, wait_of("ms:250"))
      between(0.2, 0.24, wait_of("both:200:9"))
    end)

    it("by a date in each of its forms, by the server's own clock", function()
      local batch, waits = open(), {}
      local forms = { "date:2", "date850:2", "asctime:2", "date:2;skew=86400", "date850:2;skew=86400",
        "asctime:2;skew=-86400" }
      for _, form in ipairs(forms) do
        assert(batch:submit{ path = "/echo", on_retry = function(told) waits[form] = told.wait end,
          headers = { ["x-behave"] = "fail=429*1;retry=" .. form, ["x-item"] = "date " .. form } })
      end
      for _, response in ipairs(batch:gather()) do assert.is_true(response.ok) end
      for _, form in ipairs(forms) do between(0.9, 2.4, waits[form]) end
    end)

    it("and not at all by what can't be read, is over or is negative", function()
      for _, form in ipairs{ "raw:soon", "raw:", "raw:-5", "date:-100", "raw:nan", "none", "ms:0" } do
        between(0, 0.05, wait_of(form))
      end
    end)

    it("and gives up at once where that is over fifteen minutes", function()
      local response = try("fail=429;retry=after:1000")
      assert.equal(1, response.attempts)
      assert.equal("rate_limit", response.error.kind)
      assert.equal(1000, response.error.retry_after)
    end)

    it("and gives up at once where timeout.total ends before", function()
      local response = try("fail=503;retry=after:30", nil, { timeout = { total = 5 } })
      assert.equal(1, response.attempts)
      assert.equal("deadline", response.error.kind)
      assert.equal(503, response.error.status)
      assert.is_true(response.elapsed < 5)
    end)
  end)

  describe("backs off", function()
    it("exactly by base * 2^n up to cap without jitter, twice that where room is short", function()
      local _, told = try("fail=500*4", { max = 4, base = 0.01, cap = 0.04, jitter = "none" })
      for i, wait in ipairs{ 0.01, 0.02, 0.04, 0.04 } do
        assert.is_true(math.abs(told[i].wait - wait) < 1e-6, i .. ": " .. told[i].wait)
      end
      _, told = try("fail=503*1,429*2", { max = 4, base = 0.01, cap = 0.04, jitter = "none" })
      for i, wait in ipairs{ 0.02, 0.02, 0.04 } do
        assert.is_true(math.abs(told[i].wait - wait) < 1e-6, i .. ": " .. told[i].wait)
      end
    end)

    it("for at least the sum of its waits", function()
      local response, told = try("fail=500*4", { max = 4, base = 0.05, cap = 10, jitter = "none" })
      local sum = 0
      for _, notice in ipairs(told) do sum = sum + notice.wait end
      assert.is_true(sum >= 0.74)
      assert.is_true(response.elapsed >= sum)
    end)

    it("within the bounds of each jitter, and not in step", function()
      local bounds = { full = { 0, 0.02 }, equal = { 0.01, 0.02 }, decorrelated = { 0.02, 0.06 } }
      for jitter, bound in pairs(bounds) do
        local batch = open{ retry = { max = 1, base = 0.02, cap = 1, jitter = jitter } }
        local waits, different = {}, 0
        for i = 1, 40 do
          assert(batch:submit{ path = "/echo", headers = { ["x-behave"] = "fail=500*1",
            ["x-item"] = jitter .. i }, on_retry = function(told)
              if not waits[told.wait] then different = different + 1 end
              waits[told.wait] = true
            end })
        end
        for _, response in ipairs(batch:gather()) do assert.is_true(response.ok) end
        for wait in pairs(waits) do
          assert.is_true(wait >= bound[1] - 1e-6 and wait <= bound[2] + 1e-6, jitter .. " " .. wait)
        end
        assert.is_true(different > 30)
      end
    end)

    it("without holding its place on the wire", function()
      local batch = open{ concurrency = 1, retry = { max = 1, base = 0.3, jitter = "none" } }
      local order = {}
      for _, id in ipairs{ "bad", "a", "b", "c" } do
        assert(batch:submit{ path = "/echo", id = id, headers = { ["x-item"] = "place-" .. id,
          ["x-behave"] = id == "bad" and "fail=500*1" or "latency=0" } })
      end
      for ticket in batch:completed() do order[#order + 1] = ticket.id end
      assert.same({ "a", "b", "c", "bad" }, order)
    end)
  end)

  describe("on a kept connection that turns out to be dead", function()
    for _, how in ipairs{ "gone", "reset" } do
      it("is an attempt of its own, never a hidden one: " .. how, function()
        local batch = open{ concurrency = 1, pool = { idle = how == "gone" and 70 or 71 } }
        local function one(name)
          local response = batch:fetch{ path = "/echo", body = "pay", headers = {
            ["x-behave"] = "reused=" .. how, ["x-item"] = name } }
          assert.is_true(response.ok, tostring(response.error))
          return response.attempts, s:hits(name)
        end
        for i = 1, 10 do
          local attempts, hits = one("dead-" .. how .. i)
          assert.equal(attempts, hits)
          assert.equal(i == 1 and 1 or 2, attempts)
        end
        local stats = batch:stats()
        assert.equal(19, stats.attempts)
        assert.equal(9, stats.retried)
      end)

      it("is made once also where retries are off: " .. how, function()
        local batch = open{ concurrency = 1, retry = 0, pool = { idle = how == "gone" and 72 or 73 } }
        for i = 1, 4 do
          local name = "off-" .. how .. i
          local response = batch:fetch{ path = "/echo", body = "pay", headers = {
            ["x-behave"] = "reused=" .. how, ["x-item"] = name } }
          assert.is_true(response.ok, tostring(response.error))
          assert.equal(s:hits(name), response.attempts)
        end
      end)
    end

    it("keeps hits and attempts equal for many at once", function()
      s:reset()
      local batch = open{ concurrency = 20, retry = { max = 8, base = 0.001, cap = 0.01 } }
      for i = 1, 300 do
        assert(batch:submit{ path = "/echo", body = "b" .. i, headers = {
          ["x-behave"] = "reused=" .. (i % 2 == 0 and "gone" or "reset"), ["x-item"] = "m" .. i } })
      end
      local sum = 0
      for i, response in ipairs(batch:gather()) do
        assert.is_true(response.ok, tostring(response.error))
        assert.equal("b" .. i, response:json().body)
        sum = sum + response.attempts
      end
      local counted = s:stats()
      assert.equal(counted.hits, sum)
      assert.equal(counted.hits, batch:stats().attempts)
    end)
  end)
end)
