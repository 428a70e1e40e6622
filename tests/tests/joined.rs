//! Connections whose programs are joined to each other (`--fast-local`): the same to the programs as any other, for whatever
//! they do with their descriptors; and what of them is no longer true.
#![forbid(unsafe_code)]

use e2e::{Scratch, everybody, kernel, package_dir};

fn said(what: &str, expected: &str, of_the_kernel: bool) {
    let program = package_dir().join("programs/joined.py").to_string_lossy().into_owned();
    let command = ["python3", &program, what];
    let scratch = Scratch::new().expect("a scratch folder");
    if of_the_kernel && let Some(said) = kernel(&scratch, &command) {
        assert_eq!(said, expected, "the kernel itself, {what}");
    }
    everybody(what, |session| {
        for way in [&["run", "--fast-local", "--"][..], &["run", "--"]] {
            if !of_the_kernel && way.len() == 2 {
                continue;
            }
            let all = [way, &command].concat();
            assert_eq!(session.pernet(&all).expect_quiet(), expected, "{all:?}");
        }
    });
}

#[test]
fn bytes_arrive_and_ends_end() {
    said(
        "echo",
        "\
        True True\n\
        b'pee' b'peeked' 0\n\
        5 (b'12345', None)\n\
        (b'late', None)\n\
        (b'late', None)\n\
        b'two parts'\n\
        nothing\n\
        True\n\
        b'after the end'\n\
        b'early'\n\
        b'early'\n\
        b'back'\n\
        reset\n\
        True\n\
        True\n\
        ",
        true,
    );
}

#[test]
fn descriptors_are_what_they_were() {
    said(
        "descriptors",
        "\
        True\n\
        ['0x4'] 0\n\
        True b'x'\n\
        b'by the copy'\n\
        b'of the child and the parent'\n\
        b'FORKED'\n\
        b'passed on'\n\
        1 1 True False\n\
        in time\n\
        b'y'\n\
        ",
        true,
    );
}

#[test]
fn a_crowd_at_once() {
    said("crowd", "600 echoed\n200 True\n", true);
}

#[test]
fn what_is_seen_of_it() {
    said(
        "looks",
        "\
        joined: True True\n\
        listed: 2\n\
        forgotten: True\n\
        all: True\n\
        before a packet socket: False\n\
        b'early' False\n\
        after: True\n\
        ended: b'' b'' True\n\
        descriptors left: none\n\
        memory grows: no\n\
        connections left: 0\n\
        its port is free\n\
        ",
        false,
    );
}

#[test]
fn between_two_namespaces() {
    said("far", "0\ncounted: False\n", false);
}
