-- Pktgen-DPDK (built with Lua): throughput, frame loss and latency after RFC 2544, sections 26.1 to 26.3.
--
--   pktgen -l 0,1,2 -a 0000:3b:00.0 -a 0000:3b:00.1 -- -P -m "1.0,2.1" -f scripts/pktgen/rfc2544.lua
--
-- Port 0 sends to guideway's port outside; what is forwarded comes back by port 1, or by port 0 where that is the only
-- one. The table goes to rfc2544.md in the directory that Pktgen was started in.

package.path = package.path .. ";?.lua"
require "Pktgen"

-- What to change first.
local guideway_mac = "02:00:00:00:00:10"
local frontend, frontend_port = "203.0.113.1", 443

local sizes = { 64, 128, 256, 512, 1024, 1280, 1518 }
local flow_counts = { 1, 1000, 10000, 100000, 1000000 }
local trial_ms = 60000      -- section 24: at least 60 s
local settle_ms = 2000      -- section 23: two seconds after a trial; Pktgen's own counters are a second old
local learning_ms = 3000    -- so that every flow is known
local resolution = 0.5      -- per cent of the line's rate

local out, back = "0", "1"
if pktgen.portCount() < 2 then back = "0" end
local first_client = 11 * 2 ^ 24 -- 11.0.0.0

local file = assert(io.open("rfc2544.md", "w"))
local function row(...)
    local line = "| " .. table.concat({ ... }, " | ") .. " |"
    print(line)
    file:write(line, "\n")
    file:flush()
end

local function address(number)
    local n = math.floor(number)
    return string.format("%d.%d.%d.%d", n // 2 ^ 24, n // 2 ^ 16 % 256, n // 2 ^ 8 % 256, n % 256)
end

-- One client address for each flow; all else is the same.
local function set_up(size, flows)
    pktgen.range.dst_mac(out, "start", guideway_mac)
    for field, value in pairs({ start = first_client, min = first_client, max = first_client + flows - 1 }) do
        pktgen.range.src_ip(out, field, address(value))
        pktgen.range.dst_ip(out, field, frontend)
        pktgen.range.src_port(out, field, 1024)
        pktgen.range.dst_port(out, field, frontend_port)
        pktgen.range.pkt_size(out, field, size)
    end
    pktgen.range.src_ip(out, "inc", flows > 1 and "0.0.0.1" or "0.0.0.0")
    pktgen.range.dst_ip(out, "inc", "0.0.0.0")
    pktgen.range.src_port(out, "inc", 0)
    pktgen.range.dst_port(out, "inc", 0)
    pktgen.range.pkt_size(out, "inc", 0)
    pktgen.range.ip_proto(out, "tcp")
    pktgen.set_range(out, "on")
    pktgen.set(out, "count", 0)
end

-- Frames sent and come back at `rate` per cent.
local function trial(rate, ms)
    pktgen.set(out, "rate", rate)
    pktgen.clr()
    pktgen.start(out)
    pktgen.delay(ms)
    pktgen.stop(out)
    pktgen.delay(settle_ms)
    local sent = pktgen.portStats(out, "port")[tonumber(out)].opackets
    local received = pktgen.portStats(back, "port")[tonumber(back)].ipackets
    return sent, received
end

-- Section 26.1, by bisection: the highest rate at which nothing is lost, in per cent; 0 where there is none.
local function throughput()
    local good, bad, best = 0, 100 + resolution, 0
    while bad - good > resolution do
        local rate = math.min(100, (good + bad) / 2)
        if good == 0 and bad > 100 then rate = 100 end -- perhaps the line is the limit
        local sent, received = trial(rate, trial_ms)
        if sent > 0 and received >= sent then
            good, best = rate, sent / (trial_ms / 1000)
            if rate >= 100 then break end
        else
            bad = rate
        end
    end
    return good, best
end

-- Section 26.3: the share lost from the line's rate down in steps of a tenth, until two in a row lose nothing.
local function frame_loss()
    local losses, clean = {}, 0
    for rate = 100, 10, -10 do
        local sent, received = trial(rate, trial_ms)
        local lost = sent > 0 and math.max(0, sent - received) * 100 / sent or 0
        losses[#losses + 1] = string.format("%d %%: %.4f %%", rate, lost)
        clean = lost == 0 and clean + 1 or 0
        if clean == 2 then break end
    end
    return table.concat(losses, ", ")
end

-- Section 26.2: of marked frames, at the throughput that was found.
local function latency(rate)
    pktgen.latency(out, "enable")
    pktgen.latency(back, "enable")
    trial(rate, trial_ms)
    local seen = pktgen.pktStats(back)[tonumber(back)].latency
    pktgen.latency(out, "disable")
    pktgen.latency(back, "disable")
    return seen
end

row("bytes", "flows", "% of line", "Mpps", "least us", "mean us", "most us", "loss by rate")
row("---", "---", "---", "---", "---", "---", "---", "---")
for _, size in ipairs(sizes) do
    for _, flows in ipairs(flow_counts) do
        set_up(size, flows)
        trial(10, learning_ms)
        local rate, packets = throughput()
        local seen = latency(rate > 0 and rate or 1)
        row(size, flows, string.format("%.1f", rate), string.format("%.3f", packets / 1e6),
            string.format("%.1f", seen.min_us), string.format("%.1f", seen.avg_us),
            string.format("%.1f", seen.max_us), frame_loss())
    end
end
file:close()
pktgen.quit()
