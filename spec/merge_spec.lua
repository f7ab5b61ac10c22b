-- Several items in one request, and what happens to those that got no answer.

local fault = require "sheaf.fault"
local sheaf = require "sheaf"

describe("each with merge", function()
  local batch, calls

  before_each(function()
    calls = {}
    batch = sheaf.batch{ base_url = "http://h", concurrency = 3, retry = 0,
      transport = function(request) return { json = request.json, delay = 0.001 } end }
  end)
  after_each(function() batch:close() end)

  local function numbers(n)
    local list = {}
    for i = 1, n do list[i] = i end
    return list
  end

  -- Asks for a group, and notes it; answer may leave items out, or fail.
  local function asking(answer)
    return function(group)
      local copy = { n = group.n }
      for i = 1, group.n do copy[i] = group[i] end
      calls[#calls + 1] = table.concat(copy, " ")
      batch:fetch{ json = copy }
      return answer(copy)
    end
  end

  local function doubled(group)
    local results = {}
    for i = 1, group.n do results[i] = group[i] * 2 end
    return results
  end

  it("gives fn up to k items, and each item its own result", function()
    local seen = {}
    for index, result, err in batch:each(numbers(23), asking(doubled), { merge = 10 }) do
      assert.is_nil(err)
      assert.is_nil(seen[index])
      seen[index] = result
    end
    assert.equal(23, #seen)
    for i = 1, 23 do assert.equal(i * 2, seen[i]) end
    table.sort(calls, function(a, b) return tonumber(a:match("%d+")) < tonumber(b:match("%d+")) end)
    assert.same({ "1 2 3 4 5 6 7 8 9 10", "11 12 13 14 15 16 17 18 19 20", "21 22 23" }, calls)
  end)

  it("works from a function, in order, and in a task", function()
    sheaf.run(function()
      local i = 0
      local last = 0
      for index, result in batch:each(function()
        i = i + 1
        if i <= 50 then return i end
      end, asking(doubled), { merge = 7, ordered = true }) do
        assert.same({ last + 1, (last + 1) * 2 }, { index, result })
        last = index
      end
      assert.equal(50, last)
    end)
  end)

  it("asks again for what is missing, and only for that", function()
    local results, errors = batch:map(numbers(10), asking(function(group)
      local out = doubled(group)
      if group.n == 10 then out[3], out[8] = nil, nil end
      return out
    end), { merge = 10 })
    assert.same({ "1 2 3 4 5 6 7 8 9 10", "3 8" }, calls)
    assert.is_nil((next(errors, next(errors))))
    for i = 1, 10 do assert.equal(i * 2, results[i]) end
  end)

  it("asks in halves where all are missing, down to one", function()
    local results, errors = batch:map(numbers(8), asking(function(group)
      if group.n > 1 then return {} end
      return doubled(group)
    end), { merge = 8 })
    assert.equal(1 + 2 + 4 + 8, #calls)
    assert.equal("1 2 3 4 5 6 7 8", calls[1])
    for i = 1, 8 do assert.equal(i * 2, results[i]) end
    assert.equal(8, errors.n)
    assert.is_nil(errors[1])
  end)

  it("finds the one bad item, and fails that alone", function()
    local results, errors = batch:map(numbers(9), asking(function(group)
      for i = 1, group.n do
        if group[i] == 5 then error("five") end
      end
      return doubled(group)
    end), { merge = 9 })
    for i = 1, 9 do
      if i == 5 then
        assert.is_nil(results[i])
        assert.truthy(errors[i]:find("spec/merge_spec.lua:%d+: five\nstack traceback:"))
      else
        assert.equal(i * 2, results[i])
        assert.is_nil(errors[i])
      end
    end
  end)

  it("says so where a single item gets no result", function()
    local results, errors = batch:map({ 1, 2 }, asking(function() return {} end), { merge = 2 })
    assert.same({ n = 2 }, results)
    for i = 1, 2 do assert.equal("fn returned no result for the item", errors[i]) end
    assert.equal(3, #calls)
    errors = select(2, batch:map({ 1 }, asking(function() return nil, "reason" end), { merge = 2 }))
    assert.equal("reason", errors[1])
  end)

  it("takes a result that is false, and nothing beyond the group", function()
    local results, errors = batch:map({ 1, 2 }, asking(function()
      return { false, 4, 6, 8 }
    end), { merge = 2 })
    assert.same({ n = 2, false, 4 }, results)
    assert.same({ n = 2 }, errors)
  end)

  it("wants an array of results", function()
    local _, errors = batch:map({ 1 }, asking(function() return "one" end), { merge = 2 })
    assert.truthy(errors[1]:find("must return an array", 1, true))
  end)

  describe("after an error", function()
    local function calls_after(err)
      calls = {}
      local _, errors = batch:map(numbers(4), asking(function() return nil, err end), { merge = 4 })
      for i = 1, 4 do assert.equal(err, errors[i]) end
      return #calls
    end

    it("that smaller requests may cure splits", function()
      assert.equal(7, calls_after(fault.new{ kind = "invalid" }))
      assert.equal(7, calls_after(fault.new{ kind = "too_large" }))
      assert.equal(7, calls_after("a text"))
      for _, status in ipairs{ 400, 413, 422 } do
        assert.equal(7, calls_after(fault.new{ kind = "http", status = status }))
      end
    end)

    it("that they can't cure doesn't", function()
      for _, kind in ipairs{ "dns", "connect", "tls", "timeout", "reset", "rate_limit", "quota",
        "cancelled", "deadline", "closed" } do
        assert.equal(1, calls_after(fault.new{ kind = kind }))
      end
      for _, status in ipairs{ 401, 403, 404, 500 } do
        assert.equal(1, calls_after(fault.new{ kind = "http", status = status }))
      end
    end)
  end)

  it("gives back what there is beside an error", function()
    local err = fault.new{ kind = "quota" }
    local results, errors = batch:map(numbers(4), asking(function()
      return { 2, nil, 6 }, err
    end), { merge = 4 })
    assert.same({ n = 4, 2, nil, 6 }, results)
    assert.same({ nil, err, nil, err }, { errors[1], errors[2], errors[3], errors[4] })
    assert.equal(1, #calls)
  end)

  it("fails a nil in the array, and leaves it out of the groups", function()
    local results, errors = batch:map({ 1, nil, 3, n = 4 }, asking(doubled), { merge = 4 })
    assert.same({ n = 4, 2, nil, 6 }, results)
    assert.truthy(errors[2] and errors[4])
    assert.same({ "1 3" }, calls)
  end)

  it("keeps to tasks, which count items, but for the group that is begun", function()
    local live, most, i = 0, 0, 0
    for _ in batch:each(function()
      i = i + 1
      if i > 100 then return nil end
      live = live + 1
      most = math.max(most, live)
      return i
    end, asking(doubled), { merge = 5, tasks = 10 }) do
      live = live - 1
    end
    assert.equal(0, live)
    assert.truthy(most >= 10 and most <= 10 + 4, most)
  end)

  it("counts failures by item", function()
    local ok, err = pcall(batch.map, batch, numbers(100), asking(function()
      return nil, fault.new{ kind = "quota" }
    end), { merge = 10, max_failures = 15, tasks = 10 })
    assert.is_false(ok)
    assert.same({ "failures", 20, 20 }, { err.kind, err.failed, err.done })
  end)

  it("cancelled in the middle of its halves begins none of them", function()
    local iterator = batch:each(numbers(64), asking(function(group)
      if group.n > 8 then return {} end
      return doubled(group)
    end), { merge = 64 })
    iterator()
    iterator:cancel()
    local before = #calls
    sheaf.sleep(0.005)
    assert.equal(before, #calls)
    assert.is_nil((iterator()))
  end)
end)
