# Links go down, and they and a namespace are deleted, under a bulk of bytes, a flood of datagrams and pings.
import os, shutil, socket, subprocess, sys, time
# A copy has no file capabilities, which one who may have none of them could not start.
PING = shutil.copy(shutil.which('ping'), os.path.abspath('ping'))
def ip(*words): subprocess.run(['ip', *words], check=True)
ip('netns', 'add', 'far')
def cable():
    ip('link', 'add', 'near', 'type', 'veth', 'peer', 'name', 'far', 'netns', 'far')
    ip('addr', 'add', '10.99.0.1/24', 'dev', 'near'); ip('link', 'set', 'near', 'up')
    ip('-n', 'far', 'addr', 'add', '10.99.0.2/24', 'dev', 'far'); ip('-n', 'far', 'link', 'set', 'far', 'up')
cable()
SERVER = '''
import socket, os
l = socket.create_server(('', 7030)); open('serves', 'w').close(); total = 0
c, _ = l.accept()
while True:
    n = len(c.recv(1 << 20)); total += n
    if not n: break
    with open('new', 'w') as f: f.write(str(total))
    os.rename('new', 'total')
'''
BULK = '''
import socket
s = socket.create_connection(('10.99.0.2', 7030))
while True: s.sendall(bytes(65536))
'''
FLOOD = '''
import socket
s = socket.socket(2, 2)
while True:
    try: s.sendto(bytes(1000), ('10.99.0.2', 7031))
    except OSError: pass
'''
for name in 'serves', 'total':
    if os.path.exists(name): os.remove(name)
server = subprocess.Popen(['ip', 'netns', 'exec', 'far', 'python3', '-c', SERVER])
while not os.path.exists('serves'): time.sleep(0.02)
quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
others = [subprocess.Popen(['python3', '-c', BULK], **quiet), subprocess.Popen(['python3', '-c', FLOOD], **quiet)]
others.append(subprocess.Popen([PING, '-i', '0.01', '-W', '1', '10.99.0.2'], **quiet))
def total():
    try: return int(open('total').read() or 0)
    except OSError: return 0
def flows(limit=40):
    start, end = total(), time.monotonic() + limit
    while total() == start:
        if time.monotonic() > end: return False
        time.sleep(0.02)
    return True
def stops(limit=40):
    """What was under way may still be read; then nothing comes for a while."""
    seen, since, end = total(), time.monotonic(), time.monotonic() + limit
    while time.monotonic() - since < 1:
        if total() != seen: seen, since = total(), time.monotonic()
        if time.monotonic() > end: return False
        time.sleep(0.02)
    return True
print('flows:', flows())
for n in range(20):
    ip('link', 'set', 'near', 'down') if n % 2 else ip('-n', 'far', 'link', 'set', 'far', 'down')
    time.sleep(0.01 * (n % 4))
    ip('link', 'set', 'near', 'up') if n % 2 else ip('-n', 'far', 'link', 'set', 'far', 'up')
print('flows again:', flows())
ip('link', 'set', 'near', 'down')
print('nothing flows while it is down:', stops())
ip('link', 'set', 'near', 'up')
print('flows after that:', flows())
ip('link', 'del', 'near')
print('nothing flows without it:', stops(), [o.poll() for o in others[:2]], server.poll())
cable()
print('flows by a new one:', flows())
# A namespace that is deleted by name lives on with those who are in it.
ip('netns', 'del', 'far')
print('flows on:', flows())
server.kill(); server.wait()
end = time.monotonic() + 40
# Its cable goes with it, and then nobody answers.
while subprocess.run(['ip', 'link', 'show', 'near'], **quiet).returncode == 0 and time.monotonic() < end: time.sleep(0.02)
print('the cable is gone:', time.monotonic() < end)
for o in others: o.kill()
print('all ended:', len([o.wait() for o in others]))
