//! Stacks: their sizes, what lies below them, work that is larger than one, and what
//! becomes of them when many threads end.

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

use crate::report::{Outcome, Report, check};

const PAGE: usize = 4096;
const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
/// The least that a stack has.
const LEAST: usize = 16 * KIB;
/// Where no other is asked for.
const USUAL: usize = 256 * KIB;
/// Bytes below every stack where nothing is mapped, at least.
const GUARD: usize = MIB;

/// Their tests.
pub fn run(report: &mut Report) {
    report.test("stacks: as large as asked for", sizes);
    report.test("stacks: a guard zone below each", guards);
    report.test("stacks: work of any size", work);
    report.test("stacks: 500 threads end", many_end);
    report.test("stacks: kept ones go back", kept_go_back);
}

fn said(error: AxError) -> String {
    format!("{error:?}")
}

/// Fills an array of so many bytes on the stack, and adds it up.
#[inline(never)]
fn fill<const SIZE: usize>() -> usize {
    let array = black_box([1_u8; SIZE]);
    black_box(&array)
        .iter()
        .map(|byte| usize::from(*byte))
        .sum()
}

/// Runs `work` in a thread with a stack of this size, all of which must be there.
fn on_stack(size: usize, work: fn() -> usize) -> Result<usize, String> {
    let whole = size.max(LEAST).next_multiple_of(PAGE);
    let all = move || {
        let bottom = thread::current().stack_bottom();
        let mut pages = (0..whole).step_by(PAGE);
        (pages.all(|at| probe::can_read(bottom + at)), work())
    };
    let thread = Builder::new().stack_size(size).spawn(all);
    let (is_there, result) = thread.and_then(JoinHandle::join).map_err(said)?;
    check(is_there, || format!("{size} bytes: not all are there"))?;
    Ok(result)
}

fn sizes() -> Outcome {
    type Case = (usize, fn() -> usize, usize);
    let cases: [Case; 6] = [
        (0, fill::<{ 4 * KIB }>, 4 * KIB),
        (1, fill::<{ 8 * KIB }>, 8 * KIB),
        (17_001, fill::<{ 12 * KIB }>, 12 * KIB),
        (USUAL, fill::<{ 200 * KIB }>, 200 * KIB),
        (MIB, fill::<{ 1000 * KIB }>, 1000 * KIB),
        (MIB + 1, fill::<{ 1000 * KIB }>, 1000 * KIB),
    ];
    for (size, work, wanted) in cases {
        let sum = on_stack(size, work)?;
        check(sum == wanted, || format!("{size}: {sum}"))?;
    }
    let sum = thread::spawn(fill::<{ 200 * KIB }>).join().map_err(said)?;
    check(sum == 200 * KIB, || format!("by default: {sum}"))?;
    let sum = fill::<{ 100 * KIB }>();
    check(sum == 100 * KIB, || format!("main: {sum}"))?;
    for size in [1 << 40, usize::MAX / 2, usize::MAX - PAGE, usize::MAX] {
        let refused = Builder::new().stack_size(size).spawn(|| {}).err();
        check(refused == Some(AxError::NoMemory), || {
            format!("{size:#x} bytes: {refused:?}")
        })?;
    }
    Ok("from 0 bytes to 1 MiB, 4 too large".to_string())
}

fn guards() -> Outcome {
    const SIZE: usize = 32 * KIB;
    let look = || {
        let bottom = thread::current().stack_bottom();
        let mut below = (1..=GUARD).step_by(PAGE).chain([GUARD]);
        below.find(|below| probe::can_read(bottom - below))
    };
    for size in [LEAST, SIZE, USUAL] {
        let thread = Builder::new().stack_size(size).spawn(look);
        let found = thread.and_then(JoinHandle::join).map_err(said)?;
        check(found.is_none(), || {
            format!("{size}: {found:?} bytes below can be read")
        })?;
    }
    Ok("1 MiB below each of 3".to_string())
}

/// Gives `SIZE` bytes away with a thread's work, which adds them up.
#[inline(never)]
fn carry<const SIZE: usize>(stack: usize) -> Result<(), String> {
    let load = black_box([1_u8; SIZE]);
    let add_up = move || load.iter().map(|byte| usize::from(*byte)).sum();
    let thread = Builder::new().stack_size(stack).spawn(add_up);
    let sum: usize = thread.and_then(JoinHandle::join).map_err(said)?;
    check(sum == SIZE, || format!("{SIZE} bytes: {sum}"))
}

