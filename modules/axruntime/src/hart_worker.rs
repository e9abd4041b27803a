//! Workers without threads: a hart that has no work sleeps.

use core::sync::atomic::{AtomicBool, Ordering};

use axerrno::{AxError, AxResult};
use axhal::arch;

/// Prepares this hart to be a worker. Without threads there is nothing to prepare.
pub(crate) fn init_worker() -> bool {
    true
}

/// Begins a call.
///
/// # Errors
///
/// `BadState` if a call is in progress. `main` is the only caller outside the work, and it
/// waits until its call has ended. A second caller is therefore a part of that call's work.
pub(crate) fn begin_call(is_called: &AtomicBool) -> AxResult {
    // Acquire: pairs with the Release in `end_call`.
    match is_called.swap(true, Ordering::Acquire) {
        true => Err(AxError::BadState),
        false => Ok(()),
    }
}

/// Ends a call, so that the next one may begin.
pub(crate) fn end_call(is_called: &AtomicBool) {
    // Release: pairs with the Acquire in `begin_call`.
    is_called.store(false, Ordering::Release);
}

/// Starts the first hart's worker. Not needed here, because only the first hart calls.
pub(crate) fn start_first_worker(_caller: usize, _run: impl FnOnce() + Send + 'static) -> AxResult {
    Ok(())
}

/// Runs a hart's part of the work.
pub(crate) fn run_part(_hart: usize, work: impl FnOnce()) {
    work();
}

/// Makes the harts of a set check what they wait for.
pub(crate) fn wake(harts: u64) {
    (0..u64::BITS as usize)
        .filter(|hart| harts & 1 << hart != 0)
        .for_each(axhal::irq::kick);
}

/// Sleeps until `condition` holds. Interrupts are on during the sleep and afterwards.
///
/// The condition is checked with interrupts off. An interrupt that comes between the check
/// and the sleep ends the sleep, so no wake-up is lost.
pub(crate) fn wait_until(condition: impl Fn() -> bool) {
    arch::disable_irqs();
    while !condition() {
        arch::wait_for_irqs();
    }
    arch::enable_irqs();
}
