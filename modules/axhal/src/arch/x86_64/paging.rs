//! Four-level paging: CR3, and `invlpg`. No way to reach another hart's TLB.
#![cfg(feature = "paging")]

use core::ops::Range;

use axplat::mem::PhysAddr;
use x86::controlregs::{Cr0, Cr4, cr0, cr0_write, cr3, cr3_write, cr4, cr4_write};
use x86::cpuid::CpuId;
use x86::msr::{IA32_EFER, rdmsr, wrmsr};

/// The page-table format.
pub type PagingMeta = page_table_multiarch::x86_64::X64PagingMetaData;
/// Its entries.
pub type Pte = page_table_entry::x86_64::X64PTE;

/// Whether one root page table translates both halves of the addresses.
pub const ONE_ROOT: bool = true;

/// The bytes of the largest page: 1 GiB where the CPU has such pages, or 2 MiB.
pub fn largest_page() -> usize {
    let features = CpuId::new().get_extended_processor_and_feature_identifiers();
    match features.is_some_and(|features| features.has_1gib_pages()) {
        true => 1 << 30,
        false => 1 << 21,
    }
}

/// Nothing to do: harts see one another's writes in order, walkers too, and no
/// hart remembers that an entry was not present (SDM 5.10.4.3).
pub fn publish_entries() {}

/// CR3: the physical address of the root.
const ROOT: u64 = 0x000f_ffff_ffff_f000;
/// `IA32_EFER.NXE`: entries may forbid to execute.
const NO_EXECUTE_ENABLE: u64 = 1 << 11;

/// Makes this hart heed what an entry says: read-only binds the kernel too, no
/// execution, global.
pub fn init() {
    let cpu = CpuId::new();
    let has_no_execute = cpu
        .get_extended_processor_and_feature_identifiers()
        .is_some_and(|features| features.has_execute_disable());
    let has_global = cpu
        .get_feature_info()
        .is_some_and(|features| features.has_pge());
    // SAFETY: each bit is one the CPU has; the boot page table forbids nothing
    // and has no global entries, so that none of them changes what it says.
    unsafe {
        cr0_write(cr0() | Cr0::CR0_WRITE_PROTECT);
        if has_no_execute {
            wrmsr(IA32_EFER, rdmsr(IA32_EFER) | NO_EXECUTE_ENABLE);
        }
        if has_global {
            cr4_write(cr4() | Cr4::CR4_ENABLE_GLOBAL_PAGES);
        }
    }
}

/// The root page table.
pub fn read_root() -> PhysAddr {
    // SAFETY: reading the register changes nothing.
    PhysAddr::from_usize((unsafe { cr3() } & ROOT) as usize)
}

/// Changes the root page table.
///
/// # Safety
///
/// As [`set_kernel_root`](crate::paging::set_kernel_root).
pub unsafe fn write_root(root: PhysAddr) {
    // SAFETY: the caller's promise.
    unsafe { cr3_write(root.as_usize() as u64) };
}

/// Forgets one page's translation on this hart.
pub fn flush_tlb_page(vaddr: usize) {
    // SAFETY: forgetting translations is always right.
    unsafe { x86::tlb::flush(vaddr) };
}

/// Forgets all translations on this hart, global ones too: a change of
/// CR4.PGE does (SDM 5.10.4.1), a new CR3 does not.
pub fn flush_tlb_all() {
    // SAFETY: forgetting translations is always right; CR4 ends as it was.
    unsafe {
        let before = cr4();
        if before.contains(Cr4::CR4_ENABLE_GLOBAL_PAGES) {
            cr4_write(before - Cr4::CR4_ENABLE_GLOBAL_PAGES);
            cr4_write(before);
        } else {
            cr3_write(cr3());
        }
    }
}

/// Answers that other harts have to be asked, by interrupt.
pub fn remote_flush(_harts: u64, _pages: Range<usize>) -> bool {
    false
}
