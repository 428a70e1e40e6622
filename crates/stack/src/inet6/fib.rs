//! The routing tables of a namespace: where routes stand, and how they are found.
//!
//! A table is ordered as the kernel's tree is walked, so that a dump is a walk and a longest match is one look for each
//! prefix length in use. Beside the tables stands which prefixes each device has routes for: a device that goes down
//! touches its own routes and no others.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv6Addr;
use std::sync::Arc;

use super::prefix::Prefix6;
use super::route::{Route6, RouteError6, table};

/// A table's place in a dump: the kernel hashes tables by the low byte of their number, and puts new ones in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TablePlace {
    slot: u8,
    age: Reverse<u32>,
    id: u32,
}

/// Where routes to one destination (from one source) stand in a table.
///
/// Routes for certain sources stand in a tree of their own, which a walk visits on its way down: before the children of
/// their destination, where a route for all sources comes after them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NodeKey {
    pub(crate) dst: Prefix6,
    pub(crate) src: Prefix6,
}

impl Ord for NodeKey {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.src.is_any(), other.src.is_any()) {
            (true, true) => self.dst.cmp(&other.dst),
            (false, false) => self.dst.cmp_down(&other.dst).then_with(|| self.src.cmp(&other.src)),
            (false, true) => {
                if self.dst.begins_behind(&other.dst) {
                    Ordering::Greater
                } else {
                    Ordering::Less
                }
            }
            (true, false) => other.cmp(self).reverse(),
        }
    }
}

impl PartialOrd for NodeKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl NodeKey {
    pub(crate) const fn of(route: &Route6) -> Self {
        Self { dst: route.dst, src: route.src }
    }
}

/// Routes to one destination, ascending by metric; those that share traffic stand together.
pub(crate) type Node = Vec<Arc<Route6>>;

/// One table.
#[derive(Debug, Default)]
pub(crate) struct Table {
    nodes: BTreeMap<NodeKey, Node>,
    /// Prefix lengths in use, longest first, and how many nodes have each.
    lens: Vec<(u8, u32)>,
    /// Nodes that are for certain sources only.
    with_source: u32,
}

impl Table {
    /// The nodes that `dst` (from `src`) falls into, most specific first; `visit` says whether to go on.
    pub(crate) fn walk<'t>(&'t self, dst: Ipv6Addr, src: Option<Ipv6Addr>, mut visit: impl FnMut(&'t Node) -> bool) {
        for &(len, _) in &self.lens {
            let dst = Prefix6::new(dst, len);
            if self.with_source > 0 {
                // From the most specific source to the least: the order of prefixes within each other.
                let first = NodeKey { dst, src: Prefix6::host(Ipv6Addr::UNSPECIFIED) };
                let from = src.unwrap_or(Ipv6Addr::UNSPECIFIED);
                let of_dst = self.nodes.range(first..).take_while(|(key, _)| key.dst == dst && !key.src.is_any());
                for (_, node) in of_dst.filter(|(key, _)| key.src.contains(from)) {
                    if !visit(node) {
                        return;
                    }
                }
            }
            if let Some(node) = self.nodes.get(&NodeKey { dst, src: Prefix6::ANY })
                && !visit(node)
            {
                return;
            }
        }
    }

    fn node_mut(&mut self, key: NodeKey) -> &mut Node {
        if !self.nodes.contains_key(&key) {
            match self.lens.binary_search_by(|(len, _)| key.dst.prefix_len().cmp(len)) {
                Ok(at) => self.lens[at].1 += 1,
                Err(at) => self.lens.insert(at, (key.dst.prefix_len(), 1)),
            }
            self.with_source += u32::from(!key.src.is_any());
        }
        self.nodes.entry(key).or_default()
    }

