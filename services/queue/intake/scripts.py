"""What happens in Redis in one step each. Redis runs a script as a whole or, when it dies meanwhile, not at all.

The keys of all of them: the source; beside it, under the intake's own prefix, `runner` (who takes in, with a time to
live), `claimed` (claims and their items), `failures` (how often an execution could not be created), `again` (claims and
items to be taken in once more), `dead` (what was given up), `counts`, and `status` (what the runner says of itself).

A stream's claims are kept by its consumer group. There is one consumer in it, whoever takes in: claims belong to the
intake, and `runner` says who may handle them.
"""

from __future__ import annotations

from typing import Final

KEYS: Final = ("runner", "claimed", "failures", "again", "dead", "counts", "status")
"""After the source."""

HOLD: Final = """
local holder = redis.call('GET', KEYS[2])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
redis.call('SET', KEYS[8], ARGV[3], 'PX', ARGV[2])
return 1
"""
"""runner, milliseconds, status -> whether it is the runner, for so long."""

RELEASE: Final = """
if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2], KEYS[8]) end
return 1
"""
"""runner"""

_ENTRIES: Final = """
local function add_entries(out, read, field)
  if not read then return end
  for _, entry in ipairs(read[1][2]) do
    local item, flaw = '', 'the entry was deleted from the stream before it was taken in'
    if entry[2] then
      flaw = 'the entry has no field ' .. field
      for i = 1, #entry[2], 2 do
        if entry[2][i] == field then item, flaw = entry[2][i + 1], '' end
      end
    end
    out[#out + 1] = entry[1]
    out[#out + 1] = item
    out[#out + 1] = flaw
  end
end
local function add(out, id, item)
  out[#out + 1] = id
  out[#out + 1] = item
  out[#out + 1] = ''
end
"""

CLAIM: Final = (
    _ENTRIES
    + """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return false end
local count, out, last = tonumber(ARGV[2]), {}, ''
while #out < 3 * count do
  local id = redis.call('LPOP', KEYS[5])
  if not id then break end
  local item = redis.call('LPOP', KEYS[5])
  redis.call('HSET', KEYS[3], id, item)
  add(out, id, item)
end
local rest = count - #out / 3
if ARGV[3] == 'list' then
  local items = rest > 0 and redis.call('LPOP', KEYS[1], rest)
  if items then
    local time = redis.call('TIME')
    local number = tonumber(redis.call('HGET', KEYS[7], 'last') or '0')
    number = math.max(number, tonumber(time[1]) * 1000000 + tonumber(time[2]))
    for _, item in ipairs(items) do
      number = number + 1
      local id = string.format('%.0f', number)
      redis.call('HSET', KEYS[3], id, item)
      add(out, id, item)
    end
    redis.call('HSET', KEYS[7], 'last', string.format('%.0f', number))
  end
elseif rest > 0 then
  add_entries(out, redis.call(
    'XREADGROUP', 'GROUP', ARGV[4], ARGV[4], 'COUNT', rest, 'STREAMS', KEYS[1], '>'), ARGV[5])
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    local told = {}
    for i = 1, #group, 2 do told[group[i]] = group[i + 1] end
    if told['name'] == ARGV[4] then last = told['last-delivered-id'] end
  end
end
return {last, out}
"""
)
"""runner, count, kind, group, field -> the stream's last entry that was delivered, and (claim, item, flaw) of each; nil
for somebody who is not the runner. A claim's number is higher than all before, also when Redis has lost its data."""

RECOVER: Final = (
    _ENTRIES
    + """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return false end
local out, claimed = {}, redis.call('HGETALL', KEYS[3])
for i = 1, #claimed, 2 do add(out, claimed[i], claimed[i + 1]) end
if ARGV[2] == 'stream' then
  local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[3], '0', 'MKSTREAM')
  if made.err and not string.find(made.err, 'BUSYGROUP') then return made end
  add_entries(out, redis.call('XREADGROUP', 'GROUP', ARGV[3], ARGV[3], 'STREAMS', KEYS[1], '0'), ARGV[4])
end
return out
"""
)
"""runner, kind, group, field -> (claim, item, flaw) of all that is claimed and not settled; nil as in CLAIM."""

_SETTLE: Final = """
local function settle(kind, group, id)
  local settled = redis.call('HDEL', KEYS[3], id)
  if settled == 0 and kind == 'stream' then settled = redis.call('XACK', KEYS[1], group, id) end
  if settled > 0 then redis.call('HDEL', KEYS[4], id) end
  return settled > 0
end
"""

DONE: Final = (
    _SETTLE
    + """
local done = 0
for i = 3, #ARGV do
  if settle(ARGV[1], ARGV[2], ARGV[i]) then done = done + 1 end
end
if done > 0 then redis.call('HINCRBY', KEYS[7], 'done', done) end
return done
"""
)
"""kind, group, claims: their executions are durable. Who says so does not matter, nor how often."""

BURY: Final = (
    _SETTLE
    + """
if not settle(ARGV[1], ARGV[2], ARGV[3]) then return 0 end
redis.call('RPUSH', KEYS[6], ARGV[4])
return 1
"""
)
"""kind, group, claim, document: it is given up."""

FAILED: Final = "return redis.call('HINCRBY', KEYS[4], ARGV[1], 1)"
"""claim -> how often its execution could not be created."""

REPLAY: Final = """
local replayed = 0
for i = 1, #ARGV, 3 do
  if redis.call('LREM', KEYS[6], 1, ARGV[i]) > 0 then
    redis.call('RPUSH', KEYS[5], ARGV[i + 1], ARGV[i + 2])
    replayed = replayed + 1
  end
end
return replayed
"""
"""(document, claim, item) each -> how many of them are to be taken in once more."""

PROGRESS: Final = """
local waiting, claimed = -1, redis.call('HLEN', KEYS[3]) + redis.call('LLEN', KEYS[5]) / 2
if ARGV[1] == 'list' then
  waiting = redis.call('LLEN', KEYS[1])
else
  local groups, found = redis.pcall('XINFO', 'GROUPS', KEYS[1]), false
  for _, group in ipairs(groups.err and {} or groups) do
    local told = {}
    for i = 1, #group, 2 do told[group[i]] = group[i + 1] end
    if told['name'] == ARGV[2] then
      found, claimed, waiting = true, claimed + told['pending'], told['lag'] or -1
    end
  end
  if not found then waiting = redis.call('XLEN', KEYS[1]) end
end
local done = tonumber(redis.call('HGET', KEYS[7], 'done') or '0')
local status, runner = redis.call('GET', KEYS[8]) or '', redis.call('GET', KEYS[2]) or ''
return {waiting, claimed, done, redis.call('LLEN', KEYS[6]), status, runner}
"""
"""kind, group -> waiting (-1 when unknown), claimed, done, dead, status, runner."""
