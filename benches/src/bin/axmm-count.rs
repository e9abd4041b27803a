//! `axmm-count ROW PEER N`: runs a row's load N times on one address space, and prints how many
//! operations that were. `ours` is our address space. Without arguments it lists all
//! `ROW PEER`.
//!
//! What is measured runs in the function `counted`, so that callgrind can count only that.

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
        _ => return fail("usage: axmm-count [ROW PEER N]"),
    };
    aspace::visit(&mut task, |task, peer| {
        task.peer = if peer.is_empty() { "ours" } else { peer };
    });
    match (task.asked, task.done) {
        (None, _) => ExitCode::SUCCESS,
        (Some((_, _, 0)), _) => fail(&format!(
            "{}: not a valid N; valid: a number from 1 on",
            words[2]
        )),
        (Some((row, peer, _)), None) => fail(&format!(
            "{row} {peer}: unknown row or address space; axmm-count without arguments lists all"
        )),
        (_, Some(Err(Refused))) => fail("the address space refused an operation of the load"),
        (_, Some(Ok(operations))) => {
            println!("{operations}");
            ExitCode::SUCCESS
        }
    }
}

/// Prints an error, and returns the exit status.
fn fail(why: &str) -> ExitCode {
    eprintln!("axmm-count: {why}");
    ExitCode::from(2)
}

/// Runs `part`. Not inlined, so that callgrind finds it by its name.
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

/// What the program was asked to do, and the result.
#[derive(Default)]
struct Task {
    /// The row, the address space and the number of times; `None` to list all.
    asked: Option<(String, String, usize)>,
    /// The address space whose rows come next.
    peer: &'static str,
    /// The result of the row that was asked for.
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
