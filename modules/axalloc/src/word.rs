//! The 8 bytes the allocator keeps for each frame, as two words of 32 bits.
//!
//! ```text
//!    upper                      lower
//! +------------+-------+   +------------------+------+---+
//! | next    27 | order |   | prev          27 |      | 1 |  the first frame of a free block
//! +------------+-------+   +------------------+------+---+
//! | references         |   | frames        26 | kind | 2 |  the first frame of a run in other hands
//! +--------------------+   +------------------+------+---+
//! | frames             |   | next          27 | kind | 3 |  the first frame of a row in a list
//! +--------------------+   +------------------+------+---+
//! |                    |   |                         | 0 |  any other frame
//! +--------------------+   +------------------+------+---+
//! ```
//!
//! `prev` and `next` are frame numbers, or [`NIL`]. They lie here and not in the
//! memory itself, so that nothing that a stray write hits leads the allocator
//! astray, and neither free memory nor what others may still write to is touched.
//!
//! The word of a free block changes only under the buddy system's lock; that of a
//! run in other hands only by whoever holds a reference to it; that of a row in a
//! list only by whoever has the list.

use core::num::NonZeroU32;

use crate::atomic::{AtomicU32, Ordering, fence};
use crate::usage::UsageKind;

/// The frame number that stands for none. Frames are numbered below it, which
/// is 512 GiB of physical addresses.
pub const NIL: u32 = (1 << 27) - 1;

const FREE: u32 = 1;
const HELD: u32 = 2;
const LISTED: u32 = 3;
const TAG: u32 = 3;

/// The kind, above the tag.
const KIND: u32 = (UsageKind::COUNT as u32 - 1) << 2;

/// The lower half for a single frame in other hands, but for its kind.
const SINGLE: u32 = 1 << 6 | HELD;

/// Where `prev` and `next` begin, above the order or the kind and the tag.
const LINK: u32 = 5;
const ORDER: u32 = (1 << LINK) - 1;

/// A run of frames in other hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    pub kind: UsageKind,
    pub count: usize,
}

/// What came of giving a reference back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Released {
    /// It was the last: the run is the caller's.
    Last(Held),
    /// Others have the run still.
    Shared,
    /// Nobody has such a run.
    NotHeld,
}

/// What is known of one frame.
#[derive(Debug)]
#[repr(C)]
pub struct Word {
    lower: AtomicU32,
    upper: AtomicU32,
}

impl Word {
    /// The word of a frame nothing is known of.
    #[cfg(test)]
    pub fn new() -> Self {
        Self {
            lower: AtomicU32::new(0),
            upper: AtomicU32::new(0),
        }
    }

    /// Whether a free block of `order` begins with this frame.
    #[inline]
    pub fn is_free(&self, order: usize) -> bool {
        self.lower.load(Ordering::Relaxed) & TAG == FREE
            && self.upper.load(Ordering::Relaxed) & ORDER == order as u32
    }

    /// The blocks before and behind the free block that begins here.
    pub fn links(&self) -> (u32, u32) {
        let prev = self.lower.load(Ordering::Relaxed) >> LINK;
        (prev, self.upper.load(Ordering::Relaxed) >> LINK)
    }

    /// Makes `prev` the block before the free block that begins here.
    pub fn set_prev(&self, prev: u32) {
        self.lower.store(prev << LINK | FREE, Ordering::Relaxed);
    }

    /// Makes `next` the block behind the free block of `order` that begins here.
    pub fn set_next(&self, next: u32, order: usize) {
        let upper = next << LINK | order as u32;
        self.upper.store(upper, Ordering::Relaxed);
    }

    /// Makes this a frame nothing is known of.
    pub fn clear(&self) {
        self.lower.store(0, Ordering::Relaxed);
    }

    /// Gives the run that begins with this frame into other hands, with one
    /// reference.
    pub fn hold(&self, Held { kind, count }: Held) {
        self.lower.store(lower_of(kind, count), Ordering::Relaxed);
        self.upper.store(1, Ordering::Relaxed);
    }

    /// The run in other hands that begins here, with how many references.
    #[inline]
    pub fn held(&self) -> Option<(Held, u32)> {
        let lower = self.lower.load(Ordering::Relaxed);
        let held = Held {
            kind: UsageKind::ALL[(lower >> 2) as usize & (UsageKind::COUNT - 1)],
            count: (lower >> 6) as usize,
        };
        // What others did with the frames is seen by who is the only one left.
        (lower & TAG == HELD).then(|| (held, self.upper.load(Ordering::Acquire)))
    }

