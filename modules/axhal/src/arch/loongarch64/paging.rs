//! Page tables: `PGDL` for the lower half, `PGDH` for the kernel half, and `invtlb`.

use core::arch::asm;
use core::ops::Range;

use axplat::mem::PhysAddr;

#[cfg(feature = "multitask")]
use super::super::flush_range::flush_range;
use super::csr::{self, ASID, PGDH, PGDL};

/// The page table's format, of four levels.
pub type PagingMeta = page_table_multiarch::loongarch64::LA64MetaData;
/// The format of its entries.
pub type Pte = page_table_entry::loongarch64::LA64PTE;

/// Whether one root page table translates both halves of the addresses.
pub const ONE_ROOT: bool = false;

/// Returns the bytes of the largest page, which is 1 GiB.
pub const fn largest_page() -> usize {
    1 << 30
}

/// Returns 0: a page's entry has only its address and rights. The refill makes pages of the
/// kernel half global.
pub const fn page_mark(_kernel: bool) -> u64 {
    0
}

/// Makes entries that were written before it visible to every hart's later refills.
pub fn publish_entries() {
    // SAFETY: a barrier changes no memory.
    unsafe { asm!("dbar 0", options(nostack)) };
}

/// Returns the physical address of the root page table of the kernel half.
pub fn read_root() -> PhysAddr {
    PhysAddr::from_usize(csr::read::<PGDH>())
}

/// Sets the root page table of the kernel half.
///
/// # Safety
///
/// See [`set_kernel_root`](crate::paging::set_kernel_root).
pub unsafe fn write_root(root: PhysAddr) {
    publish_entries();
    // SAFETY: the caller's promise is the same as this function's requirement.
    unsafe { csr::write::<PGDH>(root.as_usize()) };
}

/// The fields of "Address Space Identifier": the ASID, and the number of bits it has.
const ASID_ID: usize = 0x3ff;
const ASID_BITS_SHIFT: u32 = 16;
const ASID_BITS: usize = 0xff;

/// Returns the largest ASID.
pub fn max_asid() -> usize {
    let bits = csr::read::<ASID>() >> ASID_BITS_SHIFT & ASID_BITS;
    ((1 << bits) - 1) & ASID_ID
}

/// Does nothing: each hart has a lower half of its own.
///
/// # Safety
///
/// No requirement here. See [`claim_user`](crate::paging::claim_user).
pub unsafe fn claim_user(_root: PhysAddr) {}

/// Makes this hart translate the lower half by the table at `root`, with the ASID `asid`.
///
/// # Safety
///
/// See [`enter_user`](crate::paging::enter_user).
pub unsafe fn enter_user(root: PhysAddr, asid: usize) {
    publish_entries();
    // SAFETY: the caller says that the table is right for the lower half, of which no address
    // is used between the two writes.
    unsafe {
        csr::write::<PGDL>(root.as_usize());
        csr::write_bits::<ASID>(ASID_ID, asid);
    }
}

/// Leaves this hart's lower half without translations. To the refill a root of 0 is an empty table.
///
/// # Safety
///
/// See [`leave_user`](crate::paging::leave_user).
pub unsafe fn leave_user(_kernel: PhysAddr) {
    // SAFETY: the caller's promise is the same as this function's requirement.
    unsafe { enter_user(PhysAddr::from_usize(0), 0) };
}

/// Flushes, on this hart, the translations of the ASID `asid` that are not global, by
/// operation 4 ("INVTLB").
pub fn flush_asid(asid: usize) {
    // SAFETY: a flush changes no memory, and the TLB reads the page table again.
    unsafe { asm!("dbar 0", "invtlb 4, {}, $zero", in(reg) asid, options(nostack)) };
}

/// Flushes one page's translation on this hart, whatever the page's size, by operation 6
/// ("INVTLB"). It flushes global translations and those of the current address space.
pub fn flush_tlb_page(vaddr: usize) {
    let asid = csr::read::<ASID>() & ASID_ID;
    // SAFETY: a flush changes no memory, and the TLB reads the page table again.
    unsafe { asm!("dbar 0", "invtlb 6, {}, {}", in(reg) asid, in(reg) vaddr, options(nostack)) };
}

/// Flushes all translations on this hart.
pub fn flush_tlb_all() {
    // SAFETY: a flush changes no memory, and the TLB reads the page table again.
    unsafe { asm!("dbar 0", "invtlb 0, $zero, $zero", options(nostack)) };
}

/// Flushes the translations of every ASID on this hart, by a flush of everything.
pub use flush_tlb_all as flush_all_asids;

/// Flushes what this hart may hold of `pages` from before they were mapped. A refill loads
/// a pair of pages. So an access to the neighbour of an absent page leaves an entry of the
/// absent page, which is not valid, in the TLB.
#[cfg(feature = "multitask")]
pub fn flush_fresh(pages: Range<usize>) {
    flush_range(pages, MAX_PAGE_FLUSHES, flush_tlb_page, flush_tlb_all);
}

/// The most pages that are flushed one by one; for more, everything is flushed.
///
/// In QEMU a page takes 2645 ns. Everything takes 3297 ns, and 254 ns more for each page
/// that is used again. If 256 pages are, everything costs as much as `(3297 + 256 * 254) / 2645 = 26`
/// pages (`make A=apps/mmbench ARCH=loongarch64 run`, rows `forget`).
pub const MAX_PAGE_FLUSHES: usize = 32;

/// Says that [`flush_tlb_page`] and [`flush_tlb_all`] flush on this hart alone.
pub const FLUSHES_EVERY_HART: bool = false;

/// Returns `false`: another hart must be interrupted to flush.
pub fn remote_flush(_harts: u64, _pages: Range<usize>) -> bool {
    false
}
