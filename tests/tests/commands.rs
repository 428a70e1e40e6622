//! The program's own commands: what they print and how they end.
#![forbid(unsafe_code)]

use e2e::everybody;

#[test]
fn a_command_can_see_itself_as_root() {
    everybody("root's ids", |session| {
        let done =
            session.pernet(&["run", "-r", "--", "sh", "-c", "id -u; id -g; ip netns add a && ip netns exec a id -u"]);
        assert_eq!(done.expect_quiet(), "0\n0\n0\n");
    });
}

#[test]
fn the_doctor_knows_that_it_works_here() {
    everybody("doctor", |session| {
        let done = session.pernet(&["doctor"]);
        let said = done.expect_quiet();
        assert!(said.ends_with("`pernet run` works here.\n") && !said.contains("MISSING"), "{said}");
        assert!(said.lines().count() > 8, "{said}");
    });
}

#[test]
fn help_pages_and_completions() {
    everybody("help", |session| {
        for (argv, expected) in [
            (vec!["--help"], "Usage: pernet <COMMAND>"),
            (vec!["run", "--help"], "Exit status"),
            (vec!["ns", "set", "--help"], "auto"),
            (vec!["--version"], "pernet "),
            (vec!["man"], ".TH pernet 1"),
            (vec!["completions", "bash"], "_pernet()"),
            (vec!["completions", "zsh"], "#compdef pernet"),
            (vec!["completions", "fish"], "complete -c pernet"),
        ] {
            let done = session.pernet(&argv);
            let said = done.expect_quiet();
            assert!(said.contains(expected), "{argv:?}: {said}");
        }
    });
}

#[test]
fn outside_of_a_run_the_names_are_nowhere() {
    everybody("ns outside", |session| {
        let done = session.pernet(&["ns", "list"]);
        assert_eq!(done.status.code(), Some(1));
        assert!(
            done.err.starts_with("pernet: not inside `pernet run`") && done.err.lines().count() == 1,
            "{}",
            done.err
        );
    });
}
