//! The two systems that are measured, as one trait each for the system and for the socket that names its namespaces: so
//! there is one measuring loop, and what is compared cannot drift apart.

use crate::measure::{self, PROBES};
use crate::message::{self, Answer};
use crate::row::Side;
use anyhow::{Context, Result, bail, ensure};
use std::time::Duration;

/// What a receive is asked to hold; a dump of the kernel fills at most 32 KiB of it.
pub(crate) const BUFFER: usize = 128 * 1024;
/// The quota where it shall not matter, as a fresh user namespace of the kernel has it.
pub(crate) const NO_LIMIT: u32 = i32::MAX as u32;

/// Who runs the teardown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Teardown {
    /// Threads of its own, as the kernel's kworker is one.
    Workers(usize),
    /// This thread, as an embedder without threads does it.
    Step,
}

/// Something that has network namespaces.
pub(crate) trait System: Sync {
    /// Whose figures these are.
    const SIDE: Side;
    /// The ways of teardown that it has, each with the name of its row.
    const TEARDOWNS: &'static [(&'static str, Teardown)];
    /// What keeps one namespace alive.
    type Net: Send;
    /// A netlink socket in a namespace of its own.
    type Observer: Observer<Net = Self::Net>;

    /// One namespace more.
    fn create(&self) -> Result<Self::Net>;

    /// An observer of `nets`, which it keeps.
    fn observe(&self, nets: Vec<Self::Net>) -> Result<Self::Observer>;

    /// What namespaces are made of, in KiB: its change is what some cost.
    fn memory_kib(&self) -> Result<u64>;

    /// Drops all `nets` and says how long it took until the last was gone. One observer may live.
    fn tear_down(&self, nets: Vec<Self::Net>, how: Teardown) -> Result<Duration>;

    /// Waits until what died outside a measurement (an observer) disturbs no more.
    fn settle(&self);

    /// Microseconds from the last put until a namespace is fully gone, by whoever tears down in the background; `times` over.
    fn gone(&self, times: u64) -> Result<Vec<f64>>;

    /// Several namespaces more.
    fn make(&self, n: u64) -> Result<Vec<Self::Net>> {
        let mut nets = Vec::with_capacity(usize::try_from(n)?);
        for i in 0..n {
            nets.push(self.create().with_context(|| format!("namespace {i} of {n}"))?);
        }
        Ok(nets)
    }

    /// [`System::tear_down`] of namespaces that nobody named: somebody must still stand somewhere.
    fn tear_down_unnamed(&self, nets: Vec<Self::Net>, how: Teardown) -> Result<Duration> {
        let (nets, stand) = self.observe(nets)?.close();
        let took = self.tear_down(nets, how)?;
        drop(stand);
        self.settle();
        Ok(took)
    }
}

/// A netlink socket in the namespace that does the naming, and the namespaces that it names.
pub(crate) trait Observer: Sized {
    /// What keeps one namespace alive.
    type Net;
    /// What keeps the observer's own namespace alive.
    type Stand;

    /// How many namespaces it can name.
    fn known(&self) -> usize;
    /// The descriptor that means namespace `index` in a request.
    fn descriptor(&self, index: usize) -> Result<i32>;
    /// Sends one request.
    fn send(&self, request: &[u8]) -> Result<()>;
    /// The next datagram.
    fn receive(&mut self) -> Result<&[u8]>;
    /// Closes the socket; gives back the namespaces, and the one that it stood in.
    fn close(self) -> (Vec<Self::Net>, Self::Stand);

    /// A request with one answer.
    fn ask(&mut self, request: &[u8]) -> Result<Answer> {
        self.send(request)?;
        message::only(self.receive()?)
    }

    /// Calls each namespace by its index.
    fn name_all(&mut self) -> Result<()> {
        for index in 0..self.known() {
            let id = i32::try_from(index)?;
            let answer = self.ask(&message::name(self.descriptor(index)?, id))?;
            ensure!(answer == Answer::Status(0), "naming {id}: {answer:?}");
        }
        Ok(())
    }

    /// Microseconds for finding the number of a namespace: of those at `indices`, in turn.
    fn find(&mut self, indices: &[usize]) -> Result<f64> {
        let mut asked = Vec::with_capacity(indices.len());
        for &index in indices {
            asked.push((message::find(self.descriptor(index)?), Answer::Nsid(i32::try_from(index)?)));
        }
        ensure!(!asked.is_empty(), "nothing to find");
        let mut next = 0;
        measure::probed(|| {
            let (request, want) = &asked[next];
            next = if next + 1 == asked.len() { 0 } else { next + 1 };
            let answer = self.ask(request)?;
            ensure!(answer == *want, "wanted {want:?}: {answer:?}");
            Ok(())
        })
    }

    /// Microseconds for finding one of all numbers, in an order that no cache foresees.
    fn find_scattered(&mut self) -> Result<f64> {
        let indices = measure::scattered(self.known(), PROBES as usize);
        self.find(&indices)
    }

    /// Dumps all numbers and says how many came.
    fn dump(&mut self) -> Result<u64> {
        self.send(&message::dump())?;
        let mut entries = 0;
        let mut status = None;
        while status.is_none() {
            message::answers(self.receive()?, |answer| match answer {
                Answer::Nsid(_) => entries += 1,
                Answer::Done => status = Some(0),
                Answer::Status(code) => status = Some(code),
            })?;
        }
        match status {
            Some(0) => Ok(entries),
            other => bail!("the dump ended with {other:?}"),
        }
    }
}
