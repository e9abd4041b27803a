//! Loads for frame allocators.

use core::hint::black_box;

use crate::{Done, Exhausted, PAGE_SIZE, PageBench, Script};

/// The size and alignment of a large page, in bytes.
const LARGE: usize = 2 << 20;

/// The largest number of frame runs that the random load holds at once.
const SLOTS: usize = 256;

/// The longest frame run of the random load, in frames.
const LONGEST: usize = 64;

/// Takes and frees one frame, `rounds` times. An operation is such a pair.
///
/// # Errors
///
/// Fails if the allocator is out of memory.
pub fn frame_pairs<A: PageBench>(alloc: &A, rounds: usize) -> Done {
    for _ in 0..rounds {
        let run = alloc.frame().ok_or(Exhausted)?;
        // SAFETY: `run` was just taken from this allocator.
        unsafe { alloc.free(run) };
        black_box(());
    }
    Ok(rounds)
}

/// Takes and frees 2 MiB aligned to 2 MiB, `rounds` times. An operation is such a pair.
///
/// # Errors
///
/// Fails if the allocator is out of memory.
pub fn large_pairs<A: PageBench>(alloc: &A, rounds: usize) -> Done {
    for _ in 0..rounds {
        let run = alloc.frames(LARGE / PAGE_SIZE, LARGE).ok_or(Exhausted)?;
        // SAFETY: `run` was just taken from this allocator.
        unsafe { alloc.free(run) };
        black_box(());
    }
    Ok(rounds)
}

/// Returns a load that takes 512 single frames, and then frees them in the same order.
pub fn bulk() -> Script {
    Script::in_and_out(LARGE / PAGE_SIZE)
}

/// Draws a random load of about `steps` operations. It holds up to 256 frame runs at once. Half
/// of them are single frames, the others are 1 to 64 frames long.
pub fn script(seed: u64, steps: usize) -> Script {
    Script::draw(seed, SLOTS, steps, |rng| match rng.bool() {
        true => 1,
        false => rng.usize(1..=LONGEST),
    })
}

/// Runs a load. An operation takes a frame run or frees one.
///
/// # Errors
///
/// Fails if the allocator is out of memory.
pub fn random<A: PageBench>(alloc: &A, script: &Script) -> Done {
    let mut held = script.empty();
    for step in &script.steps {
        let slot = &mut held[step.slot];
        match slot.take() {
            // SAFETY: a slot holds a run that was taken from this allocator below. The slot is
            // empty now, so the run is freed once.
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
