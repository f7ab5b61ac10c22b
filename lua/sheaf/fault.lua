-- Errors as data: what response.error is. Its text is one whole sentence.

local fault = {}

---@class sheaf.Error
---@field kind "dns"|"connect"|"tls"|"timeout"|"reset"|"protocol"|"http"|"rate_limit"|"quota"|"invalid"|"too_large"|"cancelled"|"deadline"|"budget"|"closed"|"internal"
---@field message string
---@field status integer? of the last answer, if there was one
---@field code string? the provider's
---@field request_id string? the provider's
---@field attempts integer how many were made
---@field retry_after number? seconds, as the provider told
---@field where string? "POST api.example.com/v1/chat/completions"
local Error = {}
Error.__index = Error
Error.__name = "sheaf.Error"

--- What a failure means where neither libcurl nor the server said anything.
local MEANING = {
  dns = "the host's name can't be resolved",
  connect = "can't connect",
  tls = "the TLS connection failed",
  timeout = "no answer in time",
  reset = "the connection broke",
  protocol = "the answer is no HTTP",
  http = "the server gave no reason",
  rate_limit = "too many requests",
  quota = "the account's quota or credit is used up",
  invalid = "the answer is not what was asked for",
  too_large = "the answer is larger than max_body",
  cancelled = "cancelled",
  deadline = "timeout.total is over",
  budget = "the budget is used up",
  closed = "the batch was closed",
  internal = "something failed inside sheaf",
}

function Error:__tostring()
  local head = self.kind
  if self.status then head = head .. " " .. self.status end
  if self.code then head = head .. " " .. self.code end
  local where = {}
  if self.where then where[1] = self.where end
  if self.attempts > 0 then where[#where + 1] = "attempt " .. self.attempts end
  if self.request_id then where[#where + 1] = self.request_id end
  local tail = #where > 0 and " (" .. table.concat(where, ", ") .. ")" or ""
  return ("%s: %s%s"):format(head, self.message, tail)
end

--- Makes an error. `fields` is taken over; message may be nil.
function fault.new(fields)
  fields.attempts = fields.attempts or 0
  fields.message = fields.message or MEANING[fields.kind] or "no reason given"
  return setmetatable(fields, Error)
end

--- Whether a value is an error of sheaf's.
function fault.is(value)
  return getmetatable(value) == Error
end

fault.kinds = MEANING

return fault
