# What programs say to each other is what the kernel lets them say, whoever carries it.
import array, asyncio, errno, fcntl, os, select, signal, socket, struct, subprocess, sys, tempfile, termios, threading, time
subprocess.check_call(['ip', 'link', 'set', 'lo', 'up'])
def listener(n=512): return socket.create_server(('127.0.0.1', 0), backlog=n)
def pair(l):
    c = socket.create_connection(l.getsockname()); s, _ = l.accept()
    for e in (c, s): e.settimeout(20)
    return c, s
def everything(s):
    got = b''
    while piece := s.recv(1 << 16): got += piece
    return got
def until(what, limit=20):
    end = time.monotonic() + limit
    while not what():
        if time.monotonic() > end: return False
        time.sleep(.01)
    return True

def echo():
    with listener() as l:
        c, s = pair(l)
        print(c.getsockname() == s.getpeername(), s.getsockname() == c.getpeername() == l.getsockname())
        for n in range(1000):
            c.sendall(b'%d' % n); assert s.recv(99) == b'%d' % n
            s.sendall(b'-%d' % n); assert c.recv(99) == b'-%d' % n
        c.sendall(b'peeked'); print(s.recv(3, socket.MSG_PEEK), s.recv(9), s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        c.sendall(b'12345'); select.select([s], [], []); waits = array.array('i', [0]); fcntl.ioctl(s, termios.FIONREAD, waits); print(waits[0], s.recvfrom(9))
        threading.Timer(.1, lambda: c.sendall(b'late')).start(); print(s.recvfrom(9))
        threading.Timer(.1, lambda: s.sendall(b'late')).start(); print(c.recvfrom(9))
        c.sendmsg([b'two ', b'parts']); print(s.recvmsg(99)[0])
        s.settimeout(.05)
        try: s.recv(1)
        except TimeoutError: print('nothing')
        s.settimeout(20); big = os.urandom(3 << 20)
        t = threading.Thread(target=lambda: (c.sendall(big), c.shutdown(socket.SHUT_WR))); t.start()
        print(everything(s) == big); t.join()
        s.sendall(b'after the end'); s.close(); print(everything(c)); c.close()
        # What was written, and the end of it, before anybody accepted.
        c = socket.create_connection(l.getsockname()); c.sendall(b'early'); c.close(); s, _ = l.accept(); print(everything(s)); s.close()
        c = socket.create_connection(l.getsockname()); c.sendall(b'early'); c.shutdown(socket.SHUT_WR); s, _ = l.accept()
        print(everything(s)); s.sendall(b'back'); s.close(); print(everything(c)); c.close()
        c, s = pair(l); c.sendall(b'unread'); select.select([s], [], []); s.close()
        try: print(c.recv(9))
        except ConnectionResetError: print('reset')
        try: c.sendall(b'x'); c.sendall(b'x')
        except OSError as e: print(e.errno in (errno.EPIPE, errno.ECONNRESET))
        # The file is put into the connection by the kernel.
        with tempfile.TemporaryFile() as f:
            f.write(big[:1 << 20]); f.flush(); f.seek(0); c, s = pair(l); got = []
            t = threading.Thread(target=lambda: got.append(everything(s))); t.start(); c.sendfile(f); c.close(); t.join(); print(got == [big[:1 << 20]])

def descriptors():
    with listener() as l:
        # Copies made, and registrations, before the connection is asked for.
        c = socket.socket(); copy = c.dup(); ep = select.epoll(); ep.register(c, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)
        c.setblocking(False); print(c.connect_ex(l.getsockname()) in (0, errno.EINPROGRESS)); s, _ = l.accept()
        print([hex(e & 4) for _, e in ep.poll(5)], c.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        s.sendall(b'x'); print(until(lambda: any(e & 1 for _, e in ep.poll(5))), copy.recv(9)); c.close()
        copy.setblocking(True); copy.sendall(b'by the copy'); copy.close(); print(everything(s)); s.close(); ep.close()
        # By fork before, and after.
        c = socket.socket(); r, w = os.pipe()
        if not (child := os.fork()):
            os.read(r, 1); c.sendall(b'of the child '); os._exit(0)
        c.connect(l.getsockname()); s, _ = l.accept(); os.write(w, b'x'); os.waitpid(child, 0); c.sendall(b'and the parent'); c.close(); print(everything(s)); s.close()
        c, s = pair(l)
        if not (child := os.fork()):
            c.close(); s.sendall(s.recv(99).upper()); os._exit(0)
        s.close(); c.sendall(b'forked'); print(everything(c)); os.waitpid(child, 0); c.close()
        # In the hands of another.
        a, b = socket.socketpair(); c, s = pair(l); socket.send_fds(a, [b'x'], [s.fileno()]); s.close()
        _, (fd,), _, _ = socket.recv_fds(b, 9, 1); s = socket.socket(fileno=fd); s.settimeout(20); c.sendall(b'passed on'); print(s.recv(99)); s.close(); c.close()
        # Flags of what is accepted, and options set before.
        c = socket.socket(); c.setsockopt(6, socket.TCP_NODELAY, 1); c.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack('ll', 0, 50000)); c.connect(l.getsockname()); s, _ = l.accept()
        print(c.getsockopt(6, socket.TCP_NODELAY), c.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), os.get_blocking(s.fileno()), os.get_inheritable(s.fileno()))
        try: os.read(c.fileno(), 1)
        except BlockingIOError: print('in time')
        c.close(); s.close()
        l.setblocking(False); c = socket.create_connection(l.getsockname()); select.select([l], [], []); s, _ = l.accept(); s.setblocking(True); c.sendall(b'y'); print(s.recv(1))

