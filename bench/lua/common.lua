-- Shared by the scripts: 64 variants of an analytics.js event of about 1 KB, and wrk's summary.
local common = {}

local CATEGORIES = {"analytics", "advertising", "functional", "personalisation",
  "social", "performance", "research", "support"}
local TITLES = {"Linen shirt", "Überwurf, grün", "Crème brûlée set", "Travel mug", "Desk lamp",
  "Rain jacket", "Notebook, dotted", "Señal de prueba"}

-- Which of the eight categories variant n states, and what it says: three to six of them.
local function preferences(n)
  local stated = {}
  for k = 0, 2 + n % 4 do
    local granted = (n * 7 + k * 5) % 3 > 0
    stated[#stated + 1] = string.format('"%s":%s', CATEGORIES[(n + k * 3) % 8 + 1], tostring(granted))
  end
  return table.concat(stated, ",")
end

-- The pieces around the message id, the anonymous id and the time.
local function variant(n)
  local title = TITLES[n % 8 + 1]
  local url = string.format("https://shop.example/catalogue/%d/item-%d", n % 5, n)
  local head = '{"type":"track","event":"Product Viewed","messageId":"'
  local middle = '","anonymousId":"'
  local tail = string.format(
    '","context":{"page":{"url":"%s?ref=mail&utm_source=newsletter&utm_campaign=autumn-%d",' ..
    '"path":"/catalogue/%d/item-%d","title":"%s","referrer":"https://search.example/?q=item+%d",' ..
    '"search":"?ref=mail&utm_source=newsletter&utm_campaign=autumn-%d"},' ..
    '"userAgent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) ' ..
    'Chrome/150.0.0.0 Safari/537.36","locale":"en-GB","timezone":"Europe/Lisbon",' ..
    '"library":{"name":"analytics.js","version":"npm:next-1.84.3"},' ..
    '"consent":{"categoryPreferences":{%s}}},' ..
    '"properties":{"product_id":"SKU-%05d","name":"%s","price":%d.95,"currency":"EUR",' ..
    '"quantity":%d,"category":"Catalogue %d","position":%d,"coupon":"WELCOME%d",' ..
    '"list":"recommended for you"},"integrations":{},"timestamp":"%s"}',
    url, n, n % 5, n, title, n, n, preferences(n), n * 37, title, 10 + n, 1 + n % 3, n % 5, n, n,
    os.date("!%Y-%m-%dT%H:%M:%S.000Z"))
  return {head, middle, tail}
end

function common.variants()
  local found = {}
  for n = 1, 64 do found[n] = variant(n) end
  return found
end

-- What wrk counted, as one line of JSON; any answer but a success is an error.
function common.done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '{"requests":%d,"us":%d,"p50":%d,"p99":%d,"errors":{"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect, e.read, e.write, e.status, e.timeout))
end

return common
