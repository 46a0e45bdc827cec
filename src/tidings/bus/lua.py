"""What Redis does in one step: the Lua texts. Each runs alone, so nothing comes between its lines.

A stream is three keys, which expire together `keep_ms` after the last socket or refresh:

- `…`: a hash. `epoch`, `offset` (of the newest frame), `bytes` (of the history), `seen` (when the last socket
  left), and for each gateway that holds sockets of it a field `@<node>` with `<sockets> <time of refresh>`.
- `…:frames`: the history, a list of `<key> <frame>`, newest last. A list and not a Redis stream: counted
  from the newest the offsets need not be stored, the bytes can be counted as they leave, and a user with
  one frame costs a tenth of the memory.
- `…:keys`: a hash of notification id to the answer it got, for as long as its frame is in the history.

Times are milliseconds of the clock of Redis. The channel of a node has a subscriber exactly as long as that
process is connected, so what PUBLISH answers is the quickest news of a dead gateway there is.
"""

import hashlib

from msgspec import Struct


class Script(Struct, frozen=True):
    """A Lua text, and the name that Redis gives it (EVALSHA)."""

    text: str
    sha: str


def _script(text: str) -> Script:
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


_NOW = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local function whole(number) return string.format('%.0f', number) end
"""

# KEYS: stream, frames, keys. ARGV: key, frame up to the position, data, most frames, most bytes, stale ms,
# prefix of the channels, what comes before the position in the message.
# Answers the number of sockets that it was handed to.
PUBLISH = _script(
    _NOW
    + """
local before = redis.call('HGET', KEYS[3], ARGV[1])
if before then return tonumber(before) end
local fields = redis.call('HGETALL', KEYS[1])
if #fields == 0 then return 0 end
local own, nodes = {}, {}
for i = 1, #fields, 2 do
  local name = fields[i]
  if name:byte() == 64 then nodes[name] = fields[i + 1] else own[name] = fields[i + 1] end
end
if not own.epoch then return 0 end
local offset = whole(own.offset + 1)
local frame = ARGV[2] .. own.epoch .. ':' .. offset .. '","data":' .. ARGV[3] .. '}'

