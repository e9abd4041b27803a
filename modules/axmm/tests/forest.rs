//! Random operations on forests of forked address spaces, of every page-table format. A flat model
//! says what each page of each address space holds.
//!
//! `TESSERA_STEPS=10000000 cargo test -p axmm --features objects --test forest` performs that many
//! steps, for all formats together. `TESSERA_SEED` repeats a run that has failed.

use std::alloc::System;
use std::collections::HashMap;
use std::ops::Range;

use axalloc::fault::{FailingHeap, fail_from};
use axalloc::{UsageKind, usage};
use axerrno::{AxError, AxResult};
use axmm::{AddrSpace, Grain, MappingFlags};
use fastrand::Rng;

mod support;

use support::{GIB, KIB4, MIB2, MapPhysical, NONE, RO, RW, TestMachine, WRITE, alone, phys, virt};

#[global_allocator]
static HEAP: FailingHeap<System> = FailingHeap(System);

/// The number of steps, for the five formats together.
const STEPS: usize = 1_000_000;
/// The number of steps before all address spaces are dropped.
const STEPS_OF_A_FOREST: usize = 2000;
/// The most address spaces of a forest.
const MOST_SPACES: usize = 6;

const SIZE: usize = 3 * GIB;

/// Groups of contiguous pages: in a table of their own, across the end of a table of 2 MiB, across
/// the end of one of 1 GiB, and beside linear mappings.
const GROUPS: [(usize, usize); 4] = [
    (0, 12),
    (3 * MIB2 - 6 * KIB4, 12),
    (GIB - 6 * KIB4, 12),
    (2 * GIB, 24),
];
const PAGES: usize = 60;
/// The pages in the last group that linear mappings take.
const LINEAR: Range<usize> = 46..54;

/// What a page is: its rights, and the value that was written to it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Page {
    Linear,
    Own(MappingFlags, u64),
}

/// An address space and its model.
struct Tree<M: TestMachine> {
    space: AddrSpace<M>,
    pages: [Option<Page>; PAGES],
}

struct Forest<M: TestMachine> {
    trees: Vec<Tree<M>>,
    rng: Rng,
    value: u64,
}

fn base<M: TestMachine>() -> usize {
    M::base() - M::HIGH
}

/// Returns the address of page `number`.
fn address<M: TestMachine>(number: usize) -> usize {
    let mut first = 0;
    for (start, count) in GROUPS {
        if number < first + count {
            return base::<M>() + start + (number - first) * KIB4;
        }
        first += count;
    }
    unreachable!("there are {PAGES} pages")
}

impl<M: TestMachine> Forest<M> {
    fn new(seed: u64) -> Self {
        let space = AddrSpace::new_empty_user(virt(base::<M>()), SIZE).unwrap();
        let pages = [None; PAGES];
        Self {
            trees: vec![Tree { space, pages }],
            rng: Rng::with_seed(seed),
            value: 0,
        }
    }

    /// Returns some contiguous pages of one group.
    fn any_range(&mut self) -> Range<usize> {
        let group = self.rng.usize(0..GROUPS.len());
        let first: usize = GROUPS[..group].iter().map(|(_, count)| count).sum();
        let count = GROUPS[group].1;
        let start = self.rng.usize(0..count);
        let len = self.rng.usize(1..=(count - start).min(8));
        first + start..first + start + len
    }

    fn any_rights(&mut self) -> MappingFlags {
        [RW, RW, RW, RO, NONE][self.rng.usize(0..5)]
    }

    /// Performs a random operation. One in ten runs out of memory.
    fn step(&mut self) {
        let number = self.rng.usize(0..self.trees.len());
        let fail = match self.rng.u8(0..10) {
            0 => self.rng.usize(1..8),
            _ => 0,
        };
        match self.rng.u8(0..100) {
            0..10 => self.fork(number, fail),
            10..12 => self.clone_eager(number, fail),
            12..19 if self.trees.len() > 1 => drop(self.trees.swap_remove(number)),
            19..32 => self.map(number, fail),
            32..34 => self.map_linear(number, fail),
            34..44 => self.unmap(number, fail),
            44..54 => self.protect(number, fail),
            54..80 => self.write(number, fail),
            80..85 => self.fault(number, fail),
            _ => {
                let page = self.rng.usize(0..PAGES);
                self.check_page(number, page);
            }
        }
    }

