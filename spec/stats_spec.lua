-- What batch:stats() tells.

local sheaf = require "sheaf"

describe("batch:stats()", function()
  local batch

  local function open(options)
    options.base_url = "http://h"
    batch = sheaf.batch(options)
    return batch
  end

  after_each(function() batch:close() end)

  it("has a number for everything before anything was sent", function()
    local stats = open{}:stats()
    for _, name in ipairs{ "total", "done", "ok", "failed", "attempts", "retried", "throttled", "in_flight",
      "backing_off", "queued", "requests_per_s", "bytes_in", "bytes_out", "connections_opened",
      "connections_reused", "tokens_in", "tokens_out" } do
      assert.equal(0, stats[name], name)
    end
    assert.equal(50, stats.concurrency_now)
    assert.is_nil(stats.oldest_in_flight)
    assert.is_nil(stats.eta)
  end)

  it("counts requests, their ends, and attempts", function()
    open{
      retry = { max = 1, throttled = 2, invalid = 0, base = 0.001, cap = 0.001 },
      transport = function(request, attempt)
        if request.id == "bad" then return { status = 400 } end
        if request.id == "down" then return { status = 500 } end
        if request.id == "busy" and attempt < 3 then return { status = 429 } end
        return {}
      end,
    }
    for _, id in ipairs{ "good", "bad", "down", "busy", "good" } do batch:submit{ id = id } end
    batch:gather()
    local stats = batch:stats()
    assert.same({ total = 5, done = 5, ok = 3, failed = 2, attempts = 8, retried = 3, throttled = 2 }, {
      total = stats.total, done = stats.done, ok = stats.ok, failed = stats.failed,
      attempts = stats.attempts, retried = stats.retried, throttled = stats.throttled,
    })
    assert.same({ 0, 0, 0 }, { stats.in_flight, stats.queued, stats.backing_off })
    assert.truthy(stats.requests_per_s > 0)
  end)

  it("tells where the unfinished are", function()
    open{ concurrency = 2, retry = { max = 1, base = 60, cap = 60, jitter = "none" },
      transport = function(request)
        if request.id == 1 then return { status = 500 } end
        return { delay = 60 }
      end }
    for id = 1, 6 do batch:submit{ id = id } end
    -- The first backs off, the next two are asked for; then nothing moves.
    local stats
    repeat
      sheaf.sleep(0.001)
      stats = batch:stats()
    until stats.in_flight == 2 and stats.backing_off == 1
    assert.equal(3, stats.queued)
    assert.equal(0, stats.done)
    assert.truthy(stats.oldest_in_flight >= 0 and stats.oldest_in_flight < 30)
    batch:cancel()
    stats = batch:stats()
    assert.same({ 6, 6, 6 }, { stats.total, stats.done, stats.failed })
    repeat
      sheaf.sleep(0.001)
      stats = batch:stats()
    until stats.in_flight == 0 and stats.backing_off == 0
    assert.equal(0, stats.queued)
    assert.is_nil(stats.oldest_in_flight)
  end)

  it("done only grows", function()
    open{ concurrency = 4, retry = { max = 2, base = 0.001, cap = 0.001 },
      transport = function(_, attempt) return { status = attempt == 1 and 500 or 200 } end }
    for _ = 1, 100 do batch:submit{} end
    local last = 0
    for _ in batch:completed() do
      local stats = batch:stats()
      assert.truthy(stats.done >= last and stats.done <= stats.total)
      assert.equal(stats.done, stats.ok + stats.failed)
      last = stats.done
    end
    assert.equal(100, last)
  end)

  it("adds up the tokens of answers it has decoded", function()
    open{ transport = function()
      return { json = { usage = { prompt_tokens = 3, completion_tokens = 4 } } }
    end }
    for _ = 1, 5 do batch:submit{ json = {} } end
    batch:gather()
    local stats = batch:stats()
    assert.same({ 15, 20 }, { stats.tokens_in, stats.tokens_out })
  end)

  it("has percentiles of the latency, to 2 percent", function()
    open{ concurrency = 100, transport = function(request) return { delay = request.id / 1000 } end }
    for id = 1, 100 do batch:submit{ id = id } end
    batch:gather()
    local latency = batch:stats().latency
    assert.truthy(latency.p50 >= 0.049 and latency.p50 <= latency.p95)
    assert.truthy(latency.p95 >= 0.093 and latency.p95 <= latency.p99)
    assert.truthy(latency.p99 < 2)
  end)

  it("knows how many each will submit, and so when it ends", function()
    open{ transport = function() return { delay = 0.01 } end, concurrency = 2 }
    local told
    for index in batch:each({ {}, {}, {}, {}, {}, {}, {}, {} }, nil, { tasks = 2 }) do
      if index == 2 then told = batch:stats() end
    end
    assert.equal(8, told.total)
    assert.truthy(told.eta > 0 and told.eta < 60)
    assert.equal(8, batch:stats().total)
    for _ in batch:each(function() return nil end, nil, { total = 100 }) do error("none") end
    assert.equal(108, batch:stats().total)
  end)

  it("is there after close, with all requests done", function()
    open{ transport = function(request) return { delay = request.id == 1 and 0 or 60 } end }
    local first = batch:submit{ id = 1 }
    batch:submit{ id = 2 }
    first:wait()
    batch:close()
    local stats = batch:stats()
    assert.same({ 2, 2, 1, 1, 0, 0 }, { stats.total, stats.done, stats.ok, stats.failed, stats.in_flight,
      stats.queued })
  end)

  it("follows the concurrency that is set", function()
    open{ concurrency = 3 }:set{ concurrency = 7 }
    assert.equal(7, batch:stats().concurrency_now)
  end)
end)
