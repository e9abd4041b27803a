//! Changing the areas of an address space, one hart at a time, and the page table,
//! side by side.

use core::ops::Deref;

use axerrno::{AxError, AxResult};
use memory_addr::VirtAddr;

use super::AddrSpace;
use super::claims::{ALL, Bounds};
use super::zones::Part;
use crate::areas::{Area, Areas, Span};
use crate::backend::Backend;
use crate::machine::Machine;
use crate::table::Table;
use crate::tlb::TlbGather;

/// As many areas as an operation adds at most.
const MOST_ADDED: usize = 2;

/// The areas, for the one hart that writes them. Interrupts are kept out meanwhile.
pub struct Edit<'a, M: Machine> {
    space: &'a AddrSpace<M>,
    part: Part<'a, M>,
    /// Whether they are those of all that was asked for.
    is_all: bool,
    hart: usize,
    /// What this hart has claimed.
    claim: Option<Bounds>,
    /// Last, so that interrupts come in when all is done.
    _pin: M::Pin,
}

/// The areas, for the one hart that would be allowed to write them.
pub struct Look<'a, M: Machine> {
    part: Part<'a, M>,
    /// Last, so that interrupts come in when all is done.
    _pin: M::Pin,
}

/// A hart that has its claim, and need not be the writer.
pub struct Apart<'e, 'a, M: Machine>(&'e Edit<'a, M>);

impl<M: Machine> AddrSpace<M> {
    /// The areas, to look at or to change, once nobody has a claim in `span`: until the
    /// answer goes, nobody maps, unmaps or protects anything there. Pages may be brought.
    /// Whether they are all of `span`'s is [to be asked](Edit::reach).
    #[inline(always)]
    pub(super) fn edit(&self, span: &Span) -> Edit<'_, M> {
        match self.try_edit(self.whole(), span) {
            Some(edit) => edit,
            None => self.edit_later(span),
        }
    }

    /// As [`edit`](Self::edit), in a part that reaches over `span`, if nobody is there.
    #[inline(always)]
    pub(super) fn try_edit<'a>(&'a self, part: Part<'a, M>, span: &Span) -> Option<Edit<'a, M>> {
        let pin = M::pin();
        let hart = M::hart();
        if !part.claims.try_begin(hart) {
            return None;
        }
        let edit = Edit {
            space: self,
            part,
            is_all: true,
            hart,
            claim: None,
            _pin: pin,
        };
        let bounds = bounds(span);
        let free = part.covers(bounds) && !part.claims.is_claimed(hart, bounds);
        free.then_some(edit)
    }

    /// With interrupts as the caller has them.
    #[cold]
    fn edit_later(&self, span: &Span) -> Edit<'_, M> {
        let mut bounds = bounds(span);
        let mut is_all = true;
        let mut turn = 0;
        loop {
            if let Some(part) = self.part_at(bounds.0) {
                if let Some(mut edit) = self.try_edit(part, &(bounds.0..bounds.1 + 1)) {
                    edit.is_all = is_all;
                    return edit;
                }
                if turn == 0 {
                    self.meet(bounds);
                }
                if !part.covers(bounds) && self.join(bounds).is_err() {
                    bounds.1 = bounds.0;
                    is_all = false;
                }
            }
            M::relax(turn);
            turn += 1;
        }
    }

    /// The areas where `addr` is worked on, to look at, whatever is claimed. `None` if this
    /// is a fault of the hart that works on them.
    #[inline(always)]
    pub(super) fn look(&self, addr: usize) -> Option<Look<'_, M>> {
        let pin = M::pin();
        match self.claims.try_begin(M::hart()) {
            true => Some(Look {
                part: self.whole(),
                _pin: pin,
            }),
            false => {
                drop(pin);
                self.look_later(addr)
            }
        }
    }

    /// The areas around `addr`, to look at. `None` if a hart, this one included, is working
    /// on them.
    pub(super) fn try_look(&self, addr: usize) -> Option<Look<'_, M>> {
        let part = self.part_at(addr)?;
        let pin = M::pin();
        if !part.claims.try_begin(M::hart()) {
            return None;
        }
        let look = Look { part, _pin: pin };
        part.covers((addr, addr)).then_some(look)
    }

    #[cold]
    #[inline(never)]
    fn look_later(&self, addr: usize) -> Option<Look<'_, M>> {
        let mut turn = 0;
        loop {
            if let Some(part) = self.part_at(addr) {
                let _pin = M::pin();
                let hart = M::hart();
                if part.claims.is_writer(hart) {
                    return None;
                }
                if part.claims.try_begin(hart) {
                    let look = Look { part, _pin };
                    if part.covers((addr, addr)) {
                        return Some(look);
                    }
                }
            }
            M::relax(turn);
            turn += 1;
        }
    }
}

