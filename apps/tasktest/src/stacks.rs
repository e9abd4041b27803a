//! Stacks of threads: their sizes, the guard zones below them, closures of any size, and the
//! kernel's cache of stacks.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::hint::black_box;

use axstd::memory::{
    AxError, Frames, Mapping, MappingFlags, UsageKind, alloc_frame, largest_free_run, probe,
    tlb_counters, usage,
};
use axstd::sync::{Arc, Barrier};
use axstd::thread::{self, Builder, JoinHandle};

use crate::report::{Outcome, Report, check, error_text};

const PAGE: usize = 4096;
const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
/// The size of the smallest stack in bytes.
const SMALLEST: usize = 16 * KIB;
/// The size of a stack in bytes, by default.
const DEFAULT: usize = 256 * KIB;
/// The least size in bytes of the unmapped guard zone below every stack.
const GUARD: usize = MIB;

/// Runs the tests of this file.
pub fn run(report: &mut Report) {
    report.test("stacks: requested sizes", requested_sizes);
    report.test("stacks: guard zones", guard_zones);
    report.test("stacks: closures of any size", closures_of_any_size);
    report.test("stacks: 500 threads at once", many_threads_at_once);
    report.test("stacks: cache is reclaimed", cache_is_reclaimed);
}

/// Fills an array of `SIZE` bytes on the stack with ones, and returns their sum.
#[inline(never)]
fn fill<const SIZE: usize>() -> usize {
    let array = black_box([1_u8; SIZE]);
    black_box(&array)
        .iter()
        .map(|byte| usize::from(*byte))
        .sum()
}

/// Runs `work` in a thread with a stack of `size` bytes, and checks that the whole stack is mapped.
fn on_stack(size: usize, work: fn() -> usize) -> Result<usize, String> {
    let whole = size.max(SMALLEST).next_multiple_of(PAGE);
    let probe_and_work = move || {
        let bottom = thread::current().stack_bottom();
        let mut pages = (0..whole).step_by(PAGE);
        (pages.all(|at| probe::can_read(bottom + at)), work())
    };
    let thread = Builder::new().stack_size(size).spawn(probe_and_work);
    let (is_mapped, result) = thread.and_then(JoinHandle::join).map_err(error_text)?;
    check(is_mapped, || {
        format!("a stack of {size} bytes is not mapped completely")
    })?;
    Ok(result)
}

fn requested_sizes() -> Outcome {
    type Case = (usize, fn() -> usize, usize);
    let cases: [Case; 6] = [
        (0, fill::<{ 4 * KIB }>, 4 * KIB),
        (1, fill::<{ 8 * KIB }>, 8 * KIB),
        (17_001, fill::<{ 12 * KIB }>, 12 * KIB),
        (DEFAULT, fill::<{ 200 * KIB }>, 200 * KIB),
        (MIB, fill::<{ 1000 * KIB }>, 1000 * KIB),
        (MIB + 1, fill::<{ 1000 * KIB }>, 1000 * KIB),
    ];
    for (size, work, wanted) in cases {
        let sum = on_stack(size, work)?;
        check(sum == wanted, || {
            format!("stack of {size} bytes: sum {sum}, not {wanted}")
        })?;
    }
    let sum = thread::spawn(fill::<{ 200 * KIB }>)
        .join()
        .map_err(error_text)?;
    check(sum == 200 * KIB, || format!("default stack: sum {sum}"))?;
    let sum = fill::<{ 100 * KIB }>();
    check(sum == 100 * KIB, || format!("stack of `main`: sum {sum}"))?;
    for size in [1 << 40, usize::MAX / 2, usize::MAX - PAGE, usize::MAX] {
        let refused = Builder::new().stack_size(size).spawn(|| {}).err();
        check(refused == Some(AxError::NoMemory), || {
            format!("a stack of {size:#x} bytes: {refused:?}")
        })?;
    }
    Ok("0 bytes to 1 MiB, 4 too large refused".to_string())
}

fn guard_zones() -> Outcome {
    const SIZE: usize = 32 * KIB;
    let find_mapped = || {
        let bottom = thread::current().stack_bottom();
        let mut below = (1..=GUARD).step_by(PAGE).chain([GUARD]);
        below.find(|below| probe::can_read(bottom - below))
    };
    for size in [SMALLEST, SIZE, DEFAULT] {
        let thread = Builder::new().stack_size(size).spawn(find_mapped);
        let found = thread.and_then(JoinHandle::join).map_err(error_text)?;
        check(found.is_none(), || {
            format!("stack of {size} bytes: {found:?} bytes below it is mapped")
        })?;
    }
    Ok("1 MiB below each of 3 stacks".to_string())
}

/// Spawns a thread whose closure captures `SIZE` bytes, on a stack of `stack` bytes.
#[inline(never)]
fn capture<const SIZE: usize>(stack: usize) -> Result<(), String> {
    let captured = black_box([1_u8; SIZE]);
    let add_up = move || captured.iter().map(|byte| usize::from(*byte)).sum();
    let thread = Builder::new().stack_size(stack).spawn(add_up);
    let sum: usize = thread.and_then(JoinHandle::join).map_err(error_text)?;
    check(sum == SIZE, || {
        format!("a closure of {SIZE} bytes: sum {sum}")
    })
}

/// A type without a size, whose alignment is larger than a stack.
#[repr(align(0x10_0000))]
struct Aligned;

impl Aligned {
    fn take(self) {}
}

