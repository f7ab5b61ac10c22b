-- The common job in one call: the same prompt for many texts, results in the texts' order.

local batch = require "sheaf.batch"
local check = require "sheaf.check"
local each = require "sheaf.each"
local fault = require "sheaf.fault"
local loop = require "sheaf.loop"
local options = require "sheaf.options"
local processor_options = require "sheaf.processor_options"
local response = require "sheaf.response"
local task = require "sheaf.task"
local template = require "sheaf.template"

local processor = {}

local NAME = "sheaf.processor"

local CHAT_PATH = "/chat/completions"

--- A progress function hears of what changed at least this often, in seconds.
local PERIOD = 1

--- Stands for max_failures = false: more than any run has.
local NO_LIMIT = 2^31 - 1

---@class sheaf.Processor
---@field batch sheaf.Batch for requests in tasks of one's own; its close() ends the processor, too
---@field package given table the options, checked
---@field package path string of the requests it makes
---@field package env_key string? base_url with a slash, where the key came from the environment
local Processor = {}
Processor.__index = Processor
Processor.__name = NAME

--- Calls what raises for wrong use in its own name: raises in ours, at `level`.
local function in_our_name(who, level, fn, ...)
  local ok, made = pcall(fn, ...)
  if ok then return made end
  if type(made) ~= "string" then error(made, 0) end
  made = made:gsub("^[^:]+:%d+: ", ""):gsub("^[%w.:]+: ", "")
  error(who .. ": " .. made, level + 1)
end

--- Makes a processor: one prompt, one model, for any number of texts.
---
---     local labeller = sheaf.processor{
---       model = "gpt-4o-mini", prompt = "One word, positive or negative: {text}", parse = "text",
---     }
---     local labels = labeller:process{ "Works well.", "Broke at once." }
---     print(labels[1], labels[2])                      --> positive    negative
---
--- Options, beside all of sheaf.batch: `model`; `system` and `prompt`, a template in which {text}
--- is replaced, or function(text, index) that returns a text or a list of messages; `params`, more
--- fields of the request's JSON; `parse`, function(response, text) that returns the result, or nil
--- and why there is none, or "text" for the answer's text; `request`, function(text, index) that
--- returns any request, in place of model, system, prompt and params. `api_key` and `base_url` come
--- from OPENAI_API_KEY and OPENAI_BASE_URL by default. `max_concurrent` (50) is batch's
--- concurrency; `max_retries` (3, so 4 attempts; 0: none at all) is its retry.max; `chunk_size`
--- (100) is how many completions progress hears of at once. `max_failures`: see process.
---@param given table
---@return sheaf.Processor processor raises on wrong options
function processor.new(given)
  processor_options.check(given, 2)
  local wire, key_is_env = processor_options.batch(given, 2)
  local own = in_our_name(NAME, 2, batch.new, wire)
  return setmetatable({
    batch = own, given = options.merge(processor_options.defaults, given),
    path = own.options.path or CHAT_PATH,
    env_key = key_is_env and wire.base_url:gsub("/+$", "") .. "/" or nil,
  }, Processor)
end

-- Requests ---------------------------------------------------------------------------------------

