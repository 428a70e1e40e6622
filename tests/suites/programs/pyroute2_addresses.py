"""pyroute2's IPRoute on addresses, routes, rules and neighbours."""

import errno
import socket

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

step = 0


def show(name, value):
    global step
    step += 1
    print(f"{step} {name}: {value}")


def attempt(name, call, *args, **kwargs):
    try:
        got = call(*args, **kwargs)
        show(name, "ok " + " ".join(str(m["header"]["type"]) for m in (got or ())))
    except NetlinkError as e:
        show(name, f"{errno.errorcode.get(e.code, e.code)} {e.args[1] if len(e.args) > 1 else ''}")
    except Exception as e:
        show(name, type(e).__name__)


TIMES = {"IFA_CACHEINFO", "NDA_CACHEINFO", "RTA_CACHEINFO"}


def plain(value):
    if isinstance(value, dict) and "attrs" in value:
        fields = {k: v for k, v in value.items() if k not in ("attrs", "header", "event", "__align", "__offset", "timestamp")}
        return f"{fields}[" + ", ".join(f"{n}={'…' if n in TIMES else plain(v)}" for n, v in value["attrs"]) + "]"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(plain(v) for v in value) + "]"
    return str({k: v for k, v in value.items() if k != "header"}) if isinstance(value, dict) else str(value)


def dump(name, call, *args, **kwargs):
    try:
        for m in call(*args, **kwargs):
            show(name, f"{m['header']['type']} flags {m['header']['flags']:#x} {plain(m)}")
    except NetlinkError as e:
        show(name, errno.errorcode.get(e.code, e.code))


ip = IPRoute()
ip.link("add", ifname="v0", kind="veth", address="02:00:00:00:00:0a", peer={"ifname": "v1", "address": "02:00:00:00:00:0b"})
lo, v0, v1 = 1, ip.link_lookup(ifname="v0")[0], ip.link_lookup(ifname="v1")[0]
for index in (lo, v0, v1):
    attempt("up", ip.link, "set", index=index, state="up")
attempt("add", ip.addr, "add", index=v0, address="192.0.2.1", prefixlen=24)
attempt("add again", ip.addr, "add", index=v0, address="192.0.2.1", prefixlen=24)
attempt("add second", ip.addr, "add", index=v0, address="192.0.2.2", prefixlen=24, broadcast="192.0.2.255", label="v0:two")
attempt("add peer", ip.addr, "add", index=v0, local="10.1.0.1", address="10.1.0.2", prefixlen=32)
attempt("prefix 33", ip.addr, "add", index=v0, address="10.9.0.1", prefixlen=33)
attempt("bad device", ip.addr, "add", index=99, address="10.9.0.1", prefixlen=24)
attempt("add 6", ip.addr, "add", index=v0, address="2001:db8::1", prefixlen=64, flags=2)
attempt("add 6 again", ip.addr, "add", index=v0, address="2001:db8::1", prefixlen=64)
attempt("multicast 6", ip.addr, "add", index=v0, address="ff02::99", prefixlen=64)
attempt("lifetimes", ip.addr, "add", index=v0, address="192.0.2.50", prefixlen=24, IFA_CACHEINFO={"ifa_preferred": 1000, "ifa_valid": 2000})
attempt("lifetimes upside down", ip.addr, "add", index=v0, address="192.0.2.51", prefixlen=24, IFA_CACHEINFO={"ifa_preferred": 3000, "ifa_valid": 2000})
attempt("replace", ip.addr, "replace", index=v0, address="192.0.2.1", prefixlen=24, IFA_CACHEINFO={"ifa_preferred": 500, "ifa_valid": 600})
dump("addr", ip.get_addr, family=socket.AF_INET)
dump("addr of v0", ip.get_addr, family=socket.AF_INET, index=v0)
dump("routes", ip.get_routes, family=socket.AF_INET, table=254)
dump("local routes", ip.get_routes, family=socket.AF_INET, table=255)

