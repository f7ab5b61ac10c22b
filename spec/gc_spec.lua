-- What the collector may do to batches, tickets and tasks, and that nothing grows with their number.

local child = require "spec.support.child"
local server = require "spec.support.server"
local sheaf = require "sheaf"

-- The whole size on one interpreter; the others run the same C code.
local WHOLE = _VERSION == "Lua 5.4"
local STREAMED = WHOLE and 20000 or 8000
local SHORT_LIVED = WHOLE and 3000 or 1000

describe("the collector", function()
  local s

  setup(function() s = server.start() end)
  teardown(function()
    collectgarbage()
    s:stop()
  end)
  before_each(function() s:reset() end)

  -- Pipes are left out: popen's own, of which the parent may not have closed its child's end yet when the
  -- child counts. The engine has none.
  local function count(folder)
    return tonumber(child.shell("ls -l /proc/$PPID/" .. folder .. " | grep -vc pipe:"))
  end

  it("gets a request's table and text while it is on its way", function()
    local batch = sheaf.batch{ base_url = s.url, concurrency = 1 }
    local held = setmetatable({}, { __mode = "k" })
    for i = 1, 3 do             -- one on the wire, two in the queue
      local request = { path = "/echo", json = { i }, headers = { ["x-behave"] = "silent=0.3" } }
      held[request], held[request.json] = true, true
      assert(batch:submit(request))
    end
    collectgarbage()
    assert.is_nil(next(held))
    assert.equal(0, batch:stats().done)
    local responses = batch:gather()
    for i = 1, 3 do assert.equal("[" .. i .. "]", responses[i]:json().body) end
    batch:close()
  end)

  it("may run at every step of a small run", function()
    local results, good = {}, 0
    -- Every thousandth instruction, or LuaJIT takes minutes; and at each place where Lua code of the
    -- user's runs.
    local step = 997
    local function collect() collectgarbage() end
    local batch = sheaf.batch{ base_url = s.url, concurrency = 5,
      retry = { max = 9, base = 0.001, cap = 0.002 },
      headers = { ["x-behave"] = "faults=0.1;latency=exp:0.002" } }
    local function work(index)
      debug.sethook(collect, "", step)
      collect()
      local ticket = assert(batch:submit{ path = "/echo", json = { index },
        validate = function(response)
          collect()
          return response.status == 200
        end,
        on_retry = collect })
      collect()
      local first = ticket:wait()
      collect()
      local second = batch:fetch{ path = "/echo", body = "b" .. index, query = { item = "g" .. index } }
      collect()
      return first:json().body .. second:json().body
    end
    debug.sethook(collect, "", step)
    local ok, err = pcall(function()
      for index, result, failure in batch:each({ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 }, work) do
        collect()
        assert(failure == nil, tostring(failure))
        results[index] = result
      end
      for i = 1, 10 do
        assert(batch:submit{ path = "/echo", id = i, on_done = function(response)
          collect()
          if response.ok then good = good + 1 end
        end })
      end
      for i = 1, 10 do assert(batch:submit{ path = "/echo", id = i }) end
      collect()
      for _, response in ipairs(batch:gather()) do if response.ok then good = good + 1 end end
      sheaf.run(function()
        local tasks = {}
        for i = 1, 5 do tasks[i] = sheaf.spawn(function() return batch:fetch{ path = "/echo" }.ok end) end
        collect()
        for i = 1, 5 do assert(tasks[i]:wait()) end
      end)
      while good < 20 do sheaf.sleep(0.001) end
    end)
    debug.sethook()
    batch:close()
    assert(ok, err)
    for i = 1, 10 do assert.truthy(results[i]:find("^%[" .. i .. "[%.0]*%]b" .. i .. "$")) end
    assert.equal(20, good)
  end)

  it("keeps a batch that only a task, a ticket or a callback reaches", function()
    local function make()
      return sheaf.batch{ base_url = s.url, headers = { ["x-behave"] = "latency=0.05" } }
    end
    local task = sheaf.spawn(function() return make():fetch{ path = "/echo" }.status end)
    local ticket = make():submit{ path = "/echo" }
    local done
    make():submit{ path = "/echo", on_done = function(response) done = response.status end }
    sheaf.step()
    collectgarbage()
    collectgarbage()
    local ok, status = task:wait()
    assert.is_true(ok)
    assert.equal(200, status)
    assert.equal(200, ticket:wait().status)
    local began = sheaf.now()
    repeat sheaf.sleep(0.01) until done or sheaf.now() - began > 5
    assert.equal(200, done)
  end)

  it("takes a batch that nobody reaches, and its requests end on the wire", function()
    for _ = 1, 50 do
      local batch = sheaf.batch{ base_url = s.url, headers = { ["x-behave"] = "silent=60" } }
      for _ = 1, 4 do assert(batch:submit{ path = "/echo" }) end
    end
    local other = sheaf.batch{ base_url = s.url }
    assert.is_true(other:fetch{ path = "/echo" }.ok)
    local began = sheaf.now()
    repeat
      collectgarbage()
      sheaf.sleep(0.02)
      assert(sheaf.now() - began < 10, "open: " .. s:stats().open)
    until s:stats().open == 0
    assert.is_true(other:fetch{ path = "/echo" }.ok)
  end)

  it("ends an each whose iterator was dropped", function()
    local batch = sheaf.batch{ base_url = s.url, concurrency = 10 }
    local taken = 0
    local function some()
      local iterator = batch:each(function()
        taken = taken + 1
        return taken
      end, function() return batch:fetch{ path = "/echo",
        headers = { ["x-behave"] = "latency=0.01" } }.status end)
      for _ = 1, 3 do
        local _, status = iterator()
        assert.equal(200, status)
      end
    end
    some()
    local before = taken
    local began = sheaf.now()
    repeat
      collectgarbage()
      sheaf.sleep(0.02)
      assert(sheaf.now() - began < 10, "in flight: " .. batch:stats().in_flight)
    until batch:stats().in_flight == 0 and batch:stats().queued == 0
    assert.equal(before, taken)
    assert.is_true(batch:fetch{ path = "/echo" }.ok)
  end)

  it("leaves threads and descriptors flat over thousands of short-lived batches", function()
    local function some(n)
      for i = 1, n do
        local batch = sheaf.batch{ base_url = s.url, headers = { ["x-n"] = i } }
        assert.equal(200, batch:fetch{ path = "/echo" }.status)
        if i % 2 == 0 then batch:close() end
      end
      collectgarbage()
      collectgarbage()
    end
    some(100)
    local threads, descriptors = count("task"), count("fd")
    s:reset()
    some(SHORT_LIVED)
    assert.equal(threads, count("task"))
    assert.is_true(count("fd") <= descriptors, count("fd") .. " after " .. descriptors)
    assert.equal(0, s:stats().accepted, "one connection served them all")
  end)

  it("keeps memory flat however many items each streams", function()
    local ended = child.run([[
      local sheaf = require "sheaf"
      local url, total = ...
      total = tonumber(total)
      local batch = sheaf.batch{ base_url = url, concurrency = 50 }
      local function resident()
        collectgarbage()
        collectgarbage()
        for line in io.lines("/proc/self/status") do
          local kilobytes = line:match("^VmRSS:%s*(%d+)")
          if kilobytes then return tonumber(kilobytes) end
        end
      end
      local taken, early, heap, done = 0, nil, nil, 0
      for _, status, err in batch:each(function()
        if taken < total then
          taken = taken + 1
          return "item " .. taken
        end
      end, function(item)
        return batch:fetch{ path = "/echo", json = { item, ("x"):rep(500) } }.status
      end) do
        assert(status == 200, err)
        done = done + 1
        if done == math.floor(total / 4) then early, heap = resident(), collectgarbage("count") end
      end
      assert(done == total)
      print(resident() - early, collectgarbage("count") - heap)
    ]], { args = { s.url, STREAMED } })
    assert.equal("", ended.stderr)
    local resident, heap = ended.stdout:match("(%S+)%s+(%S+)")
    assert.is_true(tonumber(resident) < 6144, "KB more resident: " .. resident)
    assert.is_true(tonumber(heap) < 512, "KB more of Lua's: " .. heap)
  end)
end)
