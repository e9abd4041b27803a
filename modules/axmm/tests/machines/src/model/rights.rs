//! Rights: which a mapping can have, what hardware reads then, and who may access what.

use axmm::MappingFlags;
use proptest::prelude::*;

use super::{Checked, Mapped, Place, Twist, Verdict, Whose};
use crate::raw::Rights;
use crate::{DEVICE, NONE, RO, RW, RX, TestMachine, UNCACHED, virt};

impl<M: TestMachine> Checked<M> {
    pub(super) fn rights(&self, flags: MappingFlags) -> Rights {
        match self.whose {
            Whose::Kernels => M::rights(flags),
            Whose::Users => M::user_rights(flags),
        }
    }

    /// Whether a mapping can have these rights.
    pub(super) fn allowed(&self, flags: MappingFlags) -> bool {
        match self.whose {
            Whose::Kernels => [RW, RO, RX, NONE, DEVICE, UNCACHED].contains(&flags),
            Whose::Users => flags == NONE || flags.contains(RO),
        }
    }

    pub(super) fn can_access(&self, place: Place, offset: usize, access: MappingFlags) -> Verdict {
        let (atoms, start, size) = self.range(place);
        let (start, size) = match place.twist {
            Twist::Fine => (start + offset, size - offset),
            _ => (start, size),
        };
        let result = self.aspace.can_access_range(virt(start), size, access);
        let allows = |atom: &Option<Mapped>| atom.is_some_and(|atom| atom.flags.contains(access));
        let expected = match (place.twist, atoms) {
            (_, Some(atoms)) => self.model[atoms].iter().all(allows),
            (Twist::Empty, _) => true,
            (Twist::MisalignedStart | Twist::MisalignedSize, _) => return Ok(()),
            _ => false,
        };
        prop_assert_eq!(result, expected);
        Ok(())
    }
}
