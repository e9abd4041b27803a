//! Page tables as hardware reads them: from the bytes in memory, by what the
//! architecture manuals say, and by nothing of the crates that wrote them.
//!
//! Each reader refuses what its manual reserves, so that an entry which hardware
//! would take for something else, or fault on, is an error here.

use std::ops::Range;

use axconfig::PHYS_VIRT_OFFSET;

/// What a page may be used for, as hardware reads it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rights {
    pub read: bool,
    pub write: bool,
    pub execute: bool,
    pub user: bool,
    /// Whether it is every address space's.
    pub global: bool,
    pub memory: Memory,
}

/// How memory is accessed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Memory {
    #[default]
    Normal,
    Uncached,
    Device,
}

/// What an entry says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Entry {
    /// All zeroes.
    Absent,
    /// Hardware faults, but the address bits keep a frame.
    Kept(usize),
    Table(usize),
    Page(usize, Rights),
}

/// A page-table format. Level 0 is the one whose entries map 4 KiB.
pub trait Format {
    const LEVELS: usize;
    /// Whether every page is every address space's.
    const ALL_GLOBAL: bool = false;

    /// The entry at a level, or what is wrong with it.
    fn entry(bits: u64, level: usize) -> Result<Entry, &'static str>;
}

/// A page that the table maps. Without rights, hardware does not see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawPage {
    pub vaddr: usize,
    pub paddr: usize,
    pub size: usize,
    pub rights: Rights,
}

/// A page table as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Raw {
    /// In order.
    pub pages: Vec<RawPage>,
    /// The frames of all tables, the root among them.
    pub tables: Vec<usize>,
}

impl RawPage {
    pub fn overlaps(&self, range: &Range<usize>) -> bool {
        self.vaddr < range.end && range.start < self.vaddr + self.size
    }

    /// Whether it is the same page as `known`, and may be accessed in every way that
    /// `known` may.
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
    /// The pages that have a part in `range`.
    pub fn within(&self, range: &Range<usize>) -> &[RawPage] {
        let first = self
            .pages
            .partition_point(|page| page.vaddr + page.size <= range.start);
        let end = self.pages.partition_point(|page| page.vaddr < range.end);
        self.pages.get(first..end).unwrap_or_default()
    }

    /// Whether this very page is there.
    pub fn has(&self, page: &RawPage) -> bool {
        let at = self
            .pages
            .binary_search_by_key(&page.vaddr, |now| now.vaddr);
        at.is_ok_and(|at| self.pages[at] == *page)
    }
}

const ENTRIES: usize = 512;

/// Reads the whole table at `root`. `high` is what the addresses that it
/// translates have in the bits above those it resolves.
pub fn walk<F: Format>(root: usize, high: usize) -> Result<Raw, String> {
    let mut raw = Raw::default();
    walk_into::<F>(root, high, &mut raw)?;
    Ok(raw)
}

