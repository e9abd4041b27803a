//! Reads page tables as hardware does: from the bytes in memory, by the architecture manuals
//! alone. It uses no code of the crates that wrote the tables.
//!
//! Each reader refuses what its manual reserves. So an entry that hardware would misread, or
//! that would make it fault, is an error here.

mod aarch64;
mod loongarch64;
mod riscv;
mod x86_64;

use std::ops::Range;

use axconfig::PHYS_VIRT_OFFSET;

pub use aarch64::A64;
pub use loongarch64::La64;
pub use riscv::Sv;
pub use x86_64::X64;

/// The rights and the kind of memory of a page, as hardware reads them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rights {
    pub read: bool,
    pub write: bool,
    pub execute: bool,
    pub user: bool,
    /// Whether its TLB entries are valid in every address space.
    pub global: bool,
    pub memory: Memory,
}

/// The kind of memory of a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Memory {
    #[default]
    Normal,
    Uncached,
    Device,
}

/// The contents of a page-table entry.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Entry {
    /// All bits are zero.
    Absent,
    /// A page without rights. Hardware takes a fault, but the address bits hold the physical
    /// address of a frame.
    Kept(usize),
    /// A table at this physical address.
    Table(usize),
    /// Hardware takes a fault. The address bits hold the physical address of a table that other
    /// page tables may lead to as well.
    Shared(usize),
    /// A page at this physical address.
    Page(usize, Rights),
}

/// What an absent entry holds that leads to a shared table, besides the address. It must not be an
/// entry that hardware follows.
const SHARED: u64 = bit(6);

/// A page-table format. The entries of level 0 map 4 KiB.
pub trait Format {
    const LEVELS: usize;
    /// Whether the TLB entries of all pages are valid in every address space.
    const ALL_GLOBAL: bool = false;

    /// Reads an entry of a table of this level.
    ///
    /// # Errors
    ///
    /// Fails with what is wrong with the entry.
    fn entry(bits: u64, level: usize) -> Result<Entry, &'static str>;
}

/// A mapped page. Hardware takes a fault on one without rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawPage {
    pub vaddr: usize,
    pub paddr: usize,
    pub size: usize,
    pub rights: Rights,
}

/// The contents of a page table with all its levels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Raw {
    /// The pages, sorted by address.
    pub pages: Vec<RawPage>,
    /// The physical addresses of all tables, with the root.
    pub tables: Vec<usize>,
    /// The physical addresses of the tables to which absent entries lead.
    pub shared: Vec<usize>,
}

impl RawPage {
    /// Returns whether the page and `range` have an address in common.
    pub fn overlaps(&self, range: &Range<usize>) -> bool {
        self.vaddr < range.end && range.start < self.vaddr + self.size
    }

    /// Returns whether this is the same page as `known`, with all its rights.
    pub fn allows_all_of(&self, known: &Self) -> bool {
        let (now, then) = (self.rights, known.rights);
        let same = (self.vaddr, self.paddr, self.size) == (known.vaddr, known.paddr, known.size);
        let memory = !then.read || (now.memory, now.global) == (then.memory, then.global);
        let all = [
            (then.read, now.read),
            (then.write, now.write),
            (then.execute, now.execute),
            (then.user, now.user),
        ];
        same && memory && all.iter().all(|(then, now)| *now || !then)
    }
}

impl Raw {
    /// Returns the pages that overlap `range`.
    pub fn within(&self, range: &Range<usize>) -> &[RawPage] {
        let first = self
            .pages
            .partition_point(|page| page.vaddr + page.size <= range.start);
        let end = self.pages.partition_point(|page| page.vaddr < range.end);
        self.pages.get(first..end).unwrap_or_default()
    }

    /// Returns whether this page is mapped, with the same rights.
    pub fn has(&self, page: &RawPage) -> bool {
        let at = self
            .pages
            .binary_search_by_key(&page.vaddr, |now| now.vaddr);
        at.is_ok_and(|at| self.pages[at] == *page)
    }
}

const ENTRIES: usize = 512;

/// Reads the whole page table whose root has the physical address `root`. `high` holds the
/// address bits above those that the table resolves.
///
/// # Errors
///
/// Fails if an entry is wrong, or a table is empty.
pub fn walk<F: Format>(root: usize, high: usize) -> Result<Raw, String> {
    let mut raw = Raw::default();
    walk_into::<F>(root, high, &mut raw)?;
    Ok(raw)
}

/// Does what [`walk`] does, and reuses the memory of `raw`.
///
/// # Errors
///
/// Fails if an entry is wrong, or a table is empty.
pub fn walk_into<F: Format>(root: usize, high: usize, raw: &mut Raw) -> Result<(), String> {
    raw.pages.clear();
    raw.tables.clear();
    raw.shared.clear();
    walk_in::<F>(root, F::LEVELS - 1, high, raw)
}

fn walk_in<F: Format>(
    table: usize,
    level: usize,
    base: usize,
    raw: &mut Raw,
) -> Result<(), String> {
    raw.tables.push(table);
    let size = 4096 << (9 * level);
    let mut used = false;
    let entries: *const u64 = std::ptr::with_exposed_provenance(PHYS_VIRT_OFFSET + table);
    for index in 0..ENTRIES {
        // SAFETY: the frame of a page table is in use, and the linear mapping of all memory is
        // never unmapped. `index` is below the number of entries of a table.
        let bits = unsafe { entries.add(index).read_volatile() };
        if bits == 0 {
            continue;
        }
        used = true;
        let vaddr = base + index * size;
        let wrong = |what| format!("{what}: {bits:#018x} at level {level} for {vaddr:#x}");
        let (paddr, rights) = match F::entry(bits, level).map_err(wrong)? {
            Entry::Absent => return Err(wrong("an empty entry with bits set")),
            Entry::Table(_) if level == 0 => return Err(wrong("a table below the last")),
            Entry::Table(next) => {
                walk_in::<F>(next, level - 1, vaddr, raw)?;
                continue;
            }
            Entry::Shared(table) => {
                raw.shared.push(table);
                continue;
            }
            Entry::Kept(_) if level > 0 => return Err(wrong("a large page without rights")),
            Entry::Kept(paddr) => (paddr, Rights::default()),
            Entry::Page(paddr, rights) => (paddr, rights),
        };
        if paddr % size != 0 {
            return Err(wrong("a misaligned page"));
        }
        raw.pages.push(RawPage {
            vaddr,
            paddr,
            size,
            rights,
        });
    }
    match used || level == F::LEVELS - 1 {
        true => Ok(()),
        false => Err(format!("an empty table of level {level} for {base:#x}")),
    }
}

/// Returns a mask of the bits `low..=high`.
const fn bits(high: u32, low: u32) -> u64 {
    u64::MAX >> (63 - high) & u64::MAX << low
}

const fn bit(number: u32) -> u64 {
    1 << number
}
