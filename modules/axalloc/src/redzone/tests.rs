//! Each kind of mistake with a block is reported when the block is freed, by its own message.

use std::alloc::{GlobalAlloc, Layout, System};

use super::Guarded;

/// The host's heap without `dealloc`, so that freed blocks can still be read.
struct NeverFreeing;

// SAFETY: all blocks come from the host's heap, and are never freed.
unsafe impl GlobalAlloc for NeverFreeing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller promises that the size is not 0.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

static HEAP: Guarded<NeverFreeing> = Guarded::new(NeverFreeing);

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

/// Allocates a block of 40 bytes, lets `f` make a mistake with it, and frees it.
fn with_a_block(f: impl FnOnce(*mut u8)) {
    let layout = layout(40, 8);
    // SAFETY: the size is not 0, and the block is freed with its layout. What `f` writes is the
    // block or the red zones around it, which are part of the same allocation.
    unsafe {
        let block = HEAP.alloc(layout);
        f(block);
        HEAP.dealloc(block, layout);
    }
}

#[test]
fn a_block_is_aligned_and_all_of_it_can_be_written() {
    for size in [1, 15, 16, 17, 1000, 100_000] {
        for align in (0..17).map(|order| 1 << order) {
            let layout = layout(size, align);
            // SAFETY: the size is not 0, and the block is freed with its layout.
            unsafe {
                let block = HEAP.alloc(layout);
                assert!(block.addr().is_multiple_of(align), "{layout:?}");
                block.write_bytes(0x33, size);
                HEAP.dealloc(block, layout);
            }
        }
    }
}

#[test]
fn a_block_keeps_its_contents_when_it_is_resized() {
    // SAFETY: the sizes are not 0, and each layout is that of the block.
    unsafe {
        let block = HEAP.alloc(layout(40, 64));
        block.write_bytes(0x33, 40);
        let larger = HEAP.realloc(block, layout(40, 64), 4000);
        let bytes = std::slice::from_raw_parts(larger, 40);
        assert!(bytes.iter().all(|byte| *byte == 0x33));
        HEAP.dealloc(larger, layout(4000, 64));
    }
}

#[test]
fn a_size_that_overflows_with_red_zones_is_refused() {
    for size in [isize::MAX as usize - 7, isize::MAX as usize - 47] {
        // SAFETY: the size is not 0.
        assert!(unsafe { HEAP.alloc(layout(size, 8)) }.is_null());
    }
}

#[test]
fn a_freed_block_is_filled_with_junk() {
    let mut freed = std::ptr::null_mut();
    with_a_block(|block| {
        // SAFETY: the block has 40 bytes.
        unsafe { block.write_bytes(0, 40) };
        freed = block;
    });
    // SAFETY: `NeverFreeing` has not freed the block.
    let bytes = unsafe { std::slice::from_raw_parts(freed, 40) };
    assert!(bytes.iter().all(|byte| *byte == 0xd5), "{bytes:x?}");
}

#[test]
#[should_panic(expected = "memory after the block")]
fn a_write_right_after_a_block_is_detected() {
    // SAFETY: a red zone is there.
    with_a_block(|block| unsafe { block.add(40).write(0) });
}

#[test]
#[should_panic(expected = "memory after the block")]
fn a_write_to_the_last_byte_of_the_red_zone_is_detected() {
    // SAFETY: a red zone is there.
    with_a_block(|block| unsafe { block.add(55).write(0) });
}

#[test]
#[should_panic(expected = "memory before the block")]
fn a_write_right_before_a_block_is_detected() {
    // SAFETY: the block's header is there.
    with_a_block(|block| unsafe { block.sub(1).write(0) });
}

#[test]
#[should_panic(expected = "memory before the block")]
fn a_write_to_the_first_byte_of_the_red_zone_is_detected() {
    // SAFETY: a red zone is there.
    with_a_block(|block| unsafe { block.sub(32).write(0) });
}

#[test]
#[should_panic(expected = "is freed twice")]
fn a_block_that_is_freed_twice_is_detected() {
    // SAFETY: the heap gave the block for this layout. The second free is the mistake that is
    // detected. `NeverFreeing` frees no block, so it has no effect.
    with_a_block(|block| unsafe { HEAP.dealloc(block, layout(40, 8)) });
}

#[test]
#[should_panic(expected = "of 40 bytes is freed with a size of 41")]
fn a_wrong_size_is_detected() {
    // SAFETY: the wrong layout is the mistake that is detected, before the block is freed.
    with_a_block(|block| unsafe { HEAP.dealloc(block, layout(41, 8)) });
}

#[test]
#[should_panic(expected = "or it is not a block in use")]
fn an_address_inside_a_block_is_detected() {
    // SAFETY: the bytes around the middle of the block are part of it, so they can be read.
    with_a_block(|block| unsafe {
        block.write_bytes(0, 40);
        HEAP.dealloc(block.add(32), layout(8, 8));
    });
}
