-- POST /v1/track. Arguments: unique word, how many devices, the Authorization header.
local common = dofile("common.lua")
local variants, unique, devices, n = common.variants(), "", 5000, 0
local heads = {}

function init(args)
  unique, devices = args[1], tonumber(args[2])
  for i, v in ipairs(variants) do
    -- A message id has 30 characters, a device id 12.
    local length = #v[1] + 30 + #v[2] + 12 + #v[3]
    heads[i] = "POST /v1/track HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: " .. args[3] ..
      "\r\nContent-Type: application/json\r\nContent-Length: " .. length .. "\r\n\r\n" .. v[1] ..
      "ajs-next-" .. unique
  end
end

function request()
  n = n + 1
  local i = n % 64 + 1
  local v = variants[i]
  return heads[i] .. string.format("-%014d", n) .. v[2] ..
    string.format("dev-%08d", (n * 7919) % devices) .. v[3]
end

done = common.done
