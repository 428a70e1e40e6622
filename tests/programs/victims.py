# Programs killed at every point of a conversation: N rounds, each with another victim and another delay.
import os, random, select, signal, socket, struct, subprocess, sys, time
rounds = int(sys.argv[1])
chance = random.Random(7)
subprocess.check_call(['ip', 'link', 'set', 'lo', 'up'])
supervisor = os.getppid()
def descriptors(): return len(os.listdir('/proc/%d/fd' % supervisor))
def memory(): return int(next(l for l in open('/proc/%d/status' % supervisor) if l.startswith('VmRSS')).split()[1])
server = socket.create_server(('127.0.0.1', 7020), backlog=64); server.setblocking(False)
echo = socket.socket(2, 2); echo.bind(('127.0.0.1', 7021)); echo.setblocking(False)
def converse():
    while True:
        c = socket.create_connection(('127.0.0.1', 7020)); c.sendall(b'x' * chance.randrange(1, 70000)); c.recv(100)
        if chance.random() < 0.5: c.shutdown(1); c.recv(100000)
        c.close()
def serve():
    l = socket.create_server(('127.0.0.1', 0))
    while True:
        a = socket.create_connection(l.getsockname()); b, _ = l.accept(); a.sendall(b'y' * 1000); b.recv(10); b.close(); a.recv(10)
def datagrams():
    while True:
        s = socket.socket(2, 2); s.connect(('127.0.0.1', 7021)); s.send(b'hello'); s.settimeout(0.01)
        try: s.recvfrom(100)
        except OSError: pass
        s.sendto(b'more', ('127.0.0.1', 7021))
def control():
    while True:
        s = socket.socket(16, 3); s.bind((0, 0xffff)); s.sendto(struct.pack('=IHHIIB15x', 32, 18, 0x301, 1, 0, 0), (0, 0)); s.recvfrom(8192)
        p = socket.socket(17, 3); p.close()
def namespaces():
    import ctypes
    libc = ctypes.CDLL(None)
    while True:
        libc.unshare(0x40000000); fd = os.open('/proc/self/ns/net', 0); s = socket.socket(2, 1); os.close(fd); s.close()
conversations = [converse, serve, datagrams, control, namespaces]
ends = {}
peers = {}
def attend(until):
    """Serves until then, and after that until all connections have ended."""
    while True:
        late = time.monotonic() >= until
        if late and not peers: return
        ready = select.select([server, echo, *peers], [], [], 20 if late else 0.002)[0]
        if late and not ready: sys.exit('a connection of the dead never ends: %r' % peers)
        for s in ready: one(s)
def one(s):
    if s is server:
        try: c, _ = s.accept(); c.setblocking(False); peers[c] = 0
        except BlockingIOError: pass
        return
    if s is echo:
        try: data, who = s.recvfrom(2000); s.sendto(data, who)
        except OSError: pass
        return
    try:
        data = s.recv(65536)
        if data and not peers[s]: peers[s] = 1; s.send(b'answer')
        end = None if data else 'end'
    except BlockingIOError: return
    except OSError as e: end = type(e).__name__
    if end: ends[end] = ends.get(end, 0) + 1; del peers[s]; s.close()
before = None
for n in range(rounds):
    if n == rounds // 4: before = descriptors(), memory()
    pid = os.fork()
    if not pid:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        chance.seed(n); sys.stderr = open('/dev/null', 'w')
        try: conversations[n % len(conversations)]()
        except OSError: os._exit(9)
    attend(time.monotonic() + chance.random() * 0.012)
    os.kill(pid, signal.SIGKILL); _, status = os.waitpid(pid, 0)
    attend(0)
    if os.waitstatus_to_exitcode(status) not in (-9, 9): print('round', n, 'ended by', status)
print('ended as a killed program ends:', set(ends) <= {'end', 'ConnectionResetError', 'BrokenPipeError'} and ends.get('end', 0) > 0)
end = time.monotonic() + 20
# What was closed without a word is looked for a few times a second.
while descriptors() > before[0] + 4 and time.monotonic() < end: time.sleep(0.1)
print('descriptors left:', max(0, descriptors() - before[0] - 4))
print('memory grows:', 'no' if memory() - before[1] < 16000 else 'by %d KiB' % (memory() - before[1]))
names = {'01': 'established', '02': 'syn-sent', '03': 'syn-recv', '08': 'close-wait'}
left = [names[l.split()[3]] for l in open('/proc/net/tcp').read().splitlines()[1:] if l.split()[3] in names]
print('connections left:', left)
