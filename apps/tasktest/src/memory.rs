//! Little memory, and what lies below a stack.

use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

use axstd::memory::{self, probe};
use axstd::thread::{self, Builder, JoinHandle};

use crate::report::{Outcome, Report, check};

/// Bytes of a stack.
const SIZE: usize = 32 << 10;

/// Their tests.
pub fn run(report: &mut Report) {
    report.test("memory: a page below each stack", guards);
    report.test("memory: none is an error", none);
}

fn guards() -> Outcome {
    let look = || {
        let bottom = thread::current().stack_bottom();
        let inside = (0..SIZE)
            .step_by(4096)
            .all(|at| probe::can_read(bottom + at));
        let guard = [1, 4096].map(|below| probe::can_read(bottom - below));
        (inside, guard)
    };
    for _ in 0..8 {
        let builder = Builder::new().stack_size(SIZE);
        let found = builder.spawn(look).and_then(JoinHandle::join);
        check(found == Ok((true, [false; 2])), || format!("{found:?}"))?;
    }
    let large = Builder::new().stack_size(usize::MAX).spawn(|| {});
    check(large.is_err(), || "a stack of all addresses".to_string())?;
    Ok("8 stacks".to_string())
}

/// With no frame free, then one more at a time: a thread begins and ends well, or nothing
/// of it is left. Its stack is of a size that the kernel keeps none of.
fn none() -> Outcome {
    const MOST: usize = 64;
    let mut taken = Vec::with_capacity(memory::usage().free);
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
