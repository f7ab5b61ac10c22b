-- From the request a user wrote to what the core starts.

local check = require "sheaf.check"
local core = require "sheaf.core"
local json = require "sheaf.json"
local options = require "sheaf.options"

local request = {}

local rules = options.request_rules
local concat, sort = table.concat, table.sort

--- Methods are sent as given; RFC 9110 §9.1 makes them tokens, and none in use is longer.
local METHOD_PATTERN = "^%u[%u%-]*$"
local METHOD_MOST = 15

--- Headers every request has unless told otherwise. A string body is JSON made by another codec, more often
--- than not.
local COMMON_HEADERS = { ["content-type"] = "application/json", ["expect"] = false }

--- Labels for SHEAF_LOG are cut here.
local LABEL_MOST = 60

--- A value as text; whole numbers without a dot, in each Lua.
local function written(value)
  if type(value) == "number" and value == math.floor(value) and math.abs(value) < 2^53 then
    return ("%d"):format(value)
  end
  return tostring(value)
end

local function percent(text)
  return (text:gsub("[^%w%-._~]", function(c) return ("%%%02X"):format(c:byte()) end))
end

--- A query table as text: names sorted, a list as one name several times.
local function query_text(who, query, level)
  local parts = {}
  for name, value in pairs(query) do
    local values = type(value) == "table" and value or { value }
    for _, one in ipairs(values) do
      local kind = type(one)
      if kind ~= "string" and kind ~= "number" and kind ~= "boolean" then
        check.fail(who, ("query[%s]"):format(check.show(name)), "a string, a number or a boolean",
          one, level + 1)
      end
      parts[#parts + 1] = percent(tostring(name)) .. "=" .. percent(written(one))
    end
  end
  sort(parts)
  return concat(parts, "&")
end

--- base_url and path with one slash between them.
local function join(base, path)
  if path == nil or path == "" then return base end
  return (base:gsub("/+$", "")) .. "/" .. (path:gsub("^/+", ""))
end

--- The same for a batch and one of its requests. Most requests of a batch go to one path: the last one's
--- address is kept.
local function joined(batch, path)
  if path ~= batch.last_path then
    batch.last_path, batch.last_address = path, join(batch.options.base_url, path)
  end
  return batch.last_address
end

local function address(who, given, batch, level)
  local defaults = batch.options
  local url = given.url
  if not url then
    local path = given.path or defaults.path
    local base = defaults.base_url
    if not base then
      error(("%s: the request has no 'url', and the batch no 'base_url'"):format(who), level + 1)
    end
    url = path and joined(batch, path) or base
  elseif given.path then
    error(("%s: 'url' and 'path' together: give one of them"):format(who), level + 1)
  end
  local query = given.query or defaults.query
  if query then
    local text = query_text(who, query, level + 1)
    if text ~= "" then url = url .. (url:find("?", 1, true) and "&" or "?") .. text end
  end
  return url
end

--- Lays headers over others, in place; a name in another case is the same name.
local function lay_over(headers, over)
  local names = {}
  for name in pairs(headers) do names[name:lower()] = name end
  for name, value in pairs(over) do
    local before = names[name:lower()]
    if before then headers[before] = nil end
    names[name:lower()] = name
    headers[name] = value
  end
  return headers
end

--- What a batch's requests are sent with: common headers, the key, the user's.
---@param full table the batch's options
---@return table<string, string|number|false>
function request.batch_headers(full)
  local headers = lay_over({}, COMMON_HEADERS)
  if full.api_key then lay_over(headers, { Authorization = "Bearer " .. full.api_key }) end
  return lay_over(headers, full.headers)
end

--- Header lines as libcurl takes them; false takes a header away.
---@param headers table<string, string|number|false>
---@return string[]
function request.lines(headers)
  local lines = {}
  for name, value in pairs(headers) do
    if value == false then
      lines[#lines + 1] = name .. ":"
    elseif value == "" then
      lines[#lines + 1] = name .. ";"
    else
      lines[#lines + 1] = name .. ": " .. written(value)
    end
  end
  return lines
end

local function check_fields(who, given, level)
  if type(given) ~= "table" then
    error(("%s: a request is a table, got %s"):format(who, check.show(given)), level + 1)
  end
  for name, value in pairs(given) do
    local rule = rules[name]
    if rule == nil then
      if name == "form" then
        error(("%s: 'form' is reserved for multipart bodies and can't be sent yet"):format(who),
          level + 1)
      end
      check.unknown(who, name, rules, level + 1)
    end
    if rule.rules and type(value) == "table" then
      check.options(who, value, rule.rules, level + 1, name)
    elseif not rule.test(value) then
      check.fail(who, name, rule.wanted, value, level + 1)
    end
  end
end

local function encode_body(who, given, level)
  if given.json == nil then return given.body end
  if given.body ~= nil then
    error(("%s: 'json' and 'body' together: give one of them"):format(who), level + 1)
  end
  local text, message = json.encode(given.json)
  if not text then
    error(("%s: 'json' can't be encoded: %s"):format(who, tostring(message)), level + 1)
  end
  return text
end

local function check_method(who, method, level)
  if #method > METHOD_MOST or not method:find(METHOD_PATTERN) then
    check.fail(who, "method", 'a method in capitals like "GET"', method, level + 1)
  end
end

--- Settings of its own for a request that overrules the batch's.
local function own_settings(given, defaults)
  return options.settings{
    retry = options.retry(defaults.retry, given.retry),
    timeout = options.timeout(defaults.timeout, given.timeout),
    max_body = given.max_body or defaults.max_body,
    redirects = given.redirects or defaults.redirects,
  }
end

local function label_of(id, serial)
  local text = id ~= nil and tostring(id) or "#" .. serial
  return (text:sub(1, LABEL_MOST):gsub("%c", "?"))
end

-- Headers by name in any case; as in a response, they are listed in lower case.
local shown_mt = {
  __index = function(self, name)
    return type(name) == "string" and rawget(self, name:lower()) or nil
  end,
}

--- What a transport is shown: the request as it would go out.
function request.shown(ticket)
  local given = ticket.request
  local headers = setmetatable({}, shown_mt)
  local all = lay_over(request.batch_headers(ticket.batch.options), given.headers or {})
  for name, value in pairs(all) do
    if value ~= false then headers[name:lower()] = written(value) end
  end
  if not ticket.body then headers["content-type"] = nil end
  return {
    method = ticket.method, url = ticket.url, path = given.path, body = ticket.body,
    json = given.json, headers = headers, id = given.id,
  }
end

--- Checks a request and makes a ticket of it, not started yet. Raises at `level`.
---@param batch sheaf.Batch
---@param given table
---@param who string
---@param level integer
function request.prepare(batch, given, who, level)
  check_fields(who, given, level + 1)
  local defaults = batch.options
  if given.headers then check.headers(who, given.headers, level + 1) end
  local body = encode_body(who, given, level + 1)
  local method = given.method or defaults.method
  if not method or (method == "GET" and not given.method) then method = body and "POST" or "GET" end
  if given.method or defaults.method then check_method(who, method, level + 1) end
  return {
    batch = batch, request = given, method = method, body = body,
    url = address(who, given, batch, level + 1),
    expects_json = (given.expect or defaults.expect or (given.json ~= nil and "json")) == "json",
    validate = given.validate or defaults.validate,
    on_done = given.on_done or defaults.on_done,
    on_retry = given.on_retry or defaults.on_retry,
    transport = given.transport or defaults.transport,
  }
end

--- Hands a prepared ticket to the core.
---@return integer? slot
---@return string? message
---@return string? code "url": the address is at fault; else the machine refused something
function request.start(ticket, item)
  local batch, given = ticket.batch, ticket.request
  if ticket.url:find("%z") then return nil, "it contains NUL", "url" end
  local settings = batch.settings
  if given.timeout ~= nil or given.retry ~= nil or given.max_body or given.redirects then
    settings = own_settings(given, batch.options)
  end
  local lines = given.headers and next(given.headers) ~= nil and request.lines(given.headers) or nil
  return core.start(batch.core, settings, ticket.method, ticket.url, ticket.body, lines,
    given.priority or batch.options.priority, item,
    ticket.expects_json or ticket.validate ~= nil, ticket.transport ~= nil, ticket.on_retry ~= nil,
    batch.labels and label_of(given.id, batch.counts.total + 1) or nil)
end

return request
