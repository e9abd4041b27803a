//! The rows of ArceOS's allocator: frames, blocks of 2 MiB, and the heap.

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

/// Measures the rows of the allocator.
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
                // SAFETY: the layout's size is 64 bytes, and the block that `alloc` returns is
                // freed once with the same layout.
                unsafe { dealloc(black_box(alloc(SMALL)), SMALL) };
            }
        });
        Ok(PAIRS)
    });
}

/// Takes and frees `count` frames aligned to `align` bytes, `rounds` times, and zeroes them
/// between if `zero` is set.
fn pairs(watch: &mut Watch, rounds: usize, count: usize, align: usize, zero: bool) -> Done {
    let kind = UsageKind::Global;
    watch.time(|| {
        for _ in 0..rounds {
            let frames = global_allocator().alloc_pages(count, align, kind);
            let frames = frames.map_err(|_| Refused)?;
            if zero {
                let bytes = ptr::with_exposed_provenance_mut::<u8>(frames);
                // SAFETY: the frames were just taken, so this function owns them exclusively.
                unsafe { bytes.write_bytes(0, count * PAGE) };
            }
            global_allocator().dealloc_pages(frames, count, kind);
        }
        Ok(rounds)
    })
}
