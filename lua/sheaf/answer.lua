-- Where the providers put the text, the usage and the reason to finish. Shapes: OpenAI's chat completions
-- (and its many imitators) and responses, Anthropic's messages, Gemini's generateContent.

local answer = {}

local function table_at(value, key)
  local found = type(value) == "table" and value[key]
  return type(found) == "table" and found or nil
end

--- What a model says instead of an answer, from a list of parts.
local function refusal_in(parts)
  for _, part in ipairs(parts) do
    if type(part) == "table" and type(part.refusal) == "string" then return part.refusal end
  end
end

--- The texts of a list of parts, joined; nil if none has one.
local function join_parts(parts, wanted_type)
  local texts = {}
  for _, part in ipairs(parts) do
    if type(part) == "table" and type(part.text) == "string" and
        (wanted_type == nil or part.type == nil or part.type == wanted_type) then
      texts[#texts + 1] = part.text
    end
  end
  return #texts > 0 and table.concat(texts) or nil
end

local function chat_text(value)
  local choice = table_at(table_at(value, "choices"), 1)
  local message = table_at(choice, "message")
  if not message then return choice and choice.text end
  if type(message.content) == "string" then return message.content end
  local parts = table_at(message, "content")
  if not parts then return nil, message.refusal end
  return join_parts(parts, "text"), message.refusal or refusal_in(parts)
end

local function responses_text(value)
  local texts, refusal = {}, nil
  for _, item in ipairs(table_at(value, "output") or {}) do
    local parts = table_at(item, "content")
    texts[#texts + 1] = parts and join_parts(parts, "output_text")
    refusal = refusal or (parts and refusal_in(parts))
  end
  return #texts > 0 and table.concat(texts) or nil, refusal
end

local function anthropic_text(value)
  local parts = table_at(value, "content")
  return parts and join_parts(parts, "text")
end

local function gemini_text(value)
  local candidate = table_at(table_at(value, "candidates"), 1)
  local parts = table_at(table_at(candidate, "content"), "parts")
  local blocked = table_at(value, "promptFeedback")
  return parts and join_parts(parts), blocked and blocked.blockReason
end

--- The text of a decoded answer.
---@param value any
---@return string? text
---@return string? why there is none
function answer.text(value)
  local refused
  for _, read in ipairs{ chat_text, responses_text, anthropic_text, gemini_text } do
    local text, refusal = read(value)
    if type(text) == "string" then return text end
    refused = refused or refusal
  end
  if type(refused) == "string" then return nil, "the model refused: " .. refused end
  return nil, "the answer has no text where chat completions, responses, Anthropic's messages or "
    .. "Gemini put it"
end

--- How many tokens it took; nothing where the answer doesn't tell.
---@param value any
---@return number? input
---@return number? output
function answer.tokens(value)
  local usage = table_at(value, "usage") or table_at(value, "usageMetadata")
  if not usage then return nil end
  local input = usage.prompt_tokens or usage.input_tokens or usage.promptTokenCount
  local output = usage.completion_tokens or usage.output_tokens or usage.candidatesTokenCount
  if not input and not output then return nil end
  return tonumber(input) or 0, tonumber(output) or 0
end

--- The same as { input, output }, or nil.
---@param value any
function answer.usage(value)
  local input, output = answer.tokens(value)
  return input and { input = input, output = output }
end

--- Why the model stopped, in the provider's word: "stop", "length", "end_turn", "MAX_TOKENS".
---@param value any
---@return string?
function answer.finish_reason(value)
  local choice = table_at(table_at(value, "choices"), 1)
  local candidate = table_at(table_at(value, "candidates"), 1)
  local incomplete = table_at(value, "incomplete_details")
  local reason = choice and choice.finish_reason or candidate and candidate.finishReason or
    incomplete and incomplete.reason or type(value) == "table" and (value.stop_reason or value.status)
  return type(reason) == "string" and reason or nil
end

--- Message and code of a provider's error body.
---@param value any
---@return string? message
---@return string? code
function answer.error(value)
  if type(value) ~= "table" then return nil end
  if type(value[1]) == "table" then value = value[1] end
  local inner = value.error
  if type(inner) == "string" then return inner end
  if type(inner) ~= "table" then inner = value end
  local message = inner.message or inner.detail
  local code = inner.code
  if type(code) ~= "string" then code = inner.status or inner.type end
  return type(message) == "string" and message or nil, type(code) == "string" and code or nil
end

return answer
