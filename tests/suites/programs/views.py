"""What Python sees of interfaces, and the files of /proc/net and /sys/class/net."""

import errno
import fcntl
import os
import socket
import struct

print("if_nameindex:", socket.if_nameindex())
for name in ("lo", "va", "sw", "absent", "", "x" * 20):
    try:
        print(f"if_nametoindex {name!r}:", socket.if_nametoindex(name))
    except OSError as e:
        print(f"if_nametoindex {name!r}:", e)
for index in (1, 2, 3, 0, 9999):
    try:
        print(f"if_indextoname {index}:", socket.if_indextoname(index))
    except OSError as e:
        print(f"if_indextoname {index}:", e)

def show(path):
    try:
        with open(path, errors="backslashreplace") as f:
            text = f.read()
    except OSError as e:
        print(f"{path}: {errno.errorcode[e.errno]}")
        return
    lines = text.splitlines()
    if path.endswith("/dev"):  # what went by is not asked here: neighbour discovery may have sent some
        lines = [line.split(":")[0] for line in lines]
    if path.endswith("if_inet6"):  # listed by a hash that each kernel seeds anew
        lines.sort()
    if path.endswith("ipv6_route"):  # reference counts
        lines = sorted(line[:104] + " … " + line[122:] for line in lines)
    for n, line in enumerate(lines):
        print(f"{path} {n}: {line!r}")
    if not lines:
        print(f"{path}: {text!r}")


for path in ("dev", "if_inet6", "route", "ipv6_route", "arp", "dev_mcast", "igmp", "igmp6", "fib_trie"):
    show("/proc/net/" + path)

RUNNING = {"statistics", "queues", "power", "device", "subsystem", "uevent", "bridge", "brif", "brport", "master", "lower_vb", "upper_sw", "brforward"}
for device in sorted(os.listdir("/sys/class/net")):
    top = "/sys/class/net/" + device
    print(f"{top}/: {sorted(os.listdir(top))}")
    print(f"{top} is link: {os.path.islink(top)} {os.path.realpath(top).split('/')[-3:]}")
    for file in sorted(os.listdir(top)):
        if file not in RUNNING and not os.path.isdir(f"{top}/{file}"):
            show(f"{top}/{file}")
    for folder in ("statistics", "queues"):
        print(f"{top}/{folder}/: {sorted(os.listdir(f'{top}/{folder}'))}")

s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for name, number in (("SIOCGIFADDR", 0x8915), ("SIOCGIFNETMASK", 0x891B), ("SIOCGIFHWADDR", 0x8927), ("SIOCGIFMTU", 0x8921)):
    for device in ("va", "half", "sw", "lo", "other"):
        try:
            print(f"{name} {device}:", fcntl.ioctl(s, number, struct.pack("256s", device.encode()))[16:32].hex())
        except OSError as e:
            print(f"{name} {device}:", e)
