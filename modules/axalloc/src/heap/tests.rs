//! Compares the heap with a simple model: blocks do not overlap, hold what was written to them,
//! and their frames are freed.

use std::alloc::{GlobalAlloc, Layout};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use axconfig::{PAGE_SIZE, PHYS_VIRT_OFFSET};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::Heap;
use crate::UsageKind;
use crate::frame_allocator::FrameAllocator;
use crate::host::physical_memory;

use crate::buddy::tests::support::{scripts, size_below};
use crate::frame_allocator::tests::harts::{HARTS, TestHarts};

type Verdict = Result<(), TestCaseError>;

/// Physical memory for one test at a time.
const BASE: usize = 8 << 30;
const SIZE: usize = 32 << 20;

/// The number of frames of the first extent. It holds talc's own lists and is never freed.
const FIRST_EXTENT: usize = 1;

fn memory() -> MutexGuard<'static, bool> {
    static MAPPED: Mutex<bool> = Mutex::new(false);
    let mut mapped = MAPPED.lock().unwrap_or_else(PoisonError::into_inner);
    if !*mapped {
        physical_memory(BASE, SIZE).unwrap();
        *mapped = true;
    }
    mapped
}

#[derive(Clone, Debug)]
enum Step {
    Alloc {
        hart: usize,
        size: usize,
        align: usize,
        zeroed: bool,
    },
    Many {
        hart: usize,
        size: usize,
        count: usize,
    },
    Free {
        hart: usize,
        which: usize,
        count: usize,
    },
    Resize {
        hart: usize,
        which: usize,
        size: usize,
    },
    Shrink,
}

fn step() -> impl Strategy<Value = Step> {
    let hart = 0..HARTS;
    let size = size_below(17).prop_map(|size| size.min(100_000));
    let align = prop_oneof![
        4 => (0..5_u32).prop_map(|order| 1 << order),
        1 => (0..17_u32).prop_map(|order| 1 << order),
    ];
    let which = any::<usize>();
    let count = prop_oneof![12 => Just(1), 1 => 1..60_usize];
    let small = size_below(11);
    prop_oneof![
        10 => (hart.clone(), size.clone(), align, any::<bool>())
            .prop_map(|(hart, size, align, zeroed)| Step::Alloc { hart, size, align, zeroed }),
        1 => (hart.clone(), small, 1..60_usize)
            .prop_map(|(hart, size, count)| Step::Many { hart, size, count }),
        9 => (hart.clone(), which, count)
            .prop_map(|(hart, which, count)| Step::Free { hart, which, count }),
        6 => (hart, which, size).prop_map(|(hart, which, size)| Step::Resize { hart, which, size }),
        1 => Just(Step::Shrink),
    ]
}

/// The layout of a block, and the byte that it is filled with.
#[derive(Clone, Copy, Debug)]
struct Block {
    layout: Layout,
    byte: u8,
}

/// A heap, and the model of its blocks.
struct Machine {
    heap: &'static Heap<TestHarts>,
    allocator: &'static FrameAllocator<TestHarts>,
    /// The number of frames when the heap is empty.
    frames: usize,
    blocks: BTreeMap<usize, Block>,
    /// The byte that the last block was filled with.
    last_byte: u8,
    /// How many requests were refused.
    refused: usize,
}

impl Machine {
    fn with(frames: usize) -> Self {
        let allocator: &'static _ = Box::leak(Box::new(FrameAllocator::new(TestHarts::new())));
        let all = BASE..BASE + frames * PAGE_SIZE;
        // SAFETY: the memory is mapped. The caller has exclusive use of it, by the lock of
        // `memory`, and does not use earlier allocators any more.
        unsafe { allocator.add(std::slice::from_ref(&all)) }.unwrap();
        Self {
            heap: Box::leak(Box::new(Heap::new(allocator))),
            allocator,
            frames: allocator.usage().free,
            blocks: BTreeMap::new(),
            last_byte: 0,
            refused: 0,
        }
    }

