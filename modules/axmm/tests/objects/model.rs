//! Random operations on many objects, compared with a model.
//!
//! In the model each object is a flat map from pages to versions, and a version is a page's
//! contents with its number of owners. The frames in use are the versions that have owners. A
//! write changes a version in place if and only if it has one owner.
//!
//! `TESSERA_STEPS=10000000 cargo test -p axmm --features objects --test objects model` performs
//! that many steps. `TESSERA_SEED` repeats a round that has failed.

mod steps;

use std::collections::BTreeMap;
use std::ops::Range;

use axalloc::fault::fail_from;
use axalloc::usage;
use axerrno::{AxError, AxResult};
use axmm::vmo::PinnedPages;
use fastrand::Rng;

use crate::support::{KIB4, X64, alone};
use crate::{Vmo, blocks, frames};

const STEPS: usize = 1_000_000;
/// The number of steps of a round, which begins without objects.
const STEPS_OF_A_ROUND: usize = 50_000;
/// The most objects at a time.
const OBJECTS: usize = 24;
/// The longest range that is committed, in pages.
const LONGEST: usize = 80;
/// Pages at which objects, ranges and writes begin or end: around the ends of nodes of each level.
const EDGES: [usize; 15] = [
    0,
    1,
    5,
    60,
    63,
    64,
    65,
    127,
    128,
    4095,
    4096,
    4097,
    1 << 18,
    1 << 24,
    1 << 28,
];
/// The offsets in a page of the words that are compared.
const WORDS: [usize; 3] = [0, 1000, KIB4 - 8];

type Contents = [u64; WORDS.len()];

struct Version {
    contents: Contents,
    owners: usize,
}

struct Object {
    object: Vmo,
    /// The number of pages.
    len: usize,
    /// The version of each page that has one.
    pages: BTreeMap<usize, usize>,
    pins: Vec<(Range<usize>, PinnedPages<X64>)>,
}

impl Object {
    fn is_pinned(&self, range: &Range<usize>) -> bool {
        let overlaps = |pin: &Range<usize>| pin.start < range.end && range.start < pin.end;
        !range.is_empty() && self.pins.iter().any(|(pin, _)| overlaps(pin))
    }
}

struct Model {
    rng: Rng,
    objects: Vec<Object>,
    versions: BTreeMap<usize, Version>,
    /// The number of versions that were ever made.
    made: usize,
    /// The number of operations that failed for lack of memory.
    failed: usize,
}

impl Model {
    /// Runs `operation`. In one of eight times some allocation fails, and all after it.
    fn run<T>(&mut self, operation: impl FnOnce(&Self) -> AxResult<T>) -> AxResult<T> {
        let nth = match self.rng.u8(..8) {
            0 => self.rng.usize(1..12),
            _ => 0,
        };
        let armed = fail_from(nth);
        let result = operation(self);
        drop(armed);
        if matches!(result, Err(AxError::NoMemory)) {
            assert!(nth != 0, "memory has run out");
            self.failed += 1;
        }
        result
    }

    fn edge(&mut self) -> usize {
        match self.rng.bool() {
            true => EDGES[self.rng.usize(..EDGES.len())],
            false => self.rng.usize(..200),
        }
    }

    /// A random range of pages below `len`.
    fn range(&mut self, len: usize) -> Range<usize> {
        let (a, b) = (self.edge().min(len), self.edge().min(len));
        a.min(b)..a.max(b)
    }

    /// A random range of at most `LONGEST` pages below `len`.
    fn short_range(&mut self, len: usize) -> Range<usize> {
        let start = self.edge().min(len);
        start..(start + self.rng.usize(..LONGEST)).min(len)
    }

    fn release(&mut self, version: usize) {
        let entry = self.versions.get_mut(&version).unwrap();
        entry.owners -= 1;
        if entry.owners == 0 {
            self.versions.remove(&version);
        }
    }

    /// Removes pages of the model of an object.
    fn forget(&mut self, at: usize, range: &Range<usize>) {
        let pages = &mut self.objects[at].pages;
        let gone: Vec<_> = pages.range(range.clone()).map(|(page, _)| *page).collect();
        for page in gone {
            let version = self.objects[at].pages.remove(&page).unwrap();
            self.release(version);
        }
    }

