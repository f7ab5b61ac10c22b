rockspec_format = "3.0"
package = "sheaf"
version = "scm-1"

source = {
  url = "git+https://github.com/sheaf-lua/sheaf.git",
}

description = {
  summary = "Thousands of API calls as one batch",
  detailed = [[
    Sends tens of thousands of HTTP API calls from a Lua script: a native thread keeps the wire full,
    stays inside a concurrency limit and retries what is worth retrying, while the script reads as
    straight-line code in coroutines. Results come in the order of the input.
  ]],
  labels = { "http", "batch", "async", "api", "llm" },
  license = "MIT",
}

supported_platforms = { "unix" }

dependencies = {
  "lua >= 5.1",
  "lua-cjson >= 2.1",
}

-- No header is named: LuaRocks doesn't look for one where Debian and Ubuntu have curl's.
external_dependencies = {
  CURL = { library = "curl" },
}

build = {
  type = "builtin",
  modules = {
    ["sheaf"] = "lua/sheaf/init.lua",
    ["sheaf.answer"] = "lua/sheaf/answer.lua",
    ["sheaf.batch"] = "lua/sheaf/batch.lua",
    ["sheaf.check"] = "lua/sheaf/check.lua",
    ["sheaf.each"] = "lua/sheaf/each.lua",
    ["sheaf.fault"] = "lua/sheaf/fault.lua",
    ["sheaf.host.block"] = "lua/sheaf/host/block.lua",
    ["sheaf.json"] = "lua/sheaf/json.lua",
    ["sheaf.loop"] = "lua/sheaf/loop.lua",
    ["sheaf.merge"] = "lua/sheaf/merge.lua",
    ["sheaf.options"] = "lua/sheaf/options.lua",
    ["sheaf.processor"] = "lua/sheaf/processor.lua",
    ["sheaf.processor_options"] = "lua/sheaf/processor_options.lua",
    ["sheaf.request"] = "lua/sheaf/request.lua",
    ["sheaf.response"] = "lua/sheaf/response.lua",
    ["sheaf.set"] = "lua/sheaf/set.lua",
    ["sheaf.stats"] = "lua/sheaf/stats.lua",
    ["sheaf.task"] = "lua/sheaf/task.lua",
    ["sheaf.template"] = "lua/sheaf/template.lua",
    ["sheaf.ticket"] = "lua/sheaf/ticket.lua",
    ["sheaf.transport"] = "lua/sheaf/transport.lua",
    ["sheaf.unclaimed"] = "lua/sheaf/unclaimed.lua",
    ["sheaf.yieldable"] = "lua/sheaf/yieldable.lua",
    ["sheaf.core"] = {
      sources = {
        "src/admission.c",
        "src/attempt.c",
        "src/batch.c",
        "src/engine.c",
        "src/headers.c",
        "src/heap.c",
        "src/histogram.c",
        "src/io.c",
        "src/limiter.c",
        "src/log.c",
        "src/lua_batch.c",
        "src/lua_core.c",
        "src/lua_histogram.c",
        "src/lua_json.c",
        "src/lua_messages.c",
        "src/lua_request.c",
        "src/lua_response.c",
        "src/lua_yieldable.c",
        "src/mailbox.c",
        "src/multi.c",
        "src/outcome.c",
        "src/poller_epoll.c",
        "src/pool.c",
        "src/process.c",
        "src/request.c",
        "src/retry.c",
        "src/transfer.c",
        "src/url.c",
      },
      defines = { "_GNU_SOURCE" },
      libraries = { "curl", "pthread", "m", "dl" },
      incdirs = { "src", "$(CURL_INCDIR)" },
      libdirs = { "$(CURL_LIBDIR)" },
    },
  },
}

test = {
  type = "command",
  command = "make check",
}