    /// One reference more. `None` if nobody has such a run, or 2^32 - 1 have.
    pub fn share(&self) -> Option<NonZeroU32> {
        self.held()?;
        // Who asks has a reference already, so that nothing needs an order.
        let more = |references: u32| references.checked_add(1);
        let before = self
            .upper
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        NonZeroU32::new(before.ok()? + 1)
    }

    /// One reference less. With the last, the frame is one nothing is known of.
    #[inline]
    pub fn release(&self) -> Released {
        let Some((held, references)) = self.held() else {
            return Released::NotHeld;
        };
        // Only who has a reference can make more, and the only one is ours.
        if references > 1 {
            // What was done with the frames is done before the last one goes.
            let before = self.upper.fetch_sub(1, Ordering::AcqRel);
            if before > 1 {
                return Released::Shared;
            }
        }
        self.clear();
        Released::Last(held)
    }

    /// One reference less to each of the first of `words`, as long as they are the
    /// only ones to single frames of one kind. Answers the kind and how many; `None`
    /// if the first is none such.
    pub fn release_singles(words: &[Self]) -> Option<(UsageKind, usize)> {
        let (Held { kind, .. }, _) = words.first()?.held()?;
        let single = lower_of(kind, 1);
        let is_last = |word: &&Self| {
            word.lower.load(Ordering::Relaxed) == single && word.upper.load(Ordering::Relaxed) == 1
        };
        let singles = words.iter().take_while(is_last);
        let count = singles.map(Self::clear).count();
        // What others did with the frames is seen by who has them now.
        fence(Ordering::Acquire);
        (count > 0).then_some((kind, count))
    }

    /// Puts the row of `count` single frames that begins here before `next` in a list.
    /// Answers whether it has: the reference to the first must be the only one.
    #[inline]
    pub fn list(&self, count: u32, next: u32) -> bool {
        let lower = self.lower.load(Ordering::Relaxed);
        // What others did with the frame is seen by who is the only one left.
        if lower & !KIND != SINGLE || self.upper.load(Ordering::Acquire) != 1 {
            return false;
        }
        let lower = next << LINK | lower & KIND | LISTED;
        self.lower.store(lower, Ordering::Relaxed);
        self.upper.store(count, Ordering::Relaxed);
        true
    }

    /// Takes the row that begins here out of its list, the inverse of
    /// [`list`](Self::list). Answers how many frames it has, and the row behind it;
    /// `None` if it is in no list.
    #[inline]
    pub fn unlist(&self) -> Option<(u32, u32)> {
        let lower = self.lower.load(Ordering::Relaxed);
        if lower & TAG != LISTED {
            return None;
        }
        let count = self.upper.load(Ordering::Relaxed);
        self.lower.store(lower & KIND | SINGLE, Ordering::Relaxed);
        self.upper.store(1, Ordering::Relaxed);
        Some((count, lower >> LINK))
    }
}

