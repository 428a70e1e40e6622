"""pyroute2's NDB: a database that follows the namespace by its notifications, and commits changes as transactions."""

import time

from pyroute2 import NDB, IPRoute, netns

step = 0


def show(name, value):
    global step
    step += 1
    print(f"{step} {name}: {value}")


def rows(name, view, *fields):
    found = sorted(tuple(str(r[f]) for f in fields) for r in view.dump())
    show(name, found)


def commit(name, change):
    """NDB waits until the notification of what it asked for has come; 10 s without it are a failure."""
    try:
        change.commit()
        show(name, "committed")
    except Exception as e:
        show(name, f"{type(e).__name__} {getattr(e, 'code', '')}")


def settle(test):
    for _ in range(200):
        if test():
            return True
        time.sleep(0.02)
    return False


netns.create("green")
with NDB(log="off") as ndb:
    rows("at first", ndb.interfaces, "index", "ifname", "state")
    with ndb.interfaces.create(ifname="v0", kind="veth", peer="v1", address="02:00:00:00:00:0a") as i:
        i["mtu"] = 1400
    show("made", settle(lambda: "v1" in ndb.interfaces))
    with ndb.interfaces["v0"] as i:
        i["state"] = "up"
        i.add_ip("192.0.2.1/24")
        i.add_ip("2001:db8::1/64")
    with ndb.interfaces["v1"] as i:
        i["state"] = "up"
    ndb.interfaces.create(ifname="b0", kind="bridge", address="02:00:00:00:00:b0").commit()
    ndb.interfaces["b0"].set("state", "up").commit()
    ndb.interfaces["v1"].set("master", ndb.interfaces["b0"]["index"]).commit()
    show("port", settle(lambda: ndb.interfaces["v1"]["master"] == ndb.interfaces["b0"]["index"]))
    commit("route", ndb.routes.create(dst="172.16.0.0/24", gateway="192.0.2.254"))
    commit("multipath", ndb.routes.create(dst="172.17.0.0/24", multipath=[{"gateway": "192.0.2.10"}, {"gateway": "192.0.2.11"}]))
    commit("rule", ndb.rules.create(src="10.0.0.0/8", table=100, priority=500))
    near = {"ifindex": ndb.interfaces["v0"]["index"], "dst": "192.0.2.7", "lladdr": "02:00:00:00:00:07", "state": "permanent"}
    commit("neighbour", ndb.neighbours.create(**near))
    show("kernel told it", settle(lambda: any(r["dst"] == "172.16.0.0" for r in ndb.routes.dump())))
    rows("addresses", ndb.addresses, "address", "prefixlen", "label")
    rows("rules", ndb.rules, "family", "priority", "table")
    show("routes", sorted({(r["dst"], r["gateway"]) for r in ndb.routes.dump() if r["family"] == 2 and r["table"] == 254}, key=str))
    try:
        with ndb.begin() as t:
            t.push(ndb.interfaces["v0"].set("mtu", 1300), ndb.interfaces["b0"].set("ifname", "v0"))
    except Exception as e:
        show("transaction refused", type(e).__name__)
    show("rolled back", settle(lambda: ndb.interfaces["v0"]["mtu"] == 1400))
    ndb.sources.add(netns="green")
    commit("far", ndb.interfaces.create(ifname="far", kind="veth", peer={"ifname": "near", "net_ns_fd": "green"}))
    show("in green", settle(lambda: {"target": "netns/green", "ifname": "near"} in ndb.interfaces))
    commit("remove", ndb.interfaces["v0"].remove())
    show("removed", settle(lambda: "v1" not in ndb.interfaces))
    show("routes after", settle(lambda: not any(r["dst"] == "172.16.0.0" for r in ndb.routes.dump())))
    rows("at last", ndb.interfaces, "target", "ifname", "kind")

with IPRoute() as ip:
    show("seen from outside", sorted(m.get_attr("IFLA_IFNAME") for m in ip.get_links()))
netns.remove("green")
