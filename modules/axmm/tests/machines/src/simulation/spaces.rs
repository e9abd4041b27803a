//! The address spaces of a simulation, and the steps of a hart that enters and leaves them.

use std::pin::Pin;

use axerrno::AxResult;
use axmm::tlb::asid::AsidAllocator;
use axmm::tlb::state::FlushOnEntry;
use axmm::{AddrSpace, MappingFlags};
use shuttle::rand::{Rng, thread_rng};

use super::code::CODE;
use super::hart::Tag;
use super::machine::Simulated;
use super::operations::CONTENDED;
use super::rules::Rules;
use super::stacks::{STACK, STACKS};
use super::world::{pause, this_hart, world};
use super::{Bug, HARTS, STEPS, Workload};
use crate::{KIB4, MIB2, RW, RX, TestMachine, WRITE, virt};

/// The number of address spaces: the kernel's, and those of two user programs.
pub const SPACES: usize = 3;
/// The number of the kernel's address space.
pub const KERNEL: usize = 0;

/// The lowest address of a user program's address space.
const USER_BASE: usize = 64 * MIB2;

/// The pages where operations start. They lie around the ends of two page tables.
pub const PAGES: [usize; 6] = [0, 1, 511, 512, 1023, 1024];

/// The address spaces that harts change and use.
pub struct Simulation<M: TestMachine> {
    /// The ASIDs that user programs' address spaces get when harts enter them.
    asids: AsidAllocator,
    /// The address spaces, by number.
    pub spaces: [AddrSpace<Simulated<M>>; SPACES],
    #[cfg(feature = "objects")]
    pub children: super::forks::Children<M>,
    #[cfg(feature = "objects")]
    pub object: super::objects::SharedObject<M>,
}

/// Returns one of [`PAGES`].
pub fn any_page() -> usize {
    PAGES[thread_rng().gen_range(0..PAGES.len())]
}

/// Returns the rights that a mapping with these `flags` gets in an address space.
pub fn rights_in(space: usize, flags: MappingFlags) -> MappingFlags {
    match space {
        KERNEL => flags,
        _ => flags | MappingFlags::USER,
    }
}

impl<M: TestMachine> Simulation<M> {
    /// Returns address spaces in which all of [`PAGES`] are mapped.
    pub fn new(rules: &Rules) -> Self {
        let space = |number| Self::new_space(number).expect("memory is enough");
        Self {
            asids: AsidAllocator::new(rules.max_asid),
            spaces: std::array::from_fn(space),
            #[cfg(feature = "objects")]
            children: super::forks::Children::default(),
            #[cfg(feature = "objects")]
            object: super::objects::SharedObject::default(),
        }
    }

    fn new_space(number: usize) -> AxResult<AddrSpace<Simulated<M>>> {
        let start = virt(Self::page(number, 0));
        let space = match number {
            KERNEL => AddrSpace::new_empty(start, 8 * MIB2),
            _ => AddrSpace::new_empty_user(start, 8 * MIB2),
        }?;
        let size = (PAGES[PAGES.len() - 1] + 1) * KIB4;
        let flags = rights_in(number, RW);
        space.map_alloc_with(start, size, flags, false, Self::any_grain())?;
        if number == KERNEL {
            space.map_alloc(virt(Self::page(KERNEL, CODE)), KIB4, RX, false)?;
            for stack in STACKS {
                let neighbour = virt(Self::page(KERNEL, stack + STACK));
                space.map_alloc(neighbour, KIB4, RW, false)?;
            }
        }
        Ok(space)
    }

    /// Returns the physical addresses of the root tables.
    pub fn roots(&self) -> [usize; SPACES] {
        std::array::from_fn(|number| self.spaces[number].page_table_root().as_usize())
    }

    /// Returns the address of a page in an address space.
    pub fn page(space: usize, page: usize) -> usize {
        match space {
            KERNEL => M::base() + page * KIB4,
            _ => USER_BASE + page * KIB4,
        }
    }

    /// Takes the steps of this hart. Then acknowledges requests until all harts have taken
    /// theirs.
    pub fn run_hart(self: Pin<&Self>) {
        let world = world();
        let mut generation = 0;
        for _ in 0..STEPS {
            if world.is_over() {
                break;
            }
            self.step(&mut generation);
            world.acknowledge();
            pause();
        }
        world.running.set(world.running.get() - 1);
        while !world.is_over() {
            world.acknowledge();
            pause();
        }
        self.leave();
    }

