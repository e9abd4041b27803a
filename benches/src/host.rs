//! All allocators that are measured on the host.

use crate::arena::Arena;
use crate::{Nothing, Visit, ours, peers, upstream};

/// The name of the allocator that does nothing.
pub const NOTHING: &str = "nothing";

/// Shows `visitor` every allocator: the one that does nothing first, then ours under the empty
/// name, then those of other projects.
pub fn visit(visitor: &mut impl Visit) {
    visitor.pages(NOTHING, &Nothing);
    visitor.heap(NOTHING, &Nothing);
    ours::visit(visitor);
    let arena = Arena::new();
    // SAFETY: this function owns the arena and gives its memory only to `peers`, whose
    // allocators are dropped before the arena is.
    let memory = unsafe { peers::Memory::new(arena.start(), arena.size()) };
    peers::visit(memory, visitor);
    upstream::visit(visitor);
}
