# The supervisor's descriptors run out: who asks for more is refused, who has what he needs goes on, and it is over when it is over.
import errno, os, resource, socket, subprocess
subprocess.check_call(['ip', 'link', 'set', 'lo', 'up'])
def pair():
    a = socket.create_connection(server.getsockname()); a.settimeout(20); b, _ = server.accept(); return a, b
def talks(a, b):
    a.sendall(b'there'); there = b.recv(5); b.sendall(b'back'); return there == b'there' and a.recv(4) == b'back'
server = socket.create_server(('127.0.0.1', 0))
old = pair(); udp = socket.socket(2, 2); udp.bind(('127.0.0.1', 0)); udp.settimeout(20)
link = socket.socket(16, 3)
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
many, refused = [], None
def fill(make):
    global refused
    try:
        while len(many) < 2 * hard: many.append(make())
    except OSError as e: refused = e.errno
def goes_on():
    udp.sendto(b'self', udp.getsockname())
    return talks(*old) and udp.recvfrom(9)[0] == b'self' and link.getsockname() is not None
for what, make in ('datagram sockets', lambda: socket.socket(2, 2)), ('netlink sockets', lambda: socket.socket(16, 3)), ('connections', pair):
    fill(make)
    print(what, 'refused:', refused in (errno.ENFILE, errno.EMFILE, errno.ENOBUFS), 'some:', len(many) > 20, 'others go on:', goes_on())
    many.clear(); refused = None
    # Whoever came to a full table waits at the door, and has left since.
    server.setblocking(False)
    while True:
        try: server.accept()
        except BlockingIOError: break
    server.setblocking(True)
    print('again:', talks(*pair()), socket.socket(2, 2).fileno() > 0)
