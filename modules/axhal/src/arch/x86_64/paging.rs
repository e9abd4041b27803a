//! Page tables of four levels: CR3, and `invlpg`. A hart cannot flush another hart's TLB.

use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering};

use axplat::mem::PhysAddr;
use x86::controlregs::{Cr0, Cr4, cr0, cr0_write, cr3, cr3_write, cr4, cr4_write};
use x86::cpuid::CpuId;
use x86::msr::{IA32_EFER, rdmsr, wrmsr};

/// The page-table format.
pub type PagingMeta = page_table_multiarch::x86_64::X64PagingMetaData;
/// The format of its entries.
pub type Pte = page_table_entry::x86_64::X64PTE;

/// Whether one root page table translates both halves of the addresses.
pub const ONE_ROOT: bool = true;

/// Returns the bytes of the largest page: 1 GiB where the CPU has such pages, or 2 MiB.
pub fn largest_page() -> usize {
    LARGEST_PAGE.load(Ordering::Relaxed)
}

/// The bytes of the largest page. It is 2 MiB until [`enable_paging_features`] has asked the
/// CPU, which is slow. Relaxed: either size is right at any time.
static LARGEST_PAGE: AtomicUsize = AtomicUsize::new(1 << 21);

fn find_largest_page() -> usize {
    let features = CpuId::new().get_extended_processor_and_feature_identifiers();
    match features.is_some_and(|features| features.has_1gib_pages()) {
        true => 1 << 30,
        false => 1 << 21,
    }
}

/// Returns what a page's entry has beside its address and rights. The kernel's pages are
/// global: the TLB has them for every address space (SDM 5.10.2.4).
pub const fn page_mark(kernel: bool) -> u64 {
    const GLOBAL: u64 = 1 << 8;
    if kernel { GLOBAL } else { 0 }
}

/// Does nothing. Harts and their walkers see each other's writes in order, and no hart caches
/// an entry that is not present (SDM 5.10.4.3).
pub fn publish_entries() {}

/// CR3: the physical address of the root.
const ROOT: u64 = 0x000f_ffff_ffff_f000;
/// The largest process-context identifier.
const MAX_PCID: usize = 0xfff;
/// A write to CR3 with this bit flushes no translation.
const KEEP: u64 = 1 << 63;
/// `IA32_EFER.NXE`: entries may forbid execution.
const NO_EXECUTE_ENABLE: u64 = 1 << 11;

/// Enables pages that the kernel itself cannot write, and what the CPU supports of these: pages
/// that forbid execution, global pages, and PCIDs, which are the ASIDs of x86. Called on each
/// hart.
pub(crate) fn enable_paging_features() {
    LARGEST_PAGE.store(find_largest_page(), Ordering::Relaxed);
    let cpu = CpuId::new();
    let has_no_execute = cpu
        .get_extended_processor_and_feature_identifiers()
        .is_some_and(|features| features.has_execute_disable());
    let features = cpu.get_feature_info();
    let has_global = features.as_ref().is_some_and(|features| features.has_pge());
    let has_pcid = features.is_some_and(|features| features.has_pcid());
    // SAFETY: the CPU supports each bit that is set. The boot page table allows every access
    // and has no global entries, so the bits do not change its meaning.
    unsafe {
        cr0_write(cr0() | Cr0::CR0_WRITE_PROTECT);
        if has_no_execute {
            wrmsr(IA32_EFER, rdmsr(IA32_EFER) | NO_EXECUTE_ENABLE);
        }
        if has_global {
            cr4_write(cr4() | Cr4::CR4_ENABLE_GLOBAL_PAGES);
        }
        // Without global pages the TLB would hold the kernel's translations once for each
        // PCID, and `invlpg` flushes only the current PCID's.
        if has_global && has_pcid {
            cr4_write(cr4() | Cr4::CR4_ENABLE_PCID);
        }
    }
}

