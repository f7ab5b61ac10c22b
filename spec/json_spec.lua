-- sheaf.json, and what it hides of the codec under it.

local json = require "sheaf.json"

describe("sheaf.json", function()
  describe("decodes", function()
    it("objects without their nulls, and arrays with them", function()
      local value = json.decode('{"a": [1, null, 3], "b": null, "c": {"d": null, "e": false}}')
      assert.same({ a = { 1, json.null, 3 }, c = { e = false } }, value)
      assert.is_nil(next(json.decode('{"x":null}')))
      assert.equal(json.null, json.decode("[null]")[1])
    end)

    it("a lone null as json.null, which is a value", function()
      local value, message = json.decode("null")
      assert.equal(json.null, value)
      assert.is_nil(message)
    end)

    it("integers as integers, which print without a dot", function()
      local value = json.decode('{"total_tokens": 17, "list": [1, 2.0, 1e3, -4]}')
      assert.equal("17", tostring(value.total_tokens))
      assert.equal("1 2 1000 -4", table.concat(value.list, " "))
      assert.equal("5", tostring(json.decode("5")))
      assert.equal("5.5", tostring(json.decode("5.5")))
      assert.equal("9007199254740991", ("%d"):format(json.decode("9007199254740991")))
      assert.equal(1e300, json.decode("1e300"))
    end)

    it("scalars, escapes and surrogate pairs", function()
      assert.is_true(json.decode("true"))
      assert.is_false(json.decode("false"))
      assert.equal('a"\\/\b\f\n\r\t\0z', json.decode([["a\"\\\/\b\f\n\r\t\u0000z"]]))
      assert.equal("\240\159\152\128", json.decode([["\ud83d\ude00"]]))
    end)

    it("what is no JSON as nil and a message, without raising", function()
      for _, text in ipairs{ "", " ", "{", "[1,]", '{"a" 1}', "<html>", "{} x", "nul", "NaN", "Infinity",
        "-Infinity", "0x10", '"\n' } do
        local value, message = json.decode(text)
        assert.is_nil(value, text)
        assert.equal("string", type(message), text)
      end
      for _, given in ipairs{ {}, true, print } do
        local value, message = json.decode(given)
        assert.is_nil(value)
        assert.equal("string", type(message))
      end
      assert.is_nil((json.decode(nil)))
    end)

    it("nesting as deep as the codec goes, and refuses more", function()
      local value = json.decode(("["):rep(900) .. ("]"):rep(900))
      local depth = 0
      while value do depth, value = depth + 1, value[1] end
      assert.equal(900, depth)
      local none, message = json.decode(("["):rep(100000))
      assert.is_nil(none)
      assert.truthy(message:find("nest"))
    end)
  end)

  describe("encodes", function()
    it("empty arrays where they are marked, and empty objects otherwise", function()
      assert.equal('{"tags":[]}', json.encode{ tags = json.array{} })
      assert.equal("[]", json.encode(json.array{}))
      assert.equal("[[],{}]", json.encode{ json.array{}, {} })
      assert.equal("{}", json.encode{})
      assert.equal('["a"]', json.encode(json.array{ "a" }))
    end)

    it("the same table again and again, and leaves it as it was", function()
      local empty = json.array{}
      local value = { empty, empty, { big = 123456789012345 } }
      assert.equal('[[],[],{"big":123456789012345}]', json.encode(value))
      assert.equal('[[],[],{"big":123456789012345}]', json.encode(value))
      assert.equal(empty, value[1])
      assert.equal(123456789012345, value[3].big)
    end)

    it("integers of more than 14 digits in full", function()
      assert.equal("[100000000000001]", json.encode{ 100000000000001 })
      assert.equal("[-9007199254740991]", json.encode{ -9007199254740991 })
      assert.equal('{"id":1234567890123456}', json.encode{ id = 1234567890123456 })
      assert.equal("123456789012345", json.encode(123456789012345))
      assert.equal("[0,1,-1,0.5]", json.encode{ 0, 1, -1, 0.5 })
    end)

    it("whole floats without a dot, in each Lua", function()
      assert.equal("[2,50]", json.encode{ 4 / 2, 1e2 / 2 })
    end)

    it("null where json.null stands", function()
      assert.equal('{"a":null}', json.encode{ a = json.null })
      assert.equal("[1,null]", json.encode{ 1, json.null })
      assert.equal("[1,null,3]", json.encode{ 1, nil, 3 })
    end)

    it("control characters, quotes, and bytes that are no UTF-8", function()
      local all = {}
      for i = 0, 255 do all[#all + 1] = string.char(i) end
      local text = table.concat(all)
      assert.equal(text, json.decode(json.encode{ text })[1])
      assert.falsy(json.encode{ text }:find("%c"))
    end)

    it("strings that look like its own marks unchanged", function()
      local value = { json.array{}, "sheaf-table", 'x"sheaf-1-[]"y', 123456789012345 }
      local back = json.decode(json.encode(value))
      assert.same({ {}, "sheaf-table", 'x"sheaf-1-[]"y', 123456789012345 }, back)
    end)

    it("what can't be encoded as nil and a message, without raising", function()
      local cycle = {}
      cycle.cycle = cycle
      local deep = {}
      for _ = 1, 2000 do deep = { deep } end
      for name, value in pairs{
        func = { print }, cycle = cycle, deep = deep, nan = { 0 / 0 }, huge = { math.huge },
        key = { [{}] = 1 }, thread = coroutine.create(function() end), marked = { json.array{}, print },
      } do
        local text, message = json.encode(value)
        assert.is_nil(text, name)
        assert.equal("string", type(message), name)
      end
    end)
  end)

  describe("and the other users of the codec", function()
    local shared = require "cjson"

    it("have settings of their own", function()
      local before = shared.encode_sparse_array()
      json.use()
      json.encode{ 1 }
      assert.equal(before, shared.encode_sparse_array())
      assert.has_error(function() shared.encode{ [1] = 1, [1000] = 2 } end)
      assert.truthy(shared.decode("[NaN]"))
    end)

    it("don't change ours", function()
      local precision, depth = shared.encode_number_precision(), shared.decode_max_depth()
      shared.encode_number_precision(3)
      shared.decode_max_depth(2)
      local text, value = json.encode{ 123456 }, json.decode("[[[[1]]]]")
      shared.encode_number_precision(precision)
      shared.decode_max_depth(depth)
      assert.equal("[123456]", text)
      assert.same({ { { { 1 } } } }, value)
    end)
  end)

  describe("takes another codec", function()
    after_each(function() json.use() end)

    it("that raises", function()
      local null = {}
      json.use{
        encode = function(value)
          if type(value) == "function" then error("no functions") end
          return "<" .. type(value) .. ">"
        end,
        decode = function(text)
          if text == "bad" then error("no good") end
          return { a = null, text = text, list = { null } }
        end,
        null = null,
      }
      assert.equal("<string>", json.encode("x"))
      assert.equal(null, json.null)
      assert.same({ text = "t", list = { null } }, json.decode("t"))
      local value, message = json.decode("bad")
      assert.is_nil(value)
      assert.truthy(message:find("no good", 1, true))
      local text, why = json.encode(print)
      assert.is_nil(text)
      assert.truthy(why:find("no functions", 1, true))
    end)

    it("that returns nil and a message", function()
      json.use{
        encode = function() return nil, "never encodes" end,
        decode = function() return nil, "never decodes" end,
      }
      assert.same({ nil, "never encodes" }, { json.encode(1) })
      assert.same({ nil, "never decodes" }, { json.decode("1") })
    end)

    it("and goes back", function()
      json.use{ encode = function() return "own" end, decode = function() return "own" end }
      assert.equal("own", json.encode{})
      json.use()
      assert.equal("{}", json.encode{})
    end)

    it("but nothing else", function()
      for _, given in ipairs{ 1, "cjson", {}, { encode = print }, { decode = print } } do
        local ok, message = pcall(json.use, given)
        assert.is_false(ok)
        assert.truthy(message:find("'encode' and 'decode'", 1, true))
      end
    end)
  end)
end)
