-- Where the examples send their requests: to a stand-in on this machine, which answers like a
-- provider and costs nothing; or, with OPENAI_BASE_URL and OPENAI_API_KEY set, to that provider.
-- MODEL names the model to ask.

local support = {}

local function run(command)
  local pipe = assert(io.popen(command, "r"))
  local output = pipe:read("*a")
  pipe:close()
  return output
end

--- Where to send requests: a table with base_url, api_key and model, and stop() for the end.
---@param behaviour string how the stand-in behaves, as in spec/server/behaviour.lua
function support.provider(behaviour)
  local model = os.getenv("MODEL") or "gpt-4o-mini"
  local base_url = os.getenv("OPENAI_BASE_URL")
  if base_url and base_url ~= "" then
    local api_key = os.getenv("OPENAI_API_KEY")
    return { base_url = base_url, api_key = api_key, model = model, stop = function() end }
  end
  -- By its owner, this process, the stand-in knows when to end, should the example break off.
  local said = run(('spec/server/start --owner "$PPID" --default "%s" 2>&1'):format(behaviour))
  local port, folder = said:match("http=(%d+)"), said:match("dir=([^\n]+)")
  assert(port, "the stand-in does not start; examples run from the checkout's root: " .. said)
  return {
    base_url = "http://127.0.0.1:" .. port .. "/v1", api_key = "any", model = model,
    stop = function() run("spec/server/stop '" .. folder .. "'") end,
  }
end

return support
