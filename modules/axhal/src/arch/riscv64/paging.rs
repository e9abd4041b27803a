//! Sv39 page tables: `satp`, and `sfence.vma`, on this hart and, by SBI, on others.

use core::arch::asm;
use core::ops::Range;

use axplat::mem::PhysAddr;

use super::remote::for_each_mask;

/// Sv39's page-table format.
pub type PagingMeta = page_table_multiarch::riscv::Sv39MetaData<memory_addr::VirtAddr>;
/// The format of its entries.
pub type Pte = page_table_entry::riscv::Rv64PTE;

/// Whether one root page table translates both halves of the addresses.
pub const ONE_ROOT: bool = true;

/// Returns the bytes of the largest page, which is an Sv39 gigapage.
pub const fn largest_page() -> usize {
    1 << 30
}

/// Returns what a page's entry has beside its address and rights. The kernel's pages are
/// global: the TLB has them for every address space ("Addressing and Memory Protection").
pub const fn page_mark(kernel: bool) -> u64 {
    const G: u64 = 1 << 5;
    if kernel { G } else { 0 }
}

/// Does nothing: a walker that has missed a new entry faults, and the page-fault handler
/// finds the page mapped ("Supervisor Memory-Management Fence Instruction").
pub fn publish_entries() {}

/// `satp.MODE`: Sv39.
const SV39: usize = 8 << 60;
/// `satp.PPN`.
const PPN: usize = (1 << 44) - 1;
/// `satp.ASID`.
const ASID_SHIFT: u32 = 44;
const ASID: usize = 0xffff << ASID_SHIFT;

/// Returns the physical address of the root page table.
pub fn read_root() -> PhysAddr {
    let satp: usize;
    // SAFETY: reading the register has no effect.
    unsafe { asm!("csrr {}, satp", out(reg) satp, options(nomem, nostack)) };
    PhysAddr::from_usize((satp & PPN) << 12)
}

/// Sets the root page table.
///
/// # Safety
///
/// See [`set_kernel_root`](crate::paging::set_kernel_root).
pub unsafe fn write_root(root: PhysAddr) {
    // SAFETY: the caller's promise is the same as this function's requirement.
    unsafe { asm!("csrw satp, {}", in(reg) SV39 | root.as_usize() >> 12, options(nostack)) };
}

/// Returns the largest ASID. The machine has those bits of `satp.ASID` that keep what is
/// written to them ("Supervisor Address Translation and Protection Register").
pub fn max_asid() -> usize {
    let all: usize;
    // SAFETY: the root stays the same, and what the TLB caches meanwhile under the wrong ASID
    // is flushed below.
    unsafe {
        asm!(
            "csrr {before}, satp",
            "or {all}, {before}, {ones}",
            "csrw satp, {all}",
            "csrr {all}, satp",
            "csrw satp, {before}",
            before = out(reg) _,
            all = out(reg) all,
            ones = in(reg) ASID,
            options(nostack)
        );
    }
    flush_tlb_all();
    (all & ASID) >> ASID_SHIFT
}

/// Does nothing: each hart has a lower half of its own.
///
/// # Safety
///
/// No requirement here. See [`claim_user`](crate::paging::claim_user).
pub unsafe fn claim_user(_root: PhysAddr) {}

/// Makes this hart translate both halves by the table at `root`, with the ASID `asid`.
///
/// # Safety
///
/// See [`enter_user`](crate::paging::enter_user).
pub unsafe fn enter_user(root: PhysAddr, asid: usize) {
    let satp = SV39 | asid << ASID_SHIFT | root.as_usize() >> 12;
    // SAFETY: the caller's promise is the same as this function's requirement.
    unsafe { asm!("csrw satp, {}", in(reg) satp, options(nostack)) };
}

/// Leaves this hart's lower half without translations.
///
/// # Safety
///
/// See [`leave_user`](crate::paging::leave_user).
pub unsafe fn leave_user(kernel: PhysAddr) {
    let before: usize;
    // SAFETY: the caller says that nothing in the lower half is in use, and that `kernel` is
    // the kernel's root.
    unsafe {
        asm!("csrr {}, satp", out(reg) before, options(nostack));
        write_root(kernel);
    }
    // Without ASIDs the lower half's translations have the kernel's ASID 0, which stays in
    // use.
    if before & ASID == 0 {
        flush_asid(0);
    }
}

/// Flushes, on this hart, the translations of the ASID `asid` that are not global.
pub fn flush_asid(asid: usize) {
    // SAFETY: a flush changes no memory, and the TLB reads the page table again.
    unsafe { asm!("sfence.vma zero, {}", in(reg) asid, options(nostack)) };
}

/// Flushes one page's translations on this hart, in every address space.
pub fn flush_tlb_page(vaddr: usize) {
    // SAFETY: a flush changes no memory, and the TLB reads the page table again.
    unsafe { asm!("sfence.vma {}, zero", in(reg) vaddr, options(nostack)) };
}

/// Flushes all translations on this hart.
pub fn flush_tlb_all() {
    // SAFETY: a flush changes no memory, and the TLB reads the page table again.
    unsafe { asm!("sfence.vma", options(nostack)) };
}

/// Flushes the translations of every ASID on this hart, by a flush of everything.
pub use flush_tlb_all as flush_all_asids;

/// Flushes what this hart may hold of `pages` from before they were mapped. Invalid entries
/// may be cached at every level ("Supervisor Memory-Management Fence Instruction"). A fence
/// with an address flushes leaf entries alone, so this flushes everything.
#[cfg(feature = "multitask")]
pub fn flush_fresh(_pages: Range<usize>) {
    flush_tlb_all();
}

/// The most pages that are flushed one by one; for more, everything is flushed.
///
/// In QEMU a page takes 1143 ns. Everything takes 1316 ns, and 121 ns more for each page
/// that is used again. If 256 pages are, everything costs as much as `(1316 + 256 * 121) / 1143 = 28`
/// pages (`make A=apps/mmbench ARCH=riscv64 run`, rows `forget`).
pub const MAX_PAGE_FLUSHES: usize = 32;

/// Says that [`flush_tlb_page`] and [`flush_tlb_all`] flush on this hart alone.
pub const FLUSHES_EVERY_HART: bool = false;

/// Makes each hart of the set `harts` flush `pages`, by SBI's remote fence extension.
/// Returns when they have, and whether the firmware could do it.
pub fn remote_flush(harts: u64, pages: Range<usize>) -> bool {
    for_each_mask(harts, |mask| {
        sbi_rt::remote_sfence_vma(mask, pages.start, pages.len()).is_ok()
    })
}
