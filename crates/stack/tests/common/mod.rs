//! Two namespaces with a wire between them, on a clock that the test moves.
#![allow(dead_code, reason = "no test needs all of it")]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use pernet::{Cred, Namespaces, NetRef, Origin};
use pernet_stack::{
    Clock, FlagChange, IfFlags, KindSpec, LinkChange, ManualClock, NewAddr4, NewLink, Stack, VethPeer, proc_net_file,
};

struct Shared(Arc<ManualClock>);

impl Clock for Shared {
    fn now(&self) -> Duration {
        self.0.now()
    }
}

/// `a`, 10.0.0.1, and `b`, 10.0.0.2.
pub(crate) struct World {
    #[allow(dead_code, reason = "not every file that uses these namespaces asks for their system")]
    pub(crate) namespaces: Namespaces,
    pub(crate) stack: Stack,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) a: NetRef,
    pub(crate) b: NetRef,
}

/// Makes them.
pub(crate) fn world() -> World {
    let namespaces = Namespaces::new();
    let clock = Arc::new(ManualClock::default());
    clock.advance(Duration::from_secs(1000));
    let stack = Stack::register_with_clock(&namespaces, Box::new(Shared(clock.clone()))).unwrap();
    let net = || namespaces.create(&Cred::root(namespaces.init_user_ns())).unwrap();
    let w = World { a: net(), b: net(), namespaces, stack, clock };
    let end = |net: &NetRef| LinkChange {
        name: Some("eth".into()),
        addr_gen_mode: Some(1),
        net: Some(net.clone()),
        ..LinkChange::default()
    };
    let peer = VethPeer { change: Some(end(&w.b)), ..VethPeer::default() };
    let mut new = NewLink::new(KindSpec::Veth(Box::new(peer)));
    new.change = LinkChange { net: None, ..end(&w.a) };
    w.stack.rtnl(Origin::KERNEL).new_link(&w.a, &new).unwrap();
    for (net, last) in [(&w.a, 1), (&w.b, 2)] {
        w.flags(net, "lo", IfFlags::UP);
        w.flags(net, "eth", IfFlags::UP);
        let broadcast = Some([10, 0, 0, 255].into());
        let new = NewAddr4 { broadcast, ..NewAddr4::new(w.index(net, "eth"), [10, 0, 0, last].into(), 24) };
        w.stack.rtnl(Origin::KERNEL).new_addr4(net, &new).unwrap();
    }
    w.settle();
    w
}

impl World {
    /// What protocols have counted in a namespace, by group and name.
    pub(crate) fn counted(&self, net: &NetRef) -> HashMap<String, u64> {
        let mut out = HashMap::new();
        for file in ["snmp", "netstat"] {
            let text = proc_net_file(&self.stack, net, file).unwrap();
            for pair in text.lines().collect::<Vec<_>>().chunks(2) {
                let (group, names) = pair[0].split_once(": ").unwrap();
                let values = pair[1].split(' ').skip(1).map(|value| value.parse().unwrap_or(0));
                out.extend(names.split(' ').map(|name| format!("{group} {name}")).zip(values));
            }
        }
        out
    }

    /// What `act` adds to these counters.
    pub(crate) fn more<const N: usize>(&self, net: &NetRef, names: [&str; N], act: impl FnOnce()) -> [u64; N] {
        let before = self.counted(net);
        act();
        let after = self.counted(net);
        names.map(|name| after[name] - before[name])
    }

    fn index(&self, net: &NetRef, name: &str) -> u32 {
        self.stack.links(net).unwrap().by_name(name).unwrap().index()
    }

    fn flags(&self, net: &NetRef, name: &str, flags: IfFlags) {
        let change = LinkChange { flags: Some(FlagChange { flags, mask: IfFlags::UP }), ..LinkChange::default() };
        self.stack.rtnl(Origin::KERNEL).set_link(net, self.index(net, name), &change).unwrap();
    }

    /// Does what is due now.
    pub(crate) fn settle(&self) {
        let _ = self.stack.run_timers();
    }

    /// Lets time pass, to each timer.
    pub(crate) fn pass(&self, mut time: Duration) {
        while !time.is_zero() {
            let next = self.stack.run_timers().unwrap_or(time).max(Duration::from_millis(1)).min(time);
            self.clock.advance(next);
            time -= next;
        }
        self.settle();
    }

    /// What `a` sends is lost from here on.
    pub(crate) fn unplug(&self) {
        self.flags(&self.b, "eth", IfFlags::default());
    }

    /// And arrives again.
    pub(crate) fn plug(&self) {
        self.flags(&self.b, "eth", IfFlags::UP);
        self.settle();
    }
}
