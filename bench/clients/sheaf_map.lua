-- The same job as aiohttp_gather.py. Prints CPU seconds and seconds.
--
--   sheaf_map.lua URL REQUESTS CONCURRENCY

local sheaf = require "sheaf"

local url, requests, concurrency = arg[1], tonumber(arg[2]), tonumber(arg[3])

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

local function call(i)
  local response = batch:fetch{ json = payload(i) }
  if not response.ok then return nil, response.error end
  return response:json().choices[1].message.content
end

local began, cpu = sheaf.now(), os.clock()
local numbers = {}
for i = 1, requests do numbers[i] = i - 1 end
local texts, errors = batch:map(numbers, call)
for i = 1, requests do assert(texts[i], tostring(errors[i])) end
print(os.clock() - cpu, sheaf.now() - began)
