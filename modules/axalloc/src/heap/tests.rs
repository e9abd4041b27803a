//! The heap against a plain model: blocks that do not overlap, hold what was
//! written, and go back to the pool of frames.

use std::alloc::{GlobalAlloc, Layout};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use axconfig::{PAGE_SIZE, PHYS_VIRT_OFFSET};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::Heap;
use crate::UsageKind;
use crate::host::physical_memory;
use crate::pool::FramePool;

use crate::buddy::tests::support::{scripts, size_below};
use crate::pool::tests::harts::{HARTS, TestHarts};

type Verdict = Result<(), TestCaseError>;

/// Physical memory for one test at a time.
const BASE: usize = 8 << 30;
const SIZE: usize = 32 << 20;

/// The frames of the first stretch, which stays: talc's own lists lie there.
const FIRST_STRETCH: usize = 1;

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

/// What is known of a block: every byte of it is `byte`.
#[derive(Clone, Copy, Debug)]
struct Block {
    layout: Layout,
    byte: u8,
}

/// A heap, and what it should be.
struct Machine {
    heap: &'static Heap<TestHarts>,
    pool: &'static FramePool<TestHarts>,
    frames: usize,
    blocks: BTreeMap<usize, Block>,
    written: u8,
    refused: usize,
}

impl Machine {
    fn with(frames: usize) -> Self {
        let pool: &'static _ = Box::leak(Box::new(FramePool::new(TestHarts::new())));
        let all = BASE..BASE + frames * PAGE_SIZE;
        // SAFETY: the caller has the memory alone, and has done with other pools.
        unsafe { pool.add(std::slice::from_ref(&all)) }.unwrap();
        Self {
            heap: Box::leak(Box::new(Heap::new(pool))),
            pool,
            frames: pool.usage().free,
            blocks: BTreeMap::new(),
            written: 0,
            refused: 0,
        }
    }

