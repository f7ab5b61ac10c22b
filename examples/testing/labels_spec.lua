-- Tests of labels.lua without a network: `transport` answers in its place. All else is real: order,
-- limits, retries, what becomes of an error.
--
--   busted examples/testing/labels_spec.lua

local labels = require "examples.testing.labels"
local sheaf = require "sheaf"

-- A batch whose model answers with what `answer` returns for a review.
local function batch_with(answer, options)
  options = options or {}
  options.base_url = "http://model.test"
  options.transport = function(request, attempt)
    local review = request.json.messages[1].content:match("\n(.*)$")
    local text, status = answer(review, attempt)
    if status then return { status = status, json = { error = { message = text } } } end
    return { json = { choices = { { message = { content = text } } } } }
  end
  return sheaf.batch(options)
end

describe("labels.of", function()
  it("keeps the reviews' order, whichever answer comes first", function()
    local batch = batch_with(function(review) return review end)
    assert.same({ "positive", "negative", "mixed", n = 3 },
      labels.of(batch, { "positive", "negative", "mixed" }))
  end)

  it("finds the word in an answer with frills", function()
    local batch = batch_with(function() return " Positive.\n" end)
    assert.equal("positive", labels.of(batch, { "Works well." })[1])
  end)

  it("does not trust the model", function()
    local batch = batch_with(function() return "As a language model I can't say" end)
    assert.equal("unknown", labels.of(batch, { "Works well." })[1])
  end)

  it("has a label after a server error that passed", function()
    local calls = 0
    local batch = batch_with(function(_, attempt)
      calls = calls + 1
      if attempt == 1 then return "try again", 503 end
      return "mixed"
    end, { retry = { base = 0 } })
    assert.equal("mixed", labels.of(batch, { "Hm." })[1])
    assert.equal(2, calls)
  end)

  it("says which review failed and why, and labels the others", function()
    local batch = batch_with(function(review)
      if review == "bad" then return "not allowed", 403 end
      return "positive"
    end)
    local found, problems = labels.of(batch, { "good", "bad" })
    assert.equal("positive", found[1])
    assert.is_nil(found[2])
    assert.matches("403.*not allowed", problems[2])
  end)
end)
