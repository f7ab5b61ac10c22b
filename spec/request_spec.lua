-- From the request a user wrote to what goes out; and what is said of requests that can't.

local server = require "spec.support.server"
local sheaf = require "sheaf"

local NAN = 0 / 0

-- A batch whose transport tells what it was shown.
local function echoing(given)
  given.transport = function(request)
    return { json = {
      method = request.method, url = request.url, body = request.body, path = request.path,
      headers = sheaf.json.decode(sheaf.json.encode(request.headers)), id = request.id,
    } }
  end
  return sheaf.batch(given)
end

describe("a request", function()
  local batch

  before_each(function() batch = echoing{ base_url = "http://h/v1" } end)
  after_each(function() batch:close() end)

  local function shown(request, from)
    return assert((from or batch):fetch(request):json())
  end

  describe("has an address", function()
    it("of base_url and path, with one slash between them", function()
      for base, path in pairs{ ["http://h/v1"] = "chat", ["http://h/v1/"] = "/chat",
        ["http://h/v1//"] = "chat" } do
        assert.equal("http://h/v1/chat", shown({ path = path }, echoing{ base_url = base }).url)
      end
      assert.equal("http://h/v1", shown{}.url)
      assert.equal("http://h/v1", shown{ path = "" }.url)
    end)

    it("of its own", function()
      assert.equal("https://other/x", shown{ url = "https://other/x" }.url)
      assert.equal("https://other/x", shown({ url = "https://other/x" }, echoing{}).url)
    end)

    it("with a query: sorted, encoded, lists as one name several times", function()
      assert.equal("http://h/v1/a?%C3%BC=1&b=2&b=3&c=x%20y%26&d=true",
        shown{ path = "a", query = { ["\195\188"] = 1, b = { 2, 3 }, c = "x y&", d = true } }.url)
      assert.equal("http://h/v1/a?x=1&b=2", shown{ path = "a?x=1", query = { b = 2 } }.url)
      assert.equal("http://h/v1/a", shown{ path = "a", query = {} }.url)
      assert.equal("http://h/v1?n=0.5", shown{ query = { n = 0.5 } }.url)
      assert.equal("http://h/v1?n=3", shown{ query = { n = 6 / 2 } }.url)
    end)
  end)

  describe("has a method", function()
    it("GET without a body, POST with one, and any that is asked for", function()
      assert.equal("GET", shown{}.method)
      assert.equal("POST", shown{ body = "" }.method)
      assert.equal("POST", shown{ json = {} }.method)
      assert.equal("PUT", shown{ method = "PUT", body = "x" }.method)
      assert.equal("DELETE", shown({}, echoing{ base_url = "http://h", method = "DELETE" }).method)
      assert.equal("POST", shown({ body = "x" },
        echoing{ base_url = "http://h", method = "GET" }).method)
      assert.equal("GET", shown{ method = "GET", body = "x" }.method)
      assert.equal("PUT", shown({ body = "x" },
        echoing{ base_url = "http://h", method = "PUT" }).method)
    end)
  end)

  describe("has a body", function()
    it("sent as it is where it is a string", function()
      local body = "\0\1\255 no { json"
      local got
      local plain = sheaf.batch{ base_url = "http://h", transport = function(request)
        got = request.body
        return {}
      end }
      plain:fetch{ body = body }
      assert.equal(body, got)
    end)

    it("encoded where it is given as json", function()
      assert.equal('{"a":[]}', shown{ json = { a = sheaf.json.array{} } }.body)
      assert.equal("false", shown{ json = false }.body)
    end)

    it("taken when it is submitted: what is changed later stays out", function()
      local value = { n = 1 }
      local ticket = batch:submit{ json = value }
      value.n = 2
      assert.equal('{"n":1}', ticket:wait():json().body)
    end)
  end)

  describe("has headers", function()
    it("of the batch and its own, which win in any case", function()
      local both = echoing{ base_url = "http://h", headers = { ["X-A"] = "1", ["x-b"] = "1" } }
      local got = shown({ headers = { ["x-a"] = "2", ["x-c"] = 3 } }, both).headers
      assert.same({ ["x-a"] = "2", ["x-b"] = "1", ["x-c"] = "3" }, got)
    end)

    it("taken away by false", function()
      local both = echoing{ base_url = "http://h", api_key = "k", headers = { ["X-A"] = "1" } }
      assert.same({ authorization = "Bearer k", ["x-a"] = "1" }, shown({}, both).headers)
      assert.same({}, shown({ headers = { ["x-a"] = false, AUTHORIZATION = false } }, both).headers)
    end)

    it("with JSON's content type for bodies", function()
      assert.equal("application/json", shown{ json = {} }.headers["content-type"])
      assert.equal("text/plain",
        shown{ body = "x", headers = { ["Content-Type"] = "text/plain" } }.headers["content-type"])
    end)

    it("which a transport finds in any case", function()
      local got
      local one = sheaf.batch{ base_url = "http://h", headers = { ["X-Team"] = "a" },
        transport = function(request)
          got = { request.headers["X-TEAM"], request.headers["x-team"], request.headers[1] }
          return {}
        end }
      one:fetch{}
      assert.same({ "a", "a" }, got)
    end)
  end)

  describe("that is wrong raises at the caller's line:", function()
    -- Calls submit, fetch, and both inside a task.
    local function refuses(given, text, from)
      from = from or batch
      for _, call in ipairs{ "submit", "fetch" } do
        local line
        local function use()
          line = debug.getinfo(1, "l").currentline + 1
          local result = from[call](from, given)
          return result
        end
        local ok, message = pcall(use)
        assert.is_false(ok, text)
        assert.equal(("spec/request_spec.lua:%d: batch:%s"):format(line, call),
          tostring(message):match("^.-:%d+: batch:%a+"), message)
        assert.truthy(message:find(text, 1, true), message)
        local task_ok, task_message = sheaf.run(function() return sheaf.spawn(use):wait() end)
        assert.is_false(task_ok)
        assert.equal(message, task_message:match("^[^\n]*"))
      end
    end

    it("no table", function()
      refuses("http://x", 'a request is a table, got "http://x"')
      refuses(nil, "a request is a table, got nil")
    end)

    it("unknown and mistyped fields", function()
      refuses({ pth = "x" }, "unknown option 'pth' (did you mean 'path'?)")
      refuses({ path = 5 }, "'path' must be a string, got 5")
      refuses({ body = {} }, "'body' must be a string, got a table")
      refuses({ headers = "x" }, "'headers' must be a table")
      refuses({ timeout = -1 }, "'timeout' must be")
      refuses({ timeout = { attempt = NAN } }, "'timeout.attempt' must be")
      refuses({ retry = { max = 1.5 } }, "'retry.max' must be an integer, 0 or more, got 1.5")
      refuses({ retry = { mx = 1 } }, "unknown option 'mx' (did you mean 'max'?)")
      refuses({ priority = "high" }, "'priority' must be an integer, got \"high\"")
      refuses({ max_body = -1 }, "'max_body' must be")
      refuses({ validate = true }, "'validate' must be a function, got true")
      refuses({ on_done = 1 }, "'on_done' must be a function, got 1")
      refuses({ transport = {} }, "'transport' must be a function, got a table")
      refuses({ expect = "text" }, "'expect' must be")
      refuses({ form = {} }, "'form' is reserved")
      refuses({ concurrency = 5 }, "unknown option 'concurrency'")
    end)

    it("headers that would end early", function()
      for _, value in ipairs{ "a\rb", "a\nb", "a\0b" } do
        refuses({ headers = { ["x-a"] = value } }, "'headers[\"x-a\"]' must not contain CR, LF or NUL")
      end
      refuses({ headers = { ["x a"] = "" } }, "no header name: \"x a\"")
    end)

    it("addresses that are no http or https", function()
      for _, url in ipairs{ "ftp://h/x", "file:///etc/passwd", "h/x", "", "http://",
        "http://h:99999/", "javascript:1", "http://a b/", "http://h/\r\nx", "http://h/\0" } do
        refuses({ url = url }, "is no http or https address")
      end
      refuses({ path = "x" }, "is no http or https address", echoing{ base_url = "gopher://h" })
      refuses({ url = "ftp://me:secret@h/x?key=secret" }, '"ftp://h/x" is no http')
      refuses({ path = "x" }, "the request has no 'url', and the batch no 'base_url'", echoing{})
      refuses({ url = "http://h", path = "x" }, "'url' and 'path' together: give one of them")
    end)

    it("bodies that can't be encoded", function()
      refuses({ json = { print } }, "'json' can't be encoded")
      refuses({ json = { NAN } }, "'json' can't be encoded")
      local cycle = {}
      cycle[1] = cycle
      refuses({ json = cycle }, "'json' can't be encoded")
      refuses({ json = {}, body = "" }, "'json' and 'body' together: give one of them")
    end)

    it("methods", function()
      for _, method in ipairs{ "get", "GET /", "", "A\r\nB", ("X"):rep(50) } do
        refuses({ method = method }, "'method' must be a method in capitals")
      end
    end)

    it("queries", function()
      refuses({ query = "a=1" }, "'query' must be a table")
      refuses({ query = { a = print } }, "'query[\"a\"]' must be a string, a number or a boolean")
      refuses({ query = { a = { {} } } }, "'query[\"a\"]' must be")
    end)

    it("and nothing was sent", function()
      assert.equal(0, batch:stats().total)
      assert.equal(0, batch:gather().n)
    end)
  end)
end)

