//! Stacks of new threads: one hart maps a stack, another starts a thread on it.
//!
//! Before a thread first runs on a stack, axtask flushes what the hart may have cached of its
//! pages (`axhal::tlb::flush_fresh`). Then pushes to the stack must not fault.

use shuttle::rand::{Rng, thread_rng};

use super::hart::Tag;
use super::spaces::{KERNEL, Simulation};
use super::world::{pause, this_hart, world};
use super::{Bug, HARTS};
use crate::{KIB4, RW, TestMachine, virt};

/// The first page of each hart's stack, above all pages that other operations change. The
/// page above a stack is always mapped. With the stack's last page it makes a pair that one
/// TLB entry can hold.
pub const STACKS: [usize; HARTS] = [2048, 2056, 2064];
/// The number of pages of a stack.
pub const STACK: usize = 3;

/// The state of a hart's stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stack {
    /// The stack is not mapped.
    None,
    /// A hart is mapping it.
    Mapping,
    /// The stack is mapped, and no thread has run on it.
    Mapped,
}

impl<M: TestMachine> Simulation<M> {
    /// Maps the stack of some hart, if it is not mapped.
    pub fn map_stack(&self) {
        let hart = thread_rng().gen_range(0..HARTS);
        let world = world();
        let stack = &world.stacks[hart];
        if stack.get() != Stack::None {
            return;
        }
        stack.set(Stack::Mapping);
        let start = virt(Self::page(KERNEL, STACKS[hart]));
        let mapped = self.spaces[KERNEL].map_alloc(start, STACK * KIB4, RW, true);
        stack.set(match mapped {
            Ok(()) => Stack::Mapped,
            Err(_) => Stack::None,
        });
    }

    /// Pushes to each page of this hart's stack, if it is mapped, and unmaps it.
    pub fn start_on_stack(&self) {
        let world = world();
        let hart = this_hart();
        let stack = &world.stacks[hart];
        if stack.get() != Stack::Mapped {
            return;
        }
        let start = Self::page(KERNEL, STACKS[hart]);
        let pages = start..start + STACK * KIB4;
        if world.bug != Bug::StartsWithoutFlush {
            let mut hart = world.harts[hart].borrow_mut();
            hart.flush_new_stack(&world.rules, &pages);
        }
        for vaddr in pages.clone().rev().step_by(KIB4) {
            pause();
            let Some(translation) = self.translate(KERNEL, Tag::Global, vaddr) else {
                return;
            };
            let rights = translation.at(vaddr).map(|(_, rights)| rights);
            if !rights.is_some_and(|rights| rights.write) {
                return world.fail(format!(
                    "hart {hart}: a push to the new stack at {vaddr:#x} faults"
                ));
            }
        }
        let unmapped = self.spaces[KERNEL].unmap(virt(start), pages.len());
        if unmapped.is_ok() {
            stack.set(Stack::None);
        }
    }

    /// Fills the TLB around this hart's stack. Either hardware translates a page of the stack
    /// ahead of an access, or the hart accesses the page above the stack, or a page of the
    /// stack while it is not mapped.
    pub fn touch_at_stack(&self) {
        let stack = STACKS[this_hart()];
        if thread_rng().gen_range(0..2) == 0 {
            let ahead = Self::page(KERNEL, stack + thread_rng().gen_range(0..STACK));
            self.translate(KERNEL, Tag::Global, ahead);
            return;
        }
        let page = match world().stacks[this_hart()].get() {
            Stack::None => stack + thread_rng().gen_range(0..=STACK),
            _ => stack + STACK,
        };
        self.touch_page(Tag::Global, KERNEL, page);
    }
}
