-- Translation of a list into several languages: one processor for each language, over one limit and
-- the same connections.
--
--   lua5.4 examples/translate.lua

local sheaf = require "sheaf"
local provider = require("examples.support").provider("latency=0.1")

-- What the processors share: where to, with which key, how many at once.
local batch = sheaf.batch{
  base_url = provider.base_url, api_key = provider.api_key,
  concurrency = 20,
}

local function translator(language)
  return sheaf.processor{
    from = batch, model = provider.model,
    prompt = "Translate into " .. language .. ", nothing but the translation: {text}",
    parse = "text",
  }
end

local phrases = { "hello world", "the cat is small", "thank you for the music" }
local languages = { "German", "French", "Japanese" }

-- Each language is a task; their requests are on the way at the same time.
local tasks = {}
for i, language in ipairs(languages) do
  tasks[i] = sheaf.spawn(function() return translator(language):process(phrases) end)
end

for i, language in ipairs(languages) do
  local ok, translations = tasks[i]:wait()
  if not ok then error(translations, 0) end
  print(language)
  for k, phrase in ipairs(phrases) do
    local translation = translations[k]
    if type(translation) == "table" then translation = "failed: " .. tostring(translation.error) end
    print(("  %-24s %s"):format(phrase, translation))
  end
end

batch:close()
provider.stop()
