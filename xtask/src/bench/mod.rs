//! `bench`: measures what the memory manager costs in instructions, and compares it with
//! other projects.
//!
//! | module | what it holds |
//! |---|---|
//! | `guest` | runs `apps/mmbench` on a machine |
//! | `irqs` | runs `apps/irqbench` on a machine |
//! | `arceos` | runs ArceOS's own crates on the same machine, with the same rows |
//! | `host` | counts allocators and address spaces on the host by callgrind |
//! | `threads` | `bench-threads`: the work of two threads against that of one, in time |
//! | `cost_goals` | the goal of each row's cost, other projects' costs, reasons for a miss |
//! | `hart_goals` | the goals for several harts, and for how long interrupts are disabled |
//! | `report` | the page that shows all results |
//! | `boot` | `bench-boot`: image sizes and boot times |

mod arceos;
pub mod boot;
mod cost_goals;
mod guest;
mod hart_goals;
pub mod host;
mod irqs;
mod report;
pub mod threads;

use std::collections::HashMap;

use crate::failure::Failure;
use crate::machine::Machine;
use crate::options::Options;
use crate::qemu;

/// `bench`: measures on the emulated machine that `ARCH` names. Without `ARCH` it measures on
/// all machines with goals, and host programs too. Prints tables, writes the rows as JSON to
/// `target/bench`, and writes the report on the latest rows of all machines there.
pub fn bench(options: &Options) -> Result<(), Failure> {
    let mut machines = options.emulated()?;
    if options.arch.is_none() {
        machines.retain(|machine| has_goals(machine));
    }
    qemu::set_up(options, &machines)?;
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
    cost_goals::ARCHS.contains(&machine.arch)
}
