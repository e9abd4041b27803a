//! Random operations on memory objects and on the address spaces that show them.
//!
//! There are several owners of memory: objects, and the private mappings and the anonymous memory
//! of address spaces. Each owner knows what was written through it. The checks are these:
//!
//! - A write through one owner is seen by no other, and by all mappings of that owner.
//! - A snapshot, a private mapping and a fork begin with what their original has.
//! - An operation that fails changes nothing, and fails only for a reason.
//! - Hardware can write no page that two owners have, and never the zero frame.
//! - When all is dropped, all memory is free.
//!
//! Files: [`operation`] has the operations and how bytes become some of them, [`objects`] and
//! [`spaces`] perform those on objects and on address spaces, and [`check`] checks.

mod check;
mod objects;
mod operation;
mod spaces;

use std::ops::Range;
use std::pin::Pin;

use arbitrary::{Arbitrary, Unstructured};
use axalloc::fault::fail_from;
use axalloc::usage;
use axerrno::{AxError, AxResult};
use axmm::AddrSpace;
use axmm::vmo::{PinnedPages, Vmo};

use crate::{GIB, KIB4, MIB2, TestMachine, virt};
pub use operation::Operation;

/// The number of pages of each owner.
const PAGES: usize = 10;
/// The most objects with a handle, and the most address spaces.
const MOST: usize = 5;
/// The size of an address space in bytes.
const SIZE: usize = 3 * GIB;
/// Where an address space shows two objects, each across the end of a page table.
const SHARED: [usize; 2] = [MIB2 - 4 * KIB4, 5 * MIB2 - 7 * KIB4];
/// Where a private mapping is, across the end of a page table of 1 GiB.
const PRIVATE: usize = GIB - 5 * KIB4;
/// Where anonymous memory is, in page tables of its own.
const ANONYMOUS: usize = 2 * GIB + 16 * MIB2 - 3 * KIB4;

/// What was written to each page. 0 at first.
type Words = [u64; PAGES];

/// A memory object.
struct Object<M: TestMachine> {
    /// The number by which mappings refer to the object.
    key: usize,
    /// The handle. `None` once it is dropped, so that only mappings keep the object.
    handle: Option<Vmo<M>>,
    /// The number of pages.
    len: usize,
    words: Words,
    pins: Vec<(Range<usize>, PinnedPages<M>)>,
}

/// An address space.
struct Space<M: TestMachine> {
    space: Pin<Box<AddrSpace<M>>>,
    /// The key of the object at each place of [`SHARED`], and the number of pages that are mapped.
    shared: [Option<(usize, usize)>; SHARED.len()],
    /// The private mapping: the number of pages that are mapped, and what they hold.
    private: Option<(usize, Words)>,
    /// Anonymous memory.
    anonymous: Option<Words>,
}

/// All owners.
struct Owners<M: TestMachine> {
    objects: Vec<Object<M>>,
    spaces: Vec<Space<M>>,
    /// The number of keys that were given to objects.
    keys: usize,
    /// The last value that was written.
    value: u64,
}

/// The result of an operation that the caller has armed to fail.
struct Attempt<T> {
    result: AxResult<T>,
    /// Whether memory was refused.
    is_short: bool,
}

impl<T> Attempt<T> {
    /// Returns the value, or `None` if the operation has failed for lack of memory or for another
    /// reason that `is_expected`.
    fn unless(self, is_expected: impl Fn(AxError) -> bool) -> Option<T> {
        match self.result {
            Ok(value) => Some(value),
            Err(AxError::NoMemory) if self.is_short => None,
            Err(error) => {
                assert!(is_expected(error), "{error:?}");
                None
            }
        }
    }
}

/// Performs an operation whose allocation number `fail`, and all after it, are refused; none if
/// `fail` is 0.
fn attempt<T>(fail: usize, operation: impl FnOnce() -> AxResult<T>) -> Attempt<T> {
    let armed = fail_from(if fail == 0 { usize::MAX } else { fail });
    let result = operation();
    let is_short = armed.has_fired();
    Attempt { result, is_short }
}

/// Performs the operations that `bytes` make, at most `longest` of them, and checks all owners.
///
/// # Panics
///
/// Panics if a check fails.
pub fn play<M: TestMachine>(mut bytes: Unstructured, longest: usize) {
    let before = usage();
    let mut owners = Owners::<M>::new();
    for _ in 0..longest {
        if bytes.is_empty() {
            break;
        }
        let Ok(operation) = Operation::arbitrary(&mut bytes) else {
            break;
        };
        owners.perform(operation);
    }
    owners.check_all();
    drop(owners);
    assert_eq!(usage(), before, "all is freed");
}

impl<M: TestMachine> Owners<M> {
    fn new() -> Self {
        Self {
            objects: Vec::new(),
            spaces: vec![Space::new()],
            keys: 0,
            value: 0,
        }
    }

    fn next_value(&mut self) -> u64 {
        self.value += 1;
        self.value
    }

    /// Removes the objects that have neither a handle nor a mapping.
    fn remove_unused(&mut self) {
        let spaces = &self.spaces;
        self.objects.retain(|object| {
            let mut mappings = spaces.iter().flat_map(|space| space.shared).flatten();
            let is_mapped = mappings.any(|(key, _)| key == object.key);
            object.handle.is_some() || !object.pins.is_empty() || is_mapped
        });
    }
}

impl<M: TestMachine> Space<M> {
    fn new() -> Self {
        let space = AddrSpace::new_empty_user(virt(Self::base()), SIZE);
        Self {
            space: Box::pin(space.unwrap()),
            shared: [None; SHARED.len()],
            private: None,
            anonymous: None,
        }
    }

    fn base() -> usize {
        M::base() - M::HIGH
    }
}
