//! How much memory there is for the operations of a script: a part of it is held, or
//! lies in short runs.

use axalloc::{Frames, UsageKind, alloc_frames, largest_free_run, usage};

use crate::KIB4;

/// The frames of a large page.
pub const BLOCK: usize = 512;

/// What nobody else has, while it is held.
#[derive(Clone, Copy, Debug)]
pub struct Hold {
    /// So many blocks for large pages.
    pub blocks: usize,
    /// Of what is left, one frame in each free run of so many; 0 for none.
    pub every: usize,
    /// All that is left then but so many.
    pub left: usize,
}

/// Frames that are free, and in how long a run, a power of two.
#[derive(Clone, Copy, Debug)]
pub struct Free {
    pub frames: usize,
    pub row: usize,
}

impl Free {
    pub fn now() -> Self {
        Self {
            frames: usage().free,
            row: largest_free_run(),
        }
    }

    /// As [`now`](Self::now), where longer rows than `most` make no difference. Short
    /// ones are found in less time by trying.
    pub fn row_up_to(most: usize) -> Self {
        if most >= BLOCK / 8 {
            return Self::now();
        }
        let has = |count: &usize| runs(*count).next().is_some();
        let shorter = std::iter::successors(Some(most / 2 * 2), |count| Some(count / 2));
        Self {
            frames: usage().free,
            row: shorter
                .take_while(|count| *count > 1)
                .find(has)
                .unwrap_or(0),
        }
    }

    /// How many come when `count` in a row are asked for, or less.
    pub fn row_of(self, count: usize) -> usize {
        count.min(self.row.max(self.frames.min(1)))
    }
}

/// How many large pages there is memory for, up to `most`.
pub fn blocks(most: usize) -> usize {
    runs(BLOCK).take(most).collect::<Vec<_>>().len()
}

/// Aligned runs, as many as there are while none goes back.
fn runs(count: usize) -> impl Iterator<Item = Frames> {
    let run = move || alloc_frames(count, count * KIB4, UsageKind::Object).ok();
    std::iter::from_fn(run)
}

impl Hold {
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
