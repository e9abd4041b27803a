//! A random load that is drawn in advance. So it is the same for every allocator, and the
//! random numbers are not part of what is measured.

use alloc::vec;
use alloc::vec::Vec;

use fastrand::Rng;

/// One operation on a slot: allocates `size` into an empty one, and frees a full one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub slot: usize,
    pub size: usize,
}

/// A list of operations. After the last one all slots are empty.
#[derive(Debug)]
pub struct Script {
    pub(crate) slots: usize,
    pub(crate) steps: Vec<Step>,
}

impl Script {
    /// Returns the load that fills all slots with size 1, and then empties them.
    pub(crate) fn in_and_out(slots: usize) -> Self {
        let all = (0..slots).map(|slot| Step { slot, size: 1 });
        Self {
            slots,
            steps: all.clone().chain(all).collect(),
        }
    }

    /// Draws `steps` operations on random slots, about half of which are full after a while. At
    /// the end each full slot is emptied.
    pub(crate) fn draw(
        seed: u64,
        slots: usize,
        steps: usize,
        size: impl Fn(&mut Rng) -> usize,
    ) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut full = vec![false; slots];
        let mut script = Self {
            slots,
            steps: Vec::with_capacity(steps + slots),
        };
        for _ in 0..steps {
            let (slot, size) = (rng.usize(..slots), size(&mut rng));
            full[slot] = !full[slot];
            script.steps.push(Step { slot, size });
        }
        let left = (0..slots).filter(|&slot| full[slot]);
        script.steps.extend(left.map(|slot| Step { slot, size: 0 }));
        script
    }

    /// Returns the empty slots that the load needs.
    pub(crate) fn empty<T>(&self) -> Vec<Option<T>> {
        (0..self.slots).map(|_| None).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_slots_are_empty_at_the_end() {
        let script = Script::draw(7, 10, 101, |rng| rng.usize(1..5));
        let mut full = vec![false; 10];
        for step in &script.steps {
            full[step.slot] = !full[step.slot];
            // The operations at the end only free, so they need no size.
            assert!(step.size > 0 || !full[step.slot]);
        }
        assert_eq!(full, [false; 10]);
        assert!(script.steps.len() >= 101);
    }

    #[test]
    fn the_seed_determines_the_load() {
        let sizes = |seed| {
            let script = Script::draw(seed, 10, 100, |rng| rng.usize(..1000));
            script
                .steps
                .iter()
                .map(|step| step.size)
                .collect::<Vec<_>>()
        };
        assert_eq!(sizes(1), sizes(1));
        assert_ne!(sizes(1), sizes(2));
    }
}
