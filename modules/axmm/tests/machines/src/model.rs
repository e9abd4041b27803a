//! Address spaces against a flat model: what each page means, to whoever asks and to
//! the hardware, and which frames are in use.

use std::ops::Range;
use std::rc::Rc;

use axalloc::Frames as Held;
use axalloc::fault::fail_from;
use axerrno::{AxError, AxResult};
use axmm::{AddrSpace, Backend, Grain, MappingFlags, VirtAddrRange};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use crate::memory::{BLOCK, Free, Hold, blocks};
use crate::own::Own;
use crate::raw::{Format, Raw, Rights, walk_into};
use crate::{
    DEVICE, GIB, KIB4, MIB2, NONE, RO, RW, RX, TLB, TestMachine, Tlb, UNCACHED, bytes, frames,
    phys, virt,
};

/// What is wrong, if anything is.
pub type Verdict<T = ()> = Result<T, TestCaseError>;

/// Bytes of the address space.
pub const SIZE: usize = 4 * GIB;
/// How many pages next to one another areas of pages are made of.
pub const PAGES: usize = 64;
/// Between these offsets, from `LARGE` on, lie areas of large pages.
const CUTS: [usize; 20] = [
    0,
    KIB4,
    MIB2,
    MIB2 + KIB4,
    2 * MIB2 - KIB4,
    2 * MIB2,
    3 * MIB2,
    4 * MIB2,
    GIB / 2,
    GIB - MIB2,
    GIB - KIB4,
    GIB,
    GIB + KIB4,
    GIB + MIB2,
    GIB + 3 * MIB2 - KIB4,
    GIB + 3 * MIB2,
    2 * GIB - MIB2 - KIB4,
    2 * GIB - MIB2,
    2 * GIB - KIB4,
    2 * GIB,
];
/// The pages lie around the end of a GiB, where tables of all levels end.
const SMALL: usize = GIB - PAGES / 2 * KIB4;
const LARGE: usize = 2 * GIB;
/// The pages, what lies between, and the large ones.
pub const ATOMS: usize = PAGES + 1 + CUTS.len() - 1;

/// The most frames that splitting the large pages at both ends of a range takes.
const SPLITS: usize = 4;
/// How many frames a hart takes from the free ones at a time, at most.
const BATCH: usize = 64;

/// The aligned stretches of a large page that lie in a range.
fn stretches(range: &Range<usize>) -> impl Iterator<Item = usize> + Clone + use<> {
    let first = range.start.next_multiple_of(MIB2);
    let end = range.end & !(MIB2 - 1);
    (first..end).step_by(MIB2)
}

/// A part of the address space that operations cover as a whole or not at all.
pub fn bounds(atom: usize) -> usize {
    match atom.checked_sub(PAGES + 1) {
        None => SMALL + atom * KIB4,
        Some(cut) => LARGE + CUTS[cut],
    }
}

/// What is wrong with a range.
#[derive(Clone, Copy, Debug)]
pub enum Twist {
    Fine,
    MisalignedStart,
    MisalignedSize,
    Empty,
    Overflow,
    Below,
    Beyond,
}

/// Atoms in a row, and what is wrong with them as a range.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub first: usize,
    pub count: usize,
    pub twist: Twist,
}

/// An atom, and an offset in it, by so many bytes from its start or, if it is shorter,
/// from its start again.
#[derive(Clone, Copy, Debug)]
pub struct Spot(pub usize, pub usize);

/// Whose address space it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Whose {
    Kernels,
    Users,
}

/// Where a linear area leads.
#[derive(Clone, Copy, Debug)]
pub enum Frames {
    /// So far from where its addresses would be one to one.
    Shifted(usize),
    High,
    Misaligned,
    Overflow,
    TooHigh,
}

/// An operation of an address space.
#[derive(Clone, Copy, Debug)]
pub enum Op {
    Linear(Place, Frames, MappingFlags),
    Alloc(Place, MappingFlags, bool, Grain),
    Unmap(Place),
    Protect(Place, MappingFlags),
    Fault(Spot, MappingFlags),
    Read(Spot, usize),
    Write(Spot, usize),
    Clear,
    Hold(Hold),
    FindFree {
        hint: usize,
        size: usize,
        limit: (usize, usize),
    },
    CanAccess(Place, usize, MappingFlags),
}

