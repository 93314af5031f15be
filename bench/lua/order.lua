-- POST an order, as a webhook is told of a withdrawal. Arguments: unique word, its JSON.
local common = dofile("common.lua")
local whole = ""

function init(args)
  whole = "POST /hook0 HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n" ..
    "webhook-id: ord_0123456789abcdef\r\nwebhook-timestamp: 1700000000\r\n" ..
    "webhook-signature: v1," .. string.rep("A", 44) ..
    "\r\nContent-Length: " .. #args[2] .. "\r\n\r\n" .. args[2]
end

function request()
  return whole
end

done = common.done
