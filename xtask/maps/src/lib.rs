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
    /// The name of the address space. Empty for the kernel's.
    pub name: String,
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
    /// How many of `resident` are in frames with other owners.
    pub shared: u64,
    /// How many of `resident` are in frames that the address space alone has.
    pub private: u64,
    /// How many of `resident` show the zero frame.
    pub zero: u64,
    /// The name that the kernel or the application gave it.
    pub name: String,
    /// The memory object that the area shows.
    pub object: Option<Object>,
}

/// A memory object, and where an area shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// A number that is the same for all areas that show the object.
    pub id: u64,
    /// What the object is made of, in one word.
    pub kind: String,
    /// The offset in the object at which the area begins, in bytes.
    pub offset: u64,
    /// The length of the object in bytes.
    pub len: u64,
    /// The bytes in frames that other objects have, too.
    pub shared: u64,
    /// The bytes in frames that no other object has.
    pub private: u64,
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
    /// Whether another page table uses it, too.
    pub is_shared: bool,
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

impl Space {
    /// Returns whether the address space shares memory with others or shows memory objects, so
    /// that it matters who has its frames.
    pub fn is_shared(&self) -> bool {
        let is_shared = |area: &Area| area.shared + area.zero > 0 || area.object.is_some();
        self.areas.iter().any(is_shared) || self.root.count_shared() > 0
    }
}

impl Object {
    /// Returns what the object is called: its name, or its number if it has none.
    pub fn title(&self) -> String {
        match self.name.is_empty() {
            true => format!("object {:#x}", self.id),
            false => self.name.clone(),
        }
    }
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

    /// Returns the number of shared tables, counting itself and all below.
    pub fn count_shared(&self) -> u64 {
        u64::from(self.is_shared) + self.tables().map(Table::count_shared).sum::<u64>()
    }

    /// Returns the number of tables, counting itself and all below.
    pub fn count(&self) -> u64 {
        1 + self.tables().map(Table::count).sum::<u64>()
    }
}
