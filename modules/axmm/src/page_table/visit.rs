//! Visiting the tables and pages of a range without changing them.
//!
//! An empty entry is skipped in one step, however many addresses it translates. So the time of
//! a visit depends on the number of tables and pages, and not on the length of the range.

use core::ops::{ControlFlow, Range};

use memory_addr::{PAGE_SIZE_4K, PhysAddr, VirtAddr};
use page_table_multiarch::{GenericPTE, MappingFlags, PagingMetaData};

use super::entry::{ENTRIES, EntryState, LEVEL_BITS, count_empty, read};
use super::owners::FrameOwners;
use super::table::PageTable;
use crate::addr::{Pages, first_part};

/// The largest number of levels of any page table.
pub const MAX_LEVELS: usize = 5;

/// What a visit finds. A table comes before its contents, and otherwise addresses ascend.
#[derive(Clone, Debug, PartialEq)]
pub enum Visited {
    /// A table of any level.
    Table {
        /// The level of the table; 0 is the lowest.
        level: usize,
        /// The first address that the table translates. For the root it may be an address
        /// outside of the address space, since only a part of the root is used.
        vaddr: usize,
        /// The frame of the table.
        frame: PhysAddr,
        /// Whether another page table uses the table, too, after a fork.
        is_shared: bool,
    },
    /// Contiguous pages of one size, of one table, with contiguous frames.
    Run {
        /// The level of the entries.
        level: usize,
        /// The virtual addresses.
        pages: Range<usize>,
        /// The first physical address.
        paddr: PhysAddr,
        /// The rights of all pages.
        flags: MappingFlags,
        /// Whether another page table uses the table, too, after a fork.
        is_shared: bool,
    },
}

/// What the entries on the path to a table say of it.
#[derive(Clone, Copy)]
struct Path {
    /// The rights that its pages have at most.
    most: MappingFlags,
    /// Whether another page table uses it, too.
    is_shared: bool,
}

/// How far a visit that is made in steps has come.
#[derive(Clone, Copy, Debug)]
pub struct VisitPosition {
    /// The address where the visit continues.
    vaddr: usize,
    /// The lowest level of which the table for this address has been visited. `usize::MAX` if
    /// no table has been visited at this address.
    level: usize,
}

impl VisitPosition {
    /// The position before the first table.
    pub const START: Self = Self::before(0);

    /// The position before the page at `vaddr`. The tables on the path to it are visited again.
    pub const fn before(vaddr: usize) -> Self {
        Self {
            vaddr,
            level: usize::MAX,
        }
    }

    /// Returns the address where the visit continues.
    pub fn vaddr(&self) -> usize {
        self.vaddr
    }

    /// Moves the position to `vaddr`, unless it is there or further on already.
    pub fn skip_to(&mut self, vaddr: usize) {
        if vaddr > self.vaddr {
            *self = Self::before(vaddr);
        }
    }

    /// Moves the position past `visited`. Returns `false` if it was past it already.
    fn advance(&mut self, visited: &Visited) -> bool {
        let next = match visited {
            Visited::Table { level, vaddr, .. } => Self {
                vaddr: *vaddr,
                level: *level,
            },
            Visited::Run { pages, .. } => Self::before(pages.end),
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
    H: FrameOwners,
{
    /// Calls `f` for the tables that translate a part of `pages`, and for the pages there, until
    /// it returns `Break`. Allocates no memory.
    pub fn visit<B>(
        &self,
        pages: Pages,
        mut f: impl FnMut(Visited) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let path = Path {
            most: MappingFlags::all(),
            is_shared: false,
        };
        self.visit_in(self.root, Self::TOP, pages, path, &mut f)
    }

    /// Visits the table at the end of `path`.
    fn visit_in<B>(
        &self,
        table: PhysAddr,
        level: usize,
        pages: Pages,
        path: Path,
        f: &mut impl FnMut(Visited) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let size = Self::entry_size(level);
        f(Visited::Table {
            level,
            vaddr: pages.start & !(ENTRIES * size - 1),
            frame: table,
            is_shared: path.is_shared,
        })?;
        let mut at = pages.start;
        while at < pages.end {
            let part = first_part(at..pages.end, size);
            at = part.end;
            let entry = self.entry(table, VirtAddr::from_usize(part.start), level);
            match read::<E>(entry, level) {
                EntryState::Empty => {
                    let left = at..pages.end;
                    at += size * count_empty(self.entries_of(table, &left, level));
                }
                EntryState::Table(next) => self.visit_in(next, level - 1, part, path, f)?,
                EntryState::Shared(next) => {
                    let path = Path {
                        most: path.most.difference(MappingFlags::WRITE),
                        // The other owners may be gone.
                        is_shared: path.is_shared || !H::is_exclusive(next, 1),
                    };
                    self.visit_in(next, level - 1, part, path, f)?;
                }
                EntryState::Page(paddr, flags) => {
                    at = self.run_end(table, level, part.start..pages.end, paddr, flags);
                    f(Visited::Run {
                        level,
                        pages: part.start & !(size - 1)..at,
                        paddr,
                        flags: flags & path.most,
                        is_shared: path.is_shared,
                    })?;
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// Returns the end of the run that begins at the start of `pages`, in a table of `level`,
    /// with the frame `first` and these rights.
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
                EntryState::Page(paddr, flags) if paddr == expected && flags == rights => {}
                _ => break,
            }
            expected += size;
            at += size;
        }
        at
    }

    /// Continues a visit of `pages` from `position`: calls `f` for the next tables and runs of
    /// pages, `limit` of them at most, until `f` returns `false`. Moves `position` past them. The
    /// page table may have changed since the previous call.
    ///
    /// Returns `None` if it has reached the end of `pages`, `Some(false)` if `f` has returned
    /// `false`, and `Some(true)` if it has reached `limit`.
    pub fn visit_some(
        &self,
        pages: Pages,
        position: &mut VisitPosition,
        limit: usize,
        f: &mut dyn FnMut(&Visited) -> bool,
    ) -> Option<bool> {
        let left = pages.start.max(position.vaddr)..pages.end;
        if left.is_empty() {
            return None;
        }
        let mut count = 0;
        let found = self.visit(left, |visited| {
            if !position.advance(&visited) {
                return ControlFlow::Continue(());
            }
            count += 1;
            match (f(&visited), count < limit) {
                (true, true) => ControlFlow::Continue(()),
                (more, _) => ControlFlow::Break(more),
            }
        });
        found.break_value()
    }

    /// Returns how many tables of each level translate a part of `pages`.
    #[cfg(test)]
    pub fn tables(&self, pages: Pages) -> [usize; MAX_LEVELS] {
        const { assert!(M::LEVELS <= MAX_LEVELS) };
        let mut count = [0; MAX_LEVELS];
        let _ = self.visit::<()>(pages, |visited| {
            if let Visited::Table { level, .. } = visited {
                count[level] += 1;
            }
            ControlFlow::Continue(())
        });
        count
    }
}

impl Visited {
    /// Returns the number of pages in a run, or 0 for a table.
    pub fn count(&self) -> usize {
        match self {
            Self::Table { .. } => 0,
            Self::Run { level, pages, .. } => pages.len() / (PAGE_SIZE_4K << (LEVEL_BITS * level)),
        }
    }
}
