//! Operations on address spaces.

use axerrno::{AxError, AxResult};
use axmm::{AddrSpace, Grain, Sharing, VirtAddr};

use super::operation::{Place, Region, SpaceOp};
use super::{ANONYMOUS, MOST, Owners, PAGES, PRIVATE, SHARED, SIZE, Space, attempt};
use crate::{KIB4, RO, RW, TestMachine, WRITE, virt};

impl<M: TestMachine> Space<M> {
    /// Returns the address of a page of a region.
    pub(super) fn address(region: Region, page: usize) -> VirtAddr {
        let start = match region {
            Region::Shared(place) => SHARED[place],
            Region::Private => PRIVATE,
            Region::Anonymous => ANONYMOUS,
        };
        virt(Self::base() + start + page * KIB4)
    }

    /// Returns the number of pages that are mapped in a region.
    pub(super) fn mapped(&self, region: Region) -> usize {
        match region {
            Region::Shared(place) => self.shared[place].map_or(0, |(_, pages)| pages),
            Region::Private => self.private.map_or(0, |(pages, _)| pages),
            Region::Anonymous => self.anonymous.map_or(0, |_| PAGES),
        }
    }

    /// Returns a copy of the model for a duplicate of the address space.
    fn duplicate(&self, space: AddrSpaceOf<M>) -> Self {
        Self { space, ..*self }
    }
}

type AddrSpaceOf<M> = std::pin::Pin<Box<AddrSpace<M>>>;

impl<M: TestMachine> Owners<M> {
    pub(super) fn new_space(&mut self) {
        if self.spaces.len() < MOST {
            self.spaces.push(Space::new());
        }
    }

    pub(super) fn space_op(&mut self, op: SpaceOp, place: Place) {
        match op {
            SpaceOp::MapShared(at, object) => self.map(place, Region::Shared(at), object),
            SpaceOp::MapPrivate(object) => self.map(place, Region::Private, object),
            SpaceOp::MapAnonymous(grain) => self.map_anonymous(place, grain),
            SpaceOp::Unmap(region) => self.unmap(place, region),
            SpaceOp::Write(region) => self.write(place, region),
            SpaceOp::Fault(region, writes) => self.fault(place, region, writes),
            SpaceOp::Fork => self.fork(place),
            SpaceOp::CloneEager => self.clone_eager(place),
            SpaceOp::Drop => {
                if self.spaces.len() > 1 {
                    self.spaces.swap_remove(place.at);
                }
            }
        }
    }

    /// Maps an object where nothing is mapped yet.
    fn map(&mut self, place: Place, region: Region, object: usize) {
        let Some(object) = self.objects.get(object) else {
            return;
        };
        let space = &mut self.spaces[place.at];
        let Some(handle) = object.handle.as_ref().filter(|_| object.len > 0) else {
            return;
        };
        if space.mapped(region) > 0 {
            return;
        }
        let sharing = match region {
            Region::Shared(_) => Sharing::Shared,
            _ => Sharing::Private,
        };
        let is_pinned = sharing == Sharing::Private && !object.pins.is_empty();
        let (start, len) = (Space::<M>::address(region, 0), object.len);
        let mapped = attempt(place.fail, || {
            let aspace = space.space.as_ref();
            aspace.map_object(start, len * KIB4, RW, handle, 0, sharing)
        });
        if mapped
            .unless(|error| error == AxError::BadState && is_pinned)
            .is_some()
        {
            match region {
                Region::Shared(at) => space.shared[at] = Some((object.key, len)),
                _ => space.private = Some((len, object.words)),
            }
        }
    }

    fn map_anonymous(&mut self, place: Place, grain: Grain) {
        let space = &mut self.spaces[place.at];
        if space.anonymous.is_some() {
            return;
        }
        let start = Space::<M>::address(Region::Anonymous, 0);
        let mapped = attempt(place.fail, || {
            let populates = place.first.is_multiple_of(2);
            let aspace = &space.space;
            aspace.map_alloc_with(start, PAGES * KIB4, RW, populates, grain)
        });
        if mapped.unless(|_| false).is_some() {
            space.anonymous = Some([0; PAGES]);
        }
    }

