-- GET one subject's preferences. Arguments: unique word, how many subjects, Authorization.
local common = dofile("common.lua")
local subjects, n, tail = 1, 0, ""

function init(args)
  subjects, n = tonumber(args[2]), tonumber(args[1], 16) * 1000003
  tail = " HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: " .. args[3] .. "\r\n\r\n"
end

function request()
  n = n + 1
  return "GET /v1/subjects/anonymous_id:" .. string.format("dev-%08d", (n * 7919) % subjects) .. tail
end

done = common.done
