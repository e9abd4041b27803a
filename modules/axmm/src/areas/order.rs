//! The order of what lies in a leaf, in one word.

/// Which slot of a leaf holds its first area, which the second, and so on: a
/// permutation of 15 slot numbers of four bits above a count of four bits. The
/// slots beyond the count are the free ones.
///
/// Adding and removing change this word and one slot, so that nothing else in the
/// leaf moves (Mao, Kohler, Morris, "Cache Craftiness for Fast Multicore
/// Key-Value Storage", EuroSys 2012, 4.6.2).
#[derive(Clone, Copy)]
pub struct Order(usize);

impl Order {
    /// How many slots a word can order.
    pub const CAPACITY: usize = 15;

    /// None in use.
    pub const EMPTY: Self = Self(0xedcb_a987_6543_2100);

    /// The order in one word.
    pub const fn to_bits(self) -> usize {
        self.0
    }

    /// The order that [`to_bits`](Self::to_bits) made the word of.
    pub fn from_bits(bits: usize) -> Self {
        Self(bits)
    }

    /// How many slots are in use.
    pub fn len(self) -> usize {
        self.0 & 0xf
    }

    /// The slot at `position`, below 16 whatever `position` is.
    pub fn slot(self, position: usize) -> usize {
        self.0.wrapping_shr(4 * position as u32 + 4) & 0xf
    }

    /// Takes a free slot into use at `position`, not above `len`, and returns it.
    pub fn insert(&mut self, position: usize) -> usize {
        let len = self.len();
        let slot = self.slot(len);
        let behind = self.0 & from(position) & !from(len);
        let kept = self.0 & !(from(position) & !from(len + 1));
        self.0 = (kept | (behind << 4) | ((slot) << (4 * position + 4))) + 1;
        slot
    }

    /// Frees the slot at `position`, below `len`, and returns it.
    pub fn remove(&mut self, position: usize) -> usize {
        let len = self.len();
        let slot = self.slot(position);
        let behind = self.0 & from(position + 1) & !from(len);
        let kept = self.0 & !(from(position) & !from(len));
        self.0 = (kept | (behind >> 4) | ((slot) << (4 * len))) - 1;
        slot
    }
}

/// The bits of the positions from `position`, at most 15, on.
fn from(position: usize) -> usize {
    (!0xf) << (4 * position)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_ordered_as_a_vector_would() {
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
            let in_use = (0..order.len()).map(|position| order.slot(position));
            assert!(in_use.eq(model.iter().copied()));
            let mut all: Vec<_> = (0..Order::CAPACITY).map(|i| order.slot(i)).collect();
            all.sort_unstable();
            assert!(all.iter().copied().eq(0..Order::CAPACITY));
        }
    }
}
