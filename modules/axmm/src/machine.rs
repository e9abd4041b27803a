//! What an address space needs of a machine.

use core::ops::Range;

#[cfg(feature = "hal")]
use axconfig::{MAX_PHYS, PHYS_VIRT_OFFSET};
use memory_addr::{PhysAddr, VirtAddr};
use page_table_multiarch::{GenericPTE, PagingMetaData};

/// A machine: its page-table format, and how the TLBs of its harts are flushed.
///
/// The kernel has one, [`ThisMachine`]. Tests have others: on a host, page tables of every
/// format can be built and read back.
///
/// # Safety
///
/// An implementor promises:
///
/// - [`harts`](Self::harts) always returns the same number.
/// - While an [`IrqGuard`](Self::IrqGuard) exists, [`hart`](Self::hart) returns the same number to
///   the code that made the guard. The number is below `harts`.
/// - The type is `Sync` only if threads may share address spaces of this machine. In that case,
///   threads that have guards at the same time get different numbers from `hart`.
///
/// The type only names a machine. No value of it is made.
pub unsafe trait Machine: 'static {
    /// How many levels a page table has, and how many bits addresses have.
    type Meta: PagingMetaData<VirtAddr = VirtAddr>;
    /// The format of a page-table entry.
    type Pte: GenericPTE;

    /// Returns the size in bytes of the largest page that page tables may use.
    fn largest_page() -> usize;

    /// Makes the entries that this hart has written visible to page-table walks: every walk that
    /// a hart begins after this call sees them.
    fn publish_entries();

    /// Returns the mark of an address space: the bits that the entries of all its pages have
    /// besides the address and the rights. On most machines, they say whether a page is global.
    /// `kernel` says whether the address space is the kernel's.
    fn page_mark(kernel: bool) -> u64;

    /// Flushes `pages`, a range of addresses, from the TLBs of the harts in `hart_set`, which has
    /// one bit for each hart. Returns when all of them have done it.
    fn flush(hart_set: u64, pages: Range<usize>);

    /// Flushes `pages`, a range of addresses, from the TLB of this hart.
    fn flush_local(pages: Range<usize>);

    /// Returns whether written code must be [cleaned](Self::clean_code) before it is executed.
    fn needs_cleaning() -> bool {
        false
    }

    /// Writes `len` bytes at `paddr` back from the data caches, to where instruction fetches
    /// look.
    fn clean_code(_paddr: PhysAddr, _len: usize) {}

    /// Makes every hart drop the instructions that it has fetched ahead. Returns when all
    /// harts have done it: from then on they fetch the code that has been cleaned.
    fn sync_icache() {}

    /// Copies `len` bytes, up to the first access that faults. Returns the number of bytes
    /// that were copied. No access waits for another hart.
    ///
    /// # Safety
    ///
    /// Bytes that are mapped at `from` may be read, and those at `to` overwritten: no Rust
    /// code relies on their values meanwhile.
    unsafe fn copy(from: *const u8, to: *mut u8, len: usize) -> usize {
        // SAFETY: the caller allows reading `from` and writing `to`; in a process all of these
        // bytes are mapped.
        unsafe { from.copy_to(to, len) };
        len
    }

    /// While it exists, the code stays on its hart and takes no interrupt.
    type IrqGuard;

    /// Disables interrupts on this hart until the guard is dropped. Guards nest.
    fn disable_irqs() -> Self::IrqGuard;

    /// While it exists, no other thread runs on the hart. Interrupts are taken.
    type PreemptGuard;

    /// Keeps other threads from running on this hart until the guard is dropped. Guards nest.
    fn disable_preemption() -> Self::PreemptGuard;

    /// Handles the flush requests of other harts, which cannot interrupt this hart while its
    /// interrupts are disabled. Long loops call it every few thousand instructions.
    fn poll() {}

    /// Returns the number of harts, from 1 to 64.
    fn harts() -> usize;

    /// Returns the number of this hart.
    fn hart() -> usize;

    /// Takes one step of waiting for another hart; `round` counts the steps from 0. That hart
    /// may be waiting for this one to flush its TLB, so flush requests are handled here.
    fn relax(round: usize);

    /// Asks other modules to free memory that they cache, if the caller can wait for that.
    /// Returns whether any was freed, so that the caller should retry what ran out of memory.
    fn reclaim() -> bool {
        false
    }
}

/// The items of a [`Machine`] that describe its page tables, taken from another machine. Test
/// machines use it.
#[doc(hidden)]
#[macro_export]
macro_rules! page_tables_of {
    ($machine:ty) => {
        type Meta = <$machine as $crate::Machine>::Meta;
        type Pte = <$machine as $crate::Machine>::Pte;

        fn largest_page() -> usize {
            <$machine as $crate::Machine>::largest_page()
        }

        fn page_mark(kernel: bool) -> u64 {
            <$machine as $crate::Machine>::page_mark(kernel)
        }
    };
}

/// All addresses. A flush of all addresses also drops the entries that lead to tables, which
/// harts may cache. A flush of fewer addresses may leave these.
pub const ALL_ADDRESSES: Range<usize> = 0..usize::MAX;

/// The machine that this code runs on.
#[derive(Debug)]
pub struct ThisMachine {
    /// Makes the type not `Sync`: in a plain process all threads have the hart number 0.
    #[cfg(not(feature = "hal"))]
    _one_thread: core::marker::PhantomData<*const ()>,
}

#[cfg(feature = "hal")]
// SAFETY: with interrupts disabled no other code runs on a hart, so the number of the hart does
// not change; axhal gives each hart a number of its own, below the count.
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

    fn flush(hart_set: u64, pages: Range<usize>) {
        axhal::tlb::flush_on(hart_set, pages);
    }

    fn flush_local(pages: Range<usize>) {
        axhal::tlb::flush_local(pages);
    }

    fn needs_cleaning() -> bool {
        axhal::icache::needs_cleaning()
    }

    fn clean_code(paddr: PhysAddr, len: usize) {
        // Caches are cleaned by address, in the linear mapping. Physical memory that it does
        // not reach is left out: the kernel has written no code there.
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
        // SAFETY: the caller allows reading what is mapped at `from` and writing what is
        // mapped at `to`; axhal stops at the first access that faults.
        unsafe { axhal::probe::copy(from, to, len) }
    }

    type IrqGuard = axhal::arch::IrqsOff;

    fn disable_irqs() -> axhal::arch::IrqsOff {
        axhal::arch::IrqsOff::new()
    }

    type PreemptGuard = axhal::threads::NoPreempt;

    fn disable_preemption() -> axhal::threads::NoPreempt {
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

    fn relax(round: usize) {
        axhal::tlb::acknowledge();
        axhal::wait::relax(round);
    }

    #[cold]
    fn reclaim() -> bool {
        axalloc::run_shrinker()
    }
}

/// A plain process. No hardware walks the page table there, so flushing does nothing.
#[cfg(not(feature = "hal"))]
// SAFETY: the machine is not `Sync`, and its only hart always has the number 0.
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

    fn flush(_: u64, _: Range<usize>) {}

    fn flush_local(_: Range<usize>) {}

    type IrqGuard = ();

    fn disable_irqs() {}

    type PreemptGuard = ();

    fn disable_preemption() {}

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
