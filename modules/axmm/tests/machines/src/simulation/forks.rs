//! Simulated harts that fork user programs' address spaces while other harts use them.

use std::sync::{Mutex, MutexGuard, PoisonError};

use axmm::AddrSpace;
use shuttle::rand::{Rng, thread_rng};

use super::machine::Simulated;
use super::overtakes::Kind;
use super::spaces::{PAGES, Simulation};
use super::world::{this_hart, world};
use crate::{KIB4, TestMachine, virt};

/// The most children of a simulation.
const MOST_CHILDREN: usize = 4;

/// What is written to a child: no page of a parent ever holds it.
const OF_CHILDREN: u64 = u64::MAX << 40;

/// An address space that was forked, and what its pages held then. No hart enters it.
struct Child<M: TestMachine> {
    parent: usize,
    space: AddrSpace<Simulated<M>>,
    /// The first words of [`PAGES`]. `None` where nothing was mapped.
    words: [Option<u64>; PAGES.len()],
}

/// The children of a simulation.
pub struct Children<M: TestMachine>(Mutex<Vec<Child<M>>>);

impl<M: TestMachine> Default for Children<M> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<M: TestMachine> Children<M> {
    /// Returns all children. The caller drops the guard before other harts may run.
    fn all(&self) -> MutexGuard<'_, Vec<Child<M>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M: TestMachine> Child<M> {
    fn word(&self, index: usize) -> Option<u64> {
        let vaddr = Simulation::<M>::page(self.parent, PAGES[index]);
        self.space.read_val(virt(vaddr)).ok()
    }

    /// Checks that the child holds what it held when it was made, and what was written to it.
    fn check(&self) {
        for (index, page) in PAGES.into_iter().enumerate() {
            let (found, expected) = (self.word(index), self.words[index]);
            if found != expected {
                let parent = self.parent;
                world().fail(format!(
                    "page {page} of a child of {parent} holds {found:x?} and not {expected:x?}"
                ));
            }
        }
    }
}

impl<M: TestMachine> Simulation<M> {
    /// Forks an address space, and keeps the child, or drops it at once.
    pub fn fork(&self, space: usize) {
        let world = world();
        let aspace = &self.spaces[space];
        let all = aspace.base().as_usize()..aspace.end().as_usize();
        let hart = this_hart();
        world.changing[space].borrow_mut().push(all.clone());
        world
            .overtakes
            .begin(hart, space, all.clone(), Kind::Change);
        let child = aspace.fork();
        world.overtakes.end(hart);
        let mut changing = world.changing[space].borrow_mut();
        let at = changing.iter().position(|other| *other == all);
        changing.swap_remove(at.expect("it was added before the fork"));
        drop(changing);
        let Ok(child) = child else {
            return world.fail("there is memory for a fork".into());
        };
        let mut child = Child {
            parent: space,
            space: child,
            words: [None; PAGES.len()],
        };
        for index in 0..PAGES.len() {
            child.words[index] = child.word(index);
        }
        if self.children.all().len() < MOST_CHILDREN {
            self.children.all().push(child);
        }
    }

    /// Writes to a child, checks it, and drops it or puts it back.
    pub fn use_child(&self) {
        let mut children = self.children.all();
        if children.is_empty() {
            return;
        }
        let at = thread_rng().gen_range(0..children.len());
        let mut child = children.swap_remove(at);
        drop(children);
        child.check();
        let index = thread_rng().gen_range(0..PAGES.len());
        let vaddr = Self::page(child.parent, PAGES[index]);
        let value = OF_CHILDREN | index as u64;
        if child.space.write_val(virt(vaddr), &value).is_ok() {
            child.words[index] = Some(value);
        }
        child.check();
        if thread_rng().gen_range(0..3) != 0 {
            self.children.all().push(child);
        }
    }

    /// Checks all children at the end of a run, and drops them.
    pub fn check_children(&self) {
        let children = std::mem::take(&mut *self.children.all());
        children.iter().for_each(Child::check);
    }

    /// Marks what a page fault changes that copies a page or a page table, until it is resolved.
    pub fn with_block_changing<R>(&self, space: usize, vaddr: usize, f: impl FnOnce() -> R) -> R {
        let world = world();
        let page = vaddr & !(KIB4 - 1);
        let block = page..page + KIB4;
        world.changing[space].borrow_mut().push(block.clone());
        let result = f();
        let mut changing = world.changing[space].borrow_mut();
        let at = changing.iter().position(|other| *other == block);
        changing.swap_remove(at.expect("it was added before the fault"));
        result
    }
}
