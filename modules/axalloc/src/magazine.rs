//! A hart's small stock, in front of a structure all harts share.
//!
//! Only the hart that owns a magazine puts things in and takes them out, with
//! interrupts out, and takes no lock for it. When memory runs out anyone may
//! [`steal`](Magazine::steal) what is in it. So each slot is an atomic of its
//! own: a value is its taker's who swaps it for 0. How many slots are in use only
//! the owner knows; those above are always empty, since only it fills any.

use crate::atomic::{AtomicUsize, Ordering};

/// Up to `N` values, none of them 0.
#[derive(Debug)]
#[repr(C)]
pub struct Magazine<const N: usize> {
    len: AtomicUsize,
    slots: [AtomicUsize; N],
}

impl<const N: usize> Magazine<N> {
    /// An empty magazine.
    #[cfg(not(all(loom, test)))]
    pub const fn new() -> Self {
        Self {
            len: AtomicUsize::new(0),
            slots: [const { AtomicUsize::new(0) }; N],
        }
    }

    /// An empty magazine.
    #[cfg(all(loom, test))]
    pub fn new() -> Self {
        Self {
            len: AtomicUsize::new(0),
            slots: core::array::from_fn(|_| AtomicUsize::new(0)),
        }
    }

    /// Takes out what was put in last. For the owner.
    #[inline(always)]
    pub fn pop(&self) -> Option<usize> {
        let len = self.len.load(Ordering::Relaxed).wrapping_sub(1);
        let value = self.slots.get(len)?.swap(0, Ordering::Acquire);
        self.len.store(len, Ordering::Relaxed);
        if value == 0 {
            return self.pop_unstolen(len);
        }
        Some(value)
    }

    /// Takes out the last of the first `len` values that has not been stolen.
    #[cold]
    fn pop_unstolen(&self, len: usize) -> Option<usize> {
        let slots = self.slots.get(..len)?.iter().rev();
        let found = slots.zip((0..len).rev()).find_map(|(slot, len)| {
            let value = slot.swap(0, Ordering::Acquire);
            (value != 0).then_some((value, len))
        });
        self.len
            .store(found.map_or(0, |(_, len)| len), Ordering::Relaxed);
        found.map(|(value, _)| value)
    }

