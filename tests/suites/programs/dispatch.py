"""Every type of rtnetlink message, with every length of header and the usual flags: which error, at which offset, in whose words."""

import errno
import os
import socket
import struct
import subprocess

subprocess.run("ip link set lo up; ip link add va type veth peer name vb; ip link set va up; ip link set vb up; sleep 0.3", shell=True)

SOL_NETLINK, EXT_ACK, STRICT = 270, 11, 12
REQUEST, MULTI, ACK, ECHO, DUMP, CREATE, EXCL, REPLACE, APPEND = 1, 2, 4, 8, 0x300, 0x400, 0x200, 0x100, 0x800


def answer(data):
    """What a datagram says: errors with their text and offset, and the types and number of anything else."""
    said, counts, at = [], {}, 0
    while at + 16 <= len(data):
        length, kind, flags, seq, port = struct.unpack_from("=IHHII", data, at)
        if kind in (2, 3) and length >= 20:
            code = struct.unpack_from("=i", data, at + 16)[0]
            text = {2: "error ", 3: "done "}[kind] + (errno.errorcode.get(-code, str(code)) if code else "0")
            tlv = at + 20
            if kind == 2:
                tlv = at + 36 if flags & 0x100 or not code else at + 20 + struct.unpack_from("=I", data, at + 20)[0]
            if flags & 0x200:
                while tlv + 4 <= at + length:
                    n, t = struct.unpack_from("=HH", data, tlv)
                    if n < 4:
                        break
                    body = data[tlv + 4 : tlv + n]
                    value = body.rstrip(b"\0").decode(errors="replace") if t == 1 else struct.unpack("=I", body)[0] if n == 8 else body.hex()
                    text += f" [{t}: {value}]"
                    tlv += (n + 3) & ~3
            said.append(text)
        else:
            counts[kind] = counts.get(kind, 0) + 1
        at += max((length + 3) & ~3, 16)
    return counts, said


def ask(kind, flags, payload, strict):
    s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    s.setsockopt(SOL_NETLINK, EXT_ACK, 1)
    if strict:
        s.setsockopt(SOL_NETLINK, STRICT, 1)
    s.settimeout(0.3)
    s.send(struct.pack("=IHHII", 16 + len(payload), kind, flags, 7, 0) + payload)
    counts, said = {}, []
    try:
        while not said:
            more, said = answer(s.recv(1 << 20))
            for k, n in more.items():
                counts[k] = counts.get(k, 0) + n
    except socket.timeout:
        said = ["silence"]
    s.close()
    return "; ".join([f"{n} of type {k}" for k, n in counts.items()] + said)


def attribute(kind, data):
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


HEADERS = {"nothing": b"", "one byte": b"\0", "16 zeros": bytes(16), "inet": bytes([2]) + bytes(15), "inet6": bytes([10]) + bytes(15),
           "bridge": bytes([7]) + bytes(15), "family 99": bytes([99]) + bytes(15), "12 zeros": bytes(12), "8 zeros": bytes(8),
           "ones": b"\xff" * 16, "trailing": bytes(16) + b"\1\2\3", "long attribute": bytes(16) + struct.pack("=HH", 400, 3),
           "unknown attribute": bytes(16) + attribute(999, b"abcd"), "short attribute": bytes(16) + struct.pack("=HH", 2, 1),
           "inet unknown": bytes([2]) + bytes(15) + attribute(777, b""), "inet empty attributes": bytes([2]) + bytes(15) + b"".join(attribute(i, b"") for i in range(1, 12)),
           "inet wide attributes": bytes([2]) + bytes(15) + b"".join(attribute(i, bytes(40)) for i in range(1, 12)),
           "inet6 wide attributes": bytes([10]) + bytes(15) + b"".join(attribute(i, bytes(40)) for i in range(1, 12))}  # fmt: skip
SKIP = {18 + 0: "NEWLINK is asked below", 88: "nsid", 89: "nsid", 90: "nsid"}

for kind in range(16, 124):
    verb = kind & 3
    if kind in range(36, 52) or kind in range(100, 104):  # queueing disciplines, classes, filters, actions, chains: another subject
        continue
    if kind in (88, 89, 90):
        continue
    for name, payload in HEADERS.items():
        for strict in (False, True):
            for flags_name, flags in (("get", REQUEST | ACK), ("dump", REQUEST | DUMP)):
                if verb != 2 and flags_name == "dump":
                    continue
                if verb != 2 and strict:
                    continue
                if verb == 1 and kind == 17 and name in ("16 zeros",):
                    continue
                print(f"type {kind} {flags_name} {name}{' strict' if strict else ''}: {ask(kind, flags, payload, strict)}", flush=False)
    if verb == 0:
        for flags_name, flags in (("create", CREATE), ("create excl", CREATE | EXCL), ("replace", REPLACE), ("append", CREATE | APPEND)):
            for name in ("nothing", "16 zeros", "inet", "inet6", "bridge", "inet wide attributes"):
                print(f"type {kind} {flags_name} {name}: {ask(kind, REQUEST | ACK | flags, HEADERS[name], False)}")

print("left:", subprocess.run("ip -br link | cut -c1-20; ip -4 route; ip rule; ip neigh show nud permanent", shell=True, capture_output=True, text=True).stdout.replace("\n", " / "))