/// As [`walk`], where another was before.
pub fn walk_into<F: Format>(root: usize, high: usize, raw: &mut Raw) -> Result<(), String> {
    raw.pages.clear();
    raw.tables.clear();
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
        // SAFETY: tables lie in the linear mapping, which is mapped for good.
        let bits = unsafe { entries.add(index).read_volatile() };
        if bits == 0 {
            continue;
        }
        used = true;
        let vaddr = base + index * size;
        let wrong = |what| format!("{what}: {bits:#018x} at level {level} for {vaddr:#x}");
        let (paddr, rights) = match F::entry(bits, level).map_err(wrong)? {
            Entry::Absent => return Err(wrong("neither zero nor anything else")),
            Entry::Table(_) if level == 0 => return Err(wrong("a table below the last")),
            Entry::Table(next) => {
                walk_in::<F>(next, level - 1, vaddr, raw)?;
                continue;
            }
            Entry::Kept(_) if level > 0 => return Err(wrong("no page, but not zero")),
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

/// Bits `low..=high` of a word, where they are.
const fn bits(high: u32, low: u32) -> u64 {
    u64::MAX >> (63 - high) & u64::MAX << low
}

const fn bit(number: u32) -> u64 {
    1 << number
}

/// Intel SDM volume 3A, 4.5 "4-Level Paging and 5-Level Paging", tables 4-14 to
/// 4-20, and 4.6 "Access Rights". PAT as after reset (table 12-12).
pub struct X64;

impl Format for X64 {
    const LEVELS: usize = 4;

    fn entry(entry: u64, level: usize) -> Result<Entry, &'static str> {
        const P: u64 = bit(0);
        const RW: u64 = bit(1);
        const US: u64 = bit(2);
        const PWT: u64 = bit(3);
        const PCD: u64 = bit(4);
        const PS: u64 = bit(7);
        const GLOBAL: u64 = bit(8);
        const XD: u64 = bit(63);
        let address = (entry & bits(51, 12)) as usize;
        if entry & P == 0 {
            return match entry & !(bits(51, 12) | GLOBAL) {
                0 => Ok(Entry::Kept(address)),
                _ => Err("attributes of an absent page"),
            };
        }
        if level > 0 && entry & PS == 0 {
            // Rights are those that all levels give: a table must not take any.
            return match entry & (RW | XD) == RW && entry & GLOBAL == 0 {
                true => Ok(Entry::Table(address)),
                false => Err("a table that takes rights"),
            };
        }
        if level == 3 {
            return Err("PS is reserved here");
        }
        // Bit 12 of a large page and bit 7 of a small one choose from the PAT.
        if (level > 0 && entry & bit(12) != 0) || (level == 0 && entry & PS != 0) {
            return Err("the PAT's upper half");
        }
        let memory = match (entry & PCD != 0, entry & PWT != 0) {
            (false, false) => Memory::Normal,
            (true, true) => Memory::Device,
            _ => return Err("neither write-back nor uncacheable"),
        };
        let rights = Rights {
            read: true,
            write: entry & RW != 0,
            execute: entry & XD == 0,
            user: entry & US != 0,
            global: entry & GLOBAL != 0,
            memory,
        };
        Ok(Entry::Page(address, rights))
    }
}

/// RISC-V Privileged Architecture, "Sv39: Page-Based 39-bit Virtual-Memory
/// System" and, of "Sv32", "Addressing and Memory Protection" and "Virtual
/// Address Translation Process".
pub struct Sv<const LEVELS: usize>;

impl<const LEVELS: usize> Format for Sv<LEVELS> {
    const LEVELS: usize = LEVELS;

    fn entry(entry: u64, level: usize) -> Result<Entry, &'static str> {
        const V: u64 = bit(0);
        const R: u64 = bit(1);
        const W: u64 = bit(2);
        const X: u64 = bit(3);
        const U: u64 = bit(4);
        const G: u64 = bit(5);
        const A: u64 = bit(6);
        const D: u64 = bit(7);
        const PPN: u64 = bits(53, 10);
        let address = ((entry & PPN) >> 10 << 12) as usize;
        if entry & bits(63, 54) != 0 {
            return Err("reserved bits, N or PBMT");
        }
        if entry & V == 0 {
            return match entry & !(PPN | G) {
                0 => Ok(Entry::Kept(address)),
                _ => Err("attributes of an absent page"),
            };
        }
        if entry & (R | X) == 0 {
            if entry & W != 0 {
                return Err("W without R is reserved");
            }
            return match entry & (D | A | U) == 0 && level > 0 {
                true => Ok(Entry::Table(address)),
                false => Err("no rights, but valid: a table"),
            };
        }
        if entry & (R | W) == W {
            return Err("W without R is reserved");
        }
        // Svade: an access without A, or a store without D, faults.
        if entry & A == 0 || (entry & W != 0 && entry & D == 0) {
            return Err("A or D is clear");
        }
        let rights = Rights {
            read: entry & R != 0,
            write: entry & W != 0,
            execute: entry & X != 0,
            user: entry & U != 0,
            global: entry & G != 0,
            memory: Memory::Normal,
        };
        Ok(Entry::Page(address, rights))
    }
}

/// Arm Architecture Reference Manual, D8.3 "Translation table descriptor
/// formats", D8.4 "Memory access control", D8.6.2 "Stage 1 Cacheability": 4 KiB
/// granule, 48 bits. Its level 0 is the highest.
pub struct A64;

impl Format for A64 {
    const LEVELS: usize = 4;

