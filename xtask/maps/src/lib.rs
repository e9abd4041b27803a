//! Draws address spaces, from the listings that a kernel prints (`axmm::report::listing`).
//!
//! ```text
//!   a console ── read ───► Space ──┬── to_svg   a drawing
//!        ▲                         ├── to_dot   a graph, for Graphviz
//!        └─────────── Display ─────┘
//! ```
//!
//! [`read`] checks every line, so a [`Space`] that it returns is consistent. The functions
//! that draw rely on that. No input makes this crate panic.

mod dot;
mod format;
mod parse;
mod print;
mod svg;

pub use dot::to_dot;
pub use parse::{Damaged, MARK, read};
pub use svg::to_svg;

/// The number of entries of a table.
pub const ENTRIES: u64 = 512;
/// The largest number of levels of a page table.
pub const MAX_LEVELS: u32 = 5;

/// An address space: its areas and its page table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space {
    /// The first address.
    pub start: u64,
    /// The first address behind the space.
    pub end: u64,
    /// The number of levels of the page table.
    pub levels: u32,
    /// The areas, sorted by address. They do not overlap, and are inside the space.
    pub areas: Vec<Area>,
    /// The root table of the page table.
    pub root: Table,
}

/// A range of virtual addresses with the same backing and rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Area {
    /// The first address.
    pub start: u64,
    /// The first address behind the area.
    pub end: u64,
    /// The accesses that are allowed.
    pub rights: Rights,
    /// How the area gets its frames, in one word: `linear`, `lazy` and so on.
    pub frames: String,
    /// The number of bytes that have memory.
    pub resident: u64,
    /// How many of `resident` are in pages above 4 KiB.
    pub huge: u64,
    /// The name that the kernel or the application gave it.
    pub name: String,
}

/// A table of the page table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The level of the table; 0 is the lowest.
    pub level: u32,
    /// The first virtual address that it translates.
    pub vaddr: u64,
    /// The physical address of its frame.
    pub frame: u64,
    /// Its present entries, sorted by address.
    pub entries: Vec<Entry>,
}

/// One or more entries of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// An entry that leads to a table of the level below.
    Table(Table),
    /// Entries that map contiguous pages.
    Run(Run),
}

/// Contiguous pages of one size, with the same rights and contiguous memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The virtual address of the first page.
    pub vaddr: u64,
    /// The number of pages.
    pub count: u64,
    /// The physical address of the first page.
    pub paddr: u64,
    /// The accesses that are allowed.
    pub rights: Rights,
}

/// The accesses that are allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// Whether loads are allowed.
    pub read: bool,
    /// Whether stores are allowed.
    pub write: bool,
    /// Whether instruction fetches are allowed.
    pub execute: bool,
    /// Whether user programs have these rights.
    pub user: bool,
    /// The kind of memory.
    pub memory: Memory,
}

/// The kind of memory behind a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Memory {
    /// Memory that is cached.
    #[default]
    Normal,
    /// Registers of a device.
    Device,
    /// Memory that is not cached.
    Uncached,
}

/// Returns how many bytes an entry of this level translates. Levels above [`MAX_LEVELS`] count
/// as that level.
pub fn entry_size(level: u32) -> u64 {
    4096 << (9 * level.min(MAX_LEVELS))
}

impl Table {
    /// Returns the index of the entry that translates `vaddr`; `None` if another table does.
    pub fn index(&self, vaddr: u64) -> Option<u64> {
        let index = vaddr.checked_sub(self.vaddr)? / entry_size(self.level);
        (index < ENTRIES).then_some(index)
    }

    /// Returns how many of its entries are present.
    pub fn used(&self) -> u64 {
        let used = |entry: &Entry| match entry {
            Entry::Table(_) => 1,
            Entry::Run(run) => run.count,
        };
        self.entries.iter().map(used).sum()
    }

    /// Returns the tables that its entries lead to.
    pub fn tables(&self) -> impl Iterator<Item = &Table> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Table(table) => Some(table),
            Entry::Run(_) => None,
        })
    }

    /// Returns the runs of pages that its own entries map.
    pub fn runs(&self) -> impl Iterator<Item = &Run> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Run(run) => Some(run),
            Entry::Table(_) => None,
        })
    }

    /// Returns the number of pages that it and all tables below map.
    pub fn pages(&self) -> u64 {
        let own: u64 = self.runs().map(|run| run.count).sum();
        own + self.tables().map(Table::pages).sum::<u64>()
    }

    /// Returns the number of tables, counting itself and all below.
    pub fn count(&self) -> u64 {
        1 + self.tables().map(Table::count).sum::<u64>()
    }
}
