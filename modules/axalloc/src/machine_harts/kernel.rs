//! The harts of a kernel, as axhal knows them.
//!
//! Each hart has a cache of its own once it has called [`install_cache`]. The first hart has
//! one from the start, in static memory, so that it can allocate before anything is set up.

use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use axconfig::MAX_HARTS;
use axerrno::{AxError, AxResult};
use axhal::arch::IrqsOff;

use crate::hart_cache::HartCache;
use crate::harts::Harts;

/// This hart's cache.
#[percpu::def_percpu]
static CACHE: &HartCache = &FIRST_CACHE;

/// The cache of the first hart.
static FIRST_CACHE: HartCache = HartCache::new();

/// The caches of the other harts, in the order in which the harts started. Null for a hart that
/// has not started.
static OTHER_CACHES: [AtomicPtr<HartCache>; MAX_HARTS] =
    [const { AtomicPtr::new(ptr::null_mut()) }; MAX_HARTS];

/// The number of harts that have started.
static STARTED: AtomicUsize = AtomicUsize::new(0);

/// Gives this hart a cache that `new_cache` makes, unless it is the first hart, which has one.
/// Each hart calls this once, before it allocates or frees. The first hart calls it before
/// other harts run.
///
/// Returns whether `new_cache` was used.
///
/// # Errors
///
/// Returns `NoMemory` if `new_cache` fails, or if more harts start than there can be. The hart
/// must not allocate then, because it would use the first hart's cache.
pub(crate) fn install_cache(
    new_cache: impl FnOnce() -> Option<&'static HartCache>,
) -> AxResult<bool> {
    // Relaxed: the number only has to be unique.
    let number = STARTED.fetch_add(1, Ordering::Relaxed);
    if number == 0 {
        return Ok(false);
    }
    let place = OTHER_CACHES.get(number - 1).ok_or(AxError::NoMemory)?;
    let cache = new_cache().ok_or(AxError::NoMemory)?;
    // Release: pairs with the load in `for_each_cache`, which then sees the empty cache.
    place.store(ptr::from_ref(cache).cast_mut(), Ordering::Release);
    // SAFETY: each hart calls this function before it allocates or frees. So nothing else uses
    // this hart's `CACHE` while it is replaced.
    unsafe { *CACHE.current_ref_mut_raw() = cache };
    Ok(true)
}

/// The harts of the machine that this kernel runs on.
pub(crate) struct MachineHarts;

impl Harts for MachineHarts {
    #[inline(always)]
    fn with_cache<R>(&self, f: impl FnOnce(&HartCache) -> R) -> R {
        let _irqs_off = IrqsOff::new();
        // SAFETY: interrupts are disabled, so this code stays on this hart until `f` returns.
        f(unsafe { CACHE.current_ref_raw() })
    }

    fn for_each_cache(&self, mut f: impl FnMut(&HartCache)) {
        f(&FIRST_CACHE);
        for place in &OTHER_CACHES {
            // Acquire: pairs with the store in `install_cache`.
            let cache = place.load(Ordering::Acquire);
            // SAFETY: the pointer is null or was made of a `&'static HartCache`.
            if let Some(cache) = unsafe { cache.as_ref() } {
                f(cache);
            }
        }
    }
}
