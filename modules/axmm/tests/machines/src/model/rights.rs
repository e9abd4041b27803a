//! Rights: which ones a mapping may have, what hardware reads, and which accesses they allow.

use axmm::MappingFlags;
use proptest::prelude::*;

use super::{AtomRange, Defect, Mapped, Modelled, SpaceKind, Verdict};
use crate::raw::Rights;
use crate::{DEVICE, NONE, RO, RW, RX, TestMachine, UNCACHED, virt};

impl<M: TestMachine> Modelled<M> {
    /// Returns the rights that hardware reads from a page with these flags.
    pub(super) fn rights(&self, flags: MappingFlags) -> Rights {
        match self.kind {
            SpaceKind::Kernel => M::rights(flags),
            SpaceKind::User => M::user_rights(flags),
        }
    }

    /// Returns whether a mapping may have these rights.
    pub(super) fn allowed(&self, flags: MappingFlags) -> bool {
        match self.kind {
            SpaceKind::Kernel => [RW, RO, RX, NONE, DEVICE, UNCACHED].contains(&flags),
            SpaceKind::User => flags == NONE || flags.contains(RO),
        }
    }

    /// Compares `can_access_range` with the model.
    pub(super) fn can_access(
        &self,
        range: AtomRange,
        offset: usize,
        access: MappingFlags,
    ) -> Verdict {
        let (atoms, start, size) = self.range(range);
        let (start, size) = match range.defect {
            Defect::None => (start + offset, size - offset),
            _ => (start, size),
        };
        let result = self.aspace.can_access_range(virt(start), size, access);
        let allows = |atom: &Option<Mapped>| atom.is_some_and(|atom| atom.flags.contains(access));
        let expected = match (range.defect, atoms) {
            (_, Some(atoms)) => self.model[atoms].iter().all(allows),
            (Defect::Empty, _) => true,
            (Defect::MisalignedStart | Defect::MisalignedSize, _) => return Ok(()),
            _ => false,
        };
        prop_assert_eq!(result, expected);
        Ok(())
    }
}