/// An operation, and which of its allocations fails; 0 for none.
#[derive(Clone, Copy, Debug)]
pub struct Step(pub Op, pub usize);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Behind {
    Linear(usize),
    Alloc(bool, Grain),
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Mapped {
    flags: MappingFlags,
    behind: Behind,
}

impl Mapped {
    fn is_linear(&self) -> bool {
        matches!(self.behind, Behind::Linear(_))
    }

    /// How many pages a page fault brings at most.
    fn brings(self) -> usize {
        match self.behind {
            Behind::Alloc(_, Grain::Around(count)) => count.into(),
            Behind::Alloc(_, Grain::Large) => BLOCK,
            _ => 1,
        }
    }
}

/// What came of an operation.
#[derive(Default)]
struct Outcome {
    /// Whether there was no memory for some of it. Nothing has changed, but for what
    /// came before.
    failed: bool,
    /// Whether some of it may have been tried with more memory than there was, and done
    /// with less: tables may have come and gone.
    retried: bool,
    /// The pages that have come: where, of how many bytes.
    fresh: Vec<(usize, usize)>,
}

impl Outcome {
    fn of(result: AxResult) -> Self {
        Self {
            failed: result == Err(AxError::NoMemory),
            ..Self::default()
        }
    }
}

/// Calls `op`, of whose allocations the `n`th and all behind it fail; 0 for none.
/// Answers whether any has.
fn failing<T>(n: usize, op: impl FnOnce() -> T) -> (T, bool) {
    let armed = fail_from(n);
    let result = op();
    (result, armed.has_fired())
}

/// Runs of pages: where, how long, to which frames, with which rights.
type Run = (usize, usize, usize, Rights);

fn push(runs: &mut Vec<Run>, (start, len, paddr, rights): Run) {
    if let Some(last) = runs.last_mut()
        && last.0 + last.1 == start
        && last.2.wrapping_add(last.1) == paddr
        && last.3 == rights
    {
        last.1 += len;
        return;
    }
    runs.push((start, len, paddr, rights));
}

struct Checked<M: TestMachine> {
    aspace: AddrSpace<M>,
    whose: Whose,
    base: usize,
    model: [Option<Mapped>; ATOMS],
    own: Own,
    raw: Rc<Raw>,
    /// The one before, for its memory.
    spare: Rc<Raw>,
    /// What was in use without it.
    frames: (usize, usize),
    /// What others have.
    held: Vec<Held>,
}

impl<M: TestMachine> Checked<M> {
    fn new(whose: Whose) -> Self {
        let frames = frames();
        let (base, aspace) = match whose {
            Whose::Kernels => (M::base(), AddrSpace::new_empty(virt(M::base()), SIZE)),
            Whose::Users => {
                let base = M::base() - M::HIGH;
                (base, AddrSpace::new_empty_user(virt(base), SIZE))
            }
        };
        let mut checked = Self {
            aspace: aspace.unwrap(),
            whose,
            base,
            model: [None; ATOMS],
            own: Own::default(),
            raw: Rc::default(),
            spare: Rc::default(),
            frames,
            held: Vec::new(),
        };
        checked.raw = Rc::new(checked.walk().unwrap());
        checked
    }

    /// What hardware would find now.
    fn walk(&mut self) -> Result<Raw, TestCaseError> {
        let root = self.aspace.page_table_root().as_usize();
        let above = if self.whose == Whose::Users {
            0
        } else {
            M::ABOVE
        };
        let mut raw = std::mem::take(Rc::make_mut(&mut self.spare));
        walk_into::<M::Raw>(root, above, &mut raw).map_err(TestCaseError::fail)?;
        Ok(raw)
    }

    fn rights(&self, flags: MappingFlags) -> Rights {
        match self.whose {
            Whose::Kernels => M::rights(flags),
            Whose::Users => M::users_rights(flags),
        }
    }

    /// Whether a mapping can have these rights.
    fn allowed(&self, flags: MappingFlags) -> bool {
        match self.whose {
            Whose::Kernels => [RW, RO, RX, NONE, DEVICE, UNCACHED].contains(&flags),
            Whose::Users => flags == NONE || flags.contains(RO),
        }
    }

