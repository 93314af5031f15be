-- POST /v1/consent. Arguments: unique word, how many subjects there are, Authorization.
-- Every second choice is of a subject that is there already, the others are of new ones.
local common = dofile("common.lua")
local unique, subjects, n = "", 1, 0
local head = ""
local BODY = '{"subject":{"anonymousId":"%s"},"preferences":{"analytics":%s,"advertising":%s,' ..
  '"functional":true,"personalisation":false,"support":true},"evidence":{"action":"save",' ..
  '"surface":"banner","noticeId":"main","noticeVersion":"7","language":"en",' ..
  '"page":"https://shop.example/catalogue/3/item-11"}}'

function init(args)
  unique, subjects = args[1], tonumber(args[2])
  head = "POST /v1/consent HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: " .. args[3] ..
    "\r\nContent-Type: application/json\r\nContent-Length: "
end

function request()
  n = n + 1
  local id
  if n % 2 == 0 then
    id = string.format("dev-%08d", (n * 7919) % subjects)
  else
    id = string.format("new-%s-%010d", unique, n)
  end
  local body = string.format(BODY, id, tostring(n % 3 > 0), tostring(n % 5 > 1))
  return head .. #body .. "\r\n\r\n" .. body
end

done = common.done