local entry = ARGV[1] .. ' ' .. frame
local length = redis.call('RPUSH', KEYS[2], entry)
local bytes = #entry
if length > 1 then bytes = bytes + own.bytes end
local most_frames, most_bytes = tonumber(ARGV[4]), tonumber(ARGV[5])
local dropped = {}
while length > most_frames or (bytes > most_bytes and length > 0) do
  local oldest = redis.call('LPOP', KEYS[2])
  bytes, length = bytes - #oldest, length - 1
  dropped[#dropped + 1] = oldest:match('^%d+')
end

local handed, message = 0, ARGV[8] .. ' ' .. own.epoch .. ' ' .. offset .. ' ' .. frame
for name, value in pairs(nodes) do
  local sockets, at = value:match('(%d+) (%d+)')
  local alive = now - at < tonumber(ARGV[6])
  if alive and redis.call('PUBLISH', ARGV[7] .. name:sub(2), message) > 0 then
    handed = handed + sockets
  else
    redis.call('HDEL', KEYS[1], name)
    redis.call('HSET', KEYS[1], 'seen', whole(math.max(own.seen or 0, at)))
  end
end

redis.call('HSET', KEYS[1], 'offset', offset, 'bytes', whole(bytes))
redis.call('HSET', KEYS[3], ARGV[1], handed)
if #dropped > 0 then redis.call('HDEL', KEYS[3], unpack(dropped)) end
local left = redis.call('PTTL', KEYS[1])
if left > 0 then
  redis.call('PEXPIRE', KEYS[2], left)
  redis.call('PEXPIRE', KEYS[3], left)
end
return handed
"""
)

# KEYS: stream, frames, keys; of the user, then of the project. ARGV: node, keep ms, most frames; then for
# each stream: sockets of this node, an epoch for the case that there is none, asked epoch, asked offset (-1:
# not asked). Answers for each stream: epoch, offset, recovered, entries of the gap.
JOIN = _script(
    _NOW
    + """
local function enter(first, sockets, fresh, asked_epoch, asked_offset)
  local stream, frames, keys = KEYS[first], KEYS[first + 1], KEYS[first + 2]
  local at = redis.call('HMGET', stream, 'epoch', 'offset')
  local epoch, offset = at[1], at[2]
  if not epoch then
    epoch, offset = fresh, '0'
    redis.call('DEL', stream, frames, keys)
    redis.call('HSET', stream, 'epoch', epoch, 'offset', 0, 'bytes', 0)
  end
  redis.call('HSET', stream, '@' .. ARGV[1], sockets .. ' ' .. whole(now))
  for i = first, first + 2 do redis.call('PEXPIRE', KEYS[i], ARGV[2]) end
  if asked_offset == '-1' then return {epoch, offset, 1, {}} end
  local missing = offset - asked_offset
  if asked_epoch ~= epoch or missing < 0 or missing > tonumber(ARGV[3])
      or missing > redis.call('LLEN', frames) then
    return {epoch, offset, 0, {}}
  end
  if missing == 0 then return {epoch, offset, 1, {}} end
  return {epoch, offset, 1, redis.call('LRANGE', frames, -missing, -1)}
end
return {enter(1, ARGV[4], ARGV[5], ARGV[6], ARGV[7]), enter(4, ARGV[8], ARGV[9], ARGV[10], ARGV[11])}
"""
)

# Say again what this node holds, and ask where the streams stand: presence, expiry and the check for lost
# frames in one. KEYS: stream, frames, keys; of any number of streams. ARGV: node, keep ms, then the sockets
# of this node in each. No sockets: the node holds none any more. A stream that is not there is not made.
# Answers for each stream: epoch, offset ("" and "0" when it is not there).
REFRESH = _script(
    _NOW
    + """
local answer, node = {}, '@' .. ARGV[1]
for n = 1, #KEYS / 3 do
  local stream, sockets = KEYS[n * 3 - 2], ARGV[n + 2]
  local at = redis.call('HMGET', stream, 'epoch', 'offset')
  if at[1] then
    if sockets ~= '0' then
      redis.call('HSET', stream, node, sockets .. ' ' .. whole(now))
    elseif redis.call('HDEL', stream, node) == 1 then
      redis.call('HSET', stream, 'seen', whole(now))
    end
    for i = n * 3 - 2, n * 3 do redis.call('PEXPIRE', KEYS[i], ARGV[2]) end
  end
  answer[#answer + 1] = at[1] or ''
  answer[#answer + 1] = at[2] or '0'
end
return answer
"""
)

# KEYS: stream. ARGV: stale ms, prefix of the channels. Answers: sockets, last seen (ms, 0: not known).
PRESENCE = _script(
    _NOW
    + """
local fields = redis.call('HGETALL', KEYS[1])
local total, seen = 0, 0
for i = 1, #fields, 2 do
  local name, value = fields[i], fields[i + 1]
  if name == 'seen' then
    seen = math.max(seen, value)
  elseif name:byte() == 64 then
    local sockets, at = value:match('(%d+) (%d+)')
    local listens = redis.call('PUBSUB', 'NUMSUB', ARGV[2] .. name:sub(2))
    if now - at < tonumber(ARGV[1]) and listens[2] > 0 then total = total + sockets end
    seen = math.max(seen, at)
  end
end
return {total, seen}
"""
)

# KEYS: streams, at most a few hundred. Answers one character for each: 1 where there is one, else 0. Mostly nobody of a
# group is there, which Redis says in a tenth of the time.
EXIST = _script(
    """
if redis.call('EXISTS', unpack(KEYS)) == 0 then return string.rep('0', #KEYS) end
local answer = {}
for n = 1, #KEYS do answer[n] = redis.call('EXISTS', KEYS[n]) end
return table.concat(answer)
"""
)

# KEYS: a mark that only this node sets. ARGV: its expiry in ms, the node's channel, the message.
# Answers 0 when the mark was gone: Redis has forgotten things that it should not have.
BEAT = _script(
    """
local there = redis.call('EXISTS', KEYS[1])
redis.call('SET', KEYS[1], 1, 'PX', ARGV[1])
redis.call('PUBLISH', ARGV[2], ARGV[3])
return there
"""
)

# GCRA (see `limits.py`), in microseconds. KEYS: the limit. ARGV: interval, burst, cost.
# Answers: allowed, remaining, µs until all is there again, µs until the same cost would be allowed.
ALLOW = _script(
    """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local interval, burst, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local room = interval * burst
local before = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)
local after = before + interval * cost
local wait = after - room - now
local kept, allowed = before, 0
if wait <= interval * 1e-6 then
  kept, allowed, wait = after, 1, 0
  local lasts = math.ceil((after - now) / 1000)
  if cost > 0 then redis.call('SET', KEYS[1], string.format('%.3f', after), 'PX', lasts) end
end
local remaining = math.max(0, math.floor((room - (kept - now)) / interval + 1e-6))
return {allowed, remaining, math.ceil(kept - now), math.ceil(wait)}
"""
)

SCRIPTS = (PUBLISH, JOIN, REFRESH, PRESENCE, EXIST, BEAT, ALLOW)
