//! Simulated harts that remember as much as they may, while others of them change the
//! address spaces they are in.
//!
//! Each hart is a thread of shuttle, which schedules them one step at a time: between two
//! accesses or operations, and within an operation wherever it asks something of its
//! [`Machine`]. A hart's TLB is filled by walks of the real table only ([`hart`]), and
//! keeps what the architecture allows ([`rules`]). What an access finds must be
//!
//! - what the table says, if no operation on that address is under way;
//! - a frame that is this page's, in any case: what has been written there is its own.
//!
//! A hart may also be given a stack that another has mapped, beside a page that it uses. It
//! does what axtask does before a thread first runs, and then no access to the stack may
//! fault: that would be a fault of the trap entry's own.
//!
//! What is executed must be what was written: harts keep the instructions that they have
//! fetched, and where data caches keep stores from fetches, what has not been cleaned is not
//! what they find.
//!
//! No hart that waits in a queue is overtaken too often ([`queue`]).
//!
//! In the end a page is there only where an area is, and all frames go back.
//!
//! Harts enter and leave by the kernel's own [`Context`](axmm::tlb::state::Context). A run
//! is repeated by its seed.

pub mod hart;
mod queue;
pub mod rules;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::marker::PhantomData;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use axerrno::AxResult;
use axmm::tlb::state::{Ids, Stale};
use axmm::{AddrSpace, Grain, Machine, MappingFlags};
use memory_addr::PhysAddr;
use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::RandomScheduler;
use shuttle::{Config, Runner, thread};

use crate::{EXECUTE, KIB4, MIB2, RAM, RO, RW, RX, TestMachine, UNCACHED, WRITE, frames, virt};
use hart::{Hart, Tag, word_at};
use queue::{Kind, Queue};
use rules::{Rules, Way};

const HARTS: usize = 3;
/// The kernel's, and those of user programs.
const SPACES: usize = 3;
const KERNELS: usize = 0;
/// Steps of each hart.
const STEPS: usize = 10;

/// Where a user's addresses begin.
const USERS_BASE: usize = 64 * MIB2;
/// Pages that are mapped, touched and unmapped: around two ends of tables.
const PAGES: [usize; 6] = [0, 1, 511, 512, 1023, 1024];
/// How many at a time.
const COUNTS: [usize; 8] = [1, 1, 1, 2, 4, 40, 512, 1024];

/// A page that is in the range of each operation, where harts are to meet in the queue.
const CROWDED: usize = 3;

/// The first page of each hart's stack, behind all that is mapped and unmapped otherwise:
/// the second one of the last pair is a page that stays.
const STACKS: [usize; HARTS] = [2048, 2056, 2064];
const STACK: usize = 3;

/// A page of the kernel's that holds code, written anew again and again.
const CODE: usize = 2080;

/// In the place of pages: instructions are to be fetched anew.
const INSTRUCTIONS: Range<usize> = usize::MAX..usize::MAX;

/// What fetches find where nothing has ever been cleaned.
const NEVER_CLEANED: u64 = u64::MAX;

/// What a machine does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// It forgets nothing.
    ForgetsNothing,
    /// Others are not asked.
    ForgetsHereOnly,
    /// The one with the highest number is not asked.
    OneIsLeftOut,
    /// Of a range, the first page is forgotten.
    FirstPageOnly,
    /// The way to tables stays.
    KeepsUpper,
    /// Who asks does not wait for answers.
    DoesNotWait,
    /// A hart that enters forgets nothing.
    EntersAsItIs,
    /// A hart says that it has left while it is inside.
    LeavesTooEarly,
    /// A hart runs on a fresh stack as it is.
    RunsAsItIs,
    /// Harts keep the instructions they have fetched.
    KeepsInstructions,
    /// Code is not cleaned.
    CleansNothing,
}

/// What a run is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theme {
    /// Pages and tables that come and go.
    Tables,
    /// Code, stacks, and kinds of memory, too.
    Code,
    /// Operations that overlap, all of them, and faults amid them.
    Crowd,
}

/// What has come of a run.
pub struct Outcome {
    /// What is wrong, if anything.
    pub wrong: Option<String>,
    /// How often a hart has waited in a queue.
    pub waits: usize,
}

