//! `memory-set-count ROW PEER N`: does a row's load N times on one memory set, prints how many
//! operations those were, and ends. The peer `ours` is the `memory_set` of this repository, and
//! `memory_set-0.4.1` the published crate. What counts happens in `counted`, to which callgrind can
//! be limited. Without arguments it lists each `ROW PEER` there is.
//!
//! The backend does nothing, so that a figure is the work on areas alone.

use std::env;
use std::hint::black_box;
use std::process::ExitCode;

use memory_addr::VirtAddr;

const PAGE: usize = 4096;

/// From one area to the next: an area of a page and a gap of three.
const APART: usize = 4 * PAGE;

/// The first area's address, and the end of all addresses.
const START: usize = 1 << 41;
const END: usize = 1 << 46;

/// The numbers of areas.
const COUNTS: [usize; 3] = [10, 10_000, 60_000];

/// Operations in a round.
const OPERATIONS: usize = 40;

/// The rows, each of which there is for each number of areas.
const ROWS: [&str; 4] = ["find_free", "map", "unmap", "protect"];

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let done = match words.as_slice() {
        [] => {
            list();
            return ExitCode::SUCCESS;
        }
        [row, peer, times] => run(row, peer, times),
        _ => None,
    };
    match done {
        Some(operations) => {
            println!("{operations}");
            ExitCode::SUCCESS
        }
        None => {
            eprintln!("usage: memory-set-count [ROW PEER N], with a row and a peer of the list");
            ExitCode::from(2)
        }
    }
}

fn list() {
    for row in ROWS {
        for count in COUNTS {
            for peer in [ours::PEER, published::PEER] {
                println!("{row}.{count} {peer}");
            }
        }
    }
}

/// Does a row's load. Returns the number of operations, or `None` if there is no such row or peer.
fn run(row: &str, peer: &str, times: &str) -> Option<usize> {
    let (row, count) = row.split_once('.')?;
    let count = COUNTS
        .into_iter()
        .find(|known| known.to_string() == count)?;
    let rounds = times.parse().ok().filter(|rounds| *rounds > 0)?;
    match peer {
        ours::PEER => ours::run(row, count, rounds),
        published::PEER => published::run(row, count, rounds),
        _ => None,
    }
}

/// Does `part`, where callgrind sees it.
#[inline(never)]
fn counted<R>(part: impl FnOnce() -> R) -> R {
    part()
}

/// Returns the address of the area that operation `number` works on. 7919 is a prime, so that the
/// operations are all over the set.
fn place(number: usize, count: usize) -> usize {
    START + number * 7919 % count * APART
}

/// The loads, for the set of one crate.
macro_rules! peer {
    ($module:ident, $crate_name:ident, $peer:literal) => {
        mod $module {
            use memory_addr::VirtAddrRange;
            use $crate_name::{MappingBackend, MemoryArea, MemorySet};

            use super::*;

            pub const PEER: &str = $peer;

            #[derive(Clone)]
            struct Nothing;

            impl MappingBackend for Nothing {
                type Addr = VirtAddr;
                type Flags = u8;
                type PageTable = ();

                fn map(&self, _: VirtAddr, _: usize, _: u8, (): &mut ()) -> bool {
                    true
                }

                fn unmap(&self, _: VirtAddr, _: usize, (): &mut ()) -> bool {
                    true
                }

                fn protect(&self, _: VirtAddr, _: usize, _: u8, (): &mut ()) -> bool {
                    true
                }
            }

            fn map(set: &mut MemorySet<Nothing>, start: usize) {
                let area = MemoryArea::new(start.into(), PAGE, 1, Nothing);
                let _ = set.map(area, &mut (), false);
            }

            fn unmap(set: &mut MemorySet<Nothing>, start: usize) {
                let _ = set.unmap(start.into(), PAGE, &mut ());
            }

            /// Does `rounds` rounds of a row with `count` areas.
            pub fn run(row: &str, count: usize, rounds: usize) -> Option<usize> {
                let mut set = MemorySet::new();
                (0..count).for_each(|number| map(&mut set, START + number * APART));
                let limit = VirtAddrRange::new(START.into(), END.into());
                for number in 0..rounds * OPERATIONS {
                    let area = place(number, count);
                    match row {
                        // No gap between two areas is wide enough.
                        "find_free" => {
                            let find = || set.find_free_area(START.into(), APART, limit, PAGE);
                            black_box(counted(find));
                        }
                        "map" => {
                            counted(|| map(&mut set, area + 2 * PAGE));
                            unmap(&mut set, area + 2 * PAGE);
                        }
                        "unmap" => {
                            counted(|| unmap(&mut set, area));
                            map(&mut set, area);
                        }
                        "protect" => {
                            let update = |flags: u8| Some(flags ^ 2);
                            let _ = counted(|| set.protect(area.into(), PAGE, update, &mut ()));
                        }
                        _ => return None,
                    }
                }
                Some(rounds * OPERATIONS)
            }
        }
    };
}

peer!(ours, memory_set, "ours");
peer!(published, memory_set_of_upstream, "memory_set-0.4.1");
