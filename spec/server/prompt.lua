-- The model of this provider: the same text for the same prompt, useful enough to look at.

local cjson = require "cjson.safe"

local M = {}

-- The first rule with a keyword in the text wins; a keyword stands for words that begin with it.
local LABELS = {
  { "documentation", "documentation", "manual", "docs", "tutorial" },
  { "game", "game", "puzzle", "arcade", "shooter", "chess" },
  { "library", "library", "libraries", "shared", "bindings", "runtime" },
  { "science", "science", "scientific", "math", "statistic", "chemi", "physic", "biolog", "genom",
    "astronom", "molecul", "sequence" },
  { "sound", "sound", "audio", "music", "midi", "synth", "mp3", "speech" },
  { "graphics", "graphic", "image", "photo", "video", "font", "3d", "opengl", "draw", "picture" },
  { "network", "network", "http", "web", "mail", "dns", "server", "client", "ftp", "ssh", "chat",
    "internet", "proxy" },
  { "development", "develop", "compil", "debug", "python", "perl", "ruby", "java", "haskell",
    "module", "header", "program", "toolkit", "source", "plugin" },
  { "admin", "admin", "system", "disk", "backup", "monitor", "kernel", "package", "config",
    "daemon", "filesystem", "log" },
}
local OTHER = "other"

local GERMAN = {
  a = "ein", ["and"] = "und", are = "sind", book = "Buch", cat = "Katze", day = "Tag", dog = "Hund",
  ["for"] = "für", from = "von", game = "Spiel", good = "gut", hello = "hallo", house = "Haus",
  i = "ich", image = "Bild", is = "ist", language = "Sprache", library = "Bibliothek",
  music = "Musik", network = "Netz", ["not"] = "nicht", of = "von", ["or"] = "oder",
  program = "Programm", server = "Server", small = "klein", sound = "Klang", text = "Text",
  thank = "danke", the = "die", this = "dies", to = "zu", tool = "Werkzeug", water = "Wasser",
  with = "mit", world = "Welt", you = "du",
}

local LANGUAGES = { german = "de", french = "fr", spanish = "es", italian = "it", dutch = "nl",
  portuguese = "pt", polish = "pl", japanese = "ja", chinese = "zh", english = "en" }

local function label(text)
  local words = " " .. text:lower():gsub("%W+", " ")
  for _, rule in ipairs(LABELS) do
    for i = 2, #rule do
      if words:find(" " .. rule[i], 1, true) then
        return rule[1]
      end
    end
  end
  return OTHER
end

local function language_of(prompt)
  for word in prompt:lower():gmatch("%a+") do
    if LANGUAGES[word] then
      return LANGUAGES[word]
    end
  end
  return "de"
end

local function translate(text, prompt)
  local language = language_of(prompt)
  if language == "de" then
    text = text:gsub("%a+", function(word) return GERMAN[word:lower()] end)
  end
  return "[" .. language .. "] " .. text
end

local function critique(text)
  local _, words = text:gsub("%S+", "")
  return ("Clear enough for %d words, but it names no example: add one, and cut the last third.")
    :format(words)
end

local function generate(text)
  return "Here is a draft: " .. text .. " It is short, it is plain, and it ends here."
end

local function echo(text)
  return "You said: " .. text
end

-- What is asked for, by the first of these words in the prompt; `field` names it in JSON answers.
local KINDS = {
  { words = { "label", "classif", "categor" }, make = label, field = "label" },
  { words = { "translat" }, make = translate, field = "translation" },
  { words = { "critique", "critici", "review" }, make = critique, field = "critique" },
  { words = { "write", "generate", "draft" }, make = generate, field = "text" },
}
local ANSWER = { make = echo, field = "answer" }

local function kind_of(prompt)
  local lower = prompt:lower()
  local best, at = ANSWER, #lower + 1
  for _, kind in ipairs(KINDS) do
    for _, word in ipairs(kind.words) do
      local found = lower:find("%f[%a]" .. word)
      if found and found < at then
        best, at = kind, found
      end
    end
  end
  return best, at
end

local function names_labels(text)
  local found = 0
  for word in text:lower():gmatch("%a+") do
    for _, rule in ipairs(LABELS) do
      found = found + (word == rule[1] and 1 or 0)
    end
  end
  return found >= 3
end

-- The part of the user's message that the instruction is about: behind the first colon or line
-- break, and behind a list of the labels to choose from.
local function subject(message, instructed)
  if not instructed then
    return message
  end
  local rest = message
  repeat
    local _, stop = rest:find("[:\n]%s+")
    if not stop or stop == #rest then
      return rest
    end
    rest = rest:sub(stop + 1)
    local segment = rest:match("^[^:\n]*[:\n]%s") or ""
  until not names_labels(segment)
  return rest
end

-- The numbered lines of a merged request, in order, or nil.
local function numbered(message)
  local lines, last = {}, nil
  for line in message:gmatch("[^\n]+") do
    local n, text = line:match("^%s*(%d+)[.)]%s+(.*)$")
    if n and (#lines == 0 or tonumber(n) == lines[#lines].n + 1) then
      lines[#lines + 1] = { n = tonumber(n), text = text }
    end
    if line:find("%S") then
      last = n
    end
  end
  if #lines > 1 or #lines == 1 and last then
    return lines
  end
end

--- The answer to a prompt.
--- @param prompt { system: string, user: string, json: boolean?, echo: boolean? }
--- @param skip table<integer, boolean>? numbered lines that get no answer
--- @return string text
function M.answer(prompt, skip)
  local message = prompt.user
  local echoed = message:match("^echo:%s?(.*)$")
  if echoed or prompt.echo then
    return echoed or message
  end
  local whole = prompt.system .. "\n" .. message
  local kind, at = kind_of(whole)
  local lines = numbered(message)
  if lines then
    local answers = {}
    for _, line in ipairs(lines) do
      if not (skip and skip[line.n]) then
        local text = kind.make(line.text, whole)
        answers[#answers + 1] = prompt.json and text or line.n .. ". " .. text
      end
    end
    return prompt.json and cjson.encode({ answers = setmetatable(answers, cjson.array_mt) })
      or table.concat(answers, "\n")
  end
  local instructed = at > #prompt.system + 1 and kind ~= ANSWER
  local text = kind.make(subject(message, instructed), whole)
  return prompt.json and cjson.encode({ [kind.field] = text }) or text
end

--- About as many tokens as a text has.
--- @param text string
--- @return integer
function M.tokens(text)
  return math.ceil(#text / 4)
end

return M
