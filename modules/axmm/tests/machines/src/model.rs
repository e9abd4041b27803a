//! Address spaces against a flat model: what each page means, to whoever asks and to
//! the hardware, and which frames are in use.

use std::rc::Rc;

use axalloc::fault::fail_from;
use axerrno::AxError;
use axmm::{AddrSpace, Backend, MappingFlags, VirtAddrRange};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use crate::raw::{Raw, Rights, walk_into};
use crate::{
    DEVICE, GIB, KIB4, MIB2, NONE, RAM, RO, RW, RX, TLB, TestMachine, Tlb, UNCACHED, frames, phys,
    virt, words,
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
    Alloc(Place, MappingFlags, bool),
    Unmap(Place),
    Protect(Place, MappingFlags),
    Fault(usize, usize, MappingFlags),
    Clear,
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

/// Whether a mapping of the kernel can have these rights.
fn allowed(flags: MappingFlags) -> bool {
    [RW, RO, RX, NONE, DEVICE, UNCACHED].contains(&flags)
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Behind {
    Linear(usize),
    Alloc(bool),
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Mapped {
    flags: MappingFlags,
    behind: Behind,
    /// The first page's frame, and what has been written there.
    page: Option<(usize, u64)>,
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
    base: usize,
    model: [Option<Mapped>; ATOMS],
    raw: Rc<Raw>,
    /// The one before, for its memory.
    spare: Rc<Raw>,
    /// What was in use without it.
    frames: (usize, usize),
    stamps: u64,
}

impl<M: TestMachine> Checked<M> {
    fn new() -> Self {
        let base = M::base();
        let frames = frames();
        let aspace = AddrSpace::<M>::new_empty(virt(base), SIZE).unwrap();
        let raw = Rc::new(M::walk(&aspace).unwrap());
        Self {
            aspace,
            base,
            model: [None; ATOMS],
            raw,
            spare: Rc::default(),
            frames,
            stamps: 1 << 40,
        }
    }

    /// Where a place is, if all is well with it; and what to say.
    fn range(&self, place: Place) -> (Option<std::ops::Range<usize>>, usize, usize) {
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

    fn go(&mut self, Step(op, fail): Step) -> Verdict {
        Tlb::know(&self.raw);
        let before = self.model;
        let armed = fail_from(fail);
        let mut failed = false;
        // Atoms that may have got pages now.
        let mut fresh = 0..0;
        match op {
            Op::Linear(place, to, flags) => {
                let (atoms, start, size) = self.range(place);
                let (good, paddr) = self.leads_to(to, start, size);
                let result = self
                    .aspace
                    .map_linear(virt(start), phys(paddr), size, flags);
                failed = armed.has_fired();
                let ok = good && allowed(flags) && flags != NONE;
                let free = |atoms: &std::ops::Range<usize>| {
                    self.model[atoms.clone()].iter().all(Option::is_none)
                };
                let expected = match atoms {
                    Some(_) if !ok => Err(AxError::InvalidInput),
                    None => Err(AxError::InvalidInput),
                    Some(atoms) if !free(&atoms) => Err(AxError::AlreadyExists),
                    Some(_) if failed => Err(AxError::NoMemory),
                    Some(atoms) => {
                        let behind = Behind::Linear(start.wrapping_sub(paddr));
                        self.model[atoms].fill(Some(Mapped {
                            flags,
                            behind,
                            page: None,
                        }));
                        Ok(())
                    }
                };
                prop_assert_eq!(result, expected);
            }
            Op::Alloc(place, flags, all) => {
                let (atoms, start, size) = self.range(place);
                // Frames are few.
                let all = all && place.first + place.count <= PAGES;
                let result = self.aspace.map_alloc(virt(start), size, flags, all);
                failed = armed.has_fired();
                let expected = match atoms {
                    Some(_) if !allowed(flags) => Err(AxError::InvalidInput),
                    None => Err(AxError::InvalidInput),
                    Some(atoms) if self.model[atoms.clone()].iter().any(Option::is_some) => {
                        Err(AxError::AlreadyExists)
                    }
                    Some(_) if failed => Err(AxError::NoMemory),
                    Some(atoms) => {
                        self.model[atoms.clone()].fill(Some(Mapped {
                            flags,
                            behind: Behind::Alloc(all),
                            page: None,
                        }));
                        if all {
                            fresh = atoms;
                        }
                        Ok(())
                    }
                };
                prop_assert_eq!(result, expected);
            }
            Op::Unmap(place) => {
                let (atoms, start, size) = self.range(place);
                let result = self.aspace.unmap(virt(start), size);
                failed = armed.has_fired();
                let expected = match atoms {
                    None => Err(AxError::InvalidInput),
                    Some(_) if failed => Err(AxError::NoMemory),
                    Some(atoms) => {
                        self.model[atoms].fill(None);
                        Ok(())
                    }
                };
                prop_assert_eq!(result, expected);
            }
            Op::Protect(place, flags) => {
                let (atoms, start, size) = self.range(place);
                let result = self.aspace.protect(virt(start), size, flags);
                failed = armed.has_fired();
                let expected = match atoms {
                    Some(_) if !allowed(flags) => Err(AxError::InvalidInput),
                    None => Err(AxError::InvalidInput),
                    Some(atoms) => {
                        let linear = |atom: &Option<Mapped>| {
                            atom.is_some_and(|atom| matches!(atom.behind, Behind::Linear(_)))
                        };
                        let model = &mut self.model[atoms];
                        if model.iter().any(Option::is_none) {
                            Err(AxError::NotFound)
                        } else if flags == NONE && model.iter().any(linear) {
                            Err(AxError::InvalidInput)
                        } else if failed {
                            Err(AxError::NoMemory)
                        } else {
                            model
                                .iter_mut()
                                .flatten()
                                .for_each(|atom| atom.flags = flags);
                            Ok(())
                        }
                    }
                };
                prop_assert_eq!(result, expected);
            }
            Op::Fault(atom, offset, access) => {
                let vaddr = virt(self.base + bounds(atom) + offset);
                let result = self.aspace.handle_page_fault(vaddr, access);
                failed = armed.has_fired();
                let mapped = self.model[atom].filter(|atom| atom.flags.contains(access));
                let there =
                    |atom: Mapped| atom.page.is_some() || matches!(atom.behind, Behind::Linear(_));
                prop_assert_eq!(result, mapped.is_some() && !failed);
                // A stale translation is forgotten where it was met.
                let here = TLB.with_borrow(|tlb| tlb.here.len());
                prop_assert_eq!(here, usize::from(mapped.is_some_and(there)));
                if result && mapped.is_some_and(|mapped| !there(mapped)) {
                    fresh = atom..atom + 1;
                }
            }
            Op::Clear => {
                prop_assert_eq!(self.aspace.clear(), Ok(()));
                prop_assert!(!armed.has_fired(), "clearing takes memory");
                self.model.fill(None);
            }
            Op::FindFree { hint, size, limit } => {
                let limit = (self.base + limit.0, self.base + limit.1);
                let hint = self.base + hint;
                let range = VirtAddrRange::new(virt(limit.0), virt(limit.1));
                let found = self.aspace.find_free_area(virt(hint), size, range);
                prop_assert_eq!(found.map(usize::from), self.free_area(hint, size, limit));
            }
            Op::CanAccess(place, offset, access) => {
                let (atoms, start, size) = self.range(place);
                let (start, size) = match place.twist {
                    Twist::Fine => (start + offset, size - offset),
                    _ => (start, size),
                };
                let result = self.aspace.can_access_range(virt(start), size, access);
                let allows =
                    |atom: &Option<Mapped>| atom.is_some_and(|atom| atom.flags.contains(access));
                let expected = match (place.twist, atoms) {
                    (_, Some(atoms)) => self.model[atoms].iter().all(allows),
                    (Twist::Empty, _) => true,
                    (Twist::MisalignedStart | Twist::MisalignedSize, _) => return Ok(()),
                    _ => false,
                };
                prop_assert_eq!(result, expected);
            }
        }
        let mut raw = std::mem::take(&mut self.spare);
        let root = self.aspace.page_table_root().as_usize();
        walk_into::<M::Raw>(root, M::ABOVE, Rc::make_mut(&mut raw)).map_err(TestCaseError::fail)?;
        if failed || self.model == before && fresh.is_empty() {
            prop_assert_eq!(self.model, before);
            if failed {
                prop_assert_eq!(&raw, &self.raw, "a failed operation has changed the table");
            }
        }
        for atom in fresh {
            self.came(atom, &raw)?;
        }
        Tlb::check(&raw, failed).map_err(TestCaseError::fail)?;
        self.spare = std::mem::replace(&mut self.raw, raw);
        self.is_right()
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

    /// The first page of an atom has come: it is zero, and its frame nobody
    /// else's.
    fn came(&mut self, atom: usize, raw: &Raw) -> Verdict {
        let vaddr = self.base + bounds(atom);
        let at = raw.pages.binary_search_by_key(&vaddr, |page| page.vaddr);
        let Ok(at) = at else {
            return Err(TestCaseError::fail(format!("no page came at {vaddr:#x}")));
        };
        let frame = raw.pages[at].paddr;
        prop_assert!(RAM.contains(&frame) && raw.pages[at].size == KIB4);
        prop_assert!(!raw.tables.contains(&frame));
        let mut others = self.model.iter().flatten().flat_map(|mapped| mapped.page);
        prop_assert!(others.all(|(other, _)| other != frame));
        let words = words(frame);
        prop_assert!(words.iter().all(|word| *word == 0));
        self.stamps += 1;
        words[0] = self.stamps;
        words[words.len() - 1] = self.stamps;
        if let Some(mapped) = &mut self.model[atom] {
            mapped.page = Some((frame, self.stamps));
        }
        Ok(())
    }

    fn is_right(&self) -> Verdict {
        let mut areas: Vec<(usize, usize, MappingFlags, Behind)> = Vec::new();
        let mut runs = Vec::new();
        let mut resident = 0;
        for (atom, mapped) in self.model.iter().enumerate() {
            let (start, end) = (self.base + bounds(atom), self.base + bounds(atom + 1));
            let found = [start, end - 1].map(|addr| (addr, self.aspace.query(virt(addr))));
            let Some(Mapped {
                flags,
                behind,
                page,
            }) = *mapped
            else {
                for (addr, found) in found {
                    prop_assert!(found.is_none(), "{addr:#x} leads to {found:?}");
                }
                continue;
            };
            match areas.last_mut() {
                Some(last) if (last.1, last.2, last.3) == (start, flags, behind) => last.1 = end,
                _ => areas.push((start, end, flags, behind)),
            }
            let rights = M::rights(flags);
            let frame_of = |addr: usize| match (behind, page) {
                (Behind::Linear(offset), _) => Some(addr.wrapping_sub(offset)),
                (_, Some((frame, _))) if addr < start + KIB4 => Some(addr - start + frame),
                _ => None,
            };
            for (addr, found) in found {
                let says = found.map(|page| {
                    let within = addr - page.vaddr.as_usize();
                    (page.paddr.as_usize() + within, M::rights(page.flags))
                });
                prop_assert_eq!(says, frame_of(addr).map(|frame| (frame, rights)));
            }
            match (behind, page) {
                (Behind::Linear(offset), _) => {
                    push(
                        &mut runs,
                        (start, end - start, start.wrapping_sub(offset), rights),
                    );
                }
                (_, Some((frame, stamp))) => {
                    resident += 1;
                    let words = words(frame);
                    prop_assert_eq!((words[0], words[words.len() - 1]), (stamp, stamp));
                    push(&mut runs, (start, KIB4, frame, rights));
                }
                _ => {}
            }
        }
        let listed = self.aspace.areas().map(|area| {
            let behind = match *area.backing() {
                Backend::Linear { pa_va_offset } => Behind::Linear(pa_va_offset),
                Backend::Alloc { populate, .. } => Behind::Alloc(populate),
            };
            (area.span().start, area.span().end, area.flags(), behind)
        });
        prop_assert_eq!(listed.collect::<Vec<_>>(), areas);
        let mut seen = Vec::new();
        for page in &self.raw.pages {
            push(&mut seen, (page.vaddr, page.size, page.paddr, page.rights));
        }
        prop_assert_eq!(seen, runs);
        let (pages, tables) = self.frames;
        prop_assert_eq!(frames(), (pages + resident, tables + self.raw.tables.len()));
        Ok(())
    }
}

/// Does what `script` says, step by step beside the model, and gives everything
/// back.
pub fn play<M: TestMachine>(script: &[Step]) -> Verdict {
    play_to(script, |_: &AddrSpace<M>| Ok(()))
}

/// As [`play`], and looks at the address space before it goes.
pub fn play_to<M: TestMachine>(
    script: &[Step],
    end: impl FnOnce(&AddrSpace<M>) -> Verdict,
) -> Verdict {
    let before = frames();
    let mut checked = Checked::<M>::new();
    for step in script {
        checked.go(*step)?;
    }
    end(&checked.aspace)?;
    Tlb::know(&checked.raw);
    Tlb::root_goes();
    drop(checked);
    prop_assert_eq!(frames(), before);
    Tlb::check(&Raw::default(), false).map_err(TestCaseError::fail)?;
    Ok(())
}
