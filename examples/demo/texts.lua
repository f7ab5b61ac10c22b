-- Real texts that every Debian has: the one-line descriptions of packages.

local texts = {}

--- The package lists that apt has fetched, as they are: `apt-cache search .` says the same, but takes
--- minutes where the lists are kept compressed.
local AVAILABLE = [[
  lists=$(ls /var/lib/apt/lists/*_Packages* 2>/dev/null) &&
  /usr/lib/apt/apt-helper cat-file $lists 2>/dev/null |
  awk '/^Package: / { name = $2 } /^Description: / { print name "\t" substr($0, 14) }'
]]

--- Where apt has no lists: what is installed.
local INSTALLED = [[dpkg-query -W -f '${Package}\t${binary:Summary}\n' 2>/dev/null]]

local function read(command)
  local list, seen = {}, {}
  local pipe = assert(io.popen(command, "r"))
  for line in pipe:lines() do
    local name, text = line:match("^([^\t]+)\t(.+)$")
    if name and not seen[text] then
      seen[text] = true
      list[#list + 1] = { name = name, text = text }
    end
  end
  pipe:close()
  return list
end

--- So many descriptions, from all over the alphabet; fewer where there are fewer.
---@param count integer
---@return { name: string, text: string }[]
function texts.some(count)
  local all = read(AVAILABLE)
  if #all < count then all = read(INSTALLED) end
  if #all <= count then return all end
  local some = {}
  for i = 1, count do some[i] = all[math.floor((i - 0.5) * #all / count) + 1] end
  return some
end

return texts
