//! ArceOS's allocator: frames, 2 MiB, and the heap.

use alloc::alloc::{alloc, dealloc};
use core::alloc::Layout;
use core::hint::black_box;
use core::ptr;

use axalloc::{UsageKind, global_allocator};
use axbench_aspace::{Done, PAGE, Refused, Watch as _};

use crate::table::{Table, Watch};

const PAIRS: usize = 10_000;
const LARGE_PAIRS: usize = 100;
const LARGE: usize = 2 << 20;
const SMALL: Layout = Layout::new::<[u64; 8]>();

/// The rows of the allocator.
pub fn rows(table: &mut Table) {
    let frames = |watch: &mut Watch, zero| pairs(watch, PAIRS, 1, PAGE, zero);
    table.difference(
        "frame.zero",
        |watch| frames(watch, true),
        |watch| frames(watch, false),
    );
    table.times("frame.pair", |watch| frames(watch, false));
    table.times("block_2m.pair", |watch| {
        pairs(watch, LARGE_PAIRS, LARGE / PAGE, LARGE, false)
    });
    table.times("heap_64.pair", |watch| {
        watch.time(|| {
            for _ in 0..PAIRS {
                // SAFETY: it asks for 64 bytes, and gives back what it got.
                unsafe { dealloc(black_box(alloc(SMALL)), SMALL) };
            }
        });
        Ok(PAIRS)
    });
}

/// `count` frames aligned to `align` bytes, taken and given back, `rounds` times.
fn pairs(watch: &mut Watch, rounds: usize, count: usize, align: usize, zero: bool) -> Done {
    let kind = UsageKind::Global;
    watch.time(|| {
        for _ in 0..rounds {
            let frames = global_allocator().alloc_pages(count, align, kind);
            let frames = frames.map_err(|_| Refused)?;
            if zero {
                let bytes = ptr::with_exposed_provenance_mut::<u8>(frames);
                // SAFETY: the frames have just been taken.
                unsafe { bytes.write_bytes(0, count * PAGE) };
            }
            global_allocator().dealloc_pages(frames, count, kind);
        }
        Ok(rounds)
    })
}