    fn drop_if_empty(&mut self, key: NodeKey) {
        if self.nodes.get(&key).is_none_or(|node| !node.is_empty()) {
            return;
        }
        self.nodes.remove(&key);
        self.with_source -= u32::from(!key.src.is_any());
        if let Ok(at) = self.lens.binary_search_by(|(len, _)| key.dst.prefix_len().cmp(len)) {
            self.lens[at].1 -= 1;
            if self.lens[at].1 == 0 {
                self.lens.remove(at);
            }
        }
    }
}

/// How a route is to be put beside those that are there (`NLM_F_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Placing {
    /// In the place of one that is there.
    pub replace: bool,
    /// Only if there is none of that metric.
    pub exclusive: bool,
    /// Though there is none to be replaced.
    pub create: bool,
    /// Behind those that are there.
    pub append: bool,
    /// With [`replace`](Self::replace): those of its metric behind the one that is replaced go too. So it is where a
    /// list of nexthops replaces something.
    pub sweep: bool,
}

/// What an insertion did.
pub(crate) struct Placed {
    pub(crate) route: Arc<Route6>,
    /// Those it stands in the place of.
    pub(crate) replaced: Vec<Arc<Route6>>,
    /// There was none with this metric.
    pub(crate) first: bool,
}

/// All tables.
#[derive(Debug, Default)]
pub(crate) struct Fib6 {
    tables: BTreeMap<TablePlace, Table>,
    places: HashMap<u32, TablePlace>,
    by_dev: BTreeMap<u32, BTreeSet<(TablePlace, NodeKey)>>,
    /// Nodes with routes that use a nexthop object, by its number.
    by_object: BTreeMap<u32, BTreeSet<(TablePlace, NodeKey)>>,
    /// Nodes with routes that end by themselves.
    ending: BTreeSet<(TablePlace, NodeKey)>,
    /// The collector of ended routes has been asked for.
    pub(crate) collecting: bool,
    ages: u32,
    /// Changes with every change.
    pub(crate) generation: u64,
}

impl Fib6 {
    /// Whether there is such a table: two are there from the beginning, others once they were
    /// to have a route, or a rule led to them.
    pub(crate) fn exists(&self, id: u32) -> bool {
        matches!(id, table::MAIN | table::LOCAL) || self.places.contains_key(&id)
    }

    pub(crate) fn table(&self, id: u32) -> Option<&Table> {
        self.tables.get(self.places.get(&id)?)
    }

    pub(crate) fn node(&self, id: u32, key: NodeKey) -> Option<&Node> {
        self.table(id)?.nodes.get(&key)
    }

    /// The table is there from now on (`fib6_new_table`).
    pub(crate) fn make(&mut self, id: u32) {
        self.place(id);
    }

    fn place(&mut self, id: u32) -> TablePlace {
        if let Some(place) = self.places.get(&id) {
            return *place;
        }
        let age = match id {
            table::MAIN | table::LOCAL => 0,
            _ => {
                self.ages += 1;
                self.ages
            }
        };
        let place = TablePlace { slot: id.to_le_bytes()[0], age: Reverse(age), id };
        self.places.insert(id, place);
        self.tables.insert(place, Table::default());
        place
    }

    /// Whether [`insert`](Self::insert) would refuse `route`.
    pub(crate) fn check(&self, id: u32, route: &Route6, how: Placing) -> Result<(), RouteError6> {
        let empty = Node::new();
        let node = self.node(id, NodeKey::of(route)).unwrap_or(&empty);
        let same: Vec<&Arc<Route6>> = node.iter().filter(|r| r.metric == route.metric).collect();
        if how.exclusive && !same.is_empty() {
            return Err(RouteError6::Exists);
        }
        if how.replace {
            if !same.is_empty() || how.create {
                return Ok(());
            }
            // That nothing is known of the destination is said, but of the default: its place is always there.
            let there = !node.is_empty() || route.dst.is_any();
            return Err(if there { RouteError6::NoneOfThatMetric } else { RouteError6::NothingToReplace });
        }
        if same.iter().any(|r| duplicates(r, route)) { Err(RouteError6::Exists) } else { Ok(()) }
    }

