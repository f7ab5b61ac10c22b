-- The same job as aiohttp_gather.py. Prints CPU seconds and seconds.
--
--   sheaf.lua gather|map URL REQUESTS CONCURRENCY

local sheaf = require "sheaf"

local way, url, requests, concurrency = arg[1], arg[2], tonumber(arg[3]), tonumber(arg[4])

local batch = sheaf.batch{ base_url = url, concurrency = concurrency, proxy = "" }

local function payload(i)
  return {
    model = "stand-in",
    messages = {
      { role = "system", content = "You label product reviews as positive or negative." },
      { role = "user", content = ("Review %06d: works well, came in time, and the box was not even "
        .. "dented; would buy again."):format(i) },
    },
    temperature = 0, max_tokens = 16,
  }
end

local function text_of(response)
  assert(response.ok, tostring(response.error))
  return response:json().choices[1].message.content
end

local ways = {}

function ways.gather()
  for i = 1, requests do batch:submit{ json = payload(i) } end
  local responses, texts = batch:gather(), {}
  for i = 1, responses.n do texts[i] = text_of(responses[i]) end
  return texts
end

function ways.map()
  local numbers = {}
  for i = 1, requests do numbers[i] = i end
  return (batch:map(numbers, function(i) return text_of(batch:fetch{ json = payload(i) }) end))
end

local began, cpu = sheaf.now(), os.clock()
local texts = ways[way]()
for i = 1, requests do assert(texts[i], i) end
print(os.clock() - cpu, sheaf.now() - began)