    /// Where a place is, if all is well with it; and what to say.
    fn range(&self, place: Place) -> (Option<Range<usize>>, usize, usize) {
        let start = self.base + bounds(place.first);
        let size = self.base + bounds(place.first + place.count) - start;
        let (start, size) = match place.twist {
            Twist::Fine => return (Some(place.first..place.first + place.count), start, size),
            Twist::MisalignedStart => (start + 8, size),
            Twist::MisalignedSize => (start, size - 1),
            Twist::Empty => (start, 0),
            Twist::Overflow => (start, start.wrapping_neg()),
            Twist::Below => (self.base - KIB4, KIB4 + size),
            Twist::Beyond => (start, self.base + SIZE - start + KIB4),
        };
        (None, start, size)
    }

    /// The addresses of an atom.
    fn atom(&self, atom: usize) -> Range<usize> {
        self.base + bounds(atom)..self.base + bounds(atom + 1)
    }

    fn spot(&self, Spot(atom, offset): Spot) -> usize {
        let atom = self.atom(atom);
        atom.start + offset % atom.len()
    }

    /// The atom that an address lies in.
    fn atom_at(&self, addr: usize) -> Option<usize> {
        (0..ATOMS).find(|atom| self.atom(*atom).contains(&addr))
    }

    /// The area that an atom, which is mapped, lies in.
    fn area(&self, atom: usize) -> Range<usize> {
        let same = |other: &usize| self.model[*other] == self.model[atom];
        let first = (0..=atom).rev().take_while(same).last().unwrap_or(atom);
        let last = (atom..ATOMS).take_while(same).last().unwrap_or(atom);
        self.atom(first).start..self.atom(last).end
    }

    fn free(&self, atoms: &Range<usize>) -> bool {
        self.model[atoms.clone()].iter().all(Option::is_none)
    }

    /// How many tables are missing to map all of `range` in pages of `size`.
    fn missing_tables(&self, range: &Range<usize>, size: usize) -> usize {
        let spans = (1..M::Raw::LEVELS).map(|level| KIB4 << (9 * level));
        let missing = |span: usize| {
            let regions = range.start / span..(range.end - 1) / span + 1;
            let is_missing = |region: &usize| {
                let pages = self
                    .raw
                    .within(&(region * span..(region + 1).saturating_mul(span)));
                !pages.iter().any(|page| page.size < span)
            };
            regions.filter(is_missing).count()
        };
        spans.filter(|span| *span > size).map(missing).sum()
    }

    fn go(&mut self, Step(op, fail): Step) -> Verdict {
        Tlb::know(&self.raw);
        let outcome = match op {
            Op::Linear(place, to, flags) => self.linear(fail, place, to, flags)?,
            Op::Alloc(place, flags, all, grain) => self.alloc(fail, place, flags, all, grain)?,
            Op::Unmap(place) => self.unmap(fail, place)?,
            Op::Protect(place, flags) => self.protect(fail, place, flags)?,
            Op::Fault(spot, access) => self.fault(fail, spot, access)?,
            Op::Read(spot, size) => self.copy(fail, spot, size, RO)?,
            Op::Write(spot, size) => self.copy(fail, spot, size, crate::WRITE)?,
            Op::Clear => self.clear(fail)?,
            Op::Hold(hold) => {
                self.held.clear();
                self.held = hold.take();
                Outcome::default()
            }
            Op::FindFree { hint, size, limit } => {
                self.find_free(hint, size, limit)?;
                return Ok(());
            }
            Op::CanAccess(place, offset, access) => {
                self.can_access(place, offset, access)?;
                return Ok(());
            }
        };
        let raw = Rc::new(self.walk()?);
        if outcome.failed && outcome.fresh.is_empty() {
            prop_assert_eq!(&raw, &self.raw, "a failed operation has changed the table");
        }
        for (vaddr, len) in outcome.fresh {
            self.own.came(vaddr, len, &raw)?;
        }
        match self.whose {
            Whose::Kernels => Tlb::check(&raw, outcome.failed || outcome.retried).map(drop),
            Whose::Users => Tlb::was_not_asked(),
        }
        .map_err(TestCaseError::fail)?;
        self.spare = std::mem::replace(&mut self.raw, raw);
        self.is_right()
    }

