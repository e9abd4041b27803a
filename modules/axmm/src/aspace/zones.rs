//! Parts of an address space with areas and claims of their own, for harts that would meet
//! at one writer again and again.
//!
//! ```text
//!   at first:       claims ─ areas                        one part: all addresses
//!
//!   after harts     ┌──── zone ────┬──── zone ────┐       each its claims, its areas
//!   have met:       │ hart 0       │       hart 1 │
//!                   └──────────────┴──────────────┘
//!                            ▲ where no area is
//! ```
//!
//! Where a hart waits for the writer often, and the writer has worked elsewhere last, the
//! zone is cut in two between them: the areas on the side with fewer move to a new zone. From
//! then on nothing of what the two do is in a cache line of both. An operation whose range
//! lies in several zones makes them one first, and a zone that has often been without areas
//! (`Machine::PATIENCE`), or whose place another needs, becomes one with the zone beside it
//! when it is so again. An address space in which harts have never
//! met has no zones, and nothing of this is in the way: who works on it finds its own claims
//! free. When the first zones are made, these are taken for good (`Claims::give_way`), so
//! that whoever comes is sent to the zones.
//!
//! One hart at a time changes zones. It *closes* those it changes: it is their writer and
//! claims all of them, so that nobody does anything there. Which zone an address lies in is
//! looked up without a lock, in a directory that may just be changing; who has found one
//! says what it does there, as in an address space without zones, and looks at the zone's
//! limits then: they do not change while there is a writer, a claim, or a page being
//! brought. If the address is not within, it looks again. A zone's memory stays a zone's.
//!
//! Locks: the directory's, then the writer's turn and a claim in each zone that changes. Who
//! has them waits for those that work there; and who works in a zone waits for nobody in
//! another, nor for the directory.

use alloc::boxed::Box;
use core::ops::Deref;
use core::ptr;
use core::sync::atomic::AtomicPtr;

use axerrno::{AxError, AxResult};
use memory_addr::VirtAddr;

use super::AddrSpace;
use super::claims::{ALL, Bounds, Bringing, Claimed, Claims};
use super::edit::Edit;
use crate::areas::{Areas, SharedAreas, Span};
use crate::atomic::{AtomicUsize, Ordering};
use crate::backend::Backend;
use crate::boxed::{boxed, boxed_row};
use crate::machine::Machine;
use crate::tlb::TlbGather;

/// The most zones of an address space.
const MOST: usize = 16;

/// The most areas that move when a zone is cut in two.
const MOST_MOVED: usize = 256;

/// Zones end where tables of the lowest level do: those and all below are one zone's.
const LEAST_ALIGN: usize = 2 << 20;

/// Areas, with no cache line that is anything else's: the writer alone writes there.
#[repr(align(64))]
pub struct AreasCell {
    areas: SharedAreas<Backend>,
    /// How often they have been none. The writer's alone.
    emptied: AtomicUsize,
}

impl AreasCell {
    /// No areas.
    #[inline(always)]
    pub fn empty() -> Self {
        Self {
            areas: SharedAreas::empty(),
            emptied: AtomicUsize::new(0),
        }
    }

    /// Notes that they are none again; answers how often they have been. For the writer.
    pub fn emptied(&self) -> usize {
        let times = self.emptied.load(Ordering::Relaxed).wrapping_add(1);
        self.emptied.store(times, Ordering::Relaxed);
        times
    }
}

impl Deref for AreasCell {
    type Target = SharedAreas<Backend>;

    #[inline(always)]
    fn deref(&self) -> &SharedAreas<Backend> {
        &self.areas
    }
}

/// From which address to which a zone is. Read by all, and rarely written.
#[repr(align(64))]
struct Limits {
    first: AtomicUsize,
    last: AtomicUsize,
}

impl Limits {
    fn new() -> Self {
        let (first, last) = NOWHERE;
        Self {
            first: AtomicUsize::new(first),
            last: AtomicUsize::new(last),
        }
    }

    fn get(&self) -> Bounds {
        let first = self.first.load(Ordering::Acquire);
        (first, self.last.load(Ordering::Acquire))
    }

