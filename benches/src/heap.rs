//! Loads for heaps.

use core::alloc::Layout;
use core::hint::black_box;

use crate::{Done, Exhausted, HeapBench, Script};

/// The layout of the block in pairs: 64 bytes.
const SMALL: Layout = Layout::new::<[u64; 8]>();

/// The largest number of objects that the random load holds at once.
const SLOTS: usize = 1000;

/// The smallest size of an object of the random load, in bytes, and how often it doubles to
/// the largest, 4096.
const SMALLEST: usize = 8;
const DOUBLINGS: u32 = 9;

/// Allocates and frees 64 bytes, `rounds` times. An operation is such a pair.
///
/// # Errors
///
/// Fails if the heap is out of memory.
pub fn small_pairs<A: HeapBench>(alloc: &A, rounds: usize) -> Done {
    for _ in 0..rounds {
        // Without this, the compiler may remove the pair, since the block is not used.
        let block = black_box(alloc.alloc(SMALL)).ok_or(Exhausted)?;
        // SAFETY: `alloc` has just returned `block` for the layout `SMALL`.
        unsafe { alloc.dealloc(block, SMALL) };
    }
    Ok(rounds)
}

/// Draws a random load of about `steps` operations. It holds up to 1000 objects at once, of 8
/// to 4096 bytes. Each range from a power of two to the next is equally likely.
pub fn script(seed: u64, steps: usize) -> Script {
    Script::draw(seed, SLOTS, steps, |rng| {
        let least = SMALLEST << rng.u32(..DOUBLINGS);
        rng.usize(least..=2 * least)
    })
}

/// Runs a random load. An operation allocates or frees an object.
///
/// # Errors
///
/// Fails if the heap is out of memory.
pub fn random<A: HeapBench>(alloc: &A, script: &Script) -> Done {
    let mut held = script.empty();
    for step in &script.steps {
        let slot = &mut held[step.slot];
        match slot.take() {
            // SAFETY: a slot holds a block that `alloc` returned below, with its layout. The
            // slot is empty now, so the block is freed once.
            Some((block, layout)) => unsafe { alloc.dealloc(black_box(block), layout) },
            None => {
                let align = align_of::<u64>();
                let layout = Layout::from_size_align(step.size, align).map_err(|_| Exhausted)?;
                let block = alloc.alloc(layout).ok_or(Exhausted)?;
                *slot = Some((block, layout));
            }
        }
    }
    Ok(script.steps.len())
}
