//! Snapshots: copy-on-write clones.

use core::ops::Range;

use axerrno::{AxError, AxResult};

use super::counted::Counted;
use super::object::{Body, Object, State, pages_from};
use super::spares::{Need, Spares};
use super::tree::Tree;
use super::{CachePolicy, Vmo, VmoKind};
use crate::machine::Machine;

impl<M: Machine> Vmo<M> {
    /// Makes a copy-on-write clone of the object. From now on the object and the clone change
    /// independently. The time that this takes does not depend on the length, but on the number of
    /// pages that are mapped: they lose the right to write.
    ///
    /// # Errors
    ///
    /// Those of [`snapshot_of`](Self::snapshot_of).
    pub fn snapshot(&self) -> AxResult<Self> {
        match &self.0.body {
            Body::Slice { of, first, pages } => of.0.snapshot(|_| Ok(*first..first + pages)),
            Body::Tree { .. } | Body::Run { .. } => self.0.snapshot(|state| Ok(0..state.pages)),
        }
    }

    /// Makes a copy-on-write clone of `len` bytes of the object from `offset` on. The time that
    /// this takes depends on the height of the object's tree and on the number of pages that are
    /// mapped, not on `len`.
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
}

impl<M: Machine> Object<M> {
    /// Makes a copy-on-write clone of the pages that `which` returns. `which` is called with the
    /// state locked, because a length that was read before could have changed.
    ///
    /// # Errors
    ///
    /// - Fails with `Unsupported` if the object has no tree.
    /// - Fails with the errors of `which`.
    /// - Fails with `BadState` if one of the pages is pinned.
    /// - Fails with `NoMemory`.
    fn snapshot(&self, which: impl Fn(&State) -> AxResult<Range<usize>>) -> AxResult<Vmo<M>> {
        let Body::Tree { base } = self.body else {
            return Err(AxError::Unsupported);
        };
        let _turn = self.turn.wait();
        let mut with = ForSharing::default();
        let (pages, tree, policy, family) = loop {
            let shared = self.state.with(|state| {
                let pages = which(state)?;
                state.share(pages, base, &mut with)
            });
            match shared? {
                Shared::Pages {
                    pages,
                    tree,
                    policy,
                    family,
                } => break (pages, tree, policy, family),
                Shared::Short(need) => with.spares.fill(need)?,
                Shared::NoFamily => with.family = Some(Counted::new(())?),
            }
        };
        let state = State {
            policy,
            family: Some(family),
            ..State::new(pages.len(), tree)
        };
        let body = Body::Tree {
            base: base + pages.start,
        };
        let snapshot = Self::create(VmoKind::Snapshot, body, state)?;
        // Page requests find the pages shared by now. So none that is write-protected here becomes
        // writable again.
        self.mappings.write_protect(pages);
        Ok(snapshot)
    }
}

/// What is allocated before pages are shared.
#[derive(Default)]
struct ForSharing {
    spares: Spares,
    family: Option<Counted<()>>,
}

/// What came of sharing pages with a snapshot.
enum Shared {
    /// The pages are shared: the tree has them, too. The snapshot gets this policy and family.
    Pages {
        pages: Range<usize>,
        tree: Tree,
        policy: CachePolicy,
        family: Counted<()>,
    },
    /// Nodes are missing.
    Short(Need),
    /// The object has no family yet.
    NoFamily,
}

impl State {
    /// Shares `pages` with a snapshot. The first page of the object has the index `base` in the
    /// tree.
    ///
    /// # Errors
    ///
    /// Fails with `BadState` if one of the pages is pinned.
    fn share(
        &mut self,
        pages: Range<usize>,
        base: usize,
        with: &mut ForSharing,
    ) -> AxResult<Shared> {
        if self.is_pinned(&pages) {
            return Err(AxError::BadState);
        }
        if self.family.is_none() {
            self.family = with.family.take();
        }
        let Some(family) = &self.family else {
            return Ok(Shared::NoFamily);
        };
        let tree = if pages == (0..self.pages) {
            self.tree.share()
        } else {
            let indices = base + pages.start..base + pages.end;
            let need = self.tree.share_need(&indices);
            if !with.spares.suffice(need) {
                return Ok(Shared::Short(need));
            }
            self.tree.share_range(&indices, &mut with.spares)?
        };
        Ok(Shared::Pages {
            tree,
            policy: self.policy,
            family: family.share(),
            pages,
        })
    }
}