    fn linear(
        &mut self,
        fail: usize,
        place: Place,
        to: Frames,
        flags: MappingFlags,
    ) -> Verdict<Outcome> {
        let (atoms, start, size) = self.range(place);
        let (good, paddr) = self.leads_to(to, start, size);
        let free = axalloc::usage().free;
        let map = || {
            self.aspace
                .map_linear(virt(start), phys(paddr), size, flags)
        };
        let (result, failed) = failing(fail, map);
        let ok = good && self.allowed(flags) && flags != NONE;
        let short = |this: &Self| {
            // Only what is short is mapped to where pages must be small.
            let inner = if size > 4 * MIB2 { MIB2 } else { KIB4 };
            let tables = this.missing_tables(&(start..start + size), inner) + 2;
            free < tables
        };
        let expected = match atoms {
            Some(_) if !ok => Err(AxError::InvalidInput),
            None => Err(AxError::InvalidInput),
            Some(atoms) if !self.free(&atoms) => Err(AxError::AlreadyExists),
            Some(_) if failed || result.is_err() && short(self) => Err(AxError::NoMemory),
            Some(atoms) => {
                let behind = Behind::Linear(start.wrapping_sub(paddr));
                self.model[atoms].fill(Some(Mapped { flags, behind }));
                Ok(())
            }
        };
        prop_assert_eq!(result, expected);
        Ok(Outcome::of(result))
    }

    fn alloc(
        &mut self,
        fail: usize,
        place: Place,
        flags: MappingFlags,
        all: bool,
        grain: Grain,
    ) -> Verdict<Outcome> {
        let (atoms, start, size) = self.range(place);
        let large = grain == Grain::Large && flags != NONE;
        // Frames are few, and pages that are small many.
        let all = all
            && (place.first + place.count <= PAGES || grain == Grain::Large && size <= 3 * MIB2);
        let range = start..start.saturating_add(size);
        let wanted = if all && large {
            stretches(&range).count()
        } else {
            0
        };
        let blocks = if wanted > 0 { blocks(wanted + 1) } else { 0 };
        let free = axalloc::usage().free;
        let map = || match grain {
            Grain::Page => self.aspace.map_alloc(virt(start), size, flags, all),
            _ => self
                .aspace
                .map_alloc_with(virt(start), size, flags, all, grain),
        };
        let (result, failed) = failing(fail, map);
        let short = |this: &Self| {
            let tables = this.missing_tables(&range, KIB4);
            all && free < size / KIB4 + tables
        };
        let mut outcome = Outcome::of(result);
        let expected = match atoms {
            Some(_) if !self.allowed(flags) || !grain.is_valid() => Err(AxError::InvalidInput),
            None => Err(AxError::InvalidInput),
            Some(atoms) if !self.free(&atoms) => Err(AxError::AlreadyExists),
            Some(_) if failed || result.is_err() && short(self) => Err(AxError::NoMemory),
            Some(atoms) => {
                let behind = Behind::Alloc(all, grain);
                self.model[atoms].fill(Some(Mapped { flags, behind }));
                if all {
                    outcome.fresh = self.populated(&range, wanted, blocks)?;
                }
                Ok(())
            }
        };
        prop_assert_eq!(result, expected);
        Ok(outcome)
    }

    /// The pages that have been mapped from the start, of which `wanted` may be large, by
    /// whoever had at least so many `blocks`.
    fn populated(
        &self,
        range: &Range<usize>,
        wanted: usize,
        blocks: usize,
    ) -> Verdict<Vec<(usize, usize)>> {
        let size = |at: usize| self.aspace.query(virt(at)).map(|page| page.size);
        let is_large = |at: &usize| size(*at) == Some(MIB2);
        let large: Vec<_> = stretches(range).take(wanted).filter(is_large).collect();
        prop_assert!(large.len() <= blocks);
        // With one more block there is no need to take any of them apart.
        let others = range.len() / KIB4 - wanted * BLOCK + self.missing_tables(range, KIB4);
        prop_assert!(large.len() == wanted || blocks <= wanted || others + BATCH > BLOCK);
        prop_assert!(
            large.len() == wanted || Free::now().row < BLOCK,
            "a block is left"
        );
        let mut pages = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let len = if large.contains(&at) { MIB2 } else { KIB4 };
            pages.push((at, len));
            at += len;
        }
        Ok(pages)
    }

