//! Snapshots: copy-on-write clones.

use core::ops::Range;

use axerrno::{AxError, AxResult};

use super::counted::Counted;
use super::object::{Body, Object, State, pages_from};
use super::spares::Spares;
use super::tree::Tree;
use super::{Vmo, VmoKind};
use crate::machine::Machine;

impl<M: Machine> Vmo<M> {
    /// Makes a copy-on-write clone of the object. From now on the object and the clone change
    /// independently. The time that this takes does not depend on the length.
    ///
    /// # Errors
    ///
    /// Those of [`snapshot_of`](Self::snapshot_of).
    pub fn snapshot(&self) -> AxResult<Self> {
        let (object, first) = self.target();
        match self.0.kind {
            VmoKind::Slice => object.0.snapshot(|_| Ok(first..first + self.page_count())),
            _ => object.0.snapshot(|state| Ok(0..state.pages)),
        }
    }

    /// Makes a copy-on-write clone of `len` bytes of the object from `offset` on. It takes a time
    /// that depends on the height of the object's tree, not on `len`.
    ///
    /// # Errors
    ///
    /// - Fails with `Unsupported` if the object is contiguous or physical.
    /// - Fails with `InvalidInput` if `offset` or `len` is not page-aligned, or if the range does
    ///   not lie in the object.
    /// - Fails with `BadState` if a page of the range is pinned.
    /// - Fails with `NoMemory`.
    pub fn snapshot_of(&self, offset: usize, len: usize) -> AxResult<Self> {
        let (object, pages) = self.locate(&pages_from(offset, len)?)?;
        object.snapshot(|state| match pages.end <= state.pages {
            true => Ok(pages.clone()),
            false => Err(AxError::InvalidInput),
        })
    }

    fn page_count(&self) -> usize {
        self.0.state.with(|state| state.pages)
    }
}

impl<M: Machine> Object<M> {
    /// Makes a copy-on-write clone of the pages that `which` returns.
    ///
    /// # Errors
    ///
    /// - Fails with the errors of `which`.
    /// - Fails with `Unsupported` if the object has no tree.
    /// - Fails with `BadState` if one of the pages is pinned.
    /// - Fails with `NoMemory`.
    fn snapshot(&self, which: impl Fn(&State) -> AxResult<Range<usize>>) -> AxResult<Vmo<M>> {
        let _turn = self.turn.wait();
        // The length does not change during the turn.
        let (pages, family) = self.state.with(|state| {
            let family = state.family.as_ref().map(Counted::share);
            Ok::<_, AxError>((which(state)?, family))
        })?;
        let indices = self.in_tree(&pages)?;
        let family = match family {
            Some(family) => family,
            None => Counted::new(())?,
        };
        let body = Body::Tree {
            base: indices.start,
        };
        let state = State::new(pages.len(), Tree::new(0));
        let mut snapshot = Self::create(VmoKind::Snapshot, body, state)?;
        let of_snapshot = snapshot.0.get_mut().ok_or(AxError::BadState)?;
        let of_snapshot = of_snapshot.state.get_mut();
        let mut spares = Spares::default();
        while let Some(need) = self.state.with(|state| {
            if state.is_pinned(&pages) {
                return Err(AxError::BadState);
            }
            if pages == (0..state.pages) {
                of_snapshot.tree = state.tree.share();
            } else {
                let need = state.tree.share_need(&indices);
                if !spares.suffice(need) {
                    return Ok(Some(need));
                }
                of_snapshot.tree = state.tree.share_range(&indices, &mut spares)?;
            }
            of_snapshot.policy = state.policy;
            state.family.get_or_insert_with(|| family.share());
            Ok(None)
        })? {
            spares.fill(need)?;
        }
        of_snapshot.family = Some(family);
        self.mappings.write_protect(pages);
        Ok(snapshot)
    }
}
