//! The boot order.
//!
//! ```text
//! firmware ── platform: boot page table, stack
//!   └─ primary       per-hart data, trap vector, console, clock
//!        ├─ axalloc  every free frame, the heap        (feature `alloc`)
//!        ├─ axmm     the kernel's own page table       (feature `paging`)
//!        ├─ irq      timer and calls between harts     (feature `irq`)
//!        ├─ axtask   this is the first thread          (feature `multitask`)
//!        ├─ smp      each other hart, one at a time    (feature `smp`)
//!        │     └─ secondary   per-hart data, page table, irq, then waits
//!        └─ main     the application; its return is the machine's end
//! ```
#![no_std]
#![cfg(any(target_os = "none", target_os = "linux"))]

#[cfg(feature = "alloc")]
mod memory;
mod panic;
#[cfg(feature = "smp")]
mod smp;
#[cfg(feature = "multitask")]
mod threads;

use axlog::{info, warn};

pub use axerrno::{AxError, AxResult};
#[cfg(feature = "smp")]
pub use smp::run_on_all;

struct Log;

#[crate_interface::impl_interface]
impl axlog::LogIf for Log {
    fn hart() -> usize {
        axhal::hart::this_hart()
    }

    fn owner() -> usize {
        // Odd for a thread, even for a hart.
        #[cfg(feature = "multitask")]
        if let Some(id) = axtask::current_id() {
            return id as usize * 2 + 1;
        }
        axhal::hart::this_hart() * 2 + 2
    }

    fn wait(turn: usize) -> bool {
        axhal::hart::answer_others();
        if !axhal::arch::irqs_enabled() {
            core::hint::spin_loop();
            return turn < TURNS_WITHOUT_IRQS;
        }
        // The owner may be a thread of this hart.
        #[cfg(feature = "multitask")]
        if axtask::current_id().is_some() {
            axtask::yield_now();
        }
        axhal::hart::relax(turn);
        true
    }

    fn stop() -> ! {
        axhal::power::stop()
    }
}

/// How many turns a caller that keeps interrupts out waits for the console. The owner may
/// be a thread that this hart has interrupted, which does not go on meanwhile.
const TURNS_WITHOUT_IRQS: usize = 1 << 16;

unsafe extern "Rust" {
    /// The application's `fn main()`.
    safe fn main();
}

#[axplat::main]
fn primary(cpu_id: usize, arg: usize) -> ! {
    // SAFETY: this is the first hart, and the first that it does.
    unsafe { axhal::hart::init_primary() };
    axplat::init::init_early(cpu_id, arg);
    axlog::init();
    info!(
        "{} MiB of RAM, {} harts; boot arguments: {}",
        axhal::mem::total_ram_size() >> 20,
        axhal::hart::count(),
        axhal::boot_args()
    );
    name_what_is_left_alone();
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

/// Says what of the machine is not used, so that what is missing has a reason.
fn name_what_is_left_alone() {
    let inventory = axhal::inventory();
    let (listed, more) = inventory.ignored();
    for left in listed {
        let (start, size) = left.range;
        warn!("left alone: {} at {start:#x}, {size:#x} bytes", left.what);
    }
    let harts = inventory.ignored_harts();
    if more + harts > 0 {
        warn!("left alone: {more} more ranges, {harts} harts");
    }
}

/// Powers the machine off with `status`. With the feature `maps` the kernel's
/// address space is on the console before that.
pub fn exit(status: u8) -> ! {
    #[cfg(all(feature = "maps", feature = "paging"))]
    axmm::print_maps();
    axhal::power::exit(status)
}
