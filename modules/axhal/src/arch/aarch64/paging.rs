//! VMSAv8-64 with four levels: `TTBR1_EL1` for the kernel half, and `tlbi`,
//! which reaches every hart.
#![cfg(feature = "paging")]

use core::arch::asm;
use core::ops::Range;

use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{
    ID_AA64MMFR0_EL1, ReadWriteable, Readable, TCR_EL1, TTBR0_EL1, TTBR1_EL1, Writeable,
};
use axplat::mem::PhysAddr;

/// VMSAv8-64's page-table format.
pub type PagingMeta = page_table_multiarch::aarch64::A64PagingMetaData;
/// Its entries.
pub type Pte = page_table_entry::aarch64::A64PTE;

/// Whether one root page table translates both halves of the addresses.
pub const ONE_ROOT: bool = false;

/// The bytes of the largest page: a level 1 block.
pub const fn largest_page() -> usize {
    1 << 30
}

/// What every entry of a page has beside its address and rights. Those that are
/// not the kernel's are not global (`nG`): the TLB has them for one address space.
pub const fn page_mark(kernel: bool) -> u64 {
    const NOT_GLOBAL: u64 = 1 << 11;
    if kernel { 0 } else { NOT_GLOBAL }
}

/// Waits until the entries are where walkers look, and lets this hart's
/// instructions after it find them ("Ordering and observability of translation
/// table walks").
pub fn publish_entries() {
    barrier::dsb(barrier::ISHST);
    barrier::isb(barrier::SY);
}

/// The root page table.
pub fn read_root() -> PhysAddr {
    PhysAddr::from_usize(TTBR1_EL1.get_baddr() as usize)
}

/// Changes the root page table, and leaves the lower half without one.
///
/// The ASID that the boot page table's entries are tagged with goes in the same
/// instruction, so none of them meets an entry of the new table for the same
/// address and another size in the TLB. From then on `TTBR0_EL1` names the ASID,
/// as it must for address spaces in the lower half.
///
/// # Safety
///
/// As [`set_kernel_root`](crate::paging::set_kernel_root).
pub unsafe fn write_root(root: PhysAddr) {
    publish_entries();
    TTBR1_EL1.set_baddr(root.as_usize() as u64);
    barrier::isb(barrier::SY);
    TCR_EL1.modify(TCR_EL1::EPD0::DisableTTBR0Walks + TCR_EL1::A1::TTBR0);
    barrier::isb(barrier::SY);
}

/// A table without entries, for the lower half when no user's is loaded.
#[repr(C, align(4096))]
struct Empty([u64; 512]);
static EMPTY: Empty = Empty([0; 512]);

const ASID_SHIFT: u32 = 48;

/// The largest id that an address space can have: 16 bits where the CPU has them,
/// or 8.
pub fn max_asid() -> usize {
    match ID_AA64MMFR0_EL1.matches_all(ID_AA64MMFR0_EL1::ASIDBits::Bits_16) {
        true => 0xffff,
        false => 0xff,
    }
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
    TTBR0_EL1.set((root.as_usize() | asid << ASID_SHIFT) as u64);
    barrier::isb(barrier::SY);
    if TCR_EL1.is_set(TCR_EL1::EPD0) {
        let width = match max_asid() {
            0xffff => TCR_EL1::AS::ASID16Bits,
            _ => TCR_EL1::AS::ASID8Bits,
        };
        TCR_EL1.modify(TCR_EL1::EPD0::EnableTTBR0Walks + width);
        barrier::isb(barrier::SY);
    }
}

/// Leaves the lower half without translations.
///
/// # Safety
///
/// As [`leave_user`](crate::paging::leave_user).
pub unsafe fn leave_user(_kernel: PhysAddr) {
    let empty = axplat::mem::virt_to_phys((&raw const EMPTY as usize).into());
    // SAFETY: the table maps nothing.
    unsafe { enter_user(empty, 0) };
}

/// Forgets, on this hart, what is not global of the address space `asid`.
pub fn flush_asid(asid: usize) {
    // SAFETY: forgetting translations is always right.
    unsafe { asm!("tlbi aside1, {}", in(reg) asid << ASID_SHIFT, options(nostack)) };
    barrier::dsb(barrier::NSH);
    barrier::isb(barrier::SY);
}

/// Forgets all translations on this hart.
pub fn flush_all_asids() {
    // SAFETY: forgetting translations is always right.
    unsafe { asm!("tlbi vmalle1", options(nostack)) };
    barrier::dsb(barrier::NSH);
    barrier::isb(barrier::SY);
}

/// Forgets one page's translation, in every address space, on every hart.
pub fn flush_tlb_page(vaddr: usize) {
    /// `tlbi` takes bits 55 to 12 of the address; above them is a hint.
    const PAGE: usize = (1 << 44) - 1;
    barrier::dsb(barrier::ISHST);
    // SAFETY: forgetting translations is always right.
    unsafe { asm!("tlbi vaae1is, {}", in(reg) vaddr >> 12 & PAGE, options(nostack)) };
    barrier::dsb(barrier::ISH);
    barrier::isb(barrier::SY);
}

/// Forgets all translations, on every hart.
pub fn flush_tlb_all() {
    barrier::dsb(barrier::ISHST);
    // SAFETY: forgetting translations is always right.
    unsafe { asm!("tlbi vmalle1is", options(nostack)) };
    barrier::dsb(barrier::ISH);
    barrier::isb(barrier::SY);
}

/// Nothing is flushed, for no hart caches an entry that is not valid. But without
/// FEAT_ETS2 this hart may have translated an access early, before it knew of the mapping:
/// what comes behind a context synchronization is translated anew.
#[cfg(feature = "multitask")]
pub fn flush_fresh(_pages: Range<usize>) {
    barrier::isb(barrier::SY);
}

/// More pages than this are forgotten by forgetting everything. In QEMU a page takes
/// 308 ns, everything 19358 ns and 152 ns for each page that is used again: as much as
/// `(19358 + 256 * 152) / 308 = 189` pages, if 256 are (`make
/// A=apps/mmbench ARCH=aarch64 run`, rows `forget`).
pub const MOST_PAGES: usize = 128;

/// Every hart forgets with the two above.
pub const FORGETS_EVERYWHERE: bool = true;

/// Nothing is left to do: what this hart has forgotten, every hart has.
pub fn remote_flush(_harts: u64, _pages: Range<usize>) -> bool {
    true
}
