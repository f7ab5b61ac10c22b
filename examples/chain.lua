-- A chain per item, hundreds at once: a draft, then a critique of the draft. An item's steps follow
-- one another; the items don't wait for each other. Later steps of an older item go before the
-- first of a newer one, so that results come from the start.
--
--   lua5.4 examples/chain.lua [how many]

local sheaf = require "sheaf"
local provider = require("examples.support").provider("latency=uniform:0.05:0.15;faults=0.02")

local batch = sheaf.batch{
  base_url = provider.base_url, api_key = provider.api_key,
  concurrency = 100,
}

local function ask(prompt)
  local response = batch:fetch{
    path = "/chat/completions",
    json = { model = provider.model, messages = { { role = "user", content = prompt } } },
  }
  return assert(response:text())          -- an error ends this item, the others go on
end

local function write_about(subject)
  local draft = ask("Write a sentence about: " .. subject)
  local critique = ask("Critique this text: " .. draft)
  return { draft = draft, critique = critique }
end

local subjects = {}
for i = 1, tonumber(arg[1]) or 300 do subjects[i] = "the number " .. i end

local began = sheaf.now()
local written, problems = batch:map(subjects, write_about)

local failed = 0
for i = 1, written.n do
  if problems[i] then failed = failed + 1 end
end

local first = assert(written[1], problems[1])
print("draft:    " .. first.draft)
print("critique: " .. first.critique)

local stats = batch:stats()
print(("%d items, %d failed, %d calls and %d retries in %.1f s"):format(
  written.n, failed, stats.done, stats.retried, sheaf.now() - began))

batch:close()
provider.stop()
