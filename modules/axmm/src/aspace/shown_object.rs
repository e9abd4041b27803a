//! The memory object that an area shows.

/// A memory object, and where an area shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShownObject {
    /// A number that no other object has as long as this one exists.
    pub id: usize,
    /// What the object is made of, in one word. A private mapping shows a snapshot.
    pub kind: &'static str,
    /// The object's name. That of a snapshot which a private mapping shows is the original's.
    pub name: &'static str,
    /// The offset in the object, in bytes. For a snapshot it is the offset in the original, and
    /// for a snapshot of a slice that in the object of which the slice is a part.
    pub offset: usize,
    /// Whether writes go to the object. Otherwise a page is copied when it is written.
    pub is_shared: bool,
    /// The object's length in bytes.
    pub len: usize,
    /// The bytes in frames with other owners: other objects, or private mappings that show the page.
    pub shared: usize,
    /// The bytes in frames without other owners.
    pub private: usize,
}

#[cfg(feature = "objects")]
mod lookup {
    use memory_addr::{MemoryAddr, PAGE_SIZE_4K, VirtAddr, VirtAddrRange};

    use super::ShownObject;
    use crate::aspace::objects::record;
    use crate::aspace::space::AddrSpace;
    use crate::aspace::write_guard::WriteGuard;
    use crate::machine::Machine;
    use crate::vmo::Vmo;

    impl<M: Machine> AddrSpace<M> {
        /// Returns the object that is shown at `vaddr`. `None` if none is, or in an interrupt
        /// handler that has interrupted an operation. Allocates nothing.
        ///
        /// The mapping may end meanwhile. The object exists until this returns.
        pub fn object_at(&self, vaddr: VirtAddr) -> Option<ShownObject> {
            // The object is counted without a lock of the address space: it may have many pages.
            let (object, offset, is_shared) = self.mapped_object(vaddr.align_down_4k())?;
            let committed = object.committed();
            Some(ShownObject {
                id: object.id(),
                kind: object.kind().word(),
                name: object.name(),
                offset: object.origin() + offset,
                is_shared,
                len: object.len(),
                shared: committed.shared,
                private: committed.private,
            })
        }

        /// Returns a handle of the object that is mapped at `page`, the offset of the page, and
        /// whether writes go to the object.
        fn mapped_object(&self, page: VirtAddr) -> Option<(Vmo<M>, usize, bool)> {
            let shard = self.shards.at(page.as_usize())?;
            let range = VirtAddrRange::try_from_start_size(page, PAGE_SIZE_4K)?;
            let mut guard = WriteGuard::new(self, shard, range);
            guard.begin().ok()?;
            let of = guard.area_at(page)?.area().backend().object()?;
            // SAFETY: the area shows the object. The index lock is held, and no other hart has
            // locked the page, or `begin` would have waited. So no operation unmaps it before the
            // guard is dropped, and a mapping has its record until all of it is unmapped.
            let record = unsafe { record::<M>(of).as_ref() };
            let offset = record.offset_of(page.as_usize());
            Some((record.object.clone(), offset, of.is_shared))
        }
    }
}

#[cfg(not(feature = "objects"))]
mod lookup {
    use memory_addr::VirtAddr;

    use super::ShownObject;
    use crate::aspace::space::AddrSpace;
    use crate::machine::Machine;

    impl<M: Machine> AddrSpace<M> {
        /// Returns `None`: the kernel has no memory objects.
        pub fn object_at(&self, _: VirtAddr) -> Option<ShownObject> {
            None
        }
    }
}
