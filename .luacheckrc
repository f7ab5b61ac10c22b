std = "max"
max_line_length = 110
max_comment_line_length = false  -- annotations can't be broken
cache = false
ignore = { "241" }              -- a table that is only written to keeps things from being collected
exclude_files = { "build" }

-- Specs put their own functions in the place of io's and os's, leave loops in mid-way, and drop values to
-- have them collected.
files["spec"] = { std = "max+busted", ignore = { "122", "311", "512" } }
files["examples/testing"] = { std = "max+busted" }
files["*.rockspec"] = { std = "rockspec" }

-- Runs inside nginx.
files["spec/server"] = { std = "max+ngx_lua" }
