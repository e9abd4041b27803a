//! A test of every bit of every free frame. It takes all frames. One hart writes each word, and
//! another hart reads it back.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use axstd::harts;
use axstd::memory::{Frames, Usage, UsageKind, alloc_frames, largest_free_run, usage};

use crate::report::{Outcome, Report, check, draw_bar, on_all};

const PAGE: usize = 4096;

/// The number of frames that stay free for the heap.
const LEFT_FOR_HEAP: usize = 512;

/// Bytes that a hart writes or reads before the next hart's part.
const CHUNK: usize = 1 << 20;

/// The least number of frames, 256 MiB, for which a test draws a progress bar.
const MIN_FOR_BAR: usize = 65_536;

/// Runs the tests of this file.
pub fn run(report: &mut Report, seed: u64) {
    let (before, largest) = (usage(), largest_free_run());
    let memory = match take_all() {
        Ok(memory) => memory,
        Err(reason) => return report.test("frames: allocation", || Err(reason)),
    };
    let word_number = |addr: usize| (addr / 8) as u32;
    report.test("frames: walking ones", || {
        memory.test(|addr| 1_u64.rotate_left(word_number(addr)))
    });
    report.test("frames: walking zeroes", || {
        memory.test(|addr| !1_u64.rotate_left(word_number(addr)))
    });
    report.test("frames: own address", || memory.test(|addr| addr as u64));
    report.test("frames: random data", || {
        memory.test(|addr| scramble(seed ^ addr as u64))
    });
    drop(memory);
    report.test("frames: no leak", || check_all_free(&before, largest));
}

/// Checks that all frames are free again, apart from those that the heap has taken, and that the
/// largest free run is as long as before.
fn check_all_free(before: &Usage, largest: usize) -> Outcome {
    let after = usage();
    let heap = |usage: &Usage| usage.of(UsageKind::RustHeap);
    let (now, then) = (after.free + heap(&after), before.free + heap(before));
    check(now == then, || {
        format!("{now} frames free or in the heap, {then} before")
    })?;
    let run = largest_free_run();
    check(run == largest, || {
        format!("largest free run is {run} frames, {largest} before")
    })?;
    Ok(format!(
        "{} free, {} heap, largest run {run} frames",
        after.free,
        heap(&after)
    ))
}

/// SplitMix64's finalizer: looks random, and needs no state.
fn scramble(x: u64) -> u64 {
    let x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb)
}

/// A frame run, as words.
struct Block {
    words: *mut u64,
    len: usize,
    _owner: Frames,
}

// SAFETY: harts access the words only through `Memory::pass`, which gives each word to exactly
// one hart. The end of a pass is ordered before the begin of the next.
unsafe impl Sync for Block {}

/// The frames under test.
struct Memory {
    blocks: Vec<Block>,
    frames: usize,
}

/// Takes frame runs, the longest first, until only [`LEFT_FOR_HEAP`] frames are free.
///
/// # Errors
///
/// Fails when there is no frame run of that many frames.
fn take_all() -> Result<Memory, String> {
    let mut blocks = Vec::with_capacity(4096);
    let heap = alloc_frames(LEFT_FOR_HEAP, PAGE, UsageKind::Global);
    let heap = heap.map_err(|_| format!("no free run of {LEFT_FOR_HEAP} frames"))?;
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
    /// Writes `pattern` of its address to each word, then reads each word on another hart than
    /// the one that wrote it. On a machine with one hart that hart does both.
    fn test(&self, pattern: impl Fn(usize) -> u64 + Sync) -> Outcome {
        self.pass(0, "written", |word| {
            // SAFETY: `pass` gives this word to this hart alone, and the word lies in a block
            // that this test owns.
            unsafe { word.write_volatile(pattern(word as usize)) };
            Ok(())
        })?;
        self.pass(1, "read", |word| {
            // SAFETY: `pass` gives this word to this hart alone, and the pass that wrote it has
            // ended on all harts.
            let (found, expected) = (unsafe { word.read_volatile() }, pattern(word as usize));
            check(found == expected, || {
                format!("{word:?} holds {found:#018x}, not {expected:#018x}")
            })
        })?;
        Ok(format!("{} frames, {} MiB", self.frames, self.frames >> 8))
    }

    /// Calls `f` for every word. The harts take turns by chunks of [`CHUNK`] bytes. With `shift`
    /// 1 each chunk belongs to the next hart than with `shift` 0.
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
                        // SAFETY: the loop ends at `block.len`, so that `index` is within the
                        // block.
                        f(unsafe { block.words.add(index) })?;
                    }
                    if hart == online[0] && self.frames >= MIN_FOR_BAR {
                        draw_bar(verb, number - shift, chunks);
                    }
                }
            }
            Ok(())
        })
    }
}
