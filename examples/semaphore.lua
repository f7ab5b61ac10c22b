-- A thousand items behind a semaphore: never more than 50 requests are on the wire, and as soon as
-- one is answered the next goes out. Each item is straight-line code, as if it were the only one.
--
--   lua5.4 examples/semaphore.lua [how many]

local sheaf = require "sheaf"
local provider = require("examples.support").provider("latency=uniform:0.02:0.08")

local batch = sheaf.batch{
  base_url = provider.base_url, api_key = provider.api_key,
  concurrency = 50,
}

local function ask(number)
  local response = batch:fetch{
    path = "/chat/completions",
    json = {
      model = provider.model,
      messages = { { role = "user", content = "echo: item " .. number } },
    },
  }
  return response:text()                  -- the text, or nil and what went wrong
end

local items = {}
for i = 1, tonumber(arg[1]) or 1000 do items[i] = i end

-- `each` calls ask as a task for every item and hands the answers out as they come. It takes new
-- items only as there is room, so that the list could as well be a file of any size.
local began = sheaf.now()
local good, most = 0, 0
for index, answer, problem in batch:each(items, ask) do
  most = math.max(most, batch:stats().in_flight)
  if answer then good = good + 1 else print("item " .. index .. ": " .. problem) end
end

local stats = batch:stats()
print(("%d of %d answered in %.1f s"):format(good, #items, sheaf.now() - began))
print(("at most %d at once, over %d connections"):format(most, stats.connections_opened))

batch:close()
provider.stop()
