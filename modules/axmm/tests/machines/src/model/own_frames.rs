//! The frames that an address space has allocated, as its model knows them: the addresses
//! that are translated to them, the page sizes, and what was written to them.

use std::ops::Range;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::Verdict;
use crate::raw::Raw;
use crate::{KIB4, MIB2, RAM, words};

/// Contiguous addresses that are translated to a frame run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Run {
    pub start: usize,
    pub len: usize,
    pub frame: usize,
    /// Whether it is one large page. Otherwise it is small pages.
    pub large: bool,
}

/// The value that was written at both ends of a page.
#[derive(Clone, Copy, Debug)]
struct Stamp {
    vaddr: usize,
    frame: usize,
    value: u64,
}

/// The frames, sorted by address.
#[derive(Debug, Default)]
pub struct OwnFrames {
    runs: Vec<Run>,
    stamps: Vec<Stamp>,
    last_value: u64,
}

impl Run {
    pub fn end(&self) -> usize {
        self.start + self.len
    }

    /// Returns the part of the run that lies in `range`, which is not empty.
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

impl OwnFrames {
    /// Returns the number of frames.
    pub fn count(&self) -> usize {
        self.runs.iter().map(|run| run.len / KIB4).sum()
    }

    /// Returns the runs that overlap `range`.
    pub fn within(&self, range: &Range<usize>) -> &[Run] {
        let (first, end) = self.indices(range);
        &self.runs[first..end]
    }

    fn indices(&self, range: &Range<usize>) -> (usize, usize) {
        let first = self.runs.partition_point(|run| run.end() <= range.start);
        let after = self.runs[first..].partition_point(|run| run.start < range.end);
        (first, first + after)
    }

    /// Returns the start and the size in bytes of each large page.
    pub fn large(&self) -> impl Iterator<Item = (usize, usize)> {
        let large = self.runs.iter().filter(|run| run.large);
        large.map(|run| (run.start, run.len))
    }

    /// Returns the run that contains `addr`.
    pub fn at(&self, addr: usize) -> Option<&Run> {
        self.within(&(addr..addr + 1)).first()
    }

    /// Removes the frames of `range`.
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

    /// Splits the large pages that cross an end of `range`. If `all` is set, splits those
    /// within as well.
    pub fn split(&mut self, range: &Range<usize>, all: bool) {
        let (first, end) = self.indices(range);
        for run in &mut self.runs[first..end] {
            run.large &= !all && run.part(range).len == run.len;
        }
    }

    /// Adds the page of `len` bytes that `raw` has at `vaddr`. It must be filled with zeroes,
    /// and its frames must not be in use already.
    pub fn add_page(&mut self, vaddr: usize, len: usize, raw: &Raw) -> Verdict {
        let at = raw.pages.binary_search_by_key(&vaddr, |page| page.vaddr);
        let Some(page) = at.ok().map(|at| raw.pages[at]) else {
            return Err(TestCaseError::fail(format!(
                "no page was mapped at {vaddr:#x}"
            )));
        };
        let frames = page.paddr..page.paddr + len;
        prop_assert_eq!(page.size, len, "the page at {:#x}", vaddr);
        prop_assert!(RAM.contains(&frames.start) && RAM.contains(&(frames.end - 1)));
        prop_assert!(!raw.tables.iter().any(|table| frames.contains(table)));
        let overlaps = |run: &Run| run.frame < frames.end && frames.start < run.frame + run.len;
        prop_assert!(!self.runs.iter().any(overlaps), "a frame is already in use");
        let (at, there) = self.indices(&(vaddr..vaddr + len));
        prop_assert_eq!(at, there, "a page was mapped already at {:#x}", vaddr);
        let run = Run {
            start: vaddr,
            len,
            frame: page.paddr,
            large: len == MIB2,
        };
        self.runs.insert(at, run);
        let zero = |frame: usize| words(frame).iter().all(|word| *word == 0);
        prop_assert!(
            frames.step_by(KIB4).all(zero),
            "the page at {:#x} is not filled with zeroes",
            vaddr
        );
        self.stamp(run);
        Ok(())
    }

    /// Writes to some of the small pages that a page consists of.
    fn stamp(&mut self, run: Run) {
        const SOME: [usize; 6] = [0, 1, 31, 32, 256, 511];
        for offset in SOME.map(|page| page * KIB4) {
            if offset < run.len {
                self.last_value += 1;
                let stamp = Stamp {
                    vaddr: run.start + offset,
                    frame: run.frame + offset,
                    value: self.last_value << 40 | 1,
                };
                stamp.write();
                self.stamps.push(stamp);
            }
        }
    }

    /// Checks that the pages hold what was written.
    pub fn check_contents(&self) -> Verdict {
        for stamp in &self.stamps {
            let words = words(stamp.frame);
            let ends = (words[0], words[words.len() - 1]);
            prop_assert_eq!(ends, (stamp.value, stamp.value), "at {:#x}", stamp.vaddr);
        }
        Ok(())
    }

    /// Writes the values again that a copy to `range` has overwritten.
    pub fn restore_stamps(&self, range: &Range<usize>) {
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
        words[0] = self.value;
        words[words.len() - 1] = self.value;
    }
}
