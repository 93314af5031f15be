-- POST /subjects of c15t. Arguments: unique word, how many subjects there are.
-- Every second choice is of a subject that is there already, the others are of new ones.
local common = dofile("common.lua")
local unique, subjects, n = "", 1, 0
local BODY = '{"type":"cookie_banner","subjectId":"%s","domain":"shop.example",' ..
  '"preferences":{"necessary":true,"functionality":true,"experience":false,' ..
  '"measurement":%s,"marketing":%s},"givenAt":%d,"jurisdictionModel":"opt-in",' ..
  '"uiSource":"banner","consentAction":"custom","metadata":{"language":"en",' ..
  '"page":"https://shop.example/catalogue/3/item-11"}}'

function init(args)
  unique, subjects = args[1], tonumber(args[2])
end

-- Base 58 has no zero: digits become letters.
local function letters(text)
  return (text:gsub("%d", function(d) return string.char(97 + tonumber(d)) end))
end

function request()
  n = n + 1
  local id
  if n % 2 == 0 then
    id = "sub_dev" .. letters(string.format("%08d", (n * 7919) % subjects))
  else
    id = "sub_new" .. letters(string.format("%s%010d", unique, n))
  end
  local body = string.format(BODY, id, tostring(n % 3 > 0), tostring(n % 5 > 1),
    os.time() * 1000 + n % 1000)
  return "POST /subjects HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: https://shop.example\r\n" ..
    "Content-Type: application/json\r\nContent-Length: " .. #body .. "\r\n\r\n" .. body
end

done = common.done