fn work() -> Outcome {
    carry::<900>(LEAST)?;
    carry::<{ 9 * KIB }>(LEAST)?;
    carry::<{ 40 * KIB }>(LEAST)?;
    carry::<{ 40 * KIB }>(USUAL)?;
    let large = Builder::new().stack_size(8 * MIB);
    let large = large.spawn(|| carry::<MIB>(LEAST));
    large.and_then(JoinHandle::join).map_err(said)??;
    Ok("900 bytes to 1 MiB".to_string())
}

/// Begins `count` threads, all of which are there at once, and waits until they have ended.
/// Returns how often a hart has made others forget something meanwhile.
fn at_once(count: usize, stack: usize) -> Result<u64, String> {
    let all_there = Arc::new(Barrier::new(count + 1));
    let threads = (0..count).map(|_| {
        let all_there = all_there.clone();
        let thread = Builder::new().stack_size(stack);
        thread.spawn(move || all_there.wait().is_leader())
    });
    let threads: Result<Vec<_>, _> = threads.collect();
    let threads = threads.map_err(said)?;
    let before = tlb_counters().requests;
    all_there.wait();
    for thread in threads {
        thread.join().map_err(said)?;
    }
    Ok(tlb_counters().requests - before)
}

fn many_end() -> Outcome {
    const COUNT: usize = 500;
    const MOST: u64 = 20;
    // Stacks that are kept already go back.
    largest_free_run();
    let requests = at_once(COUNT, LEAST)?;
    check(!thread::PREEMPTIVE || requests <= MOST, || {
        format!("{requests} requests to forget stacks")
    })?;
    Ok(format!("{requests} requests to forget their stacks"))
}

/// Takes frames as long as more than `left` are free.
fn take_all_but(left: usize) -> Vec<Frames> {
    let free = usage().free.saturating_sub(left);
    let mut taken = Vec::with_capacity(free);
    let more = (0..free).map_while(|_| alloc_frame(UsageKind::Global).ok());
    taken.extend(more);
    taken
}

/// Whether so many frames can be had.
fn frames_left(wanted: usize) -> bool {
    let mut taken = Vec::with_capacity(wanted);
    let more = (0..wanted).map_while(|_| alloc_frame(UsageKind::Global).ok());
    taken.extend(more);
    taken.len() == wanted
}

/// Stacks that are kept for the next threads are memory for whatever needs some: frames,
/// mappings, blocks of the heap, other stacks. A process keeps few, and those it does not
/// give back.
fn kept_go_back() -> Outcome {
    if !thread::PREEMPTIVE {
        return Ok("not in a process".to_string());
    }
    const COUNT: usize = 48;
    const SIZE: usize = 64 * KIB;
    const WANTED: usize = COUNT * SIZE / 2;
    let mapped = || usage().of(UsageKind::VirtMem);
    type Use = (&'static str, fn() -> bool);
    let uses: [Use; 5] = [
        ("frames", || frames_left(WANTED / PAGE)),
        ("a mapping", || {
            let rights = MappingFlags::READ | MappingFlags::WRITE;
            Mapping::populated(WANTED, rights).is_ok()
        }),
        ("the heap", || {
            let blocks = (0..WANTED / SIZE).map(|_| {
                let mut block: Vec<u8> = Vec::new();
                block.try_reserve_exact(SIZE / 2).map(|()| block)
            });
            blocks.collect::<Result<Vec<_>, _>>().is_ok()
        }),
        ("pages at first touch", || {
            let rights = MappingFlags::READ | MappingFlags::WRITE;
            Mapping::lazy(WANTED, rights).is_ok_and(|mapping| {
                let pages = (0..WANTED).step_by(PAGE);
                let mut bytes = pages.map(|at| mapping.start() + at);
                // SAFETY: the bytes are this mapping's, and nothing else uses them.
                bytes.all(|byte| unsafe { probe::can_write(byte) })
            })
        }),
        ("another stack", || {
            let thread = Builder::new().stack_size(WANTED).spawn(|| 1);
            thread.and_then(JoinHandle::join) == Ok(1)
        }),
    ];
    for (what, use_it) in uses {
        at_once(COUNT, SIZE)?;
        let kept = mapped();
        let taken = take_all_but(64);
        let could = use_it();
        drop(taken);
        check(could, || format!("{what}: no memory"))?;
        check(mapped() < kept, || {
            format!("{what}: {kept} frames mapped before, {} after", mapped())
        })?;
    }
    Ok(format!("to {} kinds of use", uses.len()))
}