    fn unmap(&mut self, fail: usize, place: Place) -> Verdict<Outcome> {
        let (atoms, start, size) = self.range(place);
        let free = axalloc::usage().free;
        let (result, failed) = failing(fail, || self.aspace.unmap(virt(start), size));
        let expected = match atoms {
            None => Err(AxError::InvalidInput),
            Some(_) if failed || result.is_err() && free < SPLITS => Err(AxError::NoMemory),
            Some(atoms) => {
                self.model[atoms].fill(None);
                let range = start..start + size;
                self.own.split(&range, false);
                self.own.remove(&range);
                Ok(())
            }
        };
        prop_assert_eq!(result, expected);
        Ok(Outcome::of(result))
    }

    fn protect(&mut self, fail: usize, place: Place, flags: MappingFlags) -> Verdict<Outcome> {
        let (atoms, start, size) = self.range(place);
        let range = start..start.saturating_add(size);
        let free = axalloc::usage().free;
        let protect = || self.aspace.protect(virt(start), size, flags);
        let (result, failed) = failing(fail, protect);
        let short = |this: &Self| {
            let splits = match flags == NONE {
                true => this
                    .own
                    .within(&range)
                    .iter()
                    .filter(|run| run.large)
                    .count(),
                false => SPLITS,
            };
            free < splits
        };
        let expected = match atoms {
            Some(_) if !self.allowed(flags) => Err(AxError::InvalidInput),
            None => Err(AxError::InvalidInput),
            Some(atoms) => {
                let model = &self.model[atoms.clone()];
                if model.iter().any(Option::is_none) {
                    Err(AxError::NotFound)
                } else if flags == NONE && model.iter().flatten().any(Mapped::is_linear) {
                    Err(AxError::InvalidInput)
                } else if failed || result.is_err() && short(self) {
                    Err(AxError::NoMemory)
                } else {
                    let model = self.model[atoms].iter_mut().flatten();
                    model.for_each(|atom| atom.flags = flags);
                    self.own.split(&range, flags == NONE);
                    Ok(())
                }
            }
        };
        prop_assert_eq!(result, expected);
        Ok(Outcome::of(result))
    }

    fn fault(&mut self, fail: usize, spot: Spot, access: MappingFlags) -> Verdict<Outcome> {
        let vaddr = self.spot(spot);
        let mapped = self.model[spot.0].filter(|atom| atom.flags.contains(access));
        let is_there = |mapped: Mapped| mapped.is_linear() || self.own.at(vaddr).is_some();
        let there = mapped.is_some_and(is_there);
        let row = mapped.map_or(1, Mapped::brings);
        let free = Free::row_up_to(if there { 1 } else { row });
        let fault = || self.aspace.handle_page_fault(virt(vaddr), access);
        let (result, failed) = failing(fail, fault);
        // A stale translation is forgotten where it was met.
        let here = TLB.with_borrow(|tlb| tlb.here.len());
        prop_assert_eq!(here, usize::from(there));
        prop_assert!(!(there && failed), "a page that is there takes memory");
        let fresh = match mapped {
            Some(mapped) if !there && !failed => self.brings(spot.0, mapped, vaddr, free),
            _ => Vec::new(),
        };
        prop_assert_eq!(result, there || !fresh.is_empty());
        Ok(Outcome {
            failed: mapped.is_some() && !result,
            retried: mapped.is_some_and(|mapped| free.frames < mapped.brings() + M::Raw::LEVELS),
            fresh,
        })
    }

    /// The pages that a fault at `vaddr` brings, where so much memory is free.
    fn brings(&self, atom: usize, mapped: Mapped, vaddr: usize, free: Free) -> Vec<(usize, usize)> {
        let page = vaddr & !(KIB4 - 1);
        let tables = self.missing_tables(&(page..page + KIB4), KIB4);
        if free.frames < 1 + tables {
            return Vec::new();
        }
        let run = self.run_around(atom, mapped, page);
        let mut pages = vec![(page, KIB4)];
        match mapped.behind {
            Behind::Alloc(_, Grain::Large) if run.len() == MIB2 && mapped.flags != NONE => {
                let tables = self.missing_tables(&run, MIB2);
                if self.own.within(&run).is_empty()
                    && free.row >= BLOCK
                    && free.frames >= BLOCK + tables
                {
                    pages = vec![(run.start, MIB2)];
                }
            }
            Behind::Alloc(_, Grain::Around(count)) => {
                let row = free.row_of(count.into());
                // With all of them in hand there would be none for a table.
                let rest = if free.frames < row + tables {
                    0
                } else {
                    row - 1
                };
                let missing = |at: &usize| *at != page && self.own.at(*at).is_none();
                let others = run.step_by(KIB4).filter(missing).take(rest);
                pages.extend(others.map(|at| (at, KIB4)));
            }
            _ => {}
        }
        pages
    }

