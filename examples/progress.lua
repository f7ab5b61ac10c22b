-- Progress on a terminal: one line that is written over and over. The function is called after each
-- chunk of completions, at least once a second if something changed, and at the end.
--
--   lua5.4 examples/progress.lua [how many]

local sheaf = require "sheaf"
local provider = require("examples.support").provider("latency=exp:0.2;faults=0.02")

local processor = sheaf.processor{
  base_url = provider.base_url, api_key = provider.api_key, model = provider.model,
  prompt = "Label this text as game, network, sound or other: {text}",
  parse = "text",
  chunk_size = 20,
}

local texts = {}
for i = 1, tonumber(arg[1]) or 400 do texts[i] = "a puzzle with " .. i .. " bricks" end

local WIDTH = 30

local function show(done, total, stats)
  local filled = math.floor(WIDTH * done / total)
  io.stderr:write(("\r[%s%s] %d/%d  %d/s  %d on the wire  p95 %.2f s  %d retried "):format(
    ("#"):rep(filled), ("."):rep(WIDTH - filled), done, total,
    math.floor(stats.requests_per_s + 0.5), stats.in_flight, stats.latency.p95 or 0, stats.retried))
end

local results = processor:process(texts, show)
io.stderr:write("\n")

local failed = 0
for i = 1, results.n do
  if type(results[i]) == "table" then failed = failed + 1 end
end
print(("%d labelled, %d failed"):format(results.n - failed, failed))

processor.batch:close()
provider.stop()
