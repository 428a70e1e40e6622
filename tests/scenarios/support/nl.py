"""Namespaces and raw rtnetlink for the scenarios, with answers printed so that two kernels print the same.

Ports and inode numbers are never printed as numbers: a port is `own`, `kernel` or `other`. Everything else of a message
is: its length, flags, sequence number, every attribute, and of an error its errno, the extended text, the offset and
the policy.
"""
import array
import ctypes
import errno
import os
import socket
import struct

libc = ctypes.CDLL(None, use_errno=True)

NEWNET, NEWNS, NEWUTS = 0x40000000, 0x20000, 0x04000000
AF_NETLINK, SOL_NETLINK = 16, 270
ADD_MEMBERSHIP, DROP_MEMBERSHIP, PKTINFO, NO_ENOBUFS = 1, 2, 3, 5
LISTEN_ALL_NSID, LIST_MEMBERSHIPS, CAP_ACK, EXT_ACK, STRICT = 8, 9, 10, 11, 12
REQUEST, MULTI, ACK, ECHO, DUMP = 1, 2, 4, 8, 0x300
NOOP, ERROR, DONE = 1, 2, 3
NEWLINK, DELLINK, GETLINK, SETLINK = 16, 17, 18, 19
NEWNSID, DELNSID, GETNSID = 88, 89, 90
NSID_GROUP = 28
NSID, PID, FD, TARGET, CURRENT = 1, 2, 3, 4, 5

TYPES = {NOOP: 'NOOP', ERROR: 'ERROR', DONE: 'DONE', NEWLINK: 'NEWLINK', DELLINK: 'DELLINK',
         NEWNSID: 'NEWNSID', DELNSID: 'DELNSID', GETNSID: 'GETNSID'}
FLAGS = {NSID: 'nsid', PID: 'pid', FD: 'fd', TARGET: 'target', CURRENT: 'current'}
POLICY = {1: 'type', 2: 'min', 3: 'max', 4: 'min', 5: 'max', 6: 'minlen', 7: 'maxlen', 10: 'mask'}


def name(number):
    """The name of an errno, `0` for none."""
    return errno.errorcode.get(number, str(number)) if number else '0'


def attempt(function, *arguments):
    """What a call returns, or the name of its error."""
    try:
        return function(*arguments)
    except OSError as error:
        return name(error.errno)


def call(function, *arguments):
    """A libc call: its result, or the name of its error."""
    ctypes.set_errno(0)
    result = function(*arguments)
    return result if result >= 0 else name(ctypes.get_errno())


def setns(fd, kind=NEWNET):
    return call(libc.setns, fd, kind)


def unshare(flags=NEWNET):
    return call(libc.unshare, flags)


def pidfd_open(pid):
    return call(libc.syscall, 434, pid, 0)


def here(path='/proc/thread-self/ns/net'):
    """An open handle of the calling thread's namespace."""
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def new():
    """An open handle of a fresh namespace; the caller stays where it is."""
    home = here()
    assert unshare() == 0
    fresh = here()
    assert setns(home) == 0
    os.close(home)
    return fresh


def inode(fd):
    return os.fstat(fd).st_ino


def same(one, other):
    """Whether two handles are of one namespace, as `ip netns identify` tells."""
    a, b = os.fstat(one), os.fstat(other)
    return (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)


def inside(fd, function, *arguments, **named):
    """Calls `function` in the namespace of `fd`, and comes back."""
    home = here()
    assert setns(fd) == 0
    try:
        return function(*arguments, **named)
    finally:
        setns(home)
        os.close(home)


def raw(kind, payload):
    """One attribute with any payload."""
    return struct.pack('=HH', 4 + len(payload), kind) + payload + b'\0' * (-len(payload) % 4)


def attr(kind, value):
    """One attribute with a 32-bit value."""
    return raw(kind, struct.pack('=I', value & 0xffffffff))


def message(kind, flags, body, seq=1, length=None, port=0):
    length = 16 + len(body) if length is None else length
    return struct.pack('=IHHII', length, kind, flags, seq, port) + body


def attributes(data):
    at, found = 0, []
    while at + 4 <= len(data):
        length, kind = struct.unpack_from('=HH', data, at)
        if length < 4 or at + length > len(data):
            found.append((-1, data[at:]))
            break
        found.append((kind, data[at + 4:at + length]))
        at += (length + 3) & ~3
    return found


def number(data, signed=True):
    size = {1: 'b', 2: 'h', 4: 'i', 8: 'q'}.get(len(data))
    if size is None:
        return data.hex()
    return struct.unpack('=' + (size if signed else size.upper()), data)[0]