    /// As far as a fault at `page` may bring any.
    fn run_around(&self, atom: usize, mapped: Mapped, page: usize) -> Range<usize> {
        let size = mapped.brings() * KIB4;
        let (area, start) = (self.area(atom), page & !(size - 1));
        start.max(area.start)..(start + size).min(area.end)
    }

    /// A copy into the address space, or out of it, page by page.
    fn copy(
        &mut self,
        fail: usize,
        spot: Spot,
        size: usize,
        access: MappingFlags,
    ) -> Verdict<Outcome> {
        let start = self.spot(spot);
        let end = start + size.min(self.before_linear(start));
        let mut buffer: Vec<u8> = (start..end).map(|at| (at % 253) as u8 | 1).collect();
        let copy = || match access == RO {
            true => self.aspace.read_some(virt(start), &mut buffer),
            false => self.aspace.write_some(virt(start), &buffer),
        };
        let (done, failed) = failing(fail, copy);
        let short = failed || axalloc::usage().free < M::Raw::LEVELS;
        let mut outcome = Outcome {
            retried: axalloc::usage().free < BLOCK + M::Raw::LEVELS,
            ..Outcome::default()
        };
        let mut at = start;
        while at < end {
            let mapped = self.accessible(at, access);
            let Some((atom, mapped)) = mapped else { break };
            let page = at & !(KIB4 - 1);
            let came = |(start, len): &(usize, usize)| (*start..start + len).contains(&page);
            if self.own.at(page).is_none() && !outcome.fresh.iter().any(came) {
                if at == start + done && short {
                    outcome.failed = true;
                    break;
                }
                self.has_brought(atom, mapped, page, &mut outcome.fresh)?;
            }
            at = (page + KIB4).min(end);
        }
        prop_assert_eq!(start + done, at);
        self.copied(start..at, &buffer, access != RO)?;
        Ok(outcome)
    }

    /// How far it is to where frames are not the model's own, and no memory.
    fn before_linear(&self, addr: usize) -> usize {
        let linear = |atom: &usize| self.model[*atom].is_some_and(|mapped| mapped.is_linear());
        let atoms = (0..ATOMS).filter(linear).map(|atom| self.atom(atom));
        let next = atoms.into_iter().find(|atom| atom.end > addr);
        next.map_or(usize::MAX, |atom| atom.start.saturating_sub(addr))
    }

    /// The atom at an address that a copy may reach.
    fn accessible(&self, addr: usize, access: MappingFlags) -> Option<(usize, Mapped)> {
        let atom = self.atom_at(addr)?;
        let mapped = self.model[atom]?;
        let may = mapped.flags.contains(access) && !mapped.flags.contains(MappingFlags::DEVICE);
        may.then_some((atom, mapped))
    }

    /// Adds to `fresh` what the fault has brought that a copy met at `page`: all that it
    /// could, or there is no memory for it now.
    fn has_brought(
        &self,
        atom: usize,
        mapped: Mapped,
        page: usize,
        fresh: &mut Vec<(usize, usize)>,
    ) -> Verdict {
        let run = self.run_around(atom, mapped, page);
        let came = |at: usize| {
            fresh
                .iter()
                .any(|(start, len)| (*start..start + len).contains(&at))
        };
        let missing = |at: &usize| self.own.at(*at).is_none() && !came(*at);
        let missing: Vec<_> = run.clone().step_by(KIB4).filter(missing).collect();
        let found = |at: usize| self.aspace.query(virt(at));
        let (pages, wanted) = match mapped.behind {
            Behind::Alloc(_, Grain::Large) => {
                let size = found(page).map_or(KIB4, |page| page.size);
                let large = run.len() == MIB2 && missing.len() == BLOCK;
                (
                    vec![(page & !(size - 1), size)],
                    if large { MIB2 } else { KIB4 },
                )
            }
            _ => {
                let there = missing.iter().filter(|at| found(**at).is_some());
                (there.map(|at| (*at, KIB4)).collect(), missing.len() * KIB4)
            }
        };
        let bytes: usize = pages.iter().map(|(_, len)| len).sum();
        let short = || Free::now().row < run.len().next_power_of_two() / KIB4;
        prop_assert!(bytes == wanted || bytes < wanted && short());
        fresh.extend(pages);
        Ok(())
    }

