//! The clock: the stable counter, at the rate in the CPU's configuration words.

use core::arch::asm;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use axmachine::Clock;
use axplat::time::TimeIf;

/// Ticks a second. Until `init` it is the rate of QEMU's clock.
///
/// Relaxed in all accesses: `init` stores the rate before the first hart starts another.
static HZ: AtomicU64 = AtomicU64::new(100_000_000);

/// Computes the rate: that of the crystal, times a multiplier, divided by a divisor ("CPUCFG",
/// words 4 and 5).
pub fn init() {
    let (crystal_hz, ratio) = (cpucfg(4), cpucfg(5));
    let (multiplier, divisor) = (ratio & 0xffff, ratio >> 16);
    HZ.store(crystal_hz * multiplier / divisor.max(1), Relaxed);
}

fn clock() -> Clock {
    Clock::new(HZ.load(Relaxed))
}

fn cpucfg(word: usize) -> u64 {
    let value: u64;
    // SAFETY: reading the register has no effect.
    unsafe { asm!("cpucfg {}, {}", out(reg) value, in(reg) word, options(nomem, nostack)) };
    value & 0xffff_ffff
}

struct Time;

#[axplat::impl_interface]
impl TimeIf for Time {
    fn current_ticks() -> u64 {
        let ticks: u64;
        // SAFETY: reading the clock has no effect.
        unsafe { asm!("rdtime.d {}, $zero", out(reg) ticks, options(nomem, nostack)) };
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
        /// `TCFG.En`: count down once ("Timer Configuration").
        const ENABLE: u64 = 1;
        /// The largest count that the timer of each CPU takes.
        const LONGEST: u64 = (1 << 42) - 4;

        let remaining = clock()
            .deadline(deadline_ns)
            .saturating_sub(Self::current_ticks());
        // The timer takes multiples of four.
        let count = remaining.clamp(1, LONGEST).next_multiple_of(4);
        // SAFETY: the write only sets this hart's timer.
        unsafe { asm!("csrwr {}, 0x41", inout(reg) count | ENABLE => _, options(nostack)) };
    }
}