def crowd():
    async def serve(r, w):
        while piece := await r.read(1 << 16): w.write(piece); await w.drain()
        w.close()
    async def ask(port, n):
        r, w = await asyncio.open_connection('127.0.0.1', port)
        for k in range(5):
            said = b'%d %d ' % (n, k) * 1000; w.write(said); assert await r.readexactly(len(said)) == said
        w.write_eof(); assert await r.read() == b''; w.close(); await w.wait_closed()
    async def main():
        server = await asyncio.start_server(serve, '127.0.0.1', 0, backlog=512); port = server.sockets[0].getsockname()[1]
        for _ in range(3): await asyncio.gather(*(ask(port, n) for n in range(200)))
        server.close(); print('600 echoed')
    asyncio.run(main())
    with listener() as l:
        def one():
            c = socket.create_connection(l.getsockname()); c.sendall(b'?' * 9999); c.shutdown(1); answers.append(everything(c)); c.close()
        def server():
            for _ in range(200):
                s, _ = l.accept(); s.sendall(b'!' * len(everything(s))); s.close()
        answers = []; threads = [threading.Thread(target=one) for _ in range(200)] + [threading.Thread(target=server)]
        for t in threads: t.start()
        for t in threads: t.join()
        print(len(answers), set(answers) == {b'!' * 9999})

# What only one who looks closely sees.
def joined(c, s):
    c.sendall(bytes(5000)); n = 0
    while n < 5000: n += len(s.recv(9999))
    # tcpi_bytes_received
    return struct.unpack_from('Q', s.getsockopt(6, socket.TCP_INFO, 200), 128)[0] < 5000
def lines(*args): return len(subprocess.run(['ss', '-Htna', *args], capture_output=True, text=True).stdout.splitlines())
def looks():
    global c, s
    supervisor = os.getppid()
    def size(): return len(os.listdir('/proc/%d/fd' % supervisor))
    def memory(): return int(next(l for l in open('/proc/%d/status' % supervisor) if l.startswith('VmRSS')).split()[1])
    with listener() as l:
        c, s = pair(l); print('joined:', joined(c, s), joined(s, c))
        print('listed:', lines('state', 'established')); c.close(); print('forgotten:', until(lambda: lines('state', 'established') == 0)); s.close()
        print('all:', until(lambda: lines('state', 'close-wait', 'state', 'fin-wait-2', 'state', 'last-ack') == 0))
        # Somebody looks on.
        p = socket.socket(17, 3, socket.htons(3))
        c, s = pair(l); print('before a packet socket:', joined(c, s)); c.close(); s.close(); p.close()
        # It began to look in between.
        c = socket.create_connection(l.getsockname()); c.sendall(b'early'); p = socket.socket(17, 3, socket.htons(3)); s, _ = l.accept()
        print(s.recv(9), joined(c, s)); p.close(); c.close(); s.close()
        def again():
            global c, s; c, s = pair(l); return joined(c, s)
        print('after:', until(again))
        # Ended by force.
        subprocess.run(['ss', '-tK', 'sport', str(c.getsockname()[1])], stdout=subprocess.DEVNULL)
        print('ended:', s.recv(1), c.recv(1), c.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNABORTED)
        c.close(); s.close()
        for _ in range(100):
            c, s = pair(l); c.sendall(b'x'); s.recv(1); c.close(); s.close()
        until(lambda: size() < 40); before, open_before = memory(), size()
        for n in range(400):
            c, s = pair(l); c.sendall(b'x'); s.recv(1)
            (c, s)[n % 2].close(); (c, s)[1 - n % 2].close()
        # Each of the supervisor's threads may keep one or two for its next call.
        print('descriptors left:', 'none' if until(lambda: size() <= open_before + 8) else size() - open_before)
        print('memory grows:', 'no' if memory() - before < 3000 else memory() - before)
        print('connections left:', lines('state', 'connected', 'exclude', 'time-wait') if not until(lambda: lines('state', 'connected', 'exclude', 'time-wait') == 0) else 0)
        port = l.getsockname()[1]
    with socket.create_server(('127.0.0.1', port)) as l: print('its port is free')

def far():
    for line in '''ip netns add a; ip netns add b; ip link add va netns a type veth peer name vb netns b
        ip -n a addr add 10.0.0.1/24 dev va; ip -n b addr add 10.0.0.2/24 dev vb; ip -n a link set va up; ip -n b link set vb up'''.replace('\n', ';').split(';'):
        subprocess.check_call(line.split())
    with tempfile.TemporaryDirectory() as d:
        with open(d + '/f', 'wb') as f: f.write(os.urandom(1 << 20) * 50)
        server = subprocess.Popen('ip netns exec b python3 -u -m http.server 80'.split(), cwd=d, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        server.stdout.readline()
        # The first connection to a neighbour that nobody knows yet is one, too.
        subprocess.check_call('ip netns exec a curl -s -o'.split() + [d + '/g', 'http://10.0.0.2/f'])
        print(subprocess.run(['cmp', d + '/f', d + '/g']).returncode)
        sent = int(subprocess.check_output('ip netns exec b cat /sys/class/net/vb/statistics/tx_bytes'.split()))
        print('counted:', sent > 50 << 20)
        server.kill(); server.wait()
for what in sys.argv[1:]: globals()[what]()
