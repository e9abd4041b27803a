//! Each mistake with a block is caught when it is freed, by its own message.

use std::alloc::{GlobalAlloc, Layout, System};

use super::Guarded;

/// The host's heap, which never gives a block twice: what is freed can still be
/// looked at.
struct Keeping;

// SAFETY: all blocks are the host's heap's, and stay.
unsafe impl GlobalAlloc for Keeping {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

static HEAP: Guarded<Keeping> = Guarded::new(Keeping);

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

/// Takes a block of 40 bytes, does something wrong with it, and frees it.
fn with_a_block(f: impl FnOnce(*mut u8)) {
    let layout = layout(40, 8);
    // SAFETY: the size is not 0, and the block goes back as it came. What `f` does
    // hits no more than what lies around the block and is the heap's.
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
            // SAFETY: the size is not 0, and the block goes back as it came.
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
fn a_block_keeps_what_it_holds_when_it_is_resized() {
    // SAFETY: the sizes are not 0, and the layouts are those of the block.
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
fn what_is_too_large_with_its_red_zones_is_refused() {
    for size in [isize::MAX as usize - 7, isize::MAX as usize - 47] {
        // SAFETY: the size is not 0.
        assert!(unsafe { HEAP.alloc(layout(size, 8)) }.is_null());
    }
}

#[test]
fn a_freed_block_is_junk() {
    let mut freed = std::ptr::null_mut();
    with_a_block(|block| {
        // SAFETY: all of it is the block's.
        unsafe { block.write_bytes(0, 40) };
        freed = block;
    });
    // SAFETY: `Keeping` keeps it.
    let bytes = unsafe { std::slice::from_raw_parts(freed, 40) };
    assert!(bytes.iter().all(|byte| *byte == 0xd5), "{bytes:x?}");
}

#[test]
#[should_panic(expected = "something wrote behind the block")]
fn a_byte_behind_a_block_is_seen() {
    // SAFETY: a red zone is there.
    with_a_block(|block| unsafe { block.add(40).write(0) });
}

#[test]
#[should_panic(expected = "something wrote behind the block")]
fn the_last_byte_of_the_red_zone_is_looked_at() {
    // SAFETY: a red zone is there.
    with_a_block(|block| unsafe { block.add(55).write(0) });
}

#[test]
#[should_panic(expected = "something wrote before the block")]
fn a_byte_before_a_block_is_seen() {
    // SAFETY: its header is there.
    with_a_block(|block| unsafe { block.sub(1).write(0) });
}

#[test]
#[should_panic(expected = "something wrote before the block")]
fn the_first_byte_of_the_red_zone_is_looked_at() {
    // SAFETY: a red zone is there.
    with_a_block(|block| unsafe { block.sub(32).write(0) });
}

#[test]
#[should_panic(expected = "is freed twice")]
fn a_block_freed_twice_is_named() {
    // SAFETY: the block is the heap's; that it is freed once more afterwards is
    // the mistake, which leads nowhere as `Keeping` keeps all blocks.
    with_a_block(|block| unsafe { HEAP.dealloc(block, layout(40, 8)) });
}

#[test]
#[should_panic(expected = "of 40 bytes is freed as one of 41")]
fn a_wrong_size_is_named() {
    // SAFETY: the wrong layout is the mistake; nothing is freed by it.
    with_a_block(|block| unsafe { HEAP.dealloc(block, layout(41, 8)) });
}

#[test]
#[should_panic(expected = "or it is no block")]
fn what_is_no_block_is_seen() {
    // SAFETY: there is readable memory around the middle of a block.
    with_a_block(|block| unsafe {
        block.write_bytes(0, 40);
        HEAP.dealloc(block.add(32), layout(8, 8));
    });
}
