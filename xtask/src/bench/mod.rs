//! `bench`: what the memory manager costs in instructions, beside other people's.
//!
//! | room | has |
//! |---|---|
//! | `guest` | `apps/mmbench` on a machine |
//! | `irqs` | `apps/irqbench` on a machine |
//! | `arceos` | ArceOS's own crates on the same machine, the same rows |
//! | `host` | allocators and address spaces on the host, counted by callgrind |
//! | `threads` | `bench-threads`: what two threads get done beside one, in time |
//! | `aims` | what is aimed at with many harts, and for interrupts |
//! | `goals` | what each row is to cost, what others take, and why it may fall short |
//! | `report` | the page of all that |
//! | `boot` | `bench-boot` |

mod aims;
mod arceos;
pub mod boot;
mod goals;
mod guest;
pub mod host;
mod irqs;
mod report;
pub mod threads;

use std::collections::HashMap;

use crate::failure::Failure;
use crate::machine::{MACHINES, Machine};
use crate::options::Options;
use crate::qemu;

/// Measures on the machine asked for, or else on all that goals are set for and on
/// the host; prints tables, and writes the rows as JSON and the report of all that
/// lies in `target/bench`.
pub fn bench(options: &Options) -> Result<(), Failure> {
    options.emulated()?;
    let machines = match options.arch {
        Some(machine) => vec![machine],
        None => MACHINES
            .iter()
            .filter(|machine| has_goals(machine))
            .collect(),
    };
    qemu::set_up(&machines)?;
    let mut absent = HashMap::new();
    for machine in machines {
        guest::measure(options, machine)?;
        irqs::measure(options, machine)?;
        absent.extend(arceos::measure(options, machine)?.map(|why| (machine.arch, why)));
    }
    if options.arch.is_none() {
        host::measure(options)?;
        threads::measure(options)?;
    }
    say!("the report is {}", report::write(&absent)?.display());
    Ok(())
}

fn has_goals(machine: &Machine) -> bool {
    goals::MACHINES.contains(&machine.arch)
}
