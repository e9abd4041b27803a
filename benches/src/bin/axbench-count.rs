//! `axbench-count ROW PEER N`: does a row's load N times on one allocator (ours is
//! `ours`), says on standard output how many operations those were, and ends.
//! Whoever counts the instructions of N and of 2N times has those of an operation
//! in the difference. Without arguments it lists each `ROW PEER` there is.

use std::env;
use std::process::ExitCode;

use axbench::{Done, Exhausted, HeapBench, PageBench, Script, Visit, heap, host, pages};

/// Operations of a random load.
const RANDOM: usize = 5000;
const SEED: u64 = 0x7e55_e2a3;

/// The row and the allocator asked for, and what came of it; or the list.
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
        _ => return wrong("usage: axbench-count [ROW PEER N]"),
    };
    host::visit(&mut task);
    match task {
        Task::List => ExitCode::SUCCESS,
        Task::Run { times: 0, .. } => wrong("N is not a number of times"),
        Task::Run { done: None, .. } => wrong("no such row of such an allocator"),
        Task::Run {
            done: Some(Err(Exhausted)),
            ..
        } => wrong("out of memory"),
        Task::Run {
            done: Some(Ok(operations)),
            ..
        } => {
            println!("{operations}");
            ExitCode::SUCCESS
        }
    }
}

fn wrong(why: &str) -> ExitCode {
    eprintln!("axbench-count: {why}");
    ExitCode::from(2)
}

impl Task {
    /// Does `load` if it is the one asked for.
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

/// The operations of `times` times the same random load.
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
