-- The provider's endpoints: the shapes of OpenAI, Anthropic and Gemini around one answer.

local cjson = require "cjson.safe"
local failure = require "failure"
local prompt = require "prompt"

local M = {}

local MISSING_MODEL = "gpt-5-nan"
local BAD_KEY = "bad-key"
local MODELS = { "gpt-5-mini", "gpt-5-nano", "stand-in", "text-embedding-3-small" }
local DIMENSIONS = 8
local MAX_DIMENSIONS = 4096

-- A text that may also come as a list of parts with a text each.
local function text_of(content)
  if type(content) == "string" then
    return content
  end
  local texts = {}
  for _, part in ipairs(type(content) == "table" and content or {}) do
    local text = type(part) == "table" and part.text or part
    texts[#texts + 1] = type(text) == "string" and text or nil
  end
  return table.concat(texts, "\n")
end

-- Messages with a role each; `texts` is what counts as the prompt's tokens.
local function conversation(messages, field)
  local system, user, texts = {}, "", {}
  for _, message in ipairs(messages) do
    if type(message) == "table" then
      local text = text_of(message[field])
      texts[#texts + 1] = text
      if message.role == "system" or message.role == "developer" then
        system[#system + 1] = text
      elseif message.role == "user" or message.role == nil then
        user = text
      end
    end
  end
  return { system = table.concat(system, "\n"), user = user, texts = table.concat(texts) }
end

local function answer(talk, body, request)
  talk.echo = body.echo == true
  local text = prompt.answer(talk, request.behave.skip_lines)
  return text, prompt.tokens(talk.texts), prompt.tokens(text)
end

local function wants_json(format)
  local kind = type(format) == "table" and format.type
  return kind == "json_object" or kind == "json_schema"
end

local function required(field, what)
  return failure.error(400, "missing_required_parameter",
    ("Missing required parameter: '%s' must be %s."):format(field, what))
end

local function model_of(body)
  return type(body.model) == "string" and body.model or "stand-in"
end

local function chat(request, body)
  if type(body.messages) ~= "table" or #body.messages == 0 then
    return required("messages", "a non-empty array")
  end
  local talk = conversation(body.messages, "content")
  talk.json = wants_json(body.response_format)
  local text, input, output = answer(talk, body, request)
  return { status = 200, json = {
    id = "chatcmpl-" .. request.serial,
    object = "chat.completion",
    created = ngx.time(),
    model = model_of(body),
    choices = { {
      index = 0,
      message = { role = "assistant", content = text, refusal = cjson.null },
      logprobs = cjson.null,
      finish_reason = "stop",
    } },
    usage = { prompt_tokens = input, completion_tokens = output, total_tokens = input + output },
  } }
end

local function responses(request, body)
  local talk
  if type(body.input) == "string" then
    talk = { system = "", user = body.input, texts = body.input }
  elseif type(body.input) == "table" then
    talk = conversation(body.input, "content")
  else
    return required("input", "a string or an array")
  end
  local instructions = text_of(body.instructions)
  talk.system = instructions .. talk.system
  talk.texts = instructions .. talk.texts
  talk.json = wants_json(type(body.text) == "table" and body.text.format)
  local text, input, output = answer(talk, body, request)
  return { status = 200, json = {
    id = "resp_" .. request.serial,
    object = "response",
    created_at = ngx.time(),
    status = "completed",
    error = cjson.null,
    model = model_of(body),
    output = { {
      id = "msg_" .. request.serial,
      type = "message",
      role = "assistant",
      status = "completed",
      content = { { type = "output_text", text = text, annotations = cjson.empty_array } },
    } },
    usage = { input_tokens = input, output_tokens = output, total_tokens = input + output },
  } }
end

local function messages(request, body)
  if type(body.messages) ~= "table" or #body.messages == 0 then
    return required("messages", "a non-empty array")
  end
  local talk = conversation(body.messages, "content")
  local system = text_of(body.system)
  talk.system, talk.texts = system, system .. talk.texts
  local text, input, output = answer(talk, body, request)
  return { status = 200, json = {
    id = "msg_" .. request.serial,
    type = "message",
    role = "assistant",
    model = model_of(body),
    content = { { type = "text", text = text } },
    stop_reason = "end_turn",
    stop_sequence = cjson.null,
    usage = { input_tokens = input, output_tokens = output },
  } }
end

local function gemini(request, body)
  if type(body.contents) ~= "table" or #body.contents == 0 then
    return required("contents", "a non-empty array")
  end
  local talk = conversation(body.contents, "parts")
  local instruction = body.systemInstruction
  local system = text_of(type(instruction) == "table" and instruction.parts)
  talk.system, talk.texts = system, system .. talk.texts
  local config = body.generationConfig
  talk.json = type(config) == "table" and config.responseMimeType == "application/json"
  local text, input, output = answer(talk, body, request)
  return { status = 200, json = {
    candidates = { {
      content = { role = "model", parts = { { text = text } } },
      finishReason = "STOP",
      index = 0,
    } },
    usageMetadata = {
      promptTokenCount = input,
      candidatesTokenCount = output,
      totalTokenCount = input + output,
    },
    modelVersion = model_of(body),
    responseId = "gen_" .. request.serial,
  } }
end

local function vector(text, dimensions)
  local values = {}
  for i = 1, dimensions do
    local value = ngx.crc32_long(i .. ":" .. text) / 2 ^ 31 - 1
    values[i] = math.floor(value * 1e6) / 1e6
  end
  return values
end

local function embeddings(_, body)
  local input = body.input
  if type(input) == "string" then
    input = { input }
  elseif type(input) ~= "table" or #input == 0 then
    return required("input", "a string or a non-empty array")
  elseif type(input[1]) == "number" then
    input = { input }
  end
  local dimensions = math.min(tonumber(body.dimensions) or DIMENSIONS, MAX_DIMENSIONS)
  local data, tokens = {}, 0
  for i, text in ipairs(input) do
    text = type(text) == "string" and text or cjson.encode(text)
    tokens = tokens + prompt.tokens(text)
    data[i] = { object = "embedding", index = i - 1, embedding = vector(text, dimensions) }
  end
  return { status = 200, json = {
    object = "list",
    data = data,
    model = model_of(body),
    usage = { prompt_tokens = tokens, total_tokens = tokens },
  } }
end

local function models()
  local data = {}
  for i, id in ipairs(MODELS) do
    data[i] = { id = id, object = "model", created = 1750000000, owned_by = "sheaf" }
  end
  return { status = 200, json = { object = "list", data = data } }
end

local POSTS = {
  ["/v1/chat/completions"] = chat,
  ["/v1/responses"] = responses,
  ["/v1/messages"] = messages,
  ["/v1/embeddings"] = embeddings,
}

local function route(request)
  if request.path == "/v1/models" then
    return models, "GET"
  end
  local model = request.path:match("^/v1beta/models/([^/:]+):generateContent$")
  return model and gemini or POSTS[request.path], "POST", model
end

local function refused_key()
  local var = ngx.var
  return var.http_authorization == "Bearer " .. BAD_KEY or var.http_x_api_key == BAD_KEY
    or var.http_x_goog_api_key == BAD_KEY
end

--- The reply to a request for one of the provider's endpoints.
--- @param request table
--- @return table reply
function M.answer(request)
  local endpoint, method, model = route(request)
  if not endpoint then
    return failure.error(404, "unknown_url",
      ("Unknown request URL: %s %s."):format(request.method, request.path))
  elseif request.method ~= method then
    return failure.error(405, "method_not_allowed", "This endpoint takes " .. method .. ".")
  elseif refused_key() then
    return failure.error(401)
  elseif method == "GET" then
    return endpoint()
  end
  local body = cjson.decode(request.body)
  if type(body) ~= "table" then
    return failure.error(400, "invalid_json",
      "We could not parse the JSON body of your request: an object is wanted.")
  end
  body.model = model or body.model
  if body.model == MISSING_MODEL then
    return failure.error(404, "model_not_found",
      ("The model '%s' does not exist"):format(MISSING_MODEL))
  end
  return endpoint(request, body)
end

return M
