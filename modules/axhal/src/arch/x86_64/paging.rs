//! Four-level paging: CR3, and `invlpg`. No way to reach another hart's TLB.
#![cfg(feature = "paging")]

use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering};

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
    LARGEST_PAGE.load(Ordering::Relaxed)
}

/// The smaller of the two until `init` has asked the CPU, which takes a while.
static LARGEST_PAGE: AtomicUsize = AtomicUsize::new(1 << 21);

fn find_largest_page() -> usize {
    let features = CpuId::new().get_extended_processor_and_feature_identifiers();
    match features.is_some_and(|features| features.has_1gib_pages()) {
        true => 1 << 30,
        false => 1 << 21,
    }
}

/// What every entry of a page has beside its address and rights. The kernel's are
/// global: in the TLB for every address space (SDM 5.10.2.4).
pub const fn page_mark(kernel: bool) -> u64 {
    const GLOBAL: u64 = 1 << 8;
    if kernel { GLOBAL } else { 0 }
}

/// Nothing to do: harts see one another's writes in order, walkers too, and no
/// hart remembers that an entry was not present (SDM 5.10.4.3).
pub fn publish_entries() {}

/// CR3: the physical address of the root.
const ROOT: u64 = 0x000f_ffff_ffff_f000;
/// The largest process-context identifier.
const MAX_PCID: usize = 0xfff;
/// A value that is written to CR3 with this bit makes nothing be forgotten.
const KEEP: u64 = 1 << 63;
/// `IA32_EFER.NXE`: entries may forbid to execute.
const NO_EXECUTE_ENABLE: u64 = 1 << 11;

/// Makes this hart heed what an entry says: read-only binds the kernel too, no
/// execution, global. And lets it tell address spaces apart, by PCID.
pub(super) fn init() {
    LARGEST_PAGE.store(find_largest_page(), Ordering::Relaxed);
    let cpu = CpuId::new();
    let has_no_execute = cpu
        .get_extended_processor_and_feature_identifiers()
        .is_some_and(|features| features.has_execute_disable());
    let features = cpu.get_feature_info();
    let has_global = features.as_ref().is_some_and(|features| features.has_pge());
    let has_pcid = features.is_some_and(|features| features.has_pcid());
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
        // Without global pages every address space would have the kernel's
        // translations to itself, and `invlpg` forgets only the current one's.
        if has_global && has_pcid {
            cr4_write(cr4() | Cr4::CR4_ENABLE_PCID);
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

/// The largest id that an address space can have; 0 on a CPU without PCIDs.
pub fn max_asid() -> usize {
    match has_pcid() {
        true => MAX_PCID,
        false => 0,
    }
}

fn has_pcid() -> bool {
    // SAFETY: reading the register changes nothing.
    unsafe { cr4() }.contains(Cr4::CR4_ENABLE_PCID)
}

/// Nothing to wait for: this hart's lower half is its own.
///
/// # Safety
///
/// As [`claim_user`](crate::paging::claim_user).
pub unsafe fn claim_user(_root: PhysAddr) {}

/// Translates all addresses by the table at `root`, whose address space has the id
/// `asid`. Without PCIDs that forgets everything that is not global.
///
/// # Safety
///
/// As [`enter_user`](crate::paging::enter_user).
pub unsafe fn enter_user(root: PhysAddr, asid: usize) {
    let keep = if has_pcid() { KEEP } else { 0 };
    // SAFETY: the caller's promise.
    unsafe { cr3_write(keep | (root.as_usize() | asid) as u64) };
}

/// Leaves the lower half without translations.
///
/// # Safety
///
/// As [`leave_user`](crate::paging::leave_user).
pub unsafe fn leave_user(kernel: PhysAddr) {
    // SAFETY: the caller's promise.
    unsafe { enter_user(kernel, 0) };
}

/// Forgets, on this hart, what is not global of the address space `asid`, which is
/// the current one (SDM 5.10.4.1, "MOV to CR3").
pub fn flush_asid(_asid: usize) {
    // SAFETY: forgetting translations is always right.
    unsafe { cr3_write(cr3()) };
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

/// Forgets all translations on this hart.
pub use flush_tlb_all as flush_all_asids;

/// Nothing to flush: no hart caches an entry that is not present (SDM 5.10.2.3, 5.10.3.1).
#[cfg(feature = "multitask")]
pub fn flush_fresh(_pages: Range<usize>) {}

/// More pages than this are forgotten by forgetting everything. In QEMU a page takes
/// 167 ns, everything 36900 ns and 86 ns for each page that is used again: as much as
/// `(36900 + 256 * 86) / 167 = 353` pages, if 256 are (`make
/// A=apps/mmbench ARCH=x86_64 run`, rows `forget`).
pub const MOST_PAGES: usize = 256;

/// Only this hart forgets with the two above.
pub const FORGETS_EVERYWHERE: bool = false;

/// Answers that other harts have to be asked, by interrupt.
pub fn remote_flush(_harts: u64, _pages: Range<usize>) -> bool {
    false
}
