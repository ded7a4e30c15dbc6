"""What the store does in one step: counters of several gateways must not be read by one and written by another.

Lua, run by Redis or Valkey itself, by the store's own clock: clocks of gateways need not agree. A bucket is the one of
serving/limits.py: {level, at}, one minute's worth, filled evenly.
"""

#: KEYS: bucket. ARGV: amount, capacity a minute. Returns milliseconds to wait; 0: taken.
_BUCKET = """
local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end
local function level_of(key, capacity, now)
  local b = redis.call('HMGET', key, 'level', 'at')
  if not b[1] then return capacity end
  return math.min(capacity, tonumber(b[1]) + math.max(0, now - tonumber(b[2])) * capacity / 60000)
end
local function put(key, level, now)
  redis.call('HSET', key, 'level', tostring(level), 'at', string.format('%.0f', now))
  redis.call('EXPIRE', key, 3600)
end
local function wait_ms(key, amount, capacity, now)
  local missing = math.min(amount, capacity) - level_of(key, capacity, now)
  return math.max(0, math.ceil(missing * 60000 / capacity))
end
"""

#: KEYS: bucket of requests. ARGV: capacity.
TAKE = (
    _BUCKET
    + """
local now, capacity = now_ms(), tonumber(ARGV[1])
local wait = wait_ms(KEYS[1], 1, capacity, now)
if wait == 0 then put(KEYS[1], level_of(KEYS[1], capacity, now) - 1, now) end
return wait
"""
)

#: KEYS: bucket of tokens, hash of the day, hash of the month. ARGV: key's name, tokens, capacity, most a day, most a
#: month (-1: no budget). Returns {'ok'}, {'minute', milliseconds}, {'day', used} or {'month', used}.
RESERVE = (
    _BUCKET
    + """
local name, tokens, capacity = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
for place, what in ipairs({'month', 'day'}) do
  local most = tonumber(ARGV[6 - place])
  local used = tonumber(redis.call('HGET', KEYS[4 - place], name) or '0')
  if most >= 0 and used >= most then return {what, used} end
end
local now = now_ms()
local wait = wait_ms(KEYS[1], tokens, capacity, now)
if wait > 0 then return {'minute', wait} end
put(KEYS[1], level_of(KEYS[1], capacity, now) - tokens, now)
redis.call('HINCRBY', KEYS[2], name, tokens)
redis.call('HINCRBY', KEYS[3], name, tokens)
redis.call('EXPIRE', KEYS[2], 3 * 86400)
redis.call('EXPIRE', KEYS[3], 63 * 86400)
return {'ok'}
"""
)

#: KEYS as RESERVE. ARGV: key's name, tokens to add (negative: given back), capacity.
SETTLE = (
    _BUCKET
    + """
local name, tokens, capacity, now = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), now_ms()
put(KEYS[1], math.min(capacity, level_of(KEYS[1], capacity, now) - tokens), now)
for place = 2, 3 do
  if redis.call('HINCRBY', KEYS[place], name, tokens) < 0 then redis.call('HSET', KEYS[place], name, 0) end
end
return 0
"""
)

#: KEYS: places of all, places of the key. ARGV: id, most of all, most of the key, milliseconds it is held.
#: Returns 0: held, 1: the key has all of its own, 2: all are taken.
ENTER = (
    _BUCKET
    + """
local now = now_ms()
for place = 1, 2 do redis.call('ZREMRANGEBYSCORE', KEYS[place], '-inf', now) end
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 2 end
if redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[3]) then return 1 end
for place = 1, 2 do
  redis.call('ZADD', KEYS[place], now + tonumber(ARGV[4]), ARGV[1])
  redis.call('PEXPIRE', KEYS[place], ARGV[4] * 2)
end
return 0
"""
)

#: KEYS: gateways, epoch, hash of the day, hash of the month, places of all, then the places of a key for each id.
#: ARGV: gateway, milliseconds that a place and a gateway are held, a new epoch, then ids.
#: Returns {gateways, epoch, {names and tokens of the day}, {of the month}}.
BEAT = (
    _BUCKET
    + """
local now, hold = now_ms(), tonumber(ARGV[2])
redis.call('SET', KEYS[2], ARGV[3], 'NX')
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZADD', KEYS[1], now + hold, ARGV[1])
for place = 4, #ARGV do
  for _, key in ipairs({KEYS[5], KEYS[place + 2]}) do
    redis.call('ZADD', key, now + hold, ARGV[place])
    redis.call('PEXPIRE', key, hold * 2)
  end
end
return {redis.call('ZCARD', KEYS[1]), redis.call('GET', KEYS[2]),
        redis.call('HGETALL', KEYS[3]), redis.call('HGETALL', KEYS[4])}
"""
)

#: KEYS: hash of the day, hash of the month. ARGV: for each key its name, the least it has used in the day, what is to
#: be added there, and the same of the month.
BRING = """
for place = 1, #ARGV, 5 do
  for which = 1, 2 do
    local used = tonumber(redis.call('HGET', KEYS[which], ARGV[place]) or '0')
    local least, more = tonumber(ARGV[place + which * 2 - 1]), tonumber(ARGV[place + which * 2])
    redis.call('HSET', KEYS[which], ARGV[place], string.format('%.0f', math.max(0, math.max(used, least) + more)))
  end
end
redis.call('EXPIRE', KEYS[1], 3 * 86400)
redis.call('EXPIRE', KEYS[2], 63 * 86400)
return 0
"""