    /// Unmaps a whole region.
    fn unmap(&mut self, place: Place, region: Region) {
        let space = &mut self.spaces[place.at];
        let pages = space.mapped(region);
        if pages == 0 {
            return;
        }
        let start = Space::<M>::address(region, 0);
        let unmapped = attempt(place.fail, || space.space.unmap(start, pages * KIB4));
        if unmapped.unless(|_| false).is_some() {
            match region {
                Region::Shared(at) => space.shared[at] = None,
                Region::Private => space.private = None,
                Region::Anonymous => space.anonymous = None,
            }
        }
    }

    /// Returns whether an access to a page of a region succeeds if there is memory: the page is
    /// mapped, and the object has not shrunk.
    fn is_there(&self, place: Place, region: Region) -> bool {
        let space = &self.spaces[place.at];
        let is_in_object = match region {
            Region::Shared(at) => space.shared[at].is_some_and(|(key, _)| {
                let mut objects = self.objects.iter();
                let object = objects.find(|object| object.key == key);
                object.is_some_and(|object| place.first < object.len)
            }),
            _ => true,
        };
        place.first < space.mapped(region) && is_in_object
    }

    fn fault(&mut self, place: Place, region: Region, writes: bool) {
        let is_there = self.is_there(place, region);
        let space = &self.spaces[place.at].space;
        let vaddr = Space::<M>::address(region, place.first);
        let access = if writes { WRITE } else { RO };
        let fault = || space.fault(vaddr, access).map_err(AxError::from);
        let resolved = attempt(place.fail, fault).unless(|_| !is_there);
        assert!(resolved.is_none() || is_there, "nothing is there");
    }

    fn write(&mut self, place: Place, region: Region) {
        let is_there = self.is_there(place, region);
        let value = self.next_value();
        let vaddr = Space::<M>::address(region, place.first);
        let space = &mut self.spaces[place.at];
        // A copy does not say why it has ended. A fault does.
        let write = || -> AxResult {
            space.space.fault(vaddr, WRITE).map_err(AxError::from)?;
            space.space.write_val(vaddr, &value)
        };
        if attempt(place.fail, write).unless(|_| !is_there).is_none() {
            return;
        }
        assert!(is_there, "nothing is there");
        let words = match region {
            Region::Private => space.private.as_mut().map(|(_, words)| words),
            Region::Anonymous => space.anonymous.as_mut(),
            Region::Shared(at) => {
                let key = space.shared[at].map(|(key, _)| key);
                let mut objects = self.objects.iter_mut();
                let object = objects.find(|object| Some(object.key) == key);
                object.map(|object| &mut object.words)
            }
        };
        words.expect("a region that is mapped has an owner")[place.first] = value;
    }

    fn fork(&mut self, place: Place) {
        if self.spaces.len() >= MOST {
            return;
        }
        let parent = &self.spaces[place.at];
        let start = virt(Space::<M>::base());
        let child = Box::pin(AddrSpace::new_empty_user(start, SIZE).unwrap());
        let forked = attempt(place.fail, || parent.space.fork_into(child.as_ref()));
        if forked.unless(|_| false).is_some() {
            let child = parent.duplicate(child);
            self.spaces.push(child);
        }
    }

    fn clone_eager(&mut self, place: Place) {
        if self.spaces.len() >= MOST {
            return;
        }
        let original = &self.spaces[place.at];
        let is_shared = original.shared.iter().any(Option::is_some);
        let cloned = attempt(place.fail, || original.space.clone_eager());
        let cloned = cloned.unless(|error| error == AxError::Unsupported && is_shared);
        if let Some(space) = cloned {
            let clone = original.duplicate(Box::pin(space));
            self.spaces.push(clone);
        }
    }
}