    /// Takes a part out of what was put in last. `split` returns that part of a value and what
    /// remains of it, 0 for nothing. A thief finds either the whole value or what remains. For
    /// the owner.
    #[inline(always)]
    pub fn pop_part(&self, split: impl Fn(usize) -> (usize, usize)) -> Option<usize> {
        loop {
            let len = self.len.load(Ordering::Relaxed);
            let last = len.checked_sub(1)?;
            let slot = self.slots.get(last)?;
            // Relaxed: only the owner puts values in.
            let value = slot.load(Ordering::Relaxed);
            if value != 0 {
                let (part, rest) = split(value);
                // Relaxed when it fails: a thief has taken the value.
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

    /// Puts `value` in. For the owner.
    ///
    /// # Errors
    ///
    /// `value`, if all slots are in use.
    #[inline(always)]
    pub fn push(&self, value: usize) -> Result<(), usize> {
        let len = self.len.load(Ordering::Relaxed);
        let slot = self.slots.get(len).ok_or(value)?;
        slot.store(value, Ordering::Release);
        self.len.store(len + 1, Ordering::Relaxed);
        Ok(())
    }

    /// Takes everything out. For anyone, at any time.
    pub fn steal(&self, mut f: impl FnMut(usize)) {
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
    fn the_last_one_in_is_the_first_one_out() {
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
        assert_eq!(magazine.push(6), Ok(()), "room again");
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

/// Every interleaving of an owner and thieves.
#[cfg(all(test, loom))]
mod interleavings {
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    use super::*;

    /// A magazine, and what each value stands for: a box that its taker must find
    /// filled, and has alone.
    struct Shop {
        magazine: Magazine<2>,
        boxes: [UnsafeCell<usize>; 6],
    }

    impl Shop {
        fn open() -> Arc<Self> {
            Arc::new(Self {
                magazine: Magazine::new(),
                boxes: core::array::from_fn(|_| UnsafeCell::new(0)),
            })
        }

        /// Fills the value's box and puts the value in, or answers it.
        fn push(&self, value: usize) -> Option<usize> {
            // SAFETY: the value is not in the magazine yet, so the box is ours.
            self.boxes[value].with_mut(|contents| unsafe { *contents = value });
            self.magazine
                .push(value)
                .err()
                .map(|value| self.empty(value))
        }

        fn pop(&self) -> Option<usize> {
            self.magazine.pop().map(|value| self.empty(value))
        }

        fn steal(&self) -> Vec<usize> {
            let mut taken = Vec::new();
            self.magazine.steal(|value| taken.push(self.empty(value)));
            taken
        }

        fn empty(&self, value: usize) -> usize {
            // SAFETY: whoever took the value out has the box alone, which is what
            // loom checks here.
            self.boxes[value].with_mut(|contents| unsafe {
                assert_eq!(*contents, value);
                *contents = 0;
            });
            value
        }
    }

    fn thief(shop: &Arc<Shop>) -> thread::JoinHandle<Vec<usize>> {
        let shop = shop.clone();
        thread::spawn(move || shop.steal())
    }

    /// `all` and what is in the shop still are the values from 1 to `last`.
    fn nothing_is_lost(mut all: Vec<usize>, shop: &Shop, last: usize) {
        all.extend(std::iter::from_fn(|| shop.pop()));
        all.sort_unstable();
        assert!(all.iter().copied().eq(1..=last), "{all:?}");
    }

    #[test]
    fn every_value_comes_out_exactly_once_and_whole() {
        loom::model(|| {
            let shop = Shop::open();
            let thief = thief(&shop);
            let mut all = Vec::new();
            for value in 1..=3 {
                all.extend(shop.push(value));
                if value == 2 {
                    all.extend(shop.pop());
                }
            }
            all.extend(thief.join().unwrap());
            nothing_is_lost(all, &shop, 3);
        });
    }

    #[test]
    fn two_thieves_and_the_owner_share_without_loss() {
        loom::model(|| {
            let shop = Shop::open();
            assert_eq!([shop.push(1), shop.push(2)], [None, None]);
            let thieves = [thief(&shop), thief(&shop)];
            let mut all = Vec::from_iter(shop.pop());
            all.extend(shop.push(3));
            all.extend(thieves.into_iter().flat_map(|thief| thief.join().unwrap()));
            nothing_is_lost(all, &shop, 3);
        });
    }

    /// A value whose parts the owner takes one by one: a thief gets the parts that are left.
    #[test]
    fn every_part_comes_out_exactly_once() {
        /// Parts `first` to `last` as one value.
        fn packed(first: usize, last: usize) -> usize {
            last << 8 | first
        }
        fn split(value: usize) -> (usize, usize) {
            let (first, last) = (value & 0xff, value >> 8);
            let rest = if first < last {
                packed(first + 1, last)
            } else {
                0
            };
            (first, rest)
        }
        loom::model(|| {
            let shop = Shop::open();
            for part in 1..=3 {
                // SAFETY: the value is not in the magazine yet, so this is the only access.
                shop.boxes[part].with_mut(|contents| unsafe { *contents = part });
            }
            assert_eq!(shop.magazine.push(packed(1, 1)), Ok(()));
            assert_eq!(shop.magazine.push(packed(2, 3)), Ok(()));
            let thief = {
                let shop = shop.clone();
                thread::spawn(move || {
                    let mut parts = Vec::new();
                    shop.magazine.steal(|value| {
                        let left = (value & 0xff)..=(value >> 8);
                        parts.extend(left.map(|part| shop.empty(part)));
                    });
                    parts
                })
            };
            let take = || Some(shop.empty(shop.magazine.pop_part(split)?));
            let mut all: Vec<usize> = std::iter::from_fn(take).take(2).collect();
            all.extend(thief.join().unwrap());
            all.extend(std::iter::from_fn(take));
            all.sort_unstable();
            assert_eq!(all, [1, 2, 3]);
            assert_eq!(shop.push(4), None, "there is room");
            assert_eq!(shop.pop(), Some(4));
        });
    }

    /// What the pool and the heap rely on where they refill: who has found nothing
    /// has room for everything, whatever is stolen meanwhile.
    #[test]
    fn an_empty_magazine_has_room_while_it_is_stolen_from() {
        loom::model(|| {
            let shop = Shop::open();
            assert_eq!([shop.push(1), shop.push(2)], [None, None]);
            let thief = thief(&shop);
            let mut all: Vec<usize> = std::iter::from_fn(|| shop.pop()).collect();
            for value in 3..=4 {
                assert_eq!(shop.push(value), None, "there is room");
            }
            all.extend(shop.pop());
            assert_eq!(shop.push(5), None, "there is room again");
            all.extend(thief.join().unwrap());
            nothing_is_lost(all, &shop, 5);
        });
    }

    /// A full magazine that has been stolen from is full only until its owner
    /// looks.
    #[test]
    fn a_full_magazine_refuses_and_has_room_after_one_is_taken() {
        loom::model(|| {
            let shop = Shop::open();
            assert_eq!([shop.push(1), shop.push(2)], [None, None]);
            let thief = thief(&shop);
            let mut all = Vec::from_iter(shop.push(3));
            assert_eq!(all, [3], "whatever has been stolen");
            all.extend(shop.pop());
            assert_eq!(shop.push(4), None);
            all.extend(thief.join().unwrap());
            nothing_is_lost(all, &shop, 4);
        });
    }
}
