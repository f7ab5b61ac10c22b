-- A script of one's own, in the shape that can be tested: a module that is given its batch. The
-- script that uses it makes one for the provider; labels_spec.lua makes one without any network.

local labels = {}

local PROMPT = "Answer with one word, positive, negative or mixed. The review:\n"

local KNOWN = { positive = true, negative = true, mixed = true }

local function request_for(review)
  return {
    path = "/chat/completions",
    json = { model = "gpt-4o-mini", messages = { { role = "user", content = PROMPT .. review } } },
  }
end

--- Labels reviews, with their number in `n`; "unknown" where the model has no usable answer.
---@param batch sheaf.Batch
---@param reviews string[]
function labels.of(batch, reviews)
  return batch:map(reviews, function(review)
    local answer, problem = batch:fetch(request_for(review)):text()
    if not answer then return nil, problem end
    local word = answer:lower():match("%a+")
    return KNOWN[word] and word or "unknown"
  end)
end

return labels
