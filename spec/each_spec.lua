-- each and map: any number of items, in bounded memory, each result its own item's.

local sheaf = require "sheaf"

describe("batch:each", function()
  local batch, reported, on_error

  before_each(function()
    reported = {}
    on_error = sheaf.on_error
    sheaf.on_error = function(err) reported[#reported + 1] = err end
    batch = sheaf.batch{ base_url = "http://h", retry = 0, concurrency = 5,
      transport = function(request)
        return { body = tostring(request.id), delay = #tostring(request.id) % 3 / 1000 }
      end }
  end)

  after_each(function()
    batch:close()
    sheaf.on_error = on_error
    assert.same({}, reported)
  end)

  local function ask(item)
    local got = batch:fetch{ id = item }
    if not got.ok then return nil, got.error end
    return got.body
  end

  local function count_to(n)
    local i = 0
    return function()
      i = i + 1
      if i <= n then return i end
    end
  end

  local function numbers(n)
    local list = {}
    for i = 1, n do list[i] = i end
    return list
  end

  -- Runs a test in the main chunk, and again in a task.
  local function both(name, fn)
    it(name .. ", in the main chunk", fn)
    it(name .. ", in a task", function() sheaf.run(fn) end)
  end

  local function hanging()
    return sheaf.batch{ base_url = "http://h", transport = function() return { delay = 3600 } end }
  end

  both("gives each item of an array its own result, once", function()
    local seen = {}
    for index, result, err in batch:each(numbers(200), ask) do
      assert.is_nil(seen[index])
      assert.is_nil(err)
      seen[index] = result
    end
    for i = 1, 200 do assert.equal(tostring(i), seen[i]) end
  end)

  both("takes items from a function until nil, called without arguments", function()
    local calls = 0
    local next_number = count_to(100)
    local count = 0
    for index, result in batch:each(function(...)
      assert.equal(0, select("#", ...))
      calls = calls + 1
      return next_number()
    end, ask) do
      assert.equal(tostring(index), result)
      count = count + 1
    end
    assert.same({ 100, 101 }, { count, calls })
  end)

  both("takes items from a generator that waits itself", function()
    local source = sheaf.wrap(function()
      for page = 1, 5 do
        local first = batch:fetch{ id = page * 10 }.body
        for i = 0, 2 do coroutine.yield(first + i) end
      end
    end)
    local seen = {}
    for index, result in batch:each(source, ask) do seen[index] = tonumber(result) end
    assert.equal(15, #seen)
    for i = 1, 15 do assert.equal(math.ceil(i / 3) * 10 + (i - 1) % 3, seen[i]) end
  end)

  both("in order, where asked to", function()
    local last = 0
    for index, result in batch:each(numbers(100), ask, { ordered = true }) do
      assert.equal(last + 1, index)
      assert.equal(tostring(index), result)
      last = index
    end
    assert.equal(100, last)
  end)

  it("of nothing gives nothing", function()
    for _ in batch:each({}, ask) do error("an item") end
    for _ in batch:each(function() end, ask) do error("an item") end
    for _ in batch:each({ n = 0 }) do error("an item") end
    local results, errors = batch:map({}, ask)
    assert.same({ { n = 0 }, { n = 0 } }, { results, errors })
  end)

  it("of an array with nil in it fails that item and no other", function()
    local results, errors = batch:map({ 1, nil, 3, n = 4 }, ask)
    assert.same({ n = 4, "1", nil, "3" }, results)
    assert.same({ 4, nil, nil }, { errors.n, errors[1], errors[3] })
    assert.equal("internal: item 2 of the array is nil", tostring(errors[2]))
    assert.equal("internal: item 4 of the array is nil", tostring(errors[4]))
    results, errors = batch:map({ [3] = 3 }, ask)
    assert.equal("3", results[3])
    assert.same({ 3, true, true }, { errors.n, errors[1] ~= nil, errors[2] ~= nil })
  end)

  it("passes false on as an item and as a result", function()
    local results = batch:map({ false, true }, function(item) return item end)
    assert.same({ n = 2, false, true }, results)
  end)

  describe("takes from fn", function()
    local function outcome(fn)
      for index, result, err in batch:each({ "item" }, fn) do -- luacheck: ignore 512
        assert.equal(1, index)
        return result, err
      end
    end

    it("a result", function()
      assert.same({ { "item" } }, { outcome(function(item) return { item } end) })
    end)

    it("the item and its index", function()
      local got
      outcome(function(...) got = { n = select("#", ...), ... } return 1 end)
      assert.same({ n = 2, "item", 1 }, got)
    end)

    it("nil and an error", function()
      local err = {}
      local result, got = outcome(function() return nil, err end)
      assert.is_nil(result)
      assert.equal(err, got)
      assert.same({ nil, "no" }, { outcome(function() return nil, "no", "more" end) })
    end)

    it("nil alone, as a result of nil", function()
      assert.same({ nil, nil }, { outcome(function() end) })
    end)

    it("a result, and what more it returns is no error", function()
      assert.same({ "itm" , nil }, { outcome(function(item) return item:gsub("e", "") end) })
    end)

    it("a thrown text with its traceback", function()
      local function helper() error("kaputt") end
      local result, err = outcome(function(item) ask(item) helper() end)
      assert.is_nil(result)
      assert.truthy(err:find("^spec/each_spec.lua:%d+: kaputt\nstack traceback:"), err)
      assert.truthy(err:find("helper", 1, true))
    end)

    it("a thrown table as it is", function()
      local thrown = {}
      local _, err = outcome(function() error(thrown) end)
      assert.equal(thrown, err)
    end)

    it("what it made of tasks, several requests and waits of its own", function()
      local results = batch:map(numbers(20), function(item)
        local other = sheaf.spawn(ask, item * 100)
        batch:submit{ id = item * 10 }
        batch:submit{ id = item * 10 + 1 }
        local mine = batch:gather()
        sheaf.sleep(0)
        return mine[1].body .. " " .. mine[2].body .. " " .. select(2, other:wait())
      end)
      for i = 1, 20 do
        assert.equal(("%d %d %d"):format(i * 10, i * 10 + 1, i * 100), results[i])
      end
    end)

    it("the results of an each of its own", function()
      local results = batch:map(numbers(5), function(item)
        local sum = 0
        for _, result in batch:each({ item, item * 10 }, ask) do sum = sum + result end
        local inner = batch:map({ item }, ask)
        return sum + inner[1]
      end)
      assert.same({ n = 5, 12, 24, 36, 48, 60 }, results)
    end)
  end)

  describe("without fn", function()
    both("sends the items, and gives their responses", function()
      local items = {}
      for i = 1, 50 do items[i] = { id = i } end
      local seen = {}
      for index, response, err in batch:each(items) do
        assert.is_nil(err)
        seen[index] = response.id
      end
      assert.same(numbers(50), seen)
    end)

    it("gives the response's error, too", function()
      local results, errors = batch:map({ { id = 1 }, { id = 2, transport = function()
        return { status = 404 }
      end } })
      assert.is_true(results[1].ok)
      assert.is_nil(errors[1])
      assert.equal(404, results[2].status)
      assert.equal(results[2].error, errors[2])
    end)

    it("fails what is no request, and sends the rest", function()
      local results, errors = batch:map{ { id = 1 }, "x", { unknown = 1 }, { url = "ftp://x" },
        { json = print }, { id = 6 } }
      assert.same({ "1", "6" }, { results[1].body, results[6].body })
      for i, text in pairs{ [2] = 'item 2: batch:each: a request is a table, got "x"',
        [3] = "item 3: batch:each: unknown option 'unknown'",
        [4] = 'item 4: batch:each: "ftp://x" is no http or https address',
        [5] = "item 5: batch:each: 'json' can't be encoded" } do
        assert.is_nil(results[i])
        assert.equal("internal", errors[i].kind)
        assert.equal(text, errors[i].message:sub(1, #text))
      end
    end)

    both("keeps to the queue, and to tasks", function()
      local most = 0
      local small = sheaf.batch{ base_url = "http://h", queue = 7, concurrency = 50,
        transport = function() return { delay = 0.001 } end }
      local i, taken = 0, 0
      for _ in small:each(function()
        i = i + 1
        local stats = small:stats()
        most = math.max(most, stats.total - stats.done)
        if i <= 100 then return {} end
      end, nil, { tasks = 30 }) do
        taken = taken + 1
        assert.truthy(i - taken <= 30)
      end
      assert.same({ 100, 7 }, { taken, most })
      small:close()
    end)

    it("waits for a queue that others have filled", function()
      local small = sheaf.batch{ base_url = "http://h", queue = 1,
        transport = function(request) return { body = tostring(request.id), delay = 0.01 } end }
      small:submit{ id = "other" }
      local results = small:map{ { id = 1 }, { id = 2 } }
      assert.same({ "1", "2" }, { results[1].body, results[2].body })
      assert.equal(1, small:gather().n)
      small:close()
    end)
  end)

  describe("bounds what is live and not yet taken", function()
    local function most_of(opts, ordered)
      local live, most, i = 0, 0, 0
      opts.ordered = ordered
      for _ in batch:each(function()
        i = i + 1
        if i > 60 then return nil end
        live = live + 1
        most = math.max(most, live)
        return i
      end, ask, opts) do
        live = live - 1
        if i % 7 == 0 then sheaf.sleep(0.001) end  -- a slow consumer: results pile up
      end
      assert.equal(0, live)
      return most
    end

    it("by `tasks`", function()
      assert.truthy(most_of{ tasks = 1 } <= 2)
      assert.equal(6, most_of{ tasks = 6 })
      assert.equal(6, most_of({ tasks = 6 }, true))
    end)

    it("by four times the concurrency", function()
      assert.equal(20, most_of{})
    end)
  end)

  describe("stops", function()
    local function failing(n, opts, good)
      local seen = 0
      local ok, err = pcall(function()
        for _ in batch:each(numbers(n), function(item)
          sheaf.sleep(0)
          if good and good(item) then return true end
          return nil, "bad " .. item
        end, opts) do
          seen = seen + 1
        end
      end)
      return ok, err, seen
    end

    it("when the first 20 have all failed, and tells the first", function()
      local ok, err, seen = failing(1000, { tasks = 5 })
      assert.is_false(ok)
      assert.same({ "failures", 1, "bad 1" }, { err.kind, err.index, err.first })
      assert.truthy(err.done >= 20 and err.done <= 25 and err.failed == err.done, err.done)
      assert.equal(err.done, seen)
      assert.truthy(tostring(err):find("stopped: %d+ of %d+ items failed; item 1, the first: bad 1"),
        tostring(err))
    end)

    it("not when one of the first 20 went well", function()
      local ok, _, seen = failing(100, { tasks = 5 }, function(item) return item == 20 end)
      assert.is_true(ok)
      assert.equal(100, seen)
      ok, _, seen = failing(19, { tasks = 5 })
      assert.is_true(ok)
      assert.equal(19, seen)
    end)

    it("at max_failures, however many are live", function()
      for _, tasks in ipairs{ 1, 5, 500 } do
        local ok, err, seen = failing(100, { max_failures = 3, tasks = tasks },
          function(item) return item % 2 == 0 end)
        assert.is_false(ok)
        assert.equal(err.done, seen)
        assert.truthy(err.failed >= 3)
        if tasks == 1 then assert.same({ 3, 5 }, { err.failed, err.done }) end
      end
      assert.is_true((failing(50, { max_failures = 51 })))
    end)

    it("with what the source throws, after the results of what is live", function()
      local i = 0
      local function read() i = i + 1 if i > 7 then error("kaputt") end return i end
      local seen = {}
      local ok, err = pcall(function()
        for index, result in batch:each(read, ask) do seen[index] = result end
      end)
      assert.is_false(ok)
      assert.truthy(err:find("^spec/each_spec.lua:%d+: kaputt\nstack traceback:"), err)
      assert.equal(7, #seen)
      local thrown = {}
      ok, err = pcall(batch.map, batch, function() error(thrown) end, ask)
      assert.is_false(ok)
      assert.equal(thrown, err)
    end)
  end)

  describe("when it is left", function()
    local slow

    before_each(function() slow = hanging() end)
    after_each(function() slow:close() end)

    local function begin(fn)
      local items, begun, cancelled = 0, 0, {}
      local iterator = slow:each(function()
        items = items + 1
        return items
      end, function(item)
        begun = begun + 1
        if item == 1 then return "first" end
        local ok, err = sheaf.pcall(fn or function() return slow:fetch{} end)
        cancelled[item] = not ok and err.kind
        return nil, err
      end, { tasks = 10 })
      local index, result = iterator()
      assert.same({ 1, "first" }, { index, result })
      while begun < items do sheaf.sleep(0.001) end
      return iterator, cancelled, function() return items end
    end

    local function check_ended(cancelled, taken)
      local before = taken()
      sheaf.run(sheaf.sleep, 0.002)
      assert.equal(before, taken())
      for item = 2, before do assert.equal("cancelled", cancelled[item], "item " .. item) end
      repeat sheaf.sleep(0.001) until slow:stats().done == slow:stats().total
      assert.equal(slow:stats().total, slow:stats().failed)
    end

    it("by cancel takes no new items and cancels the rest", function()
      local iterator, cancelled, taken = begin()
      iterator:cancel()
      check_ended(cancelled, taken)
      assert.is_nil((iterator()))
      iterator:cancel()
    end)

    it("by collection does the same", function()
      local iterator, cancelled, taken = begin()
      assert.is_not_nil(iterator)
      iterator = nil -- luacheck: ignore
      repeat
        collectgarbage()
        sheaf.run(sheaf.sleep, 0.001)
      until cancelled[2]
      check_ended(cancelled, taken)
    end)

    it("by break does the same, at once where loops close their values", function()
      local cancelled, taken, begun = {}, 0, 0
      local function loop()
        for _ in slow:each(function() -- luacheck: ignore 512
          taken = taken + 1
          return taken
        end, function(item)
          begun = begun + 1
          if item == 1 then return true end
          local ok, err = sheaf.pcall(function() return slow:fetch{} end)
          cancelled[item] = not ok and err.kind
        end, { tasks = 10 }) do
          while begun < taken do sheaf.sleep(0.001) end
          break
        end
      end
      loop()
      if _VERSION == "Lua 5.4" then
        sheaf.run(sheaf.sleep, 0.001)
        assert.equal("cancelled", cancelled[2])
      end
      while not cancelled[2] do
        collectgarbage()
        sheaf.run(sheaf.sleep, 0.001)
      end
      check_ended(cancelled, function() return taken end)
    end)

    it("cancels the tasks its items have spawned", function()
      local inner = 0
      local iterator, cancelled, taken = begin(function()
        local ok, err = sheaf.spawn(function()
          local fine, why = sheaf.pcall(function() return slow:fetch{} end)
          if not fine then inner = inner + 1 end
          error(why, 0)
        end):wait()
        if not ok then error(err, 0) end
      end)
      sheaf.run(sheaf.sleep, 0.001)
      iterator:cancel()
      check_ended(cancelled, taken)
      assert.truthy(inner >= 8)
    end)

    it("cancels requests without fn", function()
      local iterator = slow:each(function() return {} end, nil, { tasks = 4 })
      local consumer = sheaf.spawn(function() return iterator() end)
      sheaf.run(sheaf.sleep, 0.002)
      assert.equal(4, slow:stats().total)
      iterator:cancel()
      assert.equal(4, slow:stats().failed)
      assert.same({ true }, { consumer:wait() })
    end)

    it("because an error came out of its body, does the same", function()
      local iterator, cancelled, taken
      local ok = pcall(function()
        iterator, cancelled, taken = begin()
        error("body")
      end)
      assert.is_false(ok)
      iterator:cancel()
      check_ended(cancelled, taken)
    end)
  end)

  it("ends when its batch is closed, each item with an error", function()
    local slow = hanging()
    local kinds = {}
    sheaf.run(function()
      local iterator = slow:each({ {}, {}, {} }, nil, { tasks = 2 })
      sheaf.spawn(function()
        local index, _, err = iterator()
        while index do
          kinds[index] = err.kind
          index, _, err = iterator()
        end
      end)
      sheaf.run(sheaf.sleep, 0.002)
      slow:close()
    end)
    assert.same({ "closed", "closed", "internal" }, kinds)
  end)

  it("refuses what is no source, no function, no options, at the caller's line", function()
    local function refuses(text, ...)
      for _, name in ipairs{ "each", "map" } do
        local args, n = { ... }, select("#", ...)
        local line
        local ok, message = pcall(function()
          line = debug.getinfo(1, "l").currentline + 1
          local first = batch[name](batch, (table.unpack or unpack)(args, 1, n)) -- luacheck: ignore
          return first
        end)
        assert.is_false(ok, text)
        assert.equal(("spec/each_spec.lua:%d: batch:%s"):format(line, name),
          message:match("^.-:%d+: batch:%a+"), message)
        assert.truthy(message:find(text, 1, true), message)
      end
    end
    refuses("the source must be an array of items, or a function that returns the next one, got nil")
    refuses("the source must be an array of items, or a function that returns the next one, got \"x\"", "x")
    refuses("it has the field \"a\"", { a = 1 })
    refuses("it has the field 1.5", { [1.5] = 1 })
    refuses("the second argument must be a function, got 5", {}, 5)
    refuses("a table of options is wanted, got 5", {}, ask, 5)
    refuses("unknown option 'orderd' (did you mean 'ordered'?)", {}, ask, { orderd = true })
    refuses("'tasks' must be a positive integer, got 0", {}, ask, { tasks = 0 })
    refuses("'max_failures' must be a positive integer", {}, ask, { max_failures = 0 / 0 })
    refuses("'total' must be an integer, 0 or more, got -1", {}, ask, { total = -1 })
    refuses("'merge' must be a positive integer", {}, ask, { merge = 0.5 })
    refuses("'merge' needs a function", {}, nil, { merge = 5 })
  end)
end)

describe("batch:map", function()
  local batch

  before_each(function()
    batch = sheaf.batch{ base_url = "http://h", concurrency = 10, retry = 0,
      transport = function(request) return { body = tostring(request.id), delay = 0.001 } end }
  end)
  after_each(function() batch:close() end)

  local function odd_ones_fail(item)
    local body = batch:fetch{ id = item }.body
    if item % 2 == 1 then return nil, "odd " .. body end
    return body
  end

  for name, run in pairs{ ["in the main chunk"] = function(fn) return fn() end,
    ["in a task"] = sheaf.run } do
    it("collects results and errors in the items' order, " .. name, function()
      run(function()
        local items = {}
        for i = 1, 101 do items[i] = i end
        local results, errors = batch:map(items, odd_ones_fail)
        assert.same({ 101, 101 }, { results.n, errors.n })
        for i = 1, 101 do
          if i % 2 == 1 then
            assert.same({ nil, "odd " .. i }, { results[i], errors[i] })
          else
            assert.same({ tostring(i), nil }, { results[i], errors[i] })
          end
        end
      end)
    end)
  end

  it("raises where too many failed, with what there is", function()
    local items = {}
    for i = 1, 100 do items[i] = i * 2 - 1 end
    local ok, err = pcall(batch.map, batch, items, odd_ones_fail, { tasks = 10 })
    assert.is_false(ok)
    assert.equal("failures", err.kind)
    assert.equal(err.done, err.errors.n)
    assert.equal("odd 1", err.errors[1])
    assert.same({}, { err.results[1] })
  end)

  it("raises what the source throws", function()
    local ok, message = pcall(batch.map, batch, function() error("kaputt") end, odd_ones_fail)
    assert.is_false(ok)
    assert.truthy(message:find("kaputt\nstack traceback:", 1, true))
  end)

  it("is cancelled with the task that calls it", function()
    local slow = sheaf.batch{ base_url = "http://h", transport = function() return { delay = 3600 } end }
    local task = sheaf.spawn(function()
      return slow:map({ 1, 2, 3 }, function() return slow:fetch{} end)
    end)
    sheaf.run(sheaf.sleep, 0.002)
    assert.is_true(task:cancel())
    local ok, err = task:wait()
    assert.is_false(ok)
    assert.equal("cancelled", err.kind)
    repeat sheaf.sleep(0.001) until slow:stats().failed == 3
    slow:close()
  end)

  it("leaves what the task has submitted for gather", function()
    batch:submit{ id = "mine" }
    batch:map({ 2, 4 }, odd_ones_fail)
    batch:map{ { id = 1 } }
    local mine = batch:gather()
    assert.same({ 1, "mine" }, { mine.n, mine[1].body })
  end)
end)