describe("on the wire", function()
  local s

  setup(function() s = server.start() end)
  teardown(function() s:stop() end)

  it("a request is what was asked for", function()
    local batch = sheaf.batch{ base_url = s.url, api_key = "secret",
      headers = { ["x-one"] = "1", ["x-two"] = "2" } }
    local got = assert(batch:fetch{
      path = "/echo", method = "PUT", query = { a = "x y" }, body = "\0body",
      headers = { ["X-Two"] = false, ["x-three"] = "", ["x-four"] = "4", ["content-type"] = "a/b" },
    }:json())
    batch:close()
    assert.equal("PUT", got.method)
    assert.equal("/echo?a=x%20y", got.uri)
    assert.equal(5, got.body_length)
    assert.equal("Bearer secret", got.headers.authorization)
    assert.equal("1", got.headers["x-one"])
    assert.is_nil(got.headers["x-two"])
    assert.equal("", got.headers["x-three"])
    assert.equal("4", got.headers["x-four"])
    assert.equal("a/b", got.headers["content-type"])
    assert.is_nil(got.headers.expect)
  end)

  it("headers that were set later are sent", function()
    local batch = sheaf.batch{ base_url = s.url, headers = { ["x-a"] = "1", ["x-b"] = "1" } }
    batch:set{ headers = { ["x-a"] = "2" } }
    local got = assert(batch:fetch{ path = "/echo" }:json())
    assert.equal("2", got.headers["x-a"])
    assert.equal("1", got.headers["x-b"])
    batch:close()
  end)
end)
