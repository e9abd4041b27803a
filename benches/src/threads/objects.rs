//! Memory objects that several threads use at the same time.

use core::ops::Range;
use core::pin::Pin;
use std::boxed::Box;
use std::sync::{Mutex, Once, PoisonError};

use axmm::vmo::Vmo;
use axmm::{AddrSpace, MappingFlags, Sharing};

use super::ours::{ALL, Threads, become_hart};
use super::{Load, PAGE, THREADS, TOUCHED};
use crate::ours::Frames;

/// The pages of all threads, and those of each.
const BYTES: usize = THREADS * EACH;
const EACH: usize = TOUCHED * PAGE;

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

/// Writes to snapshots, one for each thread. The first write to a page copies it.
pub struct SiblingWrites {
    /// What each thread makes its snapshot of.
    originals: [Vmo<Threads>; THREADS],
    snapshots: [Mutex<Option<Vmo<Threads>>>; THREADS],
}

impl SiblingWrites {
    /// All threads have snapshots of one object. `None` without memory.
    pub fn of_one_object() -> Option<Self> {
        let object = resident_object(EACH)?;
        Some(Self::new([(); THREADS].map(|()| object.clone())))
    }

    /// Each thread has a snapshot of an object of its own. `None` without memory.
    pub fn apart() -> Option<Self> {
        Some(Self::new([resident_object(EACH)?, resident_object(EACH)?]))
    }

    fn new(originals: [Vmo<Threads>; THREADS]) -> Self {
        Self {
            originals,
            snapshots: Default::default(),
        }
    }

    /// Exchanges the snapshot of `thread`.
    fn exchange(&self, thread: usize, new: Option<Vmo<Threads>>) -> Option<Vmo<Threads>> {
        let mut held = self.snapshots[thread]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        core::mem::replace(&mut held, new)
    }
}

impl Load for SiblingWrites {
    fn prepare(&self, thread: usize) {
        become_hart(thread);
        let snapshot = self.originals[thread].snapshot();
        assert!(snapshot.is_ok(), "no memory for a snapshot");
        self.exchange(thread, snapshot.ok());
    }

    fn work(&self, thread: usize) {
        let snapshot = self.exchange(thread, None);
        if let Some(snapshot) = &snapshot {
            for page in (0..EACH).step_by(PAGE) {
                assert_eq!(snapshot.write(page, &[1]), Ok(()));
            }
        }
        self.exchange(thread, snapshot);
    }

    fn finish(&self, thread: usize) {
        drop(self.exchange(thread, None));
    }
}
