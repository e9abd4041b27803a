//! The record of a listed run's first frame: a link of a `FrameList`.

use super::layout::{COUNTED, FRAMES_SHIFT, FrameMeta, KIND_MASK, LINK_SHIFT, LISTED, TAG_MASK};
use crate::atomic::Ordering;

/// The lower word of a counted single frame, without its kind.
const SINGLE: u32 = 1 << FRAMES_SHIFT | COUNTED;

impl FrameMeta {
    /// Makes the run of `count` single frames that begins here a listed run. `next` is the first
    /// frame of the run that is taken out after it: of the one that was pushed before it.
    ///
    /// Returns whether it did so. It refuses, and changes nothing, unless this is a counted
    /// single frame and the caller's reference is the only one.
    #[inline]
    pub(crate) fn list(&self, count: u32, next: u32) -> bool {
        let lower = self.lower.load(Ordering::Relaxed);
        // Acquire: pairs with the decrement in `release`. If the reference is the only one,
        // the list's owner sees everything that former owners did with the frame.
        if lower & !KIND_MASK != SINGLE || self.upper.load(Ordering::Acquire) != 1 {
            return false;
        }
        // Relaxed here and in `unlist`: the owner of the list has exclusive access to this
        // record until the frame is taken out.
        let lower = next << LINK_SHIFT | lower & KIND_MASK | LISTED;
        self.lower.store(lower, Ordering::Relaxed);
        self.upper.store(count, Ordering::Relaxed);
        true
    }

    /// Takes the run that begins here out of its list: the inverse of [`list`](Self::list).
    ///
    /// Returns how many frames it has and the first frame of the next run, or `None` if the run
    /// is in no list.
    #[inline]
    pub(crate) fn unlist(&self) -> Option<(u32, u32)> {
        let lower = self.lower.load(Ordering::Relaxed);
        if lower & TAG_MASK != LISTED {
            return None;
        }
        let count = self.upper.load(Ordering::Relaxed);
        self.lower
            .store(lower & KIND_MASK | SINGLE, Ordering::Relaxed);
        self.upper.store(1, Ordering::Relaxed);
        Some((count, lower >> LINK_SHIFT))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use crate::UsageKind;
    use crate::metadata::{CountedRun, FrameMeta, NO_FRAME, Released};

    #[test]
    fn a_run_taken_out_of_a_list_is_as_it_was_before() {
        for kind in UsageKind::ALL {
            for (count, next) in [(1, NO_FRAME), (u32::MAX, 0), (512, NO_FRAME - 1)] {
                let meta = FrameMeta::new();
                let run = CountedRun { kind, count: 1 };
                meta.start_counting(run);
                assert!(meta.list(count, next));
                assert!((0..25).all(|order| !meta.is_free(order)));
                assert_eq!((meta.counted(), meta.share()), (None, None));
                let freed = meta.release();
                assert_eq!(freed, Released::NotCounted, "a double free is detected");
                assert!(!meta.list(count, next), "it is in a list already");
                assert_eq!(meta.unlist(), Some((count, next)));
                assert_eq!(meta.counted(), Some((run, 1)));
                assert_eq!(meta.unlist(), None);
            }
        }
    }

    #[test]
    fn only_a_single_frame_with_one_reference_can_be_listed() {
        let kind = UsageKind::PageTable;
        let meta = FrameMeta::new();
        assert!(!meta.list(1, NO_FRAME), "the frame is not counted");
        meta.start_counting(CountedRun { kind, count: 2 });
        assert!(!meta.list(1, NO_FRAME), "it is part of a longer run");
        meta.start_counting(CountedRun { kind, count: 1 });
        meta.share();
        assert!(!meta.list(1, NO_FRAME), "it has two references");
        meta.release();
        assert!(meta.list(1, NO_FRAME));
        meta.clear();
        meta.set_prev(5);
        meta.set_next(7, 1);
        assert!(!meta.list(1, NO_FRAME), "it is free");
        assert_eq!((meta.links(), meta.unlist()), ((5, 7), None));
    }
}
