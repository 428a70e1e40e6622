# One that is stopped, and one that never reads, cost the others nothing, and no more than their buffers hold.
import os, select, signal, socket, subprocess, time
subprocess.check_call(['ip', 'link', 'set', 'lo', 'up'])
supervisor = os.getppid()
def memory(): return int(next(l for l in open('/proc/%d/status' % supervisor) if l.startswith('VmRSS')).split()[1])
server = socket.create_server(('127.0.0.1', 0)); udp = socket.socket(2, 2); udp.bind(('127.0.0.1', 0))
has_all = os.pipe()
deaf = os.fork()
if not deaf:
    kept = [server.accept()[0] for _ in range(4)]; os.write(has_all[1], b'x'); signal.pause()
flood = [socket.create_connection(server.getsockname()) for _ in range(4)]
os.read(has_all[0], 1)
taken, last = 0, time.monotonic()
for s in flood: s.setblocking(False)
stopped = False
while time.monotonic() - last < 1:
    for s in select.select([], flood, [], 0.2)[1]:
        try: taken += s.send(bytes(65536)); last = time.monotonic()
        except BlockingIOError: pass
    if taken > 1 << 20 and not stopped: os.kill(deaf, signal.SIGSTOP); stopped = True
print('bounded:', taken < 64 << 20)
before = memory(); sender = socket.socket(2, 2)
for n in range(20000): sender.sendto(bytes(1000), udp.getsockname())
print('datagrams to nobody grow:', 'no' if memory() - before < 8000 else memory() - before)
other = socket.create_server(('127.0.0.1', 0)); a = socket.create_connection(other.getsockname()); b, _ = other.accept()
a.settimeout(20); b.settimeout(20)
for n in range(100): a.sendall(b'%d' % n); assert b.recv(9) == b'%d' % n
print('others go on')
os.kill(deaf, signal.SIGKILL); os.waitpid(deaf, 0)
def outcome(s):
    s.settimeout(20)
    try:
        while True: s.sendall(bytes(65536))
    except OSError as e: return type(e).__name__
ends = {outcome(s) for s in flood}
print('as after a reset:', ends <= {'ConnectionResetError', 'BrokenPipeError'} or ends)
