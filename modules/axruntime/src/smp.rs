//! Starting all harts but the first.

use axhal::arch;
use axhal::hart;
use axhal::startup::{self, Arrival};
use axlog::{info, warn};

use crate::broadcast::{init_worker, wait_for_work};

/// Starts every other hart, one at a time, and logs which of them do not come up.
pub(crate) fn start_all() {
    for number in 1..hart::count() {
        let id = hart::hardware_id(number);
        // SAFETY: the boot calls this function once, so each hart is started once.
        match unsafe { startup::start(number) } {
            Arrival::Up => info!("hart {number} (hardware id {id:#x}) is up"),
            Arrival::LeftOut => warn!(
                "hart {number} (hardware id {id:#x}) did not come up and is left out; {} of {} harts run",
                hart::online().count_ones() as usize,
                hart::count()
            ),
        }
    }
}

#[axplat::secondary_main]
fn secondary(cpu_id: usize) -> ! {
    // SAFETY: the platform calls `secondary` once on each hart that is started, with the
    // hart's number. No kernel code has run on the hart before.
    unsafe { startup::init_secondary(cpu_id) };
    axplat::init::init_early_secondary(cpu_id);
    #[cfg(feature = "paging")]
    axmm::init_memory_management_secondary();
    axplat::init::init_later_secondary(cpu_id);
    if init_memory() && init_worker() && startup::arrive(cpu_id) == Arrival::Up {
        wait_for_work(cpu_id);
    }
    arch::halt()
}

/// Prepares the allocator for this hart. Returns whether there was memory for that.
fn init_memory() -> bool {
    #[cfg(feature = "alloc")]
    let is_ready = axalloc::init_hart().is_ok();
    #[cfg(not(feature = "alloc"))]
    let is_ready = true;
    is_ready
}
