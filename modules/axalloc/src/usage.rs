//! What frames are used for, and how many of each kind are in use.

use core::fmt;
use core::sync::atomic::{AtomicIsize, Ordering};

/// What frames are used for. The names are those of upstream ArceOS, plus `Object`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum UsageKind {
    /// The kernel heap.
    RustHeap,
    /// Private pages of address spaces.
    VirtMem,
    /// Frames of page tables.
    PageTable,
    /// Pages of memory objects, which several mappings may share.
    Object,
    /// Cached pages of files.
    PageCache,
    /// Memory that devices read and write.
    Dma,
    /// The allocator's own data.
    Metadata,
    /// All other uses by applications and drivers.
    Global,
}

impl UsageKind {
    /// The number of kinds.
    pub const COUNT: usize = 8;

    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; Self::COUNT] = [
        Self::RustHeap,
        Self::VirtMem,
        Self::PageTable,
        Self::Object,
        Self::PageCache,
        Self::Dma,
        Self::Metadata,
        Self::Global,
    ];

    /// Returns the name that is printed for this kind.
    pub fn name(self) -> &'static str {
        match self {
            Self::RustHeap => "heap",
            Self::VirtMem => "user memory",
            Self::PageTable => "page tables",
            Self::Object => "objects",
            Self::PageCache => "page cache",
            Self::Dma => "DMA",
            Self::Metadata => "metadata",
            Self::Global => "other",
        }
    }
}

/// How many frames there are, how many are free, and what the others are used for.
///
/// It prints on a single line, with each kind that has frames:
///
/// ```text
/// 32554 frames, 127 MiB: 32516 free, 32 heap, 6 page tables
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The number of frames that were given to the allocator.
    pub total: usize,
    /// The number of free frames, including those that harts cache.
    pub free: usize,
    by_kind: [usize; UsageKind::COUNT],
}

impl Usage {
    /// Returns the number of frames used for `kind`.
    pub fn of(&self, kind: UsageKind) -> usize {
        self.by_kind[kind as usize]
    }

    /// The usage of `total` frames, of which `by_kind` are in use.
    pub(crate) fn new(total: usize, by_kind: [usize; UsageKind::COUNT]) -> Self {
        Self {
            total,
            free: total.saturating_sub(by_kind.iter().sum()),
            by_kind,
        }
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { total, free, .. } = self;
        write!(f, "{total} frames, {} MiB: {free} free", total >> 8)?;
        for kind in UsageKind::ALL {
            match self.of(kind) {
                0 => {}
                frames => write!(f, ", {frames} {}", kind.name())?,
            }
        }
        Ok(())
    }
}

/// One hart's count of the frames in use, by kind.
///
/// A frame may be taken on one hart and freed on another, so a hart's count may be negative.
/// The sum over all harts is not.
#[derive(Debug)]
pub(crate) struct UsageCounters([AtomicIsize; UsageKind::COUNT]);

impl UsageCounters {
    /// Counters of no frames.
    pub(crate) const fn new() -> Self {
        Self([const { AtomicIsize::new(0) }; UsageKind::COUNT])
    }

    /// Adds `frames`, which may be negative, to the counter of `kind`. Only the hart that owns
    /// the counters may call this, with interrupts disabled.
    ///
    /// Relaxed, and no atomic addition: no other hart writes. A reader of the sum needs no
    /// order, for it gets an approximation while frames are taken and freed.
    pub(crate) fn add(&self, kind: UsageKind, frames: isize) {
        let counter = &self.0[kind as usize];
        counter.store(counter.load(Ordering::Relaxed) + frames, Ordering::Relaxed);
    }

    /// Adds these counters to `sums`. Any hart may call this.
    pub(crate) fn add_to(&self, sums: &mut [isize; UsageKind::COUNT]) {
        for (sum, counter) in sums.iter_mut().zip(&self.0) {
            // Relaxed: the sum is exact only while no hart takes or frees frames.
            *sum += counter.load(Ordering::Relaxed);
        }
    }
}
