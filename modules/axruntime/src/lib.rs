//! The boot order.
//!
//! ```text
//! firmware ── platform: boot page table, stack
//!   └─ primary       per-hart data, trap vector, console, clock
//!        ├─ axalloc  every free frame, the heap        (feature `alloc`)
//!        ├─ axmm     the kernel's own page table       (feature `paging`)
//!        ├─ irq      timer and calls between harts     (feature `irq`)
//!        ├─ smp      each other hart, one at a time    (feature `smp`)
//!        │     └─ secondary   per-hart data, page table, irq, then waits
//!        └─ main     the application; its return is the machine's end
//! ```
#![no_std]
#![cfg(target_os = "none")]

mod panic;
#[cfg(feature = "smp")]
mod smp;

use axlog::info;

#[cfg(feature = "smp")]
pub use smp::run_on_all;

struct Log;

#[crate_interface::impl_interface]
impl axlog::LogIf for Log {
    fn hart() -> usize {
        axhal::hart::this_hart()
    }

    fn wait_a_turn() {
        axhal::hart::answer_others();
        core::hint::spin_loop();
    }
}

unsafe extern "Rust" {
    /// The application's `fn main()`.
    safe fn main();
}

#[axplat::main]
fn primary(cpu_id: usize, arg: usize) -> ! {
    axhal::hart::init_primary();
    axplat::init::init_early(cpu_id, arg);
    axlog::init();
    info!(
        "{} MiB of RAM, {} harts; boot arguments: {}",
        axhal::mem::total_ram_size() >> 20,
        axhal::hart::count(),
        axhal::boot_args()
    );
    #[cfg(feature = "alloc")]
    add_free_memory(0..axconfig::BOOT_MAPPED);
    #[cfg(feature = "paging")]
    {
        axmm::init_memory_management();
        add_free_memory(axconfig::BOOT_MAPPED..usize::MAX);
    }
    #[cfg(feature = "irq")]
    axhal::irq::init();
    axplat::init::init_later(cpu_id, arg);
    #[cfg(feature = "irq")]
    axhal::arch::enable_irqs();
    #[cfg(feature = "smp")]
    smp::start_all();
    main();
    axhal::power::exit(0)
}

/// Gives the free memory among the physical addresses `mapped` to the
/// allocator: those that a page table reaches by now.
#[cfg(feature = "alloc")]
fn add_free_memory(mapped: core::ops::Range<usize>) {
    axhal::mem::for_each_free(|(start, size)| {
        let (start, end) = (start.max(mapped.start), (start + size).min(mapped.end));
        if start < end {
            let vaddr = axhal::mem::phys_to_virt(start.into()).as_usize();
            // SAFETY: nobody else has this memory, and it is mapped here for
            // good.
            unsafe { axalloc::add_memory(vaddr, end - start) };
        }
    });
}