    /// The bytes of a block.
    #[allow(
        clippy::mut_from_ref,
        reason = "they lie in memory of no value of Rust's"
    )]
    fn bytes(&self, address: usize, size: usize) -> &mut [u8] {
        // SAFETY: the heap gave the block to this test, which uses it only here.
        unsafe { std::slice::from_raw_parts_mut(pointer(address), size) }
    }

    /// A block that the heap gave: it is where it should be, and `kept` bytes hold
    /// `byte`. From now on it holds something of its own.
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
        self.written = self.written.wrapping_add(1).max(1);
        let byte = self.written;
        self.bytes(address, size).fill(byte);
        self.blocks.insert(address, Block { layout, byte });
        Ok(())
    }

    /// The heap says no: so frames for it cannot be had.
    fn was_right_to_refuse(&mut self, layout: Layout) -> Verdict {
        self.refused += 1;
        let (size, align) = (layout.size(), layout.align());
        let frames = if super::takes_frames(layout) {
            size.max(align).div_ceil(PAGE_SIZE)
        } else {
            // A stretch, with talc's own and what alignment skips.
            FIRST_STRETCH.max((size + align).div_ceil(PAGE_SIZE) + 1)
        };
        let largest = self.pool.largest();
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

    /// One of the blocks, which is looked at and is not held any more.
    fn any_block(&mut self, which: usize) -> Result<Option<(usize, Block)>, TestCaseError> {
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

    fn free(&mut self, which: usize) -> Result<bool, TestCaseError> {
        let Some((address, block)) = self.any_block(which)? else {
            return Ok(false);
        };
        // SAFETY: the heap gave it for this layout, and nobody uses it any more.
        unsafe { self.heap.dealloc(pointer(address), block.layout) };
        Ok(true)
    }

    fn resize(&mut self, which: usize, size: usize) -> Verdict {
        let Some((address, Block { layout, byte })) = self.any_block(which)? else {
            return Ok(());
        };
        let wanted = Layout::from_size_align(size, layout.align()).unwrap();
        // SAFETY: the heap gave it for this layout; the size is not 0.
        let block = unsafe { self.heap.realloc(pointer(address), layout, size) };
        if !block.is_null() {
            return self.take(block, wanted, size.min(layout.size()), byte);
        }
        self.blocks.insert(address, Block { layout, byte });
        self.was_right_to_refuse(wanted)
    }

    fn go(&mut self, step: &Step) -> Verdict {
        let harts = self.pool.harts();
        match *step {
            Step::Alloc {
                hart,
                size,
                align,
                zeroed,
            } => {
                harts.go_to(hart);
                self.alloc(Layout::from_size_align(size, align).unwrap(), zeroed)?;
            }
            Step::Many { hart, size, count } => {
                harts.go_to(hart);
                for _ in 0..count {
                    self.alloc(Layout::from_size_align(size, 8).unwrap(), false)?;
                }
            }
            Step::Free { hart, which, count } => {
                harts.go_to(hart);
                for _ in 0..count {
                    self.free(which)?;
                }
            }
            Step::Resize { hart, which, size } => {
                harts.go_to(hart);
                self.resize(which, size)?;
            }
            Step::Shrink => self.heap.shrink(),
        }
        Ok(())
    }

    fn play(&mut self, script: &[Step]) -> Verdict {
        for step in script {
            self.go(step)?;
            let bytes: usize = self.blocks.values().map(|block| block.layout.size()).sum();
            let usage = self.pool.usage();
            let frames = usage.of(UsageKind::RustHeap);
            prop_assert!(frames * PAGE_SIZE >= bytes);
            prop_assert_eq!(usage.free + frames, self.frames);
        }
        let mut hart = 0;
        while self.free(0)? {
            hart += 1;
            self.pool.harts().go_to(hart);
        }
        self.heap.shrink();
        prop_assert!(
            self.frames_left() <= FIRST_STRETCH,
            "{} left",
            self.frames_left()
        );
        Ok(())
    }

    fn frames_left(&self) -> usize {
        self.pool.usage().of(UsageKind::RustHeap)
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
    fn blocks_keep_what_they_hold_and_give_their_frames_back(
        frames in prop_oneof![64..700_usize, Just(SIZE / PAGE_SIZE)],
        script in vec(step(), 1..3000),
    ) {
        let _memory = memory();
        Machine::with(frames).play(&script)?;
    }
}

/// A heap of 4 MiB.
fn heap() -> (MutexGuard<'static, bool>, Machine) {
    let memory = memory();
    (memory, Machine::with(1024))
}

/// Blocks of `layout` until there are no more.
fn all_blocks(machine: &mut Machine, layout: Layout) -> usize {
    while machine.refused == 0 {
        machine.alloc(layout, false).unwrap();
    }
    machine.blocks.len()
}

#[test]
fn memory_of_one_size_becomes_memory_of_another() {
    let (_memory, mut machine) = heap();
    for size in [24, 5000, 700, 40_000, 16] {
        let layout = Layout::from_size_align(size, 8).unwrap();
        let blocks = all_blocks(&mut machine, layout);
        assert!(blocks * size > (1 << 20), "{blocks} of {size}");
        while machine.free(0).unwrap() {}
        machine.refused = 0;
    }
    machine.heap.shrink();
    assert!(machine.frames_left() <= FIRST_STRETCH);
    assert!(machine.pool.largest() >= 512, "2 MiB of 4");
}

#[test]
fn what_one_hart_frees_another_gets() {
    let (_memory, mut machine) = heap();
    let layout = Layout::from_size_align(1000, 8).unwrap();
    let blocks = all_blocks(&mut machine, layout);
    // Less than a magazine, so that the first hart keeps them all.
    for _ in 0..super::KEPT {
        machine.free(0).unwrap();
    }
    machine.pool.harts().go_to(1);
    machine.refused = 0;
    assert_eq!(all_blocks(&mut machine, layout), blocks);
}

#[test]
fn a_block_of_the_same_class_or_frames_stays_where_it_is() {
    let (_memory, machine) = heap();
    for (old, new) in [(17, 32), (1000, 900), (40_000, 40_960), (33_000, 36_000)] {
        let layout = Layout::from_size_align(old, 8).unwrap();
        // SAFETY: the sizes are not 0, and the layouts those of the block.
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
fn a_request_that_cannot_be_is_refused_and_harms_nothing() {
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
    assert_eq!(machine.pool.usage().free, machine.frames);
}

/// A heap that grows by 16 frames where it can, and by what there is where not.
#[test]
fn a_small_block_is_not_refused_while_a_frame_is_free() {
    let (_memory, machine) = heap();
    let take = || machine.pool.alloc_one(UsageKind::Dma);
    let frames: Vec<usize> = std::iter::from_fn(take).collect();
    // Every other frame, so that no two are neighbours.
    for frame in frames.iter().filter(|frame| **frame % 2 == 0) {
        machine.pool.free_one(*frame, UsageKind::Dma);
    }
    assert_eq!(machine.pool.largest(), 1);
    for size in [16, 1000] {
        let layout = Layout::from_size_align(size, 8).unwrap();
        // SAFETY: the size is not 0.
        let block = unsafe { machine.heap.alloc(layout) };
        assert!(!block.is_null(), "{size} bytes, {}", machine.pool.usage());
    }
}

/// A block of whole frames becomes smaller where it is, with no frame to spare.
#[test]
fn a_large_block_shrinks_without_memory() {
    const LARGE: usize = 256 << 10;
    let (_memory, Machine { pool, heap, .. }) = heap();
    let large = Layout::from_size_align(LARGE, 8).unwrap();
    // SAFETY: the size is not 0.
    let block = unsafe { heap.alloc(large) };
    assert!(!block.is_null());
    while pool.alloc_one(UsageKind::Global).is_some() {}
    // SAFETY: the block is one of this heap, for this layout.
    let smaller = unsafe { heap.realloc(block, large, LARGE / 2) };
    assert_eq!(smaller, block);
    assert_eq!(pool.usage().free, LARGE / 2 / PAGE_SIZE);
}