--- A key out of the environment is for base_url: other addresses don't get to see it.
local function without_env_key(self, request)
  if not self.env_key or type(request) ~= "table" or type(request.url) ~= "string" or
      (request.url .. "/"):sub(1, #self.env_key) == self.env_key or
      processor_options.has_authorization(request.headers) then
    return request
  end
  return options.merge(request, {
    headers = options.merge(request.headers or {}, { Authorization = false }),
  })
end

--- The request for a text; or nil and what is wrong with the text.
local function build(self, text, index)
  local given = self.given
  if given.request then
    local request = given.request(text, index)
    if request == nil then return nil, "the request function returned nil" end
    return without_env_key(self, request)
  end
  local messages, message = template.messages(given.prompt, given.system, text, index)
  if not messages then return nil, message end
  local fields = options.merge(given.params or {}, { model = given.model, messages = messages })
  return { path = self.path, json = fields, id = index }
end

local function check_self(self, who)
  if getmetatable(self) ~= Processor then
    error(("%s: not a processor: call it with a colon"):format(who), 3)
  end
end

--- The request that process would send for a text: to look at, or to send in a task of one's own.
---
---     local answer = processor.batch:fetch(processor:request("Works well.")):text()
---
---@param text any
---@param index? integer
---@return table request raises where the text can't be sent
function Processor:request(text, index)
  check_self(self, "processor:request")
  local request, message = build(self, text, index)
  if request == nil then error("processor:request: " .. message, 2) end
  return request
end

-- Runs -------------------------------------------------------------------------------------------

local function parse_answer(given, result, text)
  local parse = given.parse
  if parse == nil then return result:json() end
  if parse == "text" then return result:text() end
  return parse(result, text)
end

--- What each runs as a task for a text. `items` holds its text and response for those whose error
--- comes as a thrown one.
local function asking(self, items)
  return function(text, index)
    local item = { text = text }
    items[index] = item
    local request, message = build(self, text, index)
    if request == nil then return nil, fault.new{ kind = "invalid", message = message } end
    local result = self.batch:fetch(request)
    if not result.ok then return nil, result.error end
    item.response = result
    local value, why = parse_answer(self.given, result, text)
    if value ~= nil then return value end
    if fault.is(why) then return nil, why end
    response.invalidate(result, why == nil and "parse returned nil" or tostring(why))
    return nil, result.error
  end
end

--- An error of sheaf's for what an item's task threw.
local function error_of(item, thrown)
  if fault.is(thrown) then return thrown end
  if item and item.response then
    response.invalidate(item.response, "parse raised: " .. tostring(thrown))
    return item.response.error
  end
  return fault.new{ kind = "internal", message = tostring(thrown) }
end

---@class sheaf.ProcessorIterator
local Iterator = {}
Iterator.__index = Iterator
Iterator.__name = "sheaf.ProcessorIterator"

function Iterator:__call()
  local index, result, err = self.inner()
  if index == nil then return nil end
  local item = self.items[index]
  self.items[index] = nil
  if err ~= nil then err = error_of(item, err) end
  return index, result, err, item and item.text
end

--- Takes no new texts and cancels what is live. On Lua 5.4 leaving the loop does it.
function Iterator:cancel()
  self.inner:cancel()
end

Iterator.__close = Iterator.cancel

local function iterate(self, texts, opts, who, level)
  local items = {}
  opts = options.merge({ max_failures = self.given.max_failures }, opts)
  if opts.max_failures == false then opts.max_failures = NO_LIMIT end
  local inner = in_our_name(who, level + 1, each.each, self.batch, texts, asking(self, items), opts)
  return setmetatable({ inner = inner, items = items }, Iterator)
end

--- Streams any number of texts, in bounded memory, in the order of completion.
---
---     for index, label, err, text in labeller:each(io.lines("reviews.txt")) do
---       print(index, label or err, text)
---     end
---
---@param texts table|fun(): any an array, or a function called until it returns nil
---@param opts? table as of batch:each: ordered, tasks, total, max_failures
---@return sheaf.ProcessorIterator iterator of index, result, err (a sheaf.Error), text; raises at
--- the end where too many failed, or with what the source threw
function Processor:each(texts, opts)
  check_self(self, "processor:each")
  if opts ~= nil then check.options("processor:each", opts, processor_options.each_rules, 2) end
  local iterator = iterate(self, texts, opts, "processor:each", 2)
  return iterator, nil, nil, iterator
end

--- How many texts there are; nil for a function.
local function length_of(texts)
  if type(texts) ~= "table" then return nil end
  local length = texts.n or 0
  for key in pairs(texts) do
    if type(key) == "number" and key > length then length = key end
  end
  return length
end

--- Tells a progress function. Returns what counts a completion, and what ends it.
local function telling(self, progress, total)
  local done, told = 0, nil
  local function tell()
    told = done
    local ok, err = loop.hook(progress, done, total, self.batch:stats())
    if not ok then loop.report(err) end
  end
  local ticker = task.spawn(function()
    while true do
      task.sleep(PERIOD)
      if done ~= (told or 0) then tell() end
    end
  end)
  local function count()
    done = done + 1
    if done % self.given.chunk_size == 0 then tell() end
  end
  local function finish()
    ticker:cancel()
    if done ~= told then tell() end
  end
  return count, finish
end

local function nothing() end

--- Asks for each text and collects the results.
---
---     local results = labeller:process(reviews, function(done, total) print(done, total) end)
---     for i = 1, results.n do print(results[i].error or results[i]) end
---
--- A text that fails is a result, too: { error, text }, where error is the response's, or of kind
--- "invalid" where parse threw or refused the answer. Texts are sent as they are, also empty ones
--- and long ones; those that are no UTF-8 fail without a call.
---
--- When the first 20 all failed, something is wrong with all of them (the key, most likely): no
--- more are sent, and where that leaves some out, an error is raised that says so and has what
--- there is in its field `results`. `max_failures` sets another number, and then always raises;
--- false goes on to the end.
---@param texts table|fun(): any an array (a nil in it fails), or a function as for each
---@param progress? fun(done: integer, total: integer?, stats: table) told after each `chunk_size`
--- completions, at least once a second if something changed, and at the end; must not wait. What it
--- throws goes to sheaf.on_error. total is nil where texts is a function
---@return any[] results one per text, in the texts' order, with their number in `n`; raises what
--- the source threw
function Processor:process(texts, progress)
  check_self(self, "processor:process")
  if progress ~= nil and type(progress) ~= "function" then
    check.fail("processor:process", "progress", "a function", progress, 2)
  end
  local iterator = iterate(self, texts, nil, "processor:process", 2)
  local total = length_of(texts)
  local count, finish = nothing, nothing
  if progress then count, finish = telling(self, progress, total) end
  local results = { n = 0 }
  local ok, failure = task.pcall(function()
    local index, result, err, text = iterator()
    while index do
      if err ~= nil then result = { error = err, text = text } end
      results[index] = result
      if index > results.n then results.n = index end
      count()
      index, result, err, text = iterator()
    end
  end)
  finish()
  if ok then return results end
  iterator:cancel()
  if type(failure) == "table" and failure.kind == "failures" then
    if self.given.max_failures == nil and failure.done == total then return results end
    failure.results = results
  end
  error(failure, 0)
end

return processor