/// Returns the physical address of the root page table.
pub fn read_root() -> PhysAddr {
    // SAFETY: reading the register has no effect.
    PhysAddr::from_usize((unsafe { cr3() } & ROOT) as usize)
}

/// Changes the root page table.
///
/// # Safety
///
/// See [`set_kernel_root`](crate::paging::set_kernel_root).
pub unsafe fn write_root(root: PhysAddr) {
    // SAFETY: the caller's promise is the same as this function's requirement.
    unsafe { cr3_write(root.as_usize() as u64) };
}

/// Returns the largest ASID, which x86 calls a PCID. It is 0 on a CPU without PCIDs.
pub fn max_asid() -> usize {
    match has_pcid() {
        true => MAX_PCID,
        false => 0,
    }
}

fn has_pcid() -> bool {
    // SAFETY: reading the register has no effect.
    unsafe { cr4() }.contains(Cr4::CR4_ENABLE_PCID)
}

/// Does nothing: each hart has a lower half of its own.
///
/// # Safety
///
/// No requirement here. See [`claim_user`](crate::paging::claim_user).
pub unsafe fn claim_user(_root: PhysAddr) {}

/// Makes this hart translate all addresses by the table at `root`, with the ASID `asid`.
/// Without PCIDs that flushes all translations that are not global.
///
/// # Safety
///
/// See [`enter_user`](crate::paging::enter_user).
pub unsafe fn enter_user(root: PhysAddr, asid: usize) {
    let keep = if has_pcid() { KEEP } else { 0 };
    // SAFETY: the caller's promise is the same as this function's requirement.
    unsafe { cr3_write(keep | (root.as_usize() | asid) as u64) };
}

/// Leaves this hart's lower half without translations.
///
/// # Safety
///
/// See [`leave_user`](crate::paging::leave_user).
pub unsafe fn leave_user(kernel: PhysAddr) {
    // SAFETY: the kernel's table maps all that the kernel uses, and the caller says that
    // nothing in the lower half is in use.
    unsafe { enter_user(kernel, 0) };
}

/// Flushes, on this hart, the translations of the current ASID that are not global (SDM
/// 5.10.4.1, "MOV to CR3"). Callers pass the current ASID.
pub fn flush_asid(_asid: usize) {
    // SAFETY: a flush changes no memory, and the TLB reads the page table again.
    unsafe { cr3_write(cr3()) };
}

/// Flushes one page's translation on this hart.
pub fn flush_tlb_page(vaddr: usize) {
    // SAFETY: a flush changes no memory, and the TLB reads the page table again.
    unsafe { x86::tlb::flush(vaddr) };
}

/// Flushes all translations on this hart, global ones too. A change of CR4.PGE does that (SDM
/// 5.10.4.1), a write to CR3 does not.
pub fn flush_tlb_all() {
    // SAFETY: a flush changes no memory, and CR4 has its old value at the end.
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

/// Flushes the translations of every ASID on this hart, by a flush of everything.
pub use flush_tlb_all as flush_all_asids;

/// Does nothing: no hart caches an entry that is not present (SDM 5.10.2.3, 5.10.3.1).
#[cfg(feature = "multitask")]
pub fn flush_fresh(_pages: Range<usize>) {}

/// The most pages that are flushed one by one; for more, everything is flushed.
///
/// In QEMU a page takes 167 ns. Everything takes 36900 ns, and 86 ns more for each page
/// that is used again. If 256 pages are, everything costs as much as `(36900 + 256 * 86) / 167 = 353`
/// pages (`make A=apps/mmbench ARCH=x86_64 run`, rows `forget`).
pub const MAX_PAGE_FLUSHES: usize = 256;

/// Says that [`flush_tlb_page`] and [`flush_tlb_all`] flush on this hart alone.
pub const FLUSHES_EVERY_HART: bool = false;

/// Returns `false`: another hart must be interrupted to flush.
pub fn remote_flush(_harts: u64, _pages: Range<usize>) -> bool {
    false
}
