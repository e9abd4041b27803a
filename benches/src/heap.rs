//! Loads for heaps.

use core::alloc::Layout;
use core::hint::black_box;

use crate::{Done, Exhausted, HeapBench, Script};

/// The small block of the pairs.
const SMALL: Layout = Layout::new::<[u64; 8]>();

/// The most objects that the random load holds at once.
const SLOTS: usize = 1000;

/// The smallest object of the random load, in bytes, and how often it doubles up
/// to the largest, 4096.
const SMALLEST: usize = 8;
const DOUBLINGS: u32 = 9;

/// 64 bytes taken and given back, `rounds` times; an operation is such a pair.
pub fn small_pairs<A: HeapBench>(alloc: &A, rounds: usize) -> Done {
    for _ in 0..rounds {
        // A pair that nobody looks at may be left out by the compiler.
        let block = black_box(alloc.alloc(SMALL)).ok_or(Exhausted)?;
        // SAFETY: taken in the line above.
        unsafe { alloc.dealloc(block, SMALL) };
    }
    Ok(rounds)
}

/// A random load of about `steps` operations: up to 1000 objects held at once,
/// each from a power of two to the next as likely as any, from 8 to 4096 bytes.
pub fn script(seed: u64, steps: usize) -> Script {
    Script::draw(seed, SLOTS, steps, |rng| {
        let least = SMALLEST << rng.u32(..DOUBLINGS);
        rng.usize(least..=2 * least)
    })
}

/// The random load; an operation takes an object or gives one back.
pub fn random<A: HeapBench>(alloc: &A, script: &Script) -> Done {
    let mut held = script.empty();
    for step in &script.steps {
        let slot = &mut held[step.slot];
        match slot.take() {
            // SAFETY: a slot holds what was taken below, and its layout.
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
