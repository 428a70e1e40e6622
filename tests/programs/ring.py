# A ring of N namespaces, each forwarding; pings go all the way round, in legs as long as a TTL reaches.
import math, os, shutil, subprocess, sys, time
# A copy has no file capabilities, which one who may have none of them could not start.
PING = shutil.copy(shutil.which('ping'), os.path.abspath('ping'))
n = int(sys.argv[1])
leg = math.ceil(n / max(4, math.ceil(n / 250)))
starts = list(range(0, n, leg))
def net(i, host): return '10.%d.%d.%d' % ((4 * i + host) >> 16 & 255, (4 * i + host) >> 8 & 255, (4 * i + host) & 255)
def batch(where, lines):
    # No more than a pipe holds at once is written before it is read.
    subprocess.run(['ip', *where, '-batch', '-'], input='\n'.join(lines) + '\n', text=True, check=True)
clock = time.monotonic()
def took(what):
    global clock
    if os.environ.get('RING_TIMES'): print('%s %.2f s' % (what, time.monotonic() - clock), file=sys.stderr)
    clock = time.monotonic()
batch([], ['netns add r%d' % i for i in range(n)])
took('namespaces')
batch([], ['link add next netns r%d type veth peer name prev netns r%d' % (i, (i + 1) % n) for i in range(n)])
took('cables')
for i in range(n):
    before = (i - 1) % n
    at = max(k for k in range(len(starts)) if starts[k] <= i)
    # A leg's last is the next one's first, and both its neighbours' legs are its own.
    behind = at if i != starts[at] else (at - 1) % len(starts)
    lines = ['link set lo up', 'addr add %s/30 dev next' % net(i, 1), 'addr add %s/30 dev prev' % net(before, 2),
             'link set next up', 'link set prev up']
    lines += ['route add 10.200.0.%d via %s' % ((at + 1) % len(starts) + 1, net(i, 2)), 'route add 10.200.0.%d via %s' % (behind + 1, net(before, 1))]
    if i in starts: lines.append('addr add 10.200.0.%d/32 dev lo' % (at + 1))
    batch(['-n', 'r%d' % i], lines)
took('addresses')
knobs = 'echo 1 > /proc/sys/net/ipv4/ip_forward; echo 255 > /proc/sys/net/ipv4/ip_default_ttl'
for i in range(n): subprocess.run(['ip', 'netns', 'exec', 'r%d' % i, 'sh', '-c', knobs], check=True)
took('forwarding')
for k, start in enumerate(starts):
    to = '10.200.0.%d' % ((k + 1) % len(starts) + 1)
    said = subprocess.run(['ip', 'netns', 'exec', 'r%d' % start, PING, '-c', '1', '-W', '20', '-t', '255', '-I', '10.200.0.%d' % (k + 1), to], text=True, stdout=subprocess.PIPE).stdout
    print('leg', k, [word for word in said.split() if word.startswith('ttl=')], '1 received' in said, flush=True)
took('round')
