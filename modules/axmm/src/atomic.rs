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

/// Loom knows of a sequential order of fences alone, and takes `SeqCst` elsewhere for
/// `AcqRel`. So here an access in that order has a fence before it, as compilers write it
/// for machines that know of fences alone, too.
#[cfg(all(loom, test))]
mod modelled {
    use super::{Ordering, fence};

    fn in_order(order: Ordering) -> Ordering {
        if order == Ordering::SeqCst {
            fence(order);
        }
        order
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
                    self.0.load(in_order(order))
                }

                pub fn store(&self, value: $value, order: Ordering) {
                    self.0.store(value, in_order(order));
                }

                pub fn swap(&self, value: $value, order: Ordering) -> $value {
                    self.0.swap(value, in_order(order))
                }

                pub fn fetch_or(&self, bits: $value, order: Ordering) -> $value {
                    self.0.fetch_or(bits, in_order(order))
                }

                pub fn fetch_and(&self, bits: $value, order: Ordering) -> $value {
                    self.0.fetch_and(bits, in_order(order))
                }

                pub fn compare_exchange(
                    &self,
                    old: $value,
                    new: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    self.0
                        .compare_exchange(old, new, in_order(success), failure)
                }

                pub fn fetch_update(
                    &self,
                    success: Ordering,
                    failure: Ordering,
                    change: impl FnMut($value) -> Option<$value>,
                ) -> Result<$value, $value> {
                    self.0.fetch_update(in_order(success), failure, change)
                }
            }
        };
    }

    atomic!(AtomicU64, u64);
    atomic!(AtomicUsize, usize);
}
