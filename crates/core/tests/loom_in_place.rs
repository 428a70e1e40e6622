//! Every interleaving of the lock-free look at a back-reference with its changes, by loom: an entry that
//! is there is found, and never with another's id.
#![allow(dead_code, unreachable_pub, reason = "the test needs a part of the file")]

#[path = "../src/peers/in_place.rs"]
mod in_place;
#[path = "loom/sync.rs"]
mod sync;

use in_place::{InPlace, Seen};
use loom::sync::Arc;
use loom::thread;
use sync::model;

/// The place passes from one observer to another, while both are asked for.
#[test]
fn ids_are_not_mixed_up() {
    model(3, || {
        let place = Arc::new(InPlace::default());
        place.put(7, 70);
        let readers: Vec<_> = [(7, 70), (8, 80)]
            .into_iter()
            .map(|(observer, id)| {
                let place = Arc::clone(&place);
                thread::spawn(move || {
                    for _ in 0..2 {
                        match place.look(observer) {
                            Seen::Here(seen) => assert_eq!(seen, id, "another's"),
                            Seen::Nowhere => {}
                            Seen::Elsewhere => unreachable!("nothing is elsewhere"),
                        }
                    }
                })
            })
            .collect();
        assert!(place.forget(7));
        place.put(8, 80);
        for reader in readers {
            reader.join().unwrap();
        }
        assert_eq!((place.look(7), place.look(8)), (Seen::Nowhere, Seen::Here(80)));
    });
}

/// What is in place, or elsewhere, before somebody asks, is found by him whatever else happens to it.
#[test]
fn what_is_there_is_found() {
    model(3, || {
        let place = Arc::new(InPlace::default());
        place.put(7, 70);
        let in_place = thread::spawn({
            let place = Arc::clone(&place);
            move || assert_eq!(place.look(7), Seen::Here(70))
        });
        place.set_more(true);
        let elsewhere = thread::spawn({
            let place = Arc::clone(&place);
            move || assert_eq!(place.look(9), Seen::Elsewhere)
        });
        // A third is added and forgotten again, elsewhere; then the place changes hands.
        place.set_more(true);
        in_place.join().unwrap();
        assert!(!place.forget(9));
        assert!(place.forget(7));
        place.put(8, 80);
        elsewhere.join().unwrap();
        assert_eq!(place.look(8), Seen::Here(80));
    });
}

/// The death of the one who is named empties everything, while its observers still ask.
#[test]
fn emptied_at_once() {
    model(3, || {
        let place = Arc::new(InPlace::default());
        place.put(7, 70);
        place.set_more(true);
        let reader = thread::spawn({
            let place = Arc::clone(&place);
            move || match place.look(7) {
                Seen::Here(id) => assert_eq!(id, 70, "half emptied"),
                Seen::Elsewhere | Seen::Nowhere => {}
            }
        });
        assert_eq!(place.clear(), 70);
        reader.join().unwrap();
        assert_eq!(place.look(7), Seen::Nowhere);
    });
}