attempt("route", ip.route, "add", dst="172.16.0.0/24", gateway="192.0.2.254")
attempt("route again", ip.route, "add", dst="172.16.0.0/24", gateway="192.0.2.254")
attempt("route append", ip.route, "append", dst="172.16.0.0/24", gateway="192.0.2.253")
attempt("route replace", ip.route, "replace", dst="172.16.0.0/24", gateway="192.0.2.252", priority=10)
attempt("route change absent", ip.route, "change", dst="172.17.0.0/24", gateway="192.0.2.252")
attempt("host bits", ip.route, "add", dst="172.18.0.1/24", gateway="192.0.2.254")
attempt("unreachable gateway", ip.route, "add", dst="172.18.0.0/24", gateway="203.0.113.1")
attempt("onlink", ip.route, "add", dst="172.18.0.0/24", gateway="203.0.113.1", oif=v0, flags="onlink")
attempt("multipath", ip.route, "add", dst="172.19.0.0/24", multipath=[{"gateway": "192.0.2.10", "hops": 1}, {"gateway": "192.0.2.11", "hops": 4}])
attempt("blackhole", ip.route, "add", dst="172.20.0.0/16", type="blackhole")
attempt("metrics", ip.route, "add", dst="172.21.0.0/16", gateway="192.0.2.254", metrics={"mtu": 1400, "hoplimit": 16, "advmss": 1300})
attempt("table 1000", ip.route, "add", dst="default", gateway="192.0.2.254", table=1000, priority=5, proto="static")
attempt("table bad type", ip.route, "add", dst="10.0.0.0/8", type=99, table=1000)
attempt("prefsrc not ours", ip.route, "add", dst="172.22.0.0/16", gateway="192.0.2.254", prefsrc="1.2.3.4")
attempt("route 6", ip.route, "add", dst="2001:db8:5::/48", gateway="2001:db8::fe", family=socket.AF_INET6)
attempt("multipath 6", ip.route, "add", dst="2001:db8:6::/48", family=socket.AF_INET6, multipath=[{"gateway": "2001:db8::a"}, {"gateway": "2001:db8::b"}])
dump("routes 4", ip.get_routes, family=socket.AF_INET, table=254)
dump("routes 1000", ip.get_routes, family=socket.AF_INET, table=1000)
dump("get", ip.route, "get", dst="172.19.0.1")
dump("get 172.21", ip.route, "get", dst="172.21.3.4")
dump("get blackhole", ip.route, "get", dst="172.20.0.1")
dump("get nowhere", ip.route, "get", dst="8.8.8.8")
dump("get 6", ip.route, "get", dst="2001:db8:5::1")
attempt("del", ip.route, "del", dst="172.19.0.0/24")
attempt("del again", ip.route, "del", dst="172.19.0.0/24")
attempt("flush", ip.flush_routes, table=1000)

attempt("rule", ip.rule, "add", table=100, priority=3200, src="10.0.0.0/8")
attempt("rule again", ip.rule, "add", table=100, priority=3200, src="10.0.0.0/8")
attempt("rule fwmark", ip.rule, "add", table=101, priority=3201, fwmark=16, fwmask=255)
attempt("rule goto", ip.rule, "add", action="goto", goto=32766, priority=3202, iifname="v0")
attempt("rule unreachable", ip.rule, "add", action="unreachable", priority=3203, oifname="v1", tos=16)
attempt("rule ports", ip.rule, "add", table=103, priority=3204, FRA_SPORT_RANGE={"start": 1, "end": 1024}, ip_proto=17)
attempt("rule 6", ip.rule, "add", table=104, priority=3205, src="2001:db8::/32", family=socket.AF_INET6)
attempt("rule goto back", ip.rule, "add", action="goto", goto=10, priority=3206)
dump("rules", ip.get_rules, family=socket.AF_INET)
dump("rules 6", ip.get_rules, family=socket.AF_INET6)
attempt("rule del", ip.rule, "del", priority=3200)
attempt("rule del again", ip.rule, "del", priority=3200)
attempt("flush rules", ip.flush_rules, priority=lambda p: 3200 <= p < 3300)

attempt("neigh", ip.neigh, "add", dst="192.0.2.100", lladdr="02:00:00:00:01:00", ifindex=v0, state="permanent")
attempt("neigh again", ip.neigh, "add", dst="192.0.2.100", lladdr="02:00:00:00:01:00", ifindex=v0)
attempt("neigh replace", ip.neigh, "replace", dst="192.0.2.100", lladdr="02:00:00:00:01:01", ifindex=v0, state="stale")
attempt("neigh change absent", ip.neigh, "change", dst="192.0.2.101", lladdr="02:00:00:00:01:01", ifindex=v0)
attempt("neigh proxy", ip.neigh, "add", dst="192.0.2.102", ifindex=v0, flags=8)
attempt("neigh 6", ip.neigh, "add", dst="2001:db8::100", lladdr="02:00:00:00:01:02", ifindex=v0, state="reachable", family=socket.AF_INET6)
attempt("neigh short lladdr", ip.neigh, "add", dst="192.0.2.103", lladdr="02:00", ifindex=v0)
dump("neighbours", ip.get_neighbours, family=socket.AF_INET)
dump("neighbours of v0", ip.neigh, "dump", family=socket.AF_INET, ifindex=v0)
attempt("neigh del", ip.neigh, "del", dst="192.0.2.100", ifindex=v0)
attempt("neigh del again", ip.neigh, "del", dst="192.0.2.100", ifindex=v0)

attempt("addr del", ip.addr, "del", index=v0, address="192.0.2.1", prefixlen=24)
attempt("addr del again", ip.addr, "del", index=v0, address="192.0.2.1", prefixlen=24)
attempt("addr del 6", ip.addr, "del", index=v0, address="2001:db8::1", prefixlen=64)
attempt("flush", ip.flush_addr, index=v0)
dump("left", ip.get_addr, family=socket.AF_INET)
dump("left routes", ip.get_routes, family=socket.AF_INET, table=254)
ip.close()
