-- Ten items in one request: a tenth of the calls, and the instructions are paid for once in ten. If
-- the model leaves some out, or mixes them up, the missing ones come again in smaller groups, in
-- halves down to one.
--
--   lua5.4 examples/merge.lua

local sheaf = require "sheaf"

-- This stand-in never answers the fourth of several lines.
local provider = require("examples.support").provider("latency=0.1;skip_lines=4")

local batch = sheaf.batch{ base_url = provider.base_url, api_key = provider.api_key }

local texts = {}
for i = 1, 50 do
  texts[2 * i - 1] = "A puzzle game with " .. i .. " levels"
  texts[2 * i] = "Fast HTTP client, version " .. i
end

local INSTRUCTION = "Label each numbered line as game, network, sound or other. "
  .. "Answer with one line for each: its number, a full stop, the label."

-- Gets up to ten texts; returns their labels at the same places, nil where one is missing.
local function label_ten(ten)
  local lines = {}
  for i, text in ipairs(ten) do lines[i] = i .. ". " .. text end
  local answer, problem = batch:fetch{
    path = "/chat/completions",
    json = {
      model = provider.model,
      messages = {
        { role = "system", content = INSTRUCTION },
        { role = "user", content = table.concat(lines, "\n") },
      },
    },
  }:text()
  if not answer then return nil, problem end
  local labels = {}
  for number, label in answer:gmatch("(%d+)%. (%l+)") do
    labels[tonumber(number)] = label
  end
  return labels
end

-- Index, result and error are the single item's, however the requests were cut.
local counts, without = {}, 0
for _, label in batch:each(texts, label_ten, { merge = 10 }) do
  if label then counts[label] = (counts[label] or 0) + 1 else without = without + 1 end
end

print(("%d texts: %d games, %d network, %d without a label"):format(
  #texts, counts.game or 0, counts.network or 0, without))
print(("%d requests, with those for what was missing"):format(batch:stats().done))

batch:close()
provider.stop()