    /// Returns the version of a page that the object at `at` alone has, as a write makes it.
    fn own(&mut self, at: usize, page: usize) -> usize {
        let old = self.objects[at].pages.get(&page).copied();
        if let Some(version) = old
            && self.versions[&version].owners == 1
        {
            return version;
        }
        let contents = old.map_or([0; WORDS.len()], |old| self.versions[&old].contents);
        self.made += 1;
        let version = Version {
            contents,
            owners: 1,
        };
        self.versions.insert(self.made, version);
        self.objects[at].pages.insert(page, self.made);
        if let Some(old) = old {
            self.release(old);
        }
        self.made
    }

    /// Compares an object's pages and counts with the model.
    fn compare(&self, at: usize) {
        let Object {
            object, len, pages, ..
        } = &self.objects[at];
        assert_eq!(object.len(), len * KIB4);
        let beside = EDGES.iter().filter(|page| *page < len);
        for page in beside.chain(pages.keys()) {
            let contents = pages
                .get(page)
                .map(|version| self.versions[version].contents);
            for (word, offset) in contents.unwrap_or_default().into_iter().zip(WORDS) {
                let mut read = [0; 8];
                object.read(page * KIB4 + offset, &mut read).unwrap();
                assert_eq!(u64::from_le_bytes(read), word, "page {page:#x}");
            }
        }
        let is_private = |version: &&usize| self.versions[*version].owners == 1;
        let private = pages.values().filter(is_private).count();
        assert_eq!(object.committed_bytes(), pages.len() * KIB4);
        assert_eq!(object.private_bytes(), private * KIB4);
        assert_eq!(object.shared_bytes(), (pages.len() - private) * KIB4);
    }

    fn step(&mut self) {
        let failed = self.failed;
        let count = self.objects.len();
        if count == 0 || count < OBJECTS && self.rng.u8(..40) == 0 {
            return self.create();
        }
        let at = self.rng.usize(..count);
        match self.rng.u8(..32) {
            0..10 => self.write(at),
            10..16 => self.request(at),
            16..18 => self.commit(at, false),
            18..19 => self.commit(at, true),
            19..21 => drop(self.objects[at].pins.pop()),
            21..23 => self.take_out(at, true),
            23..25 => self.take_out(at, false),
            25..27 => self.resize(at),
            27..29 if count < OBJECTS => self.snapshot(at),
            29..31 if count == OBJECTS => {
                let pages = 0..self.objects[at].len;
                self.forget(at, &pages);
                self.objects.swap_remove(at);
            }
            _ => self.compare(at),
        }
        assert_eq!(frames(), self.versions.len());
        if self.failed > failed {
            self.compare(at.min(self.objects.len() - 1));
        }
    }
}

#[test]
fn objects_behave_like_their_model() {
    let _alone = alone();
    let number_in = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seed = number_in("TESSERA_SEED");
    let steps = number_in("TESSERA_STEPS").map_or(STEPS, |steps| steps as usize);
    let mut seeds = Rng::with_seed(seed.unwrap_or(1));
    for _ in 0..steps.div_ceil(STEPS_OF_A_ROUND) {
        let seed = seed.unwrap_or_else(|| seeds.u64(..));
        let result = std::panic::catch_unwind(|| play(seed));
        assert!(result.is_ok(), "TESSERA_SEED={seed}");
    }
}

/// Plays a round, and checks that nothing is left of it.
fn play(seed: u64) {
    let before = (usage(), blocks());
    let mut model = Model {
        rng: Rng::with_seed(seed),
        objects: Vec::new(),
        versions: BTreeMap::new(),
        made: 0,
        failed: 0,
    };
    for _ in 0..STEPS_OF_A_ROUND {
        model.step();
    }
    (0..model.objects.len()).for_each(|at| model.compare(at));
    let failed = model.failed;
    assert!(failed > STEPS_OF_A_ROUND / 200, "{failed} have failed");
    drop(model);
    assert_eq!((usage(), blocks()), before, "all is freed");
}
