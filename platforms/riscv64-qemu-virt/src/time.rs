//! The clock: the `time` CSR, at the rate in the device tree.

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use axmachine::Clock;
use axplat::time::TimeIf;

/// Ticks a second. Until the device tree is read it is the rate of QEMU's clock.
///
/// Relaxed in all accesses: `init` stores the rate before the first hart starts another.
static HZ: AtomicU32 = AtomicU32::new(10_000_000);

/// Reads the rate from the device tree.
pub fn init() {
    let tree = crate::firmware::device_tree();
    if let Some(hz) = tree.and_then(|tree| tree.u32("/cpus", "timebase-frequency")) {
        HZ.store(hz, Relaxed);
    }
}

fn clock() -> Clock {
    Clock::new(HZ.load(Relaxed).into())
}

struct Time;

#[axplat::impl_interface]
impl TimeIf for Time {
    fn current_ticks() -> u64 {
        let ticks: u64;
        // SAFETY: reading the clock changes nothing.
        unsafe { core::arch::asm!("rdtime {}", out(reg) ticks, options(nomem, nostack)) };
        ticks
    }

    fn ticks_to_nanos(ticks: u64) -> u64 {
        clock().ticks_to_nanos(ticks)
    }

    fn nanos_to_ticks(nanos: u64) -> u64 {
        clock().nanos_to_ticks(nanos)
    }

    /// Returns 0: the machine's calendar clock is not read, so time counts from power-on.
    fn epochoffset_nanos() -> u64 {
        0
    }

    #[cfg(feature = "irq")]
    fn set_oneshot_timer(deadline_ns: u64) {
        sbi_rt::set_timer(clock().deadline(deadline_ns));
    }
}
