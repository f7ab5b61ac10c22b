-- POST /bench: one constant answer, counted nowhere, as cheap as Lua in nginx gets.

local M = {}

local ANSWER = '{"id":"chatcmpl-bench","object":"chat.completion","created":1750000000,'
  .. '"model":"stand-in","choices":[{"index":0,"message":{"role":"assistant","content":"'
  .. ("All work and no play makes a dull benchmark. "):rep(6)
  .. '"},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":120,'
  .. '"completion_tokens":68,"total_tokens":188},"system_fingerprint":"fp_bench"}'

function M.run()
  ngx.req.read_body()
  ngx.header.content_length = #ANSWER
  ngx.print(ANSWER)
end

return M
