//! A magazine: a hart's small stack of free frames or blocks, used without a lock.
//!
//! Only the hart that owns a magazine pushes and pops, with interrupts disabled. When memory
//! runs out, any hart may [`steal`](Magazine::steal) its values. So each slot is an atomic of
//! its own, and a value belongs to the hart that swaps it for 0.
//!
//! Only the owner knows how many slots are in use. The slots above are always empty, since only
//! the owner fills slots. The slots below may be empty as well, after a steal.

use crate::atomic::{AtomicUsize, Ordering};

/// A stack of up to `N` values other than 0.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Magazine<const N: usize> {
    /// The number of slots in use, including those that are empty since a steal. Relaxed: only
    /// the owner reads and writes it.
    len: AtomicUsize,
    /// The values, 0 in an empty slot. `push` stores with release. All that take values out
    /// read with acquire. So the hart that takes a value sees all that was done with the memory
    /// before it was freed.
    slots: [AtomicUsize; N],
}

impl<const N: usize> Magazine<N> {
    /// An empty magazine.
    #[cfg(not(all(loom, test)))]
    pub(crate) const fn new() -> Self {
        Self {
            len: AtomicUsize::new(0),
            slots: [const { AtomicUsize::new(0) }; N],
        }
    }

    /// An empty magazine. Loom's atomics cannot be made in a constant.
    #[cfg(all(loom, test))]
    pub(crate) fn new() -> Self {
        Self {
            len: AtomicUsize::new(0),
            slots: core::array::from_fn(|_| AtomicUsize::new(0)),
        }
    }

    /// Takes out the value that was pushed last. Only the owner may call this.
    #[inline(always)]
    pub(crate) fn pop(&self) -> Option<usize> {
        let len = self.len.load(Ordering::Relaxed).wrapping_sub(1);
        let value = self.slots.get(len)?.swap(0, Ordering::Acquire);
        self.len.store(len, Ordering::Relaxed);
        if value == 0 {
            return self.pop_not_stolen(len);
        }
        Some(value)
    }

    /// Takes out the last of the first `len` values that was not stolen.
    #[cold]
    fn pop_not_stolen(&self, len: usize) -> Option<usize> {
        let slots = self.slots.get(..len)?.iter().rev();
        let found = slots.zip((0..len).rev()).find_map(|(slot, below)| {
            let value = slot.swap(0, Ordering::Acquire);
            (value != 0).then_some((value, below))
        });
        let (value, len) = found.map_or((None, 0), |(value, below)| (Some(value), below));
        self.len.store(len, Ordering::Relaxed);
        value
    }

    /// Takes a part out of the value that was pushed last. `split` returns that part and the rest
    /// of the value, or 0 if nothing is left. Only the owner may call this.
    ///
    /// A hart that steals meanwhile finds either the value or its rest.
    #[inline(always)]
    pub(crate) fn pop_part(&self, split: impl Fn(usize) -> (usize, usize)) -> Option<usize> {
        loop {
            let len = self.len.load(Ordering::Relaxed);
            let last = len.checked_sub(1)?;
            let slot = self.slots.get(last)?;
            // Relaxed: only this hart pushes values.
            let value = slot.load(Ordering::Relaxed);
            if value != 0 {
                let (part, rest) = split(value);
                // Acquire: pairs with the store in `push`. A hart that steals the rest is ordered
                // after that store as well, because this exchange continues its release
                // sequence. Relaxed on failure: another hart has stolen the value.
                let taken =
                    slot.compare_exchange(value, rest, Ordering::Acquire, Ordering::Relaxed);
                if taken.is_ok() {
                    if rest == 0 {
                        self.len.store(last, Ordering::Relaxed);
                    }
                    return Some(part);
                }
            }
            self.len.store(last, Ordering::Relaxed);
        }
    }

    /// Pushes `value`, which is not 0. Only the owner may call this.
    ///
    /// # Errors
    ///
    /// Returns `value` if all slots are in use.
    #[inline(always)]
    pub(crate) fn push(&self, value: usize) -> Result<(), usize> {
        let len = self.len.load(Ordering::Relaxed);
        let slot = self.slots.get(len).ok_or(value)?;
        slot.store(value, Ordering::Release);
        self.len.store(len + 1, Ordering::Relaxed);
        Ok(())
    }

