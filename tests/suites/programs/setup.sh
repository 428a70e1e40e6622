# What the programs that only look find: links of several kinds, up, down and without carrier, with addresses of both
# families. MAC addresses are given, so that nothing differs from run to run.
ip link set lo up
ip link add va address 02:00:00:00:00:0a type veth peer name vb address 02:00:00:00:00:0b
ip link add half address 02:00:00:00:00:1a mtu 1400 type veth peer name other address 02:00:00:00:00:1b
ip link add sw address 02:00:00:00:00:2a type bridge
ip link set vb master sw
ip link set va alias "first of a pair"
ip link set va up
ip link set vb up
ip link set sw up
ip link set half up
ip address add 192.0.2.1/24 broadcast + dev va
ip address add 192.0.2.9/24 dev va
ip address add 198.51.100.1 peer 198.51.100.2/32 dev va
ip address add 203.0.113.1/25 dev half label half:7 scope link
ip address add 10.0.0.1/8 dev sw
ip -6 address add 2001:db8::1/64 dev va nodad
ip -6 address add 2001:db8:1::1 peer 2001:db8:1::2/128 dev half nodad
ip -6 address add 2001:db8:2::1/48 dev sw nodad preferred_lft 0 valid_lft forever
ip route add default via 192.0.2.254
ip route add 172.16.0.0/12 via 192.0.2.253 metric 7 mtu 1300
ip route add blackhole 10.99.0.0/16
ip -6 route add 2001:db8:99::/48 via 2001:db8::99
ip neighbour add 192.0.2.77 lladdr 02:00:00:00:00:77 dev va nud permanent
sleep 2.5
