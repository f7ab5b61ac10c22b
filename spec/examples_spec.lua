local server = require "spec.support.server"

-- The interpreter that runs this spec, and busted's script.
local lowest = 0
while arg[lowest - 1] do lowest = lowest - 1 end
local lua, busted = arg[lowest], arg[0]

local function word(text)
  return "'" .. tostring(text):gsub("'", "'\\''") .. "'"
end

local function shell(command)
  local pipe = assert(io.popen(command, "r"))
  local output = pipe:read("*a")
  pipe:close()
  return output
end

-- Where examples put what they need while they run.
local folder

-- Runs a script; returns what it wrote to both outputs, and its exit status.
local function run(script, arguments, environment)
  local paths = ("package.path, package.cpath = %q, %q"):format(package.path, package.cpath)
  local output = shell(table.concat({
    "env -u OPENAI_BASE_URL -u OPENAI_API_KEY -u MODEL TMPDIR=" .. word(folder), environment or "",
    word(lua), "-e", word(paths), script, arguments or "", "2>&1; echo \"exit $?\"",
  }, " "))
  local text, status = output:match("^(.*)exit (%d+)\n$")
  return text, tonumber(status)
end

-- The seconds and counts of a run differ; what is found must be all of the rest.
local function prints(expected, script, arguments, environment)
  local text, status = run("examples/" .. script .. ".lua", arguments, environment)
  assert.equal(0, status, text)
  local pattern = expected:gsub("[%^%$%(%)%.%[%]%*%+%-%?]", "%%%0"):gsub("#", "[%%d.]+")
  assert.is_truthy(text:match("^" .. pattern .. "$"), text)
end

describe("the examples", function()
  before_each(function()
    folder = shell("mktemp -d"):match("[^\n]+")
  end)

  after_each(function()
    -- The stand-in's folder goes when it ends: an example that forgets to stop it leaves one.
    local left = shell("ls " .. word(folder))
    shell("rm -rf " .. word(folder))
    assert.equal("", left)
  end)

  it("gather three calls in the order they were submitted", function()
    prints([[
Translate to German: hello world
  -> [de] hallo Welt
Label this text as game, network or sound: a puzzle with bricks
  -> game
Write one sentence about straw.
  -> Here is a draft: Write one sentence about straw. It is short, it is plain, and it ends here.
# s together, # s one after the other
]], "gather")
  end)

  it("keep to 50 at once behind the semaphore", function()
    prints([[
300 of 300 answered in # s
at most 50 at once, over # connections
]], "semaphore", "300")
  end)

  it("translate chapters in parallel and paragraphs in order", function()
    prints([[
Chapter 1
  [de] hallo Welt
  [de] dies ist ein Buch
  [de] die Buch ist klein
Chapter 2
  [de] die Katze und die Hund
  [de] die Katze ist gut
  [de] die Hund ist nicht
Chapter 3
  [de] ein Haus von Wasser
  [de] mit Musik
  [de] und die Tag ist gut
9 calls in # s
]], "chunks")
  end)

  it("merge ten items and ask again for what is missing", function()
    prints([[
100 texts: 50 games, 50 network, 0 without a label
20 requests, with those for what was missing
]], "merge")
  end)

  it("label texts", function()
    prints([[
game     brick-laying puzzle for one or two players
network  small and fast web server
sound    plays MP3 and Ogg files
game     chess that learns from its mistakes
other    collection of household accounts
sound    synthesizer with a MIDI keyboard
]], "label")
  end)

  it("translate phrases into several languages", function()
    prints([[
German
  hello world              [de] hallo Welt
  the cat is small         [de] die Katze ist klein
  thank you for the music  [de] danke du für die Musik
French
  hello world              [fr] hello world
  the cat is small         [fr] the cat is small
  thank you for the music  [fr] thank you for the music
Japanese
  hello world              [ja] hello world
  the cat is small         [ja] the cat is small
  thank you for the music  [ja] thank you for the music
]], "translate")
  end)

  it("write descriptions into a file, in order", function()
    local file = folder .. "/catalogue"
    local text, status = run("examples/content.lua", word(file))
    assert.equal(0, status, text)
    assert.matches("\n4 of 4 written; %d+ tokens in, %d+ out\n$", text)
    local written = assert(io.open(file)):read("*a")
    os.remove(file)
    local names = {}
    for name in written:gmatch("(%u%l+)\nHere is a draft") do names[#names + 1] = name end
    assert.same({ "Dawn", "Harbour", "Meadow", "Slate" }, names)
  end)

  it("critique each draft", function()
    prints([[
draft:    Here is a draft: the number 1 It is short, it is plain, and it ends here.
critique: Clear enough for 17 words, but it names no example: add one, and cut the last third.
60 items, 0 failed, 120 calls and # retries in # s
]], "chain", "60")
  end)

  it("show progress up to the last", function()
    local text, status = run("examples/progress.lua", "60")
    assert.equal(0, status, text)
    assert.matches("\r%[##########%.+%] 20/60 ", text)
    assert.matches("\r%[" .. ("#"):rep(30) .. "%] 60/60 [^\r]*\n60 labelled, 0 failed\n$", text)
  end)

  it("test a script without a network", function()
    local text, status = run(word(busted), "-o plainTerminal examples/testing/labels_spec.lua")
    assert.equal(0, status, text)
    assert.matches("5 successes / 0 failures / 0 errors", text)
  end)

  it("go to the provider that the environment names", function()
    local s = server.start()
    local environment = "OPENAI_API_KEY=any MODEL=stand-in OPENAI_BASE_URL=" .. s.url .. "/v1"
    local ok, err = pcall(prints, [[
draft:    Here is a draft: the number 1 It is short, it is plain, and it ends here.
critique: Clear enough for 17 words, but it names no example: add one, and cut the last third.
5 items, 0 failed, 10 calls and 0 retries in # s
]], "chain", "5", environment)
    local hits = s:stats().hits
    s:stop()
    assert(ok, err)
    assert.equal(10, hits)
  end)

  it("say what is wrong where the key is refused", function()
    local s = server.start()
    local environment = "OPENAI_API_KEY=bad-key OPENAI_BASE_URL=" .. s.url .. "/v1"
    local text, status = run("examples/gather.lua", "", environment)
    s:stop()
    assert.equal(0, status, text)
    assert.matches("  %-> http 401 invalid_api_key: Incorrect API key provided", text)
  end)
end)
