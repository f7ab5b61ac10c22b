-- What goes out and what comes in: methods, bodies, headers, proxies, redirects, and the kind of each
-- failure from its real cause.

local child = require "spec.support.child"
local server = require "spec.support.server"
local sheaf = require "sheaf"

local GOOD = 20                 -- good requests that must not notice a bad one in their batch
local MEBIBYTE = 1024 * 1024
local MAX_BODY = 64 * MEBIBYTE  -- the default
local CLOSED_PORT = 1           -- nothing listens there

describe("on the wire", function()
  local s, batches

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
    options = options or {}
    options.base_url = options.base_url or s.url
    if options.retry == nil then options.retry = 0 end
    local batch = sheaf.batch(options)
    batches[#batches + 1] = batch
    return batch
  end

  -- What the server saw of a request.
  local function echo(request, options)
    request.path = request.path or "/echo"
    local response = open(options):fetch(request)
    assert(response.ok, tostring(response.error))
    return assert(response:json()), response
  end

  describe("a request", function()
    it("goes out with its method", function()
      for _, method in ipairs{ "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND" } do
        assert.equal(method, echo({ method = method }).method)
      end
      assert.equal("GET", echo({}).method)
      assert.equal("POST", echo({ body = "x" }).method)
      assert.equal("POST", echo({ json = { 1 } }).method)
      assert.equal("PUT", echo({ body = "x", method = "PUT" }).method)
      assert.equal("DELETE", echo({ body = "x", method = "DELETE" }).method)
      assert.equal("GET", echo({ body = "x", method = "GET" }).method)
    end)

    it("with HEAD gets headers and no body", function()
      local response = open():fetch{ path = "/echo", method = "HEAD" }
      assert.is_true(response.ok)
      assert.equal(200, response.status)
      assert.equal("", response.body)
      assert.equal("application/json", response.headers["Content-Type"])
      assert.equal(1, s:stats().hits)
    end)

    it("with HEAD and a body waits for none, either", function()
      local response = open({ timeout = 5 }):fetch{ path = "/echo", method = "HEAD", body = "x" }
      assert.is_true(response.ok)
      assert.equal("", response.body)
    end)

    it("switches between methods on one connection", function()
      local batch = open{ concurrency = 1 }
      local bodies = { GET = "", POST = "post", HEAD = "", PUT = "put", DELETE = "" }
      for _, method in ipairs{ "POST", "GET", "PUT", "HEAD", "DELETE", "HEAD", "GET", "POST" } do
        local body = bodies[method]
        local response = batch:fetch{ path = "/echo", method = method,
          body = body ~= "" and body or nil }
        assert.is_true(response.ok)
        if method ~= "HEAD" then
          assert.equal(method, response:json().method)
          assert.equal(body, response:json().body)
        end
      end
      local counts = batch:stats()
      assert.is_true(counts.connections_opened <= 1)
      assert.equal(8, counts.connections_opened + counts.connections_reused)
    end)

    it("with POST and no body says that it is empty", function()
      local seen = echo{ method = "POST" }
      assert.equal(0, seen.body_length)
      assert.equal("0", seen.headers["content-length"])
      seen = echo{ body = "" }
      assert.equal("POST", seen.method)
      assert.equal("0", seen.headers["content-length"])
    end)

    it("carries a string body as it is, whatever is in it", function()
      local all = {}
      for byte = 0, 127 do all[#all + 1] = string.char(byte) end
      local body = table.concat(all)
      local seen = echo{ body = body }
      assert.equal(body, seen.body)
      assert.equal("application/json", seen.headers["content-type"])
      assert.equal(4, echo{ body = "\0\255\r\n" }.body_length)
    end)

    it("carries a JSON value", function()
      local seen = echo{ json = { text = "grüße", list = { 1, 2 } } }
      assert.equal("application/json", seen.headers["content-type"])
      local value = sheaf.json.decode(seen.body)
      assert.equal("grüße", value.text)
      assert.equal(2, value.list[2])
    end)

    it("of 2 MiB is sent whole, without waiting for a 100 Continue", function()
      local body = ("0123456789abcdef"):rep(2 * MEBIBYTE / 16)
      local seen, response = echo{ body = body }
      assert.is_nil(seen.headers.expect)
      assert.equal(2 * MEBIBYTE, seen.body_length)
      assert.is_true(seen.body == body)
      assert.equal(1, response.attempts)
      assert.equal(1, s:stats().hits)
    end)

    it("has its query encoded, and appended to one that is there", function()
      local seen = echo{ path = "/echo?a=1", query = { q = "a b&c=d/é?#+", n = 5, list = { 1, "x" },
        flag = true, ["na me"] = "" } }
      assert.equal("1", seen.args.a)
      assert.equal("a b&c=d/é?#+", seen.args.q)
      assert.equal("5", seen.args.n)
      assert.same({ "1", "x" }, seen.args.list)
      assert.equal("true", seen.args.flag)
      assert.equal("", seen.args["na me"])
      assert.equal("/echo", echo{ query = {} }.uri)
    end)

    it("joins base_url and path with one slash", function()
      for _, pair in ipairs{ { "/v1", "echo" }, { "/v1/", "echo" }, { "/v1", "/echo" },
          { "/v1/", "/echo" } } do
        assert.equal("/v1/echo", echo({ path = pair[2] }, { base_url = s.url .. pair[1] }).uri)
      end
    end)

    it("has the batch's headers and its own over them, in any case", function()
      local options = { api_key = "k1", headers = { ["X-Team"] = "a", ["X-Keep"] = "b", ["x-n"] = 5 } }
      local seen = echo({}, options).headers
      assert.equal("a", seen["x-team"])
      assert.equal("5", seen["x-n"])
      assert.equal("Bearer k1", seen.authorization)
      seen = echo({ headers = { ["x-TEAM"] = "c", ["x-keep"] = false, AUTHORIZATION = false,
        ["x-empty"] = "", ["Content-TYPE"] = "text/plain", ["User-Agent"] = "mine" } }, options).headers
      assert.equal("c", seen["x-team"])
      assert.is_nil(seen["x-keep"])
      assert.is_nil(seen.authorization)
      assert.equal("", seen["x-empty"])
      assert.equal("text/plain", seen["content-type"])
      assert.equal("mine", seen["user-agent"])
      seen = echo({}, { api_key = "k1", headers = { authorization = "Basic x", Accept = false } }).headers
      assert.equal("Basic x", seen.authorization)
      assert.is_nil(seen.accept)
    end)

    it("names sheaf as its agent", function()
      assert.equal("sheaf/" .. sheaf.version, echo{}.headers["user-agent"])
    end)

    it("has the headers that set gave the batch meanwhile", function()
      local batch = open{ api_key = "old", headers = { ["x-a"] = "1" } }
      batch:set{ headers = { Authorization = "Bearer new" } }
      local seen = batch:fetch{ path = "/echo" }:json().headers
      assert.equal("Bearer new", seen.authorization)
      assert.equal("1", seen["x-a"])
    end)
  end)

  describe("an answer", function()
    it("that is compressed is unpacked", function()
      local seen, response = echo{ headers = { ["x-behave"] = "gzip=1" } }
      assert.equal("GET", seen.method)
      assert.equal("gzip", response.headers["content-encoding"])
      assert.truthy(seen.headers["accept-encoding"]:find("gzip"))
    end)

    it("may come chunked or in drips", function()
      local response = open():fetch{ path = "/bytes", query = { n = 100000, chunked = 1 } }
      assert.equal(("a"):rep(100000), response.body)
      response = open():fetch{ path = "/bytes", query = { n = 20 },
        headers = { ["x-behave"] = "drip=5:0.01" } }
      assert.equal(("a"):rep(20), response.body)
    end)

    it("of a Unix-domain socket or an IPv6 address is as good as any", function()
      local seen = echo({}, { base_url = "http://api.example.com", unix_socket = s.socket })
      assert.equal("api.example.com", seen.headers.host)
      local six = open{ base_url = s.v6 or "http://[::1]:" .. s.port }:fetch{ path = "/echo" }
      if s.v6 then
        assert.equal("[::1]:" .. s.port, six:json().headers.host)
      else
        assert.equal("connect", six.error.kind)
      end
    end)

    it("has its times and its request id", function()
      local _, response = echo{ headers = { ["x-behave"] = "latency=0.2" } }
      assert.truthy(response.request_id:find("^req_%d+$"))
      assert.is_true(response.timing.first_byte >= 0.1)
      assert.is_true(response.timing.total >= response.timing.first_byte)
      assert.is_true(response.elapsed >= response.timing.total)
    end)
  end)

  describe("HTTP/2", function()
    local function versions(options, count)
      local batch = open(options)
      for _ = 1, count do
        assert(batch:submit{ path = "/echo", headers = { ["x-behave"] = "latency=0.02" } })
      end
      local seen = {}
      for _, response in ipairs(batch:gather()) do
        local version = assert(response:json(), tostring(response.error)).http_version
        seen[version] = (seen[version] or 0) + 1
      end
      return seen
    end

    it("carries 100 requests at once over one connection or two", function()
      assert.same({ [2] = 1000 }, versions({ base_url = s.tls, tls = { ca = s.ca }, concurrency = 100 },
        1000))
      local counted = s:stats()
      assert.is_true(counted.accepted <= 2, "connections: " .. counted.accepted)
      assert.is_true(counted.max_open > 50, "at once: " .. counted.max_open)
    end)

    it("opens few connections also where one is not enough", function()
      assert.same({ [2] = 1000 }, versions({ base_url = s.tls, tls = { ca = s.ca }, concurrency = 300,
        pool = { idle = 59 } }, 1000))
      local counted = s:stats()
      assert.is_true(counted.accepted <= 6, "connections: " .. counted.accepted)
      assert.is_true(counted.max_open > 100, "at once: " .. counted.max_open)
    end)

    it("is not spoken with http2 = false, nor by a server that can't", function()
      assert.same({ [1.1] = 20 }, versions({ base_url = s.tls, tls = { ca = s.ca },
        pool = { http2 = false } }, 20))
      assert.same({ [1.1] = 20 }, versions({ base_url = s.tls1, tls = { ca = s.ca } }, 20))
    end)
  end)

  describe("a proxy", function()
    it("is used for http, and by CONNECT for https", function()
      local _, response = echo({ path = "/echo" }, { proxy = s.proxy })
      assert.equal("1", response.headers["x-via-proxy"])
      assert.equal(1, s:stats().proxied)
      local seen, over_tls = echo({}, { base_url = s.tls, tls = { ca = s.ca }, proxy = s.proxy })
      assert.is_true(seen.tls)
      assert.is_nil(over_tls.headers["x-via-proxy"], "CONNECT's own answer is nobody's business")
      assert.equal(2, s:stats().proxied)
    end)

    it("isn't shown the headers of what goes through it by CONNECT, nor the server its password",
      function()
        local with = s.proxy:gsub("//", "//user:secret@")
        local seen = echo({}, { base_url = s.tls, tls = { ca = s.ca }, proxy = with })
        assert.is_nil(seen.headers["proxy-authorization"])
        seen = echo({}, { proxy = with })
        assert.is_nil(seen.headers.authorization)
      end)

    it("is passed by for the hosts of no_proxy", function()
      echo({}, { proxy = s.proxy, no_proxy = "example.com,127.0.0.1" })
      assert.equal(0, s:stats().proxied)
      echo({}, { proxy = s.proxy, no_proxy = "example.com" })
      assert.equal(1, s:stats().proxied)
    end)

    local ASK = [[
      local sheaf = require "sheaf"
      local url, ca, proxy = ...
      local batch = sheaf.batch{ retry = 0, tls = { ca = ca }, proxy = proxy }
      local response = batch:fetch{ url = url .. "/echo" }
      print(response.status or response.error.kind)
    ]]

    local function ask(env, url, proxy)
      s:reset()
      local ended = child.run(ASK, { args = { url, s.ca, proxy }, env = env })
      assert.equal("", ended.stderr)
      assert.equal("200\n", ended.stdout)
      return s:stats().proxied
    end

    it("is taken from the environment, as curl does it", function()
      assert.equal(0, ask({}, s.url))
      assert.equal(1, ask({ http_proxy = s.proxy }, s.url))
      assert.equal(1, ask({ https_proxy = s.proxy }, s.tls))
      assert.equal(1, ask({ HTTPS_PROXY = s.proxy }, s.tls))
      assert.equal(1, ask({ all_proxy = s.proxy }, s.tls))
      assert.equal(0, ask({ http_proxy = s.proxy, NO_PROXY = "localhost,127.0.0.1" }, s.url))
      assert.equal(0, ask({ http_proxy = s.proxy, no_proxy = "*" }, s.url))
      assert.equal(0, ask({ https_proxy = s.proxy, no_proxy = "localhost" }, s.tls))
      assert.equal(0, ask({ http_proxy = s.proxy }, s.url, ""), "proxy = '' is none")
    end)

    it("that isn't there is a connect error, and one without a name a dns error", function()
      local response = open{ proxy = "http://user:secret@127.0.0.1:" .. CLOSED_PORT }:fetch{
        path = "/echo" }
      assert.equal("connect", response.error.kind)
      assert.is_nil(tostring(response.error):find("secret"))
      response = open{ proxy = "http://user:secret@name.invalid:80" }:fetch{ path = "/echo" }
      assert.equal("dns", response.error.kind)
      assert.is_nil(tostring(response.error):find("secret"))
    end)
  end)

  describe("a redirect", function()
    it("is not followed by default", function()
      local response = open():fetch{ path = "/echo", query = { item = "r" },
        headers = { ["x-behave"] = "redirect=1" } }
      assert.equal(308, response.status)
      assert.equal("http", response.error.kind)
      assert.equal(1, s:hits("r"))
    end)

    it("is followed when asked, as often as allowed", function()
      local function get(allowed, redirects)
        return open():fetch{ path = "/echo", query = { item = "r" }, redirects = allowed,
          headers = { ["x-behave"] = "redirect=" .. redirects } }
      end
      local response = get(3, 3)
      assert.equal(200, response.status)
      assert.equal(4, s:hits("r"))
      assert.equal(4, response.attempts)
      response = get(2, 3)
      assert.equal(308, response.status)
      assert.equal("http", response.error.kind)
    end)

    it("keeps method and body for 307 and 308, and becomes a GET for 301, 302 and 303", function()
      for code, method in pairs{ [301] = "GET", [302] = "GET", [303] = "GET", [307] = "POST",
          [308] = "POST" } do
        local seen = echo{ body = "text", redirects = 1, headers = { ["x-auth"] = "a",
          ["x-behave"] = "redirect=1;redirect_code=" .. code } }
        assert.equal(method, seen.method)
        assert.equal(method == "POST" and "text" or "", seen.body)
        assert.equal("a", seen.headers["x-auth"])
      end
    end)

    it("to another host, port or scheme is never followed", function()
      local elsewhere = { "http://localhost:" .. s.port .. "/echo?item=there",
        s.proxy .. "/echo?item=there", s.tls .. "/echo?item=there", "file:///etc/hostname",
        "gopher://127.0.0.1/", "//localhost:" .. s.port .. "/echo?item=there", "http://[" }
      for _, target in ipairs(elsewhere) do
        local response = open{ api_key = "secret", tls = { ca = s.ca } }:fetch{ path = "/echo",
          redirects = 5, headers = { ["x-behave"] = "redirect_to=" .. target } }
        assert.equal(308, response.status)
        assert.equal("http", response.error.kind)
      end
      assert.equal(0, s:hits("there"))
      assert.equal(#elsewhere, s:stats().hits)
    end)
  end)

  describe("the kind of a failure", function()
    local function kind(request, options)
      local response = open(options):fetch(request)
      assert.is_false(response.ok)
      return response.error.kind, response
    end

    it("is dns for a name that isn't there", function()
      assert.equal("dns", kind({ url = "http://name.invalid/" }))
    end)

    it("is connect for a closed port", function()
      assert.equal("connect", kind({ url = "http://127.0.0.1:" .. CLOSED_PORT .. "/" }))
      assert.equal("connect", kind({ url = "http://h/" }, { unix_socket = s.dir .. "/no-socket" }))
    end)

    it("is tls where the other side speaks none, or isn't trusted", function()
      local plain = s.url:gsub("^http:", "https:")
      assert.equal("tls", kind({ url = plain .. "/echo" }))
      local _, response = kind({ url = s.tls .. "/echo" }, { tls = { ca = s.other_ca }, retry = 3 })
      assert.equal("tls", response.error.kind)
      assert.equal(1, response.attempts)
    end)

    it("is timeout for no answer, half an answer and a stalled one", function()
      local function slow(behave, timeout)
        local found, response = kind({ path = "/echo", headers = { ["x-behave"] = behave } },
          { timeout = timeout })
        assert.is_true(response.elapsed < 5)
        return found
      end
      assert.equal("timeout", slow("silent=30", 0.1))
      assert.equal("timeout", slow("drip=1:0.05", 0.2))
      assert.equal("timeout", slow("pause=30", { idle = 0.1 }))
    end)

    it("is reset for a connection that breaks before or within the answer", function()
      for _, how in ipairs{ "reset", "gone", "cut", "cutreset" } do
        local found, response = kind({ path = "/echo", headers = { ["x-behave"] = "fail=" .. how } })
        assert.equal("reset", found)
        assert.equal(1, response.attempts)
      end
      assert.equal("reset", kind({ path = "/echo", headers = { ["x-behave"] = "length=+10" } }))
    end)

    it("is reset for streams and connections of HTTP/2, too", function()
      for _, how in ipairs{ "reset", "cut" } do
        assert.equal("reset", kind({ path = "/echo", headers = { ["x-behave"] = "fail=" .. how } },
          { base_url = s.tls, tls = { ca = s.ca } }))
      end
    end)

    it("is protocol for an answer that can't be unpacked", function()
      assert.equal("protocol", kind({ path = "/echo", headers = { ["x-behave"] = "gzip=broken" } }))
    end)

    it("is protocol for what is no HTTP", function()
      local path = os.tmpname()
      local file = assert(io.open(path, "wb"))
      file:write(("SSH-2.0-OpenSSH_9.2 garbage\r\n"):rep(10))
      file:close()
      -- openssl sends its standard input to whoever connects; it says ACCEPT once it listens.
      local port, pipe, line = 31700 + s.port % 997, nil, nil
      repeat
        port = port + 1
        pipe = assert(io.popen(("timeout 20 openssl s_server -accept 127.0.0.1:%d -naccept 1 "
          .. "-cert %s/server.crt -key %s/server.key <%s 2>/dev/null"):format(port, s.dir, s.dir, path)))
        repeat line = pipe:read("*l") until not line or line:find("ACCEPT")
      until line
      local found = kind({ url = ("https://localhost:%d/"):format(port) }, { tls = { ca = s.ca } })
      pipe:close()
      os.remove(path)
      assert.equal("protocol", found)
    end)

    it("is what the status and the body say", function()
      local function status(behave)
        local found, response = kind({ path = "/echo", headers = { ["x-behave"] = behave } })
        return found, response.error.status
      end
      assert.same({ "http", 404 }, { status("fail=404") })
      assert.same({ "http", 500 }, { status("fail=500") })
      assert.same({ "http", 401 }, { status("fail=401") })
      assert.same({ "rate_limit", 429 }, { status("fail=429") })
      assert.same({ "quota", 429 }, { status("fail=quota") })
    end)

    it("is invalid for what is no JSON where JSON was asked for", function()
      for _, how in ipairs{ "html", "halfjson", "badjson", "empty" } do
        local found, response = kind({ path = "/echo", expect = "json",
          headers = { ["x-behave"] = "fail=" .. how } })
        assert.equal("invalid", found)
        assert.equal(200, response.status)
      end
      local found = kind({ path = "/echo", json = {}, headers = { ["x-behave"] = "length=-10" } })
      assert.equal("invalid", found)
      assert.is_true(open():fetch{ path = "/echo", headers = { ["x-behave"] = "fail=html" } }.ok)
    end)

    it("is too_large over max_body, also when it was compressed, and nothing is retried", function()
      local found, response = kind({ path = "/bytes", query = { n = MAX_BODY + 1, item = "l" } },
        { retry = 3 })
      assert.equal("too_large", found)
      assert.equal(1, response.attempts)
      assert.equal(1, s:hits("l"))
      assert.equal("too_large", kind({ path = "/bytes", query = { n = 101 }, max_body = 100 }))
      assert.equal("too_large", kind({ path = "/bytes", query = { n = 101, chunked = 1 } },
        { max_body = 100 }))
      assert.equal("too_large", kind({ path = "/bytes", query = { n = MEBIBYTE }, max_body = 100000,
        headers = { ["x-behave"] = "gzip=1" } }))
      local whole = open():fetch{ path = "/bytes", query = { n = 100 }, max_body = 100 }
      assert.equal(100, #whole.body)
    end)

    it("is too_large for endless headers, with a bounded part of them read", function()
      local found, response = kind({ path = "/echo", headers = { ["x-behave"] = "endless_headers=1" } },
        { retry = 3 })
      assert.equal("too_large", found)
      assert.equal(1, response.attempts)
    end)

    it("is too_large for 10,000 headers, and none for 900", function()
      assert.equal("too_large", kind{ path = "/echo", headers = { ["x-behave"] = "headers=10000" } })
      local response = open():fetch{ path = "/echo", headers = { ["x-behave"] = "headers=900" } }
      assert.is_true(response.ok)
      assert.truthy(response.headers["x-extra-1"]:find(","))
    end)

    it("is cancelled, deadline or closed where the script ended it", function()
      local batch = open()
      local slow = { path = "/echo", headers = { ["x-behave"] = "silent=30" } }
      local ticket = batch:submit(slow)
      assert.is_true(ticket:cancel())
      assert.is_false(ticket:cancel())
      assert.equal("cancelled", ticket:wait().error.kind)
      local closed = batch:submit(slow)
      batch:close()
      assert.equal("closed", closed:wait().error.kind)
      local found, response = kind(slow, { timeout = { total = 0.1 } })
      assert.equal("deadline", found)
      assert.is_true(response.elapsed >= 0.1 and response.elapsed < 5)
    end)
  end)

  describe("one bad answer leaves the others of its batch alone:", function()
    local cases = {
      html = "invalid", halfjson = "invalid", badjson = "invalid", empty = "invalid", reset = "reset",
      cutreset = "reset", gone = "reset",
    }
    local behaviours = { ["length=+5"] = "reset", ["length=-5"] = "invalid",
      ["endless_headers=1"] = "too_large", ["gzip=broken"] = "protocol", ["big=3000000"] = "too_large",
      ["silent=30"] = "timeout" }
    for how, wanted in pairs(cases) do behaviours["fail=" .. how] = wanted end
    local names = {}
    for name in pairs(behaviours) do names[#names + 1] = name end
    table.sort(names)

    for _, behave in ipairs(names) do
      it(behave, function()
        local batch = open{ concurrency = 4, max_body = 2 * MEBIBYTE }
        for i = 1, GOOD do
          local bad = i % 10 == 5
          assert(batch:submit{ path = "/echo", json = { i }, id = i, timeout = bad and 0.3 or nil,
            headers = { ["x-behave"] = bad and behave or "latency=0.005" } })
        end
        local attempts = 0
        for i, response in ipairs(batch:gather()) do
          attempts = attempts + response.attempts
          if i % 10 == 5 then
            assert.equal(behaviours[behave], response.error and response.error.kind)
          else
            assert.is_nil(response.error)
            assert.equal(i, tonumber(response:json().body:match("%d+")))
          end
        end
        -- A kept connection that was closed before an answer is tried once more whatever the policy.
        assert.is_true(attempts <= GOOD + GOOD / 10)
        assert.equal(attempts, s:stats().hits)
      end)
    end
  end)

  describe("messages and logs", function()
    local SECRETS = [[
      local sheaf = require "sheaf"
      local url, tls, proxy, closed, ca = ...
      local function show(batch, request)
        request.id = "job"
        local response = batch:fetch(request)
        print(response.ok, tostring(response.error))
      end
      local credentials = { ["x-api-key"] = "hush1", ["api-key"] = "hush2", Cookie = "hush3=hush4",
        ["x-goog-api-key"] = "hush5" }
      local batch = sheaf.batch{ base_url = url, api_key = "hush0", headers = credentials, retry = 1,
        tls = { ca = ca }, redirects = 1, timeout = 1 }
      local behaves = { "fail=500", "fail=reset", "fail=429", "gzip=broken", "length=+5", "fail=401",
        "redirect_to=http://localhost/hop?key=hush6", "redirect=1", "latency=0", "endless_headers=1" }
      for _, behave in ipairs(behaves) do
        show(batch, { path = "/echo", query = { key = "hush7" }, headers = { ["x-behave"] = behave },
          retry = { max = 1, throttled = 1, base = 0.001 } })
      end
      show(batch, { url = "http://user:hush8@127.0.0.1:" .. closed .. "/a?key=hush9", retry = 0 })
      show(batch, { url = "http://user:hush8@name.invalid/a?key=hush9", retry = 0 })
      show(batch, { url = (tls:gsub("localhost", "127.0.0.1")) .. "/a?key=hush9#hush9", retry = 0 })
      show(batch, { url = tls:gsub("https", "http") .. "/a?key=hush9", retry = 0 })
      show(sheaf.batch{ proxy = "http://user:hush8@127.0.0.1:" .. closed, retry = 0 },
        { url = url .. "/echo?key=hush9" })
      show(sheaf.batch{ proxy = (proxy:gsub("//", "//user:hush8@")), retry = 0 },
        { url = url .. "/echo?key=hush9" })
      for _, wrong in ipairs{ "ftp://user:hush8@h/?key=hush9", "http://user:hush8@h:99999/?key=hush9",
          "http://h h/?key=hush9", "://user:hush8@h?key=hush9", "http:///?key=hush9" } do
        print(pcall(batch.submit, batch, { url = wrong }))
      end
    ]]

    it("never show a query string or a credential", function()
      local ended = child.run(SECRETS, { env = { SHEAF_LOG = "debug" },
        args = { s.url, s.tls, s.proxy, CLOSED_PORT, s.ca } })
      assert.equal(0, ended.status)
      assert.truthy(ended.stdout:find("http 500 internal_error: The server had an error", 1, true))
      assert.truthy(ended.stderr:find("sheaf: job", 1, true))
      local shown = ended.stdout .. ended.stderr
      assert.is_nil(shown:match("[^\n]*hush[^\n]*"))
      assert.is_nil(shown:match("[^\n]*key=[^\n]*"))
    end)

    it("of SHEAF_LOG tell each attempt in one line", function()
      local script = [[
        local sheaf = require "sheaf"
        local batch = sheaf.batch{ base_url = ..., retry = { base = 0.001 } }
        batch:fetch{ path = "/echo", id = "row-7", headers = { ["x-behave"] = "fail=503*1" } }
      ]]
      local info = child.run(script, { args = { s.url }, env = { SHEAF_LOG = "info" } })
      local lines = {}
      for line in info.stderr:gmatch("[^\n]+") do lines[#lines + 1] = line end
      assert.equal(2, #lines)
      assert.truthy(lines[1]:find("^sheaf: row%-7 attempt 1: http 503 %d+ ms, overloaded, "
        .. "again in 0%.%d+ s$"), lines[1])
      assert.truthy(lines[2]:find("^sheaf: row%-7 attempt 2: 200 %d+ ms, ok$"), lines[2])
      s:reset()
      local debug = child.run(script, { args = { s.url }, env = { SHEAF_LOG = "debug" } })
      assert.truthy(debug.stderr:find("row%-7 attempt 2: 200 .*\nsheaf: row%-7   GET 127%.0%.0%.1:%d+/echo"))
      s:reset()
      assert.equal("", child.run(script, { args = { s.url } }).stderr)
      assert.equal("", child.run(script, { args = { s.url }, env = { SHEAF_LOG = "" } }).stderr)
    end)
  end)
end)