/// What is going on.
struct World {
    theme: Theme,
    rules: Rules,
    fault: Fault,
    harts: [RefCell<Hart>; HARTS],
    /// The pages of each address space that operations are about.
    busy: [RefCell<Vec<Range<usize>>>; SPACES],
    queue: Queue,
    stacks: [Cell<Stack>; HARTS],
    /// How often the code has been written, and whether a hart is at it.
    code: Cell<(u64, bool)>,
    /// What instruction fetches find at physical addresses, where code must be cleaned.
    clean: RefCell<HashMap<usize, u64>>,
    /// How many harts have steps to do.
    at_work: Cell<usize>,
    wrong: RefCell<Option<String>>,
}

/// A hart's stack, on which a thread is to run once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stack {
    None,
    /// A hart maps it.
    Coming,
    Mapped,
}

std::thread_local! {
    static WORLD: RefCell<Option<Rc<World>>> = const { RefCell::new(None) };
}

shuttle::thread_local! {
    static ME: Cell<usize> = Cell::new(0);
}

fn world() -> Rc<World> {
    WORLD.with_borrow(|world| Rc::clone(world.as_ref().expect("a simulation runs")))
}

fn me() -> usize {
    ME.with(Cell::get)
}

/// Others do something.
fn pause() {
    thread::yield_now();
}

impl World {
    /// Whether there is nothing more to see.
    fn is_over(&self) -> bool {
        self.at_work.get() == 0 || self.wrong.borrow().is_some()
    }

    fn is_wrong(&self, what: String) {
        self.wrong.borrow_mut().get_or_insert(what);
    }

    /// Notes a hart that has been overtaken too often.
    fn note(&self, turn: Result<(), String>) {
        if let Err(what) = turn {
            self.is_wrong(what);
        }
    }

    fn forget(&self, hart: usize, pages: &Range<usize>) {
        let mut hart = self.harts[hart].borrow_mut();
        match self.fault {
            _ if *pages == INSTRUCTIONS => hart.fetch_anew(),
            Fault::FirstPageOnly if *pages != crate::EVERYTHING => {
                hart.forget(&self.rules, &(pages.start..pages.start + KIB4));
            }
            Fault::KeepsUpper => hart.forget_leaves(),
            _ => hart.forget(&self.rules, pages),
        }
    }

    fn forget_on(&self, harts: u64, pages: &Range<usize>) {
        let me = me();
        for hart in 0..HARTS {
            pause();
            let meant = harts & 1 << hart != 0 || self.rules.way == Way::Broadcast;
            let skipped = match self.fault {
                Fault::ForgetsNothing => true,
                Fault::ForgetsHereOnly => hart != me,
                Fault::OneIsLeftOut => hart == HARTS - 1,
                _ => false,
            };
            if !meant || skipped {
                continue;
            }
            match self.rules.way == Way::Interrupt && hart != me {
                true => self.harts[hart].borrow_mut().asked[me] = Some(pages.clone()),
                false => self.forget(hart, pages),
            }
        }
        let answered = || {
            self.harts
                .iter()
                .all(|hart| hart.borrow().asked[me].is_none())
        };
        while !answered() && !self.is_over() && self.fault != Fault::DoesNotWait {
            self.answer();
            pause();
        }
    }

    /// What a fetch finds at a physical address: what was cleaned last, or what is there, if
    /// it has left the data cache by itself.
    fn find_instruction(&self, paddr: usize) -> u64 {
        let written = word_at(paddr).load(std::sync::atomic::Ordering::Relaxed);
        match self.rules.cleans && thread_rng().gen_range(0..4) != 0 {
            true => *self
                .clean
                .borrow_mut()
                .entry(paddr)
                .or_insert(NEVER_CLEANED),
            false => written,
        }
    }

    fn answer(&self) {
        for asker in 0..HARTS {
            let asked = self.harts[me()].borrow_mut().asked[asker].take();
            if let Some(pages) = asked {
                self.forget(me(), &pages);
            }
        }
    }
}

/// Machine `M`, whose harts are simulated.
pub struct Simulated<M>(PhantomData<fn() -> M>);

// SAFETY: a thread of shuttle has its number, and keeps it.
unsafe impl<M: TestMachine> Machine for Simulated<M> {
    axmm::page_tables_of!(M);

