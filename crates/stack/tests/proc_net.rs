//! `/proc/net` against what Linux 6.18 shows in a new namespace.
//!
//! `data/proc_net.txt` holds the files as read there: a line `=== path mode`, then the content. Left out are files whose
//! content is a matter of the machine (processors, loaded packet filter modules, addresses of sockets).

use pernet::{Namespaces, Net};
use pernet_stack::{
    EntryKind, HwAddr, IfName, Link, Links, NetlinkSocket, PROC_DIR_MODE, Stack, VETH, proc_net_dev, proc_net_entries,
    proc_net_file, proc_net_netlink,
};

const KERNEL: &str = include_str!("data/proc_net.txt");

/// Runs `f` on a new namespace.
fn with_net<R>(f: impl FnOnce(&Stack, &Net, &Links) -> R) -> R {
    let ns = Namespaces::new();
    let stack = Stack::register(&ns).unwrap();
    let net = ns.init_net();
    f(&stack, &net, stack.links(&net).unwrap())
}

fn kernel_files() -> Vec<(&'static str, u16, &'static str)> {
    let parse = |block: &'static str| {
        let (head, content) = block.split_once('\n').unwrap();
        let (path, mode) = head.split_once(' ').unwrap();
        (path, u16::from_str_radix(mode, 8).unwrap(), content)
    };
    KERNEL.split("=== ").skip(1).map(parse).collect()
}

#[test]
fn every_file_reads_as_in_the_kernel() {
    let files = kernel_files();
    assert!(files.len() > 45, "the vector file is cut short");
    with_net(|stack, net, links| {
        let entries = proc_net_entries(links);
        for (path, mode, content) in files {
            assert_eq!(proc_net_file(stack, net, path).as_deref(), Some(content), "{path}");
            let entry = entries.iter().find(|e| e.path == path).unwrap_or_else(|| panic!("{path} is not listed"));
            assert_eq!((entry.mode, entry.kind), (mode, EntryKind::File), "{path}");
        }
    });
}

#[test]
fn the_directory_is_complete_and_ordered_as_linux_lists_it() {
    let top = "arp dev raw tcp udp icmp igmp raw6 snmp stat tcp6 udp6 unix icmp6 igmp6 ptype route snmp6 packet psched \
               netlink netstat rt_acct udplite anycast6 fib_trie if_inet6 mcfilter rt_cache sockstat udplite6 \
               dev_mcast dev_snmp6 ip_mr_vif mcfilter6 netfilter protocols rt6_stats sockstat6 xfrm_stat xt_recent \
               ip6_mr_vif ipv6_route ip_mr_cache fib_triestat ip6_mr_cache nf_conntrack softnet_stat ip6_flowlabel \
               ipt_hashlimit ip6t_hashlimit ip_tables_names arp_tables_names ip6_tables_names ip_tables_matches \
               ip_tables_targets arp_tables_matches arp_tables_targets ip6_tables_matches ip6_tables_targets \
               nf_conntrack_expect";
    with_net(|stack, net, links| {
        let entries = proc_net_entries(links);
        let ours: Vec<_> = entries.iter().map(|e| e.path.as_str()).collect();
        let here = |dir: &str| -> Vec<&str> {
            let below = |p: &&str| p.rsplit_once('/').map_or("", |(d, _)| d) == dir;
            ours.iter().copied().filter(below).map(|p| p.rsplit('/').next().unwrap()).collect()
        };
        assert_eq!(here("").join(" "), top);
        assert_eq!(here("stat"), ["rt_cache", "synproxy", "nf_conntrack"]);
        assert_eq!(here("netfilter"), ["nf_log", "nfnetlink_log", "nfnetlink_queue"]);
        assert_eq!(here("dev_snmp6"), ["lo"]);
        for entry in &entries {
            match entry.kind {
                EntryKind::Dir => assert_eq!(entry.mode, PROC_DIR_MODE, "{}", entry.path),
                _ => {
                    assert!(proc_net_file(stack, net, &entry.path).is_some(), "{} is listed, not readable", entry.path)
                }
            }
        }
    });
}