    fn cover(&self, bounds: Bounds) -> bool {
        let (first, last) = self.get();
        first <= bounds.0 && bounds.1 <= last
    }

    fn set(&self, bounds: Bounds) {
        self.first.store(bounds.0, Ordering::Release);
        self.last.store(bounds.1, Ordering::Release);
    }
}

/// No address.
const NOWHERE: Bounds = (usize::MAX, 0);

/// A zone.
struct Zone<M> {
    limits: Limits,
    claims: Claims<M>,
    /// Its areas; `None` for the one that has those of the address space itself.
    areas: Option<AreasCell>,
}

/// Which zones there are, in order.
struct Directory<M> {
    /// Whether a hart changes zones.
    changing: AtomicUsize,
    count: AtomicUsize,
    /// For each hart the zone that it found last.
    found: Box<[Found<M>]>,
    /// Where a zone without areas is looked for next, when there are no more.
    search: AtomicUsize,
    /// Behind those that are used, those that have been.
    zones: [AtomicPtr<Zone<M>>; MOST],
}

/// A zone, or null, in a cache line of its own.
#[repr(align(64))]
struct Found<M>(AtomicPtr<Zone<M>>);

/// The zones of an address space, or none.
pub struct Zones<M>(AtomicPtr<Directory<M>>);

/// A zone, or all of an address space that has none: its claims and its areas.
pub struct Part<'a, M> {
    pub claims: &'a Claims<M>,
    pub areas: &'a AreasCell,
    limits: Option<&'a Limits>,
}

impl<M> Clone for Part<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Part<'_, M> {}

impl<M> Part<'_, M> {
    /// Its first and its last address. They stay while the caller is the writer, or has a
    /// claim, or brings a page within.
    #[inline(always)]
    pub fn bounds(&self) -> Bounds {
        self.limits.map_or(ALL, Limits::get)
    }

    /// Whether the address space has others.
    #[inline(always)]
    pub fn is_zone(&self) -> bool {
        self.limits.is_some()
    }

    /// What of `room`, the first address and the last, lies in it.
    pub fn clip(&self, room: Bounds) -> Bounds {
        let (first, last) = self.bounds();
        (room.0.max(first), room.1.min(last))
    }

    /// Whether it reaches from the first of `bounds` to the last.
    #[inline(always)]
    pub fn covers(&self, bounds: Bounds) -> bool {
        self.limits.is_none_or(|limits| limits.cover(bounds))
    }
}

impl<M: Machine> Zone<M> {
    fn new(areas: Option<AreasCell>) -> AxResult<Box<Self>> {
        boxed(Self {
            limits: Limits::new(),
            claims: Claims::new()?,
            areas,
        })
    }
}

impl<M: Machine> Directory<M> {
    /// One zone, with the areas of the address space itself.
    fn new() -> AxResult<Box<Self>> {
        let nothing = |_| Found(AtomicPtr::new(ptr::null_mut()));
        let found = boxed_row((0..M::harts()).map(nothing))?;
        let first = Zone::new(None)?;
        first.limits.set(ALL);
        let zones = [const { AtomicPtr::new(ptr::null_mut()) }; MOST];
        zones[0].store(Box::into_raw(first), Ordering::Relaxed);
        boxed(Self {
            changing: AtomicUsize::new(0),
            count: AtomicUsize::new(1),
            found,
            search: AtomicUsize::new(0),
            zones,
        })
    }

    /// The zones, in order, unless they are just being changed.
    fn iter(&self) -> impl Iterator<Item = &Zone<M>> {
        let count = self.count.load(Ordering::Acquire);
        let zones = self.zones.iter().take(count);
        // SAFETY: zones are made by `new` and `spare`, and stay as long as this.
        zones.filter_map(|zone| unsafe { zone.load(Ordering::Acquire).as_ref() })
    }

    /// The zone that `addr` lies in, as it seems.
    fn at(&self, addr: usize) -> Option<&Zone<M>> {
        self.iter().find(|zone| zone.limits.cover((addr, addr)))
    }

