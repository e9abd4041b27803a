//! The record of a counted run's first frame: how many frames it has, of which kind, and how
//! many references to it there are.

use core::num::NonZeroU32;

use super::layout::{
    COUNTED, FRAMES_SHIFT, FrameMeta, KIND_MASK, KIND_SHIFT, TAG_MASK, counted_run,
};
use crate::atomic::{Ordering, fence};
use crate::usage::UsageKind;

/// A run of frames that has a reference count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CountedRun {
    /// What its frames are used for.
    pub kind: UsageKind,
    /// The number of frames, at most [`MAX_COUNT`](Self::MAX_COUNT).
    pub count: usize,
}

impl CountedRun {
    /// The most frames of a run: the metadata has 26 bits for their number.
    #[cfg(not(all(loom, test)))]
    pub(crate) const MAX_COUNT: usize = (1 << 26) - 1;
}

/// The result of dropping a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Released {
    /// It was the last reference. The caller now owns the run.
    Last(CountedRun),
    /// The run has other references.
    Shared,
    /// No counted run begins with this frame.
    NotCounted,
}

impl FrameMeta {
    /// The number of references to a single frame from which on no other is added. It is so far
    /// from 2^32 that additions which are taken back do not overflow.
    pub(crate) const MOST_REFERENCES: u32 = 1 << 31;

    /// Makes `run` a counted run that begins with this frame and has one reference.
    ///
    /// Relaxed: the caller owns the run, and whatever passes the reference to another hart
    /// orders these stores.
    pub(crate) fn start_counting(&self, run: CountedRun) {
        let lower = counted_run(run.kind, run.count);
        self.lower.store(lower, Ordering::Relaxed);
        self.upper.store(1, Ordering::Relaxed);
    }

    /// Returns the counted run that begins here and its number of references.
    #[inline]
    pub(crate) fn counted(&self) -> Option<(CountedRun, u32)> {
        // Relaxed: the caller holds a reference, so this word does not change.
        let lower = self.lower.load(Ordering::Relaxed);
        let kind = (lower >> KIND_SHIFT) as usize & (UsageKind::COUNT - 1);
        let run = CountedRun {
            kind: UsageKind::ALL[kind],
            count: (lower >> FRAMES_SHIFT) as usize,
        };
        // Acquire: pairs with the decrement in `release`. An owner that reads 1 here sees
        // everything that former owners did with the frames.
        (lower & TAG_MASK == COUNTED).then(|| (run, self.upper.load(Ordering::Acquire)))
    }

    /// Adds a reference, and returns how many there are then. Returns `None` if no counted run
    /// begins here, or if the run has 2^32 - 1 references already.
    pub(crate) fn share(&self) -> Option<NonZeroU32> {
        self.counted()?;
        self.increment()
    }

    /// Increments the count of a counted run. Returns the new count, or `None` if there are 2^32 - 1
    /// references already.
    #[inline(always)]
    fn increment(&self) -> Option<NonZeroU32> {
        // Relaxed: the caller holds a reference already, so the run cannot be freed meanwhile.
        let more = |references: u32| references.checked_add(1);
        let before = self
            .upper
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        NonZeroU32::new(before.ok()? + 1)
    }

    /// Sets the number of references.
    #[cfg(test)]
    pub(crate) fn set_references(&self, references: u32) {
        self.upper.store(references, Ordering::Relaxed);
    }

    /// Adds a reference to each of the frames of `records`, which are single ones. Returns how many
    /// frames have got one. If these are not all, a frame has 2^31 references already.
    #[inline]
    pub(crate) fn share_singles(records: &[Self]) -> usize {
        let (chunks, rest) = records.as_chunks::<8>();
        // One test for eight frames: this loop takes much of the time of a fork.
        let is_shared = |chunk: &[Self; 8]| {
            let counts = chunk.iter().fold(0, |all, meta| all | meta.add_reference());
            if counts >= Self::MOST_REFERENCES {
                chunk.iter().for_each(Self::take_back_reference);
            }
            counts < Self::MOST_REFERENCES
        };
        let shared = 8 * chunks.iter().take_while(|chunk| is_shared(chunk)).count();
        match shared == 8 * chunks.len() {
            true => shared + rest.iter().take_while(|meta| meta.share_single()).count(),
            false => shared,
        }
    }

