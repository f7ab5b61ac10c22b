-- The rockspec and `make install`: all files are in them, and what they install works.

local CONFIG = 'rocks_provided = { ["lua-cjson"] = "2.1.0-1" }\n'

local function word(text)
  return "'" .. tostring(text):gsub("'", "'\\''") .. "'"
end

local function shell(command)
  local pipe = assert(io.popen(command .. ' 2>&1; echo "exit $?"', "r"))
  local text, status = pipe:read("*a"):match("^(.*)exit (%d+)\n$")
  pipe:close()
  return text, tonumber(status)
end

local function run(command)
  local text, status = shell(command)
  assert.equal(0, status, command .. ": " .. text)
  return text
end

local function lines(text)
  local list = {}
  for line in text:gmatch("[^\n]+") do list[#list + 1] = line end
  return list
end

-- What the rockspec says: its globals.
local function rockspec()
  local said = {}
  local file = assert(io.open("sheaf-scm-1.rockspec"))
  local text = file:read("*a")
  file:close()
  if setfenv then
    setfenv(assert(loadstring(text)), said)()
  else
    assert(load(text, "rockspec", "t", said))()
  end
  return said
end

local function exported(library)
  return lines(run("nm -D --defined-only " .. word(library) .. " | awk '{ print $3 }'"))
end

-- Loads sheaf from an installed tree and makes a call by a transport.
local function works(lua, tree, version)
  local script = [[
    local sheaf = require "sheaf"
    local batch = sheaf.batch{ base_url = "http://example.com",
      transport = function() return { json = { answer = 42 } } end }
    io.write(package.searchpath and package.searchpath("sheaf.core", package.cpath) or "",
      " ", batch:fetch{ json = {} }:json().answer)
  ]]
  local paths = ("LUA_PATH='%s/share/lua/%s/?.lua;%s/share/lua/%s/?/init.lua;;' "
    .. "LUA_CPATH='%s/lib/lua/%s/?.so;;'"):format(tree, version, tree, version, tree, version)
  return run(("env -C / %s %s -e %s"):format(paths, lua, word(script)))
end

describe("the rockspec", function()
  it("names every Lua module and every C file", function()
    local build = rockspec().build
    local wanted = {}
    for _, path in ipairs(lines(run("find lua -name '*.lua'"))) do
      local name = path:match("^lua/(.*)%.lua$"):gsub("/", "."):gsub("%.init$", "")
      wanted[name] = path
    end
    local core = build.modules["sheaf.core"]
    build.modules["sheaf.core"] = nil
    assert.same(wanted, build.modules)
    assert.same(lines(run("LC_ALL=C ls src/*.c")), core.sources)
  end)

  it("has the license that is in LICENSE", function()
    assert.equal("MIT", rockspec().description.license)
    assert.is_truthy(run("head -n 1 LICENSE"):find("MIT", 1, true))
  end)

  it("passes luarocks lint", function()
    run("luarocks lint sheaf-scm-1.rockspec")
  end)
end)

describe("installing", function()
  local folder

  before_each(function() folder = lines(run("mktemp -d"))[1] end)
  after_each(function() run("rm -rf " .. word(folder)) end)

  -- LuaRocks builds beside the sources: not in this tree.
  local function by_luarocks(version)
    local lua = "lua" .. version
    run(("cp -r src lua sheaf-scm-1.rockspec %s && printf %%s %s >%s/config.lua"):format(
      word(folder), word(CONFIG), folder))
    run(("cd %s && env LUAROCKS_CONFIG=config.lua luarocks --lua-version=%s --tree=tree make "
      .. "sheaf-scm-1.rockspec"):format(word(folder), version))
    assert.is_truthy(works(lua, folder .. "/tree", version):find("42$"))
    for _, name in ipairs(exported(("%s/tree/lib/lua/%s/sheaf/core.so"):format(folder, version))) do
      assert.equal("luaopen_sheaf_core", name)
    end
  end

  it("by luarocks make works on Lua 5.4", function() by_luarocks("5.4") end)
  it("by luarocks make works on Lua 5.1", function() by_luarocks("5.1") end)

  it("by make install works, and exports nothing but luaopen_sheaf_core", function()
    run(("make -s install LUA=lua5.4 BUILD=%s/build PREFIX=%s/tree"):format(folder, folder))
    assert.is_truthy(works("lua5.4", folder .. "/tree", "5.4"):find(folder .. ".* 42$"))
    assert.same({ "luaopen_sheaf_core" }, exported(folder .. "/tree/lib/lua/5.4/sheaf/core.so"))
  end)
end)
