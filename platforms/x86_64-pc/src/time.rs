//! The clock: the time-stamp counter, which counts from power-on at a constant
//! rate, alike on every hart (SDM 18.17.1, "Invariant TSC").

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use axmachine::Clock;
use axplat::time::TimeIf;
use x86::cpuid::CpuId;
use x86::io::inl;

/// Ticks a second of ACPI's timer (ACPI 4.8.3.3).
const ACPI_TIMER_HZ: u64 = 3_579_545;

/// How long the rate is measured where the CPU does not tell it, as a part of a
/// second: 1 ms, in which ACPI's timer is off by less than 0.03 %.
const MEASURED_PART: u64 = 1000;

/// Ticks a second; a guess where they can neither be read nor be measured.
static HZ: AtomicU64 = AtomicU64::new(1_000_000_000);

/// Finds out the rate.
pub fn init() {
    let told = CpuId::new()
        .get_tsc_info()
        .and_then(|info| info.tsc_frequency());
    if let Some(hz) = told.or_else(measured_hz) {
        HZ.store(hz, Relaxed);
    }
}

fn clock() -> Clock {
    Clock::new(HZ.load(Relaxed))
}

fn measured_hz() -> Option<u64> {
    let fadt = crate::machine::acpi()?.fadt()?;
    let port = fadt.u32(76).filter(|&port| port != 0)? as u16;
    // The counter has 24 bits at least: as the upper 24 of 32 it wraps as a
    // number does.
    // SAFETY: the table says that this is the timer's port; reading changes
    // nothing.
    let timer = || unsafe { inl(port) } << 8;
    let (ticks, count) = race(timer, |_, count| {
        u64::from(count >> 8) >= ACPI_TIMER_HZ / MEASURED_PART
    });
    Some(ticks.saturating_mul(ACPI_TIMER_HZ) / u64::from(count >> 8))
}

/// How far the clock and `counter`, which counts up, get in the same time:
/// until `enough` says so of the two.
pub fn race(counter: impl Fn() -> u32, enough: impl Fn(u64, u32) -> bool) -> (u64, u32) {
    let (start, first) = both(&counter);
    loop {
        let (now, count) = both(&counter);
        let passed = (now.saturating_sub(start), count.wrapping_sub(first));
        if enough(passed.0, passed.1) {
            return passed;
        }
    }
}

/// The clock and `counter` at the same moment: of a few attempts the shortest,
/// since a machine that is a program may stop for long between two instructions.
fn both(counter: impl Fn() -> u32) -> (u64, u32) {
    let (mut shortest, mut best) = (u64::MAX, (0, 0));
    for _ in 0..4 {
        let before = ticks();
        let count = counter();
        let took = ticks().saturating_sub(before);
        if took < shortest {
            (shortest, best) = (took, (before + took / 2, count));
        }
    }
    best
}

/// The clock itself.
pub fn ticks() -> u64 {
    // SAFETY: nothing has forbidden the kernel to read the counter (CR4.TSD).
    unsafe { x86::time::rdtsc() }
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

    /// The machine's calendar clock is not read: time counts from power-on.
    fn epochoffset_nanos() -> u64 {
        0
    }

    #[cfg(feature = "irq")]
    fn set_oneshot_timer(deadline_ns: u64) {
        crate::timer::set(clock().deadline(deadline_ns));
    }
}
