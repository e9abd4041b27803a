//! The machine's harts. They are counted 0, 1, …; 0 is the one that booted.

use axfeat::axhal::hart;
use axfeat::axruntime::AxResult;

/// How many harts are up.
pub fn online() -> usize {
    hart::online().count_ones() as usize
}

/// How many harts the machine has, up or not.
pub fn count() -> usize {
    hart::count()
}

/// Whether hart `number` is up.
pub fn is_online(number: usize) -> bool {
    hart::is_online(number)
}

/// The number of the hart that runs this.
pub fn current() -> usize {
    hart::this_hart()
}

/// What the hardware calls hart `number`.
pub fn hardware_id(number: usize) -> usize {
    hart::hardware_id(number)
}

/// How many timer interrupts the hart that runs this has taken.
#[cfg(feature = "irq")]
pub fn timer_ticks() -> u64 {
    axfeat::axhal::irq::timer_ticks()
}

/// Where the own data of the hart that runs this begins.
pub fn own_data() -> usize {
    hart::own_data()
}

/// The number of the thread that hart `number` runs when no other is ready.
#[cfg(feature = "multitask")]
pub fn idle_thread(number: usize) -> Option<u64> {
    axfeat::axtask::idle_of(number).map(|thread| thread.id())
}

/// Runs `work` once on every hart that is up, at the same time, and returns when
/// all have finished. `work` is given the hart's number.
///
/// With the feature `multitask` a thread of any hart may call this, several at a time:
/// one piece of work is done after the other.
///
/// # Errors
///
/// `BadState` for a caller that is a part of such work itself; `NoMemory` with the feature
/// `multitask` for a caller on another hart than the first, if there is none for the first
/// hart's part. `work` has run nowhere then.
#[cfg(feature = "smp")]
pub fn run_on_all(work: impl Fn(usize) + Sync) -> AxResult {
    axfeat::axruntime::run_on_all(&work)
}

/// Runs `work` on the one hart there is without the feature `smp`.
///
/// # Errors
///
/// None.
#[cfg(not(feature = "smp"))]
pub fn run_on_all(work: impl Fn(usize) + Sync) -> AxResult {
    work(current());
    Ok(())
}