    fn publish_entries() {
        let world = world();
        world.note(world.queue.begin(me()));
        pause();
    }

    fn flush(harts: u64, pages: Range<usize>) {
        let world = world();
        world.note(world.queue.begin(me()));
        if !world.is_over() {
            world.forget_on(harts, &pages);
            pause();
        }
    }

    fn flush_local(pages: Range<usize>) {
        let world = world();
        world.note(world.queue.begin(me()));
        world.forget(me(), &pages);
        pause();
    }

    fn needs_cleaning() -> bool {
        world().rules.cleans
    }

    fn clean_code(paddr: PhysAddr, len: usize) {
        let world = world();
        if world.fault != Fault::CleansNothing {
            let pages = paddr.as_usize()..paddr.as_usize() + len;
            for page in pages.step_by(KIB4).filter(|page| RAM.contains(page)) {
                let word = word_at(page).load(std::sync::atomic::Ordering::Relaxed);
                world.clean.borrow_mut().insert(page, word);
            }
        }
        pause();
    }

    fn sync_icache() {
        let world = world();
        if world.fault != Fault::KeepsInstructions && !world.is_over() {
            world.forget_on(u64::MAX, &INSTRUCTIONS);
        }
        pause();
    }

    type IrqGuard = ();

    fn disable_irqs() {
        let world = world();
        world.note(world.queue.pin(me()));
    }

    type PreemptGuard = Stay;

    fn disable_preemption() -> Stay {
        world().queue.stay(me());
        Stay
    }

    fn harts() -> usize {
        HARTS
    }

    fn hart() -> usize {
        me()
    }

    fn relax(turn: usize) {
        let world = world();
        world.note(world.queue.relax(me(), turn));
        world.answer();
        pause();
    }
}

/// Keeps other threads from taking a simulated hart.
pub struct Stay;

impl Drop for Stay {
    fn drop(&mut self) {
        world().queue.leave(me());
    }
}

/// The address spaces, and the harts' part in them.
struct Simulation<M: TestMachine> {
    ids: Ids,
    spaces: [AddrSpace<Simulated<M>>; SPACES],
}

impl<M: TestMachine> Simulation<M> {
    fn new(rules: &Rules) -> Self {
        let pages = PAGES[PAGES.len() - 1] + 1;
        let space = |number| {
            let start = virt(Self::page(number, 0));
            let space = match number {
                KERNELS => AddrSpace::new_empty(start, 8 * MIB2),
                _ => AddrSpace::new_empty_user(start, 8 * MIB2),
            }?;
            let flags = Self::flags(number, RW);
            space.map_alloc_with(start, pages * KIB4, flags, false, Self::grain())?;
            if number == KERNELS {
                space.map_alloc(virt(Self::page(KERNELS, CODE)), KIB4, RX, false)?;
                for stack in STACKS {
                    let neighbour = virt(Self::page(KERNELS, stack + STACK));
                    space.map_alloc(neighbour, KIB4, RW, false)?;
                }
            }
            AxResult::Ok(space)
        };
        Self {
            ids: Ids::new(rules.ids),
            spaces: [0, 1, 2].map(|number| space(number).expect("memory")),
        }
    }

    fn page(space: usize, page: usize) -> usize {
        match space {
            KERNELS => M::base() + page * KIB4,
            _ => USERS_BASE + page * KIB4,
        }
    }

    /// Steps of the hart that runs this; then it answers as long as others do theirs.
    fn run(&self) {
        let world = world();
        let mut generation = 0;
        for _ in 0..STEPS {
            if world.is_over() {
                break;
            }
            let space = thread_rng().gen_range(0..SPACES);
            match (world.theme, thread_rng().gen_range(0..20)) {
                (_, 0) => self.leave(),
                (Theme::Tables, 1..4) | (Theme::Code, 1..3) => {
                    self.enter(space.max(1), &mut generation);
                }
                (Theme::Tables, 4..6) | (Theme::Code, 3..5) => self.map(space),
                (Theme::Tables, 6..9) | (Theme::Code, 5..7) => self.unmap(space),
                (Theme::Tables, 9..11) | (Theme::Code, 7..9) => self.protect(space),
                (Theme::Tables, _) => self.touch(),
                (Theme::Code, 9..11) => self.map_stack(),
                (Theme::Code, 11..13) => self.run_on_stack(),
                (Theme::Code, 13..15) => self.touch_at_stack(),
                (Theme::Code, 15..18) => self.execute(),
                (Theme::Code, _) => self.write_code(),
                (Theme::Crowd, 4..8) => self.map(KERNELS),
                (Theme::Crowd, 8..11) => self.unmap(KERNELS),
                (Theme::Crowd, 11..17) => self.protect(KERNELS),
                (Theme::Crowd, _) => self.touch_page(Tag::Global, KERNELS, CROWDED),
            }
            world.answer();
            pause();
        }
        world.at_work.set(world.at_work.get() - 1);
        while !world.is_over() {
            world.answer();
            pause();
        }
        self.leave();
    }

