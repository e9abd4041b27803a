//! The frames that an address space has of its own, as the flat model knows them: which
//! addresses lead to them, in pages of which size, and what has been written there.

use std::ops::Range;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::Verdict;
use crate::raw::Raw;
use crate::{KIB4, MIB2, RAM, words};

/// Addresses in a row that lead to frames in a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Run {
    pub start: usize,
    pub len: usize,
    pub frame: usize,
    /// Whether it is one large page. If not, it is small ones.
    pub large: bool,
}

/// What has been written at the ends of a page.
#[derive(Clone, Copy, Debug)]
struct Stamp {
    vaddr: usize,
    frame: usize,
    mark: u64,
}

/// The frames, by address.
#[derive(Debug, Default)]
pub struct Own {
    runs: Vec<Run>,
    stamps: Vec<Stamp>,
    last_mark: u64,
}

impl Run {
    pub fn end(&self) -> usize {
        self.start + self.len
    }

    /// What of it lies in `range`, which has a part of it.
    pub fn part(&self, range: &Range<usize>) -> Self {
        let start = self.start.max(range.start);
        Self {
            start,
            len: self.end().min(range.end) - start,
            frame: self.frame + start - self.start,
            large: self.large && range.start <= self.start && self.end() <= range.end,
        }
    }
}

impl Own {
    /// How many frames there are.
    pub fn count(&self) -> usize {
        self.runs.iter().map(|run| run.len / KIB4).sum()
    }

    /// The runs that have a part in `range`.
    pub fn within(&self, range: &Range<usize>) -> &[Run] {
        let (first, end) = self.indices(range);
        &self.runs[first..end]
    }

    fn indices(&self, range: &Range<usize>) -> (usize, usize) {
        let first = self.runs.partition_point(|run| run.end() <= range.start);
        let after = self.runs[first..].partition_point(|run| run.start < range.end);
        (first, first + after)
    }

    /// The large pages.
    pub fn large(&self) -> impl Iterator<Item = (usize, usize)> {
        let large = self.runs.iter().filter(|run| run.large);
        large.map(|run| (run.start, run.len))
    }

    /// The run that `addr` lies in.
    pub fn at(&self, addr: usize) -> Option<&Run> {
        self.within(&(addr..addr + 1)).first()
    }

    /// Those of `range` go.
    pub fn remove(&mut self, range: &Range<usize>) {
        let (first, end) = self.indices(range);
        let before = |run: &Run| run.start..range.start.max(run.start);
        let behind = |run: &Run| range.end.min(run.end())..run.end();
        let parts = |run: Run| [before(&run), behind(&run)].map(|part| (run, part));
        let left = self.runs[first..end].iter().flat_map(|run| parts(*run));
        let left = left.filter(|(_, part)| !part.is_empty());
        let left: Vec<_> = left.map(|(run, part)| run.part(&part)).collect();
        self.runs.splice(first..end, left);
        self.stamps.retain(|stamp| !range.contains(&stamp.vaddr));
    }

    /// Large pages across an end of `range` become small ones; so do, if `all`, those
    /// within.
    pub fn split(&mut self, range: &Range<usize>, all: bool) {
        let (first, end) = self.indices(range);
        for run in &mut self.runs[first..end] {
            run.large &= !all && run.part(range).len == run.len;
        }
    }

    /// A page has come that `raw` shows at `vaddr`, of `len` bytes: it is all zeroes, and
    /// its frames are nobody else's.
    pub fn came(&mut self, vaddr: usize, len: usize, raw: &Raw) -> Verdict {
        let at = raw.pages.binary_search_by_key(&vaddr, |page| page.vaddr);
        let Some(page) = at.ok().map(|at| raw.pages[at]) else {
            return Err(TestCaseError::fail(format!("no page came at {vaddr:#x}")));
        };
        let frames = page.paddr..page.paddr + len;
        prop_assert_eq!(page.size, len, "the page at {:#x}", vaddr);
        prop_assert!(RAM.contains(&frames.start) && RAM.contains(&(frames.end - 1)));
        prop_assert!(!raw.tables.iter().any(|table| frames.contains(table)));
        let overlaps = |run: &Run| run.frame < frames.end && frames.start < run.frame + run.len;
        prop_assert!(!self.runs.iter().any(overlaps), "somebody else's frame");
        let (at, there) = self.indices(&(vaddr..vaddr + len));
        prop_assert_eq!(at, there, "it was there at {:#x}", vaddr);
        let run = Run {
            start: vaddr,
            len,
            frame: page.paddr,
            large: len == MIB2,
        };
        self.runs.insert(at, run);
        let zero = |frame: usize| words(frame).iter().all(|word| *word == 0);
        prop_assert!(frames.step_by(KIB4).all(zero), "not zeroes at {:#x}", vaddr);
        self.stamp(run);
        Ok(())
    }

    /// Marks some of the small pages that a page has, or would have.
    fn stamp(&mut self, run: Run) {
        const SOME: [usize; 6] = [0, 1, 31, 32, 256, 511];
        for offset in SOME.map(|page| page * KIB4) {
            if offset < run.len {
                self.last_mark += 1;
                let stamp = Stamp {
                    vaddr: run.start + offset,
                    frame: run.frame + offset,
                    mark: self.last_mark << 40 | 1,
                };
                stamp.write();
                self.stamps.push(stamp);
            }
        }
    }

    /// What has been written is there.
    pub fn is_kept(&self) -> Verdict {
        for stamp in &self.stamps {
            let words = words(stamp.frame);
            let ends = (words[0], words[words.len() - 1]);
            prop_assert_eq!(ends, (stamp.mark, stamp.mark), "at {:#x}", stamp.vaddr);
        }
        Ok(())
    }

    /// Something else has been written to `range`.
    pub fn stamp_again(&self, range: &Range<usize>) {
        let overwritten =
            |stamp: &&Stamp| stamp.vaddr < range.end && range.start < stamp.vaddr + KIB4;
        self.stamps
            .iter()
            .filter(overwritten)
            .for_each(Stamp::write);
    }
}

impl Stamp {
    fn write(&self) {
        let words = words(self.frame);
        words[0] = self.mark;
        words[words.len() - 1] = self.mark;
    }
}