    /// Adds a reference to this frame, a single one. Returns `false`, and adds none, if it has 2^31
    /// references already.
    #[inline(always)]
    pub(crate) fn share_single(&self) -> bool {
        let is_shared = self.add_reference() < Self::MOST_REFERENCES;
        if !is_shared {
            self.take_back_reference();
        }
        is_shared
    }

    /// Increments the count of this frame, a single one. Returns the count before.
    #[inline(always)]
    fn add_reference(&self) -> u32 {
        debug_assert!(self.is_single());
        // Relaxed: the caller holds a reference already, so the frame cannot be freed meanwhile.
        self.upper.fetch_add(1, Ordering::Relaxed)
    }

    /// Undoes [`add_reference`](Self::add_reference), for a count that is too high.
    #[cold]
    fn take_back_reference(&self) {
        self.upper.fetch_sub(1, Ordering::Relaxed);
    }

    /// Returns whether the only reference to this frame, a single one, is the caller's. Others
    /// cannot add one then.
    #[inline]
    pub(crate) fn is_single_and_exclusive(&self) -> bool {
        // Acquire: pairs with the decrement in `release`. The owner sees everything that former
        // owners did with the frame.
        self.is_single() && self.upper.load(Ordering::Acquire) == 1
    }

    #[inline(always)]
    fn is_single(&self) -> bool {
        // Relaxed: the caller holds a reference, so this word does not change.
        let lower = self.lower.load(Ordering::Relaxed);
        lower & !KIND_MASK == 1 << FRAMES_SHIFT | COUNTED
    }

    /// Drops a reference. With the last one the record is cleared.
    #[inline]
    pub(crate) fn release(&self) -> Released {
        let Some((run, references)) = self.counted() else {
            return Released::NotCounted;
        };
        // Only a holder of a reference can add one. So a count of 1 cannot change, and needs
        // no atomic decrement.
        if references > 1 {
            // Release: this owner's accesses to the frames come before the decrement. Acquire:
            // the owner that drops the last reference sees them. It pairs with itself and with
            // the load in `counted`.
            let before = self.upper.fetch_sub(1, Ordering::AcqRel);
            if before > 1 {
                return Released::Shared;
            }
        }
        self.clear();
        Released::Last(run)
    }