    /// Returns the bytes of a block.
    #[allow(
        clippy::mut_from_ref,
        reason = "the bytes belong to the heap's block and not to `self`"
    )]
    fn bytes(&self, address: usize, size: usize) -> &mut [u8] {
        // SAFETY: the heap gave the block to this test. All callers drop the slice before they
        // ask for the block's bytes again.
        unsafe { std::slice::from_raw_parts_mut(pointer(address), size) }
    }

    /// Checks a block that the heap gave: it is in the heap's memory, aligned, and overlaps no
    /// other. Its first `kept` bytes are `byte`. Then fills it with a byte of its own.
    fn take(&mut self, block: *mut u8, layout: Layout, kept: usize, byte: u8) -> Verdict {
        let (address, size) = (block.expose_provenance(), layout.size());
        let start = PHYS_VIRT_OFFSET + BASE;
        prop_assert!(start <= address && address + size <= start + SIZE);
        prop_assert!(address.is_multiple_of(layout.align()));
        let before = self.blocks.range(..address + size).next_back();
        if let Some((other, Block { layout, .. })) = before {
            prop_assert!(other + layout.size() <= address, "overlaps {other:#x}");
        }
        prop_assert!(
            is_all(self.bytes(address, kept), byte),
            "{kept} of {layout:?}"
        );
        self.last_byte = self.last_byte.wrapping_add(1).max(1);
        let byte = self.last_byte;
        self.bytes(address, size).fill(byte);
        self.blocks.insert(address, Block { layout, byte });
        Ok(())
    }

    /// Checks that the heap had to refuse `layout`: there are no frames for it.
    fn was_right_to_refuse(&mut self, layout: Layout) -> Verdict {
        self.refused += 1;
        let (size, align) = (layout.size(), layout.align());
        let frames = if super::takes_whole_frames(layout) {
            size.max(align).div_ceil(PAGE_SIZE)
        } else {
            // An extent for the block, talc's tags, and what alignment skips.
            FIRST_EXTENT.max((size + align).div_ceil(PAGE_SIZE) + 1)
        };
        let largest = self.allocator.largest_free_run();
        prop_assert!(
            largest < frames.next_power_of_two(),
            "{layout:?}: {largest} free"
        );
        Ok(())
    }

    fn alloc(&mut self, layout: Layout, zeroed: bool) -> Verdict {
        // SAFETY: the size is not 0.
        let block = unsafe {
            match zeroed {
                true => self.heap.alloc_zeroed(layout),
                false => self.heap.alloc(layout),
            }
        };
        match block.is_null() {
            true => self.was_right_to_refuse(layout),
            false => self.take(block, layout, if zeroed { layout.size() } else { 0 }, 0),
        }
    }

    /// Removes one of the blocks from the model, checks its contents and returns it.
    fn remove_block(&mut self, which: usize) -> Result<Option<(usize, Block)>, TestCaseError> {
        let Some(which) = which.checked_rem(self.blocks.len()) else {
            return Ok(None);
        };
        let (address, block) = self
            .blocks
            .iter()
            .nth(which)
            .map(|(a, b)| (*a, *b))
            .unwrap();
        let bytes = self.bytes(address, block.layout.size());
        prop_assert!(is_all(bytes, block.byte), "at {:#x}: {:?}", address, block);
        self.blocks.remove(&address);
        Ok(Some((address, block)))
    }

    /// Frees one of the blocks. Returns `false` if there is no block.
    fn free(&mut self, which: usize) -> Result<bool, TestCaseError> {
        let Some((address, block)) = self.remove_block(which)? else {
            return Ok(false);
        };
        // SAFETY: the heap gave the block for this layout, and the model does not use it any
        // more.
        unsafe { self.heap.dealloc(pointer(address), block.layout) };
        Ok(true)
    }

    fn resize(&mut self, which: usize, size: usize) -> Verdict {
        let Some((address, Block { layout, byte })) = self.remove_block(which)? else {
            return Ok(());
        };
        let wanted = Layout::from_size_align(size, layout.align()).unwrap();
        // SAFETY: the heap gave the block for this layout, and the size is not 0.
        let block = unsafe { self.heap.realloc(pointer(address), layout, size) };
        if !block.is_null() {
            return self.take(block, wanted, size.min(layout.size()), byte);
        }
        self.blocks.insert(address, Block { layout, byte });
        self.was_right_to_refuse(wanted)
    }

    fn run_step(&mut self, step: &Step) -> Verdict {
        let harts = self.allocator.harts();
        match *step {
            Step::Alloc {
                hart,
                size,
                align,
                zeroed,
            } => {
                harts.switch_to(hart);
                self.alloc(Layout::from_size_align(size, align).unwrap(), zeroed)?;
            }
            Step::Many { hart, size, count } => {
                harts.switch_to(hart);
                for _ in 0..count {
                    self.alloc(Layout::from_size_align(size, 8).unwrap(), false)?;
                }
            }
            Step::Free { hart, which, count } => {
                harts.switch_to(hart);
                for _ in 0..count {
                    self.free(which)?;
                }
            }
            Step::Resize { hart, which, size } => {
                harts.switch_to(hart);
                self.resize(which, size)?;
            }
            Step::Shrink => self.heap.shrink(),
        }
        Ok(())
    }

    fn run(&mut self, script: &[Step]) -> Verdict {
        for step in script {
            self.run_step(step)?;
            let bytes: usize = self.blocks.values().map(|block| block.layout.size()).sum();
            let usage = self.allocator.usage();
            let frames = usage.of(UsageKind::RustHeap);
            prop_assert!(frames * PAGE_SIZE >= bytes);
            prop_assert_eq!(usage.free + frames, self.frames);
        }
        let mut hart = 0;
        while self.free(0)? {
            hart += 1;
            self.allocator.harts().switch_to(hart);
        }
        self.heap.shrink();
        prop_assert!(
            self.frames_left() <= FIRST_EXTENT,
            "{} left",
            self.frames_left()
        );
        Ok(())
    }

    fn frames_left(&self) -> usize {
        self.allocator.usage().of(UsageKind::RustHeap)
    }
}

