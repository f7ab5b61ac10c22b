-- How a request ended: what a response tells, and its error as one sentence.

local fault = require "sheaf.fault"
local sheaf = require "sheaf"

describe("a response", function()
  local batch, reply

  before_each(function()
    batch = sheaf.batch{
      base_url = "https://api.example.com/v1/", retry = 0,
      transport = function() return reply end,
    }
  end)
  after_each(function() batch:close() end)

  local function get(answer, request)
    reply = answer
    request = request or {}
    request.path = request.path or "chat/completions"
    return batch:fetch(request)
  end

  it("that is good has all but an error", function()
    local got = get({ status = 201, body = "hi", headers = { ["X-A"] = "1" } }, { id = "item-7" })
    assert.is_true(got.ok)
    assert.equal(201, got.status)
    assert.equal("hi", got.body)
    assert.equal("item-7", got.id)
    assert.equal(1, got.attempts)
    assert.is_nil(got.error)
    assert.equal("number", type(got.elapsed))
    for _, name in ipairs{ "queued", "connect", "first_byte", "total" } do
      assert.truthy(got.timing[name] >= 0, name)
    end
    assert.truthy(got.elapsed < 5 and got.timing.total <= got.elapsed)
  end)

  it("is ok with any 2xx and with nothing else", function()
    for _, status in ipairs{ 200, 204, 299 } do assert.is_true(get{ status = status }.ok) end
    for _, status in ipairs{ 300, 304, 399, 400, 404, 418, 500, 599 } do
      local got = get{ status = status }
      assert.is_false(got.ok)
      assert.equal("http", got.error.kind)
      assert.equal(status, got.error.status)
    end
  end)

  it("of 400 and more is not ok, whatever validate says", function()
    local asked = 0
    local got = get({ status = 400 }, { validate = function() asked = asked + 1 return true end })
    assert.is_false(got.ok)
    assert.equal(0, asked)
  end)

  describe("has headers", function()
    it("that are found in any case", function()
      local got = get{ headers = { ["X-Request-ID"] = "r1", ["content-type"] = "a/b" } }
      assert.equal("r1", got.headers["x-request-id"])
      assert.equal("r1", got.headers["X-REQUEST-ID"])
      assert.equal("a/b", got.headers["Content-Type"])
      assert.is_nil(got.headers["x-none"])
      assert.is_nil(got.headers[1])
      assert.equal("r1", got.request_id)
    end)

    it("repeated ones joined, and cookies as a list", function()
      local got = get{}
      rawset(got, "headers", nil)
      rawset(got, "_head", "HTTP/1.1 200 OK\r\nA: 1\r\nB:2\r\na: 3 \r\nEmpty:\r\n"
        .. "Set-Cookie: x=1, y\r\nset-cookie: z=2\r\nno header line\r\n\r\n")
      assert.equal("1, 3", got.headers.A)
      assert.equal("2", got.headers.b)
      assert.equal("", got.headers.empty)
      assert.same({ "x=1, y", "z=2" }, got.headers["Set-Cookie"])
    end)

    it("none where there was no answer", function()
      local got = get{ error = "reset" }
      assert.is_nil(got.headers.date)
      assert.is_nil(got.status)
      assert.equal("", got.body)
    end)
  end)

  describe(":json()", function()
    it("decodes once", function()
      local got = get{ body = '{"a":[1]}' }
      assert.same({ a = { 1 } }, got:json())
      assert.equal(got:json(), got:json())
      assert.is_false(get{ body = "false" }:json())
    end)

    it("says why it can't", function()
      local value, message = get{ body = "<p>no</p>" }:json()
      assert.is_nil(value)
      assert.truthy(message:find("^the answer is no JSON %(.*%): <p>no</p>$"), message)
      assert.same({ nil, "the answer is empty" }, { get{ body = "" }:json() })
      local _, long = get{ body = ("\n\255x"):rep(10000) }:json()
      assert.truthy(#long < 300)
    end)
  end)

  describe(":text()", function()
    it("is the answer's text", function()
      assert.equal("hi", get{ json = { choices = { { message = { content = "hi" } } } } }:text())
      assert.equal("hi", get{ json = { content = { { type = "text", text = "hi" } } } }:text())
    end)

    it("is nil, a message and a kind where there is none", function()
      assert.same({ nil, "the model refused: no", "invalid" },
        { get{ json = { choices = { { message = { refusal = "no" } } } } }:text() })
      local text, message, kind = get{ body = "plain" }:text()
      assert.same({ "nil", "invalid" }, { tostring(text), kind })
      assert.truthy(message:find("no JSON", 1, true))
      assert.equal("invalid", (select(3, get{ json = { other = 1 } }:text())))
    end)

    it("is nil, the error as a sentence and its kind where it is not ok", function()
      local got = get{ status = 404, json = { error = { message = "Gone", code = "no_model" } } }
      local text, message, kind = got:text()
      assert.is_nil(text)
      assert.equal(tostring(got.error), message)
      assert.equal("http", kind)
      assert.truthy(message:find("http 404 no_model: Gone", 1, true))
    end)
  end)

  it("tells usage and the reason to finish", function()
    local got = get{ json = { usage = { prompt_tokens = 3, completion_tokens = 4 },
      choices = { { finish_reason = "stop" } } } }
    assert.same({ input = 3, output = 4 }, got.usage)
    assert.equal("stop", got.finish_reason)
    got = get{ body = "plain" }
    assert.is_nil(got.usage)
    assert.is_nil(got.finish_reason)
  end)

  it("tells the provider's request id by each of its names", function()
    for _, name in ipairs{ "x-request-id", "request-id", "apim-request-id", "x-amzn-requestid" } do
      assert.equal("r", get{ headers = { [name] = "r" } }.request_id)
    end
    assert.is_nil(get{}.request_id)
  end)

  describe("has an error that is one sentence", function()
    local function says(text, answer, request)
      local got = get(answer, request)
      assert.is_false(got.ok)
      assert.equal(text, tostring(got.error))
      assert.is_true(fault.is(got.error))
      return got.error
    end

    it("with the provider's code, message and request id", function()
      local err = says("http 404 model_not_found: The model 'gpt-5-nan' does not exist "
        .. "(POST api.example.com/v1/chat/completions, attempt 1, req_ab12)", {
          status = 404, headers = { ["x-request-id"] = "req_ab12" },
          json = { error = { message = "The model 'gpt-5-nan' does not exist",
            code = "model_not_found" } },
        }, { json = { a = 1 } })
      assert.equal("http", err.kind)
      assert.equal("model_not_found", err.code)
      assert.equal("The model 'gpt-5-nan' does not exist", err.message)
      assert.equal("req_ab12", err.request_id)
      assert.equal(404, err.status)
      assert.equal(1, err.attempts)
    end)

    it("of Anthropic, Gemini, and servers that say less", function()
      local where = " (GET api.example.com/v1/chat/completions, attempt 1)"
      says("http 529 overloaded_error: Overloaded" .. where, { status = 529, json = {
        type = "error", error = { type = "overloaded_error", message = "Overloaded" } } })
      says("http 400 INVALID_ARGUMENT: Bad key" .. where, { status = 400, json = {
        { error = { code = 400, message = "Bad key", status = "INVALID_ARGUMENT" } } } })
      says("http 500: upstream died" .. where, { status = 500, body = "upstream died" })
      says("http 502: Bad Gateway" .. where, { status = 502,
        body = "<html><head><title>Bad Gateway</title></head><body>...</body></html>" })
      says("http 503: the server gave no reason" .. where, { status = 503 })
      says("http 500: a b" .. where, { status = 500, body = "a\r\n\0b" })
      says("http 500: " .. ("x"):rep(80) .. "..." .. where, { status = 500, body = ("x"):rep(999) })
    end)

    it("of throttling and of quotas, which are told apart", function()
      local err = get{ status = 429, headers = { ["retry-after"] = "7" },
        json = { error = { message = "Slow down", code = "rate_limit_exceeded" } } }.error
      assert.same({ "rate_limit", 429, "rate_limit_exceeded", 7 },
        { err.kind, err.status, err.code, err.retry_after })
      err = get{ status = 429, json = {
        error = { message = "You exceeded your current quota", code = "insufficient_quota" } } }.error
      assert.same({ "quota", 429, "insufficient_quota" }, { err.kind, err.status, err.code })
    end)

    it("of the wire", function()
      for _, kind in ipairs{ "dns", "connect", "tls", "timeout", "reset", "protocol", "too_large" } do
        says(("%s: %s (GET api.example.com/v1/chat/completions, attempt 1)"):format(kind,
          fault.kinds[kind]), { error = kind })
        says(kind .. ": really (GET api.example.com/v1/chat/completions, attempt 1)",
          { error = kind, message = "really" })
      end
    end)

    it("without queries or credentials", function()
      reply = { status = 500 }
      local got = batch:fetch{ url = "https://me:secret@h.example/p?key=secret#secret",
        headers = { Authorization = "secret", ["x-api-key"] = "secret" } }
      assert.equal("http 500: the server gave no reason (GET h.example/p, attempt 1)",
        tostring(got.error))
    end)
  end)

  it("of a body that was to be JSON and is none is invalid", function()
    for _, request in ipairs{ { json = {} }, { expect = "json" }, { body = "{}", expect = "json" } } do
      for _, body in ipairs{ "", "<html></html>", '{"half":', "NaN" } do
        local got = get({ body = body }, request)
        assert.is_false(got.ok)
        assert.equal("invalid", got.error.kind)
        assert.equal(200, got.error.status)
        assert.equal(body, got.body)
      end
    end
    assert.is_true(get({ body = "<html>" }, { json = {}, expect = "any" }).ok)
    assert.is_true(get({ body = "<html>" }, { body = "{}" }).ok)
    assert.is_true(get({ body = "null" }, { json = {} }).ok)
  end)
end)