    /// What has been copied is at both ends. Then it is as if nothing had been written.
    fn copied(&self, range: Range<usize>, expected: &[u8], wrote: bool) -> Verdict {
        let mut at = range.start;
        while at < range.end {
            let end = (at & !(KIB4 - 1)).saturating_add(KIB4).min(range.end);
            let Some(page) = self.aspace.query(virt(at)) else {
                return Err(TestCaseError::fail(format!("nothing is at {at:#x}")));
            };
            let frame = page.paddr.as_usize() + (at & !(KIB4 - 1)) - page.vaddr.as_usize();
            let there = &mut bytes(frame)[at % KIB4..][..end - at];
            prop_assert!(*there == expected[at - range.start..end - range.start]);
            if wrote && self.own.at(at).is_none() {
                there.fill(0);
            }
            at = end;
        }
        if wrote {
            self.own.stamp_again(&range);
        }
        Ok(())
    }

    fn clear(&mut self, fail: usize) -> Verdict<Outcome> {
        let (result, failed) = failing(fail, || self.aspace.clear());
        prop_assert_eq!(result, Ok(()));
        prop_assert!(!failed, "clearing takes memory");
        self.model.fill(None);
        self.own.remove(&(self.base..self.base + SIZE));
        Ok(Outcome::default())
    }

    fn find_free(&self, hint: usize, size: usize, limit: (usize, usize)) -> Verdict {
        let limit = (self.base + limit.0, self.base + limit.1);
        let hint = self.base + hint;
        let range = VirtAddrRange::new(virt(limit.0), virt(limit.1));
        let found = self.aspace.find_free_area(virt(hint), size, range);
        prop_assert_eq!(found.map(usize::from), self.free_area(hint, size, limit));
        Ok(())
    }

    fn can_access(&self, place: Place, offset: usize, access: MappingFlags) -> Verdict {
        let (atoms, start, size) = self.range(place);
        let (start, size) = match place.twist {
            Twist::Fine => (start + offset, size - offset),
            _ => (start, size),
        };
        let result = self.aspace.can_access_range(virt(start), size, access);
        let allows = |atom: &Option<Mapped>| atom.is_some_and(|atom| atom.flags.contains(access));
        let expected = match (place.twist, atoms) {
            (_, Some(atoms)) => self.model[atoms].iter().all(allows),
            (Twist::Empty, _) => true,
            (Twist::MisalignedStart | Twist::MisalignedSize, _) => return Ok(()),
            _ => false,
        };
        prop_assert_eq!(result, expected);
        Ok(())
    }

    /// Whether memory can be there, and where.
    fn leads_to(&self, to: Frames, start: usize, size: usize) -> (bool, usize) {
        let one_to_one = (8 * GIB).wrapping_add(start.wrapping_sub(self.base));
        match to {
            // That takes a table for every 2 MiB.
            Frames::Shifted(KIB4) if size > 4 * MIB2 => (true, one_to_one),
            Frames::Shifted(by) => (true, one_to_one + by),
            Frames::High => (true, (1 << M::PHYS_BITS) - 16 * GIB + one_to_one),
            Frames::Misaligned => (false, one_to_one + 8),
            Frames::Overflow => (false, 0_usize.wrapping_sub(KIB4)),
            Frames::TooHigh => (false, (1 << M::PHYS_BITS) + one_to_one),
        }
    }

    fn free_area(&self, hint: usize, size: usize, limit: (usize, usize)) -> Option<usize> {
        let low = hint.max(limit.0).max(self.base).next_multiple_of(KIB4);
        let high = limit.1.min(self.base + SIZE);
        let mapped = |atom: &usize| self.model[*atom].is_some();
        let ends = (0..ATOMS)
            .filter(mapped)
            .map(|atom| self.base + bounds(atom + 1));
        let mut starts = std::iter::once(low).chain(ends.filter(|end| *end >= low));
        let overlaps = |start: usize, atom: usize| {
            start < self.base + bounds(atom + 1) && self.base + bounds(atom) < start + size
        };
        starts.find(|&start| {
            size > 0
                && start < high
                && start + size <= high
                && !(0..ATOMS).filter(mapped).any(|atom| overlaps(start, atom))
        })
    }

