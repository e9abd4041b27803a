//! Every free frame, every bit: all are taken, written by one hart and read back
//! by another.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use axstd::harts;
use axstd::memory::{Frames, Usage, UsageKind, alloc_frames, largest_free_run, usage};

use crate::report::{Outcome, Report, bar, check, on_all};

const PAGE: usize = 4096;

/// Frames that are left for the heap while all others are taken.
const LEFT_FOR_HEAP: usize = 512;

/// Bytes that a hart works on at a time.
const CHUNK: usize = 1 << 20;

/// From this many frames on a test shows how far it is: 256 MiB.
const WORTH_A_BAR: usize = 65_536;

/// Runs the tests of this file.
pub fn run(report: &mut Report, seed: u64) {
    let (before, largest) = (usage(), largest_free_run());
    let memory = match take_all() {
        Ok(memory) => memory,
        Err(what) => return report.test("frames: taken", || Err(what)),
    };
    let word = |addr: usize| (addr / 8) as u32;
    report.test("frames: walking ones", || {
        memory.test(|addr| 1_u64.rotate_left(word(addr)))
    });
    report.test("frames: walking zeroes", || {
        memory.test(|addr| !1_u64.rotate_left(word(addr)))
    });
    report.test("frames: address in address", || {
        memory.test(|addr| addr as u64)
    });
    report.test("frames: random", || {
        memory.test(|addr| scramble(seed ^ addr as u64))
    });
    drop(memory);
    report.test("frames: all given back", || {
        let after = usage();
        // What the heap has taken meanwhile is not lost.
        let heap = |usage: &Usage| usage.of(UsageKind::RustHeap);
        let (now, then) = (after.free + heap(&after), before.free + heap(&before));
        check(now == then, || format!("{now} of {then} frames"))?;
        let run = largest_free_run();
        check(run == largest, || format!("{run} in a row of {largest}"))?;
        Ok(format!(
            "{} frames free, {} the heap's, {run} in a row",
            after.free,
            heap(&after)
        ))
    });
}

/// SplitMix64's finalizer: looks random, and needs no state.
fn scramble(x: u64) -> u64 {
    let x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb)
}

/// A run of frames as words.
struct Block {
    words: *mut u64,
    len: usize,
    _owner: Frames,
}

// SAFETY: which hart touches which words at what time is `Memory::pass`'s doing.
unsafe impl Sync for Block {}

/// All frames that could be had.
struct Memory {
    blocks: Vec<Block>,
    frames: usize,
}

/// Takes runs of frames, the longest first, until no frame is left but the
/// heap's share.
fn take_all() -> Result<Memory, String> {
    let mut blocks = Vec::with_capacity(4096);
    let heap = alloc_frames(LEFT_FOR_HEAP, PAGE, UsageKind::Global);
    let heap = heap.map_err(|_| format!("{LEFT_FOR_HEAP} frames in a row cannot be had"))?;
    let mut frames = 0;
    for order in (0..=18).rev() {
        while blocks.len() < blocks.capacity() {
            let Ok(mut run) = alloc_frames(1 << order, PAGE, UsageKind::Global) else {
                break;
            };
            let bytes = run.as_bytes_mut();
            let (words, len) = (bytes.as_mut_ptr().cast(), bytes.len() / 8);
            frames += run.count();
            blocks.push(Block {
                words,
                len,
                _owner: run,
            });
        }
    }
    drop(heap);
    Ok(Memory { blocks, frames })
}

impl Memory {
    /// Writes `pattern` of its address to each word, then reads every word back
    /// on another hart than wrote it.
    fn test(&self, pattern: impl Fn(usize) -> u64 + Sync) -> Outcome {
        self.pass(0, "written", |word| {
            // SAFETY: `word` is one of this pass's own words.
            unsafe { word.write_volatile(pattern(word as usize)) };
            Ok(())
        })?;
        self.pass(1, "read", |word| {
            // SAFETY: as above.
            let (found, expected) = (unsafe { word.read_volatile() }, pattern(word as usize));
            check(found == expected, || {
                format!("{word:?} holds {found:#018x}, not {expected:#018x}")
            })
        })?;
        Ok(format!("{} frames, {} MiB", self.frames, self.frames >> 8))
    }

    /// Calls `f` for every word, shared among the harts chunk by chunk: chunk
    /// `n` is hart `n + shift`'s, so that no two harts have the same one.
    fn pass(
        &self,
        shift: usize,
        verb: &str,
        f: impl Fn(*mut u64) -> Result<(), String> + Sync,
    ) -> Result<(), String> {
        const WORDS: usize = CHUNK / 8;
        let online: Vec<usize> = (0..harts::count())
            .filter(|&n| harts::is_online(n))
            .collect();
        let chunks: usize = self
            .blocks
            .iter()
            .map(|block| block.len.div_ceil(WORDS))
            .sum();
        on_all(|hart| {
            let mut number = shift;
            for block in &self.blocks {
                for start in (0..block.len).step_by(WORDS) {
                    number += 1;
                    if online[number % online.len()] != hart {
                        continue;
                    }
                    for index in start..block.len.min(start + WORDS) {
                        // SAFETY: `index` is within the block.
                        f(unsafe { block.words.add(index) })?;
                    }
                    if hart == online[0] && self.frames >= WORTH_A_BAR {
                        bar(verb, number - shift, chunks);
                    }
                }
            }
            Ok(())
        })
    }
}
