//! The clock: the virtual counter of the generic timer. Firmware has stored its rate in
//! CNTFRQ_EL0 (Arm Architecture Reference Manual, "The Generic Timer in AArch64 state").

use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{CNTFRQ_EL0, CNTVCT_EL0, Readable};
use axmachine::Clock;
use axplat::time::TimeIf;

fn clock() -> Clock {
    Clock::new(CNTFRQ_EL0.get())
}

struct Time;

#[axplat::impl_interface]
impl TimeIf for Time {
    fn current_ticks() -> u64 {
        // Without the barrier the CPU may read the counter before earlier instructions.
        barrier::isb(barrier::SY);
        CNTVCT_EL0.get()
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
        crate::irq::set_deadline(clock().deadline(deadline_ns));
    }
}