    fn is_right(&self) -> Verdict {
        let mut areas: Vec<(usize, usize, MappingFlags, Behind)> = Vec::new();
        let mut runs = Vec::new();
        for (atom, mapped) in self.model.iter().enumerate() {
            let range = self.atom(atom);
            let (start, end) = (range.start, range.end);
            let found = [start, end - 1].map(|addr| (addr, self.aspace.query(virt(addr))));
            let Some(Mapped { flags, behind }) = *mapped else {
                for (addr, found) in found {
                    prop_assert!(found.is_none(), "{addr:#x} leads to {found:?}");
                }
                continue;
            };
            match areas.last_mut() {
                Some(last) if (last.1, last.2, last.3) == (start, flags, behind) => last.1 = end,
                _ => areas.push((start, end, flags, behind)),
            }
            let rights = self.rights(flags);
            let own = self.own.within(&range);
            let frame_of = |addr: usize| match behind {
                Behind::Linear(offset) => Some(addr.wrapping_sub(offset)),
                _ => [own.first(), own.last()]
                    .into_iter()
                    .flatten()
                    .find(|run| (run.start..run.end()).contains(&addr))
                    .map(|run| run.frame + addr - run.start),
            };
            for (addr, found) in found {
                let says = found.map(|page| {
                    let within = addr - page.vaddr.as_usize();
                    (page.paddr.as_usize() + within, self.rights(page.flags))
                });
                prop_assert_eq!(says, frame_of(addr).map(|frame| (frame, rights)));
            }
            if let Behind::Linear(offset) = behind {
                push(
                    &mut runs,
                    (start, end - start, start.wrapping_sub(offset), rights),
                );
            }
            for part in own.iter().map(|run| run.part(&range)) {
                push(&mut runs, (part.start, part.len, part.frame, rights));
            }
        }
        self.own.is_kept()?;
        let listed = self.aspace.areas().map(|area| {
            let behind = match *area.backing() {
                Backend::Linear { pa_va_offset } => Behind::Linear(pa_va_offset),
                Backend::Alloc { populate, grain } => Behind::Alloc(populate, grain),
            };
            (area.span().start, area.span().end, area.flags(), behind)
        });
        prop_assert_eq!(listed.collect::<Vec<_>>(), areas);
        let mut seen = Vec::new();
        for page in &self.raw.pages {
            push(&mut seen, (page.vaddr, page.size, page.paddr, page.rights));
        }
        prop_assert_eq!(seen, runs);
        self.sizes_are_right()?;
        let (pages, tables) = self.frames;
        let expected = (pages + self.own.count(), tables + self.raw.tables.len());
        prop_assert_eq!(frames(), expected);
        Ok(())
    }

    /// A page of the address space's own is large until a part of it has changed.
    fn sizes_are_right(&self) -> Verdict {
        let mut large = self.own.large();
        for page in &self.raw.pages {
            if page.size != KIB4 && crate::RAM.contains(&page.paddr) {
                prop_assert_eq!(Some((page.vaddr, page.size)), large.next());
            }
        }
        prop_assert_eq!(large.next(), None);
        Ok(())
    }
}

/// Does what `script` says, step by step beside the model, and gives everything
/// back.
pub fn play<M: TestMachine>(whose: Whose, script: &[Step]) -> Verdict {
    play_to(whose, script, |_: &AddrSpace<M>| Ok(()))
}

/// As [`play`], and looks at the address space before it goes.
pub fn play_to<M: TestMachine>(
    whose: Whose,
    script: &[Step],
    end: impl FnOnce(&AddrSpace<M>) -> Verdict,
) -> Verdict {
    let before = frames();
    let mut checked = Checked::<M>::new(whose);
    for step in script {
        checked.go(*step)?;
    }
    end(&checked.aspace)?;
    Tlb::know(&checked.raw);
    Tlb::root_goes();
    drop(checked);
    prop_assert_eq!(frames(), before);
    match whose {
        Whose::Kernels => Tlb::check(&Raw::default(), false).map(drop),
        Whose::Users => Tlb::was_not_asked(),
    }
    .map_err(TestCaseError::fail)
}
