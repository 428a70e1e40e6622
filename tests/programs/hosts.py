# Every kind of socket, and what tries to get one of the host's; then waits to be looked at.
import ctypes, errno, os, socket, subprocess, sys
libc = ctypes.CDLL(None, use_errno=True)
subprocess.check_call(['ip', 'link', 'set', 'lo', 'up'])
kept = []
for family in (2, 10):
    for kind, protocol in ((1, 0), (2, 0), (2, 1 if family == 2 else 58), (3, 17)):
        try: kept.append(socket.socket(family, kind, protocol))
        # Who may ping without a privilege is a setting.
        except OSError as e: assert e.errno == errno.EACCES and protocol in (1, 58)
kept += [socket.socket(17, 3, 0x300), socket.socket(17, 2, 0x300), socket.socket(16, 3, 0), socket.socket(16, 2, 16)]
l = socket.create_server(('127.0.0.1', 0)); c = socket.create_connection(l.getsockname()); a, _ = l.accept()
n = socket.socket(); n.setblocking(False); n.connect_ex(l.getsockname()); u = socket.socket(2, 2); u.connect(l.getsockname()); u.send(b'x')
kept += [l, c, a, n, u]
def answer(what, r): print(what, 'descriptor %d' % r if r >= 0 else errno.errorcode[ctypes.get_errno()])
answer('io_uring_setup', libc.syscall(425, 8, ctypes.create_string_buffer(128)))
answer('x32', libc.syscall(0x40000000 | 41, 2, 1, 0))
# Called as a 32-bit program would (int 0x80): socketcall(SOCKET) and socket.
mmap = libc.mmap; mmap.restype = ctypes.c_void_p
low = mmap(None, ctypes.c_size_t(4096), 7, 0x62, -1, ctypes.c_long(0))
code = bytes.fromhex('534989d0' '4889f8' '4889f3' '4c89c1' 'cd80' '5bc3')
ctypes.memmove(low, code, len(code)); ctypes.memmove(low + 256, b'\x02\0\0\0\x01\0\0\0\0\0\0\0', 12)
call32 = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_long, ctypes.c_long, ctypes.c_long)(low)
for what, nr, first, second in ('i386 socketcall', 102, 1, low + 256), ('i386 socket', 359, 2, 1):
    r = call32(nr, first, second)
    print(what, 'descriptor %d' % r if r >= 0 else errno.errorcode[-r])
print('ready', os.getppid(), flush=True); sys.stdin.read()
