-- The stand-in for the wire: a function that answers attempts, while all else stays real.

local sheaf = require "sheaf"

describe("a transport", function()
  local function fetch(transport, request, options)
    options = options or {}
    options.base_url = options.base_url or "http://h"
    if options.retry == nil then options.retry = { max = 3, throttled = 3, base = 0.001, cap = 0.002 } end
    options.transport = transport
    local batch = sheaf.batch(options)
    local got = batch:fetch(request or { path = "p" })
    batch:close()
    return got
  end

  it("is asked with the request and the number of the attempt", function()
    local seen = {}
    local got = fetch(function(request, attempt)
      seen[#seen + 1] = { request = request, attempt = attempt }
      return { status = attempt < 3 and 500 or 200, json = "done" }
    end, { path = "/p", json = { a = 1 }, id = "i", headers = { ["x-a"] = "1" } })
    assert.equal('"done"', got.body)
    assert.equal(3, got.attempts)
    assert.same({ 1, 2, 3 }, { seen[1].attempt, seen[2].attempt, seen[3].attempt })
    local request = seen[3].request
    assert.equal("POST", request.method)
    assert.equal("http://h/p", request.url)
    assert.equal('{"a":1}', request.body)
    assert.same({ a = 1 }, request.json)
    assert.equal("i", request.id)
    assert.equal("1", request.headers["x-a"])
  end)

  it("answers with a status, headers and a body", function()
    local got = fetch(function()
      return { status = 202, headers = { ["X-A"] = "1", ["x-n"] = 5 }, body = "a\0b" }
    end)
    assert.same({ true, 202, "1", "5", "a\0b" },
      { got.ok, got.status, got.headers["x-a"], got.headers["x-n"], got.body })
  end)

  it("answers 200 and nothing where it says nothing else", function()
    local got = fetch(function() return {} end)
    assert.same({ true, 200, "" }, { got.ok, got.status, got.body })
  end)

  it("answers with json", function()
    assert.same({ a = { 1 } }, fetch(function() return { json = { a = { 1 } } } end):json())
  end)

  it("answers after a delay", function()
    local got = fetch(function() return { delay = 0.03 } end)
    assert.truthy(got.timing.total >= 0.03 and got.elapsed >= 0.03)
  end)

  it("fails with a kind of error, which is retried as a real one would be", function()
    for kind, attempts in pairs{ dns = 4, connect = 4, tls = 4, timeout = 4, reset = 4, protocol = 4,
      too_large = 1, quota = 1 } do
      local got = fetch(function() return { error = kind, message = "m" } end)
      assert.same({ kind, "m", attempts }, { got.error.kind, got.error.message, got.attempts })
    end
  end)

  it("is late after timeout.attempt", function()
    local got = fetch(function() return { delay = 60 } end, nil, { timeout = 0.02, retry = 1 })
    assert.same({ "timeout", 2 }, { got.error.kind, got.attempts })
    got = fetch(function() return { delay = math.huge } end, nil, { timeout = 0.02, retry = 0 })
    assert.equal("timeout", got.error.kind)
  end)

  it("may be the request's own, before the batch's", function()
    local batch = sheaf.batch{ base_url = "http://h", transport = function() return { body = "b" } end }
    assert.equal("r", batch:fetch{ transport = function() return { body = "r" } end }.body)
    assert.equal("b", batch:fetch{}.body)
    batch:close()
  end)

  it("that raises is internal, with the traceback, and not asked again", function()
    local asked = 0
    local function helper() error("kaputt") end
    local got = fetch(function()
      asked = asked + 1
      helper()
    end)
    assert.same({ "internal", 1, 1 }, { got.error.kind, got.attempts, asked })
    assert.truthy(got.error.message:find("the transport raised: spec/transport_spec.lua:%d+: kaputt"))
    assert.truthy(got.error.message:find("traceback", 1, true))
    got = fetch(function() error({ code = 5 }) end)
    assert.equal("internal", got.error.kind)
  end)

  it("that answers nonsense is internal, and says what is wrong", function()
    for text, answer in pairs{
      ["must return a table, got nil"] = { n = 0 },
      ["must return a table, got string"] = { "200" },
      ["'status' must be a number from 100 to 599, got 99"] = { { status = 99 } },
      ["'status' must be a number from 100 to 599, got 600"] = { { status = 600 } },
      ["'status' must be a number from 100 to 599, got 200.5"] = { { status = 200.5 } },
      ["'status' must be a number from 100 to 599, got 200x"] = { { status = "200x" } },
      ["'delay' must be a number of seconds, 0 or more"] = { { delay = -1 } },
      ["no kind of error: nonsense"] = { { error = "nonsense" } },
      ["no kind of error: table"] = { { error = {} } },
      ["'body' must be a string, got a table"] = { { body = {} } },
      ["'message' must be a string, got a boolean"] = { { error = "reset", message = true } },
      ["'headers' must be a table of names and values"] = { { headers = "x: y" } },
      ["must not contain CR, LF or NUL"] = { { headers = { a = "b\nc" } } },
      ["'headers[\"a\"]' must be a string, a number or false"] = { { headers = { a = {} } } },
      ["'json' can't be encoded"] = { { json = print } },
    } do
      local got = fetch(function() return answer[1] end)
      assert.equal("internal", got.error and got.error.kind, text)
      assert.truthy(got.error.message:find(text, 1, true), got.error.message)
      assert.equal(1, got.attempts)
    end
  end)

  it("must not wait", function()
    for name, wait in pairs{
      sleep = function() sheaf.sleep(0) end,
      run = function() sheaf.run(function() end) end,
      fetch = function(batch) batch:fetch{} end,
      wait = function(batch) batch:submit{}:wait() end,
      gather = function(batch) batch:gather{ (batch:submit{}) } end,
      each = function(batch) batch:map({ 1 }, function() return 1 end) end,
      step = function() sheaf.step() end,
    } do
      local batch
      batch = sheaf.batch{ base_url = "http://h", transport = function(request)
        if request.path == "first" then wait(batch) end
        return {}
      end }
      local got = batch:fetch{ path = "first" }
      assert.equal("internal", got.error and got.error.kind, name)
      assert.truthy(got.error.message:find(name == "step" and "sheaf.step: can't be called inside"
        or "would wait, which", 1, true), got.error.message)
      batch:close()
    end
  end)

  it("may cancel its own request", function()
    local ticket
    local batch = sheaf.batch{ base_url = "http://h", transport = function()
      ticket:cancel()
      return {}
    end }
    ticket = batch:submit{}
    assert.equal("cancelled", ticket:wait().error.kind)
    assert.is_true(batch:fetch{ transport = function() return {} end }.ok)
    batch:close()
  end)

  it("may submit and spawn", function()
    local batch, more, spawned
    batch = sheaf.batch{ base_url = "http://h", transport = function(request)
      if request.path == "first" then
        more = batch:submit{ path = "second" }
        spawned = sheaf.spawn(function() return "ran" end)
      end
      return { body = request.path }
    end }
    assert.equal("first", batch:fetch{ path = "first" }.body)
    assert.equal("second", more:wait().body)
    assert.same({ true, "ran" }, { spawned:wait() })
    batch:close()
  end)

  it("counts as an attempt in what the batch tells", function()
    local batch = sheaf.batch{ base_url = "http://h", retry = { max = 2, base = 0.001 },
      transport = function(_, attempt) return { status = attempt < 2 and 500 or 200 } end }
    for _ = 1, 10 do batch:submit{} end
    assert.equal(10, batch:gather().n)
    local stats = batch:stats()
    assert.same({ 10, 20, 10 }, { stats.done, stats.attempts, stats.retried })
    batch:close()
  end)
end)
