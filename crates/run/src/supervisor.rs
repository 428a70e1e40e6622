//! The supervisor's threads: workers answer calls, the main thread waits for everything else.

use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use pernet::{Cred, Namespaces};
use pernet_rtnl::Rtnetlink;
use pernet_stack::Stack;

use crate::closings::Closings;
use crate::listener::Listener;
use crate::paths::Binds;
use crate::reactor::{Reactor, Token};
use crate::replay::{Busy, Replay};
use crate::sockets::{Emulated, Sockets};
use crate::spaces::Spaces;
use crate::syscalls;
use crate::task::Task;
use crate::turns::Turns;
use crate::users::Users;
use crate::vfs::Vfs;
use crate::world::{Deaths, World, lock};

/// For how long connections that are quiet keep their buffers: a retransmission timeout, after which Linux begins slowly, too.
/// [Others](crate::blocks) are soon had.
const KEEP_BUFFERS: Duration = Duration::from_millis(250);

/// How often things are looked at that no event tells.
const LOOK: Duration = Duration::from_millis(200);
/// Looking for closed sockets takes at most one part in so many of a processor's time.
const SWEEP_SHARE: u32 = 50;
/// Looking at those who wait takes at most one part in so many.
const WATCH_SHARE: u32 = 20;
/// How many looks in a row must miss a socket before it counts as closed.
const SWEEPS: u32 = 2;
/// How often parked calls are looked at that have a deadline, or whose caller's signals we must look for.
const DEADLINE: Duration = Duration::from_millis(10);
/// The same of a ring that was just shown to have something.
const RESTLESS: Duration = Duration::from_millis(1);

/// Why a run could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SetupError {
    /// The kernel refused something basic.
    #[error("cannot watch the programs: {0}")]
    Io(#[from] std::io::Error),
    /// The emulated system could not be built.
    #[error("cannot build the emulated network: {0}")]
    Core(String),
}

/// What the supervisor is told from outside and reports to it.
pub(crate) trait Family {
    /// A child changed state.
    fn child_changed(&mut self);
    /// The process that the user's shell waits for has ended.
    fn front_gone(&mut self);
    /// No task is left under the filter.
    fn all_gone(&mut self);
}

/// A run that is ready to answer its first program.
pub(crate) struct Supervisor {
    world: Arc<World>,
    deaths: Arc<Deaths>,
    listener: Listener,
    /// A child changed state and was not looked at yet.
    unreaped: Cell<bool>,
    /// Which sockets are still there is not asked again before.
    next_sweep: Cell<Instant>,
    /// Those who wait are not looked at again before.
    next_watch: Cell<Instant>,
}

impl Supervisor {
    /// Builds the emulated system around the first task, which waits to be let go.
    ///
    /// # Errors
    /// [`SetupError`].
    pub(crate) fn new(
        listener: OwnedFd,
        first: Task,
        run: u64,
        can_getfd: bool,
        killable: bool,
        fast_local: bool,
    ) -> Result<Self, SetupError> {
        let core = |e: &dyn std::fmt::Display| SetupError::Core(e.to_string());
        let reactor = Arc::new(Reactor::new()?);
        let wake = reactor.clone();
        let namespaces = Namespaces::builder().on_work(Arc::new(move || wake.wake())).build();
        let stack = Stack::register(&namespaces).map_err(|e| core(&e))?;
        stack.keep_buffers(KEEP_BUFFERS);
        let wake = reactor.clone();
        stack.on_timer(Arc::new(move |after| match after {
            Some(after) => wake.wake_by(after),
            // Who is just looking after what becomes ready receives them at the end.
            None if Sockets::will_look() => {}
            None => wake.wake_by(Duration::ZERO),
        }));
        let rtnl = Rtnetlink::new(&namespaces, &stack).map_err(|e| core(&e))?;
        let deaths = Arc::new(Deaths::new(reactor.clone()));
        namespaces.subscribe(deaths.clone());
        let users = Arc::new(Users::new(namespaces.init_user_ns().clone(), first));
        let creator =
            Cred { user_ns: namespaces.init_user_ns().clone(), euid: pernet::Uid(0), caps: pernet::Caps::FULL };
        let net = namespaces.create(&creator).map_err(|e| core(&e))?;
        let spaces = Spaces::new(net, run, reactor.clone(), users.clone());
        let sockets = Sockets::new()?;
        let world = Arc::new_cyclic(|me| World {
            me: me.clone(),
            namespaces,
            stack,
            rtnl,
            spaces: Mutex::new(spaces),
            binds: Mutex::new(Binds::default()),
            sockets,
            unix: crate::unix::Names::default(),
            swaps: crate::inet::ring::Swaps::default(),
            annexes: crate::annex::Annexes::default(),
            switchboard: crate::inet::stream::Switchboard::default(),
            closings: fast_local.then(|| Arc::new(Closings::new(&reactor))),
            users,
            vfs: Vfs::new(),
            knobs: crate::knobs::Knobs::default(),
            replay: Mutex::new(Replay::default()),
            busy: Busy::default(),
            reactor,
            helped: Mutex::default(),
            tracing: RwLock::new(()),
            killable,
            can_getfd: AtomicBool::new(can_getfd),
        });
        let me = world.me.clone();
        world.rtnl.list_unix(Arc::new(move |net| {
            me.upgrade().map_or_else(Vec::new, |world| crate::unix::sockets(&world, net))
        }));
        Ok(Self {
            world,
            deaths,
            listener: Listener::new(listener),
            unreaped: Cell::new(false),
            next_sweep: Cell::new(Instant::now()),
            next_watch: Cell::new(Instant::now()),
        })
    }

