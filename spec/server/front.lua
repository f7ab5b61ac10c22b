-- Every counted request comes through here: count, behave, answer.

local behaviour = require "behaviour"
local counters = require "counters"
local deliver = require "deliver"
local failure = require "failure"
local inspect = require "inspect_request"
local provider = require "provider"

local M = {}

local NOTHING = {}

--- At start: the server's own behaviour. Raises if it is none, which keeps nginx from starting.
function M.init()
  behaviour.set_default(os.getenv("SHEAF_SERVER_DEFAULT") or "")
end

local function read_body()
  ngx.req.read_body()
  local body = ngx.req.get_body_data()
  local path = not body and ngx.req.get_body_file()
  if path then
    local file = assert(io.open(path, "rb"))
    body = file:read("*a")
    file:close()
  end
  return body or ""
end

local function first(value)
  if type(value) == "table" then
    value = value[1]
  end
  return type(value) == "string" and value or nil
end

-- The next redirect, or nil at the end. How many are left travels in the query, since a client
-- sends the header x-behave again with each.
local function redirect(behave, args)
  local code = behave.redirect_code or 308
  if behave.redirect_to then
    return { status = code, body = "", headers = { Location = behave.redirect_to } }
  end
  local left = tonumber(first(args.redirect_left)) or behave.redirect or 0
  if left > 0 then
    args.redirect_left = tostring(left - 1)
    local location = ngx.var.uri .. "?" .. ngx.encode_args(args)
    return { status = code, body = "", headers = { Location = location } }
  end
end

local function good_reply(request)
  local path = request.path
  if path == "/echo" or path == "/v1/echo" then
    return inspect.echo(request)
  elseif path == "/bytes" then
    return inspect.bytes(request)
  end
  return provider.answer(request)
end

local function choose_reply(request, behave, try)
  if behave.reused and tonumber(ngx.var.connection_requests) > 1 then
    return { sever = behave.reused }
  end
  local by_fault, what
  if behave.fail or behave.faults then
    local key = request.item or request.method .. ngx.var.request_uri .. request.body
    what, by_fault = failure.choose(behave, key, try or counters.unnamed_try(key))
  end
  if not what then
    return redirect(behave, request.args) or good_reply(request)
  end
  local reply = failure.reply(what, function() return good_reply(request) end)
  if reply.status and reply.status >= 400 then
    reply.headers = failure.headers(behave, by_fault, reply.status)
  end
  return reply
end

--- The content phase.
--- @param idle boolean? already in a location with its own keepalive_timeout
function M.run(idle)
  local var = ngx.var
  local args = ngx.req.get_uri_args()
  local behave, why = behaviour.of(var.http_x_behave or first(args.behave))
  local idle_seconds = behave and (behave.close and "0" or behave.idle_close)
  if idle_seconds and not idle then
    return ngx.exec("@idle_" .. idle_seconds)
  end

  local item = var.http_x_item or first(args.item)
  local serial, try = counters.arrive(item)
  ngx.header["x-request-id"] = "req_" .. serial
  local request = {
    method = ngx.req.get_method(),
    path = var.uri,
    args = args,
    item = item,
    serial = serial,
    behave = behave or NOTHING,
    body = read_body(),
  }
  if not behave then
    return deliver.send(failure.error(400, "unknown_behaviour", why), NOTHING)
  end
  local delay = behaviour.delay(behave)
  if delay > 0 then
    ngx.sleep(delay)
  end
  return deliver.send(choose_reply(request, behave, try), behave)
end

return M
