//! The order in which the machine boots.
//!
//! ```text
//! firmware ── platform: boot page table, stack
//!   └─ primary       per-hart data, trap vector, console, clock
//!        ├─ axalloc  every free frame, the heap        (feature `alloc`)
//!        ├─ axmm     the kernel's own page table       (feature `paging`)
//!        ├─ irq      timer and calls between harts     (feature `irq`)
//!        ├─ axtask   this hart's first thread          (feature `multitask`)
//!        ├─ smp      each other hart, one at a time    (feature `smp`)
//!        │     └─ secondary   per-hart data, page table, irq, then waits for work
//!        └─ main     the application; the machine ends when it returns
//! ```
//!
//! A call between harts is an interrupt that one hart sends to another.
//!
//! Files: `lib` uses all others, `smp` uses `broadcast`, and `broadcast` uses `hart_worker` or
//! `thread_worker`.
#![no_std]
#![cfg(any(target_os = "none", target_os = "linux"))]

#[cfg(feature = "smp")]
mod broadcast;
#[cfg(all(feature = "smp", not(feature = "multitask")))]
mod hart_worker;
#[cfg(feature = "alloc")]
mod memory;
mod panic;
#[cfg(feature = "smp")]
mod smp;
#[cfg(all(feature = "smp", feature = "multitask"))]
mod thread_worker;
#[cfg(feature = "multitask")]
mod threads;

use axlog::{info, warn};

pub use axerrno::{AxError, AxResult};
#[cfg(feature = "smp")]
pub use broadcast::run_on_all;

struct Log;

#[crate_interface::impl_interface]
impl axlog::LogIf for Log {
    fn hart() -> usize {
        axhal::hart::this_hart()
    }

    fn owner() -> usize {
        // Threads have odd numbers, harts have even ones.
        #[cfg(feature = "multitask")]
        if let Some(id) = axtask::current_id() {
            return id as usize * 2 + 1;
        }
        axhal::hart::this_hart() * 2 + 2
    }

    fn wait(attempt: usize) -> bool {
        // The owner may wait for this hart to flush its TLB.
        axhal::wait::acknowledge_others();
        if !axhal::arch::irqs_enabled() {
            core::hint::spin_loop();
            return attempt < ATTEMPTS_WITH_IRQS_OFF;
        }
        // The owner may be another thread of this hart.
        #[cfg(feature = "multitask")]
        if axtask::current_id().is_some() {
            axtask::yield_now();
        }
        axhal::wait::relax(attempt);
        true
    }

    fn stop() -> ! {
        axhal::power::stop()
    }
}

/// How often a caller with interrupts off tries to get the console. The owner may be a thread
/// that this hart has interrupted, and which cannot go on before the caller does.
const ATTEMPTS_WITH_IRQS_OFF: usize = 1 << 16;

unsafe extern "Rust" {
    /// The application's `fn main()`.
    safe fn main();
}

#[axplat::main]
fn primary(cpu_id: usize, arg: usize) -> ! {
    // SAFETY: the platform calls `primary` on the first hart, once, and this is its first
    // statement.
    unsafe { axhal::startup::init_primary() };
    axplat::init::init_early(cpu_id, arg);
    axlog::init();
    info!(
        "{} MiB of RAM, {} harts; boot arguments: {}",
        axhal::mem::total_ram_size() >> 20,
        axhal::hart::count(),
        axhal::boot_args()
    );
    report_unused_resources();
    #[cfg(feature = "alloc")]
    memory::init(0..axconfig::BOOT_MAPPED);
    #[cfg(feature = "paging")]
    {
        axmm::init_memory_management();
        memory::add_free(axconfig::BOOT_MAPPED..usize::MAX);
    }
    #[cfg(feature = "irq")]
    axhal::irq::init();
    axplat::init::init_later(cpu_id, arg);
    #[cfg(feature = "multitask")]
    threads::init();
    #[cfg(feature = "irq")]
    axhal::arch::enable_irqs();
    #[cfg(feature = "smp")]
    smp::start_all();
    main();
    exit(0)
}

/// Logs which memory and harts of the machine the kernel leaves unused, and why.
fn report_unused_resources() {
    let inventory = axhal::inventory();
    let (ignored, more_ranges) = inventory.ignored();
    for ignored in ignored {
        let (start, size) = ignored.range;
        warn!(
            "left alone: {} at {start:#x}, {size:#x} bytes",
            ignored.what
        );
    }
    let harts = inventory.ignored_harts();
    if more_ranges + harts > 0 {
        warn!("left alone: {more_ranges} more ranges, {harts} harts");
    }
}

/// Powers the machine off with `status`: 0 for success. With the features `maps` and
/// `paging` it first prints the kernel's address space to the console.
pub fn exit(status: u8) -> ! {
    #[cfg(all(feature = "maps", feature = "paging"))]
    axmm::print_maps();
    axhal::power::exit(status)
}