    /// Takes one random step of the workload.
    fn step(self: Pin<&Self>, generation: &mut u64) {
        let space = thread_rng().gen_range(0..SPACES);
        match (world().workload, thread_rng().gen_range(0..20)) {
            (_, 0) => self.leave(),
            (Workload::Tables, 1..4) | (Workload::Code, 1..3) => {
                self.enter(space.max(1), generation);
            }
            (Workload::Tables, 4..6) | (Workload::Code, 3..5) => self.map(space),
            (Workload::Tables, 6..9) | (Workload::Code, 5..7) => self.unmap(space),
            (Workload::Tables, 9..11) | (Workload::Code, 7..9) => self.protect(space),
            (Workload::Tables, _) => self.touch(),
            (Workload::Code, 9..11) => self.map_stack(),
            (Workload::Code, 11..13) => self.start_on_stack(),
            (Workload::Code, 13..15) => self.touch_at_stack(),
            (Workload::Code, 15..18) => self.execute(),
            (Workload::Code, _) => self.write_code(),
            #[cfg(feature = "objects")]
            (Workload::Forks, step) => self.step_of_forks(step, space.max(1), generation),
            #[cfg(feature = "objects")]
            (Workload::Objects, 1..4) => self.enter(space.max(1), generation),
            #[cfg(feature = "objects")]
            (Workload::Objects, step) => self.step_of_objects(step),
            (Workload::Contention, 4..8) => self.map(KERNEL),
            (Workload::Contention, 8..11) => self.unmap(KERNEL),
            (Workload::Contention, 11..17) => self.protect(KERNEL),
            (Workload::Contention, _) => self.touch_page(Tag::Global, KERNEL, CONTENDED),
        }
    }

    #[cfg(feature = "objects")]
    fn step_of_forks(&self, step: u32, space: usize, generation: &mut u64) {
        match step {
            1..4 => self.enter(space, generation),
            4 => self.map(space),
            5..7 => self.unmap(space),
            7 => self.protect(space),
            8..11 => self.fork(space),
            11 => self.use_child(),
            _ => self.touch(),
        }
    }

    /// Leaves the user program's address space that this hart is in, if any.
    fn leave(&self) {
        let world = world();
        let inside = world.harts[this_hart()].borrow().inside;
        let Some((_, space)) = inside else {
            return;
        };
        let state = self.spaces[space].tlb_state();
        if world.bug == Bug::LeavesTooEarly {
            // SAFETY: the simulated hart goes on using the address space, against the
            // contract. No real hart does, so the simulation only reports a failure.
            unsafe { state.leave(this_hart()) };
            (0..4).for_each(|_| self.touch());
            world.harts[this_hart()].borrow_mut().inside = None;
            return;
        }
        world.harts[this_hart()].borrow_mut().inside = None;
        pause();
        // SAFETY: the simulated hart makes no access to the address space until it enters
        // one again.
        unsafe { state.leave(this_hart()) };
    }

    /// Enters a user program's address space, and flushes what the TLB state demands.
    fn enter(&self, space: usize, generation: &mut u64) {
        self.leave();
        let world = world();
        let state = self.spaces[space].tlb_state();
        // SAFETY: before its next access, the simulated hart flushes what `enter` returns.
        let (asid, stale) = unsafe { state.enter(&self.asids, this_hart(), generation) };
        pause();
        world.harts[this_hart()].borrow_mut().inside = Some((asid, space));
        // Before the flush, hardware may translate ahead, with cached pointers to tables that
        // are freed. The flush must drop what that finds.
        let page = Self::page(space, any_page());
        world.harts[this_hart()]
            .borrow_mut()
            .translate_ahead::<M::Raw>(&world.rules, asid, world.roots.get()[space], page);
        pause();
        let mut hart = world.harts[this_hart()].borrow_mut();
        match stale {
            _ if world.bug == Bug::EntersWithoutFlush => {}
            FlushOnEntry::Nothing => {}
            FlushOnEntry::Asid => hart.flush_asid(asid),
            FlushOnEntry::Everything => hart.flush_all(),
        }
    }

    /// Checks at the end of a run that each mapped page lies in an area, and is not writable
    /// if the area is not.
    pub fn check_end(&self) {
        for (number, space) in self.spaces.iter().enumerate() {
            for page in PAGES {
                let vaddr = virt(Self::page(number, page));
                let Some(found) = space.query(vaddr) else {
                    continue;
                };
                let rights = space.area_at(vaddr).map(|area| area.flags());
                let writable = found.flags.contains(WRITE);
                if !rights.is_some_and(|rights| rights.contains(WRITE) || !writable) {
                    let found = found.flags;
                    world().fail(format!(
                        "{vaddr:#x} is mapped {found:?} at the end, but its area is {rights:?}"
                    ));
                }
            }
        }
    }

    /// Makes all harts leave all address spaces. After a failure some are still inside.
    pub fn leave_all(&self) {
        for space in &self.spaces {
            // SAFETY: all simulated harts have ended, so they make no more accesses.
            (0..HARTS).for_each(|hart| unsafe { space.tlb_state().leave(hart) });
        }
    }
}