/// The lower half for a run in other hands.
fn lower_of(kind: UsageKind, count: usize) -> u32 {
    (count as u32) << 6 | (kind as u32) << 2 | HELD
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// The longest run that can be in other hands.
    const MAX_RUN: usize = (1 << 26) - 1;

    #[test]
    fn a_free_block_is_read_as_it_was_written() {
        for (order, prev, next) in [(0, 0, NIL), (24, NIL, 0), (18, NIL - 1, 12345)] {
            let word = Word::new();
            word.set_prev(prev);
            word.set_next(next, order);
            assert_eq!(word.links(), (prev, next));
            assert!(word.is_free(order) && !word.is_free(order + 1));
            assert_eq!(word.held(), None);
            assert_eq!(word.share(), None);
            assert_eq!(word.release(), Released::NotHeld);
            word.clear();
            assert!(!word.is_free(order));
        }
    }

    #[test]
    fn references_are_counted_and_the_last_one_gets_the_run() {
        for kind in UsageKind::ALL {
            let word = Word::new();
            let held = Held {
                kind,
                count: MAX_RUN,
            };
            word.hold(held);
            assert!((0..25).all(|order| !word.is_free(order)));
            assert_eq!(word.share().map(NonZeroU32::get), Some(2));
            assert_eq!(word.share().map(NonZeroU32::get), Some(3));
            assert_eq!(word.held(), Some((held, 3)));
            assert_eq!(word.release(), Released::Shared);
            assert_eq!(word.release(), Released::Shared);
            assert_eq!(word.release(), Released::Last(held));
            assert_eq!(word.release(), Released::NotHeld, "a double free is named");
        }
    }

    #[test]
    fn singles_of_one_kind_are_released_up_to_the_first_other_thing() {
        let single = |kind| Held { kind, count: 1 };
        let words: [Word; 8] = core::array::from_fn(|_| Word::new());
        let (dma, object) = (single(UsageKind::Dma), single(UsageKind::Object));
        for word in &words {
            word.hold(dma);
        }
        words[2].share();
        words[4].hold(object);
        words[5].hold(Held { count: 2, ..dma });
        words[6].release();
        let release = |from: usize| Word::release_singles(&words[from..]);
        assert_eq!(release(0), Some((UsageKind::Dma, 2)));
        assert!(words[..2].iter().all(|word| word.held().is_none()));
        assert_eq!(words[2].held(), Some((dma, 2)));
        assert_eq!(release(3), Some((UsageKind::Dma, 1)));
        assert_eq!(release(4), Some((UsageKind::Object, 1)));
        for none in [0, 2, 5, 6, 8] {
            assert_eq!(release(none), None, "{none}");
        }
        assert_eq!(release(7), Some((UsageKind::Dma, 1)));
    }

    #[test]
    fn a_row_comes_out_of_a_list_as_it_went_in() {
        for kind in UsageKind::ALL {
            for (count, next) in [(1, NIL), (u32::MAX, 0), (512, NIL - 1)] {
                let word = Word::new();
                let held = Held { kind, count: 1 };
                word.hold(held);
                assert!(word.list(count, next));
                assert!((0..25).all(|order| !word.is_free(order)));
                assert_eq!((word.held(), word.share()), (None, None));
                assert_eq!(word.release(), Released::NotHeld, "a double free is named");
                assert!(!word.list(count, next), "it is in one");
                assert_eq!(word.unlist(), Some((count, next)));
                assert_eq!(word.held(), Some((held, 1)));
                assert_eq!(word.unlist(), None);
            }
        }
    }

    #[test]
    fn only_a_single_frame_of_one_owner_begins_a_row_in_a_list() {
        let kind = UsageKind::PageTable;
        let word = Word::new();
        assert!(!word.list(1, NIL), "nobody has it");
        word.hold(Held { kind, count: 2 });
        assert!(!word.list(1, NIL), "it is a run's");
        word.hold(Held { kind, count: 1 });
        word.share();
        assert!(!word.list(1, NIL), "another has it too");
        word.release();
        assert!(word.list(1, NIL));
        word.clear();
        word.set_prev(5);
        word.set_next(7, 1);
        assert!(!word.list(1, NIL), "it is free");
        assert_eq!((word.links(), word.unlist()), ((5, 7), None));
    }

    #[test]
    fn a_count_that_is_full_stays_as_it_is() {
        let held = Held {
            kind: UsageKind::VirtMem,
            count: 1,
        };
        let word = Word::new();
        word.hold(held);
        word.upper.store(u32::MAX - 1, Ordering::Relaxed);
        assert_eq!(word.share().map(NonZeroU32::get), Some(u32::MAX));
        assert_eq!(word.share(), None);
        assert_eq!(word.held(), Some((held, u32::MAX)));
    }
}

/// Every interleaving of two and three holders of one run.
#[cfg(all(test, loom))]
mod interleavings {
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicUsize;
    use loom::thread;

    use super::*;

    const HELD: Held = Held {
        kind: UsageKind::VirtMem,
        count: 1,
    };

    /// The run and what its last holder must find in it.
    struct Run {
        word: Word,
        contents: UnsafeCell<usize>,
        lasts: AtomicUsize,
    }

    impl Run {
        fn with_holders(holders: usize) -> Arc<Self> {
            let word = Word::new();
            word.hold(HELD);
            for _ in 1..holders {
                word.share();
            }
            Arc::new(Self {
                word,
                contents: UnsafeCell::new(0),
                lasts: AtomicUsize::new(0),
            })
        }

        fn read(&self) {
            self.contents.with(|_| {});
        }

