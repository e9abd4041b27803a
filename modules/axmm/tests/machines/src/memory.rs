//! Limits how much memory is free while a script of operations runs: the test takes some of
//! it, or leaves only short frame runs.

use axalloc::{Frames, UsageKind, alloc_frames, largest_free_run, usage};

use crate::KIB4;

/// The number of frames of a large page.
pub const BLOCK: usize = 512;

/// Memory that the test takes.
#[derive(Clone, Copy, Debug)]
pub struct Hold {
    /// The number of frame runs of [`BLOCK`] frames.
    pub blocks: usize,
    /// If it is above 1: allocates all free runs of this many frames, and takes one frame of
    /// each.
    pub every: usize,
    /// The number of frames that may stay free then. All others are taken as well.
    pub left: usize,
}

/// The free memory.
#[derive(Clone, Copy, Debug)]
pub struct Free {
    /// The number of free frames.
    pub frames: usize,
    /// The length of the longest run of them, a power of two.
    pub longest_run: usize,
}

impl Free {
    /// Returns the memory that is free now.
    pub fn now() -> Self {
        Self {
            frames: usage().free,
            longest_run: largest_free_run(),
        }
    }

    /// Returns the memory that is free now. `longest_run` may be any number from `most` on if
    /// it is that long. Short runs are found faster by allocating them.
    pub fn with_run_up_to(most: usize) -> Self {
        if most >= BLOCK / 8 {
            return Self::now();
        }
        let has = |count: &usize| runs(*count).next().is_some();
        let shorter = std::iter::successors(Some(most / 2 * 2), |count| Some(count / 2));
        Self {
            frames: usage().free,
            longest_run: shorter
                .take_while(|count| *count > 1)
                .find(has)
                .unwrap_or(0),
        }
    }

    /// Returns the number of frames that axmm gets when it asks for a run of `count`: it
    /// accepts a shorter one.
    pub fn run_of(self, count: usize) -> usize {
        count.min(self.longest_run.max(self.frames.min(1)))
    }
}

/// Returns the number of large pages that there is memory for, up to `most`.
pub fn blocks(most: usize) -> usize {
    runs(BLOCK).take(most).collect::<Vec<_>>().len()
}

/// Allocates aligned runs of `count` frames until there are no more.
fn runs(count: usize) -> impl Iterator<Item = Frames> {
    let run = move || alloc_frames(count, count * KIB4, UsageKind::Object).ok();
    std::iter::from_fn(run)
}

impl Hold {
    /// Takes the memory, until the result is dropped.
    pub fn take(self) -> Vec<Frames> {
        let mut held: Vec<_> = runs(BLOCK).take(self.blocks).collect();
        if self.every > 1 {
            let rest: Vec<_> = runs(self.every).map(|run| run.split_at(1)).collect();
            held.extend(rest.into_iter().flatten().map(|(first, _)| first));
        }
        held.extend(runs(1).take(usage().free.saturating_sub(self.left)));
        held
    }
}
