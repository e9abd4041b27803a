//! What comes of an operation, for which there may be too little memory.

use std::ops::Range;

use axalloc::fault::fail_from;
use axerrno::{AxError, AxResult};

use super::Checked;
use crate::raw::Format;
use crate::{KIB4, TestMachine};

/// What came of an operation.
#[derive(Default)]
pub(super) struct Outcome {
    /// Whether there was no memory for some of it. Nothing has changed, but for what
    /// came before.
    pub failed: bool,
    /// Whether some of it may have been tried with more memory than there was, and done
    /// with less: tables may have come and gone.
    pub retried: bool,
    /// The pages that have come: where, of how many bytes.
    pub fresh: Vec<(usize, usize)>,
}

impl Outcome {
    pub fn of(result: AxResult) -> Self {
        Self {
            failed: result == Err(AxError::NoMemory),
            ..Self::default()
        }
    }

    /// Whether the page of an address has come.
    pub fn brought(&self, addr: usize) -> bool {
        let mut fresh = self.fresh.iter();
        fresh.any(|(start, len)| (*start..start + len).contains(&addr))
    }
}

/// Calls `op`, of whose allocations the `n`th and all behind it fail; 0 for none.
/// Answers whether any has.
pub(super) fn failing<T>(n: usize, op: impl FnOnce() -> T) -> (T, bool) {
    let armed = fail_from(n);
    let result = op();
    (result, armed.has_fired())
}

impl<M: TestMachine> Checked<M> {
    /// How many tables are missing to map all of `range` in pages of `size`.
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
