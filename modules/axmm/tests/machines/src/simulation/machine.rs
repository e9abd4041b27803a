//! The [`Machine`] of simulated harts.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;

use axmm::Machine;
use memory_addr::PhysAddr;

use super::hart::{Request, word_at};
use super::world::{pause, this_hart, world};
use super::{Bug, HARTS};
use crate::{KIB4, RAM, TestMachine};

/// A machine with the page tables of `M`, whose harts are simulated.
pub struct Simulated<M>(PhantomData<fn() -> M>);

// SAFETY: each thread of shuttle gets a number of its own below `HARTS` before it uses the
// machine, and keeps it.
unsafe impl<M: TestMachine> Machine for Simulated<M> {
    axmm::page_tables_of!(M);

    fn publish_entries() {
        let world = world();
        world.check(world.overtakes.start(this_hart()));
        pause();
    }

    fn flush(harts: u64, pages: Range<usize>) {
        let world = world();
        world.check(world.overtakes.start(this_hart()));
        if !world.is_over() {
            world.send(harts, &Request::Flush(pages));
            pause();
        }
    }

    fn flush_local(pages: Range<usize>) {
        let world = world();
        world.check(world.overtakes.start(this_hart()));
        world.carry_out(this_hart(), &Request::Flush(pages));
        pause();
    }

    fn needs_cleaning() -> bool {
        world().rules.needs_cleaning
    }

    fn clean_code(paddr: PhysAddr, len: usize) {
        let world = world();
        if world.bug != Bug::DoesNotCleanCode {
            let pages = paddr.as_usize()..paddr.as_usize() + len;
            for page in pages.step_by(KIB4).filter(|page| RAM.contains(page)) {
                let word = word_at(page).load(Relaxed);
                world.cleaned.borrow_mut().insert(page, word);
            }
        }
        pause();
    }

    fn sync_icache() {
        let world = world();
        if world.bug != Bug::KeepsInstructions && !world.is_over() {
            world.send(u64::MAX, &Request::FetchAnew);
        }
        pause();
    }

    type IrqGuard = ();

    fn disable_irqs() {
        let world = world();
        world.check(world.overtakes.disable_irqs(this_hart()));
    }

    type PreemptGuard = PreemptGuard;

    fn disable_preemption() -> PreemptGuard {
        world().overtakes.disable_preemption(this_hart());
        PreemptGuard
    }

    fn harts() -> usize {
        HARTS
    }

    fn hart() -> usize {
        this_hart()
    }

    fn relax(turn: usize) {
        let world = world();
        world.check(world.overtakes.relax(this_hart(), turn));
        world.acknowledge();
        pause();
    }
}

/// Keeps other threads from running on a simulated hart.
pub struct PreemptGuard;

impl Drop for PreemptGuard {
    fn drop(&mut self) {
        world().overtakes.enable_preemption(this_hart());
    }
}
