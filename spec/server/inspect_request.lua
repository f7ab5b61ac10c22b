-- /echo tells what arrived; /bytes sends as much as it is asked for.

local cjson = require "cjson.safe"
local failure = require "failure"

local M = {}

--- @param request table
--- @return table reply
function M.echo(request)
  local var = ngx.var
  return { status = 200, json = {
    method = request.method,
    uri = var.request_uri,
    args = request.args,
    headers = setmetatable(ngx.req.get_headers(0), nil),
    body = request.body,
    body_length = #request.body,
    http_version = ngx.req.http_version(),
    tls = var.https == "on",
    tls_session_reused = var.ssl_session_reused == "r",
    client_verify = var.ssl_client_verify or cjson.null,
    connection = tonumber(var.connection),
    connection_requests = tonumber(var.connection_requests),
  } }
end

--- /bytes?n=N[&chunked=1]
--- @param request table
--- @return table reply
function M.bytes(request)
  local n = tonumber(request.args.n)
  if not n or n < 0 or n % 1 ~= 0 then
    return failure.error(400, "invalid_n", "'n' must be a non-negative integer")
  end
  return { status = 200, body = "", pad = n, pad_with = "a",
    chunked = request.args.chunked == "1",
    headers = { ["Content-Type"] = "application/octet-stream" } }
end

return M
