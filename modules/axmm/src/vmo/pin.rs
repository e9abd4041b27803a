//! Pinned pages, which stay where they are.

use core::mem;
use core::ops::Range;

use axerrno::{AxError, AxResult};

use super::Vmo;
use super::object::whole_pages;
use crate::machine::{Machine, ThisMachine};

/// Pages that are pinned until this is dropped. They keep their frames, and no snapshot of them
/// is made.
pub struct PinnedPages<M: Machine = ThisMachine> {
    /// The object that has the pages.
    object: Vmo<M>,
    pages: Range<usize>,
}

impl<M: Machine> Vmo<M> {
    /// Pins the pages of `range`, in bytes, and [commits](Self::commit) them. The pages of a physical
    /// object have their frames anyway.
    ///
    /// # Errors
    ///
    /// - Fails with `InvalidInput` if `range` is empty, not page-aligned, or not in the object.
    /// - Fails with `NoMemory`.
    pub fn pin(&self, range: Range<usize>) -> AxResult<PinnedPages<M>> {
        if range.is_empty() {
            return Err(AxError::InvalidInput);
        }
        let (object, pages) = self.locate(&whole_pages(&range)?)?;
        let _turn = object.turn_for(&pages)?;
        // The list gets longer with the state locked, because another thread may drop a pin.
        object.state.with(|state| {
            let reserved = state.pins.try_reserve(1);
            reserved.map_err(|_| AxError::NoMemory)?;
            state.pins.push(pages.clone());
            Ok::<_, AxError>(())
        })?;
        let pinned = PinnedPages {
            object: self.target().0.clone(),
            pages: pages.clone(),
        };
        object.commit_in_turn(&pages)?;
        Ok(pinned)
    }
}

impl<M: Machine> Drop for PinnedPages<M> {
    fn drop(&mut self) {
        // With the last pin the list leaves the state, and is freed with the state unlocked.
        let _unused = self.object.0.state.with(|state| {
            let pin = state.pins.iter().position(|pin| *pin == self.pages);
            pin.map(|pin| state.pins.swap_remove(pin));
            let is_last = state.pins.is_empty();
            is_last.then(|| mem::take(&mut state.pins))
        });
    }
}
