//! The page table of x86_64, which software reads. Its translations are kept as mappings of
//! the process ([`tlb`](super::tlb)).
//!
//! ```text
//!   access ─► mapped in the process: Linux and the CPU do it
//!          └► SIGSEGV ─► walk the table ─┬─ allowed: map the page, try again
//!                                        └─ else: a page fault
//!   flush  ─► unmapped in the process, for all harts at once
//! ```

use core::ops::Range;
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::Relaxed;

use axplat::mem::PhysAddr;
use linux_host::ram;

pub use super::tlb::is_translated;
use super::tlb::{TlbLock, add};
use super::user;
use crate::access::Access;

/// The page-table format.
pub type PagingMeta = page_table_multiarch::x86_64::X64PagingMetaData;
/// The format of its entries.
pub type Pte = page_table_entry::x86_64::X64PTE;

/// Whether one root page table translates both halves of the addresses.
pub const ONE_ROOT: bool = true;

/// Returns the bytes of the largest page, which is 1 GiB.
pub fn largest_page() -> usize {
    1 << 30
}

/// Returns 0: a page's entry has only its address and rights.
pub const fn page_mark(_kernel: bool) -> u64 {
    0
}

/// Does nothing: a walk takes [`TlbLock`], which orders it behind the writer's flush.
pub fn publish_entries() {}

/// The kernel's root; 0 before the first is set. All harts have the same one, because a
/// process has one set of mappings.
static ROOT: AtomicUsize = AtomicUsize::new(0);

/// Returns the physical address of the root page table.
pub fn read_root() -> PhysAddr {
    PhysAddr::from_usize(root())
}

/// Returns the root of the address space that this hart is in, which also has the kernel
/// half. Outside of address spaces it returns the kernel's root.
fn root() -> usize {
    user::entered_root().unwrap_or_else(|| ROOT.load(Relaxed))
}

/// Sets the root page table.
///
/// # Safety
///
/// See [`set_kernel_root`](crate::paging::set_kernel_root).
pub unsafe fn write_root(root: PhysAddr) {
    ROOT.store(root.as_usize(), Relaxed);
}

/// Returns `false`: the caches of x86_64 are coherent.
pub const fn needs_cleaning() -> bool {
    false
}

/// Does nothing: see [`needs_cleaning`].
pub fn clean_code(_bytes: Range<usize>) {}

/// Does nothing. When a page becomes executable, Linux changes its mapping, and interrupts
/// the threads that had it.
pub fn refetch_instructions() {}

/// Returns `true`: Linux has interrupted other threads, as [`refetch_instructions`] says.
pub fn remote_refetch_instructions(_harts: u64) -> bool {
    true
}

/// The outcome of a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walked {
    /// The access can be made now.
    Kept,
    /// The page table does not allow the access.
    Refused,
    /// Linux has no memory for one more mapping.
    NoMemory,
}

/// Walks the page table for `addr`, and keeps the translation if it allows the access.
pub fn walk_for(addr: usize, access: Access) -> Walked {
    if !is_translated(addr) {
        return Walked::Refused;
    }
    let lock = TlbLock::lock();
    let Some(page) = walk(addr).filter(|page| page.allows(access)) else {
        return Walked::Refused;
    };
    let start = addr & !(page.size - 1);
    match add(&lock, start, page.paddr, page.size, page.rights) {
        true => Walked::Kept,
        false => Walked::NoMemory,
    }
}

/// A translation that a walk has found.
struct Page {
    paddr: usize,
    size: usize,
    /// The rights as bits of `linux_host::ram`.
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

/// Walks four levels of raw entries (SDM 4.5). A right holds if every level gives it.
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
    // Low bits of the address in a large page's entry have another meaning.
    let paddr = paddr & !(size - 1);
    Page {
        paddr,
        size,
        rights,
    }
}
