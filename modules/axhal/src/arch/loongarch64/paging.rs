//! The page table of the kernel half: `PGDH`, and `invtlb`.
#![cfg(feature = "paging")]

use core::arch::asm;
use core::ops::Range;

use axplat::mem::PhysAddr;

use super::csr::{self, ASID, PGDH, PGDL};

/// The page table's format: four levels.
pub type PagingMeta = page_table_multiarch::loongarch64::LA64MetaData;
/// Its entries.
pub type Pte = page_table_entry::loongarch64::LA64PTE;

/// Whether one root page table translates both halves of the addresses.
pub const ONE_ROOT: bool = false;

/// The bytes of the largest page: 1 GiB.
pub const fn largest_page() -> usize {
    1 << 30
}

/// What every entry of a page has beside its address and rights: nothing. The
/// refill makes those of the kernel half global.
pub const fn page_mark(_kernel: bool) -> u64 {
    0
}

/// Makes entries written before be seen by every hart's refill after.
pub fn publish_entries() {
    // SAFETY: a barrier changes nothing.
    unsafe { asm!("dbar 0", options(nostack)) };
}

/// The root page table of the kernel half.
pub fn read_root() -> PhysAddr {
    PhysAddr::from_usize(csr::read::<PGDH>())
}

/// Changes the root page table of the kernel half.
///
/// # Safety
///
/// As [`set_kernel_root`](crate::paging::set_kernel_root).
pub unsafe fn write_root(root: PhysAddr) {
    publish_entries();
    // SAFETY: the caller's promise.
    unsafe { csr::write::<PGDH>(root.as_usize()) };
}

/// "Address Space Identifier": the id, and how many bits of one there are.
const ASID_ID: usize = 0x3ff;
const ASID_BITS_SHIFT: u32 = 16;
const ASID_BITS: usize = 0xff;

/// The largest id that an address space can have.
pub fn max_asid() -> usize {
    let bits = csr::read::<ASID>() >> ASID_BITS_SHIFT & ASID_BITS;
    ((1 << bits) - 1) & ASID_ID
}

/// Nothing to wait for: this hart's lower half is its own.
///
/// # Safety
///
/// As [`claim_user`](crate::paging::claim_user).
pub unsafe fn claim_user(_root: PhysAddr) {}

/// Translates the lower half by the table at `root`, whose address space has the
/// id `asid`.
///
/// # Safety
///
/// As [`enter_user`](crate::paging::enter_user).
pub unsafe fn enter_user(root: PhysAddr, asid: usize) {
    publish_entries();
    // SAFETY: the caller's promise. Nothing of the lower half is used in between.
    unsafe {
        csr::write::<PGDL>(root.as_usize());
        csr::write_bits::<ASID>(ASID_ID, asid);
    }
}

/// Leaves the lower half without translations: a root of 0 is an empty table.
///
/// # Safety
///
/// As [`leave_user`](crate::paging::leave_user).
pub unsafe fn leave_user(_kernel: PhysAddr) {
    // SAFETY: the caller's promise.
    unsafe { enter_user(PhysAddr::from_usize(0), 0) };
}

/// Forgets, on this hart, what is not global of the address space `asid`: operation
/// 4 ("INVTLB").
pub fn flush_asid(asid: usize) {
    // SAFETY: forgetting translations is always right.
    unsafe { asm!("dbar 0", "invtlb 4, {}, $zero", in(reg) asid, options(nostack)) };
}

/// Forgets one page's translation on this hart, whatever its size: what is global,
/// or of the current address space, by operation 6 ("INVTLB").
pub fn flush_tlb_page(vaddr: usize) {
    let asid = csr::read::<ASID>() & ASID_ID;
    // SAFETY: forgetting translations is always right.
    unsafe { asm!("dbar 0", "invtlb 6, {}, {}", in(reg) asid, in(reg) vaddr, options(nostack)) };
}

/// Forgets all translations on this hart.
pub fn flush_tlb_all() {
    // SAFETY: forgetting translations is always right.
    unsafe { asm!("dbar 0", "invtlb 0, $zero, $zero", options(nostack)) };
}

/// Forgets all translations on this hart.
pub use flush_tlb_all as flush_all_asids;

/// Flushes what this hart may hold of `pages` from before they were mapped. A refill loads
/// a pair of pages, so an access to the neighbour of an absent page leaves that in the TLB
/// as not valid.
#[cfg(feature = "multitask")]
pub fn flush_fresh(pages: Range<usize>) {
    crate::tlb::flush_here(pages);
}

/// More pages than this are forgotten by forgetting everything. In QEMU a page takes
/// 2645 ns, everything 3297 ns and 254 ns for each page that is used again: as much as
/// `(3297 + 256 * 254) / 2645 = 26` pages, if 256 are (`make
/// A=apps/mmbench ARCH=loongarch64 run`, rows `forget`).
pub const MOST_PAGES: usize = 32;

/// Only this hart forgets with the two above.
pub const FORGETS_EVERYWHERE: bool = false;

/// No hart can make another forget: it must be interrupted.
pub fn remote_flush(_harts: u64, _pages: Range<usize>) -> bool {
    false
}
