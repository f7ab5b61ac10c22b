-- Three calls at the same time: submit each, then gather the responses, in the order of submission.
--
--   lua5.4 examples/gather.lua

local sheaf = require "sheaf"
local provider = require("examples.support").provider("latency=0.3")

local batch = sheaf.batch{ base_url = provider.base_url, api_key = provider.api_key }

local questions = {
  "Translate to German: hello world",
  "Label this text as game, network or sound: a puzzle with bricks",
  "Write one sentence about straw.",
}

local began = sheaf.now()
for _, question in ipairs(questions) do
  batch:submit{
    path = "/chat/completions",
    json = { model = provider.model, messages = { { role = "user", content = question } } },
  }
end

local responses = batch:gather()          -- waits until all three are there
local together = sheaf.now() - began

local one_by_one = 0
for i = 1, responses.n do
  local answer, problem = responses[i]:text()   -- nil and a sentence where there is no answer
  print(questions[i])
  print("  -> " .. (answer or problem))
  one_by_one = one_by_one + responses[i].elapsed
end
print(("%.1f s together, %.1f s one after the other"):format(together, one_by_one))

batch:close()
provider.stop()