fn pointer(address: usize) -> *mut u8 {
    std::ptr::with_exposed_provenance_mut(address)
}

fn is_all(bytes: &[u8], byte: u8) -> bool {
    match bytes {
        [] => true,
        [first, rest @ ..] => *first == byte && *rest == bytes[..rest.len()],
    }
}

proptest! {
    #![proptest_config(scripts(60))]

    #[test]
    fn blocks_keep_their_contents_and_their_frames_are_freed(
        frames in prop_oneof![64..700_usize, Just(SIZE / PAGE_SIZE)],
        script in vec(step(), 1..3000),
    ) {
        let _memory = memory();
        Machine::with(frames).run(&script)?;
    }
}

/// Makes a heap of 4 MiB.
fn heap() -> (MutexGuard<'static, bool>, Machine) {
    let memory = memory();
    (memory, Machine::with(1024))
}

/// Allocates blocks of `layout` until one is refused. Returns the number of blocks.
fn fill_with(machine: &mut Machine, layout: Layout) -> usize {
    while machine.refused == 0 {
        machine.alloc(layout, false).unwrap();
    }
    machine.blocks.len()
}

#[test]
fn memory_freed_by_blocks_of_one_size_serves_another_size() {
    let (_memory, mut machine) = heap();
    for size in [24, 5000, 700, 40_000, 16] {
        let layout = Layout::from_size_align(size, 8).unwrap();
        let blocks = fill_with(&mut machine, layout);
        assert!(blocks * size > (1 << 20), "{blocks} of {size}");
        while machine.free(0).unwrap() {}
        machine.refused = 0;
    }
    machine.heap.shrink();
    assert!(machine.frames_left() <= FIRST_EXTENT);
    assert!(machine.allocator.largest_free_run() >= 512, "2 MiB of 4");
}

