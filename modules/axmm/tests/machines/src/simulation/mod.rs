//! Simulated harts whose TLBs keep stale entries as long as the architecture allows, while
//! the harts change the address spaces that they use.
//!
//! Each hart is a thread of shuttle, which runs one hart at a time and picks the next one at
//! random. A switch can happen between two accesses or operations, and within an operation
//! wherever it calls its [`Machine`](axmm::Machine). A seed repeats a run.
//!
//! A TLB is filled only by walks of the real page table ([`hart`]), and each flush drops as
//! little as the architecture manual demands ([`rules`]). Harts enter and leave address
//! spaces by the kernel's own [TLB state](axmm::tlb::state). A run fails if one of these
//! statements is false:
//!
//! - An access uses the translation that the page table holds, unless an operation is
//!   changing that address.
//! - An access never reaches the frame of another page: each page holds a stamp of its own.
//! - A thread that starts on a new stack takes no page fault there. The trap entry pushes to
//!   the stack, so a fault there could not be handled. Another hart has mapped the stack,
//!   beside a page that this hart uses.
//! - A child of a forked address space holds what it held when it was made.
//! - A hart executes the code that was written last. Harts keep the instructions that they
//!   have fetched. Where the architecture has separate caches, a fetch sees a store only
//!   after the code has been cleaned.
//! - A hart that waits in a queue is not overtaken too often ([`overtakes`]).
//! - At the end of a run, a page is mapped only where an area is, and all frames are free.
//!
//! [`Bug`] lists machines that flush too little. Each of them must make runs fail, which
//! shows that the simulation detects such errors.

mod accesses;
mod code;
#[cfg(feature = "objects")]
mod forks;
mod hart;
mod machine;
#[cfg(feature = "objects")]
mod objects;
mod operations;
mod overtakes;
pub mod rules;
pub mod runs;
mod spaces;
mod stacks;
mod world;

use std::pin::Pin;
use std::sync::Arc;

use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::RandomScheduler;
use shuttle::{Config, Runner, thread};

use crate::{TestMachine, frames};
use rules::Rules;
use spaces::Simulation;
use world::World;

/// The number of harts.
const HARTS: usize = 3;
/// The number of random steps that each hart takes.
const STEPS: usize = 10;
/// The size in bytes of the stack of a thread of shuttle.
const THREAD_STACK: usize = 256 << 10;

/// An error of a machine, which the simulation must detect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// The machine is correct.
    None,
    /// A flush does nothing.
    NeverFlushes,
    /// A flush reaches this hart alone.
    FlushesLocallyOnly,
    /// A flush skips the hart with the highest number.
    SkipsLastHart,
    /// Only the first page of a range is flushed.
    FlushesFirstPageOnly,
    /// A flush keeps the pointers to page tables that the hart has cached.
    KeepsWalkCache,
    /// A flush does not wait until the other harts acknowledge it.
    DoesNotWait,
    /// A hart that enters an address space flushes nothing.
    EntersWithoutFlush,
    /// A hart reports that it has left an address space, and goes on using it.
    LeavesTooEarly,
    /// A thread starts on a new stack without a flush.
    StartsWithoutFlush,
    /// Harts keep the instructions that they have fetched.
    KeepsInstructions,
    /// Code is not cleaned.
    DoesNotCleanCode,
}

/// What the harts of a run do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Map, unmap, protect and touch pages, so that page tables are made and freed.
    Tables,
    /// Execute code, start on new stacks, and change the kind of memory as well.
    Code,
    /// Overlapping operations and page faults, so that harts wait in a queue.
    Contention,
    /// Fork the address spaces of user programs, and write to both sides.
    #[cfg(feature = "objects")]
    Forks,
    /// Change a memory object, and use it through several address spaces.
    #[cfg(feature = "objects")]
    Objects,
}

/// The result of a run.
pub struct Outcome {
    /// What went wrong. `None` if the run passed.
    pub failure: Option<String>,
    /// How many times a hart has waited in a queue.
    pub waits: usize,
}

/// Runs harts with the workload that the seed selects. Returns what went wrong, or `None`.
pub fn run<M: TestMachine>(rules: Rules, bug: Bug, seed: u64) -> Option<String> {
    run_workload::<M>(None, rules, bug, seed).failure
}

/// Runs harts with a workload. If it is `None`, the seed selects one.
pub fn run_workload<M: TestMachine>(
    workload: Option<Workload>,
    rules: Rules,
    bug: Bug,
    seed: u64,
) -> Outcome {
    let mut config = Config::new();
    config.stack_size = THREAD_STACK;
    let runner = Runner::new(RandomScheduler::new_from_seed(seed, 1), config);
    let before = frames();
    runner.run(move || simulate::<M>(workload, rules, bug));
    let world = world::take();
    let leak = || {
        let after = frames();
        format!("frames of pages and tables in use: {before:?} before, {after:?} after the run")
    };
    let failure = world.failure.take();
    Outcome {
        failure: failure.or_else(|| (frames() != before).then(leak)),
        waits: world.overtakes.waits(),
    }
}

fn simulate<M: TestMachine>(workload: Option<Workload>, rules: Rules, bug: Bug) {
    let any_workload = || match thread_rng().gen_range(0..8) {
        0 => Workload::Code,
        _ => Workload::Tables,
    };
    world::set(World::new(
        workload.unwrap_or_else(any_workload),
        rules,
        bug,
    ));
    let simulation = Arc::pin(Simulation::<M>::new(&rules));
    #[cfg(feature = "objects")]
    if world::world().workload == Workload::Objects {
        simulation.as_ref().map_object();
    }
    world::world().roots.set(simulation.roots());
    let harts: [_; HARTS] = std::array::from_fn(|hart| {
        let simulation = Pin::clone(&simulation);
        thread::spawn(move || {
            world::set_this_hart(hart);
            simulation.as_ref().run_hart();
        })
    });
    harts.into_iter().for_each(|hart| drop(hart.join()));
    if world::world().failure.borrow().is_none() {
        simulation.check_end();
    }
    #[cfg(feature = "objects")]
    simulation.check_children();
    simulation.leave_all();
}
