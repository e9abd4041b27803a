//! `axmm-threads`: what two threads get done in the time of one, a line for each row: its name
//! and the figure. Rows of others have their name behind `@`. A row is missing if the
//! processors never were cores of their own while it was measured. With too few processors the
//! program says so and ends with an error.

use std::process::ExitCode;

use axbench::threads::{
    Apart, Fenced, Linux, Load, Ours, Pairs, Processors, THREADS, Work, small_pages_only, times,
};

/// The rows that Linux has too.
const ROWS: [(&str, Work); 5] = [
    (FAULTS, Work::FaultsInOneArea),
    ("threads.fault_area_each", Work::FaultsInAnAreaEach),
    ("threads.map_touch_unmap.1", Work::MapTouchUnmap(1)),
    ("threads.map_touch_unmap.16", Work::MapTouchUnmap(16)),
    ("threads.map_touch_unmap.256", Work::MapTouchUnmap(256)),
];
const FAULTS: &str = "threads.fault_one_area";

fn main() -> ExitCode {
    let Some(processors) = Processors::available() else {
        eprintln!("axmm-threads: {THREADS} processors are needed, and there are fewer");
        return ExitCode::FAILURE;
    };
    if let Err(error) = small_pages_only() {
        eprintln!("axmm-threads: huge pages cannot be switched off: {error}");
        return ExitCode::FAILURE;
    }
    match rows(processors) {
        Some(()) => ExitCode::SUCCESS,
        None => {
            eprintln!("axmm-threads: there is no memory for an address space");
            ExitCode::FAILURE
        }
    }
}

/// Measures and prints; `None` without memory.
fn rows(processors: Processors) -> Option<()> {
    for (row, work) in ROWS {
        let ours = [Ours::new(work)?, Ours::new(work)?];
        row_of(row, ours.each_ref(), processors);
        let apart = [Apart::new(work)?, Apart::new(work)?];
        row_of(&format!("{row}@apart"), apart.each_ref(), processors);
        let linux = [Linux::new(work), Linux::new(work)];
        row_of(&format!("{row}@linux"), linux.each_ref(), processors);
    }
    for pages in [1, 16, 256] {
        let work = Work::MapTouchUnmapNearby(pages);
        let nearby = [Ours::new(work)?, Ours::new(work)?];
        let row = format!("threads.map_touch_unmap.{pages}@one-shard");
        row_of(&row, nearby.each_ref(), processors);
    }
    row_of(
        &format!("{FAULTS}@lock-per-area"),
        [&Fenced::by_area()?, &Fenced::by_area()?],
        processors,
    );
    row_of(
        &format!("{FAULTS}@lock-per-table"),
        [&Fenced::by_table()?, &Fenced::by_table()?],
        processors,
    );
    let pairs = [Pairs::new(), Pairs::new()];
    if let Some(times) = times(pairs.each_ref(), processors) {
        println!("threads.frame_pair {:.3}", times.dearer());
    }
    Some(())
}

/// Prints how many times the work of one thread two do.
fn row_of(row: &str, loads: [&impl Load; THREADS], processors: Processors) {
    if let Some(times) = times(loads, processors) {
        println!("{row} {:.3}", times.scaling());
    }
}
