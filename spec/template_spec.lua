local template = require "sheaf.template"

describe("a template", function()
  it("takes a value wherever its name stands", function()
    assert.equal("cat or cat", template.fill("{text} or {text}", { text = "cat" }))
  end)

  it("leaves other braces as they are", function()
    local prompt = 'Answer {"label": "{text}", "tags": [{}], "n": {"a": {text}}} or {other}, { text }'
    assert.equal('Answer {"label": "x", "tags": [{}], "n": {"a": x}} or {other}, { text }',
      template.fill(prompt, { text = "x" }))
  end)

  it("replaces inside doubled braces and leaves the outer ones", function()
    assert.equal("{x}", template.fill("{{text}}", { text = "x" }))
  end)

  it("does not look into what it has put in", function()
    assert.equal("{b} {a}", template.fill("{a} {b}", { a = "{b}", b = "{a}" }))
  end)

  it("takes percent signs in the template and in values for text", function()
    assert.equal("100 % %1 of 50 %0 %%", template.fill("100 % %1 of {text}", { text = "50 %0 %%" }))
  end)

  it("takes names with blanks, signs and letters of any script", function()
    assert.equal("1, 2, 3", template.fill("{First name}, {prix (%)}, {größe}", {
      ["First name"] = "1", ["prix (%)"] = "2", ["größe"] = "3",
    }))
  end)

  it("puts in numbers and booleans as tostring shows them, and nothing for no text", function()
    assert.equal("7 false []", template.fill("{n} {b} [{e}]", { n = 7, b = false, e = "" }))
  end)

  it("keeps zero bytes and line ends", function()
    assert.equal("a\0b\r\n\0", template.fill("a\0b\r\n{text}", { text = "\0" }))
  end)

  it("tells its names, each once, in order", function()
    assert.same({ "title", "author" }, template.names("{title} by {author}: {title}"))
    assert.same({}, template.names("no names"))
  end)

  it("knows whether it uses a name", function()
    assert.is_true(template.uses("say {text}", "text"))
    assert.is_false(template.uses("say text, {texts}", "text"))
    assert.is_true(template.uses("{50%}", "50%"))
  end)
end)

describe("not_utf8", function()
  it("passes text in any script", function()
    for _, text in ipairs{ "", "plain", "größe", "日本語", "😀", "\127\0", "\244\143\191\191" } do
      assert.is_nil(template.not_utf8(text))
    end
  end)

  it("finds the byte where a text goes wrong", function()
    local cases = {
      ["ab\255"] = 3,              -- no UTF-8 at all
      ["Gr\246\223e"] = 3,         -- Latin-1
      ["é\233"] = 3,               -- after a good one
      ["\195"] = 1,                -- cut off
      ["x\226\130"] = 2,
      ["\192\175"] = 1,            -- longer than needed
      ["\224\128\175"] = 1,
      ["\237\160\128"] = 1,        -- half of a surrogate pair
      ["\244\144\128\128"] = 1,    -- beyond U+10FFFF
      ["\128"] = 1,
    }
    for text, place in pairs(cases) do assert.equal(place, template.not_utf8(text)) end
  end)
end)

describe("messages", function()
  it("are the text alone where there is neither prompt nor system", function()
    assert.same({ { role = "user", content = "hi" } }, template.messages(nil, nil, "hi", 1))
  end)

  it("begin with the system's", function()
    assert.same({ { role = "system", content = "s" }, { role = "user", content = "a hi" } },
      template.messages("a {text}", "s", "hi", 1))
  end)

  it("come from a function that is given the item and its index", function()
    local messages = template.messages(function(item, index) return item.name .. index end, nil,
      { name = "x" }, 7)
    assert.equal("x7", messages[1].content)
  end)

  it("may be the function's own list, which stays as it is", function()
    local own = { { role = "user", content = "a" }, { role = "assistant", content = "b" } }
    local messages = template.messages(function() return own end, "s", "x", 1)
    assert.same({ { role = "system", content = "s" }, own[1], own[2] }, messages)
    assert.equal(2, #own)
  end)

  it("are none for what is no text", function()
    local messages, why = template.messages("{text}", nil, {}, 1)
    assert.is_nil(messages)
    assert.matches("a text is wanted, got a table", why)
  end)

  it("are none where the function returns no prompt", function()
    local messages, why = template.messages(function() return 7 end, nil, "x", 1)
    assert.is_nil(messages)
    assert.matches("must return a text or a list of messages, got 7", why)
  end)
end)
