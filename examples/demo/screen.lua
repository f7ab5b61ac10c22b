-- What the demo shows: a line that is written over on a terminal, plain lines elsewhere, and tables.

local screen = {}

local WIDTH = 12                -- of the bar: the line fits into 80 columns
local FIRST_COLUMN = 33         -- so that tables below one another are aligned
local PLAIN_STEPS = 4           -- lines a run has where there is no terminal

local ran = os.execute("test -t 1")
local terminal = (ran == true or ran == 0) and os.getenv("TERM") ~= "dumb"
local CLEAR = "\r\27[K"
local BOLD, PLAIN = terminal and "\27[1m" or "", terminal and "\27[0m" or ""

local written = false           -- a progress line stands on the screen
local step = nil                -- the last plain line's

--- A line of its own.
function screen.line(text)
  screen.progress_end()
  io.stdout:write(text, "\n")
  io.stdout:flush()
end

local function numbers(stats)
  if not stats then return "" end
  return ("  %3.0f/s  p95 %.2f s  %d retried  %d failed"):format(
    stats.requests_per_s, stats.latency.p95 or 0, stats.retried, stats.failed)
end

--- How far a run is. stats: of batch:stats(), or nil.
function screen.progress(name, done, total, stats)
  if terminal then
    local filled = math.floor(WIDTH * done / total)
    io.stdout:write(CLEAR, ("%-14s "):format(name), ("█"):rep(filled), ("░"):rep(WIDTH - filled),
      (" %4d/%d"):format(done, total), numbers(stats))
    written = true
  else
    local now = name .. math.floor(PLAIN_STEPS * done / total)
    if now ~= step and (done == total or done * PLAIN_STEPS >= total) then
      io.stdout:write(("%-14s %4d/%d"):format(name, done, total), numbers(stats), "\n")
    end
    step = now
  end
  io.stdout:flush()
end

--- The progress line stays as it is; what comes next goes below it.
function screen.progress_end()
  if written then io.stdout:write("\n") end
  written = false
  io.stdout:flush()
end

--- A table: the first column's cells are left-aligned, the others right-aligned.
function screen.table(head, rows)
  local widths = { FIRST_COLUMN }
  local function fit(row)
    for i, cell in ipairs(row) do widths[i] = math.max(widths[i] or 0, #cell) end
  end
  fit(head)
  for _, row in ipairs(rows) do fit(row) end
  local function put(row, before, after)
    local parts = {}
    for i, cell in ipairs(row) do
      local space = (" "):rep(widths[i] - #cell)
      parts[i] = i == 1 and cell .. space or space .. cell
    end
    io.stdout:write(before, table.concat(parts, "   "), after, "\n")
  end
  io.stdout:write("\n")
  put(head, BOLD, PLAIN)
  for _, row in ipairs(rows) do put(row, "", "") end
  io.stdout:flush()
end

return screen
