-- POST /v1/batch of 100. Arguments: unique word, how many devices, the Authorization header.
local common = dofile("common.lua")
local variants, unique, devices, n = common.variants(), "", 5000, 0
local head = ""

function init(args)
  unique, devices = args[1], tonumber(args[2])
  head = "POST /v1/batch HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: " .. args[3] ..
    "\r\nContent-Type: application/json\r\nContent-Length: "
end

function request()
  local pieces = {}
  for k = 1, 100 do
    n = n + 1
    local v = variants[n % 64 + 1]
    local at = k * 6
    pieces[at - 5] = v[1]
    pieces[at - 4] = string.format("ajs-next-%s-%014d", unique, n)
    pieces[at - 3] = v[2]
    pieces[at - 2] = string.format("dev-%08d", (n * 7919) % devices)
    pieces[at - 1] = v[3]
    pieces[at] = k < 100 and "," or ""
  end
  local body = '{"batch":[' .. table.concat(pieces) .. ']}'
  return head .. #body .. "\r\n\r\n" .. body
end

done = common.done
