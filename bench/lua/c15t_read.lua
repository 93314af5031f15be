-- GET /subjects/:id of c15t. Arguments: unique word, how many subjects there are.
local common = dofile("common.lua")
local subjects, n = 1, 0

function init(args)
  subjects, n = tonumber(args[2]), tonumber(args[1], 16) * 1000003
end

local function letters(text)
  return (text:gsub("%d", function(d) return string.char(97 + tonumber(d)) end))
end

function request()
  n = n + 1
  return "GET /subjects/sub_dev" .. letters(string.format("%08d", (n * 7919) % subjects)) ..
    " HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: https://shop.example\r\n\r\n"
end

done = common.done
