"""pyroute2's IPRoute on links: what it makes, changes, moves and removes, and what each call answers."""

import errno
import os

from pyroute2 import IPRoute, NetNS, netns
from pyroute2.netlink.exceptions import NetlinkError

step = 0


def show(name, value):
    global step
    step += 1
    print(f"{step} {name}: {value}")


def attempt(name, call, *args, **kwargs):
    try:
        got = call(*args, **kwargs)
        answers = list(got) if got is not None else []
        show(name, "ok " + " ".join(str(m.get("header", {}).get("type")) for m in answers))
        return answers
    except NetlinkError as e:
        show(name, f"{errno.errorcode.get(e.code, e.code)} {e.args[1] if len(e.args) > 1 else ''}")
    except Exception as e:  # pyroute2's own refusals
        show(name, f"{type(e).__name__}")
    return []


HIDE = {"IFLA_STATS", "IFLA_STATS64", "IFLA_AF_SPEC", "IFLA_ADDRESS", "IFLA_PERM_ADDRESS", "IFLA_NUM_TX_QUEUES", "IFLA_NUM_RX_QUEUES"}


def link(ip, **spec):
    for m in ip.get_links(**spec):
        name = m.get_attr("IFLA_IFNAME")
        show(f"link {name}", f"index {m['index']} type {m['ifi_type']} flags {m['flags']:#x}")
        print(f"{step} order {name}: {[n for n, _ in m['attrs']]}")
        for attr, value in m["attrs"]:
            if attr == "IFLA_LINKINFO":
                value = f"{value.get_attr('IFLA_INFO_KIND')}/{value.get_attr('IFLA_INFO_SLAVE_KIND')}"
            if attr not in HIDE:
                print(f"{step} {name} {attr}: {value if not attr.startswith('UNKNOWN') else '-'}")


ip = IPRoute()
link(ip)
attempt("veth", ip.link, "add", ifname="v0", kind="veth", peer={"ifname": "v1", "address": "02:00:00:00:00:01"}, address="02:00:00:00:00:00")
attempt("veth without a peer's name", ip.link, "add", ifname="w0", kind="veth", peer="w1")
attempt("again", ip.link, "add", ifname="v0", kind="veth", peer="v2")
attempt("bridge", ip.link, "add", ifname="b0", kind="bridge", br_stp_state=1, br_forward_delay=1500, address="02:00:00:00:00:b0")
attempt("dumb kind", ip.link, "add", ifname="x0", kind="nonsense")
attempt("name too long", ip.link, "add", ifname="x" * 16, kind="bridge")
attempt("name with a slash", ip.link, "add", ifname="a/b", kind="bridge")
attempt("no name", ip.link, "add", kind="bridge", address="02:00:00:00:00:b1")
v0, v1, b0 = (ip.link_lookup(ifname=n)[0] for n in ("v0", "v1", "b0"))
show("indices", (v0, v1, b0))
link(ip, ifname="v0")
link(ip, ifname="b0")
attempt("up", ip.link, "set", index=v0, state="up")
attempt("peer up", ip.link, "set", index=v1, state="up")
link(ip, ifname="v0")
attempt("master", ip.link, "set", index=v1, master=b0)
attempt("port", ip.brport, "set", index=v1, unicast_flood=0, cost=200)
link(ip, ifname="v1")
attempt("no master", ip.link, "set", index=v1, master=0)
attempt("mtu", ip.link, "set", index=v0, mtu=1280)
attempt("mtu too small", ip.link, "set", index=v0, mtu=10)
attempt("mtu too great", ip.link, "set", index=v0, mtu=70000)
attempt("rename while up", ip.link, "set", index=v0, ifname="renamed")
attempt("rename", ip.link, "set", index=b0, ifname="b9")
attempt("txqlen, alias, group", ip.link, "set", index=v0, txqlen=77, ifalias="some text", group=9)
attempt("altnames", ip.link, "property_add", index=v0, altname=["first", "second-name-that-is-longer-than-sixteen"])
attempt("altname of another", ip.link, "property_add", index=b0, altname="first")
attempt("get by altname", ip.link, "get", altname="second-name-that-is-longer-than-sixteen")
attempt("altname off", ip.link, "property_del", index=v0, altname="first")
attempt("altname off again", ip.link, "property_del", index=v0, altname="first")
attempt("noarp", ip.link, "set", index=v0, arp=False)
attempt("bad index", ip.link, "set", index=4711, state="up")
attempt("get bad index", ip.link, "get", index=4711)
attempt("address of three bytes", ip.link, "set", index=b0, address="02:00:00")
attempt("multicast address", ip.link, "set", index=b0, address="01:00:5e:00:00:01")
link(ip)
netns.create("blue")
attempt("move", ip.link, "set", index=v1, net_ns_fd="blue")
attempt("gone", ip.link, "get", index=v1)
link(ip, ifname="v0")
with NetNS("blue") as blue:
    link(blue)
    attempt("up there", blue.link, "set", index=v1, state="up")
    attempt("home", blue.link, "set", index=v1, net_ns_pid=os.getpid())
link(ip, ifname="v1")
attempt("veth with its peer there", ip.link, "add", ifname="far", kind="veth", peer={"ifname": "near", "net_ns_fd": "blue"})
netns.remove("blue")
attempt("del", ip.link, "del", index=v0)
attempt("del again", ip.link, "del", index=v0)
attempt("del lo", ip.link, "del", index=1)
attempt("vxlan", ip.link, "add", ifname="vx", kind="vxlan", vxlan_id=5, vxlan_group="239.1.1.1", vxlan_link=b0, vxlan_port=4789)
attempt("vxlan twice", ip.link, "add", ifname="vy", kind="vxlan", vxlan_id=5, vxlan_group="239.1.1.1", vxlan_link=b0, vxlan_port=4789)
attempt("dump bridges", ip.get_links, kind="bridge")
show("lookup", [ip.link_lookup(kind="bridge") != [], ip.link_lookup(operstate="UP"), ip.link_lookup(ifname="absent")])
link(ip, ifname="vx")
ip.close()
