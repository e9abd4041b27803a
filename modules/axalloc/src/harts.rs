//! [`Harts`]: how the allocator reaches the caches of the harts.
//!
//! The implementation decides what a hart is: a CPU in the kernel, and a thread, or a plain
//! struct, in tests.

use crate::hart_cache::HartCache;

/// A set of harts, each with a cache.
pub(crate) trait Harts {
    /// Calls `f` with the cache of the hart that runs this. Until `f` returns, nothing else on
    /// this hart uses the cache. `f` may take the lock of the global pool, but the caller does not
    /// hold it.
    fn with_cache<R>(&self, f: impl FnOnce(&HartCache) -> R) -> R;

    /// Calls `f` with the cache of each hart. Other harts may be using theirs.
    fn for_each_cache(&self, f: impl FnMut(&HartCache));
}
