//! Reading a range without changing it: which tables there are, and which pages.
//!
//! What an absent entry would translate is passed over in one step, so that the
//! time goes by what is there and not by how long the range is.

use core::ops::{ControlFlow, Range};

use memory_addr::{PAGE_SIZE_4K, PhysAddr, VirtAddr};
use page_table_multiarch::{GenericPTE, MappingFlags, PagingHandler, PagingMetaData};

use super::change::{Pages, first_part};
use super::entry::{Slot, absent, read};
use super::{ENTRIES, PageTable};

/// The most levels that a page table has.
pub const MOST_LEVELS: usize = 5;

/// What a visit comes by: a table before what it holds, all else by address.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// A table.
    Table {
        /// Its level; 0 is the lowest.
        level: usize,
        /// What its first entry translates. Of a table of the kernel half's root
        /// there may be no such address: others of its entries are used.
        vaddr: usize,
        /// The frame it lies in.
        frame: PhysAddr,
    },
    /// Pages of one size in a row, of one table.
    Run {
        /// The level of their entries.
        level: usize,
        /// Their addresses.
        pages: Range<usize>,
        /// The first frame; the others follow.
        paddr: PhysAddr,
        /// Their rights.
        flags: MappingFlags,
    },
}

/// How much memory is behind a range of addresses, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resident {
    /// In pages of all sizes.
    pub all: usize,
    /// In pages larger than 4 KiB.
    pub huge: usize,
}

/// How far a visit has come that is made in steps.
#[derive(Clone, Copy, Debug)]
pub struct Reached {
    vaddr: usize,
    /// At that address, tables of this level and above have been seen.
    level: usize,
}

impl Reached {
    /// Nothing has been seen.
    pub const NOTHING: Self = Self {
        vaddr: 0,
        level: usize::MAX,
    };

    /// The address where the visit goes on.
    pub fn vaddr(&self) -> usize {
        self.vaddr
    }

    /// Goes on at `vaddr`, if that lies ahead.
    pub fn skip_to(&mut self, vaddr: usize) {
        if vaddr > self.vaddr {
            *self = Self {
                vaddr,
                level: usize::MAX,
            };
        }
    }

    /// Goes on to `seen`, if that lies ahead.
    fn advance(&mut self, seen: &Seen) -> bool {
        let next = match seen {
            Seen::Table { level, vaddr, .. } => Self {
                vaddr: *vaddr,
                level: *level,
            },
            Seen::Run { pages, .. } => Self {
                vaddr: pages.end,
                level: usize::MAX,
            },
        };
        let ahead =
            next.vaddr > self.vaddr || (next.vaddr == self.vaddr && next.level < self.level);
        if ahead {
            *self = next;
        }
        ahead
    }
}

impl<M, E, H> PageTable<M, E, H>
where
    M: PagingMetaData<VirtAddr = VirtAddr>,
    E: GenericPTE,
    H: PagingHandler,
{
    /// How many levels of tables there are.
    pub const LEVELS: usize = M::LEVELS;

    /// Shows `see` the tables that translate a part of `pages`, and the pages
    /// in it, until it has seen enough. Nothing is allocated.
    pub fn visit<B>(
        &self,
        pages: Pages,
        mut see: impl FnMut(Seen) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        self.visit_in(self.root, M::LEVELS - 1, pages, &mut see)
    }

    fn visit_in<B>(
        &self,
        table: PhysAddr,
        level: usize,
        pages: Pages,
        see: &mut impl FnMut(Seen) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let size = Self::entry_size(level);
        see(Seen::Table {
            level,
            vaddr: pages.start & !(ENTRIES * size - 1),
            frame: table,
        })?;
        let mut at = pages.start;
        while at < pages.end {
            let part = first_part(at..pages.end, size);
            at = part.end;
            let entry = self.entry(table, VirtAddr::from_usize(part.start), level);
            match read::<E>(entry, level) {
                Slot::Absent => {
                    let left = (pages.end - at) / size;
                    // SAFETY: as many entries as are left lie behind it in the same table.
                    at += size * unsafe { absent(entry.add(1), left) };
                }
                Slot::Table(next) => self.visit_in(next, level - 1, part, see)?,
                Slot::Page(paddr, flags) => {
                    at = self.run_end(table, level, part.start..pages.end, paddr, flags);
                    see(Seen::Run {
                        level,
                        pages: part.start & !(size - 1)..at,
                        paddr,
                        flags,
                    })?;
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// Where the run ends that begins in a table at the start of `pages`, with the
    /// page at `first` with these rights.
    fn run_end(
        &self,
        table: PhysAddr,
        level: usize,
        pages: Pages,
        first: PhysAddr,
        rights: MappingFlags,
    ) -> usize {
        let size = Self::entry_size(level);
        let mut at = pages.start & !(size - 1);
        let mut expected = first;
        while at < pages.end {
            let entry = self.entry(table, VirtAddr::from_usize(at), level);
            match read::<E>(entry, level) {
                Slot::Page(paddr, flags) if paddr == expected && flags == rights => {}
                _ => break,
            }
            expected += size;
            at += size;
        }
        at
    }

    /// Shows `see` at most `most` things behind what has been `reached` among `pages`, up to
    /// `false`. Returns whether to go on, or `None` if there is no more. The page table may have
    /// changed since the call before.
    pub fn visit_some(
        &self,
        pages: Pages,
        reached: &mut Reached,
        most: usize,
        see: &mut dyn FnMut(&Seen) -> bool,
    ) -> Option<bool> {
        let left = pages.start.max(reached.vaddr)..pages.end;
        if left.is_empty() {
            return None;
        }
        let mut count = 0;
        let found = self.visit(left, |seen| {
            if !reached.advance(&seen) {
                return ControlFlow::Continue(());
            }
            count += 1;
            match (see(&seen), count < most) {
                (true, true) => ControlFlow::Continue(()),
                (more, _) => ControlFlow::Break(more),
            }
        });
        found.break_value()
    }

    /// How many tables of each level translate `pages`.
    #[cfg(test)]
    pub fn tables(&self, pages: Pages) -> [usize; MOST_LEVELS] {
        const { assert!(M::LEVELS <= MOST_LEVELS) };
        let mut count = [0; MOST_LEVELS];
        let _ = self.visit::<()>(pages, |seen| {
            if let Seen::Table { level, .. } = seen {
                count[level] += 1;
            }
            ControlFlow::Continue(())
        });
        count
    }
}

impl Seen {
    /// How many pages a run has; none for a table.
    pub fn count(&self) -> usize {
        match self {
            Self::Table { .. } => 0,
            Self::Run { level, pages, .. } => {
                pages.len() / (PAGE_SIZE_4K << (super::LEVEL_BITS * level))
            }
        }
    }
}
