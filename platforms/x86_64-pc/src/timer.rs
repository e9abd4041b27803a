//! The timer of each hart, in its local APIC (SDM 11.5.4, "APIC Timer").
//!
//! In TSC-deadline mode the timer is set to a tick of the clock. On a CPU without that mode it
//! counts down at a rate of its own, which is measured.

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use axmachine::Clock;
use axplat::time::{NANOS_PER_SEC, current_ticks, ticks_to_nanos};
#[cfg(feature = "smp")]
use axplat::time::{monotonic_time_nanos, set_oneshot_timer};
#[cfg(feature = "smp")]
use kernel_guard::IrqSave;
use x86::cpuid::CpuId;
use x86::msr::{IA32_TSC_DEADLINE, wrmsr};

use crate::calibration::measure;
use crate::lapic::{self, LVT_TIMER, MASKED, TIMER_COUNT, TIMER_DIVIDE, TIMER_START};

/// LVT timer register: TSC-deadline mode. Without this bit the timer counts down once.
const DEADLINE_MODE: u32 = 0b10 << 17;

/// Divide configuration register: division by one.
const BY_ONE: u32 = 0b1011;

/// How long the timer's rate is measured, in nanoseconds.
const MEASURED_NS: u64 = 250_000;

/// The timer's rate in counts a second; 0 in TSC-deadline mode.
///
/// Relaxed in all accesses: the first hart stores it before it starts another.
static HZ: AtomicU64 = AtomicU64::new(0);

/// Prepares this hart's timer to interrupt with `vector`. The first hart must call this first,
/// since it measures the rate for all.
pub fn init_hart(vector: u32) {
    let cpu = CpuId::new().get_feature_info();
    if cpu.is_some_and(|cpu| cpu.has_tsc_deadline()) {
        lapic::write(LVT_TIMER, vector | DEADLINE_MODE);
        // The mode must be written before a deadline (SDM 11.5.4.1).
        x86::fence::mfence();
        return;
    }
    lapic::write(TIMER_DIVIDE, BY_ONE);
    if HZ.load(Relaxed) == 0 {
        HZ.store(measured_hz(), Relaxed);
    }
    lapic::write(LVT_TIMER, vector);
}

/// Measures the timer's rate against the clock.
fn measured_hz() -> u64 {
    lapic::write(LVT_TIMER, MASKED);
    lapic::write(TIMER_START, u32::MAX);
    let counted = || !lapic::read(TIMER_COUNT);
    let (ticks, count) = measure(counted, |ticks, _| ticks_to_nanos(ticks) >= MEASURED_NS);
    lapic::write(TIMER_START, 0);
    // A timer that did not count is not mistaken for TSC-deadline mode.
    (u64::from(count) * NANOS_PER_SEC / ticks_to_nanos(ticks)).max(1)
}

/// Sets this hart's timer to `deadline`, in ticks of the clock. If it is past, the interrupt
/// comes at once. If the timer cannot count that far, the interrupt comes earlier.
pub fn set(deadline: u64) {
    match HZ.load(Relaxed) {
        // SAFETY: the rate is 0 only if the CPU has TSC-deadline mode, so it has this MSR. The
        // module `irq` handles the vector.
        0 => unsafe { wrmsr(IA32_TSC_DEADLINE, deadline) },
        hz => {
            let wait = ticks_to_nanos(deadline.saturating_sub(current_ticks()));
            let count = Clock::new(hz).nanos_to_ticks(wait).saturating_add(1);
            lapic::write(TIMER_START, u32::try_from(count).unwrap_or(u32::MAX));
        }
    }
}

/// Sleeps for `nanos` nanoseconds with interrupts enabled, so that an emulator that runs all
/// harts on one thread runs the others at once.
///
/// The timer is set, because under QEMU's `-icount` a hart that is being reset keeps that
/// thread until the next timer interrupt.
#[cfg(feature = "smp")]
pub fn sleep(nanos: u64) {
    let _guard = IrqSave::new();
    let deadline = monotonic_time_nanos().saturating_add(nanos);
    while monotonic_time_nanos() < deadline {
        set_oneshot_timer(deadline);
        // SAFETY: the hart that starts others has set up its own interrupts. `sti` takes effect
        // after the next instruction, so an interrupt always ends `hlt`.
        unsafe { core::arch::asm!("sti", "hlt", "cli", options(nostack)) };
    }
}
