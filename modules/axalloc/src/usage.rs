//! What frames are used for, and how many.

use core::fmt;
use core::sync::atomic::{AtomicIsize, Ordering};

/// What frames are used for. The names are upstream ArceOS's, and `Object`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum UsageKind {
    /// The kernel heap.
    RustHeap,
    /// Pages of mappings that are nobody else's.
    VirtMem,
    /// Page tables.
    PageTable,
    /// Pages of memory objects, which several mappings may share.
    Object,
    /// Pages of files.
    PageCache,
    /// Memory that devices read and write.
    Dma,
    /// The allocator's own.
    Metadata,
    /// Whatever an application or a driver does with them.
    Global,
}

impl UsageKind {
    /// How many kinds there are.
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

    /// As it stands in listings.
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

/// How many frames there are, in all, and what for.
///
/// Printed, it is one line a kind that has any:
///
/// ```text
/// 32554 frames, 127 MiB: 32516 free, 32 heap, 6 page tables
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Frames under this module's care.
    pub total: usize,
    /// Frames nobody has.
    pub free: usize,
    by_kind: [usize; UsageKind::COUNT],
}

impl Usage {
    /// The frames used for `kind`.
    pub fn of(&self, kind: UsageKind) -> usize {
        self.by_kind[kind as usize]
    }

    /// `total` frames, of which each count is used for its kind.
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

/// One hart's share of the frames in use. A frame may be taken on one hart and
/// given back on another, so that a share may be negative; the sum is not.
#[derive(Debug)]
pub struct Counters([AtomicIsize; UsageKind::COUNT]);

impl Counters {
    pub const fn new() -> Self {
        Self([const { AtomicIsize::new(0) }; UsageKind::COUNT])
    }

    /// Counts `frames` more, or fewer. Only the hart whose counters these are
    /// does, with interrupts out; anyone may read.
    pub fn add(&self, kind: UsageKind, frames: isize) {
        let counter = &self.0[kind as usize];
        counter.store(counter.load(Ordering::Relaxed) + frames, Ordering::Relaxed);
    }

    /// Adds these to `sums`.
    pub fn sum_up(&self, sums: &mut [isize; UsageKind::COUNT]) {
        for (sum, counter) in sums.iter_mut().zip(&self.0) {
            *sum += counter.load(Ordering::Relaxed);
        }
    }
}
