-- The demo of `make demo`: labels 1,000 package descriptions against a stand-in for a provider on
-- this machine, which thinks for half a second on average and fails one time in fifty; writes them
-- as JSONL; and measures the same job done one by one, 50 and 100 at a time.
--
--   lua5.4 examples/demo.lua [labels.jsonl]        from the checkout's root

local sheaf = require "sheaf"
local screen = require "examples.demo.screen"
local texts = require "examples.demo.texts"
local server = require "spec.support.server"

local TEXTS = 1000
local THINKING = "latency=lognormal:0.5:0.2;faults=0.02"
local ONE_BY_ONE = 10           -- requests the first row is extrapolated from
local LABELS_SHOWN = 6
local TLS_REQUESTS, TLS_CONCURRENCY, TLS_LATENCY = 400, 50, "latency=0.02;faults=0"

local output = arg[1] or "labels.jsonl"

local function labeller(provider, options)
  options.base_url, options.api_key = provider.url .. "/v1", "any"
  options.model = "stand-in"
  options.prompt = "Label this Debian package as game, library, science, sound, graphics, network, "
    .. "development, documentation, admin or other: {text}"
  options.parse = "text"
  options.proxy = ""            -- the stand-in is on this machine
  options.retry = { base = 0.25 }
  options.chunk_size = 10
  return sheaf.processor(options)
end

--- Runs fn; returns how long it took, and what it returned. CPU time is that of all threads of this
--- process: the stand-in's is not in it.
local function measured(requests, fn)
  local began, cpu = sheaf.now(), os.clock()
  local result = fn()
  local seconds = sheaf.now() - began
  return {
    seconds = seconds, rate = requests / seconds, cpu = 100 * (os.clock() - cpu) / seconds,
  }, result
end

--- What went wrong in a run, said in full; true if all is well.
local function complete(results, wanted)
  local failed, first = 0, nil
  for i = 1, wanted do
    local result = results[i]
    if type(result) ~= "string" then
      failed = failed + 1
      first = first or (result and tostring(result.error) or "no result for text " .. i)
    end
  end
  if failed > 0 then
    screen.line(("%d of %d texts have no label; the first: %s"):format(failed, wanted, first))
  end
  return failed == 0
end

local function one_by_one(provider, list)
  local processor = labeller(provider, { concurrency = 1 })
  local row = measured(ONE_BY_ONE, function()
    for i = 1, ONE_BY_ONE do
      assert(processor.batch:fetch(processor:request(list[i].text)):text())
      screen.progress("one by one", i, ONE_BY_ONE)
    end
  end)
  screen.progress_end()
  processor.batch:close()
  row.seconds = row.seconds * #list / ONE_BY_ONE
  row.name = ("one by one (extrapolated from %d)"):format(ONE_BY_ONE)
  return row
end

local function together(provider, list, concurrency)
  local processor = labeller(provider, { concurrency = concurrency })
  local name = concurrency .. " at a time"
  local inputs = {}
  for i, package in ipairs(list) do inputs[i] = package.text end
  local row, labels = measured(#inputs, function()
    return processor:process(inputs, function(done, total, stats)
      screen.progress(name, done, total, stats)
    end)
  end)
  screen.progress_end()
  processor.batch:close()
  row.name = name
  return row, labels
end

local function over_tls(provider, keepalive)
  local batch = sheaf.batch{
    base_url = provider.tls1, tls = { ca = provider.ca }, proxy = "", concurrency = TLS_CONCURRENCY,
    headers = { ["x-behave"] = TLS_LATENCY }, pool = { keepalive = keepalive },
  }
  local requests = {}
  for i = 1, TLS_REQUESTS do requests[i] = { path = "/v1/models", id = i } end
  local row, answers = measured(TLS_REQUESTS, function() return batch:map(requests) end)
  row.connections = batch:stats().connections_opened
  row.name = keepalive and "connections kept" or "a new one each time"
  batch:close()
  for i = 1, TLS_REQUESTS do assert(answers[i] and answers[i].ok, answers[i] and answers[i].error) end
  return row
end

local function write(list, labels)
  local file = assert(io.open(output, "w"))
  for i, package in ipairs(list) do
    local label = type(labels[i]) == "string" and labels[i] or nil
    local line = {
      package = package.name, text = package.text, label = label,
      error = not label and tostring(labels[i].error) or nil,
    }
    assert(file:write(assert(sheaf.json.encode(line)), "\n"))
  end
  assert(file:close())
end

local function show_labels(list, labels)
  local counts, names = {}, {}
  for i = 1, #list do
    local label = type(labels[i]) == "string" and labels[i] or "(failed)"
    if not counts[label] then names[#names + 1] = label end
    counts[label] = (counts[label] or 0) + 1
  end
  table.sort(names, function(a, b) return counts[a] > counts[b] end)
  local shown = {}
  for i = 1, math.min(#names, LABELS_SHOWN) do
    shown[i] = ("%s %d"):format(names[i], counts[names[i]])
  end
  screen.line(("%d lines in %s"):format(#list, output))
  screen.line(("%d labels: %s%s"):format(#names, table.concat(shown, ", "),
    #names > #shown and " ..." or ""))
end

local function show_rows(list, rows)
  local slowest = rows[1].seconds
  local cells = {}
  for i, row in ipairs(rows) do
    cells[i] = {
      row.name, ("%.1f"):format(row.seconds), ("%.1f"):format(row.rate), ("%.1f"):format(row.cpu),
      ("%.0f x"):format(slowest / row.seconds),
    }
  end
  screen.table({ ("%d texts, 0.5 s each"):format(#list), "seconds", "requests/s", "CPU %", "speed-up" },
    cells)
end

local function show_tls(kept, fresh)
  local cells = {}
  for i, row in ipairs{ fresh, kept } do
    cells[i] = {
      row.name, ("%.2f"):format(row.seconds), ("%.0f"):format(row.rate), ("%.0f"):format(row.cpu),
      ("%.1f x"):format(fresh.seconds / row.seconds), tostring(row.connections),
    }
  end
  screen.table({ ("%d requests over TLS"):format(TLS_REQUESTS), "seconds", "requests/s", "CPU %",
    "speed-up", "connections" }, cells)
end

local function demo(provider)
  local list = texts.some(TEXTS)
  screen.line(("%d package descriptions, such as \"%s\""):format(#list, list[1].text))
  if #list < TEXTS then screen.line("This system knows of no more than that.") end
  local rows = { one_by_one(provider, list) }
  local row50, labels = together(provider, list, 50)
  local row100, again = together(provider, list, 100)
  rows[2], rows[3] = row50, row100
  write(list, labels)
  show_labels(list, labels)
  local kept, fresh = over_tls(provider, true), over_tls(provider, false)
  local well = complete(labels, #list)
  well = complete(again, #list) and well
  for i = 1, #list do
    if well and labels[i] ~= again[i] then
      well = false
      screen.line(("text %d got two labels: %s and %s"):format(i, labels[i], again[i]))
    end
  end
  show_rows(list, rows)
  show_tls(kept, fresh)
  return well
end

local provider = server.start{ default = THINKING }
local ok, well = xpcall(demo, function(err)
  if type(err) == "string" and err:find("interrupted!", 1, true) then return "interrupted" end
  return type(err) == "string" and debug.traceback(err, 2) or tostring(err)
end, provider)
if not ok then
  screen.progress_end()
  io.stderr:write(well, "\n")
end
provider:stop()
os.exit(ok and well and 0 or ok and 1 or well == "interrupted" and 130 or 1, true)
