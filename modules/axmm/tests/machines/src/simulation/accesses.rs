//! Accesses of simulated harts to memory, and the page faults that these take.

use std::sync::atomic::Ordering::Relaxed;

use axmm::MappingFlags;
use shuttle::rand::{Rng, thread_rng};

use super::hart::{Hart, Tag, Translation, word_at};
use super::overtakes::Kind;
use super::rules::{Rules, WalkCache};
use super::spaces::{KERNEL, Simulation, any_page};
use super::world::{this_hart, world};
use crate::raw::Rights;
use crate::{KIB4, RO, TestMachine, WRITE, virt};

/// The number of page faults after which one access counts as faulting for ever.
const MOST_FAULTS: usize = 16;

/// Returns what is written to a page: a value that differs for each page, and that is no
/// valid page-table entry.
pub fn stamp(space: usize, vaddr: usize) -> u64 {
    u64::MAX << 40 | (vaddr / KIB4 % (1 << 20) * 16 + space) as u64 | 1
}

/// An access that a hart's TLB has translated.
struct Access {
    space: usize,
    vaddr: usize,
    paddr: usize,
    write: bool,
    /// What the page holds once it has been written.
    stamp: u64,
}

impl<M: TestMachine> Simulation<M> {
    /// Translates `vaddr` as the hardware of this hart may do it. Returns `None` if the run
    /// has failed.
    pub fn translate(&self, space: usize, tag: Tag, vaddr: usize) -> Option<Translation> {
        let world = world();
        let mut hart = world.harts[this_hart()].borrow_mut();
        let root = world.roots.get()[space];
        let translation = hart.translate::<M::Raw>(&world.rules, tag, root, vaddr);
        translation.map_err(|what| world.fail(what)).ok()
    }

    /// Returns an address space that this hart can access now: the one that it is in, or the
    /// kernel's.
    pub fn any_reachable(&self) -> (Tag, usize) {
        let inside = world().harts[this_hart()].borrow().inside;
        match inside {
            Some((asid, space)) if thread_rng().gen_range(0..4) != 0 => (Tag::Asid(asid), space),
            _ => (Tag::Global, KERNEL),
        }
    }

    /// Reads or writes some page.
    pub fn touch(&self) {
        let (tag, space) = self.any_reachable();
        self.touch_page(tag, space, any_page());
    }

    /// Reads or writes a page, if its area allows the access.
    pub fn touch_page(&self, tag: Tag, space: usize, page: usize) {
        let vaddr = Self::page(space, page);
        let fault = |access| self.fault(space, vaddr, access);
        self.touch_stamped(tag, space, vaddr, stamp(space, vaddr), fault);
    }

    /// Reads or writes a page that holds `stamp` or has never been written, if its area allows
    /// the access.
    pub fn touch_stamped(
        &self,
        tag: Tag,
        space: usize,
        vaddr: usize,
        stamp: u64,
        fault: impl Fn(MappingFlags) -> bool,
    ) {
        let write = thread_rng().gen_range(0..2) == 0;
        let allows = |rights: Rights| rights.write || (rights.read && !write);
        let flags = if write { WRITE } else { RO };
        let fault = || fault(flags);
        if let Some(paddr) = self.translate_allowed(space, tag, vaddr, allows, fault) {
            self.access(&Access {
                space,
                vaddr,
                paddr,
                write,
                stamp,
            });
        }
    }

    /// Translates `vaddr` until the TLB has rights that `allows` accepts, with a page fault
    /// before each further attempt. Returns the physical address, or `None` if the fault
    /// handler refuses the access.
    pub fn translate_allowed(
        &self,
        space: usize,
        tag: Tag,
        vaddr: usize,
        allows: impl Fn(Rights) -> bool,
        fault: impl Fn() -> bool,
    ) -> Option<usize> {
        let world = world();
        for _ in 0..MOST_FAULTS {
            let translation = self.translate(space, tag, vaddr)?;
            if let Some((paddr, rights)) = translation.at(vaddr)
                && allows(rights)
            {
                return Some(paddr);
            }
            world.harts[this_hart()]
                .borrow_mut()
                .synchronize(&world.rules);
            if !fault() {
                return None;
            }
        }
        world.fail(format!("{vaddr:#x} faults again and again"));
        None
    }

    /// Handles a page fault. Returns whether the access can be made.
    fn fault(&self, space: usize, vaddr: usize, access: MappingFlags) -> bool {
        let world = world();
        let hart = this_hart();
        let pages = vaddr..vaddr + KIB4;
        world.overtakes.begin(hart, space, pages, Kind::Fault);
        let handle = || self.spaces[space].handle_page_fault(virt(vaddr), access);
        #[cfg(feature = "objects")]
        let handle = || self.with_block_changing(space, vaddr, handle);
        let done = handle();
        world.overtakes.end(hart);
        done
    }

    /// Makes an access, and checks that the TLB's translation is the one in the page table
    /// and that the page holds its own stamp.
    fn access(&self, access: &Access) {
        let world = world();
        let &Access {
            space,
            vaddr,
            paddr,
            write,
            stamp: own,
        } = access;
        if !world.is_changing(space, vaddr)
            && let Err(found) = self.check_table(access)
        {
            return world.fail(found);
        }
        let word = word_at(paddr);
        let found = word.load(Relaxed);
        if found != 0 && found != own {
            return world.fail(format!(
                "hart {} reads {found:#x}, the stamp of another page, at {vaddr:#x} in the \
                 frame {paddr:#x}",
                this_hart()
            ));
        }
        if write {
            word.store(own, Relaxed);
        }
    }

    /// Compares an access with a fresh walk of the page table.
    ///
    /// # Errors
    ///
    /// Fails if the table does not translate the address so, or does not allow the access.
    fn check_table(&self, access: &Access) -> Result<(), String> {
        let world = world();
        let &Access {
            space,
            vaddr,
            paddr,
            write,
            ..
        } = access;
        let rules = Rules {
            walk_cache: WalkCache::None,
            ..world.rules
        };
        let root = world.roots.get()[space];
        let walked = Hart::default().translate::<M::Raw>(&rules, Tag::Global, root, vaddr);
        let walked = walked.map(|translation| translation.at(vaddr));
        let is_allowed = matches!(walked, Ok(Some((frame, rights)))
            if frame == paddr && (rights.write || !write));
        match is_allowed {
            true => Ok(()),
            false => Err(format!(
                "hart {} {} {vaddr:#x} at {paddr:#x}, but the page table says {walked:x?}",
                this_hart(),
                if write { "writes" } else { "reads" },
            )),
        }
    }
}
