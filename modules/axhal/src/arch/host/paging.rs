//! The page table of x86_64, read by software: the process's mappings of physical
//! memory are its TLB.
//!
//! ```text
//!   access ─► mapped in the process: Linux and the CPU do it
//!          └► SIGSEGV ─► walk the table ─┬─ allowed: map the page, again
//!                                        └─ else: a page fault
//!   flush  ─► out of the process again, for all harts at once
//! ```
//!
//! So what is not flushed stays, as in hardware: a stale pointer then reads a frame
//! that may be another's by now.
//!
//! Before a root is loaded, the linear mapping is there as the platform has made it.
//!
//! Locks: `WALKING`, a leaf.

use core::ops::Range;
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use axconfig::PAGE_SIZE;
use axplat::mem::PhysAddr;
use linux_host::{harts, ram};

use super::user;
use crate::trap::Access;

/// The page-table format.
pub type PagingMeta = page_table_multiarch::x86_64::X64PagingMetaData;
/// Its entries.
pub type Pte = page_table_entry::x86_64::X64PTE;

/// Whether one root page table translates both halves of the addresses.
pub const ONE_ROOT: bool = true;

/// The bytes of the largest page: 1 GiB.
pub fn largest_page() -> usize {
    1 << 30
}

/// What every entry of a page has beside its address and rights: nothing.
pub const fn page_mark(_kernel: bool) -> u64 {
    0
}

/// Nothing to do: the walker runs after whoever wrote, by [`Turn`].
pub fn publish_entries() {}

/// Whether a root translates `addr`; all others are the process's own.
pub fn is_translated(addr: usize) -> bool {
    ram::translated_ranges()
        .iter()
        .any(|window| window.contains(&addr))
}

/// The kernel's root; 0 for none yet. All harts have the same: a process has one set
/// of mappings.
static ROOT: AtomicUsize = AtomicUsize::new(0);

/// The root page table.
pub fn read_root() -> PhysAddr {
    PhysAddr::from_usize(root())
}

/// That of the address space that this hart is in has the kernel half, too.
fn root() -> usize {
    user::entered_root().unwrap_or_else(|| ROOT.load(Relaxed))
}

/// Changes the root page table.
///
/// # Safety
///
/// As [`set_kernel_root`](crate::paging::set_kernel_root).
pub unsafe fn write_root(root: PhysAddr) {
    ROOT.store(root.as_usize(), Relaxed);
}

/// Forgets all translations on this hart.
pub use flush_tlb_all as flush_all_asids;

/// Forgets one page's translation, on all harts.
pub fn flush_tlb_page(vaddr: usize) {
    if is_translated(vaddr) {
        let _turn = Turn::take();
        if !ram::unmap(vaddr..vaddr + PAGE_SIZE) {
            forget_all();
        }
    }
}

/// Forgets all translations, on all harts.
pub fn flush_tlb_all() {
    let _turn = Turn::take();
    forget_all();
}

/// Nothing to flush: what is absent is not kept.
#[cfg(feature = "multitask")]
pub fn flush_fresh(_pages: Range<usize>) {}

/// More pages than this are forgotten by forgetting everything.
pub const MOST_PAGES: usize = 32;

/// Every hart forgets with the two above.
pub const FORGETS_EVERYWHERE: bool = true;

/// Answers that other harts have forgotten already.
pub fn remote_flush(_harts: u64, _pages: Range<usize>) -> bool {
    true
}

/// Nothing is to be cleaned, as on any x86_64.
pub const fn needs_cleaning() -> bool {
    false
}

/// Does nothing: see [`needs_cleaning`].
pub fn clean_code(_bytes: Range<usize>) {}

/// Nothing to do: where a page becomes executable Linux has changed its mapping, and has
/// interrupted the threads that had it.
pub fn fetch_anew() {}

/// Nothing to do, as for [`fetch_anew`].
pub fn remote_fetch_anew(_harts: u64) -> bool {
    true
}