#[test]
fn a_hart_gets_the_blocks_that_another_caches() {
    let (_memory, mut machine) = heap();
    let layout = Layout::from_size_align(1000, 8).unwrap();
    let blocks = fill_with(&mut machine, layout);
    // They fit into a magazine, so the first hart caches all of them.
    for _ in 0..super::MAX_BLOCKS {
        machine.free(0).unwrap();
    }
    machine.allocator.harts().switch_to(1);
    machine.refused = 0;
    assert_eq!(fill_with(&mut machine, layout), blocks);
}

#[test]
fn a_block_of_the_same_class_or_frames_stays_where_it_is() {
    let (_memory, machine) = heap();
    for (old, new) in [(17, 32), (1000, 900), (40_000, 40_960), (33_000, 36_000)] {
        let layout = Layout::from_size_align(old, 8).unwrap();
        // SAFETY: the sizes are not 0, and each layout is that of the block.
        unsafe {
            let block = machine.heap.alloc(layout);
            assert_eq!(
                machine.heap.realloc(block, layout, new),
                block,
                "{old} to {new}"
            );
            machine
                .heap
                .dealloc(block, Layout::from_size_align(new, 8).unwrap());
        }
    }
}

#[test]
fn a_request_that_is_too_large_is_refused_without_effect() {
    let (_memory, machine) = heap();
    for (size, align) in [
        (1 << 40, 8),
        (8 << 20, 8),
        (64, 1 << 30),
        (isize::MAX as usize - 64, 8),
    ] {
        let layout = Layout::from_size_align(size, align).unwrap();
        // SAFETY: the size is not 0.
        let block = unsafe { machine.heap.alloc(layout) };
        assert!(block.is_null(), "{layout:?}");
    }
    assert_eq!(machine.allocator.usage().free, machine.frames);
}

/// The heap grows by 16 frames if there is such a run, and by fewer if not.
#[test]
fn a_small_block_is_not_refused_while_a_frame_is_free() {
    let (_memory, machine) = heap();
    let take = || machine.allocator.alloc_one(UsageKind::Dma);
    let frames: Vec<usize> = std::iter::from_fn(take).collect();
    // Every second frame, so that no two of them are contiguous.
    for frame in frames.iter().filter(|frame| **frame % 2 == 0) {
        machine.allocator.free_one(*frame, UsageKind::Dma);
    }
    assert_eq!(machine.allocator.largest_free_run(), 1);
    for size in [16, 1000] {
        let layout = Layout::from_size_align(size, 8).unwrap();
        // SAFETY: the size is not 0.
        let block = unsafe { machine.heap.alloc(layout) };
        assert!(
            !block.is_null(),
            "{size} bytes, {}",
            machine.allocator.usage()
        );
    }
}

/// A block of whole frames is made smaller without moving it, when no frame is free.
#[test]
fn a_large_block_shrinks_in_place_without_memory() {
    const LARGE: usize = 256 << 10;
    let (_memory, machine) = heap();
    let Machine {
        allocator, heap, ..
    } = machine;
    let large = Layout::from_size_align(LARGE, 8).unwrap();
    // SAFETY: the size is not 0.
    let block = unsafe { heap.alloc(large) };
    assert!(!block.is_null());
    while allocator.alloc_one(UsageKind::Global).is_some() {}
    // SAFETY: the heap gave the block for this layout, and the size is not 0.
    let smaller = unsafe { heap.realloc(block, large, LARGE / 2) };
    assert_eq!(smaller, block);
    assert_eq!(allocator.usage().free, LARGE / 2 / PAGE_SIZE);
}
