-- For wrk: GET of one pod after the other.  Arguments behind "--": how many pods there are, the bearer token.
local count, at = 1, 0

function init(args)
  count = tonumber(args[1])
  wrk.headers["Authorization"] = "Bearer " .. args[2]
  wrk.headers["Accept"] = "application/json"
end

function request()
  at = (at + 1) % count
  return wrk.format("GET", string.format("/api/v1/namespaces/bench/pods/pod-%06d", at))
end
