-- Connections: how many, for how long, and whose.

local server = require "spec.support.server"
local sheaf = require "sheaf"

describe("the connection pool", function()
  local s, batches
  local idle = 100              -- a value of its own gives a batch connections of its own

  setup(function() s = server.start() end)
  teardown(function() s:stop() end)

  before_each(function()
    s:reset()
    batches = {}
  end)

  after_each(function()
    for _, batch in ipairs(batches) do batch:close() end
  end)

  local function open(options)
    options.base_url = options.base_url or s.url
    options.pool = options.pool or {}
    if options.pool.idle == nil then
      idle = idle + 1
      options.pool.idle = idle
    end
    local batch = sheaf.batch(options)
    batches[#batches + 1] = batch
    return batch
  end

  -- Sends so many requests; returns what the server counted of them.
  local function send(batch, count, behave, url)
    s:reset()
    for i = 1, count do
      assert(batch:submit{ path = not url and "/echo" or nil, id = i,
        url = type(url) == "function" and url(i) or url,
        headers = { ["x-behave"] = behave or "latency=0.01" } })
    end
    local responses = batch:gather()
    for _, response in ipairs(responses) do assert(response.ok, tostring(response.error)) end
    return s:stats(), responses
  end

  it("keeps concurrency full and never exceeds it", function()
    local counted = send(open{ concurrency = 7 }, 100)
    assert.equal(7, counted.max_open)
    assert.equal(100, counted.hits)
  end)

  it("changes concurrency at run time, up and down", function()
    local batch = open{ concurrency = 2 }
    assert.equal(2, send(batch, 20).max_open)
    batch:set{ concurrency = 9 }
    assert.equal(9, send(batch, 60).max_open)
    assert.equal(9, batch:stats().concurrency_now)
    batch:set{ concurrency = 1 }
    assert.equal(1, send(batch, 10).max_open)
  end)

  it("changes concurrency for what is queued already", function()
    local batch = open{ concurrency = 1 }
    local seen = {}
    for i = 1, 41 do
      assert(batch:submit{ path = "/echo", id = i, headers = { ["x-behave"] = "latency=0.02" } })
    end
    for _ in batch:completed() do
      seen[#seen + 1] = 1
      if #seen == 1 then batch:set{ concurrency = 10 } end
    end
    assert.equal(41, #seen)
    assert.equal(10, s:stats().max_open)
  end)

  it("opens a connection once and uses it again", function()
    local batch = open{ concurrency = 5 }
    local counted = send(batch, 100)
    local stats = batch:stats()
    assert.equal(counted.accepted, stats.connections_opened)
    assert.is_true(counted.accepted <= 5)
    assert.equal(100, stats.connections_opened + stats.connections_reused)
    assert.equal(0, send(batch, 100).accepted)
  end)

  it("opens one per request with keepalive = false, and leaves none open", function()
    local before = s:stats().connections
    local batch = open{ concurrency = 5, pool = { keepalive = false } }
    local counted = send(batch, 50)
    local stats = batch:stats()
    assert.equal(50, counted.accepted)
    assert.equal(50, stats.connections_opened)
    assert.equal(0, stats.connections_reused)
    assert.is_true(s:stats().connections <= before)
  end)

  it("keeps to per_host for each host, while another host goes on", function()
    local batch = open{ concurrency = 50, pool = { per_host = 3 } }
    assert.equal(3, send(batch, 60).max_open)
    local other = s.url:gsub("127%.0%.0%.1", "localhost")
    local counted = send(batch, 60, nil, function(i)
      return (i % 2 == 0 and s.url or other) .. "/echo"
    end)
    assert.equal(6, counted.max_open)
    assert.is_true(counted.accepted <= 3)
  end)

  it("keeps to total over all hosts", function()
    local batch = open{ concurrency = 50, pool = { total = 4 } }
    local other = s.url:gsub("127%.0%.0%.1", "localhost")
    local counted = send(batch, 60, nil, function(i)
      return (i % 2 == 0 and s.url or other) .. "/echo"
    end)
    assert.equal(4, counted.max_open)
    assert.equal(60, counted.hits)
  end)

  it("lets other hosts pass one that is full", function()
    local batch = open{ concurrency = 2, pool = { per_host = 1 } }
    local other = s.url:gsub("127%.0%.0%.1", "localhost")
    local order = {}
    for i = 1, 4 do
      assert(batch:submit{ url = s.url .. "/echo", id = "slow" .. i,
        headers = { ["x-behave"] = "latency=0.2" } })
    end
    assert(batch:submit{ url = other .. "/echo", id = "quick" })
    for ticket, response in batch:completed() do
      assert(response.ok, tostring(response.error))
      order[#order + 1] = ticket.id
    end
    assert.same({ "quick", "slow1", "slow2", "slow3", "slow4" }, order)
  end)

  it("bounds HTTP/2 streams by per_host", function()
    local batch = open{ base_url = s.tls, tls = { ca = s.ca }, concurrency = 50,
      pool = { per_host = 5 } }
    local counted = send(batch, 60)
    assert.equal(5, counted.max_open)
    assert.is_true(counted.accepted <= 1)
  end)

  it("uses no connection again that idled for longer than idle", function()
    local batch = open{ concurrency = 1, pool = { idle = 1 } }
    send(batch, 2)
    assert.equal(1, batch:stats().connections_opened)
    sheaf.sleep(2.2)            -- libcurl counts whole seconds
    send(batch, 1)
    assert.equal(2, batch:stats().connections_opened)
  end)

  it("takes a new connection where the server closed the idle one, and hits it once", function()
    local batch = open{ concurrency = 1, retry = 0 }
    local _, responses = send(batch, 1, "close=1")
    assert.equal(1, responses[1].attempts)
    local counted = send(batch, 1, "idle_close=0.1")
    local told = sheaf.now()
    repeat
      assert(sheaf.now() - told < 5, "the server closes it")
      sheaf.sleep(0.02)
    until s:stats().connections < counted.connections
    counted, responses = send(batch, 1)
    assert.equal(1, responses[1].attempts)
    assert.equal(1, counted.hits)
    assert.equal(3, batch:stats().connections_opened)
  end)

  it("is shared by batches with equal options, and by no others", function()
    local function accepted(options)
      options.concurrency = 1
      return send(open(options), 3).accepted
    end
    assert.equal(1, accepted{ pool = { idle = 99 } })
    assert.equal(0, accepted{ pool = { idle = 99 } })
    assert.equal(1, accepted{ pool = { idle = 98 } })
    assert.equal(1, accepted{ pool = { idle = 99, per_host = 9 } })
    assert.equal(0, accepted{ pool = { idle = 99 }, headers = { ["x-a"] = "b" } })
  end)

  it("keeps its connections when a batch is closed, and doesn't spin when the server closes them",
    function()
      local batch = open{ concurrency = 20 }
      send(batch, 40, "idle_close=0.1")
      batch:close()
      local before, began = os.clock(), sheaf.now()
      repeat sheaf.sleep(0.1) until sheaf.now() - began > 0.5
      assert.is_true(os.clock() - before < 0.25, "CPU seconds: " .. os.clock() - before)
    end)

  it("counts opened and reused connections of both protocols", function()
    local batch = open{ base_url = s.tls, tls = { ca = s.ca }, concurrency = 10 }
    local counted = send(batch, 50)
    local stats = batch:stats()
    assert.equal(counted.accepted, stats.connections_opened)
    assert.equal(50, stats.connections_opened + stats.connections_reused)
  end)

  it("opens a thousand connections in several shards and uses all again", function()
    local batch = open{ concurrency = 1000, queue = 3000 }
    local counted = send(batch, 3000, "latency=0.3")
    assert.equal(1000, counted.max_open)
    assert.is_true(counted.accepted <= 1000, "accepted: " .. counted.accepted)
    assert.is_true(send(batch, 1000, "latency=0.3").accepted <= 50)
  end)
end)
