//! The shrinker: a function of another module that frees its cached memory when an allocation
//! would fail otherwise.

use crate::lock::Lock;

static SHRINKER: Lock<Option<fn() -> bool>> = Lock::new(None);

/// Registers the shrinker: a function that frees memory which its module caches, and returns
/// whether it freed any. It replaces an earlier one.
///
/// It is called when an allocation would fail otherwise, and only with interrupts enabled. So it
/// may take any spin lock of the kernel: the hart that calls it holds none.
pub fn set_shrinker(shrinker: fn() -> bool) {
    *SHRINKER.lock() = Some(shrinker);
}

/// Calls the [shrinker](set_shrinker), and returns whether it freed memory.
///
/// With interrupts disabled it does nothing and returns `false`. Every spin lock of the kernel
/// disables interrupts, so this hart may hold one that the shrinker needs.
#[cold]
pub fn run_shrinker() -> bool {
    #[cfg(feature = "hal")]
    if !axhal::arch::irqs_enabled() {
        return false;
    }
    let shrinker = *SHRINKER.lock();
    shrinker.is_some_and(|shrinker| shrinker())
}
