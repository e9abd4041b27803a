//! What an address space needs of the machine that it is for.

use core::ops::Range;

#[cfg(feature = "hal")]
use axconfig::{MAX_PHYS, PHYS_VIRT_OFFSET};
use memory_addr::{PhysAddr, VirtAddr};
use page_table_multiarch::{GenericPTE, PagingMetaData};

/// A machine: its page-table format, and how its harts forget translations.
///
/// The kernel has one, [`ThisMachine`]. Tests have others: on a host every format
/// can be built, and read back.
///
/// # Safety
///
/// As long as there is a [`Pin`](Self::Pin), [`hart`](Self::hart) answers whoever has it
/// the same number, which is below [`harts`](Self::harts), which never changes; and if
/// the machine is `Sync`, it answers nobody else that number meanwhile.
pub unsafe trait Machine: 'static {
    /// How many levels a page table has, and of how many bits.
    type Meta: PagingMetaData<VirtAddr = VirtAddr>;
    /// The format of its entries.
    type Pte: GenericPTE;

    /// The bytes of the largest page.
    fn largest_page() -> usize;

    /// Entries written before are seen by every hart's walker after.
    fn publish_entries();

    /// What every entry of a page has beside address and rights, by whether it is the
    /// kernel's.
    fn page_mark(kernel: bool) -> u64;

    /// Makes `harts`, a bit for each, forget their translations of `pages`; returns
    /// when all have.
    fn forget(harts: u64, pages: Range<usize>);

    /// Makes this hart forget its translations of `pages`.
    fn forget_here(pages: Range<usize>);

    /// Whether code must be [cleaned](Self::clean_code).
    fn needs_cleaning() -> bool {
        false
    }

    /// Makes what has been written to `len` bytes at `paddr` reach where instruction
    /// fetches look.
    fn clean_code(_paddr: PhysAddr, _len: usize) {}

    /// Makes every hart fetch anew the instructions that have been cleaned; returns when
    /// all have dropped what they had fetched before.
    fn sync_icache() {}

    /// Copies `len` bytes, up to the first access that faults. Returns how many were
    /// copied.
    ///
    /// # Safety
    ///
    /// Bytes that are mapped at `from` can be copied, and those at `to` overwritten: no
    /// Rust code relies on what they are meanwhile.
    unsafe fn copy(from: *const u8, to: *mut u8, len: usize) -> usize {
        // SAFETY: the caller's promise; in a process all of them are mapped.
        unsafe { from.copy_to(to, len) };
        len
    }

    /// Keeps what runs on its hart, and interrupts out.
    type Pin;

    /// Makes a [`Pin`](Self::Pin).
    fn pin() -> Self::Pin;

    /// Keeps other threads from taking the hart. Interrupts come.
    type Stay;

    /// Makes a [`Stay`](Self::Stay).
    fn stay() -> Self::Stay;

    /// Acknowledges what other harts have asked of this one, where interrupts are out. Long
    /// loops call it every few thousand instructions.
    fn poll() {}

    /// How many harts there are, at least 1, at most 64.
    fn harts() -> usize;

    /// The number of the hart that runs this.
    fn hart() -> usize;

    /// The `turn`th turn of waiting for another hart. That one may be waiting for this
    /// one to forget something: here it does.
    fn relax(turn: usize);

    /// Lets other modules give memory back that they keep for later, where the caller can
    /// wait for that. Returns whether there was any, so that what has failed without memory
    /// is tried again.
    fn reclaim() -> bool {
        false
    }
}

/// All addresses, the way to tables included.
pub const EVERYTHING: Range<usize> = 0..usize::MAX;

/// The machine this runs on.
#[derive(Debug)]
pub struct ThisMachine {
    /// A process has no number for each of its threads.
    #[cfg(not(feature = "hal"))]
    _one_thread: core::marker::PhantomData<*const ()>,
}

#[cfg(feature = "hal")]
// SAFETY: without interrupts nothing else runs on a hart, and each has its own number.
unsafe impl Machine for ThisMachine {
    type Meta = axhal::paging::PagingMeta;
    type Pte = axhal::paging::Pte;

    fn largest_page() -> usize {
        axhal::paging::largest_page()
    }

    fn publish_entries() {
        axhal::paging::publish_entries();
    }

    fn page_mark(kernel: bool) -> u64 {
        axhal::paging::page_mark(kernel)
    }

    fn forget(harts: u64, pages: Range<usize>) {
        axhal::tlb::flush_on(harts, pages);
    }

    fn forget_here(pages: Range<usize>) {
        axhal::tlb::flush_local(pages);
    }

    fn needs_cleaning() -> bool {
        axhal::icache::needs_cleaning()
    }

    fn clean_code(paddr: PhysAddr, len: usize) {
        // What lies beyond the direct map cannot be cleaned there, nor has the kernel
        // written it there.
        let start = paddr.as_usize();
        if start < MAX_PHYS {
            let end = start.saturating_add(len).min(MAX_PHYS);
            axhal::icache::clean(PHYS_VIRT_OFFSET + start..PHYS_VIRT_OFFSET + end);
        }
    }

    fn sync_icache() {
        axhal::icache::sync();
    }

    unsafe fn copy(from: *const u8, to: *mut u8, len: usize) -> usize {
        // SAFETY: the caller's promise.
        unsafe { axhal::probe::copy(from, to, len) }
    }

    type Pin = axhal::arch::IrqsOff;

    fn pin() -> axhal::arch::IrqsOff {
        axhal::arch::IrqsOff::new()
    }

    type Stay = axhal::threads::NoPreempt;

    fn stay() -> axhal::threads::NoPreempt {
        axhal::threads::NoPreempt::new()
    }

    fn poll() {
        axhal::tlb::acknowledge();
    }

    fn harts() -> usize {
        axhal::hart::count()
    }

    fn hart() -> usize {
        axhal::hart::this_hart()
    }

    fn relax(turn: usize) {
        axhal::tlb::acknowledge();
        axhal::wait::relax(turn);
    }

    #[cold]
    fn reclaim() -> bool {
        axalloc::run_shrinker()
    }
}

/// In a plain process nobody walks the table, so that there is nothing to forget.
#[cfg(not(feature = "hal"))]
// SAFETY: it is not `Sync`, and has one hart.
unsafe impl Machine for ThisMachine {
    type Meta = page_table_multiarch::x86_64::X64PagingMetaData;
    type Pte = page_table_entry::x86_64::X64PTE;

    fn largest_page() -> usize {
        1 << 30
    }

    fn publish_entries() {}

    fn page_mark(_: bool) -> u64 {
        0
    }

    fn forget(_: u64, _: Range<usize>) {}

    fn forget_here(_: Range<usize>) {}

    type Pin = ();

    fn pin() {}

    type Stay = ();

    fn stay() {}

    fn harts() -> usize {
        1
    }

    fn hart() -> usize {
        0
    }

    fn relax(_: usize) {
        core::hint::spin_loop();
    }
}
