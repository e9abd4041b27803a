//! Page faults in a mapping of an object and the end of the mapping, beside operations of the object,
//! in every interleaving of the accesses to their locks.
//!
//! Loom does not see page tables and the tree of pages. So each test looks at what is mapped in the
//! end.

use core::mem::MaybeUninit;
use core::pin::Pin;
use core::ptr::NonNull;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use memory_addr::{PAGE_SIZE_4K, PhysAddr};
use page_table_multiarch::MappingFlags;

use super::{AddrSpace, Fault, Sharing};
use crate::locking::modelled::{Modelled, harts, wake_other};
use crate::test_memory;
use crate::vmo::{Access, Vmo};

const READ: MappingFlags = MappingFlags::READ;
const WRITE: MappingFlags = MappingFlags::WRITE;
/// The address of the page that is mapped.
const PAGE: usize = 1 << 30;
/// How often a hart may be interrupted by the other.
const PREEMPTIONS: usize = 2;

/// An address space that leaves no valid byte behind when it is dropped. So a hart that uses it
/// later crashes.
struct Space {
    place: NonNull<AddrSpace<Modelled>>,
    is_dropped: AtomicBool,
}

// SAFETY: harts share an address space. `drop_now` is called once.
unsafe impl Send for Space {}
// SAFETY: harts share an address space.
unsafe impl Sync for Space {}

impl Space {
    fn new() -> Self {
        let space = AddrSpace::new_empty(PAGE.into(), PAGE).unwrap();
        Self {
            // Nothing else gets the place before the test ends.
            place: NonNull::from(Box::leak(Box::new(space))),
            is_dropped: AtomicBool::new(false),
        }
    }

    fn get(&self) -> Pin<&AddrSpace<Modelled>> {
        // SAFETY: the place is freed with `self`, and each test drops the address space last.
        unsafe { Pin::new_unchecked(self.place.as_ref()) }
    }

    fn drop_now(&self) {
        if !self.is_dropped.swap(true, Relaxed) {
            // SAFETY: this happens once. No correct code uses the address space afterwards.
            unsafe {
                self.place.drop_in_place();
                self.place.write_bytes(0x5a, 1);
            }
        }
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        self.drop_now();
        let place = self.place.cast::<MaybeUninit<AddrSpace<Modelled>>>();
        // SAFETY: the place came from a box. Its value has been dropped.
        drop(unsafe { Box::from_raw(place.as_ptr()) });
    }
}

/// An object of one page, and an address space that maps it or is about to.
struct World {
    space: Space,
    object: Vmo<Modelled>,
    /// The frame that the page has at first.
    frame: PhysAddr,
    snapshot: Mutex<Option<Vmo<Modelled>>>,
}

impl World {
    fn new() -> Self {
        test_memory::add_once();
        let object = Vmo::new_resizable(PAGE_SIZE_4K).unwrap();
        let frame = object.request(0, Access::Write).unwrap().frame;
        Self {
            space: Space::new(),
            object,
            frame,
            snapshot: Mutex::new(None),
        }
    }

    fn mapped() -> Self {
        let world = Self::new();
        world.map();
        world
    }

    fn map(&self) {
        let (flags, sharing) = (READ | WRITE, Sharing::Shared);
        let space = self.space.get();
        let mapped = space.map_object(PAGE.into(), PAGE_SIZE_4K, flags, &self.object, 0, sharing);
        mapped.unwrap();
    }

    fn fault(&self, access: MappingFlags) -> Result<(), Fault> {
        let faulted = self.space.get().fault(PAGE.into(), access);
        wake_other();
        faulted
    }

    /// The frame is free now, so nothing may show it.
    fn assert_not_shown(&self) {
        let page = self.space.get().table.query(PAGE.into());
        assert_ne!(page.map(|page| page.paddr), Some(self.frame));
    }

    fn decommit(&self) {
        self.object.decommit(0..PAGE_SIZE_4K).unwrap();
        self.assert_not_shown();
        wake_other();
    }
}

impl Drop for World {
    /// Checks what each interleaving must end with.
    fn drop(&mut self) {
        if !self.space.is_dropped.load(Relaxed) {
            let shown = self.space.get().table.query(PAGE.into());
            let mut snapshot = self.snapshot.lock().unwrap();
            match snapshot.take() {
                None => self.assert_not_shown(),
                Some(snapshot) => {
                    let frame = snapshot.request(0, Access::Read).unwrap().frame;
                    let is_written =
                        shown.is_some_and(|page| page.paddr == frame && page.flags.contains(WRITE));
                    assert!(!is_written, "the snapshot changes with the object");
                }
            }
        }
    }
}

#[test]
fn a_fault_does_not_enter_a_page_that_is_decommitted() {
    harts(PREEMPTIONS, World::mapped, World::decommit, |world| {
        assert_eq!(world.fault(READ), Ok(()));
    });
}

#[test]
fn a_fault_does_not_enter_a_page_that_is_cut_off() {
    harts(
        PREEMPTIONS,
        World::mapped,
        |world| {
            world.object.resize(0).unwrap();
            world.assert_not_shown();
            wake_other();
        },
        |world| {
            let faulted = world.fault(READ);
            assert!(matches!(faulted, Ok(()) | Err(Fault::Bus)), "{faulted:?}");
        },
    );
}

/// A decommit does not visit a mapping that is made beside it. Then the fault does not find the page.
#[test]
fn a_fault_in_a_new_mapping_does_not_enter_a_page_that_is_decommitted() {
    harts(PREEMPTIONS, World::new, World::decommit, |world| {
        world.map();
        assert_eq!(world.fault(READ), Ok(()));
    });
}

#[test]
fn a_page_of_a_snapshot_is_not_written_by_a_fault_beside_it() {
    harts(
        PREEMPTIONS,
        World::mapped,
        |world| {
            let snapshot = world.object.snapshot().unwrap();
            *world.snapshot.lock().unwrap() = Some(snapshot);
            wake_other();
        },
        |world| {
            assert_eq!(world.fault(WRITE), Ok(()));
        },
    );
}

#[test]
fn a_mapping_may_be_unmapped_beside_a_decommit() {
    harts(PREEMPTIONS, World::mapped, World::decommit, |world| {
        world.space.get().unmap(PAGE.into(), PAGE_SIZE_4K).unwrap();
        wake_other();
    });
}

/// The address space, and the record of its mapping, outlast a visit of the object.
#[test]
fn an_address_space_may_be_dropped_beside_a_decommit() {
    harts(
        PREEMPTIONS,
        World::mapped,
        |world| {
            world.object.decommit(0..PAGE_SIZE_4K).unwrap();
            wake_other();
        },
        |world| {
            world.space.drop_now();
            wake_other();
        },
    );
}
