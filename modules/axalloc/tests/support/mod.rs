//! A simple model of free memory, which tests compare with the allocator.
#![allow(dead_code, reason = "each test uses only a part")]

use std::collections::BTreeMap;
use std::ops::Range;

use proptest::prelude::*;
use proptest::test_runner::Config;

/// The largest block of the buddy system: 64 GiB.
pub const LARGEST_ORDER: usize = 24;

/// Which frames are free, as intervals that neither overlap nor touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FreeFrames(BTreeMap<usize, usize>);

impl FreeFrames {
    /// The frames of `ranges`, which do not overlap.
    pub fn of(ranges: &[Range<usize>]) -> Self {
        let mut free = Self::default();
        for range in ranges.iter().filter(|range| !range.is_empty()) {
            assert!(free.give(range.clone()), "{ranges:?} overlap");
        }
        free
    }

    /// Removes `run`. Returns `false`, and changes nothing, unless all of it is free.
    pub fn take(&mut self, run: Range<usize>) -> bool {
        let around = self.0.range(..=run.start).next_back();
        let Some((start, end)) = around.map(|(start, end)| (*start, *end)) else {
            return false;
        };
        if end < run.end {
            return false;
        }
        self.0.remove(&start);
        for (start, end) in [(start, run.start), (run.end, end)] {
            if start < end {
                self.0.insert(start, end);
            }
        }
        true
    }

    /// Adds `run`. Returns `false`, and changes nothing, if a part of it is free already.
    pub fn give(&mut self, mut run: Range<usize>) -> bool {
        let below = self.0.range(..run.end).next_back();
        if let Some((start, end)) = below.map(|(start, end)| (*start, *end)) {
            if end > run.start {
                return false;
            }
            if end == run.start {
                self.0.remove(&start);
                run.start = start;
            }
        }
        if let Some(end) = self.0.remove(&run.end) {
            run.end = end;
        }
        self.0.insert(run.start, run.end);
        true
    }

    /// Returns the number of free frames.
    pub fn count(&self) -> usize {
        self.0.iter().map(|(start, end)| end - start).sum()
    }

    /// Returns the number of frames of the largest free block that is aligned to its size:
    /// `1 << order`, or 0 if no frame is free.
    pub fn largest(&self) -> usize {
        let largest = self.0.iter().map(|(start, end)| {
            // An interval of this length holds an aligned block of this order, or, if it is
            // badly aligned, of one order less.
            let order = (end - start).ilog2().min(LARGEST_ORDER as u32);
            let fits = start.next_multiple_of(1 << order) + (1 << order) <= *end;
            if fits { 1 << order } else { 1 << (order - 1) }
        });
        largest.max().unwrap_or(0)
    }

    /// Returns the order of the smallest block that is left when free memory is merged as far
    /// as possible.
    pub fn smallest_order(&self) -> Option<usize> {
        let ends = self.0.iter().flat_map(|(start, end)| [start, end]);
        ends.map(|end| (end.trailing_zeros() as usize).min(LARGEST_ORDER))
            .min()
    }

    /// Returns the blocks that are left when free memory is merged as far as possible: the
    /// first frame of each, and its order. The result is unique.
    pub fn blocks(&self) -> BTreeMap<usize, usize> {
        let mut blocks = BTreeMap::new();
        for (start, end) in &self.0 {
            let mut at = *start;
            while at < *end {
                let aligned = (at.trailing_zeros() as usize).min(LARGEST_ORDER);
                let order = aligned.min((end - at).ilog2() as usize);
                blocks.insert(at, order);
                at += 1 << order;
            }
        }
        blocks
    }

    /// Returns whether `alloc_run` must find a run of `count` frames. It looks for a free block
    /// of the next power of two.
    pub fn has_run(&self, count: usize, align: usize) -> bool {
        count.max(align).next_power_of_two() <= self.largest()
    }
}

/// Returns ranges with holes, from `base` on. Each pair is the length of a hole and that of the
/// range after it.
pub fn ranges_of(base: usize, gaps_and_lengths: &[(usize, usize)]) -> Vec<Range<usize>> {
    let mut end = base;
    let ranges = gaps_and_lengths.iter().map(|(gap, length)| {
        let start = end + gap;
        end = start + length;
        start..end
    });
    ranges.collect()
}

/// Sizes below `2^orders`, in which every order of magnitude is equally likely.
pub fn size_below(orders: u32) -> impl Strategy<Value = usize> + Clone {
    (0..orders, any::<usize>()).prop_map(|(order, bits)| 1 << order | bits & ((1 << order) - 1))
}

/// The configuration for `cases` long scripts, times `TESSERA_TIMES` if that is set. A script
/// that fails is shortened and reported, and no file is written.
pub fn scripts(cases: u32) -> Config {
    let times = std::env::var("TESSERA_TIMES").ok();
    let times = times.and_then(|times| times.parse().ok()).unwrap_or(1);
    Config {
        cases: cases * times,
        failure_persistence: None,
        max_shrink_iters: 100_000,
        max_shrink_time: 60_000,
        ..Config::default()
    }
}

/// A pseudorandom sequence of numbers (xorshift), which is the same in each run.
#[derive(Clone, Debug)]
pub struct Numbers(u64);

impl Numbers {
    /// Makes a sequence. Each seed makes a different one.
    pub fn from_seed(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Returns the next number, below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) as usize % limit
    }
}
