//! Pictures of address spaces.
//!
//! ```text
//!   a console ── parse ──► Space ──┬── to_svg   a drawing
//!        ▲                         ├── to_dot   a graph, for Graphviz
//!        └─────────── Display ─────┘
//! ```
//!
//! The lines that a kernel prints (`axmm::report::listing`) are checked when they are
//! read ([`read`]): a [`Space`] that was read makes sense, and all else relies on
//! it. No input makes anything here panic.

mod dot;
mod parse;
mod print;
mod svg;
mod words;

pub use dot::to_dot;
pub use parse::{Damaged, MARK, read};
pub use svg::to_svg;

/// Entries of a table.
pub const ENTRIES: u64 = 512;
/// The most levels of tables.
pub const MOST_LEVELS: u32 = 5;

/// An address space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space {
    /// The first address.
    pub start: u64,
    /// The first address behind it.
    pub end: u64,
    /// How many levels of tables the page table has.
    pub levels: u32,
    /// What is mapped: in order, without overlaps, within the space.
    pub areas: Vec<Area>,
    /// The page table.
    pub root: Table,
}

/// A range with one set of rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Area {
    /// The first address.
    pub start: u64,
    /// The first address behind it.
    pub end: u64,
    /// What accesses are allowed.
    pub rights: Rights,
    /// Where its frames come from, in a word.
    pub frames: String,
    /// Bytes that have memory behind them.
    pub resident: u64,
    /// Those of them in pages above 4 KiB.
    pub huge: u64,
    /// What people call it.
    pub name: String,
}

/// A table of the page table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its level; 0 is the lowest.
    pub level: u32,
    /// What its first entry translates.
    pub vaddr: u64,
    /// Where it lies.
    pub frame: u64,
    /// What it holds, by address; absent entries aside.
    pub entries: Vec<Entry>,
}

/// What entries of a table hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A table of the next level.
    Table(Table),
    /// Pages in a row.
    Run(Run),
}

/// Pages of one size in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The address of the first.
    pub vaddr: u64,
    /// How many they are.
    pub count: u64,
    /// The first frame; the others follow.
    pub paddr: u64,
    /// What accesses are allowed.
    pub rights: Rights,
}

/// What accesses are allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// Loads.
    pub read: bool,
    /// Stores.
    pub write: bool,
    /// Instruction fetches.
    pub execute: bool,
    /// By user programs.
    pub user: bool,
    /// What kind of memory it is.
    pub memory: Memory,
}

/// How memory is accessed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Memory {
    /// By way of the caches.
    #[default]
    Normal,
    /// It is a device's.
    Device,
    /// It is not cached.
    Uncached,
}

/// The bytes that an entry of a level translates.
pub fn entry_size(level: u32) -> u64 {
    4096 << (9 * level.min(MOST_LEVELS))
}

impl Table {
    /// Which of its entries translates `vaddr`; `None` for one of another table.
    pub fn index(&self, vaddr: u64) -> Option<u64> {
        let index = vaddr.checked_sub(self.vaddr)? / entry_size(self.level);
        (index < ENTRIES).then_some(index)
    }

    /// How many of its entries are in use.
    pub fn used(&self) -> u64 {
        let used = |entry: &Entry| match entry {
            Entry::Table(_) => 1,
            Entry::Run(run) => run.count,
        };
        self.entries.iter().map(used).sum()
    }

    /// The tables right below.
    pub fn tables(&self) -> impl Iterator<Item = &Table> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Table(table) => Some(table),
            Entry::Run(_) => None,
        })
    }

    /// The pages that its own entries map.
    pub fn runs(&self) -> impl Iterator<Item = &Run> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Run(run) => Some(run),
            Entry::Table(_) => None,
        })
    }

    /// Pages of its own and of all tables below.
    pub fn pages(&self) -> u64 {
        let own: u64 = self.runs().map(|run| run.count).sum();
        own + self.tables().map(Table::pages).sum::<u64>()
    }

    /// How many tables it is, with all below.
    pub fn count(&self) -> u64 {
        1 + self.tables().map(Table::count).sum::<u64>()
    }
}