    /// What its programs' calls come through.
    pub(crate) fn listener(&self) -> Listener {
        self.listener.clone()
    }

    /// What the first process must carry in its limit, before it is let go.
    pub(crate) fn first_tag(&self) -> u64 {
        let spaces = lock(&self.world.spaces);
        spaces.raw_tag(spaces.first())
    }

    /// Answers until no task is left under the filter.
    ///
    /// # Errors
    /// [`SetupError`] if the threads or registrations cannot be had.
    pub(crate) fn run(
        self,
        child_events: OwnedFd,
        front: Option<OwnedFd>,
        family: &mut dyn Family,
    ) -> Result<(), SetupError> {
        let world = &self.world;
        world.reactor.readable(&child_events, Token::Child)?;
        if let Some(front) = &front {
            world.reactor.readable(front, Token::Front)?;
        }
        let over = Arc::new(AtomicBool::new(false));
        let turns = Arc::new(Turns::new()?);
        let workers = std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 4));
        for i in 0..workers {
            let (world, listener) = (world.clone(), self.listener.clone());
            let (turns, over) = (turns.clone(), over.clone());
            std::thread::Builder::new()
                .name(format!("pernet-call-{i}"))
                .spawn(move || answer_calls(&world, &listener, &turns, &over))?;
        }
        // Kernels before Linux 6.11 do not tell a thread that waits for a call that there will be none.
        world.reactor.hang_up(&self.listener, Token::Filter)?;
        let mut last_look = Instant::now();
        while !over.load(Ordering::Acquire) {
            let limit = self.patience();
            let events = world.reactor.wait(limit);
            if events.contains(&(Token::Filter, true)) {
                finish(world, &turns, &over);
            }
            // A panic here would be a fault of ours, as in `answer_calls`: what it was about is lost, the programs go on.
            let turn = || {
                Sockets::looking_after(|| {
                    for (token, hung) in events {
                        self.react(token, hung, &child_events, front.as_ref(), family);
                    }
                    self.house_keeping(&mut last_look, family);
                });
                syscalls::pump_ready(world);
            };
            drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(turn)));
        }
        family.all_gone();
        world.vfs.clear();
        Ok(())
    }

    fn patience(&self) -> Option<Duration> {
        self.world.reactor.asks();
        if self.world.swaps.is_restless() {
            return Some(RESTLESS);
        }
        if self.world.sockets.has_watched() || crate::unix::has_parked(&self.world) {
            return Some(DEADLINE);
        }
        let (looking, again) = {
            let spaces = lock(&self.world.spaces);
            (spaces.needs_looking(), spaces.patience())
        };
        let look = looking.then_some(LOOK);
        let until_sweep = || self.next_sweep.get().saturating_duration_since(Instant::now()).max(LOOK);
        let sweep = self.world.sockets.needs_sweeping().then(until_sweep);
        look.into_iter().chain(sweep).chain(again).chain(self.world.stack.next_timer()).min()
    }

    fn react(
        &self,
        token: Token,
        hung: bool,
        child_events: &OwnedFd,
        front: Option<&OwnedFd>,
        family: &mut dyn Family,
    ) {
        let world = &self.world;
        match token {
            Token::Wake => world.reactor.woken(),
            Token::Inotify => lock(&world.spaces).files_closed(),
            Token::Closed => crate::inet::stream::forget_closed(world),
            Token::Process(tgid) => lock(&world.spaces).process_ended(tgid),
            Token::Child => {
                let _ = rustix::io::read(child_events, &mut [0u8; 1024]);
                self.unreaped.set(true);
            }
            Token::Front => {
                if let Some(front) = front {
                    world.reactor.forget(front);
                }
                family.front_gone();
            }
            Token::Socket(ino) => {
                let Some((id, socket)) = world.sockets.by_inode(ino) else {
                    return;
                };
                match &socket {
                    Emulated::Netlink(n) => n.pump(world),
                    Emulated::Control(c) => c.serve(world),
                    Emulated::Datagram(d) => d.pump(world),
                    Emulated::Stream(s) => {
                        s.something_came();
                        syscalls::pump_stream(world, id);
                    }
                    Emulated::Tun(file) => file.pump(world),
                    Emulated::Unix(_) => {}
                }
                // Of a connection it says by itself when its program is gone: one that is shut down both ways hangs up, too, and
                // what its program said before it closed its end may not all be sent yet.
                if hung && !matches!(&socket, Emulated::Stream(_)) {
                    match world.sockets.remove(id) {
                        Some(Emulated::Netlink(n)) => n.close(world),
                        Some(Emulated::Tun(file)) => file.close(world),
                        _ => {}
                    }
                }
            }
            Token::Filter => {}
        }
    }

    fn house_keeping(&self, last_look: &mut Instant, family: &mut dyn Family) {
        let world = &self.world;
        // Not while a thread of ours traces a task: waiting for any child would take its stops away from there.
        if self.unreaped.get()
            && let Ok(_not_tracing) = world.tracing.try_write()
        {
            self.unreaped.set(false);
            family.child_changed();
        }
        lock(&world.spaces).look_again();
        // Its answer is for loops that have nothing else to wait for.
        let _ = world.stack.run_timers();
        world.tear_down();
        // Not in the loop's head, which would hold the lock throughout: one death may be another's.
        let dead = std::mem::take(&mut *lock(&self.deaths.dead));
        for cookie in dead {
            lock(&world.spaces).died(cookie);
        }
        // What tells of itself wakes us up often, and those who wait need no look each time.
        let now = Instant::now();
        if now >= self.next_watch.get() {
            world.sockets.serve_watched(world);
            self.next_watch.set(now + RESTLESS.max(WATCH_SHARE * now.elapsed()));
        }
        crate::unix::serve_parked(world);
        // By the clock, not when nothing else happens: a busy program must not keep the dead alive.
        if last_look.elapsed() >= LOOK {
            *last_look = Instant::now();
            if world.sockets.needs_sweeping() && Instant::now() >= self.next_sweep.get() {
                let start = Instant::now();
                // What is under way to a socket that was closed is refused first, not forgotten.
                syscalls::pump_ready(world);
                world.sockets.sweep_all(SWEEPS);
                // It takes longer the more sockets there are, and shall cost no more of a processor for that.
                self.next_sweep.set(start + SWEEP_SHARE * start.elapsed());
            }
            let mut spaces = lock(&world.spaces);
            if spaces.needs_looking() {
                spaces.look();
            }
        }
    }
}

fn answer_calls(world: &Arc<World>, listener: &Listener, turns: &Turns, over: &AtomicBool) {
    while let Some(mut turn) = turns.stand_by() {
        while !turns.is_over(&mut turn) {
            match listener.receive() {
                Ok(Some(notification)) => {
                    turns.took(notification.call.tid);
                    // A panic here would be a fault of ours: the call is answered by the notification's drop, and the
                    // other programs go on.
                    let serve = || syscalls::serve(world, notification);
                    let served = std::panic::catch_unwind(std::panic::AssertUnwindSafe(serve));
                    drop(served);
                    turns.answered();
                }
                // Of a filter that nobody is under any more, newer kernels say the same, again and again.
                Ok(None) if listener.is_over() => return finish(world, turns, over),
                Ok(None) => {}
                Err(_) => return finish(world, turns, over),
            }
        }
    }
}

fn finish(world: &World, turns: &Turns, over: &AtomicBool) {
    over.store(true, Ordering::Release);
    turns.end();
    world.reactor.wake();
}
