//! Every scenario is a test case of its own, twice: as the present user and as one who holds nothing.
//!
//! `SKIPPED:` lines say what a machine could not run; on CI's machine they fail (see [`e2e::skip`]).
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::path::Path;

use e2e::{
    Answer, Answers, As, Kernel, Scenario, Skip, Subject, answer_dir, compare, insist, is_root, load_all, run, say,
    scenario_dir, skip,
};

/// What the kernel answers: asked now where it can be asked, else recorded.
fn reference(scenario: &Scenario) -> Vec<Answer> {
    let why = match Kernel::probe() {
        Ok(kernel) if kernel.can_judge(scenario) => {
            return run(scenario, None).expect("the kernel side starts").answers;
        }
        Ok(_) => "this kernel is older than the behaviour".to_owned(),
        Err(why) => why,
    };
    say(&format!("RECORDED: {}: compared with recorded answers: {why}", scenario.name));
    Answers::load(&answer_dir(), scenario).expect("recorded answers").answers()
}

fn check(name: &str, user: As) {
    let what = format!("scenario {name} as {user:?}");
    let scenario = Scenario::load(&scenario_dir().join(format!("{name}.scn"))).expect("parses");
    let needs = ["bash", "ip", "python3", "unshare", "nsenter"];
    let needs = needs.into_iter().chain(scenario.needs.iter().map(String::as_str));
    for program in needs {
        let found = e2e::SCRIPT_PATH.split(':').any(|dir| Path::new(dir).join(program).exists());
        if !found {
            return skip(&what, &Skip::NoProgram(program.to_owned()));
        }
    }
    if scenario.root && (user == As::Nobody || !is_root()) {
        let why = "its programs refuse other users than root".to_owned();
        return skip(&what, &Skip::NothingToDo(why));
    }
    if user == As::Nobody && !is_root() {
        return skip(&what, &Skip::NotRoot);
    }
    let subject = Subject::find().expect("a pernet binary").run_as(user);
    let named = host_names();
    insist(&what, &scenario, || {
        let reference = reference(&scenario);
        let tested = run(&scenario, Some(&subject)).expect("pernet starts");
        assert_eq!(tested.said.trim(), "", "{what}: pernet printed something of its own");
        compare(&reference, &tested.answers)
    });
    let left: Vec<String> = host_names().difference(&named).cloned().collect();
    assert!(left.is_empty(), "{what}: names left on the host: {left:?}");
}

/// The names in the host's own /run/netns, which nothing emulated may touch.
fn host_names() -> BTreeSet<String> {
    std::fs::read_dir("/run/netns")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .collect()
}

macro_rules! scenarios {
    ($($name:ident)*) => {
        const NAMES: &[&str] = &[$(stringify!($name)),*];
        $(mod $name {
            #[test]
            fn current_user() {
                super::check(stringify!($name), super::As::Current);
            }

            #[test]
            fn nobody() {
                super::check(stringify!($name), super::As::Nobody);
            }
        })*
    };
}

scenarios! {
    abstract_names
    addr4
    addr4_forms
    addr4_lifetimes
    addr4_lo
    all_and_n
    asks_again
    asyncio
    attach
    background
    batch
    bindmounts
    buffers
    captures
    connections
    connections_over
    counted_unreachable
    counters
    counters6
    counters_tcp
    datagrams
    default6_place
    dump
    ends_by_scope
    error_queue
    errors_newnsid
    events
    exec
    fdb_nexthops
    fds
    fork_servers
    frame_destinations
    free_bind
    gateway6_linkdown
    gateway6_of_route4
    getnsid
    group_reports
    group_sources
    groups_of_devices
    groups_through_down
    identity
    ids_auto
    ids_explicit
    ids_json
    ids_limits
    ifioctl
    inet
    inet6
    last_holder
    learnt_of_routes
    link_flags
    link_forms
    link_local_ends
    link_moves
    link_names
    links_bridge
    links_moves
    links_set
    listings
    local_within_main
    loopback_addr6
    loopback_small
    maddr4
    marks
    monitor
    mount_tool
    mtus_of_routes
    multipath_hash
    names
    neigh
    net_tools
    netconf
    nexthop_compat
    nexthop_replace
    nexthops
    nl_sockets
    no_queue
    nsenter_unshare
    odd_requests
    packet_fanout
    part_size6
    peers_and_broadcasts
    promote4
    raw6_ports
    realms_of_routes
    receive_buffers
    receive_headers
    redirected_routes
    reset_after_accept
    route_get
    route_tables
    router_advert
    router_prefixes
    router_solicited
    routes4
    routes6
    routes_nowhere
    rule_forms
    rules
    rules6_flushed
    sent_times
    setns
    settings_in_order
    settings_kept
    signed_segments
    socket_min_ttl
    socket_options
    source_of_one
    splice
    stable_privacy
    statements
    stream_receives
    sundry
    sysctl
    sysfs_ethtool
    tables_and_carriers
    tcp_first_segments
    tcp_icmp
    tcp_metrics
    temporary_addresses
    threads
    time_wait_ports
    tos
    tun_packets
    tuntap
    udp_at_once
    udp_segments
    unix_peers
    unix_whose
    views
    vxlan_vnifilter
    vxlan_ways
    ways_refused
    ways_without_rules
    whence_and_whither
    who_asks_who_hears
}

#[test]
fn every_file_is_a_test() {
    let files: Vec<String> =
        load_all(&scenario_dir()).expect("all parse").into_iter().map(|scenario| scenario.name).collect();
    assert_eq!(files, NAMES, "tests/scenarios and the list in this file differ");
}

#[test]
fn every_scenario_is_recorded_as_it_is() {
    let scenarios = load_all(&scenario_dir()).expect("all parse");
    for scenario in &scenarios {
        let answers = Answers::load(&answer_dir(), scenario).expect("recorded");
        assert!(
            answers.answers().iter().all(|answer| answer.rc.is_some()),
            "{}: a step was never reached when it was recorded",
            scenario.name
        );
        assert!(!scenario.desc.is_empty(), "{}: no description", scenario.name);
    }
    let files = std::fs::read_dir(answer_dir()).expect("answers").count();
    assert_eq!(files, scenarios.len(), "answers without a scenario");
}
