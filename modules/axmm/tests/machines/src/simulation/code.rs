//! Code that simulated harts write and execute.

use std::sync::atomic::Ordering::Relaxed;

use shuttle::rand::{Rng, thread_rng};

use super::hart::{Tag, word_at};
use super::spaces::{KERNEL, Simulation, any_page};
use super::world::{this_hart, world};
use crate::{EXECUTE, KIB4, RW, RX, TestMachine, WRITE, virt};

/// The page of the kernel's address space whose code is written again and again.
pub const CODE: usize = 2080;

/// The state of the page [`CODE`].
#[derive(Clone, Copy, Debug, Default)]
pub struct CodePage {
    /// How many times code has been written.
    version: u64,
    /// Whether a hart is writing to it. It stays set where the page could not be made
    /// executable again.
    is_changing: bool,
}

impl<M: TestMachine> Simulation<M> {
    /// Executes the first instruction of some page, if its area allows that.
    pub fn execute(&self) {
        let (tag, space, page) = match thread_rng().gen_range(0..2) {
            0 => (Tag::Global, KERNEL, CODE),
            _ => {
                let (tag, space) = self.any_reachable();
                (tag, space, any_page())
            }
        };
        let vaddr = Self::page(space, page);
        let fault = || self.spaces[space].handle_page_fault(virt(vaddr), EXECUTE);
        let paddr = self.translate_allowed(space, tag, vaddr, |rights| rights.execute, fault);
        if let Some(paddr) = paddr {
            self.fetch(space, vaddr, paddr);
        }
    }

    /// Fetches an instruction. It must be the one that was written last, unless an operation
    /// is changing the page.
    fn fetch(&self, space: usize, vaddr: usize, paddr: usize) {
        let world = world();
        let mut hart = world.harts[this_hart()].borrow_mut();
        let fetched = hart.fetch(paddr, || world.fetch(paddr));
        let written = word_at(paddr).load(Relaxed);
        if fetched != written && !world.is_changing(space, vaddr) {
            let hart = this_hart();
            world.fail(format!(
                "hart {hart} executes {fetched:#x} at {vaddr:#x}, where {written:#x} was \
                 written last"
            ));
        }
    }

    /// Writes other code to the page [`CODE`], unless another hart is doing that.
    pub fn write_code(&self) {
        let world = world();
        let CodePage {
            version,
            is_changing,
        } = world.code.get();
        if is_changing {
            return;
        }
        let version_after = version + 1;
        world.code.set(CodePage {
            version: version_after,
            is_changing: true,
        });
        let start = Self::page(KERNEL, CODE);
        let page = start..start + KIB4;
        world.changing[KERNEL].borrow_mut().push(page.clone());
        let kernel = &self.spaces[KERNEL];
        let protect = |flags| kernel.protect(virt(start), KIB4, flags).is_ok();
        if protect(RW) && kernel.handle_page_fault(virt(start), WRITE) {
            let found = kernel.query(virt(start)).expect("no hart unmaps the code");
            let code = u64::MAX << 40 | version << 1 | 1;
            word_at(found.paddr.as_usize()).store(code, Relaxed);
        }
        let is_executable = protect(RX);
        world.changing[KERNEL]
            .borrow_mut()
            .retain(|range| *range != page);
        world.code.set(CodePage {
            version: version_after,
            is_changing: !is_executable,
        });
    }
}
