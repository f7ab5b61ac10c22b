-- Whom a batch trusts, who it says that it is, and how few handshakes it makes.

local server = require "spec.support.server"
local sheaf = require "sheaf"

describe("TLS", function()
  local s, batches

  setup(function() s = server.start() end)
  teardown(function() s:stop() end)

  before_each(function()
    s:reset()
    batches = {}
  end)

  after_each(function()
    for _, batch in ipairs(batches) do batch:close() end
  end)

  local function open(tls, options)
    options = options or {}
    options.base_url = options.base_url or s.tls
    options.tls = tls
    local batch = sheaf.batch(options)
    batches[#batches + 1] = batch
    return batch
  end

  local function refused(tls, options)
    local response = open(tls, options):fetch{ path = "/echo" }
    assert.is_false(response.ok)
    assert.equal("tls", response.error.kind)
    assert.equal(1, response.attempts, "a refused certificate is not tried again")
    assert.equal(0, s:stats().hits)
    return response.error.message
  end

  local function seen(tls, options)
    local response = open(tls, options):fetch{ path = "/echo" }
    assert(response.ok, tostring(response.error))
    return response:json()
  end

  it("refuses a certificate that no known CA has signed", function()
    assert.truthy(refused(nil):find("certificate"))
  end)

  it("accepts one by the CA that is named", function()
    assert.is_true(seen{ ca = s.ca }.tls)
    assert.is_true(seen({ ca = s.ca }, { base_url = s.tls1 }).tls)
  end)

  it("refuses one by another CA, also where the right one was just used", function()
    seen{ ca = s.ca }
    s:reset()
    refused{ ca = s.other_ca }
    refused({ ca = s.other_ca }, { base_url = s.tls1 })
    refused{ ca = s.other_ca }
  end)

  it("refuses a certificate of another name", function()
    -- The certificate has the names localhost, 127.0.0.1 and ::1; a proxy leads any name to the server.
    local message = refused({ ca = s.ca }, { base_url = "https://other.example", proxy = s.proxy })
    assert.truthy(message:find("other.example", 1, true))
  end)

  it("accepts an address that the certificate names", function()
    assert.is_true(seen({ ca = s.ca }, { base_url = (s.tls:gsub("localhost", "127.0.0.1")) }).tls)
  end)

  it("accepts anything with verify = false, and no other batch does", function()
    assert.is_true(seen{ verify = false }.tls)
    assert.is_true(seen({ verify = false }, { base_url = "https://other.example",
      proxy = s.proxy }).tls)
    s:reset()
    refused(nil)
    refused{ ca = s.other_ca, verify = true }
  end)

  it("shows a client certificate where there is one, on connections of its own", function()
    assert.equal("NONE", seen{ ca = s.ca }.client_verify)
    assert.equal("SUCCESS", seen{ ca = s.ca, cert = s.client_cert, key = s.client_key }.client_verify)
    assert.equal("NONE", seen{ ca = s.ca }.client_verify)
  end)

  it("fails at once with a key that doesn't belong to the certificate", function()
    local response = open{ ca = s.ca, cert = s.client_cert, key = s.dir .. "/server.key" }:fetch{
      path = "/echo" }
    assert.equal("tls", response.error.kind)
    assert.equal(1, response.attempts)
  end)

  it("names a file that can't be read where the batch is made", function()
    for _, field in ipairs{ "ca", "cert", "key" } do
      local ok, message = pcall(sheaf.batch, { tls = { [field] = s.dir .. "/none" } })
      assert.is_false(ok)
      assert.truthy(message:find("'tls." .. field .. "'", 1, true))
    end
  end)

  it("resumes its sessions on new connections", function()
    local batch = open({ ca = s.ca }, { base_url = s.tls1, concurrency = 1,
      pool = { keepalive = false } })
    local resumed, connections, count = 0, {}, 0
    for _ = 1, 10 do
      local response = batch:fetch{ path = "/echo" }
      assert(response.ok, tostring(response.error))
      local told = response:json()
      if told.tls_session_reused then resumed = resumed + 1 end
      if not connections[told.connection] then count = count + 1 end
      connections[told.connection] = true
    end
    assert.equal(10, count)
    assert.is_true(resumed >= 9, "resumed: " .. resumed)
  end)

  it("resumes no session of a batch with another trust", function()
    local function one(tls)
      return open(tls, { base_url = s.tls1, pool = { keepalive = false } }):fetch{ path = "/echo" }
    end
    assert.is_true(one{ verify = false }.ok)
    assert.is_true(one{ verify = false }:json().tls_session_reused)
    assert.equal("tls", one({ ca = s.other_ca }).error.kind)
    assert.equal("tls", one({}).error.kind)
  end)

  it("handshakes once per connection that is kept, and once per request where none is", function()
    for _, keepalive in ipairs{ true, false } do
      s:reset()
      local batch = open({ ca = s.ca }, { base_url = s.tls1, concurrency = 5,
        pool = { keepalive = keepalive, idle = 58 } })
      for _ = 1, 50 do assert(batch:submit{ path = "/echo" }) end
      for _, response in ipairs(batch:gather()) do assert(response.ok, tostring(response.error)) end
      local stats, counted = batch:stats(), s:stats()
      assert.equal(stats.connections_opened, counted.accepted)
      if keepalive then
        assert.is_true(counted.accepted <= 5)
        assert.equal(50, stats.connections_opened + stats.connections_reused)
      else
        assert.equal(50, counted.accepted)
        assert.equal(0, stats.connections_reused)
      end
    end
  end)
end)
