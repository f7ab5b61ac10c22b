-- Chunks in parallel, the inside serial: chapters are translated at the same time, the paragraphs
-- of a chapter one after the other, since each is sent along with the translation of the one
-- before.
--
--   lua5.4 examples/chunks.lua

local sheaf = require "sheaf"
local provider = require("examples.support").provider("latency=0.1")

local batch = sheaf.batch{ base_url = provider.base_url, api_key = provider.api_key }

local chapters = {
  { "hello world", "this is a book", "the book is small" },
  { "the cat and the dog", "the cat is good", "the dog is not" },
  { "a house from water", "with music", "and the day is good" },
}

local function translate(paragraph, before)
  local messages = { { role = "system", content = "Translate into German." } }
  if before then
    table.insert(messages, { role = "assistant", content = before })
  end
  table.insert(messages, { role = "user", content = paragraph })
  return batch:fetch{
    path = "/chat/completions",
    json = { model = provider.model, messages = messages },
  }:text()
end

local began = sheaf.now()

-- map calls the function as a task for each chapter; inside, one call follows the other.
local translated, problems = batch:map(chapters, function(paragraphs)
  local done, before = {}, nil
  for i, paragraph in ipairs(paragraphs) do
    before = assert(translate(paragraph, before))   -- what fails, fails the whole chapter
    done[i] = before
  end
  return table.concat(done, "\n  ")
end)

for i = 1, translated.n do
  print("Chapter " .. i .. "\n  " .. (translated[i] or tostring(problems[i])))
end
print(("%d calls in %.1f s"):format(batch:stats().done, sheaf.now() - began))

batch:close()
provider.stop()