    fn leave(&self) {
        let world = world();
        let inside = world.harts[me()].borrow().inside;
        let Some((_, space)) = inside else {
            return;
        };
        let context = self.spaces[space].context();
        if world.fault == Fault::LeavesTooEarly {
            // SAFETY: it is not so: the simulated hart goes on, and the test finds it out.
            unsafe { context.leave(me()) };
            (0..4).for_each(|_| self.touch());
            world.harts[me()].borrow_mut().inside = None;
            return;
        }
        world.harts[me()].borrow_mut().inside = None;
        pause();
        // SAFETY: the hart is simulated, and makes no access until it enters again.
        unsafe { context.leave(me()) };
    }

    fn enter(&self, space: usize, generation: &mut u64) {
        self.leave();
        let world = world();
        let context = self.spaces[space].context();
        // SAFETY: the hart is simulated, and forgets what it is told to below.
        let (number, stale) = unsafe { context.enter(&self.ids, me(), generation) };
        pause();
        world.harts[me()].borrow_mut().inside = Some((number, space));
        // Hardware reads ahead before it forgets, by ways that lead to tables no more:
        // what it finds there it forgets, too.
        let page = Self::page(space, PAGES[thread_rng().gen_range(0..PAGES.len())]);
        let root = self.root(space);
        world.harts[me()]
            .borrow_mut()
            .reads_ahead::<M::Raw>(&world.rules, number, root, page);
        pause();
        let mut hart = world.harts[me()].borrow_mut();
        match stale {
            _ if world.fault == Fault::EntersAsItIs => {}
            Stale::Nothing => {}
            Stale::Own => hart.forget_number(number),
            Stale::All => hart.forget_all(),
        }
    }

    fn operation(
        &self,
        space: usize,
        operate: impl FnOnce(&AddrSpace<Simulated<M>>, usize, usize),
    ) {
        let world = world();
        let (first, count) = match world.theme {
            Theme::Crowd => {
                let first = thread_rng().gen_range(0..=CROWDED);
                (first, CROWDED - first + thread_rng().gen_range(1..4))
            }
            _ => (
                PAGES[thread_rng().gen_range(0..PAGES.len())],
                COUNTS[thread_rng().gen_range(0..COUNTS.len())],
            ),
        };
        // A large page that is cut is another for the pages around, too.
        let hull = Self::page(space, first / 512 * 512)
            ..Self::page(space, (first + count).next_multiple_of(512));
        world.busy[space].borrow_mut().push(hull.clone());
        let (start, size) = (Self::page(space, first), count * KIB4);
        let pages = start..start + size;
        world.queue.ask(me(), space, pages, Kind::Change);
        operate(&self.spaces[space], start, size);
        world.queue.finish(me());
        let mut busy = world.busy[space].borrow_mut();
        let at = busy.iter().position(|other| *other == hull);
        busy.swap_remove(at.expect("it is there"));
    }

    fn flags(space: usize, flags: MappingFlags) -> MappingFlags {
        match space {
            KERNELS => flags,
            _ => flags | MappingFlags::USER,
        }
    }

    /// Seldom a large one: it takes long to fill with zeroes.
    fn grain() -> Grain {
        match thread_rng().gen_range(0..64) {
            0 => Grain::Large,
            1..32 => Grain::Around(4),
            _ => Grain::Page,
        }
    }

