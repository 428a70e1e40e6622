//! With the feature `tracing`: what a subscriber sees.
#![cfg(feature = "tracing")]

mod common;

use common::{create, probe, system};
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Writes down what is entered, with its fields.
#[derive(Clone, Default)]
struct Collect(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if !["cookie", "inum", "worker"].contains(&field.name()) {
            self.0.push_str(&format!(" {}={value:?}", field.name()));
        }
    }
}

impl Subscriber for Collect {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "pernet"
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut line = Line(span.metadata().name().to_owned());
        span.record(&mut line);
        let mut lines = self.0.lock().unwrap();
        lines.push(line.0);
        Id::from_u64(lines.len() as u64)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[test]
fn spans_tell_the_life_of_a_namespace() {
    let collect = Collect::default();
    let seen = collect.clone();
    tracing::subscriber::with_default(collect, || {
        let (ns, log) = system();
        let key = ns.register_subsys(probe(1, &log)).unwrap();
        let net = create(&ns);
        drop(ns.create_from(&net, &common::root(&ns)).unwrap());
        drop(net);
        ns.step();
        ns.unregister(key);
    });
    let seen = seen.0.lock().unwrap();
    assert_eq!(
        *seen,
        [
            "register subsystem=\"probe\"",
            "create template=false",
            "create template=true",
            "round namespaces=2",
            "phase phase=\"pre_exit\" subsystem=\"probe\" namespaces=2",
            "phase phase=\"grace\" namespaces=2",
            "phase phase=\"exit_rtnl\" namespaces=2",
            "phase phase=\"exit\" subsystem=\"probe\" namespaces=2",
            "unregister subsystem=\"probe\"",
        ]
    );
}
