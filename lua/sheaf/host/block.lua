-- The host of a plain script: nothing else runs in its thread, so that a wait may block it.

local core = require "sheaf.core"

return {
  blocks = true,

  --- Waits until something came back, at most so many seconds. Returns early on a signal, so that the
  --- interpreter's Ctrl-C comes through.
  wait = function(seconds) core.poll(seconds) end,
}