    fn map(&self, space: usize) {
        let flags = match world().theme {
            Theme::Tables | Theme::Crowd => [RW, RW, RO][thread_rng().gen_range(0..3)],
            Theme::Code => [RW, RX, UNCACHED][thread_rng().gen_range(0..3)],
        };
        let grain = Self::grain();
        let populate = thread_rng().gen_range(0..3) == 0;
        self.operation(space, |aspace, start, size| {
            let flags = Self::flags(space, flags);
            let _ = aspace.map_alloc_with(virt(start), size, flags, populate, grain);
        });
    }

    fn unmap(&self, space: usize) {
        self.operation(space, |aspace, start, size| {
            let _ = aspace.unmap(virt(start), size);
        });
    }

    fn protect(&self, space: usize) {
        let flags = match world().theme {
            Theme::Tables | Theme::Crowd => [RO, RO, RW][thread_rng().gen_range(0..3)],
            Theme::Code => [RO, RW, RX, UNCACHED][thread_rng().gen_range(0..4)],
        };
        self.operation(space, |aspace, start, size| {
            let _ = aspace.protect(virt(start), size, Self::flags(space, flags));
        });
    }

    /// Maps a stack for some hart.
    fn map_stack(&self) {
        let hart = thread_rng().gen_range(0..HARTS);
        let world = world();
        let stack = &world.stacks[hart];
        if stack.get() != Stack::None {
            return;
        }
        stack.set(Stack::Coming);
        let start = virt(Self::page(KERNELS, STACKS[hart]));
        let mapped = self.spaces[KERNELS].map_alloc(start, STACK * KIB4, RW, true);
        stack.set(if mapped.is_ok() {
            Stack::Mapped
        } else {
            Stack::None
        });
    }

    /// Runs on the stack of this hart, if one is mapped, and unmaps it.
    fn run_on_stack(&self) {
        let world = world();
        let stack = &world.stacks[me()];
        if stack.get() != Stack::Mapped {
            return;
        }
        let start = Self::page(KERNELS, STACKS[me()]);
        let pages = start..start + STACK * KIB4;
        if world.fault != Fault::RunsAsItIs {
            let mut hart = world.harts[me()].borrow_mut();
            hart.flush_fresh(&world.rules, &pages);
        }
        for vaddr in pages.clone().rev().step_by(KIB4) {
            pause();
            let Some(known) = self.translate(self.root(KERNELS), Tag::Global, vaddr) else {
                return;
            };
            if !known.at(vaddr).is_some_and(|(_, rights)| rights.write) {
                let hart = me();
                return world.is_wrong(format!("hart {hart}: a trap's push to {vaddr:#x} faults"));
            }
        }
        let unmapped = self.spaces[KERNELS].unmap(virt(start), pages.len());
        if unmapped.is_ok() {
            stack.set(Stack::None);
        }
    }

    /// An access to the page beside the stack of this hart, or to where the stack is not,
    /// or the translation of one that is not made yet.
    fn touch_at_stack(&self) {
        let stack = STACKS[me()];
        if thread_rng().gen_range(0..2) == 0 {
            let ahead = Self::page(KERNELS, stack + thread_rng().gen_range(0..STACK));
            self.translate(self.root(KERNELS), Tag::Global, ahead);
            return;
        }
        let page = match world().stacks[me()].get() {
            Stack::None => stack + thread_rng().gen_range(0..=STACK),
            _ => stack + STACK,
        };
        self.touch_page(Tag::Global, KERNELS, page);
    }

    fn translate(&self, root: usize, tag: Tag, vaddr: usize) -> Option<hart::Known> {
        let world = world();
        let mut hart = world.harts[me()].borrow_mut();
        let known = hart.translate::<M::Raw>(&world.rules, tag, root, vaddr);
        known.map_err(|what| world.is_wrong(what)).ok()
    }

    /// An address space to make an access in: where this hart is, or the kernel's.
    fn reachable(&self) -> (Tag, usize) {
        let inside = world().harts[me()].borrow().inside;
        match inside {
            Some((number, space)) if thread_rng().gen_range(0..4) != 0 => {
                (Tag::Number(number), space)
            }
            _ => (Tag::Global, KERNELS),
        }
    }

