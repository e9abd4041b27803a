//! Threads when no memory is left.

use alloc::format;
use alloc::vec::Vec;

use axstd::memory;
use axstd::thread::{Builder, JoinHandle};

use crate::report::{Outcome, Report, check};

/// The size of a thread's stack in bytes. Other tests use other sizes, so that no cached stack
/// fits.
const SIZE: usize = 28 << 10;

/// Runs the test of this file.
pub fn run(report: &mut Report) {
    report.test("memory: spawn without frames", spawn_without_frames);
}

/// Spawns a thread with no free frame, then with one free frame more each time. Each thread must
/// either run, or be refused and leave nothing allocated.
fn spawn_without_frames() -> Outcome {
    const MOST: usize = 64;
    // A stack that cannot be allocated makes the kernel free its cached stacks.
    let refused = Builder::new().stack_size(usize::MAX / 2).spawn(|| {});
    check(refused.is_err(), || {
        "a stack of half the address space was allocated".into()
    })?;
    let mut taken = Vec::with_capacity(memory::usage().total);
    while let Ok(frame) = memory::alloc_frame(memory::UsageKind::Global) {
        taken.push(frame);
    }
    let (mut refused, mut ran) = (0, 0);
    let outcome = (0..MOST).try_for_each(|_| {
        let before = memory::usage().free;
        let builder = Builder::new().stack_size(SIZE);
        match builder.spawn(|| 1).and_then(JoinHandle::join) {
            Ok(_) => ran += 1,
            Err(memory::AxError::NoMemory) => refused += 1,
            Err(error) => return Err(format!("{error:?}")),
        }
        let after = memory::usage().free;
        taken.pop();
        check(ran > 0 || before == after, || {
            format!("{before} frames free, then {after}")
        })
    });
    drop(taken);
    outcome?;
    check(refused > 0 && ran > 0, || {
        format!("{refused} refused, {ran} ran")
    })?;
    Ok(format!("{refused} refused, {ran} ran"))
}
