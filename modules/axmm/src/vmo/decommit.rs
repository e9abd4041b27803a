//! Taking pages out of an object: decommit and zero.

use core::ops::Range;

use axconfig::PAGE_SIZE;
use axerrno::{AxError, AxResult};

use super::object::{Body, Object, State, whole_pages};
use super::read_write::fill_with_zeroes;
use super::spares::{Need, Spares};
use super::tree::Tree;
use super::{Vmo, VmoKind};
use crate::machine::Machine;

impl<M: Machine> Vmo<M> {
    /// Gives the frames of `range`, in bytes, back. The pages read as zero.
    ///
    /// # Errors
    ///
    /// - Fails with `InvalidInput` if `range` is not page-aligned, or not in the object.
    /// - Fails with `Unsupported` if the object is a snapshot, contiguous or physical.
    /// - Fails with `BadState` if a page of `range` is pinned.
    /// - Fails with `NoMemory`. Where an end of `range` lies within a node of the tree, the node is
    ///   split, and copied if another object has it, too.
    pub fn decommit(&self, range: Range<usize>) -> AxResult {
        let (object, pages) = self.locate(&whole_pages(&range)?)?;
        if !matches!(object.kind, VmoKind::Paged | VmoKind::Resizable) {
            return Err(AxError::Unsupported);
        }
        let _turn = object.turn_for(&pages)?;
        object.take_out(&pages, None)
    }

    /// Makes `range`, in bytes, read as zero. A paged object or a snapshot gives the frames back.
    ///
    /// # Errors
    ///
    /// - Fails with `InvalidInput` if `range` is not page-aligned, or not in the object.
    /// - Fails with `BadState` if the object is paged or a snapshot, and a page of `range` is
    ///   pinned.
    /// - Fails with `NoMemory`, as [`decommit`](Self::decommit) does.
    /// - Fails with `BadAddress` if the object is physical, and there is no memory for a page. The
    ///   pages before it are full of zeroes.
    pub fn zero(&self, range: Range<usize>) -> AxResult {
        let (object, pages) = self.locate(&whole_pages(&range)?)?;
        let _turn = object.turn_for(&pages)?;
        let Body::Run { start, .. } = object.body else {
            return object.take_out(&pages, None);
        };
        for page in pages {
            fill_with_zeroes::<M>(start + page * PAGE_SIZE)?;
            M::poll();
        }
        Ok(())
    }
}

impl<M: Machine> Object<M> {
    /// Takes `pages` out of the tree, unmaps them, and frees them. Sets the object's number of pages
    /// to `new_count`, if it is given. The caller has the turn.
    ///
    /// # Errors
    ///
    /// - Fails with `Unsupported` if the object has no tree.
    /// - Fails with `BadState` if one of the pages is pinned.
    /// - Fails with `NoMemory`.
    /// - Fails with `ResourceBusy` if a frame beside the pages has 2^31 owners.
    pub fn take_out(&self, pages: &Range<usize>, new_count: Option<usize>) -> AxResult {
        let indices = self.in_tree(pages)?;
        let mut spares = Spares::default();
        let taken = loop {
            let take = |state: &mut State| state.take(pages, &indices, new_count, &mut spares);
            match self.state.with(take)? {
                Taken::Pages(taken) => break taken,
                Taken::Short(need) => spares.fill(need)?,
            }
        };
        // Until no hart can access the frames, `taken` keeps them.
        self.mappings.unmap(pages.clone());
        taken.free::<M>();
        Ok(())
    }
}

/// What came of taking pages out.
enum Taken {
    /// The pages are in this tree now.
    Pages(Tree),
    /// Nothing has changed, because there are fewer spare nodes than this number.
    Short(Need),
}

impl State {
    /// Takes pages out of the tree. `pages` are their indices in the object, and `indices` those in
    /// the tree. Sets the number of pages to `new_count`, if it is given.
    ///
    /// # Errors
    ///
    /// - Fails with `BadState` if one of the pages is pinned.
    /// - Fails like [`Tree::take`].
    fn take(
        &mut self,
        pages: &Range<usize>,
        indices: &Range<usize>,
        new_count: Option<usize>,
        spares: &mut Spares,
    ) -> AxResult<Taken> {
        if self.is_pinned(pages) {
            return Err(AxError::BadState);
        }
        let need = self.tree.take_need(indices);
        if !spares.suffice(need) {
            return Ok(Taken::Short(need));
        }
        let taken = self.tree.take(indices, spares)?;
        self.pages = new_count.unwrap_or(self.pages);
        Ok(Taken::Pages(taken))
    }
}
