local cjson = require "cjson"
local server = require "spec.support.server"

local s

local function word(text)
  return "'" .. tostring(text):gsub("'", "'\\''") .. "'"
end

-- Runs curl; returns its exit code, the status, the headers (lower-case names), the body, the
-- seconds it took, the HTTP version, and all that came before the last header block.
local function curl(url, options)
  options = options or {}
  local head = os.tmpname()
  local words = { "curl --silent --max-time 10 --output - --dump-header", word(head),
    options.proxy and "--noproxy '' --proxy " .. options.proxy or "--noproxy '*'",
    "--cacert " .. word(options.ca or s.ca), options.args or "",
    "--write-out '\\n%{http_code} %{time_total} %{http_version} %{num_redirects}\\n'" }
  if options.body then
    words[#words + 1] = "--data-binary " .. word(options.body)
  end
  for name, value in pairs(options.headers or {}) do
    words[#words + 1] = "--header " .. word(name .. ": " .. value)
  end
  if options.behave then
    words[#words + 1] = "--header " .. word("x-behave: " .. options.behave)
  end
  if options.item then
    words[#words + 1] = "--header " .. word("x-item: " .. options.item)
  end
  words[#words + 1] = word(url)
  local pipe = io.popen(table.concat(words, " ") .. " 2>/dev/null; echo $?", "r")
  local out = pipe:read("*a")
  pipe:close()
  local file = io.open(head, "rb")
  local head_text = file:read("*a")
  file:close()
  os.remove(head)
  local headers = {}
  for name, value in head_text:gmatch("([%w-]+): ([^\r\n]*)") do
    headers[name:lower()] = value
  end
  local body, status, seconds, version, redirects, code =
    out:match("^(.*)\n(%d+) ([%d.]+) (%d%.?%d?) (%d+)\n(%d+)\n$")
  return { code = tonumber(code), status = tonumber(status), headers = headers, body = body,
    seconds = tonumber(seconds), version = version, redirects = tonumber(redirects),
    head = head_text }
end

local function json(text)
  return cjson.decode(text)
end

local function chat(text, options)
  options = options or {}
  local messages = { { role = "user", content = text } }
  if options.system then
    table.insert(messages, 1, { role = "system", content = options.system })
  end
  local body = { model = options.model or "m", messages = messages }
  for name, value in pairs(options.fields or {}) do
    body[name] = value
  end
  options.body = cjson.encode(body)
  return curl(s.url .. "/v1/chat/completions", options)
end

local function content(text, options)
  return json(chat(text, options).body).choices[1].message.content
end

local function echo(options, base)
  return curl((base or s.url) .. "/echo", options)
end

describe("the stand-in", function()
  setup(function()
    s = server.start()
  end)

  teardown(function()
    s:stop()
  end)

  describe("answers", function()
    it("chat completions, with usage, a request id and the model", function()
      local got = chat("echo: one two", { model = "gpt-x" })
      local answer = json(got.body)
      assert.equal(200, got.status)
      assert.equal("gpt-x", answer.model)
      assert.equal("chat.completion", answer.object)
      assert.equal("stop", answer.choices[1].finish_reason)
      assert.equal("one two", answer.choices[1].message.content)
      assert.same({ prompt_tokens = 4, completion_tokens = 2, total_tokens = 6 }, answer.usage)
      assert.truthy(got.body:find('"total_tokens":6[,}]'))
      assert.truthy(got.headers["x-request-id"]:find("^req_%d+$"))
    end)

    it("the same to the same prompt", function()
      assert.equal(content("What is a sheaf?"), content("What is a sheaf?"))
    end)

    it("a whole message for echo: and for the field echo", function()
      local text = 'a "b"\n1. c\n2. d \\ label'
      assert.equal(text, content("echo:" .. text))
      assert.equal(text, content(text, { fields = { echo = true } }))
    end)

    it("a label", function()
      assert.equal("game", content("Label this text: a puzzle with bricks"))
      assert.equal("network", content("libfoo - HTTP things",
        { system = "Classify the user's text." }))
      assert.equal("sound", content(
        "Label it with one of: library, game, network, sound, other\n\nsome music files"))
      assert.equal("other", content("Classify: hm"))
    end)

    it("a translation, a critique and a text", function()
      assert.equal("[de] hallo Welt", content("Translate to German: hello world"))
      assert.equal("[fr] hello", content("Translate into French: hello"))
      assert.truthy(content("Critique this: a b c"):find("3 words", 1, true))
      assert.truthy(content("Write about: rain"):find("draft: rain", 1, true))
    end)

    it("numbered lines by numbered lines, and may leave some out", function()
      local prompt = "Label each line:\n1. a chess game\n2. an audio player\n3. a mail server"
      assert.equal("1. game\n2. sound\n3. network", content(prompt))
      assert.equal("1. game\n3. network", content(prompt, { behave = "skip_lines=2" }))
      assert.equal("7. game", content("Label each line:\n7. a chess game"))
    end)

    it("JSON where a JSON object is asked for", function()
      local fields = { response_format = { type = "json_object" } }
      assert.same({ label = "game" }, json(content("Label this: chess", { fields = fields })))
      assert.same({ answers = { "game", "other" } },
        json(content("Label:\n1. chess\n2. hm", { fields = fields })))
    end)

    it("in the shapes of the other endpoints", function()
      local got = json(curl(s.url .. "/v1/responses", { body = '{"input":"echo:hi"}' }).body)
      assert.equal("hi", got.output[1].content[1].text)
      assert.same({ input_tokens = 2, output_tokens = 1, total_tokens = 3 }, got.usage)
      got = json(curl(s.url .. "/v1/messages", { body = cjson.encode { messages = {
        { role = "user", content = { { type = "text", text = "echo:hi" } } } } } }).body)
      assert.equal("hi", got.content[1].text)
      assert.equal("end_turn", got.stop_reason)
      assert.same({ input_tokens = 2, output_tokens = 1 }, got.usage)
      got = json(curl(s.url .. "/v1beta/models/gemini-x:generateContent",
        { body = '{"contents":[{"parts":[{"text":"echo:hi"}]}]}' }).body)
      assert.equal("hi", got.candidates[1].content.parts[1].text)
      assert.equal("gemini-x", got.modelVersion)
      assert.equal(3, got.usageMetadata.totalTokenCount)
    end)

    it("one vector for each embedding's input, and a list of models", function()
      local got = json(curl(s.url .. "/v1/embeddings", { body = '{"input":["a","b","a"]}' }).body)
      assert.equal(3, #got.data)
      assert.same(got.data[1].embedding, got.data[3].embedding)
      assert.are_not.same(got.data[1].embedding, got.data[2].embedding)
      assert.equal("list", json(curl(s.url .. "/v1/models").body).object)
    end)

    it("bad requests with the provider's errors", function()
      local got = curl(s.url .. "/v1/chat/completions", { body = "{" })
      assert.equal(400, got.status)
      assert.equal("invalid_request_error", json(got.body).error.type)
      assert.equal(400, curl(s.url .. "/v1/chat/completions", { args = "--request POST" }).status)
      assert.equal(400, curl(s.url .. "/v1/chat/completions", { body = "{}" }).status)
      assert.equal(405, curl(s.url .. "/v1/chat/completions").status)
      assert.equal(404, curl(s.url .. "/nowhere").status)
      got = chat("x", { model = "gpt-5-nan" })
      assert.equal(404, got.status)
      assert.equal("model_not_found", json(got.body).error.code)
      assert.equal("The model 'gpt-5-nan' does not exist", json(got.body).error.message)
      got = chat("x", { headers = { authorization = "Bearer bad-key" } })
      assert.equal(401, got.status)
      assert.equal("invalid_api_key", json(got.body).error.code)
    end)

    it("with what arrived at /echo", function()
      local got = json(curl(s.url .. "/v1/echo?a=1&b=x%20y",
        { args = "-X PUT -H 'X-Two: 1' -H 'X-Two: 2'", body = "abc" }).body)
      assert.equal("PUT", got.method)
      assert.equal("/v1/echo?a=1&b=x%20y", got.uri)
      assert.same({ a = "1", b = "x y" }, got.args)
      assert.same({ "1", "2" }, got.headers["x-two"])
      assert.equal("abc", got.body)
      assert.equal(3, got.body_length)
      assert.equal(1.1, got.http_version)
      assert.is_false(got.tls)
      assert.equal(1, got.connection_requests)
    end)

    it("as many bytes as it is asked for", function()
      local got = curl(s.url .. "/bytes?n=200001")
      assert.equal("200001", got.headers["content-length"])
      assert.equal(("a"):rep(200001), got.body)
      got = curl(s.url .. "/bytes?n=70000&chunked=1")
      assert.equal("chunked", got.headers["transfer-encoding"])
      assert.equal(70000, #got.body)
      assert.equal("", curl(s.url .. "/bytes?n=0").body)
      assert.equal(400, curl(s.url .. "/bytes?n=-1").status)
    end)

    it("a large body that nginx has put into a file", function()
      local path = os.tmpname()
      local file = io.open(path, "wb")
      file:write(("b"):rep(3000000))
      file:close()
      local got = json(echo({ args = "--data-binary @" .. path }).body)
      os.remove(path)
      assert.equal(3000000, got.body_length)
    end)

    it("/bench, uncounted", function()
      s:reset()
      local got = curl(s.url .. "/bench", { body = "{}" })
      assert.equal(188, json(got.body).usage.total_tokens)
      assert.equal(0, s:stats().hits)
    end)
  end)

  describe("speaks", function()
    it("HTTP/2 and HTTP/1.1 over TLS", function()
      assert.equal("2", echo({ args = "--http2" }, s.tls).version)
      assert.equal("1.1", echo({ args = "--http1.1" }, s.tls).version)
      assert.equal("1.1", echo({ args = "--http2" }, s.tls1).version)
      assert.is_true(json(echo(nil, s.tls).body).tls)
    end)

    it("TLS that another CA does not vouch for", function()
      assert.equal(60, echo({ ca = s.other_ca }, s.tls).code)
    end)

    it("TLS with client certificates", function()
      assert.equal("NONE", json(echo(nil, s.tls1).body).client_verify)
      local args = ("--cert %s --key %s"):format(word(s.client_cert), word(s.client_key))
      assert.equal("SUCCESS", json(echo({ args = args }, s.tls1).body).client_verify)
    end)

    it("TLS with sessions that are taken up again", function()
      local got = echo({ behave = "close=1", args = word(s.tls1 .. "/echo") }, s.tls1)
      assert.truthy(got.body:find('"tls_session_reused":true', 1, true))
    end)

    it("over a Unix-domain socket and IPv6", function()
      assert.equal(200, echo({ args = "--unix-socket " .. word(s.socket) }).status)
      if s.v6 then
        assert.equal(200, echo(nil, s.v6).status)
      end
    end)

    it("as a forward proxy, for names that exist nowhere too", function()
      s:reset()
      local got = echo({ proxy = s.proxy, item = "p" }, "http://nowhere.invalid")
      assert.equal("1", got.headers["x-via-proxy"])
      assert.equal("nowhere.invalid", json(got.body).headers.host)
      assert.equal(200, echo({ proxy = s.proxy }).status)
      assert.equal(2, s:stats().proxied)
      assert.equal(1, s:hits("p"))
    end)

    it("as a proxy with tunnels for TLS", function()
      s:reset()
      local got = echo({ proxy = s.proxy, args = "--insecure " .. word(s.tls .. "/echo") },
        "https://nowhere.invalid")
      assert.equal(0, got.code)
      assert.equal("2", got.version)
      assert.truthy(got.body:find('"host":"nowhere.invalid"', 1, true))
      assert.equal(2, s:stats().proxied)
      assert.equal(2, s:stats().hits)
    end)
  end)

  describe("counts", function()
    before_each(function()
      s:reset()
    end)

    it("hits, items, statuses and connections", function()
      echo({ item = "a b/ü" })
      echo({ item = "a b/ü", args = word(s.url .. "/echo") })
      curl(s.url .. "/echo?item=q", { behave = "fail=503" })
      local stats = s:stats()
      assert.equal(4, stats.hits)
      assert.same({ ["a b/ü"] = 3, q = 1 }, stats.items)
      assert.same({ ["200"] = 3, ["503"] = 1 }, stats.statuses)
      assert.equal(3, stats.accepted)
      assert.equal(0, stats.open)
      assert.equal(0, stats.connections)
      assert.equal(1, stats.max_open)
      assert.equal(3, s:hits("a b/ü"))
      assert.equal(0, s:hits("none"))
      s:reset()
      assert.equal(0, s:stats().hits)
      assert.same({}, s:stats().items)
    end)

    it("how many were open at once", function()
      curl(s.url .. "/echo?n=[1-12]", { behave = "latency=0.1",
        args = "--parallel --parallel-immediate --parallel-max 12" })
      local stats = s:stats()
      assert.equal(12, stats.max_open)
      assert.equal(12, stats.max_connections)
      assert.equal(0, stats.open)
    end)

    it("HTTP/2 streams as requests of one connection", function()
      curl(s.tls .. "/echo?n=[1-12]", { behave = "latency=0.1",
        args = "--http2 --parallel --parallel-max 12" })
      local stats = s:stats()
      assert.equal(12, stats.hits)
      assert.equal(1, stats.accepted)
    end)

    it("a request as ended when its client goes", function()
      assert.equal(28, echo({ behave = "silent=30", args = "--max-time 0.1" }).code)
      assert.equal(0, s:stats().open)
    end)
  end)

  describe("can fail", function()
    before_each(function()
      s:reset()
    end)

    local function codes(behave, n, item)
      local list = {}
      for i = 1, n do
        local got = echo({ behave = behave, item = item })
        list[i] = got.code == 0 and got.status or -got.code
      end
      return list
    end

    it("for the first tries of an item", function()
      assert.same({ 429, 429, 200 }, codes("fail=429*2", 3, "a"))
      assert.same({ 429, 503, 503, 200 }, codes("fail=429*1,503*2", 4, "b"))
      assert.same({ 500, 200 }, codes("fail=500*1", 2))
      assert.same({ 529, 529 }, codes("fail=529", 2, "c"))
      assert.same({ 429, 500, 503, 529, 200 }, codes("fail=any*4", 5, "d"))
      assert.same({ -56, -52, 200 }, codes("fail=reset*1,gone*1", 3, "e"))
      assert.same({ -18, -56, 200 }, codes("fail=cut*1,cutreset*1", 3, "f"))
      assert.equal(3, s:hits("f"))
    end)

    it("on HTTP/2 streams and over TLS", function()
      local function code(what, base)
        return echo({ behave = "fail=" .. what }, base).code
      end
      assert.equal(92, code("reset", s.tls))
      assert.equal(92, code("cut", s.tls))
      assert.equal(56, code("reset", s.tls1))
      assert.equal(56, code("cutreset", s.tls1))
      assert.equal(18, code("cut", s.tls1))
    end)

    it("with a quota that is used up", function()
      local got = echo({ behave = "fail=quota" })
      assert.equal(429, got.status)
      assert.equal("insufficient_quota", json(got.body).error.code)
    end)

    it("with bodies that are no JSON", function()
      for _, what in ipairs { "badjson", "halfjson", "html", "empty" } do
        local got = echo({ behave = "fail=" .. what })
        assert.equal(200, got.status)
        assert.equal(0, got.code)
        assert.is_false((pcall(json, got.body)))
      end
      assert.equal("text/html", echo({ behave = "fail=html" }).headers["content-type"])
      assert.equal("0", echo({ behave = "fail=empty" }).headers["content-length"])
    end)

    it("saying when to come back, in each form", function()
      local function header(form, name)
        return echo({ behave = "fail=429;skew=3600;retry=" .. form }).headers[name or "retry-after"]
      end
      assert.equal("2", header("after:2"))
      assert.equal("0.5", header("after:0.5"))
      assert.equal("250", header("ms:250", "retry-after-ms"))
      assert.truthy(header("date:2"):find("^%a%a%a, %d%d %a%a%a %d%d%d%d %d%d:%d%d:%d%d GMT$"))
      assert.truthy(header("date850:2"):find("^%a+day, %d%d%-%a%a%a%-%d%d %d%d:%d%d:%d%d GMT$"))
      assert.truthy(header("asctime:2"):find("^%a%a%a %a%a%a [%d ]%d %d%d:%d%d:%d%d %d%d%d%d$"))
      assert.equal("next week", header("raw:next week"))
      assert.is_nil(header("none"))
      assert.equal("9", header("both:100:9"))
    end)

    it("by a clock that is off", function()
      local got = echo({ behave = "fail=429;retry=date:3600;skew=-3600" })
      local function minutes(name)
        local hour, minute = got.headers[name]:match("(%d%d):(%d%d):")
        return hour * 60 + minute
      end
      assert.near(60, (minutes("retry-after") - minutes("date")) % 1440, 1)
      assert.near(0, (minutes("retry-after") - os.date("!%H") * 60 - os.date("!%M")) % 1440, 1)
    end)

    it("saying whether to retry", function()
      assert.equal("false",
        echo({ behave = "fail=500;should_retry=false" }).headers["x-should-retry"])
    end)

    it("now and then, and in each run alike", function()
      local function run()
        curl(s.url .. "/echo?item=[1-400]", { behave = "faults=0.25" })
      end
      run()
      local first = s:stats().statuses
      s:reset()
      run()
      assert.same(first, s:stats().statuses)
      assert.near(300, first["200"], 40)
      assert.truthy(first["429"] and first["500"] and first["503"] and first["529"] and
        first["444"])
    end)

    it("at what it does not know", function()
      for _, behave in ipairs { "nonsense=1", "latency=soon", "fail=7", "drip=1", "retry=x:1",
        "latency=exp:nan", "gibberish", "idle_close=3", "big=-1" } do
        local got = echo({ behave = behave })
        assert.equal(400, got.status, behave)
        assert.equal("unknown_behaviour", json(got.body).error.code)
      end
    end)
  end)

  describe("can be", function()
    before_each(function()
      s:reset()
    end)

    it("late", function()
      -- nginx's timers count in whole milliseconds, from the last event on.
      local early = 0.002
      for behave, range in pairs { ["latency=0.05"] = { 0.05, 1 }, ["silent=0.05"] = { 0.05, 1 },
        ["latency=uniform:0.03:0.06"] = { 0.03, 1 }, ["latency=exp:0.01"] = { 0, 1 },
        ["latency=lognormal:0.01:0.1"] = { 0.001, 1 } } do
        local seconds = echo({ behave = behave }).seconds
        assert.truthy(seconds >= range[1] - early and seconds < range[2], behave .. " " .. seconds)
      end
    end)

    it("slow with the body", function()
      local plain = echo()
      local dripped = echo({ behave = "drip=100:0.02" })
      assert.truthy(dripped.seconds >= 0.036)
      assert.equal(json(plain.body).uri, json(dripped.body).uri)
      local paused = curl(s.url .. "/bytes?n=100", { behave = "pause=0.1" })
      assert.truthy(paused.seconds >= 0.098)
      assert.equal(100, #paused.body)
    end)

    it("unwilling to keep a connection", function()
      local got = echo({ behave = "close=1", args = word(s.url .. "/echo") })
      assert.truthy(got.head:find("Connection: close", 1, true))
      assert.equal(2, s:stats().accepted)
    end)

    it("hasty to close an idle connection", function()
      -- The second URL comes 0.5 s after the first: curl starts at most 120 transfers a minute.
      local got = curl(s.url .. "/echo", { behave = "idle_close=0.1",
        args = "--rate 120/m " .. word(s.url .. "/echo") })
      assert.equal(0, got.code)
      assert.equal(2, s:stats().accepted)
      assert.equal(2, s:stats().hits)
    end)

    it("deaf on a connection that is used again", function()
      local got = echo({ behave = "reused=gone", args = word(s.url .. "/echo") })
      assert.equal(0, got.code)
      assert.equal(3, s:stats().hits)
      assert.equal(2, s:stats().accepted)
    end)

    it("wrong about the length", function()
      assert.equal(18, echo({ behave = "length=+10" }).code)
      local got = echo({ behave = "length=-10" })
      assert.equal(0, got.code)
      assert.is_false((pcall(json, got.body)))
    end)

    it("compressed, for those who want it", function()
      local got = echo({ behave = "gzip=1", args = "--compressed" })
      assert.equal("gzip", got.headers["content-encoding"])
      assert.equal("GET", json(got.body).method)
      assert.is_nil(echo({ behave = "gzip=1" }).headers["content-encoding"])
      assert.equal(61, echo({ behave = "gzip=broken", args = "--compressed" }).code)
    end)

    it("elsewhere", function()
      local got = echo({ behave = "redirect=3", args = "--location", body = "x" })
      assert.equal(200, got.status)
      assert.equal(3, got.redirects)
      assert.equal("POST", json(got.body).method)
      assert.equal(302, echo({ behave = "redirect=1;redirect_code=302" }).status)
      got = echo({ behave = "redirect_to=http://b.invalid/x?y=1" })
      assert.equal(308, got.status)
      assert.equal("http://b.invalid/x?y=1", got.headers.location)
    end)

    it("full of headers", function()
      local _, n = echo({ behave = "headers=1000" }).head:gsub("x%-extra%-", "")
      assert.equal(1000, n)
      assert.equal(56, echo({ behave = "endless_headers=1" }).code)
    end)

    it("padded, and still JSON", function()
      local got = echo({ behave = "big=100000" })
      assert.truthy(#got.body > 100000)
      assert.equal("GET", json(got.body).method)
    end)

    it("told so in the query", function()
      assert.equal(503, curl(s.url .. "/echo?behave=fail%3D503").status)
    end)
  end)
end)

describe("several stand-ins", function()
  it("have their own ports, workers and default behaviour", function()
    local one = server.start()
    local two = server.start { workers = 2, default = "fail=503;latency=0.001" }
    s = two
    assert.are_not.equal(one.url, two.url)
    assert.truthy(one.port < 32768)
    assert.equal(503, echo({}, two.url).status)
    assert.equal(200, echo({ behave = "fail=503*0" }, two.url).status)
    curl(two.url .. "/echo?item=[1-200]", { behave = "latency=0.02",
      args = "--parallel --parallel-immediate --parallel-max 40" })
    local stats = two:stats()
    assert.equal(202, stats.hits)
    assert.equal(1, stats.items["200"])
    assert.equal(40, stats.max_open)
    assert.equal(0, stats.open)
    assert.equal(200, echo({ ca = one.ca }, one.url).status)
    one:stop()
    one:stop()
    two:stop()
    assert.equal(7, echo({}, two.url).code)
    assert.is_nil(io.open(two.dir .. "/nginx.conf"))
  end)

  it("don't start with a behaviour that there is not", function()
    local ok, why = pcall(server.start, { default = "nonsense=1" })
    assert.is_false(ok)
    assert.truthy(why:find("unknown behaviour 'nonsense'", 1, true))
  end)

  it("end when the process that started them has gone", function()
    local dir = os.tmpname()
    os.remove(dir)
    local pipe = io.popen("sh -c 'spec/server/start --dir " .. dir .. " --owner $$'", "r")
    local out = pipe:read("*a")
    pipe:close()
    s = { ca = out:match("ca=([^\n]*)") }
    local port = out:match("http=(%d+)")
    local url = "http://127.0.0.1:" .. port .. "/echo"
    -- A silent answer: it ends with the server, without a byte.
    assert.equal(52, curl(url, { behave = "silent=30" }).code)
  end)
end)
