//! The atomics of locks, TLB states and ASIDs. A kernel uses those of `core`. The tests of this
//! crate can use two others:
//!
//! - `loom` tries every interleaving of a unit test, and every order that memory may have;
//! - `shuttle` tries many schedules of a test, one access to one atomic at a time.
//!
//! The entries of page tables are always atomics of `core`: they lie in frames, where neither
//! `loom` nor `shuttle` can have atomics.

#[cfg(not(any(all(loom, test), shuttle)))]
pub use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
#[cfg(all(loom, test))]
pub use loom::sync::atomic::Ordering;
#[cfg(all(loom, test))]
pub use loom_atomics::{AtomicU64, AtomicUsize};
#[cfg(shuttle)]
pub use shuttle::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The order of a load whose value is the address of the next access. C++ calls this order
/// consume, and Linux has `rcu_dereference` for it. The partner is a Release store of the
/// address, before which the memory at the address was filled.
///
/// Rust has no such order, and by its rules only Acquire is enough. Under Miri and on x86_64,
/// where Acquire costs nothing, this is Acquire. Elsewhere Acquire would be a fence at each
/// level of a page-table walk. The machine orders the two accesses already, because the second
/// needs the value of the first:
///
/// - riscv64: RVWMO, preserved program order, rule 9, a syntactic address dependency;
/// - aarch64: the address dependency of Armv8's dependency-ordered-before relation;
/// - loongarch64: the manual calls memory weakly consistent and has no word on dependencies.
///   Linux relies on them there, as on every architecture but Alpha;
/// - x86_64: TSO orders any two loads.
///
/// A compiler could break the dependency only if it knew the value. It does not: the address
/// of a table is not compared with another value before it is used.
pub const CONSUME: Ordering = match cfg!(any(miri, target_arch = "x86_64")) {
    true => Ordering::Acquire,
    false => Ordering::Relaxed,
};

/// Atomics of loom with SeqCst accesses.
///
/// Loom keeps one total order of SeqCst fences, but not of SeqCst accesses. Its own SeqCst load
/// returns the latest value even if that was stored with a weaker order, and so would hide a
/// store that is too weak.
///
/// Our protocols need SeqCst for one thing: a thread writes one atomic and then reads another.
/// So here a SeqCst access is an `Acquire` or `Release` access, and a SeqCst fence comes between
/// a SeqCst write and the next SeqCst read of the same thread.
#[cfg(all(loom, test))]
mod loom_atomics {
    use core::cell::Cell;

    use loom::sync::atomic::fence;

    use super::Ordering;

    loom::thread_local! {
        /// Whether this thread has made a SeqCst write since its last SeqCst read.
        static WROTE: Cell<bool> = Cell::new(false);
    }

    fn read_order(order: Ordering) -> Ordering {
        if order == Ordering::SeqCst && WROTE.with(Cell::take) {
            fence(order);
        }
        match order {
            Ordering::SeqCst => Ordering::Acquire,
            order => order,
        }
    }

    fn write_order(order: Ordering) -> Ordering {
        if order == Ordering::SeqCst {
            WROTE.with(|wrote| wrote.set(true));
        }
        match order {
            Ordering::SeqCst => Ordering::Release,
            order => order,
        }
    }

    fn read_write_order(order: Ordering) -> Ordering {
        read_order(order);
        write_order(order);
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
                    self.0.load(read_order(order))
                }

                pub fn store(&self, value: $value, order: Ordering) {
                    self.0.store(value, write_order(order));
                }

                pub fn compare_exchange(
                    &self,
                    old: $value,
                    new: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    self.0
                        .compare_exchange(old, new, read_write_order(success), failure)
                }
            }
        };
    }

    atomic!(AtomicU64, u64);
    atomic!(AtomicUsize, usize);

    #[cfg(feature = "objects")]
    impl AtomicUsize {
        pub fn fetch_add(&self, count: usize, order: Ordering) -> usize {
            self.0.fetch_add(count, read_write_order(order))
        }

        pub fn fetch_sub(&self, count: usize, order: Ordering) -> usize {
            self.0.fetch_sub(count, read_write_order(order))
        }
    }

    impl AtomicU64 {
        pub fn fetch_or(&self, bits: u64, order: Ordering) -> u64 {
            self.0.fetch_or(bits, read_write_order(order))
        }

        pub fn fetch_and(&self, bits: u64, order: Ordering) -> u64 {
            self.0.fetch_and(bits, read_write_order(order))
        }

        pub fn fetch_update(
            &self,
            success: Ordering,
            failure: Ordering,
            change: impl FnMut(u64) -> Option<u64>,
        ) -> Result<u64, u64> {
            self.0
                .fetch_update(read_write_order(success), failure, change)
        }
    }
}
