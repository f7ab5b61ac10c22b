-- Prompts: templates in which {name} stands for a value, and the messages that are made of them.

local check = require "sheaf.check"

local template = {}

--- A placeholder: braces around a name. A name may be anything without braces, as the columns of a
--- CSV file are; what no value is known for is no placeholder, but part of the text.
local PLACEHOLDER = "{([^{}]*)}"

--- Puts values in the place of their names.
---
---     template.fill('Answer as {"label": ...}. Text: {text}', { text = "50 % {off}" })
---     --> Answer as {"label": ...}. Text: 50 % {off}
---
--- Only names that have a value are replaced, so that JSON in a prompt stays as it is; what is put
--- in is not looked at again.
---@param text string
---@param values table<string, any> strings, or what tostring makes of the rest
---@return string
function template.fill(text, values)
  return (text:gsub(PLACEHOLDER, function(name)
    local value = values[name]
    if value ~= nil then return tostring(value) end
  end))
end

--- The names between braces, each once, in the order of the text. Where a prompt has JSON in it,
--- some may be no placeholders.
---
---     template.names("{title} by {author}: {title}")   --> { "title", "author" }
---
---@param text string
---@return string[]
function template.names(text)
  local names, seen = {}, {}
  for name in text:gmatch(PLACEHOLDER) do
    if not seen[name] then
      seen[name] = true
      names[#names + 1] = name
    end
  end
  return names
end

--- Whether {name} is in the text.
---@param text string
---@param name string
---@return boolean
function template.uses(text, name)
  return text:find("{" .. name .. "}", 1, true) ~= nil
end

--- Well-formed sequences of more than one byte, with the place behind them: Unicode 15, table 3-7.
local SEQUENCES = {
  "^[\194-\223][\128-\191]()", "^[\225-\236\238\239][\128-\191][\128-\191]()",
  "^\224[\160-\191][\128-\191]()", "^\237[\128-\159][\128-\191]()",
  "^\240[\144-\191][\128-\191][\128-\191]()", "^\244[\128-\143][\128-\191][\128-\191]()",
  "^[\241-\243][\128-\191][\128-\191][\128-\191]()",
}

--- Where a text stops being UTF-8; nil where all of it is.
---@param text string
---@return integer?
function template.not_utf8(text)
  local at = text:find("[\128-\255]")
  while at do
    local behind
    for _, sequence in ipairs(SEQUENCES) do
      behind = text:match(sequence, at)
      if behind then break end
    end
    if not behind then return at end
    at = text:find("[\128-\255]", behind)
  end
end

--- What the user says for a text: a text or a list of messages, or nil and what is wrong.
local function content_for(prompt, text, index)
  if type(prompt) == "function" then
    local content = prompt(text, index)
    if type(content) == "string" or type(content) == "table" then return content end
    return nil, ("the prompt function must return a text or a list of messages, got %s"):format(
      check.show(content))
  elseif type(text) ~= "string" and type(text) ~= "number" then
    return nil, ("a text is wanted, got %s; other items need a 'prompt' function"):format(
      check.show(text))
  end
  return prompt and template.fill(prompt, { text = text }) or tostring(text)
end

--- The chat messages for a text: the system's, then the prompt's.
---@param prompt string|function|nil a template with {text}, or function(text, index) that returns a
--- text or a list of messages; without it, the text itself
---@param system string?
---@param text any
---@param index integer?
---@return table[]? messages nil where the text can't be sent
---@return string? message why
function template.messages(prompt, system, text, index)
  local content, message = content_for(prompt, text, index)
  if not content then return nil, message end
  if type(content) == "string" then
    local at = template.not_utf8(content)
    if at then
      return nil, ("the text is not UTF-8, which JSON has to be: byte %d of the prompt is 0x%02X")
        :format(at, content:byte(at))
    end
    content = { { role = "user", content = content } }
  end
  local messages = {}
  if system then messages[1] = { role = "system", content = system } end
  for _, one in ipairs(content) do messages[#messages + 1] = one end
  return messages
end

return template
