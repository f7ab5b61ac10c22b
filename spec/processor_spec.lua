local server = require "spec.support.server"
local sheaf = require "sheaf"
local task = require "sheaf.task"

local here = "spec/processor_spec.lua:%d+: "

-- Calls fn with an environment of its own.
local function with_env(variables, fn)
  local real = os.getenv
  os.getenv = function(name) return variables[name] end  -- luacheck: ignore
  local ok, err = pcall(fn)
  os.getenv = real  -- luacheck: ignore
  if not ok then error(err, 0) end
end

local function prompt_of(request)
  local messages = request.json.messages
  return messages[#messages].content
end

local function chat(text)
  return { json = { choices = { { message = { content = text }, finish_reason = "stop" } } } }
end

-- A model in this process that says what it is told, unless `answer` has something else to say.
local function made(given, answer)
  local options = { base_url = "http://model.test/v1", model = "m", parse = "text",
    retry = { base = 0 } }
  options.transport = function(request, attempt)
    return answer and answer(prompt_of(request), attempt, request) or chat(prompt_of(request))
  end
  for name, value in pairs(given or {}) do options[name] = value end
  return sheaf.processor(options)
end

local function numbered(count)
  local texts = {}
  for i = 1, count do texts[i] = "text " .. i end
  return texts
end

describe("a processor's options", function()
  local function refuses(given, pattern)
    local ok, err = pcall(function() sheaf.processor(given) end)
    assert.is_false(ok)
    assert.matches("^" .. here .. "sheaf%.processor: " .. pattern, err)
  end

  it("must be known, and a near one is suggested", function()
    refuses({ model = "m", max_concurent = 3 },
      "unknown option 'max_concurent' %(did you mean 'max_concurrent'%?%)")
    refuses({ model = "m", temperature = 0 },
      "unknown option 'temperature'.*params = { temperature")
    refuses(7, "a table of options is wanted, got 7")
  end)

  it("must be of the right type", function()
    refuses({ model = 5 }, "'model' must be a string, got 5")
    refuses({ model = "m", max_retries = -1 },
      "'max_retries' must be an integer, 0 or more, got %-1")
    refuses({ model = "m", chunk_size = 0 }, "'chunk_size' must be a positive integer, got 0")
    refuses({ model = "m", max_concurrent = 0 / 0 }, "'max_concurrent' must be a positive integer")
    refuses({ model = "m", parse = "json" }, "'parse' must be a function, or \"text\"")
    refuses({ model = "m", max_failures = true },
      "'max_failures' must be a positive integer, or false")
  end)

  it("must name a model", function()
    refuses({ base_url = "http://model.test" }, "'model' is missing")
  end)

  it("must not say the same thing under both names", function()
    refuses({ model = "m", max_concurrent = 5, concurrency = 5 },
      "'max_concurrent' and 'concurrency' are the same")
    refuses({ model = "m", max_retries = 5, retry = 5 }, "'max_retries' and 'retry' are the same")
    refuses({ model = "m", max_retries = 5, retry = { max = 5 } },
      "'max_retries' and 'retry%.max' are the same")
  end)

  it("must not have a prompt that leaves the text out", function()
    refuses({ model = "m", prompt = "Label this: text" }, "'prompt' must be a template with {text}")
  end)

  it("must not put the model or the messages into params", function()
    refuses({ model = "m", params = { messages = {} } }, "'params' must not have 'messages'")
    refuses({ model = "m", params = { model = "n" } }, "'params' must not have 'model'")
  end)

  it("must not say about the request what the request function says", function()
    refuses({ request = function() end, prompt = "{text}" },
      "'prompt' has no effect beside 'request'")
  end)

  it("of the batch are checked in the processor's name", function()
    refuses({ model = "m", base_url = "http://model.test", tls = { ca = "/no/such/file" } },
      "'tls%.ca': can't be read")
    refuses({ model = "m", base_url = "http://model.test", max_concurrent = 3,
      limiter = sheaf.limiter{ concurrency = 2 } }, "'limiter' and 'concurrency' together")
    refuses({ model = "m", base_url = "http://model.test", from = {} }, "'from' must be a batch")
  end)

  it("reach the batch: 50 at once and 3 retries by default", function()
    local batch = made{ retry = { base = 0 } }.batch
    assert.equal(50, batch:stats().concurrency_now)
    assert.equal(7, made{ max_concurrent = 7 }.batch:stats().concurrency_now)
    assert.equal(8, made{ concurrency = 8 }.batch:stats().concurrency_now)
  end)

  it("may come from a batch, with its limit and its address", function()
    local batch = sheaf.batch{
      base_url = "http://shared.test/v2", concurrency = 9,
      transport = function(request) return chat(request.url) end,
    }
    local processor = sheaf.processor{ from = batch, model = "m", parse = "text" }
    assert.equal(9, processor.batch:stats().concurrency_now)
    assert.same({ "http://shared.test/v2/chat/completions", n = 1 }, processor:process{ "x" })
  end)
end)

describe("a processor's key and address", function()
  local seen
  local function transport(request)
    seen = request.url
    return chat("ok")
  end

  it("come from the environment", function()
    with_env({ OPENAI_BASE_URL = "http://env.test/v1/", OPENAI_API_KEY = "k" }, function()
      sheaf.processor{ model = "m", transport = transport }:process{ "x" }
    end)
    assert.equal("http://env.test/v1/chat/completions", seen)
  end)

  it("are OpenAI's where nothing is said, or an empty variable", function()
    with_env({ OPENAI_BASE_URL = "", OPENAI_API_KEY = "k" }, function()
      sheaf.processor{ model = "m", transport = transport }:process{ "x" }
    end)
    assert.equal("https://api.openai.com/v1/chat/completions", seen)
  end)

  it("are asked for where OpenAI would get none", function()
    with_env({ OPENAI_API_KEY = "" }, function()
      local ok, err = pcall(function() sheaf.processor{ model = "m" } end)
      assert.is_false(ok)
      assert.matches("^" .. here .. "sheaf%.processor: no API key for https://api%.openai%.com/v1: "
        .. "set OPENAI_API_KEY, or give 'api_key'", err)
    end)
  end)

  it("are not asked for elsewhere, or where the header is given", function()
    with_env({}, function()
      sheaf.processor{ model = "m", base_url = "http://model.test" }
      sheaf.processor{ model = "m", headers = { authorization = "Bearer x" } }
    end)
  end)
end)

describe("a processor's request", function()
  it("holds the model, the params and the messages", function()
    local processor = made{
      system = "Be brief.", prompt = "Say {text}", params = { temperature = 0.5 },
    }
    assert.same({
      path = "/chat/completions", id = 3,
      json = {
        model = "m", temperature = 0.5,
        messages = {
          { role = "system", content = "Be brief." }, { role = "user", content = "Say hi {text}" },
        },
      },
    }, processor:request("hi {text}", 3))
  end)

  it("goes to the path that is given", function()
    assert.equal("/other", made{ path = "/other" }:request("x").path)
  end)

  it("serves in a task of one's own", function()
    local processor = made()
    assert.equal("hello", processor.batch:fetch(processor:request("hello")):text())
  end)

  it("is what the request function returns", function()
    local processor = sheaf.processor{
      base_url = "http://model.test",
      request = function(text, index)
        return { path = "/rate", json = { text = text, at = index } }
      end,
      transport = function(request)
        return { json = { got = request.json.text .. request.json.at } }
      end,
    }
    assert.same({ { got = "a1" }, { got = "b2" }, n = 2 }, processor:process{ "a", "b" })
  end)

  it("raises at the caller where a text can't be sent", function()
    local ok, err = pcall(function() made():request("\255") end)
    assert.is_false(ok)
    assert.matches("^" .. here .. "processor:request: the text is not UTF%-8.*byte 1", err)
  end)
end)

describe("process", function()
  it("gives one result for a text, in the texts' order, whichever comes first", function()
    local processor = made(nil, function(text)
      local answer = chat(text:upper())
      answer.delay = text == "a" and 0.05 or 0
      return answer
    end)
    assert.same({ "A", "B", "C", n = 3 }, processor:process{ "a", "b", "c" })
  end)

  it("gives the decoded answer by default", function()
    local processor = sheaf.processor{
      base_url = "http://model.test", model = "m", transport = function() return chat("hi") end,
    }
    assert.equal("hi", processor:process{ "x" }[1].choices[1].message.content)
  end)

  it("gives what parse makes of response and text, false included", function()
    local processor = made{ parse = function(response, text)
      if text == "no" then return false end
      return { text, response.status }
    end }
    assert.same({ { "yes", 200 }, false, n = 2 }, processor:process{ "yes", "no" })
  end)

  it("gives the error and the text where a request failed, and the others as ever", function()
    local processor = made(nil, function(text)
      if text ~= "bad" then return end
      return { status = 404, json = { error = { message = "none here" } } }
    end)
    local results = processor:process{ "a", "bad", "c" }
    assert.equal("a", results[1])
    assert.equal("c", results[3])
    assert.equal("bad", results[2].text)
    assert.equal("http", results[2].error.kind)
    assert.equal(404, results[2].error.status)
    assert.matches("none here", tostring(results[2].error))
  end)

  it("gives what parse refuses as invalid, with its reason", function()
    local processor = made{ parse = function(_, text)
      if text == "silent" then return nil end
      return nil, "no label in it"
    end }
    local results = processor:process{ "x", "silent" }
    assert.equal("invalid", results[1].error.kind)
    assert.equal("no label in it", results[1].error.message)
    assert.equal(200, results[1].error.status)
    assert.equal(1, results[1].error.attempts)
    assert.equal("parse returned nil", results[2].error.message)
    assert.equal("silent", results[2].text)
  end)

  it("gives what parse throws as invalid, with its traceback", function()
    local function inner_of_parse() error("oh no") end
    local processor = made{ parse = function(response, text)
      if text == "x" then inner_of_parse() end
      return response:text()
    end }
    local results = processor:process{ "x", "y" }
    assert.equal("invalid", results[1].error.kind)
    assert.matches("parse raised: .*processor_spec.lua:%d+: oh no.*traceback.*inner_of_parse",
      results[1].error.message)
    assert.equal("y", results[2])
  end)

  it("gives what a prompt function throws with its text and traceback", function()
    local processor = made{ prompt = function(text)
      if text == "x" then error("no prompt") end
      return text
    end }
    local results = processor:process{ "x", "y" }
    assert.equal("internal", results[1].error.kind)
    assert.matches("no prompt.*traceback", results[1].error.message)
    assert.equal("x", results[1].text)
    assert.equal("y", results[2])
  end)

  it("lets parse send requests of its own", function()
    local processor
    processor = made{ parse = function(response, text)
      if text == "x" then return processor.batch:fetch(processor:request("second")):text() end
      return response:text()
    end }
    assert.same({ "second", "y", n = 2 }, processor:process{ "x", "y" })
  end)

  it("gives the error of parse's own request as it is", function()
    local processor
    processor = made({ parse = function()
      local second = processor.batch:fetch(processor:request("second"))
      return second.ok or nil, second.error
    end }, function(text)
      if text == "second" then return { status = 418, body = "" } end
    end)
    local result = processor:process{ "x" }[1]
    assert.equal("http", result.error.kind)
    assert.equal(418, result.error.status)
  end)

  it("cancels its requests with the task it runs in", function()
    local asked, running = 0, nil
    local processor = made(nil, function(text)
      asked = asked + 1
      if asked == 5 then running:cancel() end
      local answer = chat(text)
      answer.delay = 0.5
      return answer
    end)
    sheaf.run(function()
      running = sheaf.spawn(function() return processor:process(numbered(5)) end)
      assert.is_false((running:wait()))
    end)
    assert.equal(5, processor.batch:stats().failed)
  end)

  it("works inside a task, several at once on one processor", function()
    local processor = made()
    sheaf.run(function()
      local one = sheaf.spawn(function() return processor:process{ "a", "b" } end)
      local two = sheaf.spawn(function() return processor:process{ "c" } end)
      local _, first = one:wait()
      local _, second = two:wait()
      assert.same({ "a", "b", n = 2 }, first)
      assert.same({ "c", n = 1 }, second)
    end)
  end)

  it("takes a function that is called until it returns nil", function()
    local left = 3
    local results = made():process(function()
      left = left - 1
      return left >= 0 and "left " .. left or nil
    end)
    assert.same({ "left 2", "left 1", "left 0", n = 3 }, results)
  end)

  it("raises what the source throws", function()
    local ok, err = pcall(function()
      made():process(function() error("the file broke") end)
    end)
    assert.is_false(ok)
    assert.matches("the file broke.*traceback", err)
  end)

  it("raises at the caller's line for what is no array", function()
    local processor = made()
    local ok, err = pcall(function() processor:process("text") end)
    assert.is_false(ok)
    assert.matches("^" .. here .. "processor:process: the source must be an array", err)
    ok, err = pcall(function() processor:process({}, "progress") end)
    assert.is_false(ok)
    assert.matches("^" .. here .. "processor:process: 'progress' must be a function", err)
  end)
end)

describe("of odd texts, process", function()
  it("gives nothing for an empty array", function()
    assert.same({ n = 0 }, made():process{})
  end)

  it("sends an empty text", function()
    assert.same({ "", n = 1 }, made():process{ "" })
  end)

  it("gives an error for a nil, and counts to n", function()
    local results = made():process{ "a", nil, "c", nil, n = 4 }
    assert.equal(4, results.n)
    assert.equal("c", results[3])
    for _, i in ipairs{ 2, 4 } do
      assert.equal("internal", results[i].error.kind)
      assert.equal(("item %d of the array is nil"):format(i), results[i].error.message)
      assert.is_nil(results[i].text)
    end
  end)

  it("gives an error for invalid UTF-8, without a call", function()
    local processor = made{ prompt = "Text: {text}" }
    local results = processor:process{ "Gr\246\223e", "Größe" }
    assert.equal("invalid", results[1].error.kind)
    assert.matches("byte 9 of the prompt is 0xF6", results[1].error.message)
    assert.equal("Gr\246\223e", results[1].text)
    assert.equal("Text: Größe", results[2])
    assert.equal(1, processor.batch:stats().attempts)
  end)

  it("gives an error for a table or a boolean that no prompt function reads", function()
    local results = made():process{ {}, false, 12 }
    assert.matches("a text is wanted, got a table", results[1].error.message)
    assert.matches("a text is wanted, got false", results[2].error.message)
    assert.is_false(results[2].text)
    assert.equal("12", results[3])
  end)

  it("sends control characters, quotes, braces and percent signs as they are", function()
    local text = '\0\1\t"\\{text}{"a": 1}%1%%\127'
    assert.equal("<" .. text .. ">", made{ prompt = "<{text}>" }:process{ text }[1])
  end)
end)

describe("when the first 20 all fail, process", function()
  local function refuse(calls)
    return function()
      calls.n = calls.n + 1
      return { status = 401, json = { error = { message = "wrong key" } } }
    end
  end

  it("sends no more and raises an error with what there is", function()
    local calls = { n = 0 }
    local processor = made({ max_concurrent = 5 }, refuse(calls))
    local ok, err = pcall(processor.process, processor, numbered(500))
    assert.is_false(ok)
    assert.equal("failures", err.kind)
    assert.matches("%d+ of %d+ items failed; item %d+, the first: http 401: wrong key",
      tostring(err))
    assert.is_true(calls.n >= 20 and calls.n < 100)
    assert.equal(calls.n, err.results.n)
    for i = 1, err.results.n do assert.equal("text " .. i, err.results[i].text) end
  end)

  it("gives the results as ever where no text was left out", function()
    local calls = { n = 0 }
    local results = made(nil, refuse(calls)):process(numbered(30))
    assert.equal(30, results.n)
    assert.equal(30, calls.n)
    assert.equal("http", results[30].error.kind)
  end)

  it("goes on to the end with max_failures = false", function()
    local calls = { n = 0 }
    local results = made({ max_failures = false, max_concurrent = 5 }, refuse(calls))
      :process(numbered(200))
    assert.equal(200, results.n)
    assert.equal(200, calls.n)
  end)

  it("stops earlier with another max_failures", function()
    local calls = { n = 0 }
    local processor = made({ max_failures = 2, max_concurrent = 1 }, refuse(calls))
    local ok, err = pcall(processor.process, processor, numbered(100))
    assert.is_false(ok)
    assert.equal("failures", err.kind)
    assert.is_true(calls.n < 20)
  end)
end)

describe("progress", function()
  local function record(calls)
    return function(done, total, stats)
      calls[#calls + 1] = { done, total or "?", stats.done }
    end
  end

  local function dones(calls)
    local list = {}
    for i, call in ipairs(calls) do list[i] = call[1] end
    return list
  end

  it("comes after each chunk and at the end, once", function()
    local calls = {}
    made{ chunk_size = 10 }:process(numbered(25), record(calls))
    assert.same({ 10, 20, 25 }, dones(calls))
    assert.equal(25, calls[1][2])
    assert.equal(25, calls[3][3])
    calls = {}
    made{ chunk_size = 10 }:process(numbered(20), record(calls))
    assert.same({ 10, 20 }, dones(calls))
  end)

  it("comes every 100 by default", function()
    local calls = {}
    made():process(numbered(201), record(calls))
    assert.same({ 100, 200, 201 }, dones(calls))
  end)

  it("comes once for an empty array", function()
    local calls = {}
    made():process({}, record(calls))
    assert.same({ { 0, 0, 0 } }, calls)
  end)

  it("has no total where texts come from a function", function()
    local calls, left = {}, 2
    made():process(function()
      left = left - 1
      return left >= 0 and "x" or nil
    end, record(calls))
    assert.same({ { 2, "?", 2 } }, calls)
  end)

  it("counts what failed, too", function()
    local calls = {}
    made():process({ "a", nil, "\255", "d" }, record(calls))
    assert.same({ 4 }, dones(calls))
  end)

  it("comes within a second of a change, also while all else waits", function()
    local calls = {}
    made(nil, function(text)
      local answer = chat(text)
      answer.delay = text == "slow" and 1.4 or 0
      return answer
    end):process({ "a", "slow", "b" }, record(calls))
    assert.same({ 2, 3 }, dones(calls))
  end)

  it("may throw: that goes to on_error, and the run goes on", function()
    local real, errors = sheaf.on_error, {}
    sheaf.on_error = function(_, traceback) errors[#errors + 1] = traceback end
    local ok, results = pcall(function()
      return made{ chunk_size = 2 }:process({ "a", "b", "c" }, function() error("no terminal") end)
    end)
    sheaf.on_error = real
    assert.is_true(ok)
    assert.same({ "a", "b", "c", n = 3 }, results)
    assert.equal(2, #errors)
    assert.matches("no terminal.*traceback", errors[1])
  end)

  it("leaves no timer behind", function()
    assert.is_nil(next(task.timers))
    made():process({ "a" }, function() end)
    assert.is_nil(next(task.timers))
  end)

  it("must not wait", function()
    local real, errors = sheaf.on_error, {}
    sheaf.on_error = function(_, traceback) errors[#errors + 1] = traceback end
    local ok = pcall(function()
      made():process({ "a" }, function() sheaf.sleep(0) end)
    end)
    sheaf.on_error = real
    assert.is_true(ok)
    assert.matches("sheaf.sleep would wait", errors[1])
  end)
end)

describe("each", function()
  it("streams index, result, err and text", function()
    local found = {}
    local processor = made(nil, function(text)
      if text == "bad" then return { status = 400, body = "" } end
    end)
    for index, result, err, text in processor:each{ "a", "bad", "c" } do
      found[index] = { result or err.kind, text }
    end
    assert.same({ { "a", "a" }, { "http", "bad" }, { "c", "c" } }, found)
  end)

  it("keeps the order where that is asked for", function()
    local order = {}
    local processor = made(nil, function(text)
      local answer = chat(text)
      answer.delay = text == "text 1" and 0.05 or 0
      return answer
    end)
    for index in processor:each(numbered(10), { ordered = true }) do order[#order + 1] = index end
    assert.same({ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 }, order)
  end)

  it("makes errors of sheaf's of what is thrown", function()
    for _, _, err in made{ parse = function() error("thrown") end }:each{ "a" } do
      assert.equal("invalid", err.kind)
      assert.matches("thrown", tostring(err))
    end
  end)

  it("reads no further than it has to, and stops when told", function()
    local read = 0
    local iterator = made{ max_concurrent = 2 }:each(function()
      read = read + 1
      return "text " .. read
    end)
    assert.is_number((iterator()))
    iterator:cancel()
    assert.is_nil(iterator())
    assert.is_true(read < 50)
  end)

  it("raises at the caller's line for wrong options", function()
    local processor = made()
    local ok, err = pcall(function() processor:each({}, { orderd = true }) end)
    assert.is_false(ok)
    assert.matches("^" .. here .. "processor:each: unknown option 'orderd'.*mean 'ordered'", err)
    ok, err = pcall(function() processor.each({}) end)
    assert.is_false(ok)
    assert.matches("^" .. here .. "processor:each: not a processor", err)
  end)
end)

describe("over the wire, a processor", function()
  local s

  setup(function() s = server.start() end)
  teardown(function() s:stop() end)

  local function wired(given, behave)
    local options = { base_url = s.url .. "/v1", model = "m", parse = "text", retry = { base = 0 } }
    options.headers = { ["x-behave"] = behave }
    for name, value in pairs(given or {}) do options[name] = value end
    return sheaf.processor(options)
  end

  -- Requests that the server counts by item.
  local function items(text)
    return {
      path = "/chat/completions", headers = { ["x-item"] = text },
      json = { model = "m", messages = { { role = "user", content = "echo:" .. text } } },
    }
  end

  it("labels texts", function()
    local processor = wired{ prompt = "Label this text: {text}" }
    assert.same({ "game", "network", n = 2 }, processor:process{ "a puzzle", "an HTTP client" })
  end)

  it("makes 4 attempts by default, and as many as max_retries says", function()
    s:reset()
    local function retried(max_retries, item)
      return sheaf.processor{
        base_url = s.url .. "/v1", request = items, max_retries = max_retries, retry = { base = 0 },
        headers = { ["x-behave"] = "fail=500" },
      }:process{ item }[1].error.attempts
    end
    assert.equal(4, retried(nil, "default"))
    assert.equal(4, s:hits("default"))
    assert.equal(2, retried(1, "once"))
    assert.equal(2, s:hits("once"))
    assert.equal(1, retried(0, "never"))
    assert.equal(1, s:hits("never"))
  end)

  it("makes no attempt more with max_retries = 0, whatever failed", function()
    s:reset()
    local function failing(behave, item)
      local result = sheaf.processor{
        base_url = s.url .. "/v1", request = items, max_retries = 0, retry = { base = 0 },
        headers = { ["x-behave"] = behave },
      }:process{ item }[1]
      return result.error.kind, s:hits(item)
    end
    local kind, hits = failing("fail=429;retry=after:0", "throttled")
    assert.equal("rate_limit", kind)
    assert.equal(1, hits)
    kind, hits = failing("fail=badjson", "no JSON")
    assert.equal("invalid", kind)
    assert.equal(1, hits)
  end)

  it("keeps each result at its place through faults and retries", function()
    s:reset()
    local processor = sheaf.processor{
      base_url = s.url .. "/v1", request = items, parse = "text", retry = { base = 0 },
      headers = { ["x-behave"] = "latency=uniform:0:0.02;faults=0.1;retry=after:0" },
    }
    local texts = numbered(400)
    local results = processor:process(texts)
    assert.equal(400, results.n)
    for i = 1, 400 do assert.equal(texts[i], results[i]) end
    local stats = processor.batch:stats()
    assert.is_true(stats.retried > 0)
    assert.equal(stats.attempts, s:stats().hits)
  end)

  it("sends a text of 10 MB and gets it back", function()
    local text = ("0123456789abcde\n"):rep(10 * 1024 * 1024 / 16)
    local results = wired{ params = { echo = true } }:process{ text, "short" }
    assert.equal(#text, #results[1])
    assert.is_true(text == results[1])
    assert.equal("short", results[2])
  end)

  it("keeps a key of the environment for its own address", function()
    local answers
    with_env({ OPENAI_API_KEY = "secret", OPENAI_BASE_URL = "http://127.0.0.1:9/v1" }, function()
      answers = sheaf.processor{
        request = function(text)
          return { url = s.url .. "/echo", json = { text = text } }
        end,
      }:process{ "x" }
    end)
    assert.is_nil(answers[1].error)
    assert.is_nil(answers[1].headers.authorization)
    with_env({ OPENAI_API_KEY = "known", OPENAI_BASE_URL = s.url .. "/v1" }, function()
      answers = sheaf.processor{
        request = function(text) return { url = s.url .. "/v1/echo", json = { text = text } } end,
      }:process{ "x" }
    end)
    assert.equal("Bearer known", answers[1].headers.authorization)
  end)
end)
