import socket
a=socket.socket(2,2);a.bind(("127.0.0.1",53));b=socket.socket(2,3,1);c=socket.socket(17,3,socket.htons(3));c.bind(("v0",3));d=socket.socket(10,2);d.bind(("::",54));e=socket.socket(10,3,58);f=socket.socket(2,2);f.connect(("127.0.0.1",99));g=socket.socket(17,2,0)
for n in ("udp","raw","icmp","packet","udp6","raw6","udplite"): print(n); print(open("/proc/net/"+n).read())
