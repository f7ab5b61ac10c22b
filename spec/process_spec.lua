-- How a script ends: at its end, by os.exit, by an error, by a signal, forked, short of descriptors. Each
-- script is a process of its own.

local child = require "spec.support.child"
local server = require "spec.support.server"

local PROMPT = 5                -- seconds; what waits for an answer here would wait for 60

describe("a script", function()
  local s

  setup(function() s = server.start() end)
  teardown(function() s:stop() end)
  before_each(function() s:reset() end)

  -- Starts `count` requests whose answers take a minute, and hears of the last one's permit: by then the
  -- first ones are on the wire.
  local HANGING = [[
    local sheaf = require "sheaf"
    local url, ca, count = ...
    local batch = sheaf.batch{ base_url = url, tls = { ca = ca }, concurrency = 1000, queue = 10000,
      timeout = { connect = 60 } }
    for i = 1, tonumber(count) do
      assert(batch:submit{ path = "/echo", headers = { ["x-behave"] = "silent=60" } })
    end
    while batch:stats().in_flight < tonumber(count) do sheaf.sleep(0.005) end
  ]]

  local function run(tail, options)
    options = options or {}
    options.args = options.args or { s.url, s.ca, 10 }
    local ended = child.run(HANGING .. tail, options)
    assert.is_true(ended.seconds < PROMPT, "seconds: " .. ended.seconds)
    return ended
  end

  local UNFINISHED = "sheaf: the script ended with %d unfinished request%s: wait for them with "
    .. "batch:gather(), or cancel them\n"

  describe("that ends with unfinished requests", function()
    it("says so, and ends at once", function()
      local ended = run("print('end')")
      assert.equal("end\n", ended.stdout)
      assert.equal(UNFINISHED:format(10, "s"), ended.stderr)
      assert.equal(0, ended.status)
      assert.equal(UNFINISHED:format(1, ""), run("", { args = { s.url, s.ca, 1 } }).stderr)
    end)

    it("says nothing where it cancelled or closed them", function()
      assert.equal("", run("batch:cancel()").stderr)
      assert.equal("", run("batch:close()").stderr)
    end)

    it("ends at once with 1,000 transfers in flight, plain and over TLS", function()
      for _, url in ipairs{ s.url, s.tls } do
        local ended = run("", { args = { url, s.ca, 1000 } })
        assert.equal(UNFINISHED:format(1000, "s"), ended.stderr)
        assert.equal(0, ended.status)
      end
    end)

    it("ends with its error's message and status where one is thrown", function()
      local ended = run("error('my own fault')")
      assert.equal(1, ended.status)
      assert.truthy(ended.stderr:find("my own fault", 1, true))
      assert.truthy(ended.stderr:find("10 unfinished requests", 1, true))
    end)
  end)

  describe("that calls os.exit in mid-flight over TLS", function()
    local EXIT = [[
      local sheaf = require "sheaf"
      local url, ca, delay, status = ...
      local batch = sheaf.batch{ base_url = url, tls = { ca = ca }, concurrency = 20 }
      for i = 1, 20 do
        assert(batch:submit{ path = "/echo", headers = { ["x-behave"] = "latency=exp:0.01" } })
      end
      sheaf.sleep(tonumber(delay))
      os.exit(tonumber(status))
    ]]

    it("leaves with its status and without a word, 60 times", function()
      local wrong = {}
      for i = 1, 60 do
        -- From within the handshakes to within the answers.
        local ended = child.run(EXIT, { args = { i % 2 == 0 and s.tls or s.tls1, s.ca, i % 20 * 0.001,
          i % 3 == 0 and 7 or 0 } })
        local said = ended.stderr:gsub("sheaf: the script ended with %d+ unfinished [^\n]*\n", "")
        if ended.status ~= (i % 3 == 0 and 7 or 0) or said ~= "" then
          wrong[#wrong + 1] = ("%d: %d %s"):format(i, ended.status, said)
        end
      end
      assert.same({}, wrong)
    end)

    it("leaves also where os.exit closes the state, and from within a task", function()
      local ended = run("os.exit(3, true)", { args = { s.tls, s.ca, 10 } })
      assert.equal(3, ended.status)
      ended = run("sheaf.run(function() os.exit(4) end)", { args = { s.tls, s.ca, 10 } })
      assert.equal(4, ended.status)
      ended = run("sheaf.spawn(function() batch:gather() end) sheaf.step() os.exit(0, true)")
      assert.equal(0, ended.status)
    end)
  end)

  it("ends at once wherever its requests are, 60 times", function()
    local wrong = {}
    for i = 1, 60 do
      local ended = child.run([[
        local sheaf = require "sheaf"
        local url, ca, delay = ...
        local batch = sheaf.batch{ base_url = url, tls = { ca = ca } }
        for _ = 1, 10 do
          assert(batch:submit{ path = "/echo", headers = { ["x-behave"] = "silent=60" } })
        end
        sheaf.sleep(tonumber(delay))
        batch:cancel()
      ]], { args = { i % 2 == 0 and s.url or s.tls, s.ca, i % 10 * 0.002 } })
      if ended.status ~= 0 or ended.stderr ~= "" or ended.seconds > PROMPT then
        wrong[#wrong + 1] = ("%d: %d %s, %g s"):format(i, ended.status, ended.stderr, ended.seconds)
      end
    end
    assert.same({}, wrong)
  end)

  it("stops promptly on an interrupt while it gathers, and while it sleeps", function()
    for _, wait in ipairs{ "batch:gather()", "sheaf.sleep(60)",
        "sheaf.run(function() batch:fetch{ path = '/echo?behave=silent%3D60' } end)",
        "for _ in batch:completed() do end" } do
      local ended = run([[
        os.execute('(sleep 0.3; kill -INT ' .. '$PPID) >/dev/null 2>&1 &')
      ]] .. wait .. " print('went on')")
      assert.equal("", ended.stdout)
      assert.is_true(ended.status == 1 or ended.signal == 2, "status: " .. ended.status)
      if ended.status == 1 then assert.truthy(ended.stderr:find("interrupted!", 1, true)) end
    end
  end)

  it("goes on after an interrupt that it catches, with nothing lost", function()
    local ended = child.run([[
      local sheaf = require "sheaf"
      local batch = sheaf.batch{ base_url = ... }
      for i = 1, 5 do
        assert(batch:submit{ path = "/echo", id = i, headers = { ["x-behave"] = "latency=1" } })
      end
      local tickets = {}
      os.execute('(sleep 0.2; kill -INT ' .. '$PPID) >/dev/null 2>&1 &')
      print(pcall(sheaf.sleep, 60))
      print(batch:gather().n, batch:stats().ok)
    ]], { args = { s.url } })
    assert.truthy(ended.stdout:find("interrupted!", 1, true))
    assert.truthy(ended.stdout:find("5%s+5"))
    assert.equal("", ended.stderr)
  end)

  describe("that forks", function()
    local folder, module

    -- Lua has no fork: LuaJIT calls C, the others load a module that is made here.
    local C = [[
      #include <lua.h>
      #include <lauxlib.h>
      #include <sys/wait.h>
      #include <unistd.h>
      static int l_fork(lua_State *L) { lua_pushinteger(L, fork()); return 1; }
      static int l_wait(lua_State *L) {
        int status = -1;
        waitpid((pid_t)luaL_checkinteger(L, 1), &status, 0);
        lua_pushinteger(L, status);
        return 1;
      }
      static int l_leave(lua_State *L) { _exit((int)luaL_checkinteger(L, 1)); return 0; }
      int luaopen_forks(lua_State *L);
      int luaopen_forks(lua_State *L) {
        lua_newtable(L);
        lua_pushcfunction(L, l_fork); lua_setfield(L, -2, "fork");
        lua_pushcfunction(L, l_wait); lua_setfield(L, -2, "wait");
        lua_pushcfunction(L, l_leave); lua_setfield(L, -2, "leave");
        return 1;
      }
    ]]

    local BY_FFI = [[
      local ffi = require "ffi"
      ffi.cdef "int fork(void); int waitpid(int, int *, int); void _exit(int);"
      local forks = { fork = function() return ffi.C.fork() end, leave = function(n) ffi.C._exit(n) end,
        wait = function(pid)
          local status = ffi.new("int[1]", -1)
          ffi.C.waitpid(pid, status, 0)
          return status[0]
        end }
    ]]

    setup(function()
      module = BY_FFI
      if rawget(_G, "jit") then return end
      folder = child.shell("mktemp -d"):gsub("%s+$", "")
      local version = _VERSION:match("%d%.%d")
      local file = assert(io.open(folder .. "/forks.c", "w"))
      file:write(C)
      file:close()
      local said = child.shell(("cc -shared -fPIC -I/usr/include/lua%s -I/usr/local/include/lua%s "
        .. "%s/forks.c -o %s/forks.so 2>&1"):format(version, version, folder, folder))
      assert.equal("", said)
      module = ("package.cpath = %q .. '/?.so;' .. package.cpath\nlocal forks = require 'forks'\n")
        :format(folder)
    end)

    teardown(function()
      if folder then child.shell("rm -rf " .. child.word(folder)) end
    end)

    local function fork(script)
      local ended = child.run(module .. [[
        local sheaf = require "sheaf"
        local url, ca = ...
        io.stdout:setvbuf("no")
        local function ask(batch) return batch:fetch{ path = "/echo", timeout = 10 } end
      ]] .. script, { args = { s.tls, s.ca } })
      assert.is_true(ended.seconds < 2 * PROMPT)
      return ended
    end

    it("before its first request has an engine on each side", function()
      local ended = fork[[
        local batch = sheaf.batch{ base_url = url, tls = { ca = ca } }
        local pid = forks.fork()
        if pid == 0 then
          print("child", ask(batch).status)
          os.exit(0)
        end
        print("status", forks.wait(pid))
        print("parent", ask(batch).status)
      ]]
      assert.equal("child\t200\nstatus\t0\nparent\t200\n", ended.stdout)
      assert.equal("", ended.stderr)
    end)

    it("after use gets a clear error in the child, while the parent goes on", function()
      local ended = fork[[
        local batch = sheaf.batch{ base_url = url, tls = { ca = ca } }
        assert(ask(batch).ok)
        for _ = 1, 20 do
          assert(batch:submit{ path = "/echo", headers = { ["x-behave"] = "latency=0.3" } })
        end
        local pid = forks.fork()
        if pid == 0 then
          local ticket, message, code = batch:submit{ path = "/echo" }
          print("child", ticket, code, message)
          batch:close()
          collectgarbage()
          os.exit(0)
        end
        print("status", forks.wait(pid))
        local good = 0
        for _, response in ipairs(batch:gather()) do if response.ok then good = good + 1 end end
        print("parent", good, ask(batch).status)
      ]]
      assert.equal("", ended.stderr)
      assert.equal("status\t0\nparent\t20\t200\n", ended.stdout:match("status.*"))
      assert.truthy(ended.stdout:find("child\tnil\tforked\tsheaf: this process was forked after", 1, true))
    end)

    it("leaves the child any way out: its end, os.exit with close, an error", function()
      for way, status in pairs{ ["os.exit(5)"] = 5, ["os.exit(6, true)"] = 6,
          ["collectgarbage() os.exit(7)"] = 7, ["forks.leave(8)"] = 8,
          ["local t = setmetatable({}, {}) return"] = 0 } do
        local ended = fork([[
          local batch = sheaf.batch{ base_url = url, tls = { ca = ca } }
          assert(ask(batch).ok)
          assert(batch:submit{ path = "/echo", headers = { ["x-behave"] = "latency=0.2" } })
          local pid = forks.fork()
          if pid == 0 then ]] .. way .. [[ end
          print("status", math.floor(forks.wait(pid) / 256))
          print("parent", batch:gather()[1].status)
        ]])
        assert.equal("status\t" .. status .. "\nparent\t200\n", ended.stdout, way)
        assert.equal("", ended.stderr, way)
      end
    end)
  end)

  describe("that may open few files", function()
    it("is told at the batch, with the number that it needs", function()
      local ended = child.run([[
        local sheaf = require "sheaf"
        local ok, message = pcall(sheaf.batch, { concurrency = 500 })
        print(ok, message)
        print(pcall(sheaf.batch, { concurrency = 50 }))
      ]], { before = "ulimit -n 128" })
      assert.truthy(ended.stdout:find("^false\t.*sheaf%.batch: 'concurrency' = 500 needs 564 .*128.*"
        .. "ulimit %-n 564"))
      assert.truthy(ended.stdout:find("\ntrue\t"))
    end)

    it("gets an error per request where others took the descriptors, and loses none", function()
      local ended = child.run([[
        local sheaf = require "sheaf"
        local batch = sheaf.batch{ base_url = ..., concurrency = 60,
          retry = { max = 1, base = 0.001, cap = 0.001 } }
        assert(batch:fetch{ path = "/echo" }.ok)
        local held = {}
        while true do
          local file = io.open("/dev/null")
          if not file then break end
          held[#held + 1] = file
        end
        for _ = 1, 20 do
          assert(batch:submit{ path = "/echo", headers = { ["x-behave"] = "latency=0.05" } })
        end
        local responses = batch:gather()
        local ok, failed, other = 0, 0, 0
        for _, response in ipairs(responses) do
          if response.ok then ok = ok + 1
          elseif response.error.kind == "internal" and response.error.message:find("ulimit") then
            failed = failed + 1
          else other = other + 1 end
        end
        for _, file in ipairs(held) do file:close() end
        print(responses.n, ok > 0, failed > 0, other, batch:fetch{ path = "/echo" }.ok)
      ]], { before = "ulimit -n 128", args = { s.url } })
      assert.equal("", ended.stderr)
      assert.equal("20\ttrue\ttrue\t0\ttrue\n", ended.stdout)
    end)
  end)

  it("runs as a user who owns nothing", function()
    -- The tree may lie where nobody may look: a copy lies where everybody may.
    local folder = child.shell("mktemp -d"):gsub("%s+$", "")
    local core
    for template in package.cpath:gmatch("[^;]+") do
      local path = template:gsub("%?", "sheaf/core")
      local file = not core and io.open(path, "rb")
      if file then
        core = path
        file:close()
      end
    end
    local word = child.word
    child.shell(("mkdir %s/sheaf && cp -r lua %s && cp %s %s/sheaf/core.so && cp %s %s/ca.crt && "
      .. "chmod -R a+rX %s"):format(folder, folder, word(core), folder, word(s.ca), folder, folder))
    local root = child.shell("id -u"):match("%d+") == "0"
    local ended = child.run([[
      local folder, url = ...
      package.path = folder .. "/lua/?.lua;" .. folder .. "/lua/?/init.lua;" .. package.path
      package.cpath = folder .. "/?.so;" .. package.cpath
      local sheaf = require "sheaf"
      local batch = sheaf.batch{ base_url = url, tls = { ca = folder .. "/ca.crt" } }
      print(batch:fetch{ path = "/echo" }.status)
    ]], { args = { folder, s.tls },
      as = root and "setpriv --reuid 65534 --regid 65534 --clear-groups env HOME=/nonexistent" or "" })
    child.shell("rm -rf " .. word(folder))
    assert.equal("", ended.stderr)
    assert.equal("200\n", ended.stdout)
  end)

  it("can load sheaf, use it and end, many times", function()
    for _ = 1, 20 do
      local ended = child.run([[
        local sheaf = require "sheaf"
        local batch = sheaf.batch{ base_url = ... }
        print(batch:fetch{ path = "/echo" }.status)
      ]], { args = { s.url } })
      assert.equal("200\n", ended.stdout)
      assert.equal("", ended.stderr)
      assert.equal(0, ended.status)
    end
  end)

  it("that only requires sheaf starts no thread", function()
    local ended = child.run([[
      local sheaf = require "sheaf"
      local function threads()
        local pipe = io.popen("ls /proc/$PPID/task | wc -l")
        local count = tonumber(pipe:read("*l"))
        pipe:close()
        return count
      end
      local batch = sheaf.batch{ base_url = ... }
      print(threads())
      batch:fetch{ path = "/echo" }
      print(threads())
    ]], { args = { s.url } })
    assert.equal("1\n2\n", ended.stdout)
  end)
end)
