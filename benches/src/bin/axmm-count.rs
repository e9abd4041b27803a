//! `axmm-count ROW PEER N`: does a row's load N times on one address space (ours is
//! `ours`), says on standard output how many operations those were, and ends. What
//! counts of it happens in `counted`, which callgrind can be told to look at
//! alone. Without arguments it lists each `ROW PEER` there is.

use std::env;
use std::process::ExitCode;

use axbench::aspace;
use axbench_aspace::{Done, Refused, Space, Table, Watch};

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let mut task = match words.as_slice() {
        [] => Task::default(),
        [row, peer, times] => Task {
            asked: Some((row.clone(), peer.clone(), times.parse().unwrap_or(0))),
            ..Task::default()
        },
        _ => return wrong("usage: axmm-count [ROW PEER N]"),
    };
    aspace::visit(&mut task, |task, peer| {
        task.peer = if peer.is_empty() { "ours" } else { peer };
    });
    match (task.asked, task.done) {
        (None, _) => ExitCode::SUCCESS,
        (Some((_, _, 0)), _) => wrong("N is not a number of times"),
        (_, None) => wrong("no such row of such an address space"),
        (_, Some(Err(Refused))) => wrong("refused"),
        (_, Some(Ok(operations))) => {
            println!("{operations}");
            ExitCode::SUCCESS
        }
    }
}

fn wrong(why: &str) -> ExitCode {
    eprintln!("axmm-count: {why}");
    ExitCode::from(2)
}

/// Does `part`, where callgrind sees it.
#[inline(never)]
fn counted<R>(part: impl FnOnce() -> R) -> R {
    part()
}

struct Counted;

impl Watch for Counted {
    fn time<R>(&mut self, part: impl FnOnce() -> R) -> R {
        counted(part)
    }
}

/// The row, the address space and the number of times asked for, none for the
/// list; whose turn it is; and what came of it.
#[derive(Default)]
struct Task {
    asked: Option<(String, String, usize)>,
    peer: &'static str,
    done: Option<Done>,
}

impl Table for Task {
    type Watch = Counted;

    fn row<S: Space>(
        &mut self,
        name: &str,
        space: &mut S,
        load: impl Fn(&mut S, &mut Self::Watch) -> Done,
    ) {
        match &self.asked {
            None => println!("{name} {}", self.peer),
            Some((row, peer, times)) if row == name && peer == self.peer => {
                let once = |sum, _| Ok(sum + load(space, &mut Counted)?);
                self.done = Some((0..*times).try_fold(0, once));
            }
            Some(_) => {}
        }
    }
}