    /// Performs `operation` on an address space. Returns whether it has succeeded.
    fn perform<T>(
        &mut self,
        number: usize,
        fail: usize,
        operation: impl FnOnce(&AddrSpace<M>) -> AxResult<T>,
    ) -> Option<T> {
        let armed = fail_from(if fail == 0 { usize::MAX } else { fail });
        let result = operation(&self.trees[number].space);
        let has_fired = armed.has_fired();
        match result {
            Ok(value) => Some(value),
            Err(AxError::NoMemory) => {
                assert!(has_fired, "there is enough memory");
                self.check(number);
                None
            }
            Err(error) => panic!("{error:?}"),
        }
    }

    fn fork(&mut self, number: usize, fail: usize) {
        if self.trees.len() < MOST_SPACES
            && let Some(space) = self.perform(number, fail, AddrSpace::fork)
        {
            let pages = self.trees[number].pages;
            self.trees.push(Tree { space, pages });
        }
    }

    fn clone_eager(&mut self, number: usize, fail: usize) {
        if self.trees.len() < MOST_SPACES
            && let Some(space) = self.perform(number, fail, AddrSpace::clone_eager)
        {
            let pages = self.trees[number].pages;
            self.trees.push(Tree { space, pages });
        }
    }

    fn map(&mut self, number: usize, fail: usize) {
        let (range, flags) = (self.any_range(), self.any_rights());
        if self.trees[number].pages[range.clone()]
            .iter()
            .any(Option::is_some)
        {
            return;
        }
        let grain = [Grain::Page, Grain::Page, Grain::Around(4)][self.rng.usize(0..3)];
        let populate = self.rng.bool();
        let (start, size) = (virt(address::<M>(range.start)), range.len() * KIB4);
        let map = |space: &AddrSpace<M>| space.map_alloc_with(start, size, flags, populate, grain);
        if self.perform(number, fail, map).is_some() {
            self.trees[number].pages[range].fill(Some(Page::Own(flags, 0)));
        }
    }

    fn map_linear(&mut self, number: usize, fail: usize) {
        if self.trees[number].pages[LINEAR].iter().any(Option::is_some) {
            return;
        }
        let (start, size) = (virt(address::<M>(LINEAR.start)), LINEAR.len() * KIB4);
        let map = |space: &AddrSpace<M>| space.map_physical(start, phys(8 * GIB), size, RW);
        if self.perform(number, fail, map).is_some() {
            self.trees[number].pages[LINEAR].fill(Some(Page::Linear));
        }
    }

    fn unmap(&mut self, number: usize, fail: usize) {
        let range = self.any_range();
        let (start, size) = (virt(address::<M>(range.start)), range.len() * KIB4);
        let unmapped = self.perform(number, fail, |space| space.unmap(start, size));
        if unmapped.is_some() {
            self.trees[number].pages[range].fill(None);
        }
    }

    fn protect(&mut self, number: usize, fail: usize) {
        let (range, rights) = (self.any_range(), self.any_rights());
        let pages = &self.trees[number].pages[range.clone()];
        if pages
            .iter()
            .any(|page| !matches!(page, Some(Page::Own(..))))
        {
            return;
        }
        let (start, size) = (virt(address::<M>(range.start)), range.len() * KIB4);
        let protect = |space: &AddrSpace<M>| space.protect(start, size, rights);
        if self.perform(number, fail, protect).is_some() {
            for page in &mut self.trees[number].pages[range] {
                if let Some(Page::Own(flags, _)) = page {
                    *flags = rights;
                }
            }
        }
    }

    fn write(&mut self, number: usize, fail: usize) {
        let page = self.rng.usize(0..PAGES);
        let Some(Page::Own(flags, _)) = self.trees[number].pages[page] else {
            return;
        };
        self.value += 1;
        let (vaddr, value) = (virt(address::<M>(page)), self.value);
        if !flags.contains(WRITE) {
            let written = self.trees[number].space.write_val(vaddr, &value);
            assert_eq!(written, Err(AxError::BadAddress));
            return;
        }
        // A copy does not say why it has ended. A fault does.
        let write = |space: &AddrSpace<M>| {
            space.fault(vaddr, WRITE).map_err(AxError::from)?;
            space.write_val(vaddr, &value)
        };
        if self.perform(number, fail, write).is_some() {
            self.trees[number].pages[page] = Some(Page::Own(flags, value));
        }
    }

