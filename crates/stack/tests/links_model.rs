//! The device table against the simplest thing that could be right: a map from index to names.

use std::collections::BTreeMap;

use pernet_stack::{IfName, LOOPBACK, Link, LinkError, Links};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Insert(u8, Option<u32>),
    Remove(u32),
    Rename(u32, u8),
    AltNames(u32, Vec<u8>),
    Page(u32, usize),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    // Few names and indexes, so that they meet; more devices than are searched by walking.
    let index = 0..24_u32;
    let op = prop_oneof![
        4 => (0..32_u8, prop::option::weighted(0.3, 0..24_u32)).prop_map(|(n, i)| Op::Insert(n, i)),
        1 => index.clone().prop_map(Op::Remove),
        1 => (index.clone(), 0..32_u8).prop_map(|(i, n)| Op::Rename(i, n)),
        1 => (index.clone(), prop::collection::vec(0..40_u8, 0..3)).prop_map(|(i, n)| Op::AltNames(i, n)),
        1 => (index, 0..8_usize).prop_map(|(i, n)| Op::Page(i, n)),
    ];
    prop::collection::vec(op, 0..120)
}

fn name(n: u8) -> String {
    format!("dev{n}")
}

#[derive(Default)]
struct Model {
    /// Index → name, then alternative names.
    devices: BTreeMap<u32, Vec<String>>,
    last: u32,
}

impl Model {
    fn owner(&self, name: &str) -> Option<u32> {
        let found = self.devices.iter().find(|(_, names)| names.iter().any(|n| n == name));
        found.map(|(index, _)| *index)
    }

    fn insert(&mut self, name: String, wanted: Option<u32>) -> Result<u32, LinkError> {
        if self.owner(&name).is_some() {
            return Err(LinkError::NameTaken);
        }
        let index = match wanted {
            Some(0) => return Err(LinkError::BadIndex),
            Some(index) if self.devices.contains_key(&index) => return Err(LinkError::IndexTaken),
            Some(index) => index,
            None => {
                self.last = (self.last + 1..).find(|i| !self.devices.contains_key(i)).unwrap();
                self.last
            }
        };
        self.devices.insert(index, vec![name]);
        Ok(index)
    }

    fn rename(&mut self, index: u32, name: String) -> Result<(), LinkError> {
        let names = self.devices.get(&index).ok_or(LinkError::NoSuchLink)?;
        if names[0] != name && self.owner(&name).is_some() {
            return Err(LinkError::NameTaken);
        }
        self.devices.get_mut(&index).unwrap()[0] = name;
        Ok(())
    }

    fn alt_names(&mut self, index: u32, new: &[String]) -> Result<(), LinkError> {
        let names = self.devices.get(&index).ok_or(LinkError::NoSuchLink)?.clone();
        for (i, name) in new.iter().enumerate() {
            let kept = names[1..].contains(name);
            if new[..i].contains(name) || (!kept && self.owner(name).is_some()) {
                return Err(LinkError::NameTaken);
            }
        }
        let all = std::iter::once(names[0].clone()).chain(new.iter().cloned());
        self.devices.insert(index, all.collect());
        Ok(())
    }
}

proptest! {
    #[test]
    fn the_table_does_what_the_map_does(ops in ops()) {
        let (links, mut model) = (Links::new(0), Model::default());
        for op in ops {
            let before = links.generation();
            match op {
                Op::Insert(n, wanted) => {
                    let link = Link::new(&LOOPBACK, IfName::new(&name(n)).unwrap());
                    let got = links.insert(link, wanted).map(|l| l.index());
                    prop_assert_eq!(got, model.insert(name(n), wanted));
                    prop_assert_eq!(got.is_ok(), links.generation() != before);
                }
                Op::Remove(index) => {
                    let got = links.remove(index).map(|l| l.index());
                    prop_assert_eq!(got.ok(), model.devices.remove(&index).map(|_| index));
                    prop_assert_eq!(got.is_ok(), links.generation() != before);
                }
                Op::Rename(index, n) => {
                    let got = links.rename(index, IfName::new(&name(n)).unwrap()).map(|_| ());
                    prop_assert_eq!(got, model.rename(index, name(n)));
                }
                Op::AltNames(index, names) => {
                    let names: Vec<_> = names.into_iter().map(name).collect();
                    let boxed = names.iter().map(|n| n.as_str().into()).collect();
                    let got = links.set_alt_names(index, boxed).map(|_| ());
                    prop_assert_eq!(got, model.alt_names(index, &names));
                }
                Op::Page(start, max) => {
                    let got: Vec<_> = links.from_index(start, max).links.iter().map(|l| l.index()).collect();
                    let expected: Vec<_> = model.devices.range(start..).take(max).map(|(i, _)| *i).collect();
                    prop_assert_eq!(got, expected);
                    prop_assert_eq!(links.generation(), before);
                }
            }
            prop_assert_eq!(links.len(), model.devices.len());
            for n in 0..40 {
                prop_assert_eq!(links.by_name(&name(n)).map(|l| l.index()), model.owner(&name(n)));
            }
            for index in 0..24 {
                let got = links.by_index(index).map(|l| l.name().as_str().to_owned());
                prop_assert_eq!(got.as_ref(), model.devices.get(&index).map(|n| &n[0]));
            }
        }
    }
}
