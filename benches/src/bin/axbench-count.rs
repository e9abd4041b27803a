//! `axbench-count ROW PEER N`: runs a row's load N times on one allocator, and prints how many
//! operations that were. `ours` is our allocator. Without arguments it lists all `ROW PEER`.
//!
//! The instructions of one operation are the difference between a run with N and one with 2N,
//! divided by the difference of their operations.

use std::env;
use std::process::ExitCode;

use axbench::{Done, Exhausted, HeapBench, PageBench, Script, Visit, heap, host, pages};

/// The number of operations of a random load, and its seed.
const RANDOM: usize = 5000;
const SEED: u64 = 0x7e55_e2a3;

/// What the program does: it lists rows and allocators, or runs one row on one allocator.
enum Task {
    List,
    Run {
        row: String,
        peer: String,
        times: usize,
        done: Option<Done>,
    },
}

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let mut task = match words.as_slice() {
        [] => Task::List,
        [row, peer, times] => Task::Run {
            row: row.clone(),
            peer: peer.clone(),
            times: times.parse().unwrap_or(0),
            done: None,
        },
        _ => return fail("usage: axbench-count [ROW PEER N]"),
    };
    host::visit(&mut task);
    match task {
        Task::List => ExitCode::SUCCESS,
        Task::Run { times: 0, .. } => fail(&format!(
            "{}: not a valid N; valid: a number from 1 on",
            words[2]
        )),
        Task::Run {
            row,
            peer,
            done: None,
            ..
        } => fail(&format!(
            "{row} {peer}: unknown row or allocator; axbench-count without arguments lists all"
        )),
        Task::Run {
            done: Some(Err(Exhausted)),
            ..
        } => fail("the allocator is out of memory"),
        Task::Run {
            done: Some(Ok(operations)),
            ..
        } => {
            println!("{operations}");
            ExitCode::SUCCESS
        }
    }
}

/// Prints an error, and returns the exit status.
fn fail(why: &str) -> ExitCode {
    eprintln!("axbench-count: {why}");
    ExitCode::from(2)
}

impl Task {
    /// Runs `load` if it is the one asked for, or lists it.
    fn row(&mut self, name: &str, at: &str, load: impl FnOnce(usize) -> Done) {
        let at = if at.is_empty() { "ours" } else { at };
        match self {
            Task::List => println!("{name} {at}"),
            Task::Run {
                row,
                peer,
                times,
                done,
            } if row == name && peer == at => *done = Some(load(*times)),
            Task::Run { .. } => {}
        }
    }
}

/// Runs a random load `times` times, and returns the number of operations in all.
fn repeat(times: usize, script: &Script, load: impl Fn(&Script) -> Done) -> Done {
    (0..times).try_fold(0, |sum, _| Ok(sum + load(script)?))
}

impl Visit for Task {
    fn pages<A: PageBench>(&mut self, name: &str, alloc: &A) {
        self.row("frame.pair", name, |n| pages::frame_pairs(alloc, n));
        self.row("block_2m.pair", name, |n| pages::large_pairs(alloc, n));
        self.row("frame_bulk.op", name, |n| {
            repeat(n, &pages::bulk(), |script| pages::random(alloc, script))
        });
        self.row("frame_random.op", name, |n| {
            let script = pages::script(SEED, RANDOM);
            repeat(n, &script, |script| pages::random(alloc, script))
        });
    }

    fn heap<A: HeapBench>(&mut self, name: &str, alloc: &A) {
        self.row("heap_64.pair", name, |n| heap::small_pairs(alloc, n));
        self.row("heap_random.op", name, |n| {
            let script = heap::script(SEED, RANDOM);
            repeat(n, &script, |script| heap::random(alloc, script))
        });
    }
}
