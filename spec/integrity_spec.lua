-- Thousands of requests through latency, faults and retries: each result is its own item's, each comes
-- once, none is missing, and the server's hits are the attempts that the responses tell of.

local server = require "spec.support.server"
local sheaf = require "sheaf"

-- The whole size on one interpreter; the others run the same C code, and less of it is enough there.
local WHOLE = _VERSION == "Lua 5.4"
local MANY = WHOLE and 20000 or 4000
local CHAINS = WHOLE and 4000 or 1000
local OVER_HTTP2 = 2000

-- Patient enough that 5 % faults fail nobody: ten in a row have a chance of 1e-13.
local PATIENT = { max = 9, throttled = 20, base = 0.01, cap = 0.1 }
local ROUGH = "latency=exp:0.005;faults=0.05"

local function chat(text)
  return { model = "m", echo = true, messages = { { role = "user", content = text } } }
end

describe("of thousands of requests through faults", function()
  local s, batches

  setup(function() s = server.start{ default = ROUGH } end)
  teardown(function() s:stop() end)

  before_each(function()
    s:reset()
    batches = {}
  end)

  after_each(function()
    for _, batch in ipairs(batches) do batch:close() end
  end)

  local function open(options)
    options.retry = options.retry or PATIENT
    options.base_url = options.base_url or s.url .. "/v1"
    local batch = sheaf.batch(options)
    batches[#batches + 1] = batch
    return batch
  end

  -- The server's counts against what the responses say, for each item and for all.
  local function check_hits(attempts, sum)
    local counted = s:stats()
    local wrong = {}
    for item, count in pairs(attempts) do
      if counted.items[item] ~= count then
        wrong[#wrong + 1] = ("%s: %s hits, %d attempts"):format(item,
          tostring(counted.items[item]), count)
      end
    end
    for item, count in pairs(counted.items) do
      if not attempts[item] then wrong[#wrong + 1] = item .. ": " .. count .. " hits of nobody's" end
    end
    assert.same({}, wrong)
    assert.equal(sum, counted.hits)
    return counted
  end

  it("gather gives each ticket its own answer, once, and counts what the server counted", function()
    local batch = open{ concurrency = 200, queue = MANY }
    for i = 1, MANY do
      assert(batch:submit{ path = "/chat/completions", id = i, json = chat("item " .. i),
        headers = { ["x-item"] = "i" .. i } })
    end
    local responses = batch:gather()
    assert.equal(MANY, responses.n)
    local attempts, sum, wrong = {}, 0, {}
    for i = 1, MANY do
      local response = responses[i]
      if response:text() ~= "item " .. i or response.id ~= i then
        wrong[#wrong + 1] = i .. ": " .. tostring(response.error or response:text())
      end
      attempts["i" .. i] = response.attempts
      sum = sum + response.attempts
    end
    assert.same({}, wrong)
    local counted = check_hits(attempts, sum)
    assert.is_true(sum > MANY * 1.03, "the faults came: " .. sum)
    assert.is_true(counted.max_open <= 200, "the concurrency held: " .. counted.max_open)
    assert.is_true(counted.max_open > 50, "and was used: " .. counted.max_open)
    local stats = batch:stats()
    assert.same({ MANY, MANY, MANY, 0, sum, sum - MANY, 0, 0, 0 },
      { stats.total, stats.done, stats.ok, stats.failed, stats.attempts, stats.retried,
        stats.in_flight, stats.queued, stats.backing_off })
    assert.equal(0, batch:gather().n)
  end)

  it("completed hands out each ticket once, with its own answer", function()
    local batch = open{ concurrency = 200, queue = MANY }
    local count = CHAINS
    for i = 1, count do
      assert(batch:submit{ path = "/chat/completions", id = i, json = chat("item " .. i),
        headers = { ["x-item"] = "i" .. i } })
    end
    local attempts, sum, wrong = {}, 0, {}
    for ticket, response in batch:completed() do
      local i = ticket.id
      if attempts["i" .. i] or response:text() ~= "item " .. i or response.id ~= i then
        wrong[#wrong + 1] = i
      end
      attempts["i" .. i] = response.attempts
      sum = sum + response.attempts
    end
    assert.same({}, wrong)
    check_hits(attempts, sum)
    assert.equal(count, batch:stats().ok)
  end)

  it("each runs a chain of two steps per item, and mixes none up", function()
    local batch = open{ concurrency = 200 }
    local attempts, sum = {}, 0
    local next_item = 0
    local function source()
      if next_item < CHAINS then
        next_item = next_item + 1
        return "text " .. next_item
      end
    end
    local function step(name, text)
      local response = batch:fetch{ path = "/chat/completions", query = { item = name },
        json = chat(text) }
      assert(not attempts[name], "one fetch, one response")
      attempts[name] = response.attempts
      sum = sum + response.attempts
      return assert(response:text())
    end
    local seen, wrong = {}, {}
    for index, result, err in batch:each(source, function(text, index)
      local draft = step("draft" .. index, "draft of " .. text)
      return step("critique" .. index, "critique of " .. draft)
    end) do
      if seen[index] or err or result ~= "critique of draft of text " .. index then
        wrong[#wrong + 1] = index .. ": " .. tostring(err or result)
      end
      seen[index] = true
    end
    assert.same({}, wrong)
    assert.equal(CHAINS, #seen)
    assert.equal(CHAINS, next_item)
    check_hits(attempts, sum)
  end)

  it("each in order hands the items' requests out in order", function()
    local batch = open{ concurrency = 100 }
    local requests = {}
    for i = 1, CHAINS do
      requests[i] = { path = "/chat/completions", query = { item = "i" .. i }, json = chat("n" .. i) }
    end
    local attempts, sum, expected = {}, 0, 0
    for index, response, err in batch:each(requests, nil, { ordered = true }) do
      expected = expected + 1
      assert.equal(expected, index)
      assert.is_nil(err)
      assert.equal("n" .. index, response:text())
      attempts["i" .. index] = response.attempts
      sum = sum + response.attempts
    end
    assert.equal(CHAINS, expected)
    check_hits(attempts, sum)
  end)

  it("the same holds over TLS and HTTP/2", function()
    local batch = open{ base_url = s.tls .. "/v1", tls = { ca = s.ca }, concurrency = 200,
      queue = OVER_HTTP2 }
    for i = 1, OVER_HTTP2 do
      assert(batch:submit{ path = "/chat/completions", id = i, json = chat("item " .. i),
        headers = { ["x-item"] = "i" .. i } })
    end
    local responses = batch:gather()
    local attempts, sum, wrong = {}, 0, {}
    for i = 1, OVER_HTTP2 do
      local response = responses[i]
      if response:text() ~= "item " .. i then
        wrong[#wrong + 1] = i .. ": " .. tostring(response.error or response:text())
      end
      attempts["i" .. i] = response.attempts
      sum = sum + response.attempts
    end
    assert.same({}, wrong)
    local counted = check_hits(attempts, sum)
    assert.is_true(sum > OVER_HTTP2 * 1.03, "the faults came: " .. sum)
    assert.is_true(counted.accepted <= 4, "one connection served them: " .. counted.accepted)
  end)

  it("the same holds over TLS and HTTP/1.1", function()
    local batch = open{ base_url = s.tls1 .. "/v1", tls = { ca = s.ca }, concurrency = 50,
      queue = OVER_HTTP2 }
    for i = 1, CHAINS do
      assert(batch:submit{ path = "/chat/completions", json = chat("item " .. i),
        headers = { ["x-item"] = "i" .. i } })
    end
    local attempts, sum, wrong = {}, 0, {}
    for i, response in ipairs(batch:gather()) do
      if response:text() ~= "item " .. i then
        wrong[#wrong + 1] = i .. ": " .. tostring(response.error or response:text())
      end
      attempts["i" .. i] = response.attempts
      sum = sum + response.attempts
    end
    assert.same({}, wrong)
    check_hits(attempts, sum)
  end)

  it("200 tasks that submit two each and gather get their own", function()
    local batch = open{ concurrency = 50 }
    local attempts, sum, wrong = {}, 0, {}
    sheaf.run(function()
      for n = 1, 200 do
        sheaf.spawn(function()
          for k = 1, 2 do
            local name = n .. "-" .. k
            assert(batch:submit{ path = "/chat/completions", id = name, json = chat(name),
              headers = { ["x-item"] = name } })
          end
          local responses = batch:gather()
          if responses.n ~= 2 then wrong[#wrong + 1] = n .. " got " .. responses.n end
          for k = 1, responses.n do
            local name = n .. "-" .. k
            if responses[k]:text() ~= name then wrong[#wrong + 1] = name end
            attempts[name] = responses[k].attempts
            sum = sum + responses[k].attempts
          end
        end)
      end
    end)
    assert.same({}, wrong)
    check_hits(attempts, sum)
  end)
end)
