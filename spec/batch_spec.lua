-- The batch object: what is handed to whom, what waits, what is retried, cancelled and closed.

local server = require "spec.support.server"
local sheaf = require "sheaf"

describe("a batch", function()
  local opened, reported, on_error

  before_each(function()
    opened, reported = {}, {}
    on_error = sheaf.on_error
    sheaf.on_error = function(err, traceback)
      reported[#reported + 1] = { err = err, traceback = traceback }
    end
  end)

  after_each(function()
    for _, batch in ipairs(opened) do batch:close() end
    sheaf.on_error = on_error
  end)

  -- A batch that answers with the request's id, after a delay that puts the order of completion in disorder.
  local function open(options)
    options = options or {}
    options.base_url = options.base_url or "http://h"
    options.transport = options.transport or function(request)
      return { body = tostring(request.id), delay = #tostring(request.id) % 3 / 1000 }
    end
    local batch = sheaf.batch(options)
    opened[#opened + 1] = batch
    return batch
  end

  local function hanging(options)
    options = options or {}
    options.transport = function() return { delay = 3600 } end
    return open(options)
  end

  local function raises_here(text, fn)
    local line
    local ok, message = pcall(function()
      line = debug.getinfo(1, "l").currentline + 1
      fn()
      return 0
    end)
    assert.is_false(ok, text)
    assert.truthy(line)
    assert.truthy(message:find("^spec/batch_spec.lua:%d+: "), message)
    assert.truthy(message:find(text, 1, true), message)
  end

  -- What came, by id.
  local function bodies(responses)
    local list = {}
    for i = 1, responses.n do list[i] = responses[i].body end
    return table.concat(list, " ")
  end

  describe("gathers", function()
    it("what was submitted, in that order, once", function()
      local batch = open()
      for i = 1, 30 do batch:submit{ id = i * 7 } end
      local responses = batch:gather()
      assert.equal(30, responses.n)
      for i = 1, 30 do
        assert.equal(tostring(i * 7), responses[i].body)
        assert.equal(i * 7, responses[i].id)
      end
      assert.same({ n = 0 }, batch:gather())
    end)

    it("a list in the list's order, and leaves the rest for later", function()
      local batch = open()
      local a, b, c = batch:submit{ id = "a" }, batch:submit{ id = "bb" }, batch:submit{ id = "ccc" }
      assert.equal("ccc a a", bodies(batch:gather{ c, a, a }))
      assert.equal("bb", b:wait().body)
      assert.equal("d", batch:fetch{ id = "d" }.body)
      assert.equal("a bb ccc", bodies(batch:gather()))
      assert.same({ n = 0 }, batch:gather{})
      assert.equal("a", bodies(batch:gather{ n = 1, a, b }))
    end)

    it("failures, too: one response each", function()
      local batch = open{ retry = 0, transport = function(request)
        return { status = request.id % 2 == 0 and 500 or 200 }
      end }
      for i = 1, 10 do batch:submit{ id = i } end
      local responses = batch:gather()
      for i = 1, 10 do assert.equal(i % 2 == 1, responses[i].ok) end
    end)

    it("for 200 tasks what each of them submitted", function()
      local batch = open{ concurrency = 20 }
      local got = {}
      sheaf.run(function()
        for i = 1, 200 do
          sheaf.spawn(function()
            batch:submit{ id = "first of " .. i }
            batch:submit{ id = "second of " .. i }
            batch:fetch{ id = "not gathered" }
            got[i] = bodies(batch:gather())
          end)
        end
      end)
      for i = 1, 200 do
        assert.equal(("first of %d second of %d"):format(i, i), got[i])
      end
    end)

    it("for the main chunk only what it has submitted", function()
      local batch = open()
      batch:submit{ id = "main" }
      local inner = sheaf.run(function()
        assert.equal(0, batch:gather().n)
        batch:submit{ id = "task" }
        return bodies(batch:gather())
      end)
      assert.equal("task", inner)
      assert.equal("main", bodies(batch:gather()))
    end)

    it("for a coroutine of the user's what its task has submitted", function()
      local batch = open()
      sheaf.run(function()
        coroutine.wrap(function() batch:submit{ id = "inner" } end)()
        batch:submit{ id = "outer" }
        assert.equal("inner outer", bodies(batch:gather()))
      end)
    end)

    it("what is handed to on_done not a second time", function()
      local batch = open()
      local told
      batch:submit{ id = "a", on_done = function(response) told = response.body end }
      batch:submit{ id = "b" }
      assert.equal("b", bodies(batch:gather()))
      while not told do sheaf.sleep(0.001) end
      assert.equal("a", told)
    end)

    it("no lists of anything else", function()
      local batch = open()
      local ticket = open():submit{ id = 1 }
      raises_here("batch:gather: a list of tickets is wanted, got 5", function() batch:gather(5) end)
      raises_here("batch:gather: entry 2 of the list is no ticket, but a table", function()
        batch:gather{ batch:submit{ id = 1 }, {} }
      end)
      raises_here("batch:gather: ticket 1 belongs to another batch", function()
        batch:gather{ ticket }
      end)
      raises_here("batch:completed: ticket 1 belongs to another batch", function()
        batch:completed{ ticket }
      end)
    end)
  end)

  describe("hands out what is completed", function()
    it("in that order, each once", function()
      local batch = open{ transport = function(request)
        return { delay = (5 - request.id) * 0.02 }
      end }
      for i = 1, 4 do batch:submit{ id = i } end
      local order = {}
      for ticket, response in batch:completed() do
        assert.equal(ticket.id, response.id)
        assert.equal(response, ticket.response)
        order[#order + 1] = ticket.id
      end
      assert.same({ 4, 3, 2, 1 }, order)
      assert.equal(0, batch:gather().n)
    end)

    it("and what is submitted inside the loop", function()
      local batch = open()
      batch:submit{ id = 1 }
      local seen = {}
      for ticket in batch:completed() do
        seen[#seen + 1] = ticket.id
        if ticket.id < 50 then batch:submit{ id = ticket.id + 1 } end
      end
      assert.equal(50, #seen)
      sheaf.run(function()
        batch:submit{ id = 1 }
        local count = 0
        for ticket in batch:completed() do
          count = count + 1
          if ticket.id < 10 then batch:submit{ id = ticket.id + 1 } end
        end
        assert.equal(10, count)
      end)
    end)

    it("of a list, without touching the rest", function()
      local batch = open()
      local a, b = batch:submit{ id = "a" }, batch:submit{ id = "bb" }
      a:wait()
      local seen = {}
      for ticket in batch:completed{ a, b } do seen[ticket.id] = (seen[ticket.id] or 0) + 1 end
      assert.same({ a = 1, bb = 1 }, seen)
      assert.equal("a bb", bodies(batch:gather()))
    end)

    it("and leaves for gather what was not taken", function()
      local batch = open()
      for i = 1, 5 do batch:submit{ id = i } end
      local first
      for ticket in batch:completed() do first = ticket.id break end -- luacheck: ignore 512
      local rest = batch:gather()
      assert.equal(4, rest.n)
      for i = 1, 4 do assert.are_not.equal(first, rest[i].id) end
    end)

    it("to several tasks that share an iterator", function()
      local batch = open()
      local tickets = {}
      for i = 1, 40 do tickets[i] = batch:submit{ id = i } end
      local seen, count = {}, 0
      sheaf.run(function()
        local next_one = batch:completed(tickets)
        for _ = 1, 5 do
          sheaf.spawn(function()
            local ticket = next_one()
            while ticket do
              assert.is_nil(seen[ticket.id])
              seen[ticket.id] = true
              count = count + 1
              sheaf.sleep(0)
              ticket = next_one()
            end
          end)
        end
      end)
      assert.same({}, reported)
      assert.equal(40, count)
    end)
  end)

  describe("submits", function()
    it("without waiting while there is room, and waits while there is none", function()
      local batch = hanging{ queue = 3 }
      local submitted = 0
      local task = sheaf.spawn(function()
        for _ = 1, 5 do
          batch:submit{}
          submitted = submitted + 1
        end
      end)
      sheaf.run(sheaf.sleep, 0.005)
      assert.equal(3, submitted)
      batch:cancel()
      assert.is_true((task:wait()))
      assert.equal(5, submitted)
    end)

    it("500 requests through a queue of 10 before anything is gathered", function()
      local function try()
        local batch = open{ queue = 10 }
        for i = 1, 500 do batch:submit{ id = i } end
        local responses = batch:gather()
        assert.equal(500, responses.n)
        for i = 1, 500 do assert.equal(i, responses[i].id) end
        return true
      end
      assert.is_true(try())
      assert.is_true(sheaf.run(try))
      sheaf.run(function()
        local tasks = {}
        for i = 1, 5 do tasks[i] = sheaf.spawn(try) end
        for i = 1, 5 do assert.same({ true, true }, { tasks[i]:wait() }) end
      end)
    end)

    it("for many tasks through one small queue", function()
      local batch = open{ queue = 10, concurrency = 5 }
      local counts = {}
      sheaf.run(function()
        for i = 1, 20 do
          sheaf.spawn(function()
            for j = 1, 25 do batch:submit{ id = i * 100 + j } end
            counts[i] = batch:gather().n
          end)
        end
      end)
      for i = 1, 20 do assert.equal(25, counts[i]) end
    end)

    it("in the order in which tasks began to wait", function()
      local order = {}
      local batch = open{ queue = 1, concurrency = 1, transport = function(request)
        order[#order + 1] = request.id
        return { delay = 0.001 }
      end }
      sheaf.run(function()
        for i = 1, 20 do
          sheaf.spawn(function() batch:submit{ id = i } batch:submit{ id = i + 100 } end)
        end
      end)
      -- The first goes at once and waits with its second before the others have begun.
      local wanted = { 1, 101 }
      for i = 2, 20 do wanted[#wanted + 1] = i end
      for i = 102, 120 do wanted[#wanted + 1] = i end
      while #order < 40 do sheaf.sleep(0.001) end
      assert.same(wanted, order)
    end)

    it("in a hook while there is room, and else says that the queue is full", function()
      local batch = open{ queue = 2 }
      local got
      batch:submit{ id = 1, on_done = function()
        got = { { batch:submit{ id = 2 } }, { batch:submit{ id = 3 } }, { batch:submit{ id = 4 } } }
      end }
      while not got do sheaf.sleep(0.001) end
      assert.equal(2, got[1][1]:wait().id)
      assert.equal(3, got[2][1]:wait().id)
      assert.same({ nil, "queue full", "full" }, got[3])
      assert.equal(0, batch:gather().n)
    end)
  end)

  describe("retries", function()
    local FAST = { max = 2, throttled = 3, invalid = 1, base = 0.001, cap = 0.002 }

    local function attempts_at(statuses, retry)
      local batch = open{ retry = retry or FAST, transport = function(_, attempt)
        return { status = statuses[attempt] or 200 }
      end }
      local got = batch:fetch{}
      return got.attempts, got.ok, got.error and got.error.kind
    end

    it("failures that pass, until they have passed", function()
      assert.same({ 3, true }, { attempts_at{ 500, 503 } })
      for _, status in ipairs{ 408, 409, 425, 500, 502, 503, 504, 520, 524, 529 } do
        assert.same({ 2, true }, { attempts_at{ status } })
      end
    end)

    it("at most max times", function()
      assert.same({ 3, false, "http" }, { attempts_at{ 500, 500, 500, 500 } })
    end)

    it("no failures that stay", function()
      for _, status in ipairs{ 400, 401, 402, 403, 404, 405, 413, 415, 422, 501 } do
        assert.same({ 1, false, "http" }, { attempts_at{ status } })
      end
    end)

    it("throttled ones by a count of their own", function()
      assert.same({ 6, true }, { attempts_at{ 429, 500, 429, 500, 429 } })
      assert.same({ 4, false, "rate_limit" }, { attempts_at{ 429, 429, 429, 429 } })
      assert.same({ 6, false, "http" }, { attempts_at{ 429, 500, 429, 500, 429, 500 } })
    end)

    it("nothing with max = 0, in each form", function()
      for _, retry in ipairs{ 0, { max = 0 }, { max = 0, throttled = 5, invalid = 5 } } do
        for _, status in ipairs{ 500, 429 } do
          assert.equal(1, (attempts_at({ status, status }, retry)))
        end
        local got = open{ retry = retry, transport = function() return { body = "no JSON" } end }
          :fetch{ expect = "json" }
        assert.same({ 1, "invalid" }, { got.attempts, got.error.kind })
      end
    end)

    it("as the request itself says, where it does", function()
      local batch = open{ retry = { max = 5, base = 0.001, cap = 0.001 },
        transport = function() return { status = 500 } end }
      assert.equal(6, batch:fetch{}.attempts)
      assert.equal(1, batch:fetch{ retry = 0 }.attempts)
      assert.equal(3, batch:fetch{ retry = 2 }.attempts)
      assert.equal(4, batch:fetch{ retry = { max = 3 } }.attempts)
    end)

    it("as the answer's headers say", function()
      local batch = open{ retry = FAST, transport = function(request, attempt)
        return { status = attempt == 1 and request.id or 200,
          headers = { ["x-should-retry"] = request.id == 400 and "true" or "false" } }
      end }
      assert.equal(2, batch:fetch{ id = 400 }.attempts)
      assert.equal(1, batch:fetch{ id = 500 }.attempts)
      batch = open{ retry = FAST, transport = function(_, attempt)
        return { status = attempt == 1 and 429 or 200, headers = { ["retry-after-ms"] = "30" } }
      end }
      local got = batch:fetch{}
      assert.truthy(got.ok and got.elapsed >= 0.03)
    end)

    it("quotas never", function()
      local batch = open{ retry = FAST, transport = function()
        return { status = 429, json = { error = { code = "insufficient_quota" } } }
      end }
      local got = batch:fetch{}
      assert.same({ 1, "quota" }, { got.attempts, got.error.kind })
    end)

    it("and tells on_retry each time", function()
      local told = {}
      local batch = open{ retry = FAST, on_retry = function(about) told[#told + 1] = about end,
        validate = function(response) return response.attempts > 4, "not yet" end,
        transport = function(_, attempt)
          if attempt == 1 then return { status = 503 } end
          if attempt == 2 then return { status = 429, headers = { ["retry-after-ms"] = "5" } } end
          if attempt == 3 then return { error = "reset" } end
          return {}
        end }
      local got = batch:fetch{ id = "me" }
      assert.is_true(got.ok)
      assert.equal(5, got.attempts)
      assert.equal(4, #told)
      local seen = {}
      for i, about in ipairs(told) do
        assert.equal("me", about.id)
        assert.equal(i, about.attempt)
        assert.truthy(about.wait >= 0 and about.wait < 1)
        seen[i] = ("%s %s"):format(about.kind, tostring(about.status))
      end
      assert.same({ "http 503", "rate_limit 429", "reset nil", "invalid 200" }, seen)
      assert.truthy(told[2].wait >= 0.005)
      assert.equal("not yet", told[4].message)
    end)

    it("and goes on though on_retry throws, which on_error hears", function()
      local batch = open{ retry = FAST, on_retry = function() error("kaputt") end,
        transport = function(_, attempt) return { status = attempt == 1 and 500 or 200 } end }
      assert.is_true(batch:fetch{}.ok)
      assert.equal(1, #reported)
      assert.truthy(reported[1].traceback:find("spec/batch_spec.lua:%d+: kaputt\nstack traceback:"))
    end)

    it("until timeout.total, and then tells the last status", function()
      local batch = open{ retry = { max = 100, base = 0.02, cap = 0.02, jitter = "none" },
        timeout = { total = 0.2 }, transport = function() return { status = 500 } end }
      local got = batch:fetch{}
      assert.equal("deadline", got.error.kind)
      assert.truthy(got.attempts > 1 and got.attempts <= 10)
      batch = open{ retry = { max = 5, base = 60, cap = 60, jitter = "none" },
        timeout = { total = 30 }, transport = function() return { status = 503 } end }
      got = batch:fetch{}
      assert.same({ "deadline", 503, 503, 1 },
        { got.error.kind, got.error.status, got.status, got.attempts })
      assert.truthy(got.elapsed < 10)
    end)

    it("within timeout.total, which the queue counts against", function()
      local batch = open{ concurrency = 1, timeout = { total = 0.1 },
        transport = function() return { delay = 3600 } end }
      local wire = batch:submit{ timeout = { total = 0.2 } }
      local queued = batch:submit{}
      assert.same({ "deadline", 0 }, { queued:wait().error.kind, queued:wait().attempts })
      assert.same({ "deadline", 1 }, { wire:wait().error.kind, wire:wait().attempts })
      assert.truthy(tostring(queued.response.error):find("timeout.total, 0.1 s", 1, true))
    end)
  end)

  describe("on its way to the wire", function()
    -- Ids in the order in which attempts began, one at a time.
    local function order_of(submit, retry)
      local order = {}
      local batch = open{ concurrency = 1, retry = retry, transport = function(request, attempt)
        order[#order + 1] = request.id
        if request.id == "first" then return { delay = 0.03 } end
        if request.id == "flaky" and attempt == 1 then return { status = 500 } end
        return { delay = 0.002 }
      end }
      batch:submit{ id = "first" }
      while not order[1] do sheaf.sleep(0.001) end
      submit(batch)
      batch:gather()
      return table.concat(order, " ", 2)
    end

    it("puts a higher priority first, then older ones", function()
      assert.equal("5 c a b -1 z", order_of(function(batch)
        batch:submit{ id = "z", priority = -2 }
        batch:submit{ id = "a" }
        batch:submit{ id = "b" }
        batch:submit{ id = "-1", priority = -1 }
        batch:submit{ id = "5", priority = 5 }
        batch:submit{ id = "c", priority = 1 }
      end))
    end)

    it("puts due retries before what is new", function()
      local order = order_of(function(batch)
        batch:submit{ id = "flaky" }
        for i = 1, 5 do batch:submit{ id = tostring(i) } end
      end, { max = 3, base = 0, cap = 0, jitter = "none" })
      assert.truthy(order:find("^flaky 1?%s?flaky"), order)
    end)

    it("puts later requests of an older item before the first of a newer one", function()
      local order = {}
      local batch = open{ concurrency = 1, transport = function(request)
        order[#order + 1] = request.id
        return { delay = 0.003 }
      end }
      local items = { "a", "b", "c" }
      batch:map(items, function(name)
        batch:fetch{ id = name .. 1 }
        return batch:fetch{ id = name .. 2 }.body
      end)
      assert.equal("a1", order[1])
      local place = {}
      for i, id in ipairs(order) do place[id] = i end
      assert.truthy(place.a2 < place.c1, table.concat(order, " "))
      assert.truthy(place.b2 < place.c2)
    end)

    it("keeps to the concurrency, and starts the next as one ends", function()
      local open_now, most, started = 0, 0, {}
      local batch
      batch = open{ concurrency = 3, transport = function(request)
        open_now = open_now + 1
        most = math.max(most, open_now)
        started[request.id] = true
        return { delay = request.id == 1 and 3600 or 0.002 }
      end, validate = function() open_now = open_now - 1 return true end }
      for i = 1, 30 do batch:submit{ id = i } end
      -- No waves: one that never ends holds back none but itself.
      local next_one, seen = batch:completed(), {}
      for _ = 2, 30 do seen[next_one().id] = true end
      for i = 2, 30 do assert.is_true(seen[i]) end
      assert.equal(3, most)
    end)

    it("changes the concurrency at once", function()
      local asked = 0
      local batch = open{ concurrency = 1, transport = function()
        asked = asked + 1
        return { delay = 3600 }
      end }
      for _ = 1, 10 do batch:submit{} end
      while asked < 1 do sheaf.sleep(0.001) end
      sheaf.run(sheaf.sleep, 0.005)
      assert.equal(1, asked)
      batch:set{ concurrency = 4 }
      while asked < 4 do sheaf.sleep(0.001) end
      sheaf.run(sheaf.sleep, 0.005)
      assert.equal(4, asked)
    end)

    it("shares a limiter with others", function()
      local limiter = sheaf.limiter{ concurrency = 3 }
      local open_now, most = 0, 0
      local function transport()
        open_now = open_now + 1
        most = math.max(most, open_now)
        return { delay = 0.002 }
      end
      local function validate() open_now = open_now - 1 return true end
      local one = open{ limiter = limiter, transport = transport, validate = validate }
      local two = open{ limiter = limiter, transport = transport, validate = validate }
      for _ = 1, 20 do one:submit{} two:submit{} end
      assert.equal(20, one:gather().n)
      assert.equal(20, two:gather().n)
      assert.equal(3, most)
      one:set{ concurrency = 7 }
      assert.equal(7, two:stats().concurrency_now)
    end)
  end)

  describe("validates", function()
    local FAST = { invalid = 2, base = 0.001, cap = 0.001 }

    it("and retries at most retry.invalid times", function()
      local asked = 0
      local batch = open{ retry = FAST, validate = function(response)
        asked = asked + 1
        assert.is_true(response.ok)
        return false, "too short"
      end }
      local got = batch:fetch{ id = "x" }
      assert.is_false(got.ok)
      assert.same({ "invalid", "too short", 200, 3, 3 },
        { got.error.kind, got.error.message, got.error.status, got.attempts, asked })
      assert.equal("x", got.body)
    end)

    it("and passes what is right at last", function()
      local batch = open{ retry = FAST, validate = function(response) return response.attempts == 3 end }
      local got = batch:fetch{}
      assert.same({ true, 3 }, { got.ok, got.attempts })
      assert.is_nil(got.error)
    end)

    it("JSON before validate sees it", function()
      local asked = 0
      local batch = open{ retry = FAST, transport = function(_, attempt)
        return { body = attempt < 3 and '{"half":' or '{"whole":1}' }
      end }
      local got = batch:fetch{ json = {}, validate = function(response)
        asked = asked + 1
        return response:json().whole == 1
      end }
      assert.same({ true, 3, 1 }, { got.ok, got.attempts, asked })
    end)

    it("and makes a throw invalid, with its traceback, without a retry", function()
      local batch = open{ retry = FAST, validate = function(response)
        return #response:json().choices > 0
      end, transport = function() return { json = {} } end }
      local got = batch:fetch{}
      assert.same({ "invalid", 1 }, { got.error.kind, got.attempts })
      assert.truthy(got.error.message:find("^validate raised: spec/batch_spec.lua:%d+: "))
      assert.truthy(got.error.message:find("stack traceback:", 1, true))
      got = batch:fetch{ validate = function() error({}) end }
      assert.same({ "invalid", 1 }, { got.error.kind, got.attempts })
    end)

    it("only what is 2xx", function()
      local asked = 0
      local batch = open{ retry = 0, validate = function() asked = asked + 1 return true end,
        transport = function(request) return { status = request.id } end }
      for _, status in ipairs{ 300, 400, 404, 500 } do assert.is_false(batch:fetch{ id = status }.ok) end
      assert.equal(0, asked)
    end)

    it("while the permit is free for others", function()
      local batch
      local order = {}
      batch = open{ concurrency = 1, retry = 0, transport = function(request)
        order[#order + 1] = "asked " .. request.id
        return {}
      end, validate = function(response)
        order[#order + 1] = "judged " .. response.id
        return true
      end }
      for i = 1, 3 do batch:submit{ id = i } end
      assert.equal(3, batch:gather().n)
      assert.equal(6, #order)
    end)

    it("and may cancel or close meanwhile", function()
      local batch, ticket
      batch = open{ validate = function() ticket:cancel() return true end }
      ticket = batch:submit{}
      assert.equal("cancelled", ticket:wait().error.kind)
      batch = open{ validate = function() batch:close() return false end }
      ticket = batch:submit{}
      assert.equal("closed", ticket:wait().error.kind)
    end)
  end)

  describe("in a hook", function()
    it("refuses to wait, and says where it may not", function()
      local batch = open{ retry = { max = 1, invalid = 0, base = 0.001 } }
      local function wait() sheaf.sleep(0) end
      local text = "sheaf.sleep would wait, which validate, on_retry, on_done"
      local got = batch:fetch{ validate = wait }
      assert.truthy(got.error.message:find(text, 1, true), got.error.message)
      batch:fetch{ on_done = wait }
      batch:fetch{ on_retry = wait, transport = function() return { status = 500 } end }
      assert.equal(2, #reported)
      for _, one in ipairs(reported) do assert.truthy(one.err:find(text, 1, true)) end
      batch:fetch{ on_done = function() batch:fetch{ id = "never" } end }
      assert.truthy(reported[3].err:find("batch:fetch would wait", 1, true))
      assert.equal(4, batch:stats().total)
    end)

    it("runs as no task, wherever it drives", function()
      local batch = open()
      sheaf.run(function()
        local more
        batch:submit{ id = "a", on_done = function() more = batch:submit{ id = "b" } end }
        ;("x"):gsub("x", function()
          while not more do sheaf.sleep(0.001) end
        end)
        assert.equal(0, batch:gather().n)
        assert.equal("b", more:wait().body)
      end)
    end)
  end)

  describe("calls on_done", function()
    it("once, with the response, of the request or of the batch", function()
      local got = {}
      local batch = open{ on_done = function(response) got[#got + 1] = response.id end }
      batch:submit{ id = "batch's" }
      local own
      batch:submit{ id = "own", on_done = function(response) own = response end }
      while not (own and got[1]) do sheaf.sleep(0.001) end
      assert.same({ "batch's" }, got)
      assert.equal("own", own.body)
    end)

    it("for failures and cancelled ones, too", function()
      local got = {}
      local function on_done(response) got[#got + 1] = response.error.kind end
      local batch = open{ on_done = on_done, retry = 0, transport = function() return { status = 500 } end }
      batch:fetch{}
      local slow = hanging{ on_done = on_done }
      slow:submit{}:cancel()
      slow:submit{}
      slow:close()
      assert.same({ "http" }, got)
      sheaf.step()
      assert.same({ "http", "cancelled", "closed" }, got)
    end)

    it("and goes on where it throws, which on_error hears", function()
      local batch = open()
      local ticket = batch:submit{ id = "a", on_done = function() error("kaputt") end }
      assert.equal("a", ticket:wait().body)
      assert.equal("b", batch:fetch{ id = "b" }.body)
      assert.equal(1, #reported)
      assert.truthy(reported[1].traceback:find("spec/batch_spec.lua:%d+: kaputt\nstack traceback:"))
    end)

    it("though the batch is held by nobody else", function()
      local got
      do
        local batch = sheaf.batch{ base_url = "http://h", transport = function()
          return { body = "there", delay = 0.02 }
        end }
        batch:submit{ on_done = function(response) got = response.body end }
      end
      while not got do
        collectgarbage()
        sheaf.run(sheaf.sleep, 0.002)
      end
      assert.equal("there", got)
    end)
  end)

  describe("cancels", function()
    it("one, at once, and only once", function()
      local batch = hanging()
      local one, other = batch:submit{ id = 1 }, batch:submit{ id = 2 }
      assert.is_true(one:cancel())
      assert.same({ false, "cancelled", 1 }, { one.response.ok, one.response.error.kind, one.response.id })
      assert.equal("cancelled: cancelled", tostring(one.response.error))
      assert.is_false(one:cancel())
      assert.equal(one.response, one:wait())
      assert.is_nil(other.response)
      other:cancel()
      local done = open():submit{ id = 1 }
      done:wait()
      assert.is_false(done:cancel())
      assert.is_true(done.response.ok)
    end)

    it("all, wherever they are", function()
      local batch = open{ concurrency = 2, retry = { max = 1, base = 60, cap = 60, jitter = "none" },
        transport = function(request)
          if request.id == 1 then return { status = 500 } end
          return { delay = 3600 }
        end }
      for i = 1, 6 do batch:submit{ id = i } end
      repeat sheaf.sleep(0.001) until batch:stats().backing_off == 1
      assert.equal(6, batch:cancel())
      local responses = batch:gather()
      for i = 1, 6 do assert.equal("cancelled", responses[i].error.kind) end
      assert.equal(0, batch:cancel())
      assert.equal("ok", batch:fetch{ id = "ok", transport = function() return { body = "ok" } end }.body)
    end)

    it("and wakes all who wait", function()
      local batch = hanging()
      local shared = batch:submit{ id = "shared" }
      local got = {}
      sheaf.run(function()
        sheaf.spawn(function() got[1] = shared:wait().error.kind end)
        sheaf.spawn(function() got[2] = batch:gather{ shared }[1].error.kind end)
        sheaf.spawn(function() got[3] = select(2, batch:completed{ shared }()).error.kind end)
        sheaf.run(sheaf.sleep, 0.002)
        batch:cancel()
      end)
      assert.same({ "cancelled", "cancelled", "cancelled" }, got)
    end)

    it("nothing when a ticket is dropped", function()
      local asked = {}
      local batch = open{ transport = function(request)
        asked[request.id] = true
        return { delay = 0.005 }
      end }
      sheaf.run(function() batch:submit{ id = "dropped" } end)
      collectgarbage()
      collectgarbage()
      batch:fetch{ id = "later" }
      while batch:stats().done < 2 do sheaf.sleep(0.001) end
      assert.equal(2, batch:stats().ok)
      assert.is_true(asked.dropped)
    end)
  end)

  describe("closes", function()
    it("once, ending all that is unfinished", function()
      local batch = hanging()
      local ticket = batch:submit{}
      local waiter = sheaf.spawn(function() return ticket:wait().error.kind end)
      batch:close()
      batch:close()
      assert.equal("closed", ticket.response.error.kind)
      assert.same({ true, "closed" }, { waiter:wait() })
      assert.equal("closed", ticket:wait().error.kind)
      assert.is_false(ticket:cancel())
    end)

    it("and raises at the caller's line for all that comes later", function()
      local batch = open()
      local ticket = batch:submit{ id = 1 }
      ticket:wait()
      batch:close()
      raises_here("batch:submit: the batch is closed", function() batch:submit{} end)
      raises_here("batch:fetch: the batch is closed", function() batch:fetch{} end)
      raises_here("batch:gather: the batch is closed", function() batch:gather() end)
      raises_here("batch:completed: the batch is closed", function() batch:completed() end)
      raises_here("batch:each: the batch is closed", function() batch:each({}) end)
      raises_here("batch:map: the batch is closed", function() batch:map({}) end)
      raises_here("batch:cancel: the batch is closed", function() batch:cancel() end)
      raises_here("batch:set: the batch is closed", function() batch:set{} end)
      assert.is_true(ticket:wait().ok)
    end)

    it("while tasks wait for room in the queue, which raises there", function()
      local batch = hanging{ queue = 1 }
      batch:submit{}
      local line
      local task = sheaf.spawn(function()
        line = debug.getinfo(1, "l").currentline + 1
        batch:submit{}
      end)
      sheaf.run(sheaf.sleep, 0.001)
      batch:close()
      local ok, message = task:wait()
      assert.is_false(ok)
      assert.truthy(message:find(("^spec/batch_spec.lua:%d: batch:submit: the batch is closed"):format(line)),
        message)
    end)

    it("by a closing variable, where Lua has them", function()
      local chunk = (loadstring or load)([[
        local batch, ticket = ...
        do local closing <close> = batch end
      ]])
      local batch = hanging()
      local ticket = batch:submit{}
      if chunk then
        chunk(batch)
      else
        getmetatable(batch).__close(batch)
      end
      assert.equal("closed", ticket.response.error.kind)
    end)

    it("and raises where methods are called with a dot", function()
      raises_here("batch:submit: not a batch: call it with a colon", function()
        open().submit{ id = 1 }
      end)
      raises_here("batch:stats: not a batch", function() open().stats() end)
    end)
  end)

  describe("that nobody can reach", function()
    it("is collected and cancels what nobody waits for", function()
      local s = server.start()
      do
        local batch = sheaf.batch{ base_url = s.url }
        for i = 1, 3 do
          batch:submit{ path = "/echo", headers = { ["x-behave"] = "silent=60", ["x-item"] = "i" .. i } }
        end
        while s:stats().open < 3 do sheaf.sleep(0.01) end
        assert.equal(3, batch:stats().in_flight)
      end
      repeat
        collectgarbage()
        sheaf.sleep(0.01)
      until s:stats().open == 0
      s:stop()
    end)

    it("lives on while a ticket is held or a task waits", function()
      local ticket = sheaf.batch{ base_url = "http://h", transport = function()
        return { body = "held", delay = 0.02 }
      end }:submit{}
      local task = sheaf.spawn(function()
        return sheaf.batch{ base_url = "http://h", transport = function()
          return { body = "waited for", delay = 0.02 }
        end }:fetch{}.body
      end)
      for _ = 1, 5 do
        collectgarbage()
        sheaf.run(sheaf.sleep, 0.001)
      end
      assert.equal("held", ticket:wait().body)
      assert.same({ true, "waited for" }, { task:wait() })
    end)

    it("leaves its limiter to others", function()
      local second
      do
        local first = sheaf.batch{ base_url = "http://h", concurrency = 2,
          transport = function() return {} end }
        first:fetch{}
        second = open{ from = first }
      end
      collectgarbage()
      collectgarbage()
      assert.is_true(second:fetch{}.ok)
    end)
  end)

  describe("made from another", function()
    it("takes its options over, shares its limiter, and cancels only its own", function()
      local most, open_now = 0, 0
      local first = open{ concurrency = 2, headers = { ["x-a"] = "1" }, transport = function(request)
        open_now = open_now + 1
        most = math.max(most, open_now)
        return { body = request.headers["x-a"], delay = 3600 }
      end }
      local second = sheaf.batch{ from = first }
      first:submit{}
      second:submit{}
      local third = first:submit{}
      while open_now < 2 do sheaf.sleep(0.001) end
      sheaf.run(sheaf.sleep, 0.002)
      assert.equal(2, most)
      assert.equal(1, second:cancel())
      assert.is_nil(third.response)
      second:close()
      assert.is_nil(third.response)
      while open_now < 3 do sheaf.sleep(0.001) end
    end)
  end)

  describe("over the wire", function()
    local s

    setup(function() s = server.start() end)
    teardown(function() s:stop() end)

    it("makes as many hits as the responses have attempts", function()
      s:reset()
      local batch = sheaf.batch{ base_url = s.url, concurrency = 20,
        retry = { max = 8, throttled = 20, base = 0.005, cap = 0.02 } }
      opened[#opened + 1] = batch
      local sum = 0
      for i = 1, 200 do
        batch:submit{ path = "/echo", id = "item-" .. i, headers = { ["x-item"] = "item-" .. i,
          ["x-behave"] = "latency=exp:0.002;faults=0.1" } }
      end
      local responses = batch:gather()
      for i = 1, 200 do
        assert.is_true(responses[i].ok, tostring(responses[i].error))
        assert.equal("item-" .. i, responses[i]:json().headers["x-item"])
        sum = sum + responses[i].attempts
      end
      assert.equal(sum, s:stats().hits)
      assert.truthy(sum > 200)
    end)

    it("cancels on the server, too", function()
      s:reset()
      local batch = sheaf.batch{ base_url = s.url }
      opened[#opened + 1] = batch
      local ticket = batch:submit{ path = "/echo", headers = { ["x-behave"] = "silent=60" } }
      while s:stats().open < 1 do sheaf.sleep(0.005) end
      ticket:cancel()
      while s:stats().open > 0 do sheaf.sleep(0.005) end
      assert.is_true(batch:fetch{ path = "/echo" }.ok)
    end)
  end)
end)
