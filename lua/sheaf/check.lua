-- Checks of what users give: each failure names the field, what was found and what is wanted.

local check = {}

local floor, huge = math.floor, math.huge

--- Shows a value in a message: short, quoted where it is text.
---@param value any
---@return string
function check.show(value)
  if type(value) == "string" then
    if #value > 40 then value = value:sub(1, 37) .. "..." end
    return ("%q"):format(value):gsub("\\\n", "\\n")
  elseif type(value) == "table" or type(value) == "function" or type(value) == "userdata" then
    return "a " .. type(value)
  end
  return tostring(value)
end

--- What makes a check: a test, and the words for what passes it.
local function rule(wanted, test)
  return { wanted = wanted, test = test }
end

local function is_number(value)
  return type(value) == "number" and value == value
end

local function is_count(value)
  return is_number(value) and value >= 0 and value < huge and floor(value) == value
end

check.boolean = rule("true or false", function(value) return type(value) == "boolean" end)
check.string = rule("a string", function(value) return type(value) == "string" end)
check.table = rule("a table", function(value) return type(value) == "table" end)
check.any = rule("any value but nil", function() return true end)
check.func = rule("a function", function(value) return type(value) == "function" end)
check.integer = rule("an integer", function(value)
  return is_number(value) and floor(value) == value and value > -2^31 and value < 2^31
end)
check.count = rule("an integer, 0 or more", function(value)
  return is_count(value) and value < 2^31
end)
check.positive = rule("a positive integer", function(value)
  return is_count(value) and value > 0 and value < 2^31
end)
check.bytes = rule("a positive number of bytes", function(value)
  return is_count(value) and value > 0 and value <= 2^53
end)
check.seconds = rule("a number of seconds, 0 or more", function(value)
  return is_number(value) and value >= 0
end)
check.duration = rule("a number of seconds above 0, or false for no limit", function(value)
  return value == false or (is_number(value) and value > 0)
end)

--- One of a few words.
---@param ... string
function check.one_of(...)
  local words, quoted = {}, {}
  for i = 1, select("#", ...) do
    words[select(i, ...)] = true
    quoted[i] = ('"%s"'):format((select(i, ...)))
  end
  return rule(table.concat(quoted, ", "):gsub(", ([^,]*)$", " or %1"), function(value)
    return words[value] == true
  end)
end

--- Either of two rules.
function check.either(a, b)
  return rule(a.wanted .. ", or " .. b.wanted, function(value)
    return a.test(value) or b.test(value)
  end)
end

--- How many letters have to change to make one word of the other (Levenshtein).
local function distance(a, b)
  local row = {}
  for j = 0, #b do row[j] = j end
  for i = 1, #a do
    local diagonal = row[0]
    row[0] = i
    for j = 1, #b do
      local cost = a:byte(i) == b:byte(j) and 0 or 1
      diagonal, row[j] = row[j], math.min(row[j] + 1, row[j - 1] + 1, diagonal + cost)
    end
  end
  return row[#b]
end

--- The known name nearest to a mistyped one, if one is near.
local function nearest(name, known)
  local best, least = nil, 3
  for candidate in pairs(known) do
    local far = distance(name, candidate)
    if far < least or (far == least and best and candidate < best) then
      best, least = candidate, far
    end
  end
  return best
end

--- Raises for a field.
---@param who string the function that was called, for the message
---@param field string
---@param wanted string
---@param value any
---@param level integer
function check.fail(who, field, wanted, value, level)
  error(("%s: '%s' must be %s, got %s"):format(who, field, wanted, check.show(value)), level + 1)
end

--- Raises for a name that isn't known.
function check.unknown(who, name, known, level)
  local hint = type(name) == "string" and nearest(name, known)
  error(("%s: unknown option %s%s"):format(
    who,
    type(name) == "string" and "'" .. name .. "'" or check.show(name),
    hint and (" (did you mean '%s'?)"):format(hint) or ""), level + 1)
end

--- Checks a table of options against a table of rules.
---@param who string the function that was called, for messages
---@param options table
---@param rules table<string, table>
---@param level integer of the caller at fault, as for error()
---@param prefix? string for fields of a nested table, "retry."
function check.options(who, options, rules, level, prefix)
  if type(options) ~= "table" then
    error(("%s: a table of options is wanted, got %s"):format(who, check.show(options)), level + 1)
  end
  for name, value in pairs(options) do
    local wanted = rules[name]
    if wanted == nil then
      check.unknown(who .. (prefix and " '" .. prefix .. "'" or ""), name, rules, level + 1)
    end
    if wanted.rules and type(value) == "table" then
      check.options(who, value, wanted.rules, level + 1, name)
    elseif not wanted.test(value) then
      check.fail(who, (prefix and prefix .. "." or "") .. name, wanted.wanted, value, level + 1)
    end
  end
end

--- A table with rules of its own for its fields; `other` may pass in its place.
function check.nested(rules, other)
  return {
    wanted = other and other.wanted .. ", or a table" or "a table",
    test = function(value) return other ~= nil and other.test(value) end,
    rules = rules,
  }
end

--- Raises where a header can't be sent: RFC 9110 §5.1 tokens as names, no CR, LF or NUL in values.
function check.headers(who, headers, level)
  if type(headers) ~= "table" then
    check.fail(who, "headers", "a table of names and values", headers, level + 1)
  end
  for name, value in pairs(headers) do
    if type(name) ~= "string" or not name:find("^[%w!#$%%&'*+.^_`|~-]+$") then
      error(("%s: 'headers' has a name that is no header name: %s"):format(who, check.show(name)),
        level + 1)
    end
    local kind = type(value)
    local finite = is_number(value) and value > -huge and value < huge
    if kind ~= "string" and not finite and value ~= false then
      check.fail(who, ("headers[%q]"):format(name), "a string, a number or false", value, level + 1)
    elseif kind == "string" and value:find("[%z\r\n]") then
      error(("%s: 'headers[%q]' must not contain CR, LF or NUL"):format(who, name), level + 1)
    end
  end
end

return check
