//! A hart's own timer, in its local APIC (SDM 11.5.4, "APIC Timer"): set to a
//! tick of the clock where the CPU has TSC-deadline mode, or else to a count at
//! a rate of its own, which is measured.

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

use crate::lapic::{self, LVT_TIMER, MASKED, TIMER_COUNT, TIMER_DIVIDE, TIMER_START};

/// LVT timer register: TSC-deadline mode; without it the timer counts once.
const DEADLINE_MODE: u32 = 0b10 << 17;

/// Divide configuration register: by one.
const BY_ONE: u32 = 0b1011;

/// How long the rate is measured, in nanoseconds.
const MEASURED_NS: u64 = 250_000;

/// How often a second it counts; 0 in TSC-deadline mode.
static HZ: AtomicU64 = AtomicU64::new(0);

/// Readies this hart's timer to interrupt with `vector`. The first hart does it
/// first, and measures the rate for all.
pub fn init_hart(vector: u32) {
    let cpu = CpuId::new().get_feature_info();
    if cpu.is_some_and(|cpu| cpu.has_tsc_deadline()) {
        lapic::write(LVT_TIMER, vector | DEADLINE_MODE);
        // The deadline must not be written before the mode is (SDM 11.5.4.1).
        x86::fence::mfence();
        return;
    }
    lapic::write(TIMER_DIVIDE, BY_ONE);
    if HZ.load(Relaxed) == 0 {
        HZ.store(measured_hz(), Relaxed);
    }
    lapic::write(LVT_TIMER, vector);
}

fn measured_hz() -> u64 {
    lapic::write(LVT_TIMER, MASKED);
    lapic::write(TIMER_START, u32::MAX);
    let counted = || !lapic::read(TIMER_COUNT);
    let (ticks, count) =
        crate::time::race(counted, |ticks, _| ticks_to_nanos(ticks) >= MEASURED_NS);
    lapic::write(TIMER_START, 0);
    u64::from(count) * NANOS_PER_SEC / ticks_to_nanos(ticks)
}

/// Interrupts this hart when the clock has come to `deadline`, in ticks, or soon
/// if it has already; or earlier, if that is further off than the timer counts.
pub fn set(deadline: u64) {
    match HZ.load(Relaxed) {
        // SAFETY: the mode is one the CPU has, and the vector is handled.
        0 => unsafe { wrmsr(IA32_TSC_DEADLINE, deadline) },
        hz => {
            let wait = ticks_to_nanos(deadline.saturating_sub(current_ticks()));
            let count = Clock::new(hz).nanos_to_ticks(wait).saturating_add(1);
            lapic::write(TIMER_START, u32::try_from(count).unwrap_or(u32::MAX));
        }
    }
}

/// Sleeps for `nanos` nanoseconds, letting interrupts in meanwhile. An emulator
/// that runs all harts in turn goes on with the others at once; under QEMU's
/// `-icount` a hart that is reset takes all the time until the next timer.
#[cfg(feature = "smp")]
pub fn sleep(nanos: u64) {
    let _guard = IrqSave::new();
    let deadline = monotonic_time_nanos().saturating_add(nanos);
    while monotonic_time_nanos() < deadline {
        set_oneshot_timer(deadline);
        // SAFETY: whoever starts harts has readied its own to be interrupted;
        // none is slept through, as `sti` lets the first in during `hlt`.
        unsafe { core::arch::asm!("sti", "hlt", "cli", options(nostack)) };
    }
}
