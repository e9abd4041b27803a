//! The table of programs that have ended.

use alloc::vec::Vec;

use axstd::println;
use axstd::sync::Mutex;
use axtutor::{Ended, Exit};

use crate::expected::Expectations;

struct Table {
    ended: Vec<Ended>,
    /// The number of ends for which there was no memory.
    lost: usize,
    /// The numbers of the processes that the application has begun. All others were forked.
    begun: Vec<u64>,
}

static TABLE: Mutex<Table> = Mutex::new(Table {
    ended: Vec::new(),
    lost: 0,
    begun: Vec::new(),
});

/// Adds the end of a process. A program may just have used up the memory.
pub fn add(ended: &Ended) {
    let mut table = TABLE.lock();
    match table.ended.try_reserve(1) {
        Ok(()) => table.ended.push(*ended),
        Err(_) => table.lost += 1,
    }
}

/// Says that the application has begun process `id`, so that its end is checked.
pub fn expect(id: u64) {
    TABLE.lock().begun.push(id);
}

/// Prints a row for each program that the application has begun. Returns whether all have ended as
/// expected.
pub fn print(expectations: &Expectations) -> bool {
    let table = TABLE.lock();
    println!("\n  program           calls  faults  mapped KiB  printed  end");
    let mut wrong = 0;
    for id in &table.begun {
        let Some(ended) = table.ended.iter().find(|ended| ended.process == *id) else {
            wrong += 1;
            println!("  process {id}: there was no memory to record its end");
            continue;
        };
        let is_right = expectations.allow(ended.name, ended.exit);
        wrong += usize::from(!is_right);
        println!(
            "  {:<16} {:>6} {:>7} {:>11} {:>8}  {}{}",
            ended.name,
            ended.calls,
            ended.faults,
            ended.resident >> 10,
            ended.printed,
            ended.exit,
            if is_right { "" } else { "   NOT EXPECTED" }
        );
    }
    let killed = |ended: &&Ended| matches!(ended.exit, Exit::Killed(_));
    println!(
        "\n{} {} of {} programs have ended as expected; {} processes, {} of them killed",
        if wrong == 0 { "PASS" } else { "FAIL" },
        table.begun.len() - wrong,
        table.begun.len(),
        table.ended.len() + table.lost,
        table.ended.iter().filter(killed).count(),
    );
    wrong == 0
}
