--- JSON without lua-cjson's traps, by a private copy of it: settings of the shared one leak to every
--- user of the Lua state, and theirs to us.
---
---     local value, message = sheaf.json.decode('{"a": [1, null], "b": null}')
---     --> { a = { 1, sheaf.json.null } }: objects drop nulls, arrays keep their places
---     sheaf.json.encode{ tags = sheaf.json.array{} }   --> {"tags":[]}
---
---@class sheaf.json
---@field null any stands for null in decoded arrays, and for null in what is encoded
local core = require "sheaf.core"

local json = {}

local floor, type, pairs, next = math.floor, type, pairs, next
local math_type = math.type or function() return nil end

--- Integers of more digits than this an old cjson writes as 1e+14.
local SAFE_INTEGER = 1e14

--- What a float holds exactly.
local EXACT = 2^53

local codec                     -- { encode, decode, null }; each returns nil, message on failure
local old                       -- the codec writes long integers and empty arrays wrong

local array_mark = {}           -- metatable of what json.array returns

-- What is put in raw afterwards is marked by a text that nobody's strings contain: it names an address
-- of this process.
local MARK = ("sheaf-%s-"):format(tostring({}):gsub("%W", ""))
local MARK_PATTERN = '"' .. MARK:gsub("%-", "%%-") .. '([^"]*)"'

--- Marks a table as an array, so that it is encoded as [] also when empty.
---@param values table
---@return table values the same
function json.array(values)
  return setmetatable(values, array_mark)
end

--- What an old codec would get wrong, wrapped; the table itself stays as it is.
local function wrapped(value, seen)
  local kind = type(value)
  if kind == "number" then
    if (value >= SAFE_INTEGER or value <= -SAFE_INTEGER) and floor(value) == value and
        (math_type(value) == "integer" or (value < EXACT and value > -EXACT)) then
      return MARK .. ("%d"):format(value)
    end
  elseif kind == "table" then
    if next(value) == nil then
      return getmetatable(value) == array_mark and MARK .. "[]" or value
    end
    if seen[value] then return value end
    seen[value] = true
    local copy
    for k, v in pairs(value) do
      local new = wrapped(v, seen)
      if new ~= v then
        if not copy then
          copy = {}
          for k2, v2 in pairs(value) do copy[k2] = v2 end
        end
        copy[k] = new
      end
    end
    seen[value] = nil
    return copy or value
  end
  return value
end

--- Encodes a value.
---@param value any tables with keys 1..n are arrays, others objects
---@return string? text nil where it can't be encoded
---@return string? message
function json.encode(value)
  if not codec then json.use() end
  if not old or core.plain(value, array_mark) then return codec.encode(value) end
  local simple = wrapped(value, {})
  local text, message = codec.encode(simple)
  if text and simple ~= value then text = text:gsub(MARK_PATTERN, "%1") end
  return text, message
end

--- Decodes a text.
---@param text string
---@return any? value nil where it is no JSON
---@return string? message
function json.decode(text)
  if not codec then json.use() end
  local value, message = codec.decode(text)
  if value == nil then return nil, message or "not JSON" end
  return core.tidy(value, codec.null)
end

local function from_cjson()
  local found, cjson = pcall(require, "cjson.safe")
  if not found then return nil end
  local own = cjson.new()
  own.encode_sparse_array(true)
  own.decode_invalid_numbers(false)  -- else NaN, Infinity and 0x10 count as JSON
  return { encode = own.encode, decode = own.decode, null = cjson.null }
end

--- Functions that raise, as functions that return nil and a message.
local function safe(fn)
  return function(...)
    local ok, value, message = pcall(fn, ...)
    if not ok then return nil, tostring(value) end
    if value == nil then return nil, message and tostring(message) end
    return value
  end
end

local function from_vim()
  local vim = rawget(_G, "vim")
  if not (vim and vim.json) then return nil end
  return { encode = safe(vim.json.encode), decode = safe(vim.json.decode), null = vim.NIL }
end

--- Chooses the codec: lua-cjson, else Neovim's. Or a given one, for all of sheaf.
---@param own? { encode: function, decode: function, null: any } may raise or return nil, message
function json.use(own)
  if own ~= nil and (type(own) ~= "table" or type(own.encode) ~= "function" or
      type(own.decode) ~= "function") then
    error("sheaf.json.use: a table with the functions 'encode' and 'decode' is wanted", 2)
  end
  codec = own and { encode = safe(own.encode), decode = safe(own.decode), null = own.null } or
    from_cjson() or from_vim()
  if not codec then
    error("sheaf: no JSON codec: install lua-cjson (luarocks install lua-cjson), or give one to "
      .. "sheaf.json.use", 0)
  end
  json.null = codec.null
  old = codec.encode(100000000000001) ~= "100000000000001" or
    codec.encode(json.array{}) ~= "[]"
end

return setmetatable(json, {
  __index = function(_, key)
    if key == "null" and not codec then
      json.use()
      return rawget(json, "null")
    end
  end,
})
