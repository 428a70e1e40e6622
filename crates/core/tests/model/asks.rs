//! Operations that ask: by handle, by id, page by page, one by one.

use crate::probe::Call;
use crate::reference::Life;
use crate::script::{Reached, Res};
use crate::world::{Dump, World, same};
use pernet::Nsid;

impl World<'_> {
    pub(crate) fn upgrade(&mut self, nth: u8) -> Res {
        let n = nth as usize % self.handles.len();
        let Some(handle) = &self.handles[n] else { return Ok(()) };
        let got = handle.upgrade();
        same("upgrade", got.is_some(), self.model.alive(n))?;
        let Some(real) = got else { return Ok(()) };
        same("cookie", real.cookie().get(), self.model.cookie(n))?;
        self.model.add_ref(n);
        self.keep(real, n)
    }

    pub(crate) fn lookup(&mut self, o: u8, id: i32) -> Res {
        let o = &self.pool[self.pick(o)];
        let (got, o) = (o.real.net_by_nsid(id), o.net);
        let named = self.model.nets[o].table.get(&id).copied();
        let dead = named.is_some_and(|n| !self.model.alive(n));
        self.model.reach_if(dead, Reached::LookupOfTheDead);
        let expected = named.filter(|n| self.model.alive(*n));
        same("net_by_nsid", got.as_ref().map(|net| net.cookie().get()), expected.map(|n| self.model.cookie(n)))?;
        let (Some(real), Some(n)) = (got, expected) else { return Ok(()) };
        self.model.add_ref(n);
        self.keep(real, n)
    }

    /// A page is cut right, and the dump as a whole is too, whatever came between its pages.
    pub(crate) fn page(&mut self, o: u8, max: usize) -> Res {
        let o = self.pick(o);
        let (real, o) = (&self.pool[o].real, self.pool[o].net);
        let changes = self.model.nets[o].changes;
        let mut dump = self.dumps[o].take().unwrap_or_else(|| Dump {
            next: 0,
            delivered: Vec::new(),
            always: self.model.living(o, 0),
            pages: 0,
            changes,
        });
        let page = real.nsids_from(Nsid::new(dump.next).expect("not negative"), max);
        let got: Vec<(i32, u64)> = page.entries.iter().map(|(id, peer)| (id.get(), peer.cookie().get())).collect();
        let expected: Vec<(i32, usize)> = self.model.living(o, dump.next).into_iter().take(max).collect();
        same("page", got, expected.iter().map(|(id, n)| (*id, self.model.cookie(*n))).collect())?;
        let (before, generation) = std::mem::replace(&mut self.pages[o], (changes, page.generation));
        if self.model.nets[o].life == Life::Listed {
            same("the generation stays", page.generation == generation, changes == before)?;
        }
        dump.delivered.extend(&expected);
        dump.pages += 1;
        let last = expected.last().map_or(dump.next, |(id, _)| *id);
        if expected.len() == max && last < i32::MAX {
            dump.next = last + 1;
            self.dumps[o] = Some(dump);
            return Ok(());
        }
        self.model.reach_if(dump.pages > 1, Reached::DumpOfSeveralPages);
        self.model.reach_if(dump.pages > 1 && dump.changes != changes, Reached::DumpDisturbed);
        same("a dump ascends", dump.delivered.is_sorted_by(|a, b| a.0 < b.0), true)?;
        same("a dump tells of everything", dump.always.iter().all(|entry| dump.delivered.contains(entry)), true)
    }

    pub(crate) fn for_each(&mut self, at: usize, victim: u8) -> Res {
        let at = at % self.model.order.len();
        let mut victim = self.take(victim);
        let (mut visits, shared) = (0, &self.shared);
        let dropped = victim.as_ref().map(|victim| victim.net);
        self.ns.for_each_net(|net| {
            shared.log(Call::Visit { net: net.cookie().get() });
            if visits == at {
                drop(victim.take());
            }
            visits += 1;
        });
        let late = victim.take().is_some();
        self.read_log();
        let (mut dropped, mut visits) = (dropped, 0);
        for n in self.model.order.clone() {
            if !self.model.alive(n) {
                continue;
            }
            self.model.add_ref(n);
            self.model.expect(Call::Visit { net: self.model.cookie(n) })?;
            if visits == at
                && let Some(n) = dropped.take()
            {
                let last = self.model.drop_ref(n)?;
                self.model.reach_if(last, Reached::DiedDuringAVisit);
            }
            let last = self.model.drop_ref(n)?;
            self.model.reach_if(last, Reached::DiedDuringAVisit);
            visits += 1;
        }
        same("a visit too few", late, dropped.is_some())?;
        dropped.map_or(Ok(()), |n| self.model.drop_ref(n).map(drop))
    }
}