impl<'a, M: Machine> Edit<'a, M> {
    /// Whether these are the areas of all that [`edit`](AddrSpace::edit) was given.
    ///
    /// # Errors
    ///
    /// `NoMemory`: there was none to make one of the zones that it lies in.
    #[inline(always)]
    pub fn reach(&self) -> AxResult {
        match self.is_all {
            true => Ok(()),
            false => Err(AxError::NoMemory),
        }
    }

    /// Whether these are the areas of a zone, and there have been none so often that it
    /// should go.
    #[inline(always)]
    pub fn is_zone_spent(&self) -> bool {
        self.part.is_zone()
            && self.is_empty()
            && self.part.areas.emptied().is_multiple_of(M::PATIENCE)
    }

    /// Keeps everybody else from what is mapped in `span`, which [`edit`](AddrSpace::edit)
    /// was given, until this goes: page faults there wait. Where an end of `span` lies in
    /// a large page, from all of the page.
    #[inline(always)]
    pub fn claim(&mut self, span: &Span) {
        if !self.part.claims.is_one_hart() {
            self.claim_around(span, |_, pages| pages);
        }
    }

    /// As [`claim`](Self::claim), together with what lies free around: all that tables
    /// translate that are empty when `span` is.
    #[inline(always)]
    pub fn claim_with_tables(&mut self, span: &Span) {
        if !self.part.claims.is_one_hart() {
            self.claim_around(span, |edit, pages| edit.with_tables(span, pages));
        }
    }

    /// Claims what `wider` makes of `span` together with the large pages at its ends. Until
    /// it is claimed another hart may bring one.
    #[cold]
    fn claim_around(&mut self, span: &Span, wider: impl Fn(&mut Self, Bounds) -> Bounds) {
        self.part.claims.note(self.hart, bounds(span));
        let mut pages = self.with_pages(span);
        loop {
            self.part.claims.wait_for_claims(self.hart, pages);
            let bounds = wider(self, pages);
            self.part.claims.claim(self.hart, bounds);
            self.claim = Some(bounds);
            let claimed = pages;
            pages = self.with_pages(span);
            if pages == claimed {
                return;
            }
            self.part.claims.unclaim(self.hart);
            self.claim = None;
        }
    }

    /// What `span` is together with the large pages at its ends.
    fn with_pages(&self, span: &Span) -> Bounds {
        let (mut from, mut to) = bounds(span);
        for end in [from, to] {
            if let Some(page) = self.space.table.query(VirtAddr::from_usize(end)) {
                from = from.min(page.vaddr.as_usize());
                to = to.max(page.vaddr.as_usize() + (page.size - 1));
            }
        }
        (from, to)
    }

    #[cold]
    fn with_tables(&mut self, span: &Span, pages: Bounds) -> Bounds {
        let room = self.room_around(span);
        let room = self.part.clip(room);
        let (mut from, mut to) = pages;
        for level in 1..Table::<M>::LEVELS {
            let size = Table::<M>::entry_size(level);
            let (low, high) = (from & !(size - 1), to | (size - 1));
            let is_free = |bounds| !self.part.claims.is_claimed(self.hart, bounds);
            if low >= room.0 && is_free((low, from)) {
                from = low;
            }
            if high <= room.1 && is_free((to, high)) {
                to = high;
            }
        }
        (from, to)
    }

