//! Loads for frame allocators.

use core::hint::black_box;

use crate::{Done, Exhausted, PAGE_SIZE, PageBench, Script};

/// Bytes of a large page, and its alignment.
const LARGE: usize = 2 << 20;

/// The most runs that the random load holds at once.
const SLOTS: usize = 256;

/// The longest run of the random load, in frames.
const LONGEST: usize = 64;

/// One frame taken and given back, `rounds` times; an operation is such a pair.
pub fn frame_pairs<A: PageBench>(alloc: &A, rounds: usize) -> Done {
    for _ in 0..rounds {
        let run = alloc.frame().ok_or(Exhausted)?;
        // SAFETY: taken in the line above.
        unsafe { alloc.free(run) };
        black_box(());
    }
    Ok(rounds)
}

/// 2 MiB aligned to 2 MiB, as [`frame_pairs`].
pub fn large_pairs<A: PageBench>(alloc: &A, rounds: usize) -> Done {
    for _ in 0..rounds {
        let run = alloc.frames(LARGE / PAGE_SIZE, LARGE).ok_or(Exhausted)?;
        // SAFETY: taken in the line above.
        unsafe { alloc.free(run) };
        black_box(());
    }
    Ok(rounds)
}

/// As many single frames as 2 MiB are, taken and then given back.
pub fn bulk() -> Script {
    Script::in_and_out(LARGE / PAGE_SIZE)
}

/// A random load of about `steps` operations: up to 256 runs held at once, every
/// other one a single frame, the others 1 to 64 frames long.
pub fn script(seed: u64, steps: usize) -> Script {
    Script::draw(seed, SLOTS, steps, |rng| match rng.bool() {
        true => 1,
        false => rng.usize(1..=LONGEST),
    })
}

/// A load; an operation takes a run or gives one back.
pub fn random<A: PageBench>(alloc: &A, script: &Script) -> Done {
    let mut held = script.empty();
    for step in &script.steps {
        let slot = &mut held[step.slot];
        match slot.take() {
            // SAFETY: a slot holds what was taken below.
            Some(run) => unsafe { alloc.free(run) },
            None => {
                let run = match step.size {
                    1 => alloc.frame(),
                    count => alloc.frames(count, PAGE_SIZE),
                };
                *slot = Some(run.ok_or(Exhausted)?);
            }
        }
    }
    Ok(script.steps.len())
}
