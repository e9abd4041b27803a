//! The allocator of frames: the harts' caches, and behind them the global pool.
//!
//! ```text
//!   alloc_one, free_one        free_singles        alloc_run, free_run
//!           │                       │                       │
//!   ┌───────▼──── hart cache ───────▼────────┐              │
//!   │ magazine of frames ◄── magazine of runs│              │
//!   └───────┬────────────────────────────────┘              │
//!           │ half a magazine                               │
//!           └───────────► global pool (buddy system) ◄──────┘
//! ```
//!
//! A single frame comes out of the magazine of the hart that takes it, and goes into the
//! magazine of the hart that frees it. Many contiguous single frames go into the hart's second
//! magazine, which holds runs. If the first magazine is empty, a frame is cut off a run. If both
//! are empty, the first is refilled by half from the global pool.
//!
//! Before an allocation fails, the magazines of all harts are drained into the global pool. So
//! no frame and no run is refused while harts cache the frames for it.

use core::ops::Range;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};

use arrayvec::ArrayVec;
use axconfig::{PAGE_SIZE, PHYS_VIRT_OFFSET};
use axerrno::{AxError, AxResult};

use crate::buddy::Buddy;
use crate::hart_cache::{BATCH, HartCache};
use crate::harts::Harts;
use crate::lock::Lock;
use crate::metadata::{FrameMeta, MetadataTable};
use crate::usage::{Usage, UsageKind};

/// Up to this many contiguous frames are freed as single frames, and more as runs.
const MAX_FREED_SINGLY: usize = BATCH / 2;

/// All frames of a machine. A frame's number is its physical address divided by 4 KiB.
pub(crate) struct FrameAllocator<H> {
    metadata: MetadataTable,
    global_pool: Lock<Buddy>,
    /// The number of frames. Relaxed: it only grows, and its readers need an estimate.
    total: AtomicUsize,
    harts: H,
}

impl<H: Harts> FrameAllocator<H> {
    /// An allocator without any frame, for `harts`.
    pub(crate) const fn new(harts: H) -> Self {
        Self {
            metadata: MetadataTable::new(),
            global_pool: Lock::new(Buddy::new()),
            total: AtomicUsize::new(0),
            harts,
        }
    }

    /// Returns the harts whose caches this allocator uses.
    pub(crate) fn harts(&self) -> &H {
        &self.harts
    }

    /// Returns the metadata of a frame, or `None` if the frame is not one of this allocator.
    #[inline]
    pub(crate) fn meta(&self, frame: usize) -> Option<&FrameMeta> {
        self.metadata.get(frame)
    }

    /// Returns the metadata of the first frame of `frames`, and of as many of those after it as
    /// have theirs in the same array. The slice is empty if the first frame is not one of this
    /// allocator.
    pub(crate) fn meta_slice(&self, frames: Range<usize>) -> &[FrameMeta] {
        self.metadata.slice(frames)
    }

    /// Adds RAM: ranges of physical addresses in bytes. The metadata of their frames is put
    /// into the first range that has room for all of it.
    ///
    /// # Errors
    ///
    /// Returns `NoMemory` if no range has room for the metadata. Nothing was added then.
    ///
    /// # Safety
    ///
    /// The requirements are those of [`add_memory`](crate::add_memory).
    pub(crate) unsafe fn add(&self, ranges: &[Range<usize>]) -> AxResult {
        let frames = ranges.iter().map(whole_frames);
        let bytes = self.metadata.missing(frames.clone()) * size_of::<FrameMeta>();
        let needed = bytes.div_ceil(PAGE_SIZE);
        let large_enough = frames.clone().find(|range| range.len() >= needed);
        let first = large_enough.ok_or(AxError::NoMemory)?.start;
        let metadata_frames = first..first + needed;
        let records = (first * PAGE_SIZE + PHYS_VIRT_OFFSET) as *mut FrameMeta;
        let records = NonNull::new(records).ok_or(AxError::InvalidInput)?;
        // The lock is taken before metadata is published: a hart that merges free blocks looks up
        // the frames beside them, which may be some of these.
        let mut pool = self.global_pool.lock();
        let mut used_for_metadata = 0;
        // SAFETY: `metadata_frames` have room for all records, and the caller promises that
        // this allocator owns them. The caller also promises that no other call runs.
        unsafe { self.metadata.publish(frames.clone(), records) };
        for part in frames.flat_map(|range| self.metadata.covered(range)) {
            self.total.fetch_add(part.len(), Ordering::Relaxed);
            let used = part.start.max(metadata_frames.start)..part.end.min(metadata_frames.end);
            // `metadata_frames` begin where a range begins, so `used` begins where `part` does.
            let free = match used.is_empty() {
                true => part,
                false => used.end..part.end,
            };
            used_for_metadata += used.len();
            pool.dealloc(&self.metadata, free.start, free.len());
        }
        drop(pool);
        self.count(UsageKind::Metadata, used_for_metadata as isize);
        Ok(())
    }

