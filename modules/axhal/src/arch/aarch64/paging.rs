//! Page tables of VMSAv8-64, with four levels: `TTBR0_EL1` for the lower half, `TTBR1_EL1` for
//! the kernel half, and `tlbi`, which can flush on every hart.

use core::arch::asm;
use core::ops::Range;

use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{
    ID_AA64MMFR0_EL1, ReadWriteable, Readable, TCR_EL1, TTBR0_EL1, TTBR1_EL1, Writeable,
};
use axplat::mem::PhysAddr;

/// VMSAv8-64's page-table format.
pub type PagingMeta = page_table_multiarch::aarch64::A64PagingMetaData;
/// The format of its entries.
pub type Pte = page_table_entry::aarch64::A64PTE;

/// Whether one root page table translates both halves of the addresses.
pub const ONE_ROOT: bool = false;

/// Returns the bytes of the largest page, which is a level 1 block.
pub const fn largest_page() -> usize {
    1 << 30
}

/// Returns what a page's entry has beside its address and rights. Pages that are not the
/// kernel's are not global (`nG`): the TLB has them for one address space.
pub const fn page_mark(kernel: bool) -> u64 {
    const NOT_GLOBAL: u64 = 1 << 11;
    if kernel { 0 } else { NOT_GLOBAL }
}

/// Waits until walkers see the entries that were written before it, and makes this hart's
/// later instructions use them ("Ordering and observability of translation table walks").
pub fn publish_entries() {
    barrier::dsb(barrier::ISHST);
    barrier::isb(barrier::SY);
}

/// Returns the physical address of the root page table.
pub fn read_root() -> PhysAddr {
    PhysAddr::from_usize(TTBR1_EL1.get_baddr() as usize)
}

/// Sets the root page table of the kernel half, and leaves the lower half without one.
///
/// `set_baddr` writes the whole register, so the ASID changes from that of the boot page table
/// to 0 together with the root. So the TLB never holds, under one ASID, entries of both tables
/// for the same address with different sizes. `TCR_EL1.A1` then takes the ASID from
/// `TTBR0_EL1`, as address spaces in the lower half need.
///
/// # Safety
///
/// See [`set_kernel_root`](crate::paging::set_kernel_root).
pub unsafe fn write_root(root: PhysAddr) {
    publish_entries();
    TTBR1_EL1.set_baddr(root.as_usize() as u64);
    barrier::isb(barrier::SY);
    TCR_EL1.modify(TCR_EL1::EPD0::DisableTTBR0Walks + TCR_EL1::A1::TTBR0);
    barrier::isb(barrier::SY);
}

/// A table without entries, for the lower half of a hart that is in no address space.
#[repr(C, align(4096))]
struct Empty([u64; 512]);
static EMPTY: Empty = Empty([0; 512]);

const ASID_SHIFT: u32 = 48;

/// Returns the largest ASID: it has 16 bits where the CPU supports that, and 8 elsewhere.
pub fn max_asid() -> usize {
    match ID_AA64MMFR0_EL1.matches_all(ID_AA64MMFR0_EL1::ASIDBits::Bits_16) {
        true => 0xffff,
        false => 0xff,
    }
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

/// Leaves this hart's lower half without translations.
///
/// # Safety
///
/// See [`leave_user`](crate::paging::leave_user).
pub unsafe fn leave_user(_kernel: PhysAddr) {
    let empty = axplat::mem::virt_to_phys((&raw const EMPTY as usize).into());
    // SAFETY: the empty table has no translations and exists for ever, and the caller says
    // that nothing in the lower half is in use.
    unsafe { enter_user(empty, 0) };
}

/// Flushes, on this hart, the translations of the ASID `asid` that are not global.
pub fn flush_asid(asid: usize) {
    // SAFETY: a flush changes no memory, and the TLB reads the page table again.
    unsafe { asm!("tlbi aside1, {}", in(reg) asid << ASID_SHIFT, options(nostack)) };
    barrier::dsb(barrier::NSH);
    barrier::isb(barrier::SY);
}

/// Flushes all translations on this hart.
pub fn flush_all_asids() {
    // SAFETY: a flush changes no memory, and the TLB reads the page table again.
    unsafe { asm!("tlbi vmalle1", options(nostack)) };
    barrier::dsb(barrier::NSH);
    barrier::isb(barrier::SY);
}

/// Flushes one page's translations, in every address space, on every hart.
pub fn flush_tlb_page(vaddr: usize) {
    /// `tlbi` takes bits 55 to 12 of the address. The bits above them are a hint.
    const PAGE: usize = (1 << 44) - 1;
    barrier::dsb(barrier::ISHST);
    // SAFETY: a flush changes no memory, and the TLB reads the page table again.
    unsafe { asm!("tlbi vaae1is, {}", in(reg) vaddr >> 12 & PAGE, options(nostack)) };
    barrier::dsb(barrier::ISH);
    barrier::isb(barrier::SY);
}

/// Flushes all translations, on every hart.
pub fn flush_tlb_all() {
    barrier::dsb(barrier::ISHST);
    // SAFETY: a flush changes no memory, and the TLB reads the page table again.
    unsafe { asm!("tlbi vmalle1is", options(nostack)) };
    barrier::dsb(barrier::ISH);
    barrier::isb(barrier::SY);
}

/// Makes this hart translate its later accesses anew. There is no entry to flush, because no
/// hart caches an entry that is not valid. But without FEAT_ETS2 this hart may have
/// translated an access early, before it learned of the mapping. An access behind a context
/// synchronization is translated after it.
#[cfg(feature = "multitask")]
pub fn flush_fresh(_pages: Range<usize>) {
    barrier::isb(barrier::SY);
}

/// The most pages that are flushed one by one; for more, everything is flushed.
///
/// In QEMU a page takes 308 ns. Everything takes 19358 ns, and 152 ns more for each page
/// that is used again. If 256 pages are, everything costs as much as `(19358 + 256 * 152) / 308 = 189`
/// pages (`make A=apps/mmbench ARCH=aarch64 run`, rows `forget`).
pub const MAX_PAGE_FLUSHES: usize = 128;

/// Says that [`flush_tlb_page`] and [`flush_tlb_all`] flush on every hart.
pub const FLUSHES_EVERY_HART: bool = true;

/// Returns `true`: this hart's own flush has flushed every hart.
pub fn remote_flush(_harts: u64, _pages: Range<usize>) -> bool {
    true
}