    /// The same, by what `hart` found last if that is so still.
    fn find(&self, hart: usize, addr: usize) -> Option<&Zone<M>> {
        let found = &self.found[hart].0;
        // SAFETY: as in `iter`.
        let last = unsafe { found.load(Ordering::Acquire).as_ref() };
        if last.is_some_and(|zone| zone.limits.cover((addr, addr))) {
            return last;
        }
        let zone = self.at(addr)?;
        found.store(ptr::from_ref(zone).cast_mut(), Ordering::Release);
        Some(zone)
    }

    /// Lets this hart alone change zones until [`unlock`](Self::unlock).
    fn lock(&self) {
        let mut turn = 0;
        while self
            .changing
            .compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            M::relax(turn);
            turn += 1;
        }
    }

    fn unlock(&self) {
        self.changing.store(0, Ordering::Release);
    }

    /// Whether there can be no more.
    fn is_full(&self) -> bool {
        self.count.load(Ordering::Relaxed) == MOST
    }

    /// A zone that is not used, with no areas.
    fn spare(&self) -> AxResult<&Zone<M>> {
        let count = self.count.load(Ordering::Relaxed);
        let spare = self.zones.get(count).ok_or(AxError::NoMemory)?;
        if spare.load(Ordering::Relaxed).is_null() {
            let zone = Zone::new(Some(AreasCell::empty()))?;
            spare.store(Box::into_raw(zone), Ordering::Release);
        }
        // SAFETY: as in `iter`.
        unsafe { spare.load(Ordering::Relaxed).as_ref() }.ok_or(AxError::NoMemory)
    }

    /// Where `zone` is among those that are used.
    fn index_of(&self, zone: &Zone<M>) -> usize {
        self.iter()
            .take_while(|other| !ptr::eq(*other, zone))
            .count()
    }

    /// The first that is not used comes to `index`.
    fn insert(&self, index: usize) {
        let count = self.count.load(Ordering::Relaxed);
        for place in (index..count).rev() {
            self.swap(place);
        }
        self.count.store(count + 1, Ordering::Release);
    }

    /// The one at `index` is not used any more.
    fn remove(&self, index: usize) {
        let count = self.count.load(Ordering::Relaxed);
        for place in index..count - 1 {
            self.swap(place);
        }
        self.count.store(count - 1, Ordering::Release);
    }

    fn swap(&self, place: usize) {
        let [a, b] = [&self.zones[place], &self.zones[place + 1]];
        let zone = b.swap(a.load(Ordering::Relaxed), Ordering::AcqRel);
        a.store(zone, Ordering::Release);
    }
}

impl<M> Zones<M> {
    /// None.
    pub const fn none() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    fn directory(&self) -> Option<&Directory<M>> {
        // SAFETY: it is a box's, and stays as long as this.
        unsafe { self.0.load(Ordering::Acquire).as_ref() }
    }

    /// Once.
    fn put(&self, directory: Box<Directory<M>>) {
        self.0.store(Box::into_raw(directory), Ordering::Release);
    }
}

impl<M> Drop for Zones<M> {
    fn drop(&mut self) {
        if self.directory().is_some() {
            // SAFETY: `put` had it of a box, and nobody is left who could use it.
            drop(unsafe { Box::from_raw(self.0.load(Ordering::Relaxed)) });
        }
    }
}

impl<M> Drop for Directory<M> {
    fn drop(&mut self) {
        for zone in &self.zones {
            let zone = zone.load(Ordering::Relaxed);
            if !zone.is_null() {
                // SAFETY: as above.
                drop(unsafe { Box::from_raw(zone) });
            }
        }
    }
}

impl<M: Machine> AddrSpace<M> {
    /// Makes one of all [zones](Self::zones), and gives back the tables without pages that
    /// lay in two of them: where memory is short, or tables are counted. Harts that work
    /// apart from each other are waited for, and will meet again.
    ///
    /// # Errors
    ///
    /// `NoMemory` for areas in one place; then some zones may be left.
    pub fn join_zones(&self) -> AxResult {
        self.join(ALL)
    }

    /// Into how many zones it is cut now, as harts met: 1 where it is not.
    pub fn zones(&self) -> usize {
        let directory = self.zones.directory();
        directory.map_or(1, |directory| directory.count.load(Ordering::Relaxed))
    }

