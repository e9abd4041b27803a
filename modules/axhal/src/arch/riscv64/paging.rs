//! Sv39: `satp`, and `sfence.vma` here and, by SBI, on other harts.
#![cfg(feature = "paging")]

use core::arch::asm;
use core::ops::Range;

use axplat::mem::PhysAddr;

use crate::hart::hardware_id;

/// Sv39's page-table format.
pub type PagingMeta = page_table_multiarch::riscv::Sv39MetaData<memory_addr::VirtAddr>;
/// Its entries.
pub type Pte = page_table_entry::riscv::Rv64PTE;

/// Whether one root page table translates both halves of the addresses.
pub const ONE_ROOT: bool = true;

/// The bytes of the largest page: an Sv39 gigapage.
pub const fn largest_page() -> usize {
    1 << 30
}

/// What every entry of a page has beside its address and rights. The kernel's are
/// global: in the TLB for every address space ("Addressing and Memory Protection").
pub const fn page_mark(kernel: bool) -> u64 {
    const G: u64 = 1 << 5;
    if kernel { G } else { 0 }
}

/// Nothing to do: a walker that has missed a fresh entry faults, and the
/// handler finds the page there ("Supervisor Memory-Management Fence
/// Instruction").
pub fn publish_entries() {}

/// `satp.MODE`: Sv39.
const SV39: usize = 8 << 60;
/// `satp.PPN`.
const PPN: usize = (1 << 44) - 1;
/// `satp.ASID`.
const ASID_SHIFT: u32 = 44;
const ASID: usize = 0xffff << ASID_SHIFT;

/// The root page table.
pub fn read_root() -> PhysAddr {
    let satp: usize;
    // SAFETY: reading the register changes nothing.
    unsafe { asm!("csrr {}, satp", out(reg) satp, options(nomem, nostack)) };
    PhysAddr::from_usize((satp & PPN) << 12)
}

/// Changes the root page table.
///
/// # Safety
///
/// As [`set_kernel_root`](crate::paging::set_kernel_root).
pub unsafe fn write_root(root: PhysAddr) {
    // SAFETY: the caller's promise.
    unsafe { asm!("csrw satp, {}", in(reg) SV39 | root.as_usize() >> 12, options(nostack)) };
}

/// The largest id that an address space can have: those bits of `satp.ASID` that
/// keep what is written to them ("Supervisor Address Translation and Protection
/// Register").
pub fn max_asid() -> usize {
    let all: usize;
    // SAFETY: the root stays, and what was cached meanwhile is forgotten.
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

/// Nothing to wait for: this hart's lower half is its own.
///
/// # Safety
///
/// As [`claim_user`](crate::paging::claim_user).
pub unsafe fn claim_user(_root: PhysAddr) {}

/// Translates the lower half, too, by the table at `root`, whose address space has
/// the id `asid`.
///
/// # Safety
///
/// As [`enter_user`](crate::paging::enter_user).
pub unsafe fn enter_user(root: PhysAddr, asid: usize) {
    let satp = SV39 | asid << ASID_SHIFT | root.as_usize() >> 12;
    // SAFETY: the caller's promise.
    unsafe { asm!("csrw satp, {}", in(reg) satp, options(nostack)) };
}

/// Leaves the lower half without translations.
///
/// # Safety
///
/// As [`leave_user`](crate::paging::leave_user).
pub unsafe fn leave_user(kernel: PhysAddr) {
    let before: usize;
    // SAFETY: the caller's promise.
    unsafe {
        asm!("csrr {}, satp", out(reg) before, options(nostack));
        write_root(kernel);
    }
    // Without ids what was translated there has the kernel's, which stays in use.
    if before & ASID == 0 {
        flush_asid(0);
    }
}

/// Forgets, on this hart, what is not global of the address space `asid`.
pub fn flush_asid(asid: usize) {
    // SAFETY: forgetting translations is always right.
    unsafe { asm!("sfence.vma zero, {}", in(reg) asid, options(nostack)) };
}

/// Forgets one page's translation on this hart, in every address space.
pub fn flush_tlb_page(vaddr: usize) {
    // SAFETY: forgetting translations is always right.
    unsafe { asm!("sfence.vma {}, zero", in(reg) vaddr, options(nostack)) };
}

/// Forgets all translations on this hart.
pub fn flush_tlb_all() {
    // SAFETY: forgetting translations is always right.
    unsafe { asm!("sfence.vma", options(nostack)) };
}

/// Forgets all translations on this hart.
pub use flush_tlb_all as flush_all_asids;

/// Flushes what this hart may hold of `pages` from before they were mapped: invalid
/// entries, which may be cached at every level ("Supervisor Memory-Management Fence
/// Instruction"). A fence with an address is for leaf entries alone.
#[cfg(feature = "multitask")]
pub fn flush_fresh(_pages: Range<usize>) {
    flush_tlb_all();
}

/// More pages than this are forgotten by forgetting everything. In QEMU a page takes
/// 1143 ns, everything 1316 ns and 121 ns for each page that is used again: as much as
/// `(1316 + 256 * 121) / 1143 = 28` pages, if 256 are (`make
/// A=apps/mmbench ARCH=riscv64 run`, rows `forget`).
pub const MOST_PAGES: usize = 32;

/// Only this hart forgets with the two above.
pub const FORGETS_EVERYWHERE: bool = false;

/// Makes each hart of the set `harts` forget `pages`: SBI's remote fence
/// extension, which returns when they have.
pub fn remote_flush(harts: u64, pages: Range<usize>) -> bool {
    for_each_mask(harts, |mask| {
        sbi_rt::remote_sfence_vma(mask, pages.start, pages.len()).is_ok()
    })
}

/// Calls `ask` for the harts of a set, until it returns false. One call has up to 64
/// hardware ids from the lowest on, so that harts are asked at the same time, not in turn.
/// Returns whether all calls were answered by true.
pub(super) fn for_each_mask(harts: u64, ask: impl Fn(sbi_rt::HartMask) -> bool) -> bool {
    let mut left = harts;
    while left != 0 {
        let ids = bits(left).map(|number| (number, hardware_id(number)));
        let base = ids.clone().map(|(_, id)| id).min().unwrap_or(0);
        let (mut asked, mut mask) = (0, 0);
        for (number, id) in ids.filter(|(_, id)| id - base < 64) {
            asked |= 1 << number;
            mask |= 1 << (id - base);
        }
        if !ask(sbi_rt::HartMask::from_mask_base(mask, base)) {
            return false;
        }
        left &= !asked;
    }
    true
}

/// The numbers of the bits that are set.
fn bits(set: u64) -> impl Iterator<Item = usize> + Clone {
    (0..64).filter(move |number| set & 1 << number != 0)
}
