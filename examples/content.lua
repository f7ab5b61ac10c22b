-- Content generation: a description for each product of a catalogue. Items are records, the prompt
-- is made of them by a function; results are streamed into a file as they come, so that a catalogue
-- of any length fits into memory.
--
--   lua5.4 examples/content.lua [file]

local sheaf = require "sheaf"
local provider = require("examples.support").provider("latency=uniform:0.05:0.2")

local products = {
  { name = "Dawn", kind = "tea cup", colour = "white", words = 30 },
  { name = "Harbour", kind = "desk lamp", colour = "brass", words = 40 },
  { name = "Meadow", kind = "blanket", colour = "green", words = 30 },
  { name = "Slate", kind = "notebook", colour = "grey", words = 20 },
}

local writer = sheaf.processor{
  base_url = provider.base_url, api_key = provider.api_key, model = provider.model,
  system = "You write for the catalogue of a small shop: plainly, without exclamation marks.",
  prompt = function(product)
    return ("Write about %d words on our %s %s, which is called %s."):format(
      product.words, product.colour, product.kind, product.name)
  end,
  params = { temperature = 0.8, max_tokens = 200 },
  parse = function(response)
    if response.finish_reason == "length" then return nil, "the text was cut off" end
    return response:text()
  end,
}

local path = arg[1] or os.tmpname()
local file = assert(io.open(path, "w"))
local written = 0
for _, text, problem, product in writer:each(products, { ordered = true }) do
  if text then
    file:write(product.name, "\n", text, "\n\n")
    written = written + 1
  else
    print(product.name .. ": " .. tostring(problem))
  end
end
file:close()

for line in io.lines(path) do print(line) end
local stats = writer.batch:stats()
print(("%d of %d written; %d tokens in, %d out"):format(
  written, #products, stats.tokens_in, stats.tokens_out))

if not arg[1] then os.remove(path) end
writer.batch:close()
provider.stop()
