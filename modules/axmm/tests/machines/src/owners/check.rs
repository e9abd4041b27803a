//! Checks of all owners.

use std::collections::BTreeMap;

use super::operation::Region;
use super::{Owners, SHARED, Space, Words};
use crate::{KIB4, TestMachine};

/// The owner of a page that hardware can write: the key of an object, or the number of an address
/// space.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Owner {
    Object(usize),
    Space(usize),
}

impl<M: TestMachine> Owners<M> {
    /// Checks what all owners hold, and what hardware can write.
    pub(super) fn check_all(&self) {
        // Accesses fault pages in, so the page tables are looked at first.
        self.check_page_tables();
        for object in &self.objects {
            let Some(handle) = &object.handle else {
                continue;
            };
            assert_eq!(handle.len(), object.len * KIB4);
            for (page, word) in object.words[..object.len].iter().enumerate() {
                let mut bytes = [0; 8];
                handle.read(page * KIB4, &mut bytes).unwrap();
                assert_eq!(u64::from_le_bytes(bytes), *word, "page {page} of an object");
            }
        }
        for (number, space) in self.spaces.iter().enumerate() {
            self.check_space(number, space);
        }
    }

    fn check_space(&self, number: usize, space: &Space<M>) {
        for (region, words, len) in self.regions(space) {
            for (page, word) in words.iter().enumerate().take(space.mapped(region)) {
                let vaddr = Space::<M>::address(region, page);
                let expected = (page < len).then_some(*word);
                let read = space.space.read_val::<u64>(vaddr).ok();
                assert_eq!(
                    read, expected,
                    "page {page} of {region:?} of space {number}"
                );
            }
        }
    }

    /// Returns the regions of an address space in which something is mapped, with what they hold,
    /// and how many pages can be read.
    fn regions<'a>(&'a self, space: &'a Space<M>) -> Vec<(Region, Words, usize)> {
        let shared = (0..SHARED.len()).filter_map(|at| {
            let (key, _) = space.shared[at]?;
            let object = self.objects.iter().find(|object| object.key == key)?;
            Some((Region::Shared(at), object.words, object.len))
        });
        let private = space
            .private
            .map(|(pages, words)| (Region::Private, words, pages));
        let anonymous = space
            .anonymous
            .map(|words| (Region::Anonymous, words, words.len()));
        shared.chain(private).chain(anonymous).collect()
    }

    /// Checks that hardware can write no page that two owners have, and not the zero frame.
    fn check_page_tables(&self) {
        let mut written = BTreeMap::new();
        for (number, space) in self.spaces.iter().enumerate() {
            let root = space.space.page_table_root().as_usize();
            let raw = crate::raw::walk::<M::Raw>(root, 0).unwrap_or_else(|wrong| panic!("{wrong}"));
            for page in raw.pages.iter().filter(|page| page.rights.write) {
                assert_ne!(page.paddr, axmm::zero_frame().as_usize(), "{page:?}");
                let owner = self.owner(number, space, page.vaddr);
                let other = written.insert(page.paddr, owner);
                assert!(
                    other.is_none_or(|other| other == owner),
                    "{page:?}: {other:?}, {owner:?}"
                );
            }
        }
    }

    /// Returns the owner of the page at `vaddr`.
    fn owner(&self, number: usize, space: &Space<M>, vaddr: usize) -> Owner {
        let at = (0..SHARED.len()).find(|at| {
            let start = Space::<M>::address(Region::Shared(*at), 0).as_usize();
            (start..start + space.mapped(Region::Shared(*at)) * KIB4).contains(&vaddr)
        });
        match at.and_then(|at| space.shared[at]) {
            Some((key, _)) => Owner::Object(key),
            None => Owner::Space(number),
        }
    }
}