    fn entry(entry: u64, level: usize) -> Result<Entry, &'static str> {
        const VALID: u64 = bit(0);
        const TABLE_OR_PAGE: u64 = bit(1);
        const AP_USER: u64 = bit(6);
        const AP_READ_ONLY: u64 = bit(7);
        const AF: u64 = bit(10);
        const NOT_GLOBAL: u64 = bit(11);
        const PXN: u64 = bit(53);
        const UXN: u64 = bit(54);
        let address = (entry & bits(47, 12)) as usize;
        if entry & VALID == 0 {
            return match entry & !(bits(47, 12) | NOT_GLOBAL) {
                0 => Ok(Entry::Kept(address)),
                _ => Err("attributes of an absent page"),
            };
        }
        if entry & bits(51, 48) != 0 {
            return Err("reserved bits, or an address beyond 48 bits");
        }
        if level > 0 && entry & TABLE_OR_PAGE != 0 {
            // NSTable, APTable, UXNTable, PXNTable.
            return match entry & bits(63, 59) {
                0 => Ok(Entry::Table(address)),
                _ => Err("a table that takes rights"),
            };
        }
        if level == 3 {
            return Err("a level 0 block is reserved");
        }
        if level == 0 && entry & TABLE_OR_PAGE == 0 {
            return Err("a level 3 block is reserved");
        }
        if entry & AF == 0 {
            return Err("no access flag");
        }
        // MAIR as axhal sets it: 0 Device-nGnRE, 1 Normal, 2 Non-cacheable. What
        // is normal is inner shareable.
        let memory = match ((entry & bits(4, 2)) >> 2, (entry & bits(9, 8)) >> 8) {
            (0, _) => Memory::Device,
            (1, 0b11) => Memory::Normal,
            (2, 0b11) => Memory::Uncached,
            _ => return Err("an unknown attribute index, or not inner shareable"),
        };
        let user = entry & AP_USER != 0;
        if !user && entry & UXN == 0 {
            return Err("user mode may execute it");
        }
        if user && entry & PXN == 0 {
            return Err("the kernel may execute what is the user's");
        }
        let rights = Rights {
            read: true,
            write: entry & AP_READ_ONLY == 0,
            execute: entry & if user { UXN } else { PXN } == 0,
            user,
            global: entry & NOT_GLOBAL == 0,
            memory,
        };
        Ok(Entry::Page(address, rights))
    }
}

/// LoongArch Reference Manual volume 1, 5.4.2 "TLB entry" and 5.4.5 "Multi-level
/// page table structure": the entries that `ldpte` loads and `tlbfill` puts into
/// the TLB. A directory's entry is the address of the next table, with bit 6 (H)
/// clear; H marks a large page, whose bit 12 then is G.
pub struct La64;

impl Format for La64 {
    const LEVELS: usize = 4;
    const ALL_GLOBAL: bool = true;

    fn entry(entry: u64, level: usize) -> Result<Entry, &'static str> {
        const V: u64 = bit(0);
        const D: u64 = bit(1);
        const HUGE_OR_GLOBAL: u64 = bit(6);
        const PHYSICAL: u64 = bit(7);
        const WRITE: u64 = bit(8);
        const NR: u64 = bit(61);
        const NX: u64 = bit(62);
        const RPLV: u64 = bit(63);
        let address = (entry & bits(47, 12)) as usize;
        if level > 0 && entry & HUGE_OR_GLOBAL == 0 {
            return match entry & !bits(47, 12) {
                0 => Ok(Entry::Table(address)),
                _ => Err("attributes of a table"),
            };
        }
        if level == 3 {
            return Err("no page is as large as that");
        }
        if entry & V == 0 {
            return match entry & !bits(47, 12) {
                0 => Ok(Entry::Kept(address)),
                _ => Err("attributes of an absent page"),
            };
        }
        if entry & (bits(60, 48) | bits(11, 9) | RPLV) != 0 || entry & PHYSICAL == 0 {
            return Err("reserved bits, RPLV, or no P");
        }
        // A store needs D in the TLB, and W for whoever handles that it is clear.
        if (entry & D == 0) != (entry & WRITE == 0) {
            return Err("D is not W");
        }
        let memory = match (entry & bits(5, 4)) >> 4 {
            0 => Memory::Device,
            1 => Memory::Normal,
            2 => Memory::Uncached,
            _ => return Err("a reserved memory access type"),
        };
        let user = match (entry & bits(3, 2)) >> 2 {
            0 => false,
            3 => true,
            _ => return Err("neither kernel nor user"),
        };
        let rights = Rights {
            read: entry & NR == 0,
            write: entry & D != 0,
            execute: entry & NX == 0,
            user,
            // The refill says so, of all of the kernel half.
            global: true,
            memory,
        };
        Ok(Entry::Page(address, rights))
    }
}
