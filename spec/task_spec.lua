-- run, spawn, sleep, wrap, pcall, and waits in every place where a script may wait.

local core = require "sheaf.core"
local sheaf = require "sheaf"

describe("tasks:", function()
  local batch, reported, on_error

  before_each(function()
    reported = {}
    on_error = sheaf.on_error
    sheaf.on_error = function(err, traceback)
      reported[#reported + 1] = { err = err, traceback = traceback }
    end
    batch = sheaf.batch{ base_url = "http://h", retry = 0,
      transport = function(request) return { body = request.id, delay = 0.001 } end }
  end)

  after_each(function()
    batch:close()
    sheaf.on_error = on_error
  end)

  local function ask(id)
    return batch:fetch{ id = id }.body
  end

  describe("sheaf.run", function()
    it("gives arguments in and results back, with their nils", function()
      local got = { n = select("#", sheaf.run(function(...) return ... end, nil, 2, nil)),
        sheaf.run(function(...) return ... end, nil, 2, nil) }
      assert.same({ n = 3, nil, 2, nil }, got)
    end)

    it("raises the function's error, with the traceback where it is a text", function()
      local function helper() error("kaputt") end
      local ok, message = pcall(sheaf.run, function() ask("a") helper() end)
      assert.is_false(ok)
      assert.truthy(message:find("spec/task_spec.lua:%d+: kaputt\nstack traceback:"), message)
      assert.truthy(message:find("helper", 1, true))
      local thrown = {}
      ok, message = pcall(sheaf.run, function() error(thrown) end)
      assert.is_false(ok)
      assert.equal(thrown, message)
      assert.same({}, reported)
    end)

    it("keeps nothing of tasks that spawn the next one and end", function()
      local left, before, after = 4000, nil, nil
      local function link()
        left = left - 1
        if left == 2000 or left == 0 then
          collectgarbage()
          collectgarbage()      -- the first one empties weak tables
          before, after = after, collectgarbage("count")
        end
        if left > 0 then sheaf.spawn(link) end
      end
      sheaf.run(link)
      assert.is_true(after - before < 50, after - before .. " KB more for 2,000 tasks")
    end)

    it("leaves neither function nor arguments of a task on the coroutine it ran in", function()
      local held = setmetatable({}, { __mode = "k" })
      local function work(argument)
        ask("a")
        return argument
      end
      sheaf.run(function()
        for _ = 1, 5 do
          local argument = {}
          local fn = function(...) return work(...) end
          held[argument], held[fn] = true, true
          sheaf.spawn(fn, argument)
        end
      end)
      collectgarbage()
      collectgarbage()          -- the first one empties weak tables
      assert.is_nil(next(held))
    end)

    it("waits for all that was spawned inside, and for what that spawned", function()
      local order = {}
      sheaf.run(function()
        sheaf.spawn(function()
          ask("a")
          order[#order + 1] = "child"
          sheaf.spawn(function()
            sheaf.run(sheaf.sleep, 0.002)
            order[#order + 1] = "grandchild"
          end)
        end)
        order[#order + 1] = "main"
      end)
      assert.same({ "main", "child", "grandchild" }, order)
    end)

    it("leaves tasks from outside alone, though they go on", function()
      local steps = 0
      local outside = sheaf.spawn(function()
        steps = steps + 1
        sheaf.sleep(3600)
      end)
      sheaf.run(function() sheaf.sleep(0.001) end)
      assert.equal(1, steps)
      assert.is_true(outside:cancel())
    end)

    it("may be called inside a task", function()
      assert.equal("inner", sheaf.run(function()
        return sheaf.run(function() return ask("inner") end)
      end))
    end)

    it("takes whatever can be called", function()
      assert.equal("xx", sheaf.run(string.rep, "x", 2))
      assert.equal(5, sheaf.run(setmetatable({}, { __call = function(_, n) return n end }), 5))
    end)

    it("takes nothing else, and says so at the caller's line", function()
      for name, call in pairs{ run = sheaf.run, spawn = sheaf.spawn, wrap = sheaf.wrap } do
        for _, given in ipairs{ 1, "f", {} } do
          local line
          local ok, message = pcall(function()
            line = debug.getinfo(1, "l").currentline + 1
            call(given)
            return 0
          end)
          assert.is_false(ok)
          assert.equal(("spec/task_spec.lua:%d: sheaf.%s: a function is wanted, got "):format(line, name),
            message:match("^.- got "))
        end
      end
    end)
  end)

  describe("sheaf.spawn", function()
    it("begins the task later, in order", function()
      local order = {}
      local first = sheaf.spawn(function() order[#order + 1] = 1 end)
      local second = sheaf.spawn(function() order[#order + 1] = 2 end)
      assert.same({}, order)
      second:wait()
      first:wait()
      assert.same({ 1, 2 }, order)
    end)

    it("lets hundreds of chains of two steps run at once", function()
      local live, most = 0, 0
      local drafts = sheaf.batch{ base_url = "http://h", concurrency = 300,
        transport = function(request) return { body = request.id, delay = 0.01 } end }
      local tasks = {}
      for i = 1, 300 do
        tasks[i] = sheaf.spawn(function()
          live = live + 1
          most = math.max(most, live)
          local draft = drafts:fetch{ id = "draft " .. i }.body
          local critique = drafts:fetch{ id = "critique of " .. draft }.body
          live = live - 1
          return critique
        end)
      end
      for i = 1, 300 do assert.same({ true, "critique of draft " .. i }, { tasks[i]:wait() }) end
      assert.equal(300, most)
      drafts:close()
    end)

    it("gives a task that is waited for as often as one likes", function()
      local task = sheaf.spawn(function() return ask("a"), nil, 3 end)
      for _ = 1, 2 do
        assert.same({ n = 4, true, "a", nil, 3 }, { n = select("#", task:wait()), task:wait() })
      end
      sheaf.run(function()
        local waiters = {}
        local slow = sheaf.spawn(ask, "slow")
        for i = 1, 3 do waiters[i] = sheaf.spawn(function() return select(2, slow:wait()) end) end
        for i = 1, 3 do assert.same({ true, "slow" }, { waiters[i]:wait() }) end
      end)
    end)

    it("gives a task whose error is false and a traceback, or the very table", function()
      local ok, message = sheaf.spawn(function() ask("a") error("kaputt") end):wait()
      assert.is_false(ok)
      assert.truthy(message:find("spec/task_spec.lua:%d+: kaputt\nstack traceback:"))
      local thrown = setmetatable({}, { __tostring = function() return "mine" end })
      local _, err = sheaf.spawn(error, thrown):wait()
      assert.equal(thrown, err)
      assert.same({}, reported)
    end)

    it("raises where a task waits for itself", function()
      local task
      task = sheaf.spawn(function() task:wait() end)
      local ok, message = task:wait()
      assert.is_false(ok)
      assert.truthy(message:find("a task can't wait for itself", 1, true))
    end)
  end)

  describe("an error that nobody waits for", function()
    it("goes to sheaf.on_error once, with its traceback, and siblings go on", function()
      local results = {}
      sheaf.run(function()
        for i = 1, 3 do
          sheaf.spawn(function()
            ask("x")
            if i == 2 then error("kaputt " .. i) end
            results[#results + 1] = i
          end)
        end
      end)
      assert.same({ 1, 3 }, results)
      assert.equal(1, #reported)
      assert.truthy(reported[1].err:find("kaputt 2", 1, true))
      assert.truthy(reported[1].traceback:find("spec/task_spec.lua:%d+: kaputt 2\nstack traceback:"))
      sheaf.run(ask, "later")
      collectgarbage()
      ask("later")
      assert.equal(1, #reported)
    end)

    it("comes with a traceback where it is a table, too", function()
      local thrown = setmetatable({}, { __tostring = function() return "a table" end })
      local function helper() error(thrown) end
      sheaf.run(function() sheaf.spawn(function() helper() return 0 end) end)
      assert.equal(1, #reported)
      assert.equal(thrown, reported[1].err)
      assert.truthy(reported[1].traceback:find("a table\nstack traceback:.*helper"))
    end)

    it("is told at the end of run although the task is held", function()
      local held
      sheaf.run(function() held = sheaf.spawn(error, "kaputt") end)
      assert.equal(1, #reported)
      assert.is_false((held:wait()))
      assert.equal(1, #reported)
    end)

    it("is told in the main chunk once the task is held no more", function()
      local held = sheaf.spawn(error, "held")
      sheaf.spawn(error, "dropped")
      ask("a")
      assert.equal(1, #reported)
      assert.truthy(reported[1].err:find("dropped"))
      assert.is_false((held:wait()))
      ask("a")
      assert.equal(1, #reported)
    end)

    it("is somebody's if a task waits for it, and nobody's if that is cancelled", function()
      sheaf.run(function()
        local failing = sheaf.spawn(function() sheaf.sleep(0.005) error("kaputt") end)
        local waiter = sheaf.spawn(function() return failing:wait() end)
        sheaf.run(sheaf.sleep, 0.001)
        waiter:cancel()
      end)
      assert.equal(1, #reported)
      reported = {}
      sheaf.run(function()
        local failing = sheaf.spawn(function() sheaf.sleep(0.002) error("kaputt") end)
        sheaf.spawn(function() return failing:wait() end)
      end)
      assert.same({}, reported)
    end)

    it("and one of on_error itself harms nothing", function()
      local stderr = io.stderr
      local written = {}
      -- luacheck: push ignore 122
      io.stderr = { write = function(_, ...) written[#written + 1] = table.concat{ ... } end }
      sheaf.on_error = function() error("worse") end
      local ok = pcall(sheaf.run, function() sheaf.spawn(error, "kaputt") ask("a") end)
      io.stderr = stderr
      -- luacheck: pop
      assert.is_true(ok)
      assert.truthy(table.concat(written):find("worse", 1, true))
    end)

    it("goes to stderr by default", function()
      local stderr = io.stderr
      local written = {}
      -- luacheck: push ignore 122
      io.stderr = { write = function(_, ...) written[#written + 1] = table.concat{ ... } end }
      sheaf.on_error = on_error
      sheaf.run(function() sheaf.spawn(function() error("kaputt", 0) end) end)
      io.stderr = stderr
      -- luacheck: pop
      assert.truthy(table.concat(written):find("an error that nobody waits for: kaputt\nstack traceback"))
    end)
  end)

  it("sheaf.on_error takes only functions", function()
    assert.has_error(function() sheaf.on_error = 5 end)
    assert.equal("function", type(sheaf.on_error))
  end)

  describe("task:cancel()", function()
    it("makes the wait it is in raise, and cancels that request", function()
      local slow = sheaf.batch{ base_url = "http://h", transport = function() return { delay = 60 } end }
      local cleaned
      local task = sheaf.spawn(function()
        local ok, err = sheaf.pcall(function() return slow:fetch{} end)
        cleaned = { ok, err.kind }
        error(err, 0)
      end)
      sheaf.run(sheaf.sleep, 0.002)
      assert.is_true(task:cancel())
      local ok, err = task:wait()
      assert.is_false(ok)
      assert.equal("cancelled", err.kind)
      assert.equal("cancelled: the task was cancelled", tostring(err))
      assert.same({ false, "cancelled" }, cleaned)
      assert.equal(1, slow:stats().failed)
      assert.is_false(task:cancel())
      assert.same({}, reported)
      slow:close()
    end)

    it("works in each kind of wait", function()
      local slow = sheaf.batch{ base_url = "http://h", queue = 3,
        transport = function() return { delay = 60 } end }
      local never = sheaf.spawn(sheaf.sleep, 60)
      local waits = {
        sleep = function() sheaf.sleep(60) end,
        gather = function() slow:submit{} slow:gather() end,
        completed = function() slow:submit{} slow:completed()() end,
        wait = function() slow:submit{}:wait() end,
        task = function() never:wait() end,
        wrap = function() sheaf.wrap(function() sheaf.sleep(60) end)() end,
      }
      local began = sheaf.now()
      for name, wait in pairs(waits) do
        local task = sheaf.spawn(wait)
        sheaf.run(sheaf.sleep, 0.001)
        assert.is_true(task:cancel(), name)
        local ok, err = task:wait()
        assert.is_false(ok)
        assert.equal("cancelled", err.kind, name)
        assert.equal(0, slow:cancel(), name)
      end
      assert.truthy(sheaf.now() - began < 30)
      never:cancel()
      slow:close()
    end)

    it("from below ends a wait that drives in place", function()
      local task
      task = sheaf.spawn(function()
        sheaf.spawn(function() task:cancel() end)
        ;("x"):gsub("x", function() sheaf.sleep(60) end)
      end)
      local _, err = task:wait()
      assert.equal("cancelled", err.kind)
    end)

    it("keeps a task from beginning that has not begun", function()
      local began = false
      local task = sheaf.spawn(function() began = true end)
      assert.is_true(task:cancel())
      assert.equal("cancelled", select(2, task:wait()).kind)
      ask("a")
      assert.is_false(began)
      assert.is_nil(sheaf.timeout())
    end)

    it("of a task that was about to go on ends it once", function()
      local ended = 0
      local task
      local gate = sheaf.spawn(ask, "a")
      -- When gate ends, both are ready, and this one goes first.
      local canceller = sheaf.spawn(function() gate:wait() return task:cancel() end)
      task = sheaf.spawn(function()
        local _, err = sheaf.pcall(gate.wait, gate)
        ended = ended + 1
        error(err, 0)
      end)
      assert.equal("cancelled", select(2, task:wait()).kind)
      assert.same({ true, true }, { canceller:wait() })
      ask("b")
      assert.equal("cancelled", select(2, task:wait()).kind)
      assert.equal(1, ended)
      assert.same({}, reported)
    end)

    it("makes every later wait raise", function()
      local tries = 0
      local task = sheaf.spawn(function()
        for _ = 1, 3 do
          local ok = sheaf.pcall(sheaf.sleep, 60)
          if not ok then tries = tries + 1 end
        end
        return "done"
      end)
      sheaf.run(sheaf.sleep, 0.001)
      task:cancel()
      assert.same({ true, "done" }, { task:wait() })
      assert.equal(3, tries)
    end)

    it("gives a place in the queue to the next who waits for one", function()
      local one = sheaf.batch{ base_url = "http://h", queue = 1, concurrency = 1,
        transport = function(request)
          return { body = request.id, delay = request.id == "first" and 3600 or 0 }
        end }
      local first = one:submit{ id = "first" }
      local a = sheaf.spawn(function() return one:fetch{ id = "a" }.body end)
      local b = sheaf.spawn(function() return one:fetch{ id = "b" }.body end)
      sheaf.run(sheaf.sleep, 0.001)
      a:cancel()
      first:cancel()
      assert.same({ true, "b" }, { b:wait() })
      assert.equal("c", one:fetch{ id = "c" }.body)
      assert.equal(3, one:stats().total)
      one:close()
    end)
  end)

  describe("sheaf.sleep", function()
    it("waits that long, and lets others run", function()
      local order = {}
      local began = sheaf.now()
      sheaf.run(function()
        for i = 3, 1, -1 do
          sheaf.spawn(function() sheaf.sleep(i / 100) order[#order + 1] = i end)
        end
      end)
      assert.truthy(sheaf.now() - began >= 0.03)
      assert.same({ 1, 2, 3 }, order)
      sheaf.sleep(0)
    end)

    it("takes no nonsense", function()
      for _, given in ipairs{ -1, 0 / 0, "1", {} } do
        local line
        local ok, message = pcall(function()
          line = debug.getinfo(1, "l").currentline + 1
          sheaf.sleep(given)
        end)
        assert.is_false(ok)
        assert.truthy(message:find(("^spec/task_spec.lua:%d: sheaf.sleep: a number of seconds, 0 or more, "
          .. "is wanted, got "):format(line)), message)
      end
    end)
  end)

  describe("sheaf.wrap", function()
    local function pages()
      return sheaf.wrap(function(n)
        for page = 1, n do coroutine.yield(page, ask("page " .. page)) end
      end)
    end

    it("makes a generator that waits, in tasks and in the main chunk", function()
      local function collect()
        local got = {}
        local next_page = pages()
        local page, body = next_page(3)
        while page do
          got[page] = body
          page, body = next_page()
        end
        return got
      end
      local wanted = { "page 1", "page 2", "page 3" }
      assert.same(wanted, collect())
      assert.same(wanted, sheaf.run(collect))
    end)

    it("works in a for loop, in each Lua", function()
      local got = {}
      sheaf.run(function()
        for item in sheaf.wrap(function()
          for i = 1, 3 do coroutine.yield(ask("item " .. i)) end
        end) do
          got[#got + 1] = item
        end
      end)
      assert.same({ "item 1", "item 2", "item 3" }, got)
    end)

    it("within others", function()
      local got = {}
      sheaf.run(function()
        local outer = sheaf.wrap(function()
          local inner = pages()
          local page, body = inner(2)
          while page do
            coroutine.yield("outer " .. body)
            page, body = inner()
          end
        end)
        got[1], got[2], got[3] = outer(), outer(), outer()
      end)
      assert.same({ "outer page 1", "outer page 2" }, got)
    end)

    it("lets the other tasks run while one waits inside", function()
      local order = {}
      sheaf.run(function()
        sheaf.spawn(function()
          sheaf.wrap(function() sheaf.sleep(0.05) order[#order + 1] = "generator" end)()
        end)
        sheaf.spawn(function() sheaf.sleep(0.002) order[#order + 1] = "other" end)
      end)
      assert.same({ "other", "generator" }, order)
    end)

    it("raises what its body throws, and at its end", function()
      local thrown = {}
      local generator = sheaf.wrap(function() ask("a") error(thrown) end)
      local ok, err = pcall(generator)
      assert.is_false(ok)
      assert.equal(thrown, err)
      ok, err = pcall(generator)
      assert.is_false(ok)
      assert.truthy(err:find("dead", 1, true))
    end)

    it("raises where a second task enters while the first waits inside", function()
      sheaf.run(function()
        local generator = sheaf.wrap(function() return ask("a") end)
        local first = sheaf.spawn(generator)
        local second = sheaf.spawn(generator)
        assert.same({ true, "a" }, { first:wait() })
        local ok, err = second:wait()
        assert.is_false(ok)
        assert.truthy(err:find("in use", 1, true))
      end)
    end)
  end)

  describe("sheaf.pcall", function()
    it("is pcall with waits in it", function()
      local function try()
        return { sheaf.pcall(function(...) return ask("a"), ... end, 1, nil, 3) }
      end
      assert.same({ true, "a", 1, nil, 3 }, try())
      assert.same({ true, "a", 1, nil, 3 }, sheaf.run(try))
      local ok, err = sheaf.run(function()
        return sheaf.pcall(function() ask("a") error("kaputt", 0) end)
      end)
      assert.same({ false, "kaputt" }, { ok, err })
      assert.same({ true, "xx" }, { sheaf.pcall(string.rep, "x", 2) })
      assert.is_false((sheaf.pcall(error, "x")))
    end)

    it("yields, so that others run", function()
      local order = {}
      sheaf.run(function()
        sheaf.spawn(function()
          sheaf.pcall(function() sheaf.sleep(0.05) order[#order + 1] = "inside" end)
        end)
        sheaf.spawn(function() sheaf.sleep(0.002) order[#order + 1] = "other" end)
      end)
      assert.same({ "other", "inside" }, order)
    end)

    it("passes raw yields on", function()
      local co = coroutine.wrap(function()
        return select(2, sheaf.pcall(function() return "got " .. coroutine.yield("out") end))
      end)
      assert.equal("out", co())
      assert.equal("got in", co("in"))
    end)
  end)

  describe("a wait that can't yield drives in place:", function()
    local places = {
      ["the main function of a gsub"] = function(wait)
        return (("x"):gsub("x", function() return wait() end))
      end,
      ["a comparator of table.sort"] = function(wait)
        local got
        table.sort({ 1, 2 }, function(a, b) got = got or wait() return a < b end)
        return got
      end,
      ["pcall"] = function(wait) return select(2, pcall(wait)) end,
      ["a metamethod"] = function(wait)
        return setmetatable({}, { __index = function() return wait() end }).x
      end,
      ["an iterator of a for loop"] = function(wait)
        for got in function(_, last) return not last and wait() or nil end do -- luacheck: ignore 512
          return got
        end
      end,
      ["the user's own coroutine"] = function(wait)
        return coroutine.wrap(function() return wait() end)()
      end,
      ["the user's own coroutine in a gsub"] = function(wait)
        return (("x"):gsub("x", coroutine.wrap(function() return wait() end)))
      end,
      ["load's reader"] = function(wait)
        local got
        load(function() got = got or wait() return nil end)
        return got
      end,
      ["tostring"] = function(wait)
        return tostring(setmetatable({}, { __tostring = function() return wait() end }))
      end,
    }
    local waits = {
      fetch = function() return ask("waited") end,
      sleep = function() sheaf.sleep(0.001) return "waited" end,
      gather = function() batch:submit{ id = "waited" } return batch:gather()[1].body end,
      task = function() return select(2, sheaf.spawn(function() return ask("waited") end):wait()) end,
      run = function() return sheaf.run(ask, "waited") end,
      each = function()
        for _, got in batch:each({ "waited" }, ask) do return got end -- luacheck: ignore 512
      end,
      wrap = function() return sheaf.wrap(function() coroutine.yield(ask("waited")) end)() end,
    }
    for place, enter in pairs(places) do
      it(place, function()
        for name, wait in pairs(waits) do
          assert.equal("waited", enter(wait), name .. " in the main chunk")
          assert.equal("waited", sheaf.run(enter, wait), name .. " in a task")
          local ok, got = sheaf.spawn(function() return sheaf.spawn(enter, wait):wait() end):wait()
          assert.is_true(ok)
          assert.is_true(got)
        end
      end)
    end

    it("and resumes only tasks that descend from the running one", function()
      local order = {}
      sheaf.run(function()
        local sibling_may = false
        sheaf.spawn(function()
          ("x"):gsub("x", function()
            local child = sheaf.spawn(function()
              sheaf.spawn(function() ask("b") order[#order + 1] = "grandchild" end):wait()
              order[#order + 1] = "child"
            end)
            child:wait()
            sheaf.run(sheaf.sleep, 0.005)
            assert.is_false(sibling_may)
          end)
          order[#order + 1] = "driver"
        end)
        sheaf.spawn(function()
          sibling_may = true
          order[#order + 1] = "sibling"
        end)
      end)
      assert.same({ "grandchild", "child", "driver", "sibling" }, order)
    end)

    it("and moves the answers of the others to their tickets", function()
      sheaf.run(function()
        local ticket
        local sibling = sheaf.spawn(function()
          ticket = batch:submit{ id = "sibling's" }
          return ticket:wait().body
        end)
        sheaf.spawn(function()
          ("x"):gsub("x", function() sheaf.sleep(0.02) end)
          assert.equal("sibling's", ticket.response.body)
        end):wait()
        assert.same({ true, "sibling's" }, { sibling:wait() })
      end)
    end)

    it("though others wait before it for room in the queue", function()
      local small = sheaf.batch{ base_url = "http://h", queue = 2,
        transport = function(request) return { body = request.id, delay = 0.001 } end }
      local got = {}
      sheaf.run(function()
        for i = 1, 8 do
          sheaf.spawn(function() got[i] = small:fetch{ id = "sibling " .. i }.body end)
        end
        sheaf.spawn(function()
          ("x"):gsub("x", function()
            for i = 9, 12 do got[i] = small:fetch{ id = "driver " .. i }.body end
          end)
        end):wait()
      end)
      for i = 1, 8 do assert.equal("sibling " .. i, got[i]) end
      for i = 9, 12 do assert.equal("driver " .. i, got[i]) end
      small:close()
    end)

    it("and raises where it would wait for ever", function()
      local function refuses(fn)
        local ok, message = pcall(fn)
        assert.is_false(ok)
        assert.truthy(tostring(message):find("would wait for ever", 1, true), tostring(message))
      end
      local stuck
      stuck = sheaf.spawn(function() sheaf.spawn(function() return stuck:wait() end):wait() end)
      refuses(function() stuck:wait() end)
      stuck:cancel()
      sheaf.run(function()
        local sibling
        sheaf.spawn(function()
          refuses(function() ("x"):gsub("x", function() sibling:wait() end) end)
        end)
        sibling = sheaf.spawn(function() end)
      end)
    end)

    it("and raises that, too, when the requests of a lost batch are all there is", function()
      local stuck
      stuck = sheaf.spawn(function() sheaf.spawn(function() return stuck:wait() end):wait() end)
      sheaf.batch{ base_url = "http://h", transport = function() return { delay = 60 } end }:submit{}
      collectgarbage()
      collectgarbage()
      local ok, message = pcall(stuck.wait, stuck)
      assert.is_false(ok)
      assert.truthy(message:find("would wait for ever", 1, true))
      stuck:cancel()
    end)
  end)

  it("a raw yield gives the others a turn", function()
    local order = {}
    sheaf.run(function()
      for name in ("ab"):gmatch(".") do
        sheaf.spawn(function()
          for i = 1, 3 do
            order[#order + 1] = name .. i
            coroutine.yield()
          end
        end)
      end
    end)
    assert.same({ "a1", "b1", "a2", "b2", "a3", "b3" }, order)
  end)

  it("the user's own coroutines resume and yield as ever inside them", function()
    local got = sheaf.run(function()
      local co = coroutine.create(function(a)
        local b = coroutine.yield(a + 1)
        ask("wait")
        local c = coroutine.yield(b + 1)
        return c + 1
      end)
      local results = {}
      for i = 1, 3 do results[i] = select(2, coroutine.resume(co, i * 10)) end
      return results
    end)
    assert.same({ 11, 21, 31 }, got)
  end)

  describe("a loop of one's own", function()
    it("needs pollfd, events, timeout and step", function()
      assert.equal("number", type(sheaf.pollfd()))
      assert.equal("r", sheaf.events())
      assert.is_nil(sheaf.timeout())
      local got = {}
      for i = 1, 20 do sheaf.spawn(function() got[i] = ask(tostring(i)) end) end
      assert.equal(0, sheaf.timeout())
      local rounds = 0
      while #got < 20 do
        if sheaf.timeout() ~= 0 then core.poll(10) end
        sheaf.step()
        rounds = rounds + 1
        assert.truthy(rounds < 10000)
      end
      assert.is_nil(sheaf.timeout())
    end)

    it("hears of on_done and of errors", function()
      local body
      batch:submit{ id = "a", on_done = function(response) body = response.body end }
      sheaf.spawn(error, "kaputt")
      collectgarbage()
      while not (body and reported[1]) do
        if sheaf.timeout() ~= 0 then core.poll(10) end
        sheaf.step()
        collectgarbage()
      end
      assert.equal("a", body)
      assert.equal(1, #reported)
    end)

    it("is told again of what a step of two milliseconds left over", function()
      local left = 50
      for _ = 1, left do
        sheaf.spawn(function()
          local until_ = sheaf.now() + 0.0005
          while sheaf.now() < until_ do end -- luacheck: ignore
          left = left - 1
        end)
      end
      local steps = 0
      while left > 0 do
        local began = sheaf.now()
        core.poll(10)           -- must come back at once
        assert.truthy(sheaf.now() - began < 5)
        sheaf.step()
        steps = steps + 1
      end
      assert.truthy(steps > 1)
    end)

    it("must not call step inside a task or a hook", function()
      local _, message = sheaf.spawn(function() sheaf.step() end):wait()
      assert.truthy(message:find("sheaf.step: can't be called inside a task", 1, true))
      batch:submit{ on_done = function() sheaf.step() end }
      batch:fetch{}
      batch:fetch{}
      assert.equal(1, #reported)
      assert.truthy(reported[1].err:find("sheaf.step: can't be called inside", 1, true))
    end)
  end)

  it("ended ones are collected, with all they held", function()
    local alive = setmetatable({}, { __mode = "k" })
    for i = 1, 50 do
      sheaf.run(function()
        local held = {}
        alive[held] = true
        sheaf.spawn(function() ask("x" .. i) return held end)
        ask("y")
      end)
    end
    collectgarbage()
    collectgarbage()
    assert.is_nil((next(alive)))
  end)
end)