    /// Where `addr` is worked on, as it seems: who works there looks whether the part
    /// [covers](Part::covers) it. `None` while zones are being changed.
    pub(super) fn part_at(&self, addr: usize) -> Option<Part<'_, M>> {
        match self.zones.directory() {
            None => Some(self.whole()),
            Some(directory) => {
                let zone = directory.find(M::hart(), addr)?;
                Some(self.part(zone))
            }
        }
    }

    /// All of an address space without zones.
    #[inline(always)]
    pub(super) fn whole(&self) -> Part<'_, M> {
        Part {
            claims: &self.claims,
            areas: &self.areas,
            limits: None,
        }
    }

    fn part<'a>(&'a self, zone: &'a Zone<M>) -> Part<'a, M> {
        Part {
            claims: &zone.claims,
            areas: zone.areas.as_ref().unwrap_or(&self.areas),
            limits: Some(&zone.limits),
        }
    }

    /// As [`bringing`](Self::bringing), when another has claimed `addr`, or there are zones.
    #[cold]
    #[inline(never)]
    pub(super) fn bringing_later(&self, hart: usize, addr: usize) -> Option<Bringing<'_>> {
        let mut turn = 0;
        loop {
            // Who claims waits for no line again and again that only gives way.
            if let Some(part) = self.part_at(addr)
                && part.claims.claimed(hart, addr) != Claimed::ByAnother
                && let Some(bringing) = part.claims.bring(hart, addr)
            {
                match part.claims.claimed(hart, addr) {
                    _ if !part.covers((addr, addr)) => {}
                    Claimed::No => return Some(bringing),
                    Claimed::ByThisHart => return None,
                    Claimed::ByAnother => {}
                }
            }
            // Whoever it waited for might wait for that, too.
            if self.is_bringing(hart) {
                return None;
            }
            M::relax(turn);
            turn += 1;
        }
    }

    /// Whether `hart` brings a page, in whichever zone.
    fn is_bringing(&self, hart: usize) -> bool {
        let zones = self.zones.directory().into_iter().flat_map(Directory::iter);
        let mut claims = zones.map(|zone| &zone.claims);
        self.claims.is_bringing(hart) || claims.any(|claims| claims.is_bringing(hart))
    }

    /// This hart, which is about to work on `ours`, waits for another. If that is often so
    /// it will not be any more.
    #[cold]
    pub(super) fn meet(&self, ours: Bounds) {
        let met = self.part_at(ours.0).and_then(|part| part.claims.meet());
        let Some(theirs) = met else {
            return;
        };
        let (low, high) = (ours.min(theirs), ours.max(theirs));
        if low.1 < high.0 {
            self.cut_between(low, high);
        }
    }

    /// Cuts the zone that both lie in between them. What cannot be done now is not.
    fn cut_between(&self, low: Bounds, high: Bounds) {
        let _pin = M::pin();
        let hart = M::hart();
        let Some(directory) = self.first_zone(hart) else {
            return;
        };
        directory.lock();
        if directory.is_full() {
            let search = directory.search.load(Ordering::Relaxed);
            directory
                .search
                .store((search + 1) % (MOST - 1), Ordering::Relaxed);
            self.join_if_empty(directory, search);
        }
        if let Some(zone) = directory.at(low.0)
            && self.part(zone).covers((low.0, high.1))
            && zone.claims.try_close(hart)
        {
            let _ = self.cut(directory, zone, low.1, high.0);
            zone.claims.open(hart);
        }
        directory.unlock();
    }

    /// The directory; made, if there is none, when nobody works on the address space.
    fn first_zone(&self, hart: usize) -> Option<&Directory<M>> {
        if self.zones.directory().is_none() {
            let made = Directory::new().ok()?;
            self.claims.give_way(hart, || self.zones.put(made));
        }
        self.zones.directory()
    }

    /// Cuts `zone`, which this hart has closed, above `low` and not above `high`, which may
    /// lie outside: of what another has changed last they may be half, as it is written.
    fn cut(&self, directory: &Directory<M>, zone: &Zone<M>, low: usize, high: usize) -> AxResult {
        // SAFETY: this hart has closed the zone, and is its writer until it opens it.
        let areas = unsafe { self.part(zone).areas.locked() };
        let (first, last) = zone.limits.get();
        let boundary = free_boundary(areas, low.max(first), high.min(last));
        let at = boundary.ok_or(AxError::InvalidInput)?;
        let count = |span: &Span| areas.overlapping(span).take(MOST_MOVED + 1).count();
        let (below, above) = (count(&(first..at)), count(&(at..usize::MAX)));
        if below.min(above) > MOST_MOVED {
            return Err(AxError::NoMemory);
        }
        let new = directory.spare()?;
        // SAFETY: no address lies in a spare zone, so that no hart becomes its writer; and
        // this hart alone changes zones.
        let target = unsafe { self.part(new).areas.locked() };
        let place = directory.index_of(zone);
        if below < above {
            move_areas(areas, target, &(first..at))?;
            new.limits.set((first, at - 1));
            zone.limits.set((at, last));
            directory.insert(place);
        } else {
            move_areas(areas, target, &(at..usize::MAX))?;
            new.limits.set((at, last));
            zone.limits.set((first, at - 1));
            directory.insert(place + 1);
        }
        Ok(())
    }

    /// Makes the zones that `bounds` lies in one.
    ///
    /// # Errors
    ///
    /// `NoMemory`.
    #[cold]
    pub(super) fn join(&self, bounds: Bounds) -> AxResult {
        let Some(directory) = self.zones.directory() else {
            return Ok(());
        };
        let _pin = M::pin();
        directory.lock();
        let mut joined = Ok(());
        while let Some(zone) = directory.at(bounds.0)
            && joined.is_ok()
            && !self.part(zone).covers(bounds)
            && let Some(next) = directory.iter().nth(directory.index_of(zone) + 1)
        {
            joined = self.join_two(directory, zone, next);
        }
        directory.unlock();
        joined
    }

    /// Makes the zone that `addr` lies in, where there were no areas, one with another
    /// beside it, if that can be done.
    #[cold]
    pub(super) fn give_up_zone(&self, addr: usize) {
        let Some(directory) = self.zones.directory() else {
            return;
        };
        let _pin = M::pin();
        directory.lock();
        let index = directory.at(addr).map(|zone| directory.index_of(zone));
        self.join_if_empty(directory, index.map_or(0, |index| index.saturating_sub(1)));
        directory.unlock();
    }

    /// Makes the zone at `index` one with the next, if one of them is without areas and
    /// nobody works there.
    fn join_if_empty(&self, directory: &Directory<M>, index: usize) {
        let mut zones = directory.iter().skip(index);
        if let (Some(low), Some(high)) = (zones.next(), zones.next())
            && self.try_close(low, high)
        {
            let is_empty = |zone| {
                // SAFETY: this hart has closed both zones, and is their writer until it
                // opens them.
                unsafe { self.part(zone).areas.locked() }.is_empty()
            };
            if is_empty(low) || is_empty(high) {
                let _ = self.join_closed(directory, low, high);
            }
            self.open(low, high);
        }
    }

    /// Makes two zones one, once nobody works in either.
    fn join_two(&self, directory: &Directory<M>, low: &Zone<M>, high: &Zone<M>) -> AxResult {
        let mut turn = 0;
        while !self.try_close(low, high) {
            M::relax(turn);
            turn += 1;
        }
        let joined = self.join_closed(directory, low, high);
        self.open(low, high);
        joined
    }

    /// Closes both, or neither: who works in one waits for nobody in the other.
    fn try_close(&self, low: &Zone<M>, high: &Zone<M>) -> bool {
        let hart = M::hart();
        if !low.claims.try_close(hart) {
            return false;
        }
        let closed = high.claims.try_close(hart);
        if !closed {
            low.claims.open(hart);
        }
        closed
    }

    fn open(&self, low: &Zone<M>, high: &Zone<M>) {
        low.claims.open(M::hart());
        high.claims.open(M::hart());
    }

    /// Makes two zones one, which this hart has closed: the fewer areas move.
    fn join_closed(&self, directory: &Directory<M>, low: &Zone<M>, high: &Zone<M>) -> AxResult {
        let (low_part, high_part) = (self.part(low), self.part(high));
        // SAFETY: this hart has closed both zones, and is their writer until it opens them.
        let (below, above) = unsafe { (low_part.areas.locked(), high_part.areas.locked()) };
        let (bounds, boundary) = (
            (low.limits.get().0, high.limits.get().1),
            high.limits.get().0,
        );
        let (stays, goes) = match has_more(below, above) {
            true => {
                move_areas(above, below, &(boundary..usize::MAX))?;
                (low, high)
            }
            false => {
                move_areas(below, above, &(0..boundary))?;
                (high, low)
            }
        };
        goes.limits.set(NOWHERE);
        stays.limits.set(bounds);
        directory.remove(directory.index_of(goes));
        self.free_tables_at(boundary, stays);
        Ok(())
    }

    /// Gives back the empty tables around `addr` in `zone`, which this hart has closed:
    /// those that lay in two zones before.
    fn free_tables_at(&self, addr: usize, zone: &Zone<M>) {
        let part = self.part(zone);
        // SAFETY: this hart has closed the zone, and is its writer until it opens it.
        let areas = unsafe { part.areas.locked() };
        let alone = part.clip(areas.room_around(&(addr..addr + 1)));
        let gather = &mut TlbGather::<M>::new(&self.context, alone, false);
        self.table.prune(VirtAddr::from_usize(addr), gather);
    }

    /// Until the answer goes, nobody maps, unmaps or protects anything here. Whoever has it
    /// does none of that either.
    pub(crate) fn keep(&self) -> impl Sized {
        let mut turn = 0;
        loop {
            match self.zones.directory() {
                Some(directory) => return Kept::Zones(self.keep_zones(directory)),
                None => {
                    if let Some(edit) = self.try_edit(self.whole(), &self.span()) {
                        return Kept::All(edit);
                    }
                }
            }
            M::relax(turn);
            turn += 1;
        }
    }

    fn keep_zones<'a>(&self, directory: &'a Directory<M>) -> KeptZones<'a, M> {
        let pin = M::pin();
        directory.lock();
        for zone in directory.iter() {
            zone.claims.begin(M::hart());
            zone.claims.wait_for_claims(M::hart(), ALL);
        }
        KeptZones {
            directory,
            _pin: pin,
        }
    }
}

