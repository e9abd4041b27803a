//! Memory objects that several threads use at the same time.

use core::ops::Range;
use core::pin::Pin;
use std::boxed::Box;
use std::sync::{Mutex, Once, PoisonError};
use std::vec::Vec;

use axmm::vmo::Vmo;
use axmm::{AddrSpace, MappingFlags, Sharing};

use super::ours::{ALL, Threads, become_hart};
use super::{Load, PAGE, THREADS, TOUCHED};
use crate::ours::Frames;

/// The bytes of the pages that all threads fault in, and of those of each.
const BYTES: usize = THREADS * EACH;
const EACH: usize = TOUCHED * PAGE;

/// The bytes of a snapshot: what a leaf of the object's tree has. The pages and their copies fit into
/// a core's cache, so that the threads do not wait for memory.
const SNAPSHOT: usize = 64 * PAGE;
/// The number of snapshots that a thread writes in a turn.
const SNAPSHOTS: usize = EACH / SNAPSHOT;

/// Makes an object of `len` bytes whose pages all have frames. `None` without memory.
fn resident_object(len: usize) -> Option<Vmo<Threads>> {
    static ZERO_FRAME: Once = Once::new();
    Frames::new();
    become_hart(0);
    // After an error, which means that memory has run out, the commit fails.
    ZERO_FRAME.call_once(|| _ = axmm::init_zero_frame());
    let object = Vmo::new_paged(len).ok()?;
    object.commit(0..len).ok()?;
    Some(object)
}

/// Page faults on pages that an object has. Each thread has a part of the object for itself, in a
/// shared mapping of its own.
pub struct ObjectFaults {
    object: Vmo<Threads>,
    /// The address space of each thread, or one for all.
    spaces: Box<[Pin<Box<AddrSpace<Threads>>>]>,
}

impl ObjectFaults {
    /// All threads use one address space. `None` without memory.
    pub fn in_one_space() -> Option<Self> {
        Self::new(1)
    }

    /// Each thread has an address space of its own. `None` without memory.
    pub fn in_a_space_each() -> Option<Self> {
        Self::new(THREADS)
    }

    fn new(spaces: usize) -> Option<Self> {
        let object = resident_object(BYTES)?;
        let space = |_| AddrSpace::new_empty(ALL.start.into(), ALL.len()).map(Box::pin);
        let spaces = (0..spaces).map(space).collect::<Result<_, _>>().ok()?;
        Some(Self { object, spaces })
    }

    fn space(&self, thread: usize) -> Pin<&AddrSpace<Threads>> {
        self.spaces[thread % self.spaces.len()].as_ref()
    }

    /// The addresses of the pages of `thread`.
    fn pages(thread: usize) -> Range<usize> {
        let start = ALL.start + thread * EACH;
        start..start + EACH
    }
}

impl Load for ObjectFaults {
    fn prepare(&self, thread: usize) {
        become_hart(thread);
        let mapped = self.space(thread).map_object(
            Self::pages(thread).start.into(),
            EACH,
            MappingFlags::READ | MappingFlags::WRITE,
            &self.object,
            thread * EACH,
            Sharing::Shared,
        );
        assert_eq!(mapped, Ok(()));
    }

    fn work(&self, thread: usize) {
        let space = self.space(thread);
        for page in Self::pages(thread).step_by(PAGE) {
            assert_eq!(space.fault(page.into(), MappingFlags::READ), Ok(()));
        }
    }

    fn finish(&self, thread: usize) {
        let start = Self::pages(thread).start;
        assert_eq!(self.space(thread).unmap(start.into(), EACH), Ok(()));
    }
}

/// Writes to snapshots, of which each thread has its own, one after another. The first write to a
/// page copies it. A snapshot is dropped when all its pages are written.
pub struct SiblingWrites {
    /// What each thread makes its snapshot of.
    originals: [Vmo<Threads>; THREADS],
    snapshots: [Mutex<Vec<Vmo<Threads>>>; THREADS],
}

impl SiblingWrites {
    /// All threads have snapshots of one object. `None` without memory.
    pub fn of_one_object() -> Option<Self> {
        let object = resident_object(SNAPSHOT)?;
        Some(Self::new([(); THREADS].map(|()| object.clone())))
    }

    /// Each thread has a snapshot of an object of its own. `None` without memory.
    pub fn apart() -> Option<Self> {
        let object = || resident_object(SNAPSHOT);
        Some(Self::new([object()?, object()?]))
    }

    fn new(originals: [Vmo<Threads>; THREADS]) -> Self {
        Self {
            originals,
            snapshots: Default::default(),
        }
    }

    /// Exchanges the snapshots of `thread`.
    fn exchange(&self, thread: usize, new: Vec<Vmo<Threads>>) -> Vec<Vmo<Threads>> {
        let held = self.snapshots[thread].lock();
        core::mem::replace(&mut held.unwrap_or_else(PoisonError::into_inner), new)
    }
}

impl Load for SiblingWrites {
    fn prepare(&self, thread: usize) {
        become_hart(thread);
        let snapshots = (0..SNAPSHOTS).map(|_| self.originals[thread].snapshot());
        let snapshots: Vec<_> = snapshots.flatten().collect();
        assert_eq!(snapshots.len(), SNAPSHOTS, "no memory for a snapshot");
        self.exchange(thread, snapshots);
    }

    fn work(&self, thread: usize) {
        for snapshot in self.exchange(thread, Vec::new()) {
            for page in (0..SNAPSHOT).step_by(PAGE) {
                assert_eq!(snapshot.write(page, &[1]), Ok(()));
            }
        }
    }

    fn finish(&self, _thread: usize) {}
}