    /// Executes what a page holds.
    fn execute(&self) {
        let world = world();
        let (tag, space, page) = match thread_rng().gen_range(0..2) {
            0 => (Tag::Global, KERNELS, CODE),
            _ => {
                let (tag, space) = self.reachable();
                (tag, space, PAGES[thread_rng().gen_range(0..PAGES.len())])
            }
        };
        let vaddr = Self::page(space, page);
        for _ in 0..16 {
            let root = self.root(space);
            let Some(known) = self.translate(root, tag, vaddr) else {
                return;
            };
            if let Some((paddr, rights)) = known.at(vaddr)
                && rights.execute
            {
                return self.fetch(space, vaddr, paddr);
            }
            world.harts[me()].borrow_mut().synchronize(&world.rules);
            if !self.spaces[space].handle_page_fault(virt(vaddr), EXECUTE) {
                return;
            }
        }
        world.is_wrong(format!("{vaddr:#x} faults again and again"));
    }

    /// Writes other code to the page that holds some, unless another hart is at it.
    fn write_code(&self) {
        let world = world();
        let (number, is_busy) = world.code.get();
        if is_busy {
            return;
        }
        world.code.set((number + 1, true));
        let start = Self::page(KERNELS, CODE);
        let pages = start..start + KIB4;
        world.busy[KERNELS].borrow_mut().push(pages.clone());
        let kernel = &self.spaces[KERNELS];
        let protect = |flags| kernel.protect(virt(start), KIB4, flags).is_ok();
        if protect(RW) && kernel.handle_page_fault(virt(start), WRITE) {
            let paddr = kernel
                .query(virt(start))
                .expect("it stays")
                .paddr
                .as_usize();
            let code = u64::MAX << 40 | number << 1 | 1;
            word_at(paddr).store(code, std::sync::atomic::Ordering::Relaxed);
        }
        let is_code = protect(RX);
        world.busy[KERNELS]
            .borrow_mut()
            .retain(|busy| *busy != pages);
        // Where memory is missing it stays as it is.
        world.code.set((number + 1, !is_code));
    }

    /// What is fetched is what was written, if no operation there is under way.
    fn fetch(&self, space: usize, vaddr: usize, paddr: usize) {
        let world = world();
        let mut hart = world.harts[me()].borrow_mut();
        let fetched = hart.fetch(paddr, || world.find_instruction(paddr));
        let written = word_at(paddr).load(std::sync::atomic::Ordering::Relaxed);
        let busy = world.busy[space].borrow();
        if fetched != written && !busy.iter().any(|busy| busy.contains(&vaddr)) {
            let hart = me();
            world.is_wrong(format!(
                "hart {hart} executes {fetched:#x} at {vaddr:#x}: {written:#x} was written"
            ));
        }
    }

    /// An access where this hart is, or to the kernel's.
    fn touch(&self) {
        let (tag, space) = self.reachable();
        self.touch_page(tag, space, PAGES[thread_rng().gen_range(0..PAGES.len())]);
    }

    fn touch_page(&self, tag: Tag, space: usize, page: usize) {
        let world = world();
        let vaddr = Self::page(space, page);
        let write = thread_rng().gen_range(0..2) == 0;
        for _ in 0..16 {
            let root = self.root(space);
            let Some(known) = self.translate(root, tag, vaddr) else {
                return;
            };
            match known.at(vaddr) {
                Some((paddr, rights)) if rights.write || (rights.read && !write) => {
                    return self.access(space, root, vaddr, paddr, write);
                }
                _ => {}
            }
            // A page fault.
            world.harts[me()].borrow_mut().synchronize(&world.rules);
            if !self.fault(space, vaddr, if write { WRITE } else { RO }) {
                return;
            }
        }
        world.is_wrong(format!("{vaddr:#x} faults again and again"));
    }

    /// Faults in the page at `vaddr`. Returns whether the access can be made.
    fn fault(&self, space: usize, vaddr: usize, access: MappingFlags) -> bool {
        let world = world();
        let pages = vaddr..vaddr + KIB4;
        world.queue.ask(me(), space, pages, Kind::Fault);
        let done = self.spaces[space].handle_page_fault(virt(vaddr), access);
        world.queue.finish(me());
        done
    }