    /// Takes one frame and counts it as `kind`. Returns `None` if no frame is free.
    #[inline(always)]
    pub(crate) fn alloc_one(&self, kind: UsageKind) -> Option<usize> {
        self.harts.with_cache(|cache| {
            let frame = cache
                .frames
                .pop()
                .or_else(|| self.alloc_from_run_or_pool(cache))?;
            cache.used.add(kind, 1);
            Some(frame)
        })
    }

    /// Frees one frame that was counted as `kind`.
    #[inline(always)]
    pub(crate) fn free_one(&self, frame: usize, kind: UsageKind) {
        self.harts.with_cache(|cache| {
            cache.used.add(kind, -1);
            if let Err(frame) = cache.frames.push(frame) {
                self.free_half(cache, frame);
            }
        });
    }

    /// Frees `count` frames from `first` on that were single frames counted as `kind`. As many
    /// as fit stay in this hart's cache.
    #[inline(never)]
    pub(crate) fn free_singles(&self, first: usize, count: usize, kind: UsageKind) {
        let left = self.harts.with_cache(|cache| {
            let left = match count <= MAX_FREED_SINGLY {
                true => cache.push_frames(first, count),
                false => cache.push_runs(first, count),
            };
            cache.used.add(kind, left as isize - count as isize);
            left
        });
        if left > 0 {
            self.free_run(first, left, kind);
        }
    }

    /// Takes `count` contiguous frames and counts them as `kind`. The number of the first is a
    /// multiple of `align`, which is a power of two.
    ///
    /// Returns the number of the first frame, or `None` if there is no such run.
    pub(crate) fn alloc_run(&self, count: usize, align: usize, kind: UsageKind) -> Option<usize> {
        let first = self.alloc_uncounted(count, align)?;
        self.count(kind, count as isize);
        Some(first)
    }

    /// Returns whether `count` frames with the alignment `align` could be a run of this memory
    /// if all of it were free. Cached memory must not be freed for a request that can never
    /// succeed.
    pub(crate) fn fits_in_memory(&self, count: usize, align: usize) -> bool {
        count.max(align) <= self.total.load(Ordering::Relaxed)
    }

    /// Takes a run like [`alloc_run`](Self::alloc_run) without counting it.
    pub(crate) fn alloc_uncounted(&self, count: usize, align: usize) -> Option<usize> {
        let mut pool = self.global_pool.lock();
        pool.alloc(&self.metadata, count, align).or_else(|| {
            self.drain_caches(&mut pool);
            pool.alloc(&self.metadata, count, align)
        })
    }

    /// Frees `count` frames from `first` on that were counted as `kind`.
    #[inline(never)]
    pub(crate) fn free_run(&self, first: usize, count: usize, kind: UsageKind) {
        self.global_pool
            .lock()
            .dealloc(&self.metadata, first, count);
        self.count(kind, -(count as isize));
    }

    /// Returns the usage of all frames. It is exact if no hart takes or frees frames meanwhile.
    pub(crate) fn usage(&self) -> Usage {
        let mut sums = [0; UsageKind::COUNT];
        self.harts
            .for_each_cache(|cache| cache.used.add_to(&mut sums));
        let total = self.total.load(Ordering::Relaxed);
        Usage::new(total, sums.map(|sum: isize| sum.max(0) as usize))
    }

