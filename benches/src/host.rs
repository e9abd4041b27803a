//! All allocators there are on the host.

use crate::arena::Arena;
use crate::{Nothing, Visit, ours, peers, upstream};

/// The name of the allocator that does nothing.
pub const NOTHING: &str = "nothing";

/// Shows `visitor` every allocator: ours under the empty name, and [`NOTHING`].
pub fn visit(visitor: &mut impl Visit) {
    visitor.pages(NOTHING, &Nothing);
    visitor.heap(NOTHING, &Nothing);
    ours::visit(visitor);
    let arena = Arena::new();
    // SAFETY: the arena is nobody else's and outlives the visit.
    let memory = unsafe { peers::Memory::new(arena.start(), arena.size()) };
    peers::visit(memory, visitor);
    upstream::visit(visitor);
}