    /// When all is done a page is there only where an area is, with no more rights.
    fn is_done(&self) {
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
                    world().is_wrong(format!("{vaddr:#x} stays {found:?}: the area {rights:?}"));
                }
            }
        }
    }

    /// The root does not change.
    fn root(&self, space: usize) -> usize {
        ROOTS.with_borrow(|roots| roots[space])
    }

    fn access(&self, space: usize, root: usize, vaddr: usize, paddr: usize, write: bool) {
        let world = world();
        let busy = world.busy[space].borrow();
        if !busy.iter().any(|busy| busy.contains(&vaddr)) {
            let rules = Rules {
                upper: rules::Upper::None,
                ..world.rules
            };
            let now = Hart::default().translate::<M::Raw>(&rules, Tag::Global, root, vaddr);
            let now = now.map(|known| known.at(vaddr));
            let allowed = matches!(now, Ok(Some((frame, rights)))
                if frame == paddr && (rights.write || !write));
            if !allowed {
                let what = if write { "writes" } else { "reads" };
                return world.is_wrong(format!(
                    "hart {} {what} {vaddr:#x} at {paddr:#x}: the table says {now:x?}",
                    me()
                ));
            }
        }
        let word = word_at(paddr);
        let own = stamp(space, vaddr);
        let found = word.load(std::sync::atomic::Ordering::Relaxed);
        if found != 0 && found != own {
            return world.is_wrong(format!(
                "hart {} finds {found:#x} at {vaddr:#x}, in {paddr:#x}: another's",
                me()
            ));
        }
        if write {
            word.store(own, std::sync::atomic::Ordering::Relaxed);
        }
    }
}

std::thread_local! {
    static ROOTS: RefCell<[usize; SPACES]> = const { RefCell::new([0; SPACES]) };
}

/// What is written to a page: no entry that a walker could take for one.
fn stamp(space: usize, vaddr: usize) -> u64 {
    u64::MAX << 40 | (vaddr / KIB4 % (1 << 20) * 16 + space) as u64 | 1
}

/// One run: what is wrong, if anything.
pub fn run<M: TestMachine>(rules: Rules, fault: Fault, seed: u64) -> Option<String> {
    run_about::<M>(None, rules, fault, seed).wrong
}

/// One run about a theme, which is the seed's to choose if there is none.
pub fn run_about<M: TestMachine>(
    theme: Option<Theme>,
    rules: Rules,
    fault: Fault,
    seed: u64,
) -> Outcome {
    let mut config = Config::new();
    config.stack_size = 256 << 10;
    let runner = Runner::new(RandomScheduler::new_from_seed(seed, 1), config);
    let before = frames();
    runner.run(move || simulate::<M>(theme, rules, fault));
    let world = WORLD.take().expect("a simulation has run");
    let left = || format!("of frames {before:?}, {:?} are left", frames());
    let wrong = world.wrong.take();
    Outcome {
        wrong: wrong.or_else(|| (frames() != before).then(left)),
        waits: world.queue.waits(),
    }
}

fn simulate<M: TestMachine>(theme: Option<Theme>, rules: Rules, fault: Fault) {
    let any_theme = || match thread_rng().gen_range(0..8) {
        0 => Theme::Code,
        _ => Theme::Tables,
    };
    WORLD.set(Some(Rc::new(World {
        theme: theme.unwrap_or_else(any_theme),
        rules,
        fault,
        harts: [(); HARTS].map(|()| RefCell::new(Hart::new(HARTS))),
        busy: [(); SPACES].map(|()| RefCell::default()),
        queue: Queue::default(),
        stacks: [(); HARTS].map(|()| Cell::new(Stack::None)),
        code: Cell::new((0, false)),
        clean: RefCell::default(),
        at_work: Cell::new(HARTS),
        wrong: RefCell::new(None),
    })));
    let simulation = Arc::new(Simulation::<M>::new(&rules));
    let root = |space: &AddrSpace<_>| space.page_table_root().as_usize();
    ROOTS.set([0, 1, 2].map(|space| root(&simulation.spaces[space])));
    let harts = [0, 1, 2].map(|hart| {
        let simulation = Arc::clone(&simulation);
        thread::spawn(move || {
            ME.with(|me| me.set(hart));
            simulation.run();
        })
    });
    harts.into_iter().for_each(|hart| drop(hart.join()));
    if world().wrong.borrow().is_none() {
        simulation.is_done();
    }
    // If something is wrong a hart may be inside still.
    for space in &simulation.spaces {
        // SAFETY: the simulated harts have ended.
        (0..HARTS).for_each(|hart| unsafe { space.context().leave(hart) });
    }
}