    /// Returns the length of the longest run that can be taken now: a power of two, or 0.
    pub(crate) fn largest_free_run(&self) -> usize {
        let mut pool = self.global_pool.lock();
        self.drain_caches(&mut pool);
        pool.largest()
    }

    /// Adds `frames`, which may be negative, to the count of frames used for `kind`.
    pub(crate) fn count(&self, kind: UsageKind, frames: isize) {
        self.harts.with_cache(|cache| cache.used.add(kind, frames));
    }

    /// Takes one frame when this hart's magazine of frames is empty: from a cached run, or from
    /// the global pool. The rest of a run stays cached, where other harts find it when memory
    /// runs out.
    #[inline(never)]
    fn alloc_from_run_or_pool(&self, cache: &HartCache) -> Option<usize> {
        match cache.pop_from_run() {
            Some(frame) => Some(frame),
            None => self.refill(cache),
        }
    }

    /// Takes one frame from the global pool, and refills this hart's empty magazine by half. The
    /// frames come from the smallest blocks, so that large blocks stay whole.
    #[cold]
    fn refill(&self, cache: &HartCache) -> Option<usize> {
        let mut pool = self.global_pool.lock();
        let first = pool.alloc_at_most(&self.metadata, 0);
        let (frame, _) = first.or_else(|| {
            self.drain_caches(&mut pool);
            pool.alloc_at_most(&self.metadata, 0)
        })?;
        self.move_batch(&mut pool, cache);
        Some(frame)
    }

    /// Moves a batch of frames from the global pool into the empty magazine. They come out of it
    /// in the order in which they are taken from the pool.
    fn move_batch(&self, pool: &mut Buddy, cache: &HartCache) {
        let mut blocks = ArrayVec::<_, BATCH>::new();
        let mut room = BATCH;
        while room > 0 {
            let order = room.ilog2() as usize;
            let Some((first, order)) = pool.alloc_at_most(&self.metadata, order) else {
                break;
            };
            blocks.push(first..first + (1 << order));
            room -= 1 << order;
        }
        // A magazine is last in, first out. This one was empty, so a batch fits.
        while let Some(block) = blocks.pop() {
            cache.push_frames(block.start, block.len());
        }
    }

    /// Frees `frame`, and half of this hart's full magazine, into the global pool.
    #[cold]
    fn free_half(&self, cache: &HartCache, frame: usize) {
        let mut pool = self.global_pool.lock();
        let mut run = frame..frame + 1;
        for _ in 1..BATCH {
            if let Some(frame) = cache.frames.pop() {
                self.extend_or_free(&mut run, frame, &mut pool);
            }
        }
        pool.dealloc(&self.metadata, run.start, run.len());
    }

    /// Extends `run`, which is about to be freed, by `frame`. If the two are not contiguous,
    /// frees the run and begins another with `frame`.
    fn extend_or_free(&self, run: &mut Range<usize>, frame: usize, pool: &mut Buddy) {
        if frame + 1 == run.start {
            run.start = frame;
        } else if frame == run.end {
            run.end += 1;
        } else {
            pool.dealloc(&self.metadata, run.start, run.len());
            *run = frame..frame + 1;
        }
    }

    /// Moves the cached frames of all harts into the global pool.
    ///
    /// The caller keeps the lock of the pool until it has allocated. A hart cannot refill its
    /// magazine without that lock, so these frames stay in the pool for the caller.
    #[cold]
    fn drain_caches(&self, pool: &mut Buddy) {
        self.harts.for_each_cache(|cache| {
            cache.steal_frames(|run| pool.dealloc(&self.metadata, run.start, run.len()));
        });
    }
}

/// Returns the numbers of the frames that lie entirely in a range of physical addresses.
fn whole_frames(range: &Range<usize>) -> Range<usize> {
    range.start.div_ceil(PAGE_SIZE)..range.end / PAGE_SIZE
}

#[cfg(test)]
pub(crate) mod tests;