    /// Puts a route into table `id` (`fib6_add`).
    pub(crate) fn insert(&mut self, id: u32, route: Route6, how: Placing) -> Result<Placed, RouteError6> {
        self.check(id, &route, how)?;
        let place = self.place(id);
        let key = NodeKey::of(&route);
        let (oif, object, ends) = (route.nexthop.oif, route.nh_id(), route.expires.is_some());
        let shares = route.can_share();
        let route = Arc::new(route);
        let Some(table) = self.tables.get_mut(&place) else { return Err(RouteError6::NoTable) };
        let node = table.node_mut(key);
        let start = node.partition_point(|r| r.metric < route.metric);
        let end = node.partition_point(|r| r.metric <= route.metric);
        let mut replaced = Vec::new();
        if how.replace && start < end {
            // One of its kind if there is one, else the first; all that share traffic with it go too.
            let at = (start..end).find(|&i| node[i].can_share() == shares).unwrap_or(start);
            let together = node[at].can_share();
            let mut i = 0;
            node.retain(|r| {
                let behind = how.sweep && i > at;
                let goes = i == at || ((start..end).contains(&i) && (behind || (together && r.can_share())));
                if goes {
                    replaced.push(Arc::clone(r));
                }
                i += 1;
                !goes
            });
            node.insert(at, Arc::clone(&route));
        } else {
            let behind = (start..end).rev().find(|&i| shares && node[i].can_share()).map(|i| i + 1);
            node.insert(behind.unwrap_or(end), Arc::clone(&route));
        }
        for old in &replaced {
            self.unlisted(place, key, old);
        }
        if object == 0 {
            self.by_dev.entry(oif).or_default().insert((place, key));
        } else {
            self.by_object.entry(object).or_default().insert((place, key));
        }
        if ends {
            self.ending.insert((place, key));
        }
        self.generation += 1;
        Ok(Placed { route, replaced, first: start == end })
    }

    /// Takes a route out.
    pub(crate) fn remove(&mut self, id: u32, route: &Arc<Route6>) -> bool {
        let Some(&place) = self.places.get(&id) else { return false };
        let key = NodeKey::of(route);
        let Some(table) = self.tables.get_mut(&place) else { return false };
        let Some(node) = table.nodes.get_mut(&key) else { return false };
        let Some(at) = node.iter().position(|r| Arc::ptr_eq(r, route)) else { return false };
        node.remove(at);
        table.drop_if_empty(key);
        self.unlisted(place, key, route);
        self.generation += 1;
        true
    }

    /// Puts `new` in the very place of `old`, which differs in nothing that anything is ordered by.
    pub(crate) fn edit(&mut self, id: u32, old: &Arc<Route6>, edit: impl FnOnce(&mut Route6)) {
        let Some(&place) = self.places.get(&id) else { return };
        let key = NodeKey::of(old);
        let node = self.tables.get_mut(&place).and_then(|t| t.nodes.get_mut(&key));
        let Some(slot) = node.and_then(|node| node.iter_mut().find(|r| Arc::ptr_eq(r, old))) else { return };
        let mut new = Route6::clone(old);
        edit(&mut new);
        let ends = new.expires.is_some();
        *slot = Arc::new(new);
        if ends {
            self.ending.insert((place, key));
        }
        self.generation += 1;
    }

    /// After `route` left its node: the indexes follow.
    fn unlisted(&mut self, place: TablePlace, key: NodeKey, route: &Route6) {
        let (oif, object) = (route.nexthop.oif, route.nh_id());
        let node = self.tables.get(&place).and_then(|t| t.nodes.get(&key));
        let like = |r: &Arc<Route6>| r.nh_id() == object && (object != 0 || r.nexthop.oif == oif);
        if node.is_some_and(|node| node.iter().any(like)) {
            return;
        }
        let (index, number) = if object == 0 { (&mut self.by_dev, oif) } else { (&mut self.by_object, object) };
        if let Some(places) = index.get_mut(&number) {
            places.remove(&(place, key));
            if places.is_empty() {
                index.remove(&number);
            }
        }
    }

