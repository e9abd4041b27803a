//! The atomics of what many harts do at the same time: the machine's; in this crate's own
//! tests those of `loom`, which tries every interleaving of a test, and every order that
//! memory may have; or those of `shuttle`, which tries many schedules of a test, one step
//! of one atomic at a time.

#[cfg(not(any(all(loom, test), shuttle)))]
pub use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
#[cfg(all(loom, test))]
pub use loom::sync::atomic::{Ordering, fence};
#[cfg(all(loom, test))]
pub use modelled::{AtomicU64, AtomicUsize};
#[cfg(shuttle)]
pub use shuttle::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};

/// The order of a load whose value is the address of the next access: what C++ calls
/// consume, and Linux `rcu_dereference`. The address was stored with Release, and the memory
/// behind it was filled before.
///
/// The language knows no such order, so by its rules only Acquire is enough. Where that
/// costs nothing, under Miri and on x86_64, it is Acquire. Elsewhere Acquire would be a fence
/// at each level of a page-table walk, and the machine orders the two accesses already,
/// because the second needs the value of the first:
///
/// - riscv64: RVWMO, preserved program order, rule 9, a syntactic address dependency;
/// - aarch64: the address dependency of Armv8's dependency-ordered-before relation;
/// - loongarch64: the manual calls memory weakly consistent and has no word on dependencies.
///   Linux relies on them there, as on every architecture but Alpha;
/// - x86_64: TSO orders any two loads.
///
/// A compiler could break the dependency only if it knew the value. It cannot: the address
/// of a table is not compared with anything before it is used.
pub const CONSUME: Ordering = match cfg!(any(miri, target_arch = "x86_64")) {
    true => Ordering::Acquire,
    false => Ordering::Relaxed,
};

/// A word of data, as part of what a version guards. Shuttle takes turns at the version
/// alone: a turn at each word would leave it no time for anything else.
#[cfg(not(all(loom, test)))]
pub type DataUsize = core::sync::atomic::AtomicUsize;
#[cfg(all(loom, test))]
pub type DataUsize = AtomicUsize;

/// Loom knows a sequential order of fences. A load in that order reads the latest value there,
/// whatever the order of the store before it. So here a fence is between a write in that order
/// and the next read in it: not without the one, nor the other. The accesses themselves are
/// `Acquire` and `Release`.
#[cfg(all(loom, test))]
mod modelled {
    use core::cell::Cell;

    use super::{Ordering, fence};

    loom::thread_local! {
        /// Whether this thread has written in order since it has read in order.
        static WROTE: Cell<bool> = Cell::new(false);
    }

    fn reads(order: Ordering) -> Ordering {
        if order == Ordering::SeqCst && WROTE.with(Cell::take) {
            fence(order);
        }
        match order {
            Ordering::SeqCst => Ordering::Acquire,
            order => order,
        }
    }

    fn writes(order: Ordering) -> Ordering {
        if order == Ordering::SeqCst {
            WROTE.with(|wrote| wrote.set(true));
        }
        match order {
            Ordering::SeqCst => Ordering::Release,
            order => order,
        }
    }

    fn both(order: Ordering) -> Ordering {
        reads(order);
        writes(order);
        match order {
            Ordering::SeqCst => Ordering::AcqRel,
            order => order,
        }
    }

    macro_rules! atomic {
        ($atomic:ident, $value:ty) => {
            #[derive(Debug)]
            pub struct $atomic(loom::sync::atomic::$atomic);

            impl $atomic {
                pub fn new(value: $value) -> Self {
                    Self(loom::sync::atomic::$atomic::new(value))
                }

                pub fn load(&self, order: Ordering) -> $value {
                    self.0.load(reads(order))
                }

                pub fn store(&self, value: $value, order: Ordering) {
                    self.0.store(value, writes(order));
                }

                pub fn compare_exchange(
                    &self,
                    old: $value,
                    new: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    self.0.compare_exchange(old, new, both(success), failure)
                }
            }
        };
    }

    atomic!(AtomicU64, u64);
    atomic!(AtomicUsize, usize);

    impl AtomicU64 {
        pub fn fetch_or(&self, bits: u64, order: Ordering) -> u64 {
            self.0.fetch_or(bits, both(order))
        }

        pub fn fetch_and(&self, bits: u64, order: Ordering) -> u64 {
            self.0.fetch_and(bits, both(order))
        }

        pub fn fetch_update(
            &self,
            success: Ordering,
            failure: Ordering,
            change: impl FnMut(u64) -> Option<u64>,
        ) -> Result<u64, u64> {
            self.0.fetch_update(both(success), failure, change)
        }
    }
}