        fn release(&self) {
            if let Released::Last(held) = self.word.release() {
                assert_eq!(held, HELD);
                // Loom fails if another holder's read is not over by now.
                self.contents.with_mut(|_| {});
                self.lasts.fetch_add(1, Ordering::Relaxed);
            }
        }

        fn is_over(&self) {
            assert_eq!(self.lasts.load(Ordering::Relaxed), 1);
            assert_eq!(self.word.release(), Released::NotHeld);
        }
    }

    fn in_a_thread(run: &Arc<Run>, f: impl FnOnce(&Run) + 'static) -> thread::JoinHandle<()> {
        let run = run.clone();
        thread::spawn(move || f(&run))
    }

    #[test]
    fn exactly_one_holder_is_the_last() {
        loom::model(|| {
            let run = Run::with_holders(2);
            let other = in_a_thread(&run, |run| {
                run.word.share();
                run.read();
                run.release();
                run.release();
            });
            run.read();
            run.release();
            other.join().unwrap();
            run.is_over();
        });
    }

    #[test]
    fn exactly_one_of_three_is_the_last_and_all_others_are_done() {
        loom::model(|| {
            let run = Run::with_holders(3);
            let others = [(); 2].map(|()| {
                in_a_thread(&run, |run| {
                    run.read();
                    run.release();
                })
            });
            run.read();
            run.release();
            others.into_iter().for_each(|other| other.join().unwrap());
            run.is_over();
        });
    }

    /// One of two pages that share a frame goes by itself, one in a row.
    #[test]
    fn a_row_takes_what_its_others_are_done_with() {
        loom::model(|| {
            let run = Run::with_holders(2);
            let other = in_a_thread(&run, |run| {
                run.read();
                run.release();
            });
            run.read();
            match Word::release_singles(core::slice::from_ref(&run.word)) {
                Some((kind, count)) => {
                    assert_eq!(Held { kind, count }, HELD);
                    // Loom fails if the other's read is not over by now.
                    run.contents.with_mut(|_| {});
                    run.lasts.fetch_add(1, Ordering::Relaxed);
                }
                None => run.release(),
            }
            other.join().unwrap();
            run.is_over();
        });
    }

    /// What goes into a list has no other holder, and none that is not done.
    #[test]
    fn a_list_takes_what_its_others_are_done_with() {
        loom::model(|| {
            let run = Run::with_holders(2);
            let other = in_a_thread(&run, |run| {
                run.read();
                run.release();
            });
            run.read();
            if run.word.list(7, 3) {
                assert_eq!(run.word.unlist(), Some((7, 3)));
                // Loom fails if the other's read is not over by now.
                run.contents.with_mut(|_| {});
            }
            run.release();
            other.join().unwrap();
            run.is_over();
        });
    }

    #[test]
    fn references_made_at_the_same_time_all_count() {
        loom::model(|| {
            let run = Run::with_holders(2);
            let other = in_a_thread(&run, |run| {
                assert!(run.word.share().is_some());
            });
            assert!(run.word.share().is_some());
            other.join().unwrap();
            assert_eq!(run.word.held(), Some((HELD, 4)));
        });
    }

    /// One shares while another releases: as a page is forked while it is unmapped
    /// elsewhere.
    #[test]
    fn a_reference_made_while_another_goes_keeps_the_run() {
        loom::model(|| {
            let run = Run::with_holders(2);
            let other = in_a_thread(&run, |run| {
                run.read();
                run.release();
            });
            assert!(run.word.share().is_some());
            run.release();
            assert_eq!(run.lasts.load(Ordering::Relaxed), 0);
            run.read();
            run.release();
            other.join().unwrap();
            run.is_over();
        });
    }

    /// What copy on write relies on.
    #[test]
    fn who_sees_no_other_holder_may_write() {
        static REACHED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
        loom::model(|| {
            let run = Run::with_holders(2);
            let other = in_a_thread(&run, |run| {
                if run.word.held() == Some((HELD, 1)) {
                    REACHED.store(true, std::sync::atomic::Ordering::Relaxed);
                    run.contents.with_mut(|_| {});
                }
                run.release();
            });
            run.read();
            run.release();
            other.join().unwrap();
            run.is_over();
        });
        // Loom leaves out some interleavings, but not that one.
        assert!(REACHED.load(std::sync::atomic::Ordering::Relaxed));
    }
}
