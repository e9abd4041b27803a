//! The result of an operation, for which there may have been too little memory.

use std::ops::Range;

use axalloc::fault::fail_from;
use axerrno::{AxError, AxResult};

use super::Modelled;
use crate::raw::Format;
use crate::{KIB4, TestMachine};

/// The result of an operation.
#[derive(Default)]
pub(super) struct Outcome {
    /// Whether some of the operation failed without memory. Then the address space is as
    /// before, but for the new pages.
    pub failed: bool,
    /// Whether the operation may have tried to use more memory than there was. Then it may
    /// have made page tables and freed them.
    pub retried: bool,
    /// The start address and the size in bytes of each new page.
    pub new_pages: Vec<(usize, usize)>,
}

impl Outcome {
    pub fn of(result: AxResult) -> Self {
        Self {
            failed: result == Err(AxError::NoMemory),
            ..Self::default()
        }
    }

    /// Returns whether a new page contains `addr`.
    pub fn has_mapped(&self, addr: usize) -> bool {
        let mut pages = self.new_pages.iter();
        pages.any(|(start, len)| (*start..start + len).contains(&addr))
    }
}

/// Calls `op`. Its `n`th allocation and all later ones fail, counted from 1; if `n` is 0, all
/// succeed. Returns the result of `op`, and whether an allocation has failed.
pub(super) fn failing<T>(n: usize, op: impl FnOnce() -> T) -> (T, bool) {
    let armed = fail_from(n);
    let result = op();
    (result, armed.has_fired())
}

impl<M: TestMachine> Modelled<M> {
    /// Returns how many more tables are needed to map all of `range` in pages of `size` bytes.
    pub(super) fn missing_tables(&self, range: &Range<usize>, size: usize) -> usize {
        let spans = (1..M::Raw::LEVELS).map(|level| KIB4 << (9 * level));
        let missing = |span: usize| {
            let regions = range.start / span..(range.end - 1) / span + 1;
            let is_missing = |region: &usize| {
                let pages = self
                    .raw
                    .within(&(region * span..(region + 1).saturating_mul(span)));
                !pages.iter().any(|page| page.size < span)
            };
            regions.filter(is_missing).count()
        };
        spans.filter(|span| *span > size).map(missing).sum()
    }
}
