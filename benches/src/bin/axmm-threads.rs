//! `axmm-threads`: what two threads get done beside one, a line for each row: its name
//! and the figure. Rows of others have their name behind `@`.

use std::process::ExitCode;

use axbench::threads::{Fenced, Linux, Ours, Pairs, THREADS, Work, times};

fn main() -> ExitCode {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    if processors < THREADS {
        eprintln!("axmm-threads: {processors} processor; {THREADS} are needed");
        return ExitCode::FAILURE;
    }
    for (row, work) in [
        ("threads.fault_one_area", Work::FaultsInOneArea),
        ("threads.fault_area_each", Work::FaultsInAnAreaEach),
        ("threads.map_touch_unmap.1", Work::MapTouchUnmap(1)),
        ("threads.map_touch_unmap.16", Work::MapTouchUnmap(16)),
        ("threads.map_touch_unmap.256", Work::MapTouchUnmap(256)),
    ] {
        if let Some(ours) = Ours::new(work) {
            println!("{row} {:.3}", times(&ours).scaling());
        }
        println!("{row}@linux {:.3}", times(&Linux::new(work)).scaling());
    }
    for (name, fenced) in [
        ("lock-per-area", Fenced::by_area()),
        ("lock-per-table", Fenced::by_table()),
    ] {
        if let Some(fenced) = fenced {
            let scaling = times(&fenced).scaling();
            println!("threads.fault_one_area@{name} {scaling:.3}");
        }
    }
    println!("threads.frame_pair {:.3}", times(&Pairs::new()).dearer());
    ExitCode::SUCCESS
}
