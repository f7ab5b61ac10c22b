-- Data labelling: one label out of a few for each text, as JSON that is checked. What the model
-- gets wrong in form is asked for again; what stays wrong is reported, with its text.
--
--   lua5.4 examples/label.lua

local sheaf = require "sheaf"
local provider = require("examples.support").provider("latency=0.1;faults=0.2")

local LABELS = { game = true, network = true, sound = true, other = true }

local function label_of(response)
  local answer = sheaf.json.decode(response:text() or "")
  return type(answer) == "table" and answer.label
end

local labeller = sheaf.processor{
  base_url = provider.base_url, api_key = provider.api_key, model = provider.model,
  prompt = 'Classify this software. Answer with JSON, {"label": "..."}, one of game, network, '
    .. "sound, other:\n\n{text}",
  params = { temperature = 0, response_format = { type = "json_object" } },

  -- Asked of each answer as it comes in: false means to try again.
  validate = function(response) return LABELS[label_of(response)] or false, "no known label" end,

  -- Makes the result out of the answer.
  parse = label_of,
}

local texts = {
  "brick-laying puzzle for one or two players",
  "small and fast web server",
  "plays MP3 and Ogg files",
  "chess that learns from its mistakes",
  "collection of household accounts",
  "synthesizer with a MIDI keyboard",
}

local labels = labeller:process(texts)

for i = 1, labels.n do
  local failed = type(labels[i]) == "table"
  print(("%-8s %s"):format(failed and "?" or labels[i], texts[i]))
  if failed then print("         " .. tostring(labels[i].error)) end
end

labeller.batch:close()
provider.stop()