    /// Gives back the tables at the ends of `span` that translate nothing any more, now that
    /// it is no area's. One hart leaves them for the other where two unmap side by side:
    /// the last of them finds no other's claim.
    #[inline(always)]
    pub fn free_tables(&mut self, span: &Span) {
        if !self.part.claims.is_one_hart() {
            self.free_tables_around(span);
        }
    }

    #[inline(never)]
    fn free_tables_around(&mut self, span: &Span) {
        let ends = [span.start, span.end - 1].map(VirtAddr::from_usize);
        let table = &self.space.table;
        let mut done = bounds(span);
        loop {
            let room = self.with_tables(span, done);
            if !ends.iter().any(|end| table.has_table_in(*end, room)) {
                return;
            }
            self.part.claims.claim(self.hart, room);
            self.claim = Some(room);
            self.part.claims.end();
            let apart = Apart(self);
            let mut gather = apart.gather(false);
            ends.iter().for_each(|end| table.prune(*end, &mut gather));
            drop(gather);
            self.part.claims.begin(self.hart);
            if room == done {
                return;
            }
            done = room;
        }
    }

    /// Does `work` on the page table where this hart has its [claim](Self::claim), and
    /// lets others change areas elsewhere meanwhile. After it, as many areas as an
    /// operation adds can be added: where there is no memory to keep room for them that
    /// long, nobody else changes any.
    #[inline(always)]
    pub fn apart<R>(&mut self, work: impl FnOnce(&Apart<'_, 'a, M>) -> R) -> R {
        if self.part.claims.is_one_hart() {
            return work(&Apart(self));
        }
        let Ok(promise) = self.promise(MOST_ADDED) else {
            return work(&Apart(self));
        };
        self.part.claims.end();
        let result = work(&Apart(self));
        self.part.claims.begin(self.hart);
        self.keep(promise);
        result
    }
}

impl<M: Machine> Apart<'_, '_, M> {
    /// The first area that ends above `addr`.
    pub fn area_from(&self, addr: usize) -> Option<Area<Backend>> {
        let claims = self.0.part.claims;
        if claims.is_writer(self.0.hart) {
            return Some(self.0.iter_from(addr).next()?.area());
        }
        claims.begin(self.0.hart);
        let area = self.0.iter_from(addr).next().map(|area| area.area());
        claims.end();
        area
    }

    /// Collects what this operation takes away. `owns_pages` says whether pages' frames
    /// are the mapping's.
    pub fn gather(&self, owns_pages: bool) -> TlbGather<'_, M> {
        let alone = match self.0.part.claims.is_one_hart() {
            true => ALL,
            // Nowhere, without a claim.
            false => self.0.claim.unwrap_or((1, 0)),
        };
        TlbGather::new(&self.0.space.context, alone, owns_pages)
    }
}

impl<M: Machine> Deref for Edit<'_, M> {
    type Target = Areas<Backend>;

    fn deref(&self) -> &Areas<Backend> {
        // SAFETY: this hart is the writer of the part: `try_edit` made it so, and `drop`
        // ends it. `apart` and `free_tables_around` let others be it in between, and use
        // no reference from before.
        unsafe { self.part.areas.locked() }
    }
}

impl<M: Machine> Drop for Edit<'_, M> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.claim.is_some() {
            self.part.claims.unclaim(self.hart);
        }
        self.part.claims.end();
    }
}

impl<M: Machine> Look<'_, M> {
    /// The last address of what can be looked at.
    pub fn last(&self) -> usize {
        self.part.bounds().1
    }
}

impl<M: Machine> Deref for Look<'_, M> {
    type Target = Areas<Backend>;

    fn deref(&self) -> &Areas<Backend> {
        // SAFETY: this hart is the writer of the part until `drop` ends it.
        unsafe { self.part.areas.locked() }
    }
}

impl<M: Machine> Drop for Look<'_, M> {
    #[inline(always)]
    fn drop(&mut self) {
        self.part.claims.end();
    }
}

fn bounds(span: &Span) -> Bounds {
    (span.start, span.end - 1)
}