/// Spawns a thread whose closure captures an [`Aligned`].
fn capture_aligned() -> Result<(), String> {
    let captured = Aligned;
    let thread = Builder::new()
        .stack_size(SMALLEST)
        .spawn(move || captured.take());
    thread.and_then(JoinHandle::join).map_err(error_text)
}

/// A closure may be larger than its thread's stack, and may need more alignment.
fn closures_of_any_size() -> Outcome {
    capture::<900>(SMALLEST)?;
    capture::<{ 9 * KIB }>(SMALLEST)?;
    capture::<{ 40 * KIB }>(SMALLEST)?;
    capture::<{ 40 * KIB }>(DEFAULT)?;
    let large = Builder::new().stack_size(8 * MIB);
    let large = large.spawn(|| capture::<MIB>(SMALLEST));
    large.and_then(JoinHandle::join).map_err(error_text)??;
    capture_aligned()?;
    Ok("900 bytes to 1 MiB, aligned to 1 MiB".to_string())
}

/// Spawns `count` threads that are all alive at once, with stacks of `stack` bytes, and joins
/// them. Returns the number of flush requests that harts sent while the threads ended.
fn spawn_at_once(count: usize, stack: usize) -> Result<u64, String> {
    let all_started = Arc::new(Barrier::new(count + 1));
    let threads = (0..count).map(|_| {
        let all_started = all_started.clone();
        let thread = Builder::new().stack_size(stack);
        thread.spawn(move || all_started.wait().is_leader())
    });
    let threads: Result<Vec<_>, _> = threads.collect();
    let threads = threads.map_err(error_text)?;
    let before = tlb_counters().requests;
    all_started.wait();
    for thread in threads {
        thread.join().map_err(error_text)?;
    }
    Ok(tlb_counters().requests - before)
}

/// When many threads end, their stacks are flushed together, by few requests.
fn many_threads_at_once() -> Outcome {
    const COUNT: usize = 500;
    const MOST: u64 = 20;
    // This call makes the kernel free its cached stacks.
    largest_free_run();
    let requests = spawn_at_once(COUNT, SMALLEST)?;
    check(!thread::PREEMPTIVE || requests <= MOST, || {
        format!("{requests} flush requests for {COUNT} stacks, not {MOST} at most")
    })?;
    Ok(format!("{requests} flush requests"))
}

/// Allocates frames until at most `left` are free, and returns them.
fn take_all_but(left: usize) -> Vec<Frames> {
    let free = usage().free.saturating_sub(left);
    let mut taken = Vec::with_capacity(free);
    let more = (0..free).map_while(|_| alloc_frame(UsageKind::Global).ok());
    taken.extend(more);
    taken
}

/// Returns whether `wanted` frames can be allocated at the same time.
fn can_allocate(wanted: usize) -> bool {
    let mut taken = Vec::with_capacity(wanted);
    let more = (0..wanted).map_while(|_| alloc_frame(UsageKind::Global).ok());
    taken.extend(more);
    taken.len() == wanted
}

/// The stacks that fill the kernel's cache, and the memory that is allocated then, in bytes.
const CACHED: usize = 48;
const CACHED_SIZE: usize = 64 * KIB;
const WANTED: usize = CACHED * CACHED_SIZE / 2;

const RW: MappingFlags = MappingFlags::READ.union(MappingFlags::WRITE);

/// The name of a kind of allocation, and a function that returns whether it succeeded.
type Allocation = (&'static str, fn() -> bool);

/// The kinds of allocation, each of [`WANTED`] bytes.
const ALLOCATIONS: [Allocation; 5] = [
    ("frames", || can_allocate(WANTED / PAGE)),
    ("a populated mapping", || {
        Mapping::populated(WANTED, RW).is_ok()
    }),
    ("heap blocks", || {
        let blocks = (0..WANTED / CACHED_SIZE).map(|_| {
            let mut block: Vec<u8> = Vec::new();
            block.try_reserve_exact(CACHED_SIZE / 2).map(|()| block)
        });
        blocks.collect::<Result<Vec<_>, _>>().is_ok()
    }),
    ("pages of a lazy mapping", || {
        Mapping::lazy(WANTED, RW).is_ok_and(|mapping| {
            let pages = (0..WANTED).step_by(PAGE);
            let mut bytes = pages.map(|at| mapping.start() + at);
            // SAFETY: the bytes lie in this mapping, which only this thread uses.
            bytes.all(|byte| unsafe { probe::can_write(byte) })
        })
    }),
    ("a stack of another size", || {
        let thread = Builder::new().stack_size(WANTED).spawn(|| 1);
        thread.and_then(JoinHandle::join) == Ok(1)
    }),
];

/// The kernel frees its cached stacks when any other allocation would fail. On `host` it caches
/// few stacks, and does not free them.
fn cache_is_reclaimed() -> Outcome {
    if !thread::PREEMPTIVE {
        return Ok("not on host".to_string());
    }
    let mapped = || usage().of(UsageKind::VirtMem);
    for (what, allocate) in ALLOCATIONS {
        spawn_at_once(CACHED, CACHED_SIZE)?;
        let before = mapped();
        let taken = take_all_but(64);
        let succeeded = allocate();
        drop(taken);
        check(succeeded, || format!("{what}: out of memory"))?;
        check(mapped() < before, || {
            format!("{what}: {before} frames mapped before, {} after", mapped())
        })?;
    }
    Ok(format!("by {} kinds of allocation", ALLOCATIONS.len()))
}