    fn fault(&mut self, number: usize, fail: usize) {
        let page = self.rng.usize(0..PAGES);
        let access = [RO, WRITE][self.rng.usize(0..2)];
        let vaddr = virt(address::<M>(page));
        match self.trees[number].pages[page] {
            Some(Page::Own(flags, _)) if flags.contains(access) => {
                let fault =
                    |space: &AddrSpace<M>| space.fault(vaddr, access).map_err(AxError::from);
                self.perform(number, fail, fault);
            }
            Some(Page::Linear) => {}
            _ => assert!(self.trees[number].space.fault(vaddr, access).is_err()),
        }
    }

    /// Checks what one page of an address space holds.
    fn check_page(&self, number: usize, page: usize) {
        let Tree { space, pages } = &self.trees[number];
        let read = || space.read_val::<u64>(virt(address::<M>(page))).ok();
        match pages[page] {
            None => assert_eq!(read(), None, "page {page}"),
            Some(Page::Own(flags, value)) => {
                let expected = flags.contains(MappingFlags::READ).then_some(value);
                assert_eq!(read(), expected, "page {page}");
            }
            Some(Page::Linear) => {}
        }
    }

    fn check(&self, number: usize) {
        for page in 0..PAGES {
            self.check_page(number, page);
        }
    }

    /// Checks all address spaces: their contents, that hardware can write no page that two of them
    /// map, and that no other frames are in use.
    fn check_all(&self, frames_before: usize) {
        (0..self.trees.len()).for_each(|number| self.check(number));
        let mut owners: HashMap<usize, usize> = HashMap::new();
        for Tree { space, pages } in &self.trees {
            let is_own = |page: &usize| matches!(pages[*page], Some(Page::Own(..)));
            for page in (0..PAGES).filter(is_own) {
                if let Some(found) = space.query(virt(address::<M>(page))) {
                    *owners.entry(found.paddr.as_usize()).or_default() += 1;
                }
            }
        }
        let zero_frame = axmm::zero_frame().as_usize();
        let used = usage().of(UsageKind::VirtMem) - frames_before;
        let own = owners.keys().filter(|frame| **frame != zero_frame);
        assert_eq!(used, own.count(), "frames");
        for Tree { space, .. } in &self.trees {
            let root = space.page_table_root().as_usize();
            let raw = support::raw::walk::<M::Raw>(root, 0).unwrap();
            for page in raw.pages.iter().filter(|page| page.rights.write) {
                let owners = owners.get(&page.paddr).copied().unwrap_or(1);
                assert_eq!(owners, 1, "{page:?} can be written");
                assert_ne!(page.paddr, zero_frame, "{page:?}");
            }
        }
    }
}

fn forests_behave_like_their_model<M: TestMachine>() {
    let _alone = alone();
    let number_in = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seed = number_in("TESSERA_SEED");
    let steps = number_in("TESSERA_STEPS").unwrap_or(STEPS as u64) as usize / 5;
    let steps = if cfg!(miri) { 1000 } else { steps };
    let mut seeds = Rng::with_seed(seed.unwrap_or(1));
    for _ in 0..steps.div_ceil(STEPS_OF_A_FOREST) {
        let seed = seed.unwrap_or_else(|| seeds.u64(..));
        let result = std::panic::catch_unwind(|| play::<M>(seed));
        assert!(result.is_ok(), "{}, TESSERA_SEED={seed}", M::NAME);
    }
}

fn play<M: TestMachine>(seed: u64) {
    let before = usage();
    let mut forest = Forest::<M>::new(seed);
    for step in 0..STEPS_OF_A_FOREST {
        forest.step();
        if step % 20 == 0 {
            forest.check_all(before.of(UsageKind::VirtMem));
        }
    }
    drop(forest);
    assert_eq!(usage(), before, "all is freed");
}

on_every_machine!(forests_behave_like_their_model);
