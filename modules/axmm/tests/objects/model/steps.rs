//! The operations of the model, each on an object and on its flat map.

use std::collections::BTreeMap;
use std::ops::Range;

use axerrno::{AxError, AxResult};
use axmm::vmo::{Access, VmoKind};

use super::{Model, Object, WORDS};
use crate::Vmo;
use crate::support::KIB4;

impl Model {
    pub fn create(&mut self) {
        let len = self.edge();
        let is_resizable = self.rng.bool();
        let result = self.run(|_| match is_resizable {
            true => Vmo::new_resizable(len * KIB4),
            false => Vmo::new_paged(len * KIB4),
        });
        match result {
            Ok(object) => self.objects.push(Object {
                object,
                len,
                pages: BTreeMap::new(),
                pins: Vec::new(),
            }),
            Err(AxError::InvalidInput) => assert!(len == 0 && !is_resizable),
            Err(error) => assert_eq!(error, AxError::NoMemory),
        }
    }

    /// Calls `operation` with the object at `at`, or with a slice of it that has `range`, and with
    /// the offset in bytes at which the range begins there.
    fn on<T>(
        &mut self,
        at: usize,
        range: &Range<usize>,
        operation: impl FnOnce(&Vmo, usize) -> AxResult<T>,
    ) -> AxResult<T> {
        let Object { object, len, .. } = &self.objects[at];
        let can_slice = object.kind() != VmoKind::Resizable && *len > 0;
        if !can_slice || self.rng.u8(..4) > 0 {
            let object = object.clone();
            return self.run(|_| operation(&object, range.start * KIB4));
        }
        let (first, end) = (
            self.rng.usize(..=range.start),
            range.end.max(range.start + 1),
        );
        if end > *len {
            return Err(AxError::NoMemory);
        }
        let slice = object.slice(first * KIB4, (end - first) * KIB4)?;
        self.run(|_| operation(&slice, (range.start - first) * KIB4))
    }

    pub fn write(&mut self, at: usize) {
        let len = self.objects[at].len;
        let range = self.short_range(len);
        let range = range.start..range.end.min(range.start + 3);
        if range.is_empty() {
            return;
        }
        let (first, last) = (self.rng.usize(..KIB4), self.rng.usize(1..=KIB4));
        let (start, end) = (first, (range.len() - 1) * KIB4 + last);
        if start >= end {
            return;
        }
        let word = self.rng.u64(..);
        let bytes: Vec<u8> = (start..end).map(|i| word.to_le_bytes()[i % 8]).collect();
        match self.on(at, &range, |object, offset| {
            object.write(offset + start, &bytes)
        }) {
            Err(error) => assert_eq!(error, AxError::NoMemory),
            Ok(()) => {
                for page in range.clone() {
                    let version = self.own(at, page);
                    let contents = &mut self.versions.get_mut(&version).unwrap().contents;
                    for (compared, offset) in contents.iter_mut().zip(WORDS) {
                        let mut word = compared.to_le_bytes();
                        for (i, byte) in word.iter_mut().enumerate() {
                            let at = (page - range.start) * KIB4 + offset + i;
                            if (start..end).contains(&at) {
                                *byte = bytes[at - start];
                            }
                        }
                        *compared = u64::from_le_bytes(word);
                    }
                }
            }
        }
    }

    pub fn request(&mut self, at: usize) {
        let len = self.objects[at].len;
        let page = self.edge();
        if page >= len {
            return;
        }
        let offset = page * KIB4;
        let object = self.objects[at].object.clone();
        let before = object.request(offset, Access::Read).unwrap();
        let version = self.objects[at].pages.get(&page);
        let is_own = version.is_some_and(|version| self.versions[version].owners == 1);
        assert_eq!(before.writable, is_own);
        match self.on(at, &(page..page + 1), |object, offset| {
            object.request(offset, Access::Write)
        }) {
            Err(error) => assert_eq!(error, AxError::NoMemory),
            Ok(run) => {
                assert!(run.writable);
                assert_eq!(run.frame == before.frame, is_own, "in place");
                self.own(at, page);
            }
        }
    }

    pub fn commit(&mut self, at: usize, pin: bool) {
        let range = self.short_range(self.objects[at].len);
        if range.is_empty() {
            return;
        }
        let bytes = |offset| offset..offset + range.len() * KIB4;
        let result = self.on(at, &range, |object, offset| match pin {
            true => object.pin(bytes(offset)).map(Some),
            false => object.commit(bytes(offset)).map(|()| None),
        });
        match result {
            Err(error) => assert_eq!(error, AxError::NoMemory),
            Ok(pin) => {
                for page in range.clone() {
                    self.own(at, page);
                }
                self.objects[at].pins.extend(pin.map(|pin| (range, pin)));
            }
        }
    }

    pub fn take_out(&mut self, at: usize, decommit: bool) {
        let range = self.range(self.objects[at].len);
        let bytes = |offset| offset..offset + range.len() * KIB4;
        let result = self.on(at, &range, |object, offset| match decommit {
            true => object.decommit(bytes(offset)),
            false => object.zero(bytes(offset)),
        });
        match result {
            Ok(()) => {
                assert!(!self.objects[at].is_pinned(&range));
                self.forget(at, &range);
            }
            Err(AxError::BadState) => assert!(self.objects[at].is_pinned(&range)),
            Err(AxError::Unsupported) => {
                assert!(decommit && self.objects[at].object.kind() == VmoKind::Snapshot);
            }
            Err(error) => assert_eq!(error, AxError::NoMemory),
        }
    }

    pub fn resize(&mut self, at: usize) {
        let (old, new) = (self.objects[at].len, self.edge());
        let object = self.objects[at].object.clone();
        match self.run(|_| object.resize(new * KIB4)) {
            Ok(()) => {
                self.forget(at, &(new..old.max(new)));
                self.objects[at].len = new;
            }
            Err(AxError::Unsupported) => assert_ne!(object.kind(), VmoKind::Resizable),
            Err(AxError::BadState) => assert!(self.objects[at].is_pinned(&(new..old))),
            Err(error) => assert_eq!(error, AxError::NoMemory),
        }
    }

    pub fn snapshot(&mut self, at: usize) {
        let len = self.objects[at].len;
        let range = match self.rng.bool() {
            true => 0..len,
            false => self.range(len),
        };
        let result = self.on(at, &range, |object, offset| match range == (0..len) {
            true if object.len() == len * KIB4 => object.snapshot(),
            _ => object.snapshot_of(offset, range.len() * KIB4),
        });
        match result {
            Ok(object) => {
                assert!(!self.objects[at].is_pinned(&range));
                let pages = self.objects[at].pages.range(range.clone());
                let pages = pages.map(|(page, version)| (page - range.start, *version));
                let pages: BTreeMap<_, _> = pages.collect();
                for version in pages.values() {
                    self.versions.get_mut(version).unwrap().owners += 1;
                }
                let (len, pins) = (range.len(), Vec::new());
                self.objects.push(Object {
                    object,
                    len,
                    pages,
                    pins,
                });
            }
            Err(AxError::BadState) => assert!(self.objects[at].is_pinned(&range)),
            Err(error) => assert_eq!(error, AxError::NoMemory),
        }
    }
}
