-- README: its Lua blocks run as they stand there and print what it says; its tables have all options, with the
-- defaults in use.

local child = require "spec.support.child"
local options = require "sheaf.options"
local server = require "spec.support.server"

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

local readme = read("README.md")

-- The Lua blocks, each with its line in README and the output shown right behind it.
local function blocks()
  local list = {}
  local at = 1
  while true do
    local first, last, code = readme:find("\n```lua\n(.-)\n```\n", at)
    if not first then return list end
    local _, line = readme:sub(1, first):gsub("\n", "")
    local output = readme:match("^\n```text\n(.-\n)```\n", last + 1)
    list[#list + 1] = { line = line + 1, code = code, output = output }
    at = last
  end
end

-- Columns are aligned by tabs in the output and by spaces in README.
local function words(text)
  return (text:gsub("[ \t]+", " "):gsub(" \n", "\n"))
end

describe("README", function()
  local s

  setup(function() s = server.start() end)
  teardown(function() s:stop() end)

  for _, block in ipairs(blocks()) do
    it(("has a block at line %d that prints what it says"):format(block.line), function()
      local ended = child.run(block.code, {
        env = { OPENAI_BASE_URL = s.url .. "/v1", OPENAI_API_KEY = "any" },
      })
      assert.equal("", ended.stderr)
      assert.equal(0, ended.status)
      assert.is_truthy(block.output, "no output is shown")
      assert.equal(words(block.output), words(ended.stdout))
    end)
  end

  it("has a processor in six lines as its first block", function()
    local _, breaks = blocks()[1].code:gsub("\n", "")
    assert.equal(6, breaks + 1)
  end)
end)

-- Rows of tables by the names in their first column; "`a`, `b`" makes two.
local function rows(section)
  local found = {}
  local text = readme:match("\n## " .. section .. "\n(.-)\n## ")
  for names, default in text:gmatch("\n| ([^|]+) | ([^|]+) |") do
    for name in names:gmatch("`([%w_.]+)`") do found[name] = default end
  end
  return found
end

-- A default as README writes it.
local function shown(value)
  if value == nil or value == false then return "none" end
  if type(value) == "string" then return ('`"%s"`'):format(value) end
  if type(value) == "number" and value >= 2^20 then return ("`%d MiB`"):format(value / 2^20) end
  return ("`%s`"):format(tostring(value))
end

describe("README's tables", function()
  local function check_rules(found, rules, defaults, prefix)
    for name, rule in pairs(rules) do
      local default = defaults[name]
      if rule.rules then
        check_rules(found, rule.rules, default or {}, prefix .. name .. ".")
      else
        assert.equal(shown(default), found[prefix .. name], prefix .. name)
      end
    end
  end

  it("have each option of a batch with its default, and no other", function()
    local found = rows("Options of a batch")
    check_rules(found, options.batch_rules, options.defaults, "")
    for name in pairs(options.request_rules) do assert.is_truthy(found[name], name) end
  end)

  it("have each kind of error", function()
    local found = rows("When something fails")
    local kinds = require("sheaf.fault").kinds
    for kind in pairs(kinds) do
      if kind ~= "budget" then assert.is_truthy(found[kind], kind) end
    end
    for kind in pairs(found) do
      if not kind:find("[%A]") then assert.is_truthy(kind == "error" or kinds[kind], kind) end
    end
  end)

  it("have the processor's defaults", function()
    local found = rows("The processor")
    local processor = require("sheaf.processor").new{ model = "m", base_url = "http://localhost" }
    assert.equal(shown(processor.given.chunk_size), found.chunk_size)
    assert.equal(shown(processor.given.max_retries), found.max_retries)
    assert.equal(shown(processor.given.max_concurrent), found.max_concurrent)
    processor.batch:close()
  end)
end)
