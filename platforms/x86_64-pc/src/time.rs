//! The clock: the time-stamp counter. It counts from power-on at a constant rate, and all harts
//! have the same count (SDM 18.17.1, "Invariant TSC").

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use axmachine::Clock;
use axplat::time::TimeIf;
use x86::cpuid::CpuId;
use x86::io::inl;

use crate::calibration::{measure, ticks};

/// The rate of ACPI's timer, in ticks a second (ACPI 4.8.3.3).
const ACPI_TIMER_HZ: u64 = 3_579_545;

/// The rate is measured for a second divided by this, which is 1 ms. In that time the error of
/// ACPI's timer is less than 0.03 %.
const MEASUREMENTS_PER_SECOND: u64 = 1000;

/// Ticks a second. The initial value is a guess for a machine on which the rate can neither be
/// read nor be measured.
///
/// Relaxed in all accesses: `init` stores the rate before the first hart starts another.
static HZ: AtomicU64 = AtomicU64::new(1_000_000_000);

/// Reads or measures the rate.
pub fn init() {
    let from_cpu = CpuId::new()
        .get_tsc_info()
        .and_then(|info| info.tsc_frequency());
    if let Some(hz) = from_cpu.or_else(measured_hz) {
        HZ.store(hz, Relaxed);
    }
}

fn clock() -> Clock {
    Clock::new(HZ.load(Relaxed))
}

/// Measures the rate against ACPI's timer; `None` if the machine has no such timer.
fn measured_hz() -> Option<u64> {
    let fadt = crate::firmware::acpi()?.fadt()?;
    let port = fadt.u32(76).filter(|&port| port != 0)? as u16;
    // The counter has at least 24 bits. In the upper 24 of 32 bits it wraps as the number
    // does.
    // SAFETY: by the ACPI table this is the port of the timer. Reading it has no effect.
    let timer = || unsafe { inl(port) } << 8;
    let (ticks, count) = measure(timer, |_, count| {
        u64::from(count >> 8) >= ACPI_TIMER_HZ / MEASUREMENTS_PER_SECOND
    });
    Some(ticks.saturating_mul(ACPI_TIMER_HZ) / u64::from(count >> 8))
}

struct Time;

#[axplat::impl_interface]
impl TimeIf for Time {
    fn current_ticks() -> u64 {
        ticks()
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
        crate::timer::set(clock().deadline(deadline_ns));
    }
}
