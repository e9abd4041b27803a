//! The heap under random loads, which verify every block's contents. A load takes about 1 MiB
//! for each hart at most, so that it fits the smallest machine.

use alloc::alloc::{alloc, dealloc};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::alloc::Layout;

use axstd::harts;
use axstd::memory::{self, UsageKind};
use fastrand::Rng;
use spin::Mutex;

use crate::report::{Outcome, Report, check, on_all};

/// Runs the tests of this file.
pub fn run(report: &mut Report, seed: u64) {
    let mut per_hart = |name, steps, load: fn(Rng, usize) -> Result<(), String>| {
        report.test(name, || {
            on_all(|hart| load(Rng::with_seed(seed ^ hart as u64), steps))?;
            Ok(format!(
                "{steps} operations on each of {} harts",
                harts::online()
            ))
        });
    };
    per_hart("heap: Vec", 4000, vectors);
    per_hart("heap: BTreeMap", 4000, maps);
    per_hart("heap: realloc", 1000, reallocations);
    per_hart("heap: alignment up to 2 MiB", 1000, alignments);
    report.test("heap: freed by another hart", || {
        freed_by_another_hart(seed)
    });
}

/// Writes to each word a value made of its index and `tag`.
fn fill(words: &mut [u64], tag: u64) {
    for (index, word) in words.iter_mut().enumerate() {
        *word = tag.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ index as u64;
    }
}

/// Checks that the words have the values that [`fill`] gives them.
fn verify(words: &[u64], tag: u64) -> Result<(), String> {
    for (index, &word) in words.iter().enumerate() {
        let expected = tag.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ index as u64;
        let at = &raw const words[index];
        check(word == expected, || {
            format!("{at:?} holds {word:#x}, not {expected:#x}")
        })?;
    }
    Ok(())
}

/// Returns a vector of `len` words, filled with `tag`.
fn vector(len: usize, tag: u64) -> Result<Vec<u64>, String> {
    let mut words = Vec::new();
    words
        .try_reserve_exact(len)
        .map_err(|_| format!("no memory for {len} words"))?;
    words.resize(len, 0);
    fill(&mut words, tag);
    Ok(words)
}

/// Returns a random length in words: mostly small, in one of 64 calls above 32 KiB.
fn random_len(rng: &mut Rng) -> usize {
    match rng.u32(..64) {
        0 => rng.usize(4096..16384),
        1..8 => rng.usize(64..1024),
        _ => rng.usize(1..64),
    }
}

fn vectors(mut rng: Rng, steps: usize) -> Result<(), String> {
    let mut held: Vec<(u64, Vec<u64>)> = Vec::new();
    for _ in 0..steps {
        if held.len() < 32 && rng.bool() {
            let tag = rng.u64(..);
            held.push((tag, vector(random_len(&mut rng), tag)?));
        } else if !held.is_empty() {
            let (tag, words) = held.swap_remove(rng.usize(..held.len()));
            verify(&words, tag)?;
        }
    }
    held.iter().try_for_each(|(tag, words)| verify(words, *tag))
}

fn maps(mut rng: Rng, steps: usize) -> Result<(), String> {
    let mut map = BTreeMap::new();
    let mut present = alloc::vec![false; 1024];
    for _ in 0..steps {
        let key = rng.usize(..present.len());
        let before = match rng.bool() {
            true => map.insert(key, vector(1 + key % 16, key as u64)?).is_some(),
            false => map.remove(&key).is_some(),
        };
        check(before == present[key], || {
            format!("key {key} present: {before}, not {}", present[key])
        })?;
        present[key] = map.contains_key(&key);
    }
    let expected = present.iter().filter(|there| **there).count();
    check(map.len() == expected, || {
        format!("{} keys, not {expected}", map.len())
    })?;
    map.iter()
        .try_for_each(|(key, words)| verify(words, *key as u64))
}

fn reallocations(mut rng: Rng, steps: usize) -> Result<(), String> {
    let tag = rng.u64(..);
    let mut words = vector(1, tag)?;
    for _ in 0..steps {
        let len = random_len(&mut rng);
        let kept = len.min(words.len());
        words.truncate(len);
        words
            .try_reserve_exact(len - kept)
            .map_err(|_| format!("no memory for {len} words"))?;
        verify(&words, tag)?;
        words.resize(len, 0);
        words.shrink_to_fit();
        fill(&mut words[kept..], tag);
        verify(&words[..kept], tag)?;
        fill(&mut words, tag);
    }
    verify(&words, tag)
}

fn alignments(mut rng: Rng, steps: usize) -> Result<(), String> {
    for _ in 0..steps {
        let align = 8 << rng.u32(0..=18);
        let len = rng.usize(1..1024);
        let layout = Layout::from_size_align(len * 8, align).map_err(|error| format!("{error}"))?;
        // SAFETY: `len` is at least 1, so that the layout's size is not zero.
        let block = unsafe { alloc(layout) };
        check(!block.is_null(), || format!("no memory for {layout:?}"))?;
        // SAFETY: the block has just been allocated with room for `len` words, is not null, and
        // belongs to this function.
        let words = unsafe { core::slice::from_raw_parts_mut(block.cast::<u64>(), len) };
        words.fill(0);
        fill(words, align as u64);
        let result = verify(words, align as u64);
        let addr = block as usize;
        // SAFETY: `block` was allocated above with this layout, and is not used after this.
        unsafe { dealloc(block, layout) };
        result?;
        check(addr.is_multiple_of(align), || {
            format!("{addr:#x} is not aligned to {align:#x}")
        })?;
    }
    Ok(())
}

/// Each hart allocates and fills blocks. The next hart verifies and frees them.
fn freed_by_another_hart(seed: u64) -> Outcome {
    const BLOCKS: usize = 64;
    let before = memory::usage().of(UsageKind::RustHeap);
    let all = harts::count();
    let blocks_of: Vec<Mutex<Vec<Vec<u64>>>> = (0..all).map(|_| Mutex::new(Vec::new())).collect();
    on_all(|hart| {
        let mut rng = Rng::with_seed(seed ^ hart as u64);
        for _ in 0..BLOCKS {
            let block = vector(random_len(&mut rng).min(1024), hart as u64)?;
            blocks_of[hart].lock().push(block);
        }
        Ok(())
    })?;
    on_all(|hart| {
        let from = (hart + all - 1) % all;
        let blocks = core::mem::take(&mut *blocks_of[from].lock());
        blocks
            .iter()
            .try_for_each(|block| verify(block, from as u64))
    })?;
    let grown = memory::usage()
        .of(UsageKind::RustHeap)
        .saturating_sub(before)
        * 4;
    Ok(format!(
        "{BLOCKS} blocks per hart, heap grew by {grown} KiB"
    ))
}
