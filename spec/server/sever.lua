-- Ends a connection the rude ways.

local ffi = require "ffi"
local base = require "resty.core.base"

local M = {}

-- The first members of nginx's request and connection: its Lua API has no way to a descriptor.
ffi.cdef [[
struct sheaf_connection { void *data, *read, *write; int fd; };
struct sheaf_request { uint32_t signature; struct sheaf_connection *connection; };
struct sheaf_address { unsigned short family; char rest[14]; };
int connect(int fd, const void *address, unsigned int length);
]]

local SIGNATURE = 0x50545448 -- "HTTP"
local AF_UNSPEC = 0

-- Sends an RST at once: on Linux that is what connecting to nowhere does to a TCP connection, and
-- TLS has no time for its goodbye. An HTTP/2 stream has no connection of its own: there it is
-- nginx's RST_STREAM that tells the client.
local function reset()
  if ngx.req.http_version() == 2 then
    return
  end
  local request = ffi.cast("struct sheaf_request *", base.get_request())
  assert(request.signature == SIGNATURE, "this nginx lays out its requests in another way")
  local nowhere = ffi.new("struct sheaf_address", AF_UNSPEC)
  ffi.C.connect(request.connection.fd, nowhere, ffi.sizeof(nowhere))
end

--- Closes without a byte: "reset" by RST, "gone" by FIN.
--- @param how "reset"|"gone"
function M.before(how)
  if how == "reset" then
    reset()
  end
  return ngx.exit(ngx.HTTP_CLOSE)
end

--- Closes in the middle of an answer, after what has been sent.
--- @param by_reset boolean? by RST
function M.within(by_reset)
  if by_reset then
    reset()
  end
  return ngx.exit(ngx.ERROR)
end

return M
