//! Changing the length of an object.

use axerrno::{AxError, AxResult};

use super::object::{Object, State};
use super::spares::Spares;
use super::{Vmo, VmoKind, page_count};
use crate::machine::Machine;

impl<M: Machine> Vmo<M> {
    /// Sets the length to `len` bytes. What is cut off is freed before this returns. What is
    /// added reads as zero.
    ///
    /// # Errors
    ///
    /// - Fails with `Unsupported` if the object is not resizable.
    /// - Fails with `InvalidInput` if `len` is not page-aligned, or above 2^52.
    /// - Fails with `BadState` if a page that would be cut off is pinned.
    /// - Fails with `NoMemory`.
    pub fn resize(&self, len: usize) -> AxResult {
        if self.0.kind != VmoKind::Resizable {
            return Err(AxError::Unsupported);
        }
        let pages = page_count(len)?;
        let _turn = self.0.turn.wait();
        // Only a resize changes the number, and this one has the turn.
        let now = self.0.state.read().pages;
        match pages < now {
            true => self.0.take_out(&(pages..now), Some(pages)),
            false => self.0.grow(pages),
        }
    }
}

impl<M: Machine> Object<M> {
    /// Sets the number of pages to `pages`, which is not below the present one. The caller has the
    /// turn.
    ///
    /// # Errors
    ///
    /// Fails with `NoMemory`.
    fn grow(&self, pages: usize) -> AxResult {
        let mut spares = Spares::default();
        loop {
            let grow = |state: &mut State| {
                let need = state.tree.raise_need(pages);
                if !spares.suffice(need) {
                    return Ok(Some(need));
                }
                state.tree.raise(pages, &mut spares)?;
                state.pages = pages;
                Ok::<_, AxError>(None)
            };
            match self.state.with(grow)? {
                Some(need) => spares.fill(need)?,
                None => return Ok(()),
            }
        }
    }
}
