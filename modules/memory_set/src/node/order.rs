//! The order of the areas in a leaf, in one word.

/// Which slot of a leaf holds its first area, which the second, and so on. The lowest four bits
/// are the number of areas. Above them are the numbers of all 15 slots, with four bits each: first
/// those of the occupied slots in the order of their areas, then those of the vacant slots.
///
/// An insertion or a removal changes this word and one slot. All other areas of the leaf stay
/// where they are (Mao, Kohler, Morris, "Cache Craftiness for Fast Multicore Key-Value
/// Storage", EuroSys 2012, 4.6.2).
#[derive(Clone, Copy)]
pub struct Order(usize);

impl Order {
    /// The most slots that a word can order.
    pub const CAPACITY: usize = 15;

    /// The order of a leaf without areas.
    pub const EMPTY: Self = Self(0xedcb_a987_6543_2100);

    /// Returns the word.
    #[inline(always)]
    pub const fn to_bits(self) -> usize {
        self.0
    }

    /// Returns the order that [`to_bits`](Self::to_bits) turned into `bits`.
    #[inline(always)]
    pub fn from_bits(bits: usize) -> Self {
        Self(bits)
    }

    /// Returns the number of occupied slots.
    #[inline(always)]
    pub fn len(self) -> usize {
        self.0 & 0xf
    }

    /// Returns the slot at `position`. It is below 16 whatever `position` is, so it is a valid
    /// index of an array of 16 items.
    #[inline(always)]
    pub fn slot(self, position: usize) -> usize {
        self.0.wrapping_shr(4 * position as u32 + 4) & 0xf
    }

    /// Makes a vacant slot the one at `position`, which is not above `len`, and returns it.
    #[inline]
    pub fn insert(&mut self, position: usize) -> usize {
        let len = self.len();
        let slot = self.slot(len);
        // The slots from `position` on move up by one, over the first vacant slot.
        let moved = self.0 & bits_from(position) & !bits_from(len);
        let kept = self.0 & !(bits_from(position) & !bits_from(len + 1));
        self.0 = (kept | (moved << 4) | (slot << (4 * position + 4))) + 1;
        slot
    }

    /// Makes the slot at `position`, which is below `len`, vacant, and returns it.
    #[inline]
    pub fn remove(&mut self, position: usize) -> usize {
        let len = self.len();
        let slot = self.slot(position);
        // The slots after `position` move down by one, and this one becomes the first vacant slot.
        let moved = self.0 & bits_from(position + 1) & !bits_from(len);
        let kept = self.0 & !(bits_from(position) & !bits_from(len));
        self.0 = (kept | (moved >> 4) | (slot << (4 * len))) - 1;
        slot
    }
}

/// Returns a mask of the bits of `position`, at most 15, and of all positions after it.
#[inline(always)]
fn bits_from(position: usize) -> usize {
    (!0xf) << (4 * position)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_ordered_like_the_items_of_a_vector() {
        let mut order = Order::EMPTY;
        let mut model = Vec::new();
        for step in 0..if cfg!(miri) { 100 } else { 10_000 } {
            let choice = step * 7919 % 104_729;
            if model.len() < Order::CAPACITY && (model.is_empty() || choice % 5 < 3) {
                let position = choice % (model.len() + 1);
                model.insert(position, order.insert(position));
            } else {
                let position = choice % model.len();
                assert_eq!(order.remove(position), model.remove(position));
            }
            let occupied = (0..order.len()).map(|position| order.slot(position));
            assert!(occupied.eq(model.iter().copied()));
            let mut all: Vec<_> = (0..Order::CAPACITY).map(|i| order.slot(i)).collect();
            all.sort_unstable();
            assert!(all.iter().copied().eq(0..Order::CAPACITY));
        }
    }
}
