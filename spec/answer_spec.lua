-- Where the providers put texts, usage, reasons and errors.

local answer = require "sheaf.answer"

describe("answer.text reads", function()
  it("chat completions, with the content as text or in parts", function()
    assert.equal("hello", answer.text{ choices = { { message = { content = "hello" } },
      { message = { content = "other" } } } })
    assert.equal("", answer.text{ choices = { { message = { content = "" } } } })
    assert.equal("ab", answer.text{ choices = { { message = { content = {
      { type = "text", text = "a" }, { type = "image", text = "no" }, { type = "text", text = "b" },
    } } } } })
  end)

  it("old completions", function()
    assert.equal("hello", answer.text{ choices = { { text = "hello" } } })
  end)

  it("responses, past the items that are no messages", function()
    assert.equal("hello there", answer.text{ output = {
      { type = "reasoning", summary = {} },
      { type = "message", content = { { type = "output_text", text = "hello " } } },
      { type = "message", content = { { type = "output_text", text = "there" } } },
    } })
  end)

  it("Anthropic's messages, past what is no text", function()
    assert.equal("ab", answer.text{ type = "message", content = {
      { type = "thinking", thinking = "hm" }, { type = "text", text = "a" },
      { type = "tool_use", input = {} }, { type = "text", text = "b" },
    } })
  end)

  it("Gemini's parts", function()
    assert.equal("ab", answer.text{ candidates = { { content = { parts = {
      { text = "a" }, { text = "b" } } } } } })
  end)

  it("refusals as no text, with the model's words", function()
    for _, value in ipairs{
      { choices = { { message = { refusal = "I can't." } } } },
      { choices = { { message = { content = { { type = "refusal", refusal = "I can't." } } } } } },
      { output = { { content = { { type = "refusal", refusal = "I can't." } } } } },
    } do
      local text, why = answer.text(value)
      assert.is_nil(text)
      assert.equal("the model refused: I can't.", why)
    end
    assert.same({ nil, "the model refused: SAFETY" },
      { answer.text{ promptFeedback = { blockReason = "SAFETY" } } })
  end)

  it("nothing where there is none, and never raises", function()
    for _, value in ipairs{ {}, 5, "text", true, { choices = {} }, { choices = { 1 } }, { choices = 5 },
      { choices = { { message = {} } } }, { choices = { { message = { content = 5 } } } },
      { output = { 1, { content = { 2 } } } }, { content = "x" }, { content = { { type = "text" } } },
      { candidates = { { content = { parts = { {} } } } } }, { choices = { { text = 5 } } },
      { choices = { { message = { content = {} } } } } } do
      local text, why = answer.text(value)
      assert.is_nil(text)
      assert.truthy(why:find("no text", 1, true))
    end
    assert.is_nil((answer.text(nil)))
  end)
end)

describe("answer.usage reads", function()
  it("each provider's names", function()
    for _, value in ipairs{
      { usage = { prompt_tokens = 3, completion_tokens = 4, total_tokens = 7 } },
      { usage = { input_tokens = 3, output_tokens = 4 } },
      { usageMetadata = { promptTokenCount = 3, candidatesTokenCount = 4 } },
    } do
      assert.same({ input = 3, output = 4 }, answer.usage(value))
    end
  end)

  it("one of the two, as embeddings have it", function()
    assert.same({ input = 3, output = 0 }, answer.usage{ usage = { prompt_tokens = 3 } })
  end)

  it("nothing from what is none", function()
    for _, value in ipairs{ {}, 5, { usage = 5 }, { usage = {} }, { usage = { total = 1 } } } do
      assert.is_nil(answer.usage(value))
    end
    assert.is_nil(answer.usage(nil))
    assert.same({ input = 0, output = 4 },
      answer.usage{ usage = { prompt_tokens = {}, completion_tokens = 4 } })
  end)
end)

describe("answer.finish_reason reads", function()
  it("the provider's word", function()
    assert.equal("length", answer.finish_reason{ choices = { { finish_reason = "length" } } })
    assert.equal("end_turn", answer.finish_reason{ stop_reason = "end_turn" })
    assert.equal("MAX_TOKENS", answer.finish_reason{ candidates = { { finishReason = "MAX_TOKENS" } } })
    assert.equal("completed", answer.finish_reason{ status = "completed" })
  end)

  it("why a response is incomplete", function()
    assert.equal("max_output_tokens", answer.finish_reason{
      status = "incomplete", incomplete_details = { reason = "max_output_tokens" } })
  end)

  it("nothing from what has none", function()
    for _, value in ipairs{ {}, 5, { choices = { {} } }, { choices = 1 }, { status = 200 } } do
      assert.is_nil(answer.finish_reason(value))
    end
  end)
end)

describe("answer.error reads", function()
  local function same(message, code, value)
    assert.same({ n = 2, message, code }, { n = 2, answer.error(value) })
  end

  it("OpenAI's, by its code or else its type", function()
    same("No such model", "model_not_found", { error = {
      message = "No such model", type = "invalid_request_error", code = "model_not_found" } })
    same("Bad", "invalid_request_error", { error = {
      message = "Bad", type = "invalid_request_error" } })
  end)

  it("Anthropic's", function()
    same("Overloaded", "overloaded_error", { type = "error", error = {
      type = "overloaded_error", message = "Overloaded" } })
  end)

  it("Gemini's, also in an array", function()
    local value = { error = { code = 400, message = "Bad key", status = "INVALID_ARGUMENT" } }
    same("Bad key", "INVALID_ARGUMENT", value)
    same("Bad key", "INVALID_ARGUMENT", { value })
  end)

  it("those of plain servers", function()
    same("no way", nil, { error = "no way" })
    same("no way", nil, { message = "no way" })
    same("no way", nil, { detail = "no way" })
  end)

  it("nothing from anything else", function()
    for _, value in ipairs{ {}, 5, "x", { error = {} }, { error = 5 }, { error = { message = {} } },
      { detail = { { msg = "x" } } } } do
      same(nil, nil, value)
    end
    same(nil, nil, nil)
  end)
end)