    /// Whether any route uses that nexthop object.
    pub(crate) fn uses_object(&self, id: u32) -> bool {
        self.by_object.contains_key(&id)
    }

    /// The routes that use a nexthop object, each with its table; the last of a walk first.
    pub(crate) fn of_object(&self, id: u32) -> Vec<(u32, Arc<Route6>)> {
        let Some(places) = self.by_object.get(&id) else { return Vec::new() };
        let nodes = places.iter().rev();
        let nodes = nodes.filter_map(|(place, key)| Some((place.id, self.tables.get(place)?.nodes.get(key)?)));
        nodes
            .flat_map(|(table, node)| node.iter().filter(|r| r.nh_id() == id).map(move |r| (table, Arc::clone(r))))
            .collect()
    }

    /// The routes of a device in the order of a walk, each with its table.
    pub(crate) fn of_device(&self, ifindex: u32) -> Vec<(u32, Arc<Route6>)> {
        let Some(places) = self.by_dev.get(&ifindex) else { return Vec::new() };
        let nodes = places.iter().filter_map(|(place, key)| Some((place.id, self.tables.get(place)?.nodes.get(key)?)));
        nodes
            .flat_map(|(id, node)| {
                let own = |r: &&Arc<Route6>| r.nexthop.oif == ifindex && r.object.is_none();
                node.iter().filter(own).map(move |r| (id, Arc::clone(r)))
            })
            .collect()
    }

    /// Those that end by themselves, as far as any may.
    pub(crate) fn ending(&mut self) -> Vec<(u32, Arc<Route6>)> {
        let mut out = Vec::new();
        let tables = &self.tables;
        self.ending.retain(|(place, key)| {
            let node = tables.get(place).and_then(|t| t.nodes.get(key));
            let before = out.len();
            out.extend(node.into_iter().flatten().filter(|r| r.expires.is_some()).map(|r| (place.id, Arc::clone(r))));
            out.len() > before
        });
        out
    }

    /// Visits nodes in the order of a dump, from `start` (a table and a place in it, both may be gone) on, or those of
    /// table `only`.
    pub(crate) fn nodes_from(
        &self,
        start: Option<(u32, NodeKey)>,
        only: Option<u32>,
    ) -> impl Iterator<Item = (u32, NodeKey, &Node)> {
        let from = start.and_then(|(id, key)| self.places.get(&id).map(|place| (*place, key)));
        let tables = self.tables.iter().filter(move |(place, _)| {
            only.is_none_or(|id| id == place.id) && from.is_none_or(|(first, _)| **place >= first)
        });
        tables.flat_map(move |(place, table)| {
            let key = from.filter(|(first, _)| first == place).map(|(_, key)| key);
            let low = key.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Included);
            let nodes = table.nodes.range((low, std::ops::Bound::Unbounded));
            nodes.map(move |(key, node)| (place.id, *key, node))
        })
    }

    /// How many nodes and routes there are.
    pub(crate) fn count(&self) -> (usize, usize) {
        let nodes = self.tables.values().flat_map(|t| t.nodes.values());
        nodes.fold((0, 0), |(nodes, routes), node| (nodes + 1, routes + node.len()))
    }
}

/// The others that share traffic with `route`, itself included, in order.
pub(crate) fn sharing<'n>(node: &'n Node, route: &Route6) -> impl Iterator<Item = &'n Arc<Route6>> {
    let (shares, metric) = (route.can_share(), route.metric);
    node.iter().filter(move |r| shares && r.can_share() && r.metric == metric)
}

fn duplicates(old: &Route6, new: &Route6) -> bool {
    old.nexthop.oif == new.nexthop.oif && old.nexthop.gateway == new.nexthop.gateway && old.nh_id() == new.nh_id()
}