    /// Drops the only reference to each of the first frames of `records`: up to the first one
    /// that is not single, has another kind, or has other references. The caller owns these
    /// frames then.
    ///
    /// Returns their kind and their number, or `None` if there are none.
    pub(crate) fn release_singles(records: &[Self]) -> Option<(UsageKind, usize)> {
        let (CountedRun { kind, .. }, _) = records.first()?.counted()?;
        let single = counted_run(kind, 1);
        let is_only_reference = |meta: &&Self| {
            meta.lower.load(Ordering::Relaxed) == single && meta.upper.load(Ordering::Relaxed) == 1
        };
        let singles = records.iter().take_while(is_only_reference);
        let count = singles.map(Self::clear).count();
        // Acquire: pairs with the decrement in `release`, so that the caller sees everything
        // that former owners did with the frames. One fence serves all the loads above.
        fence(Ordering::Acquire);
        (count > 0).then_some((kind, count))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn references_are_counted_and_the_last_one_gets_the_run() {
        for kind in UsageKind::ALL {
            let meta = FrameMeta::new();
            let run = CountedRun {
                kind,
                count: CountedRun::MAX_COUNT,
            };
            meta.start_counting(run);
            assert!((0..25).all(|order| !meta.is_free(order)));
            assert_eq!(meta.share().map(NonZeroU32::get), Some(2));
            assert_eq!(meta.share().map(NonZeroU32::get), Some(3));
            assert_eq!(meta.counted(), Some((run, 3)));
            assert_eq!(meta.release(), Released::Shared);
            assert_eq!(meta.release(), Released::Shared);
            assert_eq!(meta.release(), Released::Last(run));
            assert_eq!(
                meta.release(),
                Released::NotCounted,
                "a double free is detected"
            );
        }
    }

    #[test]
    fn release_of_singles_stops_at_the_first_frame_that_differs() {
        let single = |kind| CountedRun { kind, count: 1 };
        let records: [FrameMeta; 8] = core::array::from_fn(|_| FrameMeta::new());
        let (dma, object) = (single(UsageKind::Dma), single(UsageKind::Object));
        for meta in &records {
            meta.start_counting(dma);
        }
        records[2].share();
        records[4].start_counting(object);
        records[5].start_counting(CountedRun { count: 2, ..dma });
        records[6].release();
        let release = |from: usize| FrameMeta::release_singles(&records[from..]);
        assert_eq!(release(0), Some((UsageKind::Dma, 2)));
        assert!(records[..2].iter().all(|meta| meta.counted().is_none()));
        assert_eq!(records[2].counted(), Some((dma, 2)));
        assert_eq!(release(3), Some((UsageKind::Dma, 1)));
        assert_eq!(release(4), Some((UsageKind::Object, 1)));
        for refused in [0, 2, 5, 6, 8] {
            assert_eq!(release(refused), None, "{refused}");
        }
        assert_eq!(release(7), Some((UsageKind::Dma, 1)));
    }

    #[test]
    fn only_a_single_frame_with_one_reference_is_exclusive() {
        let single = CountedRun {
            kind: UsageKind::VirtMem,
            count: 1,
        };
        let meta = FrameMeta::new();
        meta.start_counting(single);
        assert!(meta.is_single_and_exclusive());
        assert!(meta.share_single());
        assert!(!meta.is_single_and_exclusive());
        meta.start_counting(CountedRun { count: 2, ..single });
        assert!(!meta.is_single_and_exclusive(), "a run of two frames");
    }

    #[test]
    fn frames_are_shared_up_to_one_with_too_many_references() {
        let single = CountedRun {
            kind: UsageKind::VirtMem,
            count: 1,
        };
        // Some are shared in chunks, and the rest one by one.
        for (full, expected) in [
            (0, 0),
            (7, 0),
            (8, 8),
            (15, 8),
            (16, 16),
            (18, 18),
            (19, 19),
        ] {
            let records: [FrameMeta; 19] = core::array::from_fn(|_| FrameMeta::new());
            for meta in &records {
                meta.start_counting(single);
            }
            if let Some(meta) = records.get(full) {
                meta.set_references(FrameMeta::MOST_REFERENCES);
            }
            assert_eq!(FrameMeta::share_singles(&records), expected, "{full}");
            for (index, meta) in records.iter().enumerate() {
                let references = match (index == full, index < expected) {
                    (true, _) => FrameMeta::MOST_REFERENCES,
                    (false, is_shared) => 1 + u32::from(is_shared),
                };
                assert_eq!(meta.counted(), Some((single, references)), "{full} {index}");
            }
        }
    }

    #[test]
    fn a_full_reference_count_refuses_another_reference() {
        let run = CountedRun {
            kind: UsageKind::VirtMem,
            count: 1,
        };
        let meta = FrameMeta::new();
        meta.start_counting(run);
        meta.set_references(u32::MAX - 1);
        assert_eq!(meta.share().map(NonZeroU32::get), Some(u32::MAX));
        assert_eq!(meta.share(), None);
        assert_eq!(meta.counted(), Some((run, u32::MAX)));
    }
}