class Socket:
    """A NETLINK_ROUTE socket that prints what it receives."""

    def __init__(self, ext=True, strict=False, cap=False, groups=(), everywhere=False, bind=True, port=0):
        self.socket = socket.socket(AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        self.seq = 0
        for wanted, option in ((ext, EXT_ACK), (strict, STRICT), (cap, CAP_ACK), (everywhere, LISTEN_ALL_NSID)):
            if wanted:
                self.socket.setsockopt(SOL_NETLINK, option, 1)
        if bind:
            self.socket.bind((port, 0))
        for group in groups:
            self.socket.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, group)

    def port(self):
        return self.socket.getsockname()[0]

    def close(self):
        self.socket.close()

    def send(self, kind, flags=REQUEST | ACK, body=bytes(4), **more):
        self.seq += 1
        return attempt(self.socket.send, message(kind, flags, body, seq=more.pop('seq', self.seq), **more))

    def datagrams(self, size=65536, wait=0.0):
        """Everything that is queued now, or arrives within `wait` seconds of the last."""
        found = []
        while True:
            self.socket.settimeout(wait if wait else 0.0)
            try:
                found.append(self.socket.recvmsg(size, 512))
            except (BlockingIOError, TimeoutError):
                return found
            except OSError as error:
                found.append(name(error.errno))

    def whose(self, port):
        return {0: 'kernel', self.port(): 'own'}.get(port, 'other')

    def describe(self, datagram):
        """A line for each message of a datagram."""
        if isinstance(datagram, str):
            return ['receive error ' + datagram]
        data, ancillary, flags, source = datagram
        lines, at = [], 0
        note = ' from=%s groups=%#x' % (self.whose(source[0]), source[1])
        for level, kind, value in ancillary:
            note += ' cmsg(%d,%d)=%d' % (level, kind, number(value))
        if flags & socket.MSG_TRUNC:
            note += ' truncated'
        while at + 16 <= len(data):
            length, kind, flags, seq, port = struct.unpack_from('=IHHII', data, at)
            body = data[at + 16:at + length]
            text = '%s len=%d flags=%#x seq=%d port=%s' % (TYPES.get(kind, kind), length, flags, seq, self.whose(port))
            if kind == ERROR:
                code = number(body[:4])
                inner = struct.unpack_from('=IHHII', body, 4)
                copied = 16 if flags & 0x100 else (inner[0] + 3) & ~3
                text += ' %s (of len=%d type=%s flags=%#x seq=%d)' % (
                    name(-code), inner[0], TYPES.get(inner[1], inner[1]), inner[2], inner[3])
                text += self.extended(body[4 + copied:]) if flags & 0x200 else ''
            elif kind == DONE:
                text += ' %s' % name(-number(body[:4]))
                text += self.extended(body[4:]) if flags & 0x200 else ''
            elif kind in (NEWNSID, DELNSID):
                text += ' family=%d' % body[0]
                text += ''.join(' %s=%s' % (FLAGS.get(t, t), number(v)) for t, v in attributes(body[4:]))
            lines.append(text + note)
            if length < 16:
                break
            at += (length + 3) & ~3
        return lines or ['%d bytes%s' % (len(data), note)]

    @staticmethod
    def extended(data):
        text = ''
        for kind, value in attributes(data):
            plain = kind & 0x3fff
            if plain == 1:
                text += ' "%s"' % value.rstrip(b'\0').decode()
            elif plain == 2:
                text += ' at %d' % number(value)
            elif plain == 4:
                limits = ' '.join('%s=%d' % (POLICY.get(t & 0x3fff, t), number(v, t & 0x3fff in (2, 3)))
                                  for t, v in attributes(value))
                text += ' policy(%#x){%s}' % (kind, limits)
            else:
                text += ' tlv%d=%s' % (plain, value.hex())
        return text

    def show(self, label='', **how):
        """Prints everything that is queued."""
        lines = [line for datagram in self.datagrams(**how) for line in self.describe(datagram)]
        print('%s:' % label)
        for line in lines or ['nothing']:
            print('   ', line)

    def ask(self, label, kind, flags=REQUEST | ACK, body=bytes(4), **more):
        """Sends one request and prints what comes back."""
        sent = self.send(kind, flags, body, **more)
        if isinstance(sent, str):
            print('%s: send error %s' % (label, sent))
        self.show(label)

    def assign(self, fd, want=-1):
        """Names the namespace of `fd`; the errno's name or '0'."""
        self.send(NEWNSID, body=bytes(4) + attr(NSID, want) + attr(FD, fd))
        return self.result()

    def result(self):
        for datagram in self.datagrams():
            if not isinstance(datagram, str) and struct.unpack_from('=H', datagram[0], 4)[0] == ERROR:
                return name(-struct.unpack_from('=i', datagram[0], 16)[0])
        return 'no answer'

    def id_of(self, fd):
        """The id of the namespace of `fd`, -1 if it has none here."""
        self.send(GETNSID, REQUEST, bytes(4) + attr(FD, fd))
        for datagram in self.datagrams():
            kind = struct.unpack_from('=H', datagram[0], 4)[0]
            if kind == NEWNSID:
                return dict((t, number(v)) for t, v in attributes(datagram[0][20:]))[NSID]
        return None

    def ids(self, body=bytes(4)):
        """The ids of a dump, in the order they came."""
        self.send(GETNSID, REQUEST | DUMP, body)
        found = []
        for datagram in self.datagrams():
            data, at = datagram[0], 0
            while at + 16 <= len(data):
                length, kind = struct.unpack_from('=IH', data, at)
                if kind == NEWNSID:
                    found.append(dict((t, number(v)) for t, v in attributes(data[at + 20:at + length]))[NSID])
                at += (length + 3) & ~3
        return found


def send_fds(sock, fds):
    sock.sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', fds))])


def receive_fds(sock, count=1):
    fds = array.array('i')
    _, ancillary, _, _ = sock.recvmsg(1, socket.CMSG_SPACE(4 * count))
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(data[:len(data) - len(data) % 4])
    return list(fds)


def until(condition, seconds=5.0):
    """Waits until the condition holds; whether it ever did."""
    import time
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True
