//! What the allocator keeps for one hart: magazines of free memory, and counters.

use core::ops::Range;
use core::sync::atomic::AtomicUsize;

#[cfg(feature = "fault-injection")]
use crate::countdown::Countdown;
use crate::magazine::Magazine;
use crate::size_class::BlockMagazines;
use crate::usage::UsageCounters;

/// The most single frames that a hart caches.
pub(crate) const MAX_FRAMES: usize = 64;

/// The most frame runs that a hart caches.
pub(crate) const MAX_RUNS: usize = 32;

/// The most frames of a cached run, and the number of frames that refill an empty magazine.
pub(crate) const BATCH: usize = MAX_FRAMES / 2;

/// One hart's cache. Only its hart changes it, with interrupts disabled. Other harts may only
/// read the counters, and steal from the magazines.
///
/// The fields used most often come first, within reach of an instruction's offset. The
/// alignment keeps two harts' caches out of one cache line.
#[repr(C, align(64))]
pub(crate) struct HartCache {
    /// This hart's count of the frames in use.
    pub used: UsageCounters,
    /// Single free frames, by number.
    pub frames: Magazine<MAX_FRAMES>,
    /// Runs of free frames, packed by [`pack`].
    runs: Magazine<MAX_RUNS>,
    /// Free heap blocks, by address.
    pub blocks: BlockMagazines,
    /// The size in bytes of the last heap request that was refused on this hart.
    pub last_refused: AtomicUsize,
    /// Which of this hart's allocations is made to fail.
    #[cfg(feature = "fault-injection")]
    pub countdown: Countdown,
}

impl HartCache {
    /// An empty cache.
    pub(crate) const fn new() -> Self {
        Self {
            used: UsageCounters::new(),
            frames: Magazine::new(),
            runs: Magazine::new(),
            blocks: BlockMagazines::new(),
            last_refused: AtomicUsize::new(0),
            #[cfg(feature = "fault-injection")]
            countdown: Countdown::new(),
        }
    }

    /// Caches `count` free frames from `first` on as single frames. They come out in ascending
    /// order.
    ///
    /// Returns how many of them, from `first` on, did not fit.
    #[inline]
    pub(crate) fn push_frames(&self, first: usize, count: usize) -> usize {
        let mut left = count;
        // A magazine is last in, first out.
        while left > 0 && self.frames.push(first + left - 1).is_ok() {
            left -= 1;
        }
        left
    }

    /// Caches `count` free frames from `first` on as runs of [`BATCH`] frames or less. They come
    /// out in ascending order.
    ///
    /// Returns how many of them, from `first` on, did not fit.
    #[inline]
    pub(crate) fn push_runs(&self, first: usize, count: usize) -> usize {
        let mut left = count;
        while left > 0 {
            let run = left.min(BATCH);
            if self.runs.push(pack(first + left - run, run)).is_err() {
                break;
            }
            left -= run;
        }
        left
    }

    /// Takes the first frame out of the run that was cached last.
    #[inline]
    pub(crate) fn pop_from_run(&self) -> Option<usize> {
        self.runs.pop_part(split_first)
    }

    /// Takes all free frames out and passes them to `free`. Any hart may call this.
    #[inline]
    pub(crate) fn steal_frames(&self, mut free: impl FnMut(Range<usize>)) {
        self.frames.steal(|frame| free(frame..frame + 1));
        self.runs.steal(|run| free(unpack(run)));
    }
}

/// Packs a run into a value that is not 0: the first frame in the lower 32 bits, and the number
/// of frames above them.
fn pack(first: usize, count: usize) -> usize {
    count << u32::BITS | first
}

fn unpack(run: usize) -> Range<usize> {
    let first = run as u32 as usize;
    first..first + (run >> u32::BITS)
}

/// Splits a packed run into its first frame and the rest: a packed run, or 0 if it is empty.
fn split_first(run: usize) -> (usize, usize) {
    let Range { start, end } = unpack(run);
    match end - start {
        1 => (start, 0),
        count => (start, pack(start + 1, count - 1)),
    }
}
