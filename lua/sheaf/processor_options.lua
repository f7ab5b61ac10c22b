-- What sheaf.processor takes, beside all that sheaf.batch does: checks and defaults.

local batch = require "sheaf.batch"
local check = require "sheaf.check"
local options = require "sheaf.options"
local template = require "sheaf.template"

local processor_options = {}

local NAME = "sheaf.processor"

local DEFAULT_URL = "https://api.openai.com/v1"

processor_options.defaults = { max_concurrent = 50, max_retries = 3, chunk_size = 100 }
local defaults = processor_options.defaults

local own_rules = {
  model = check.string, system = check.string, params = check.table,
  prompt = check.either(check.string, check.func), request = check.func,
  parse = check.either(check.func, check.one_of("text")),
  max_concurrent = options.batch_rules.concurrency, max_retries = check.count,
  chunk_size = check.positive,
  max_failures = {
    wanted = "a positive integer, or false for no limit",
    test = function(value) return value == false or check.positive.test(value) end,
  },
}
local rules = options.merge(options.batch_rules, own_rules)

--- What processor:each takes.
processor_options.each_rules = {
  ordered = check.boolean, tasks = check.positive, total = check.count,
  max_failures = own_rules.max_failures,
}

--- What people put beside `model` that belongs into the request's JSON.
local PARAMS = {}
for name in ([[
  temperature top_p max_tokens max_completion_tokens response_format seed stop tools tool_choice
  frequency_penalty presence_penalty reasoning_effort logprobs
]]):gmatch("%S+") do PARAMS[name] = true end

--- An environment variable; one that is empty counts as not set.
local function env(name)
  local value = os.getenv(name)
  return value ~= "" and value or nil
end

local function refuse_both(both, name, other, level)
  if both then
    error(("%s: '%s' and '%s' are the same thing: give one of them"):format(NAME, name, other),
      level + 1)
  end
end

local function check_one_name(given, level)
  local retries, retry = given.max_retries ~= nil, given.retry
  refuse_both(given.max_concurrent ~= nil and given.concurrency ~= nil,
    "max_concurrent", "concurrency", level + 1)
  refuse_both(retries and type(retry) == "number", "max_retries", "retry", level + 1)
  refuse_both(retries and type(retry) == "table" and retry.max ~= nil,
    "max_retries", "retry.max", level + 1)
end

--- What the request is made of: a hook makes all of it, else there is a model and a prompt.
local function check_request(given, level)
  if given.request then
    for _, name in ipairs{ "model", "system", "prompt", "params" } do
      if given[name] ~= nil then
        error(("%s: '%s' has no effect beside 'request', which makes the whole request"):format(
          NAME, name), level + 1)
      end
    end
  elseif not given.model then
    error(NAME .. ": 'model' is missing: the name of a model, such as \"gpt-4o-mini\"", level + 1)
  end
  local prompt, params = given.prompt, given.params or {}
  if type(prompt) == "string" and not template.uses(prompt, "text") then
    check.fail(NAME, "prompt", "a template with {text} in it, or a function", prompt, level + 1)
  elseif params.model ~= nil then
    error(NAME .. ": 'params' must not have 'model': that is an option of its own", level + 1)
  elseif params.messages ~= nil then
    error(NAME .. ": 'params' must not have 'messages': 'system' and 'prompt' make them", level + 1)
  end
end

function processor_options.check(given, level)
  for name in pairs(type(given) == "table" and given or {}) do
    if PARAMS[name] then
      error(("%s: unknown option '%s': what goes into the request's JSON belongs into "
        .. "params = { %s = ... }"):format(NAME, name, name), level + 1)
    end
  end
  check.options(NAME, given, rules, level + 1)
  check_one_name(given, level + 1)
  check_request(given, level + 1)
end

function processor_options.has_authorization(headers)
  for name in pairs(headers or {}) do
    if type(name) == "string" and name:lower() == "authorization" then return true end
  end
  return false
end

--- The batch's options; second, whether the key is the environment's.
function processor_options.batch(given, level)
  local base = batch.is(given.from) and given.from.options
  local wire = {}
  for name in pairs(options.batch_rules) do wire[name] = given[name] end
  if given.max_concurrent or not (given.from or given.limiter or given.concurrency) then
    wire.concurrency = given.max_concurrent or defaults.max_concurrent
  end
  if type(given.retry) ~= "number" and (given.max_retries or not base) then
    wire.retry = options.merge({ max = given.max_retries or defaults.max_retries }, given.retry)
  end
  local url = given.base_url or (base and base.base_url) or env("OPENAI_BASE_URL") or DEFAULT_URL
  wire.base_url = url
  if not base then wire.api_key = given.api_key or env("OPENAI_API_KEY") end
  if url:gsub("/+$", "") == DEFAULT_URL and not (wire.api_key or base or given.request or
      given.transport or processor_options.has_authorization(given.headers)) then
    error(("%s: no API key for %s: set OPENAI_API_KEY, or give 'api_key'"):format(
      NAME, DEFAULT_URL), level + 1)
  end
  return wire, not base and given.api_key == nil and wire.api_key ~= nil
end

return processor_options