/// An address space that is kept as it is.
enum Kept<'a, M: Machine> {
    All(Edit<'a, M>),
    Zones(KeptZones<'a, M>),
}

/// All zones, with this hart the writer of each.
struct KeptZones<'a, M: Machine> {
    directory: &'a Directory<M>,
    /// Last, so that interrupts come in when all is done.
    _pin: M::Pin,
}

impl<M: Machine> Drop for KeptZones<'_, M> {
    fn drop(&mut self) {
        self.directory.iter().for_each(|zone| zone.claims.end());
        self.directory.unlock();
    }
}

/// The address above `low` and not above `high` that most tables end at, of those that no
/// area reaches across.
fn free_boundary(areas: &Areas<Backend>, low: usize, high: usize) -> Option<usize> {
    let is_free = |at: usize| {
        let area = areas.find(at);
        area.is_none_or(|area| area.start() == at)
    };
    let aligned = (LEAST_ALIGN.ilog2()..usize::BITS).rev();
    let mut boundaries = aligned.map(|bits| high >> bits << bits);
    boundaries.find(|at| *at > low && is_free(*at))
}

/// Whether there are more of `these` than of `those`.
fn has_more(these: &Areas<Backend>, those: &Areas<Backend>) -> bool {
    let mut these = these.iter();
    those.iter().zip(these.by_ref()).for_each(drop);
    these.next().is_some()
}

/// Moves the areas in `span`, none of which reaches out of it, or none.
fn move_areas(from: &Areas<Backend>, to: &Areas<Backend>, span: &Span) -> AxResult {
    for area in from.overlapping(span) {
        if let Err(error) = to.reserve(1) {
            to.remove(span);
            return Err(error);
        }
        to.insert(area.area());
    }
    from.remove(span);
    Ok(())
}

#[cfg(test)]
mod tests;