    /// Takes all values out and passes them to `f`. Any hart may call this at any time.
    pub(crate) fn steal(&self, mut f: impl FnMut(usize)) {
        for slot in &self.slots {
            match slot.swap(0, Ordering::Acquire) {
                0 => {}
                value => f(value),
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_in_is_the_first_out() {
        let magazine = Magazine::<3>::new();
        assert_eq!(magazine.pop(), None);
        for value in 1..=3 {
            assert_eq!(magazine.push(value), Ok(()));
        }
        assert_eq!(magazine.push(4), Err(4));
        assert_eq!([magazine.pop(), magazine.pop()], [Some(3), Some(2)]);
        assert_eq!(magazine.push(5), Ok(()));
        let mut stolen = Vec::new();
        magazine.steal(|value| stolen.push(value));
        assert_eq!(stolen, [1, 5]);
        assert_eq!(magazine.pop(), None);
        assert_eq!(magazine.push(6), Ok(()), "there is room again");
        assert_eq!(magazine.pop(), Some(6));
    }

    #[test]
    fn parts_come_out_of_the_last_value_first() {
        let magazine = Magazine::<3>::new();
        let take_ten = |value: usize| (value.min(10), value.saturating_sub(10));
        assert_eq!(magazine.pop_part(take_ten), None);
        assert_eq!([magazine.push(5), magazine.push(25)], [Ok(()), Ok(())]);
        let parts = core::array::from_fn(|_| magazine.pop_part(take_ten));
        assert_eq!(parts, [Some(10), Some(10), Some(5), Some(5), None]);
        assert_eq!([magazine.push(30), magazine.push(20)], [Ok(()), Ok(())]);
        assert_eq!(magazine.pop_part(take_ten), Some(10));
        let mut stolen = Vec::new();
        magazine.steal(|value| stolen.push(value));
        assert_eq!(stolen, [30, 10]);
        assert_eq!(magazine.pop_part(take_ten), None);
    }
}

/// `loom` tries every interleaving of an owner and harts that steal.
#[cfg(all(test, loom))]
mod interleavings {
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    use super::*;

    /// A magazine, and the memory that each value stands for. The hart that takes a value out
    /// must find its memory filled, and own it exclusively.
    struct Model {
        magazine: Magazine<2>,
        memory: [UnsafeCell<usize>; 6],
    }

    impl Model {
        fn new() -> Arc<Self> {
            Arc::new(Self {
                magazine: Magazine::new(),
                memory: core::array::from_fn(|_| UnsafeCell::new(0)),
            })
        }

        /// Fills the value's memory and pushes the value. Returns the value if it was refused.
        fn push(&self, value: usize) -> Option<usize> {
            // SAFETY: the value is not in the magazine, so this thread owns its memory.
            self.memory[value].with_mut(|contents| unsafe { *contents = value });
            self.magazine
                .push(value)
                .err()
                .map(|value| self.take_memory(value))
        }

        fn pop(&self) -> Option<usize> {
            self.magazine.pop().map(|value| self.take_memory(value))
        }

        fn steal(&self) -> Vec<usize> {
            let mut taken = Vec::new();
            self.magazine
                .steal(|value| taken.push(self.take_memory(value)));
            taken
        }

        /// Checks and clears the memory of a value that was taken out.
        fn take_memory(&self, value: usize) -> usize {
            // SAFETY: only the thread that took the value out accesses its memory. Loom fails
            // if that is not so.
            self.memory[value].with_mut(|contents| unsafe {
                assert_eq!(*contents, value);
                *contents = 0;
            });
            value
        }
    }

    fn thief(model: &Arc<Model>) -> thread::JoinHandle<Vec<usize>> {
        let model = model.clone();
        thread::spawn(move || model.steal())
    }

    /// Asserts that `taken` and what is still in the magazine are the values from 1 to `last`.
    fn assert_all_present(mut taken: Vec<usize>, model: &Model, last: usize) {
        taken.extend(std::iter::from_fn(|| model.pop()));
        taken.sort_unstable();
        assert!(taken.iter().copied().eq(1..=last), "{taken:?}");
    }

    #[test]
    fn every_value_comes_out_exactly_once() {
        loom::model(|| {
            let model = Model::new();
            let thief = thief(&model);
            let mut taken = Vec::new();
            for value in 1..=3 {
                taken.extend(model.push(value));
                if value == 2 {
                    taken.extend(model.pop());
                }
            }
            taken.extend(thief.join().unwrap());
            assert_all_present(taken, &model, 3);
        });
    }

    #[test]
    fn two_thieves_and_the_owner_lose_no_value() {
        loom::model(|| {
            let model = Model::new();
            assert_eq!([model.push(1), model.push(2)], [None, None]);
            let thieves = [thief(&model), thief(&model)];
            let mut taken = Vec::from_iter(model.pop());
            taken.extend(model.push(3));
            taken.extend(thieves.into_iter().flat_map(|thief| thief.join().unwrap()));
            assert_all_present(taken, &model, 3);
        });
    }

    /// The owner takes the parts of a value one by one. A thief gets the parts that are left.
    #[test]
    fn every_part_comes_out_exactly_once() {
        /// Packs the parts `first` to `last` into one value.
        fn pack(first: usize, last: usize) -> usize {
            last << 8 | first
        }
        fn split(value: usize) -> (usize, usize) {
            let (first, last) = (value & 0xff, value >> 8);
            let rest = if first < last {
                pack(first + 1, last)
            } else {
                0
            };
            (first, rest)
        }
        loom::model(|| {
            let model = Model::new();
            for part in 1..=3 {
                // SAFETY: the value is not in the magazine yet, so this is the only access.
                model.memory[part].with_mut(|contents| unsafe { *contents = part });
            }
            assert_eq!(model.magazine.push(pack(1, 1)), Ok(()));
            assert_eq!(model.magazine.push(pack(2, 3)), Ok(()));
            let thief = {
                let model = model.clone();
                thread::spawn(move || {
                    let mut parts = Vec::new();
                    model.magazine.steal(|value| {
                        let left = (value & 0xff)..=(value >> 8);
                        parts.extend(left.map(|part| model.take_memory(part)));
                    });
                    parts
                })
            };
            let take = || Some(model.take_memory(model.magazine.pop_part(split)?));
            let mut taken: Vec<usize> = std::iter::from_fn(take).take(2).collect();
            taken.extend(thief.join().unwrap());
            taken.extend(std::iter::from_fn(take));
            taken.sort_unstable();
            assert_eq!(taken, [1, 2, 3]);
            assert_eq!(model.push(4), None, "there is room");
            assert_eq!(model.pop(), Some(4));
        });
    }

    /// The refill of a magazine relies on this: once `pop` returns `None`, all slots are free
    /// for the owner, whatever is stolen meanwhile.
    #[test]
    fn an_empty_magazine_has_room_while_values_are_stolen() {
        loom::model(|| {
            let model = Model::new();
            assert_eq!([model.push(1), model.push(2)], [None, None]);
            let thief = thief(&model);
            let mut taken: Vec<usize> = std::iter::from_fn(|| model.pop()).collect();
            for value in 3..=4 {
                assert_eq!(model.push(value), None, "there is room");
            }
            taken.extend(model.pop());
            assert_eq!(model.push(5), None, "there is room again");
            taken.extend(thief.join().unwrap());
            assert_all_present(taken, &model, 5);
        });
    }

    /// The owner does not notice that values were stolen before it pops.
    #[test]
    fn a_full_magazine_refuses_until_its_owner_pops() {
        loom::model(|| {
            let model = Model::new();
            assert_eq!([model.push(1), model.push(2)], [None, None]);
            let thief = thief(&model);
            let mut taken = Vec::from_iter(model.push(3));
            assert_eq!(taken, [3], "refused, whatever was stolen");
            taken.extend(model.pop());
            assert_eq!(model.push(4), None);
            taken.extend(thief.join().unwrap());
            assert_all_present(taken, &model, 4);
        });
    }
}