/// How many translations are kept at most. Each splits a mapping of Linux, which
/// takes 65,530 of a process by default, other people's among them.
const MOST_KEPT: usize = 16_384;

/// How many have been kept since all were forgotten.
static KEPT: AtomicUsize = AtomicUsize::new(0);

/// Within a [`Turn`]. It leaves fewer mappings than there were, for which Linux always
/// has the memory.
pub fn forget_all() {
    KEPT.store(0, Relaxed);
    for window in ram::translated_ranges() {
        let forgotten = ram::unmap(window);
        debug_assert!(forgotten);
    }
}

/// What came of a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walked {
    /// The access can be made now.
    Kept,
    /// The page table does not allow the access.
    Refused,
    /// Linux has no memory for one more mapping.
    NoMemory,
}

/// Looks up what the page table says of `addr`, and keeps it, if it allows the
/// access.
pub fn walk_for(addr: usize, access: Access) -> Walked {
    if !is_translated(addr) {
        return Walked::Refused;
    }
    let _turn = Turn::take();
    let Some(page) = walk(addr).filter(|page| page.allows(access)) else {
        return Walked::Refused;
    };
    if KEPT.fetch_add(1, Relaxed) >= MOST_KEPT {
        forget_all();
    }
    let start = addr & !(page.size - 1);
    match ram::map(start, page.paddr, page.size, page.rights) {
        true => Walked::Kept,
        false => Walked::NoMemory,
    }
}

/// What the page table says of an address.
struct Page {
    paddr: usize,
    size: usize,
    /// As Linux has them.
    rights: i32,
}

impl Page {
    fn allows(&self, access: Access) -> bool {
        let needed = match access {
            Access::WRITE => ram::WRITE,
            Access::EXECUTE => ram::EXECUTE,
            _ => ram::READ,
        };
        self.rights & needed != 0
    }
}

/// Goes down four levels of raw entries (SDM 4.5). A right is had where every level
/// gives it.
fn walk(addr: usize) -> Option<Page> {
    const PRESENT: u64 = 1 << 0;
    const WRITABLE: u64 = 1 << 1;
    const LARGE: u64 = 1 << 7;
    const NO_EXECUTE: u64 = 1 << 63;
    const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

    let mut table = root();
    let mut rights = ram::READ | ram::WRITE | ram::EXECUTE;
    for shift in [39, 30, 21, 12] {
        let entry = ram::read(table + (addr >> shift) % 512 * 8)?;
        if entry & PRESENT == 0 {
            return None;
        }
        if entry & WRITABLE == 0 {
            rights &= !ram::WRITE;
        }
        if entry & NO_EXECUTE != 0 {
            rights &= !ram::EXECUTE;
        }
        table = (entry & ADDRESS) as usize;
        if entry & LARGE != 0 && shift > 12 {
            return Some(page(table, shift, rights));
        }
    }
    Some(page(table, 12, rights))
}

fn page(paddr: usize, shift: u32, rights: i32) -> Page {
    let size = 1 << shift;
    // In a large page's entry, low bits of the address mean something else.
    let paddr = paddr & !(size - 1);
    Page {
        paddr,
        size,
        rights,
    }
}

/// The thread that walks or forgets; 0 for none.
static WALKING: AtomicUsize = AtomicUsize::new(0);

/// Walking and keeping what was found are one step to whoever forgets: else a walker
/// could keep, after that, what it had read before.
///
/// A thread that forgets the stack it runs on walks for it in the midst of that.
pub struct Turn {
    is_outermost: bool,
}

impl Turn {
    /// Waits until no other thread walks or forgets.
    pub fn take() -> Self {
        let me = harts::this_thread();
        if WALKING.load(Relaxed) == me {
            return Self {
                is_outermost: false,
            };
        }
        while WALKING
            .compare_exchange_weak(0, me, Acquire, Relaxed)
            .is_err()
        {
            core::hint::spin_loop();
        }
        Self { is_outermost: true }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.is_outermost {
            WALKING.store(0, Release);
        }
    }
}
