//! Operations on objects.

use std::ops::Range;

use axerrno::AxError;
use axmm::vmo::{Vmo, VmoKind};

use super::operation::{ObjectOp, Place};
use super::{MOST, Object, Owners, PAGES, Words, attempt};
use crate::{KIB4, TestMachine};

impl<M: TestMachine> Object<M> {
    /// Returns whether a page of `range` is pinned. Such a page cannot be taken away or shared.
    pub(super) fn is_pinned(&self, range: &Range<usize>) -> bool {
        let overlaps = |pin: &Range<usize>| pin.start < range.end && range.start < pin.end;
        self.pins.iter().any(|(pin, _)| overlaps(pin))
    }
}

impl<M: TestMachine> Owners<M> {
    pub(super) fn new_object(&mut self, is_resizable: bool, len: usize, fail: usize) {
        if self.objects.len() >= 2 * MOST {
            return;
        }
        let made = attempt(fail, || match is_resizable {
            true => Vmo::new_resizable(len * KIB4),
            false => Vmo::new_paged(len * KIB4),
        });
        if let Some(handle) = made.unless(|_| false) {
            self.add_object(handle, len, [0; PAGES]);
        }
    }

    fn add_object(&mut self, handle: Vmo<M>, len: usize, words: Words) {
        self.keys += 1;
        self.objects.push(Object {
            key: self.keys,
            handle: Some(handle),
            len,
            words,
            pins: Vec::new(),
        });
    }

    pub(super) fn object_op(&mut self, op: ObjectOp, place: Place) {
        let value = self.next_value();
        let object = &mut self.objects[place.at];
        let Some(handle) = object.handle.clone() else {
            return;
        };
        let end = (place.first + place.count).min(object.len);
        let pages = place.first.min(end)..end;
        match op {
            ObjectOp::Write => {
                if !pages.is_empty() {
                    write(object, &handle, pages.start, value, place.fail);
                }
            }
            ObjectOp::Resize => resize(object, &handle, place),
            ObjectOp::Commit => {
                let commit = attempt(place.fail, || handle.commit(bytes(&pages)));
                commit.unless(|_| false);
            }
            ObjectOp::Decommit | ObjectOp::Zero => {
                take_out(object, &handle, &pages, op, place.fail);
            }
            ObjectOp::Pin => {
                let is_empty = pages.is_empty();
                let pin = attempt(place.fail, || handle.pin(bytes(&pages)));
                if let Some(pin) = pin.unless(|_| is_empty) {
                    object.pins.push((pages, pin));
                }
            }
            ObjectOp::Unpin => drop(object.pins.pop()),
            ObjectOp::DropHandle => object.handle = None,
            ObjectOp::Snapshot => self.snapshot(&handle, place),
        }
    }

    fn snapshot(&mut self, handle: &Vmo<M>, place: Place) {
        if self.objects.len() >= 2 * MOST {
            return;
        }
        let object = &self.objects[place.at];
        let is_pinned = !object.pins.is_empty();
        let made = attempt(place.fail, || handle.snapshot());
        let made = made.unless(|error| error == AxError::BadState && is_pinned);
        let (len, words) = (object.len, object.words);
        if let Some(snapshot) = made {
            assert!(!is_pinned, "a pinned page is shared");
            self.add_object(snapshot, len, words);
        }
    }
}

fn write<M: TestMachine>(
    object: &mut Object<M>,
    handle: &Vmo<M>,
    page: usize,
    value: u64,
    fail: usize,
) {
    let bytes = value.to_le_bytes();
    let written = attempt(fail, || handle.write(page * KIB4, &bytes));
    if written.unless(|_| false).is_some() {
        object.words[page] = value;
    }
}

/// Gives an object a length of the number of pages of `place`, less one.
fn resize<M: TestMachine>(object: &mut Object<M>, handle: &Vmo<M>, place: Place) {
    let len = place.count - 1;
    let is_resizable = handle.kind() == VmoKind::Resizable;
    let is_pinned = object.is_pinned(&(len..PAGES));
    let resized = attempt(place.fail, || handle.resize(len * KIB4));
    let resized = resized.unless(|error| match error {
        AxError::Unsupported => !is_resizable,
        AxError::BadState => is_pinned,
        _ => false,
    });
    if resized.is_some() {
        assert!(is_resizable && !is_pinned, "{len} pages");
        object.len = len;
        object.words[len..].fill(0);
    }
}

fn take_out<M: TestMachine>(
    object: &mut Object<M>,
    handle: &Vmo<M>,
    pages: &Range<usize>,
    op: ObjectOp,
    fail: usize,
) {
    let is_decommit = matches!(op, ObjectOp::Decommit);
    let is_pinned = object.is_pinned(pages);
    let done = attempt(fail, || match is_decommit {
        true => handle.decommit(bytes(pages)),
        false => handle.zero(bytes(pages)),
    });
    let is_snapshot = handle.kind() == VmoKind::Snapshot;
    let done = done.unless(|error| match error {
        AxError::Unsupported => is_decommit && is_snapshot,
        AxError::BadState => is_pinned,
        _ => false,
    });
    if done.is_some() {
        assert!(!is_pinned, "pages {pages:?} are pinned");
        object.words[pages.clone()].fill(0);
    }
}

fn bytes(pages: &Range<usize>) -> Range<usize> {
    pages.start * KIB4..pages.end * KIB4
}
