//! The machine's harts. They are numbered 0, 1, …, and hart 0 is the one that booted.

use axfeat::axhal::hart;
use axfeat::axruntime::AxResult;

/// Returns the number of harts that are online.
pub fn online() -> usize {
    hart::online().count_ones() as usize
}

/// Returns the number of harts of the machine, online or not.
pub fn count() -> usize {
    hart::count()
}

/// Returns whether hart `number` is online.
pub fn is_online(number: usize) -> bool {
    hart::is_online(number)
}

/// Returns the number of the calling hart.
pub fn current() -> usize {
    hart::this_hart()
}

/// Returns the hardware's id of hart `number`.
pub fn hardware_id(number: usize) -> usize {
    hart::hardware_id(number)
}

/// Returns the number of timer interrupts that the calling hart has taken.
#[cfg(feature = "irq")]
pub fn timer_ticks() -> u64 {
    axfeat::axhal::irq::timer_ticks()
}

/// Returns the address of the calling hart's per-hart variables.
pub fn own_data() -> usize {
    hart::per_hart_data()
}

/// Returns the number of the idle thread of hart `number`, which runs when no other thread
/// is ready. Returns `None` if that hart runs no threads.
#[cfg(feature = "multitask")]
pub fn idle_thread(number: usize) -> Option<u64> {
    axfeat::axtask::idle_of(number).map(|thread| thread.id())
}

/// Runs `work` once on every online hart, at the same time. Returns when all have finished.
/// `work` gets the hart's number.
///
/// With the feature `multitask`, threads of all harts may call this. Calls are serialized.
///
/// # Errors
///
/// - `BadState` if the caller runs as part of such work, since it would wait for itself.
/// - `NoMemory`, with the feature `multitask`, if the caller is not on the first hart and
///   there is no memory for the first hart's worker.
///
/// `work` has not run on any hart then.
#[cfg(feature = "smp")]
pub fn run_on_all(work: impl Fn(usize) + Sync) -> AxResult {
    axfeat::axruntime::run_on_all(&work)
}

/// Runs `work` on the only hart. With the feature `smp` it runs on every online hart.
///
/// # Errors
///
/// It never fails without the feature `smp`.
#[cfg(not(feature = "smp"))]
pub fn run_on_all(work: impl Fn(usize) + Sync) -> AxResult {
    work(current());
    Ok(())
}
