//! The harts of a plain process: each thread is a hart, and has a cache until it ends.

use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::hart_cache::HartCache;
use crate::harts::Harts;

/// The number of threads that can have a cache of their own at one time. All others share one
/// cache, under a lock.
const MAX_THREADS: usize = 64;

static CACHES: [HartCache; MAX_THREADS] = [const { HartCache::new() }; MAX_THREADS];
static TAKEN: [AtomicBool; MAX_THREADS] = [const { AtomicBool::new(false) }; MAX_THREADS];

/// The cache of all threads without a cache of their own, and its lock, which is taken before that
/// of the global pool.
static SHARED_CACHE: HartCache = HartCache::new();
static SHARED_CACHE_LOCK: Mutex<()> = Mutex::new(());

std::thread_local! {
    static CACHE: Cell<Option<&'static HartCache>> = const { Cell::new(None) };
    static RESERVATION: Option<Reservation> = Reservation::take();
}

/// A thread's right to use the cache of this number.
struct Reservation(usize);

impl Reservation {
    /// Reserves a free cache for this thread, if there is one.
    fn take() -> Option<Self> {
        // Acquire: pairs with the release in `drop`. This thread sees what the thread that had
        // the cache before it left there.
        let is_free = |taken: &AtomicBool| !taken.swap(true, Ordering::Acquire);
        TAKEN.iter().position(is_free).map(Self)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        CACHE.set(None);
        // Release: pairs with the swap in `take`.
        TAKEN[self.0].store(false, Ordering::Release);
    }
}

/// Finds the cache that this thread has reserved, or reserves one. Returns `None` if all are
/// taken, or if the thread is ending.
#[cold]
fn reserve_cache() -> Option<&'static HartCache> {
    let number = RESERVATION.try_with(|reserved| reserved.as_ref().map(|reserved| reserved.0));
    let cache = number.ok().flatten().map(|number| &CACHES[number]);
    CACHE.set(cache);
    cache
}

/// The threads of this process.
pub(crate) struct MachineHarts;

impl Harts for MachineHarts {
    #[inline]
    fn with_cache<R>(&self, f: impl FnOnce(&HartCache) -> R) -> R {
        let Some(cache) = CACHE.get().or_else(reserve_cache) else {
            let _guard = SHARED_CACHE_LOCK.lock();
            return f(&SHARED_CACHE);
        };
        f(cache)
    }

    fn for_each_cache(&self, mut f: impl FnMut(&HartCache)) {
        CACHES.iter().for_each(&mut f);
        f(&SHARED_CACHE);
    }
}