#[test]
fn what_is_not_there_is_not_there() {
    with_net(|stack, net, _| {
        for path in
            ["", "nothing", "dev_snmp6", "dev_snmp6/eth0", "dev_snmp6/lo/x", "dev/", "/dev", "stat", "stat/arp_cache"]
        {
            assert_eq!(proc_net_file(stack, net, path), None, "{path:?}");
        }
    });
}

#[test]
fn files_with_a_row_for_each_processor() {
    with_net(|stack, net, _| {
        let read = |path: &str| proc_net_file(stack, net, path).unwrap();
        let cpus = read("softnet_stat").lines().count();
        assert!(cpus >= 1);
        for (i, row) in read("softnet_stat").lines().enumerate() {
            let columns: Vec<_> = row.split(' ').collect();
            assert_eq!((columns.len(), columns[12].to_owned()), (15, format!("{i:08x}")));
        }
        for (path, columns) in [("stat/rt_cache", 17), ("stat/nf_conntrack", 17), ("stat/synproxy", 6)] {
            let text = read(path);
            let widths: Vec<_> = text.lines().map(|l| l.split_whitespace().count()).collect();
            assert_eq!(widths, vec![columns; cpus + 1], "{path}");
        }
        let rt_cache = read("stat/rt_cache");
        assert_eq!(
            rt_cache.lines().nth(1).unwrap(),
            "00000000 00000000 00000000    00000000   00000000    00000000 00000000       00000000       00000000 \
             00000000     00000000    00000000 00000000   00000000     00000000        00000000        00000000"
        );
        assert_eq!(read("rt_acct").len(), 4096);
    });
}

#[test]
fn devices_show_up_where_they_should() {
    with_net(|stack, net, links| {
        let mut link = Link::new(&VETH, IfName::new("longer-name").unwrap());
        link.address = HwAddr::new(&[2, 0, 0, 0, 0, 1]).unwrap();
        link.counters().rx_bytes.fetch_add(12_345_678_901, std::sync::atomic::Ordering::Relaxed);
        link.counters().rx_missed_errors.fetch_add(3, std::sync::atomic::Ordering::Relaxed);
        links.insert(link, Some(7)).unwrap();
        let dev = proc_net_dev(links);
        assert_eq!(
            dev.lines().nth(3).unwrap(),
            "longer-name: 12345678901       0    0    3    0     0          0         0        0       0    0    0    0     0       0          0"
        );
        assert!(proc_net_file(stack, net, "igmp6").unwrap().contains("7    longer-name     ff02"));
        assert!(
            proc_net_file(stack, net, "dev_snmp6/longer-name")
                .unwrap()
                .starts_with("ifIndex                         \t7\n")
        );
        // A device too small for IPv6 takes no part in it.
        links.update(7, |l| l.mtu = 1279).unwrap();
        assert!(!proc_net_file(stack, net, "igmp6").unwrap().contains("longer-name"));
        assert_eq!(proc_net_file(stack, net, "dev_snmp6/longer-name"), None);
    });
}

#[test]
fn netlink_lists_the_kernel_and_the_programs() {
    with_net(|_, _, links| {
        let mine = NetlinkSocket {
            protocol: 0,
            portid: 4_276_458_470,
            groups: 0x0800_0005,
            receive_queue: 768,
            dump: true,
            drops: 2,
            inode: 4711,
        };
        let text = proc_net_netlink(links, &[mine]);
        let rows: Vec<Vec<_>> = text.lines().skip(1).map(|l| l.split_whitespace().collect()).collect();
        assert_eq!(rows.iter().map(|r| r[1]).collect::<Vec<_>>(), ["0", "0", "4", "6", "9", "10", "12", "15", "16"]);
        assert_eq!(rows[1][1..], ["0", "4276458470", "08000005", "768", "0", "1", "2", "2", "4711"]);
        assert_eq!(
            text.lines().nth(1).unwrap().get(16..83).unwrap(),
            " 0   0          00000000 0        0        0     2        0        "
        );
        let ids: std::collections::HashSet<_> = rows.iter().map(|r| (r[0], r[9])).collect();
        assert_eq!(ids.len(), rows.len());
    });
}
