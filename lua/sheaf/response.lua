-- How a request ended, good or bad. The core makes the table; what most scripts never look at is parsed on
-- first use.

local answer = require "sheaf.answer"
local fault = require "sheaf.fault"
local json = require "sheaf.json"

local response = {}

--- How much of a body that is no JSON is shown in a message.
local SNIPPET = 80

---@class sheaf.Response
---@field ok boolean 2xx and valid
---@field status integer? nil where there was no answer
---@field headers table<string, string|string[]> any case; repeated ones joined by ", ", set-cookie a list
---@field body string
---@field error sheaf.Error? where not ok
---@field id any the request's
---@field attempts integer
---@field elapsed number seconds from submit to the end
---@field timing { queued: number, connect: number, first_byte: number, total: number } seconds of the last attempt
---@field usage { input: number, output: number }? tokens
---@field finish_reason string?
---@field request_id string? the provider's
local Response = {}

local headers_mt = {
  __index = function(self, name)
    return type(name) == "string" and rawget(self, name:lower()) or nil
  end,
}

--- Parses a head: names in lower case; the last status line's block only.
local function parse_head(head)
  local headers = setmetatable({}, headers_mt)
  head = head:gsub("\r?\n[ \t]+", " ")
  for line in head:gmatch("[^\r\n]+") do
    local name, value = line:match("^([^:%s]+)%s*:%s*(.-)%s*$")
    if name then
      name = name:lower()
      local before = rawget(headers, name)
      if name == "set-cookie" then
        if before then before[#before + 1] = value else headers[name] = { value } end
      else
        headers[name] = before and before .. ", " .. value or value
      end
    end
  end
  return headers
end

local function snippet(body)
  local text = body:sub(1, SNIPPET):gsub("[%c\127-\255]+", " ")
  return #body > SNIPPET and text .. "..." or text
end

--- The body, decoded.
---@return any? value nil where it is no JSON
---@return string? message
function Response:json()
  local value = rawget(self, "_json")
  if value ~= nil then return value end
  local message = rawget(self, "_no_json")
  if message then return nil, message end
  value, message = json.decode(self.body)
  if value == nil then
    message = self.body == "" and "the answer is empty" or
      ("the answer is no JSON (%s): %s"):format(message, snippet(self.body))
    self._no_json = message
    return nil, message
  end
  self._json = value
  return value
end

--- The answer's text: of chat completions, responses, Anthropic's messages, or Gemini.
---
---     print(assert(batch:fetch(request):text()))
---
---@return string? text
---@return string? message why there is none; for a response that isn't ok, its error as a sentence
---@return string? kind
function Response:text()
  if not self.ok then return nil, tostring(self.error), self.error.kind end
  local value, message = self:json()
  if value == nil then return nil, message, "invalid" end
  local text, why = answer.text(value)
  if not text then return nil, why, "invalid" end
  return text
end

local function decoded(self)
  local body = self.body
  if body:find("^%s*[%[{]") then return (self:json()) end
end

--- Fields made on first use.
local lazy = {
  headers = function(self) return parse_head(rawget(self, "_head") or "") end,
  timing = function(self)
    return {
      queued = rawget(self, "_queued"), connect = rawget(self, "_connect"),
      first_byte = rawget(self, "_first_byte"), total = rawget(self, "_total"),
    }
  end,
  usage = function(self) return answer.usage(decoded(self)) end,
  finish_reason = function(self) return answer.finish_reason(decoded(self)) end,
  request_id = function(self)
    local headers = self.headers
    return headers["x-request-id"] or headers["request-id"] or headers["apim-request-id"] or
      headers["x-amzn-requestid"]
  end,
}

Response.__name = "sheaf.Response"
Response.__index = function(self, key)
  local make = lazy[key]
  if make then
    local value = make(self)
    rawset(self, key, value)
    return value
  end
  return Response[key]
end

local function title_of(body)
  return body:match("<[tT][iI][tT][lL][eE]>%s*(.-)%s*</")
end

--- The error of a response that isn't ok, from what the core and the provider said.
local function failure(self, kind, message)
  local code
  if self.status and (kind == "http" or kind == "rate_limit" or kind == "quota" or
      kind == "deadline") and self.body ~= "" then
    local told, provider_code = answer.error(decoded(self))
    code = provider_code
    local plain = not told and (title_of(self.body) or snippet(self.body))
    message = message or told or plain
  end
  return fault.new{
    kind = kind, message = message, status = self.status, code = code,
    request_id = self.request_id, attempts = self.attempts,
    retry_after = rawget(self, "_retry_after"), where = rawget(self, "_where"),
  }
end

--- Makes a response of what the core handed over.
function response.new(raw, id)
  raw.id = id
  setmetatable(raw, Response)
  if not raw.ok then raw.error = failure(raw, raw._kind, raw._message) end
  return raw
end

--- Turns a response that was judged into an invalid one; or of another kind, where the deadline is what
--- keeps it from being tried again.
function response.invalidate(self, why, kind, where)
  self.ok, self._where = false, where
  self.error = failure(self, kind or "invalid", why)
end

--- A response for a request that got none: cancelled or closed on the Lua thread, or never started.
function response.without_answer(kind, id, elapsed, message)
  return setmetatable({
    ok = false, body = "", _head = "", id = id, attempts = 0, elapsed = elapsed,
    _queued = elapsed, _connect = 0, _first_byte = 0, _total = 0,
    error = fault.new{ kind = kind, message = message },
  }, Response)
end

return response
