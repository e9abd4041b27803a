//! Simulated harts that use a memory object through two address spaces while it changes.

use std::array;
use std::pin::Pin;

use axmm::vmo::Vmo;
use axmm::{MappingFlags, Sharing};
use shuttle::rand::{Rng, thread_rng};

use super::accesses::stamp;
use super::hart::Tag;
use super::machine::Simulated;
use super::spaces::{KERNEL, SPACES, Simulation, any_page, rights_in};
use super::world::{pause, world};
use crate::{KIB4, RW, TestMachine, virt};

/// The pages of the object.
const PAGES: usize = 4;

/// The page where each address space shows the object. In one it has page tables of its own, and in
/// the other it shares one with memory that is not the object's. The kernel's does not show it.
const STARTS: [usize; SPACES] = [0, 1534, 1100];

/// The address spaces that show the object.
const SHOWING: [usize; 2] = [1, 2];

/// The number of times that other harts may run before a snapshot is looked at again.
const PAUSES: usize = 8;

/// The object of a simulation.
pub struct SharedObject<M: TestMachine>(Vmo<Simulated<M>>);

impl<M: TestMachine> Default for SharedObject<M> {
    fn default() -> Self {
        Self(Vmo::new_resizable(PAGES * KIB4).expect("memory is enough"))
    }
}

impl<M: TestMachine> Simulation<M> {
    /// Shows the object in two address spaces.
    pub fn map_object(self: Pin<&Self>) {
        for space in SHOWING {
            self.map_pages(space, 0, PAGES);
        }
    }

    /// Takes one random step with the object.
    pub fn step_of_objects(self: Pin<&Self>, step: u32) {
        let space = SHOWING[thread_rng().gen_range(0..SHOWING.len())];
        match step {
            4..6 => self.change_object(),
            6..8 => self.take_snapshot(),
            8 => self.map_page_again(space),
            9 => self.unmap(space),
            10 => self.touch(),
            _ => self.touch_object(),
        }
    }

    fn object(&self) -> &Vmo<Simulated<M>> {
        &self.object.0
    }

    fn address(space: usize, page: usize) -> usize {
        Self::page(space, STARTS[space] + page)
    }

    /// Shows pages of the object. That fails if the object is shorter, or the addresses are in use.
    fn map_pages(self: Pin<&Self>, space: usize, first: usize, count: usize) {
        let (start, size) = (virt(Self::address(space, first)), count * KIB4);
        // SAFETY: the address space is a part of the simulation, which does not move.
        let aspace = unsafe { self.map_unchecked(|simulation| &simulation.spaces[space]) };
        let flags = rights_in(space, RW);
        let (object, offset) = (self.get_ref().object(), first * KIB4);
        _ = aspace.map_object(start, size, flags, object, offset, Sharing::Shared);
    }

    /// Shrinks the object, lets it grow, or takes pages out of it.
    fn change_object(&self) {
        let first = thread_rng().gen_range(0..PAGES);
        let rest = first * KIB4..PAGES * KIB4;
        let operation = thread_rng().gen_range(0..4);
        self.with_object_changing(|| match operation {
            0 => _ = self.object().resize(first * KIB4),
            1 => _ = self.object().decommit(rest),
            2 => _ = self.object().zero(first * KIB4..(first + 1) * KIB4),
            _ => _ = self.object().resize(PAGES * KIB4),
        });
    }

    /// Makes a snapshot, and checks that it does not change.
    fn take_snapshot(&self) {
        let mut snapshot = None;
        self.with_object_changing(|| snapshot = self.object().snapshot().ok());
        let Some(snapshot) = snapshot else {
            return world().fail("there is memory for a snapshot".into());
        };
        let words = || -> [_; PAGES] {
            array::from_fn(|page| {
                let mut word = [0; 8];
                snapshot.read(page * KIB4, &mut word).ok().map(|_| word)
            })
        };
        let before = words();
        for _ in 0..PAUSES {
            world().acknowledge();
            pause();
        }
        if words() != before {
            world().fail("a snapshot has changed".into());
        }
    }

    /// Unmaps a page that shows the object, and maps it again.
    fn map_page_again(self: Pin<&Self>, space: usize) {
        let page = thread_rng().gen_range(0..PAGES);
        self.with_object_changing(|| {
            _ = self.spaces[space].unmap(virt(Self::address(space, page)), KIB4);
            self.map_pages(space, page, 1);
        });
    }

    /// Reads or writes a page of the object.
    fn touch_object(&self) {
        let (tag, space) = self.any_reachable();
        if space == KERNEL {
            return self.touch_page(Tag::Global, KERNEL, any_page());
        }
        let page = thread_rng().gen_range(0..PAGES);
        let vaddr = Self::address(space, page);
        let fault = |access: MappingFlags| {
            let mut done = false;
            self.with_object_changing(|| {
                done = self.spaces[space].handle_page_fault(virt(vaddr), access);
            });
            done
        };
        // Each page has one stamp for all address spaces.
        self.touch_stamped(tag, space, vaddr, stamp(SPACES, page * KIB4), fault);
    }

    /// Marks all that shows the object as changing, until `change` returns.
    fn with_object_changing(&self, change: impl FnOnce()) {
        let world = world();
        let pages = |space| Self::address(space, 0)..Self::address(space, PAGES);
        for space in SHOWING {
            world.changing[space].borrow_mut().push(pages(space));
        }
        change();
        for space in SHOWING {
            let mut changing = world.changing[space].borrow_mut();
            let at = changing.iter().position(|other| *other == pages(space));
            changing.swap_remove(at.expect("it was added before the change"));
        }
    }
}
