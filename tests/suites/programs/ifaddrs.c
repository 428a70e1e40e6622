// What a C program sees of interfaces: getifaddrs, the if_ functions, and the old ioctls.
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netpacket/packet.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static const char *text(const struct sockaddr *sa, char *out, size_t len)
{
	if (!sa)
		return "-";
	if (sa->sa_family == AF_INET)
		return inet_ntop(AF_INET, &((const struct sockaddr_in *)sa)->sin_addr, out, len);
	if (sa->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const void *)sa;
		inet_ntop(AF_INET6, &in6->sin6_addr, out, len);
		snprintf(out + strlen(out), len - strlen(out), "%%%u", in6->sin6_scope_id);
		return out;
	}
	if (sa->sa_family == AF_PACKET) {
		const struct sockaddr_ll *ll = (const void *)sa;
		int at = snprintf(out, len, "ll index %d type %d ", ll->sll_ifindex, ll->sll_hatype);
		for (int i = 0; i < ll->sll_halen; i++)
			at += snprintf(out + at, len - at, "%s%02x", i ? ":" : "", ll->sll_addr[i]);
		return out;
	}
	return "other";
}

int main(void)
{
	struct ifaddrs *all, *i;
	char a[128], b[128], c[128];
	if (getifaddrs(&all)) {
		printf("getifaddrs: errno %d\n", errno);
		return 1;
	}
	int n = 0;
	for (i = all; i; i = i->ifa_next)
		printf("ifaddrs %d: %s flags %#x address %s mask %s other %s\n", n++, i->ifa_name, i->ifa_flags,
		       text(i->ifa_addr, a, sizeof a), text(i->ifa_netmask, b, sizeof b), text(i->ifa_broadaddr, c, sizeof c));
	freeifaddrs(all);

	struct if_nameindex *names = if_nameindex();
	for (struct if_nameindex *p = names; p && p->if_index; p++) {
		char back[IF_NAMESIZE] = "";
		if_indextoname(p->if_index, back);
		printf("nameindex %u: %s %u %s\n", p->if_index, p->if_name, if_nametoindex(p->if_name), back);
	}
	errno = 0;
	printf("no such name: %u errno %d\n", if_nametoindex("absent"), errno);
	errno = 0;
	printf("no such index: %p errno %d\n", (void *)if_indextoname(77777, a), errno);

	int s = socket(AF_INET, SOCK_DGRAM, 0), s6 = socket(AF_INET6, SOCK_DGRAM, 0);
	struct ifreq list[64];
	struct ifconf conf = {.ifc_len = sizeof list, .ifc_req = list};
	int rc = ioctl(s, SIOCGIFCONF, &conf);
	printf("ifconf: %d length %d\n", rc, conf.ifc_len);
	for (int k = 0; k < conf.ifc_len / (int)sizeof *list; k++)
		printf("ifconf %d: %s %s\n", k, list[k].ifr_name, text(&list[k].ifr_addr, a, sizeof a));
	struct ifconf small = {.ifc_len = sizeof *list * 2 + 3, .ifc_req = list};
	rc = ioctl(s, SIOCGIFCONF, &small);
	printf("ifconf cut short: %d length %d\n", rc, small.ifc_len);
	struct ifconf ask = {.ifc_len = 0, .ifc_req = NULL};
	rc = ioctl(s6, SIOCGIFCONF, &ask);
	printf("ifconf size only: %d length %d\n", rc, ask.ifc_len);

	static const struct { unsigned long number; const char *name; } calls[] = {
		{SIOCGIFFLAGS, "flags"}, {SIOCGIFMETRIC, "metric"}, {SIOCGIFMTU, "mtu"}, {SIOCGIFINDEX, "index"},
		{SIOCGIFHWADDR, "hwaddr"}, {SIOCGIFTXQLEN, "txqlen"}, {SIOCGIFADDR, "addr"}, {SIOCGIFDSTADDR, "dstaddr"},
		{SIOCGIFBRDADDR, "brdaddr"}, {SIOCGIFNETMASK, "netmask"}, {SIOCGIFMAP, "map"}, {SIOCGIFSLAVE, "slave"},
		{SIOCGIFPFLAGS, "pflags"}, {SIOCGIFENCAP, "encap"},
	};
	static const char *who[] = {"lo", "va", "vb", "half", "half:7", "sw", "other", "absent", ""};
	for (unsigned w = 0; w < sizeof who / sizeof *who; w++)
		for (unsigned k = 0; k < sizeof calls / sizeof *calls; k++) {
			struct ifreq r;
			memset(&r, 0, sizeof r);
			strcpy(r.ifr_name, who[w]);
			r.ifr_addr.sa_family = AF_INET;
			rc = ioctl(s, calls[k].number, &r) ? -errno : 0;
			printf("ioctl %s '%s': %d", calls[k].name, who[w], rc);
			if (!rc)
				for (int j = 0; j < 16; j++)
					printf(" %02x", ((unsigned char *)&r.ifr_ifru)[j]);
			printf("\n");
		}
	for (int k = 1; k < 8; k++) {
		struct ifreq r;
		memset(&r, 0, sizeof r);
		r.ifr_ifindex = k;
		rc = ioctl(s, SIOCGIFNAME, &r) ? -errno : 0;
		printf("name of %d: %d %s\n", k, rc, r.ifr_name);
	}
	return 0;
}
