//! A sequence of datagrams, run and looked at; and how one that fails is made small.

use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::*};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use pernet_wire::Messages;
use pernet_wire::uapi::{RTM_DELLINK, RTM_DELNETCONF, RTM_NEWLINK, RTM_NEWNSID};

use crate::mutate::datagram;
use crate::rng::Rng;
use crate::seeds::prelude;
use crate::world::{NOBODY, SECOND, STRICT, Scene, System, hex};

/// By type of message: how many were sent alone by root, and how many of these were accepted.
pub(crate) static TALLY: [[AtomicU64; 2]; 256] = [const { [const { AtomicU64::new(0) }; 2] }; 256];

/// Datagrams of an episode.
pub(crate) const LENGTH: usize = 250;

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Send { who: u8, bytes: Vec<u8> },
    Pass(Duration),
}

/// What an episode does.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    number: u64,
    steps: Vec<Step>,
    /// Everything is deleted by requests at the end, and not by the death of the namespaces alone.
    flush: bool,
}

impl Plan {
    pub(crate) fn new(number: u64, only: Option<usize>) -> Self {
        let mut rng = Rng::new(number.wrapping_mul(0xD6E8_FEB8_6659_FD93));
        let mut steps = Vec::with_capacity(LENGTH);
        // Most find a configuration: little can be added to namespaces that have nothing but their loopback device.
        if only.is_none() && !rng.once_in(4) {
            steps.extend(prelude().into_iter().map(|bytes| Step::Send { who: STRICT, bytes }));
        }
        while steps.len() < LENGTH {
            if rng.once_in(60) {
                steps.push(Step::Pass(Duration::from_millis(rng.pick(&[10, 1000, 5000, 60_000, 3_000_000]))));
            }
            let mut who = rng.pick(&[0, STRICT]);
            if rng.once_in(10) {
                who |= NOBODY;
            }
            if rng.once_in(4) {
                who |= SECOND;
            }
            steps.push(Step::Send { who, bytes: datagram(&mut rng, only) });
        }
        Self { number, steps, flush: number.is_multiple_of(2) }
    }
}

/// Something that must not be.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    /// One line, the same for what probably has the same cause.
    pub(crate) what: String,
    details: String,
    plan: Plan,
}

impl Finding {
    pub(crate) fn growth(plan: Plan, bytes: i64, episodes: u64) -> Self {
        let what = "memory grows".to_owned();
        Self { what, details: format!("{bytes} bytes more after {episodes} episodes"), plan }
    }

    /// The same with as few steps as will do, under as many looks as will do.
    pub(crate) fn smallest(mut self, look: usize) -> Self {
        let always = run(&System::new(), &self.plan, 1, &mut 0).filter(|again| again.what == self.what);
        let look = if always.is_some() { 1 } else { look };
        self = always.unwrap_or(self);
        if self.what == "memory grows" {
            self.plan.steps.clear();
            return self;
        }
        let mut chunk = self.plan.steps.len();
        while chunk > 0 {
            let mut at = 0;
            while at < self.plan.steps.len() {
                let mut fewer = self.plan.clone();
                fewer.steps.drain(at..(at + chunk).min(fewer.steps.len()));
                let again = run(&System::new(), &fewer, look, &mut 0);
                match again.filter(|again| again.what == self.what) {
                    Some(again) => self = again,
                    None => at += chunk,
                }
            }
            chunk /= 2;
        }
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "FOUND in episode {}: {}", self.plan.number, self.what)?;
        writeln!(f, "{}", self.details.trim_end())?;
        for step in &self.plan.steps {
            match step {
                Step::Pass(time) => writeln!(f, "  pass {time:?}")?,
                Step::Send { who, bytes } => {
                    let user = if who & NOBODY == 0 { "root" } else { "nobody" };
                    let how = if who & STRICT == 0 { "legacy" } else { "strict" };
                    writeln!(f, "  {user}, {how}, namespace {}: {}", u8::from(who & SECOND != 0), hex(bytes))?;
                }
            }
        }
        Ok(())
    }
}

thread_local! {
    /// Where the last panic of this thread was.
    static PANICKED: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Panics that are caught are not printed, but remembered.
pub(crate) fn quiet() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let place = info.location().map_or_else(String::new, |at| format!("{}:{}", at.file(), at.line()));
        if place.contains("/tests/") || place.contains("tests/fuzz") {
            return usual(info);
        }
        let text = info.payload_as_str().unwrap_or("?");
        PANICKED.with(|at| *at.borrow_mut() = format!("panic at {place}: {text}"));
    }));
}

