//! `object-threads`: what two threads get done with memory objects in the time of one. Prints the
//! rows as `axmm-threads` does.

use std::process::ExitCode;

use axbench::threads::{Load, ObjectFaults, Processors, SiblingWrites, THREADS, times};

fn main() -> ExitCode {
    let Some(processors) = Processors::available() else {
        eprintln!("object-threads: {THREADS} processors are needed, and there are fewer");
        return ExitCode::FAILURE;
    };
    match rows(processors) {
        Some(()) => ExitCode::SUCCESS,
        None => {
            eprintln!("object-threads: there is no memory for the objects");
            ExitCode::FAILURE
        }
    }
}

/// Measures and prints; `None` without memory.
fn rows(processors: Processors) -> Option<()> {
    let loads = [ObjectFaults::in_one_space()?, ObjectFaults::in_one_space()?];
    row_of("threads.object_fault", loads.each_ref(), processors);
    let each = || ObjectFaults::in_a_space_each();
    let loads = [each()?, each()?];
    row_of(
        "threads.object_fault_space_each",
        loads.each_ref(),
        processors,
    );
    let loads = [
        SiblingWrites::of_one_object()?,
        SiblingWrites::of_one_object()?,
    ];
    row_of("threads.snapshot_write", loads.each_ref(), processors);
    let loads = [SiblingWrites::apart()?, SiblingWrites::apart()?];
    row_of("threads.snapshot_write@apart", loads.each_ref(), processors);
    Some(())
}

/// Prints how many times the work of one thread two do.
fn row_of(row: &str, loads: [&impl Load; THREADS], processors: Processors) {
    if let Some(times) = times(loads, processors) {
        println!("{row} {:.3}", times.scaling());
    }
}
