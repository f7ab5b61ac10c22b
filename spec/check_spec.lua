-- The rules for what users give, and the words for what fails them.

local check = require "sheaf.check"

local NAN = 0 / 0

local function message_of(fn, ...)
  local ok, message = pcall(fn, ...)
  assert.is_false(ok)
  return message
end

describe("check.show", function()
  it("quotes texts and shortens long ones", function()
    assert.equal('"abc"', check.show("abc"))
    assert.equal('"a\\nb"', check.show("a\nb"))
    local shown = check.show(("x"):rep(1000))
    assert.equal('"' .. ("x"):rep(37) .. '..."', shown)
  end)

  it("tells what things without a text are", function()
    assert.equal("a table", check.show({}))
    assert.equal("a function", check.show(print))
    assert.equal("nil", check.show(nil))
    assert.equal("true", check.show(true))
    assert.equal("-3", check.show(-3))
  end)
end)

describe("a rule", function()
  local function accepts(rule, list)
    for _, value in ipairs(list) do assert.is_true(rule.test(value), check.show(value)) end
  end

  local function refuses(rule, list)
    for i = 1, list.n or #list do
      assert.is_false(rule.test(list[i]), check.show(list[i]))
    end
  end

  it("for counts takes whole numbers from 0 that fit an int", function()
    accepts(check.count, { 0, 1, 3.0, 2^31 - 1 })
    refuses(check.count, { -1, 0.5, NAN, math.huge, -math.huge, 2^31, "1", true, {}, n = 11 })
  end)

  it("for positive integers leaves 0 out", function()
    accepts(check.positive, { 1, 2^31 - 1 })
    refuses(check.positive, { 0, -1, 1.5, NAN, math.huge, 2^31, "5" })
  end)

  it("for integers takes negative ones", function()
    accepts(check.integer, { -5, 0, 5 })
    refuses(check.integer, { 0.1, NAN, math.huge, -math.huge, 2^31, -2^31, "1" })
  end)

  it("for bytes takes what a double holds exactly", function()
    accepts(check.bytes, { 1, 2^40 })
    refuses(check.bytes, { 0, -1, 1.5, NAN, math.huge, 1e300, "64" })
  end)

  it("for seconds takes fractions, and no NaN", function()
    accepts(check.seconds, { 0, 0.001, 1e9 })
    refuses(check.seconds, { -0.001, NAN, "1", false })
  end)

  it("for durations takes false as no limit, and not 0", function()
    accepts(check.duration, { false, 0.1, 600, math.huge })
    refuses(check.duration, { 0, -1, NAN, true, "60" })
  end)

  it("for words takes these words only", function()
    local rule = check.one_of("full", "equal", "none")
    assert.equal('"full", "equal" or "none"', rule.wanted)
    accepts(rule, { "full", "none" })
    refuses(rule, { "Full", "", 1, true })
  end)

  it("for either of two takes both", function()
    local rule = check.either(check.string, check.boolean)
    assert.equal("a string, or true or false", rule.wanted)
    accepts(rule, { "x", false })
    refuses(rule, { 1, {} })
  end)
end)

describe("check.options", function()
  local rules = {
    size = check.positive, name = check.string,
    retry = check.nested({ max = check.count, base = check.seconds }, check.count),
    pool = check.nested{ idle = check.seconds },
  }

  local function call(options)
    check.options("sheaf.thing", options, rules, 2)
  end

  it("passes what is right", function()
    call{}
    call{ size = 3, name = "x", retry = { max = 1, base = 0.5 }, pool = {} }
    call{ retry = 4 }
  end)

  it("names the field, what was found and what is wanted", function()
    assert.truthy(message_of(call, { size = -3 }):find(
      "sheaf.thing: 'size' must be a positive integer, got -3", 1, true))
    assert.truthy(message_of(call, { name = {} }):find(
      "sheaf.thing: 'name' must be a string, got a table", 1, true))
    assert.truthy(message_of(call, { size = "3" }):find("got \"3\"", 1, true))
    assert.truthy(message_of(call, { size = NAN }):find("positive integer, got %-?nan"))
  end)

  it("names fields of nested tables in full", function()
    assert.truthy(message_of(call, { retry = { base = -1 } }):find(
      "'retry.base' must be a number of seconds, 0 or more, got -1", 1, true))
    assert.truthy(message_of(call, { retry = "x" }):find(
      "'retry' must be an integer, 0 or more, or a table, got \"x\"", 1, true))
    assert.truthy(message_of(call, { pool = 3 }):find("'pool' must be a table, got 3", 1, true))
  end)

  it("guesses what a mistyped name was meant to be", function()
    assert.truthy(message_of(call, { szie = 3 }):find(
      "sheaf.thing: unknown option 'szie' (did you mean 'size'?)", 1, true))
    assert.truthy(message_of(call, { retry = { bse = 1 } }):find(
      "sheaf.thing 'retry': unknown option 'bse' (did you mean 'base'?)", 1, true))
    local far = message_of(call, { completely_different = 1 })
    assert.truthy(far:find("unknown option 'completely_different'", 1, true))
    assert.falsy(far:find("did you mean"))
  end)

  it("takes no names that are no texts", function()
    assert.truthy(message_of(call, { 5 }):find("unknown option 1", 1, true))
    assert.truthy(message_of(call, { [{}] = 5 }):find("unknown option a table", 1, true))
  end)

  it("takes only tables", function()
    for _, given in ipairs{ 5, "x", true } do
      assert.truthy(message_of(call, given):find(
        "sheaf.thing: a table of options is wanted, got " .. check.show(given), 1, true))
    end
  end)

  it("raises at the line it is told", function()
    local function public(options) check.options("sheaf.thing", options, rules, 2) end
    local function here(options)
      local line = debug.getinfo(1, "l").currentline + 1
      local ok, message = pcall(function() public(options) return 0 end)
      assert.is_false(ok)
      assert.equal("spec/check_spec.lua:" .. line .. ":", message:match("^(.-:%d+:)"))
    end
    here{ size = 0 }
    here{ unknown = 0 }
    here{ retry = { max = -1 } }
    here{ retry = { unknown = -1 } }
    here(7)
  end)
end)

describe("check.headers", function()
  local function call(headers) check.headers("sheaf.thing", headers, 2) end

  it("passes texts, numbers and false", function()
    call{ ["x-team"] = "a", Accept = "*/*", ["x-n"] = 5, authorization = false, ["!#$%&'*+.^_`|~-"] = "" }
  end)

  it("refuses names that are no header names", function()
    for _, name in ipairs{ "", "a b", "a:", "a\r\nb", "a\0", "(x)", "\195\188", 1 } do
      local message = message_of(call, { [name] = "v" })
      assert.truthy(message:find("no header name: " .. check.show(name), 1, true), message)
    end
  end)

  it("refuses values with CR, LF or NUL", function()
    for _, value in ipairs{ "a\rb", "a\nb", "a\0b", "\n", "a\r\nX-Evil: 1" } do
      assert.truthy(message_of(call, { ["x-a"] = value }):find(
        "'headers[\"x-a\"]' must not contain CR, LF or NUL", 1, true))
    end
  end)

  it("refuses values that are no texts", function()
    for _, value in ipairs{ true, {}, print, NAN, math.huge } do
      assert.truthy(message_of(call, { ["x-a"] = value }):find(
        "'headers[\"x-a\"]' must be a string, a number or false", 1, true))
    end
  end)

  it("refuses what is no table", function()
    assert.truthy(message_of(call, "x: y"):find(
      "'headers' must be a table of names and values, got \"x: y\"", 1, true))
  end)
end)
