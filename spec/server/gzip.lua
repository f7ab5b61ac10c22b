-- gzip of one string, by the zlib that nginx itself is linked with. nginx's own filter would drop
-- the Content-Length, and with it what a cut body means.

local ffi = require "ffi"

ffi.cdef [[
typedef struct {
  const unsigned char *next_in; unsigned int avail_in; unsigned long total_in;
  unsigned char *next_out; unsigned int avail_out; unsigned long total_out;
  const char *msg; void *state; void *zalloc; void *zfree; void *opaque;
  int data_type; unsigned long adler; unsigned long reserved;
} sheaf_z_stream;
const char *zlibVersion(void);
int deflateInit2_(sheaf_z_stream *, int, int, int, int, int, const char *, int);
unsigned long deflateBound(sheaf_z_stream *, unsigned long);
int deflate(sheaf_z_stream *, int);
int deflateEnd(sheaf_z_stream *);
]]

local LEVEL, DEFLATED, GZIP_WINDOW, MEMORY, STRATEGY = 1, 8, 15 + 16, 8, 0
local FINISH, STREAM_END = 4, 1

--- @param text string
--- @return string compressed
return function(text)
  local stream = ffi.new("sheaf_z_stream")
  local C = ffi.C
  local status = C.deflateInit2_(stream, LEVEL, DEFLATED, GZIP_WINDOW, MEMORY, STRATEGY,
    C.zlibVersion(), ffi.sizeof(stream))
  assert(status == 0, "deflateInit2 failed")
  local room = tonumber(C.deflateBound(stream, #text))
  local out = ffi.new("unsigned char[?]", room)
  stream.next_in, stream.avail_in = ffi.cast("const unsigned char *", text), #text
  stream.next_out, stream.avail_out = out, room
  status = C.deflate(stream, FINISH)
  local length = tonumber(stream.total_out)
  C.deflateEnd(stream)
  assert(status == STREAM_END, "deflate failed")
  return ffi.string(out, length)
end