/// What a thread is at, since when.
type At = Arc<Mutex<(Instant, Vec<u8>)>>;
thread_local! {
    static AT: At = {
        let at: At = Arc::new(Mutex::new((Instant::now(), Vec::with_capacity(1 << 20))));
        RUNNING.lock().expect("no panic").push(Arc::downgrade(&at));
        at
    };
}

/// When an episode's last message was begun, and that message.
type Begun = Mutex<(Instant, Vec<u8>)>;

static RUNNING: Mutex<Vec<Weak<Begun>>> = Mutex::new(Vec::new());

/// Ends the process if a datagram is at work for longer than `limit`, and prints it.
pub(crate) fn abort_what_hangs(limit: Duration) {
    let mut running = RUNNING.lock().expect("no panic");
    running.retain(|at| at.strong_count() > 0);
    for at in running.iter().filter_map(Weak::upgrade) {
        let at = at.lock().expect("no panic");
        if at.0.elapsed() > limit && !at.1.is_empty() {
            println!("HANGS: {}", hex(&at.1));
            std::process::exit(101);
        }
    }
}

/// Runs the episode; `look`: everything is dumped around one datagram in so many.
pub(crate) fn run(system: &System, plan: &Plan, look: usize, refused: &mut u64) -> Option<Finding> {
    let mut finding = None;
    let mut last = 0;
    let at = AT.with(Arc::clone);
    let whole = catch_unwind(AssertUnwindSafe(|| {
        let mut scene = Scene::new(system);
        for (number, step) in plan.steps.iter().enumerate() {
            last = number;
            match step {
                Step::Pass(time) => scene.advance(*time),
                Step::Send { who, bytes } => {
                    {
                        let mut at = at.lock().expect("no panic");
                        at.0 = Instant::now();
                        at.1.clone_from(bytes);
                    }
                    if let Some((what, details)) =
                        send(&mut scene, *who, bytes, Rng::new(hash(bytes)).once_in(look), refused)
                    {
                        finding = Some((what, details));
                        return;
                    }
                }
            }
        }
        if plan.flush {
            scene.flush();
        }
    }));
    if whole.is_err() {
        let what = PANICKED.with(|at| at.borrow().clone());
        finding = Some((what, String::new()));
    }
    // Nothing is at work until the next.
    at.lock().expect("no panic").1.clear();
    let (what, details) = finding?;
    let mut plan = plan.clone();
    if whole.is_ok() {
        // What comes after does not matter; a panic may be in the flush.
        plan.steps.truncate(last + 1);
    }
    Some(Finding { what, details, plan })
}

/// So that a datagram is looked at or not whatever came before it.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |all, byte| (all ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// One datagram. What is wrong, and how.
fn send(scene: &mut Scene<'_>, who: u8, bytes: &[u8], look: bool, refused: &mut u64) -> Option<(String, String)> {
    if look {
        scene.look();
    }
    let outcome = scene.send(who, bytes);
    *refused += u64::from(outcome.refused > 0);
    let ty = Messages::new(bytes).next().map_or(0, |message| message.header.ty);
    if outcome.messages == 1 && who & NOBODY == 0 {
        let [sent, accepted] = &TALLY[usize::from(ty) % TALLY.len()];
        sent.fetch_add(1, Relaxed);
        accepted.fetch_add(u64::from(outcome.refused == 0), Relaxed);
    }
    let family = bytes.get(16).copied().unwrap_or(0);
    let about = |what: &str| {
        let text = outcome.text.as_deref().unwrap_or("no text");
        format!("{what}: type {ty} family {family} errno {} ({text})", outcome.errno)
    };
    if let Some(malformed) = outcome.malformed {
        return Some((about("malformed answer"), malformed));
    }
    let unchanged = outcome.only_questions || outcome.refused >= outcome.messages || who & NOBODY != 0;
    if !unchanged {
        scene.changed();
        return None;
    }
    // Whoever shows a link gives the namespace of its peer a number, if it had none.
    let by_showing = outcome.only_questions && outcome.heard.iter().all(|told| *told == RTM_NEWNSID);
    if by_showing && !outcome.heard.is_empty() {
        scene.changed();
        return None;
    }
    // A device that cannot be once it is there is told of, and of its end, as Linux has it.
    let ends = |told: &u16| matches!(*told, RTM_DELLINK | RTM_DELNETCONF);
    let came_to_nothing = ty == RTM_NEWLINK && outcome.heard.iter().any(ends);
    if outcome.messages == 1 && !outcome.heard.is_empty() && !came_to_nothing {
        return Some((about("a request without effect was told of"), format!("messages of type {:?}", outcome.heard)));
    }
    if look && let Some(details) = scene.difference() {
        return Some((about("a request without effect had one"), details));
    }
    None
}
