//! A random load, drawn beforehand: the same for every allocator, and nothing of
//! it is drawn while the time is taken.

use alloc::vec;
use alloc::vec::Vec;

use fastrand::Rng;

/// One operation: takes `size` into the slot if it is empty, else gives back what
/// is in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub slot: usize,
    pub size: usize,
}

/// A list of operations after which all is given back.
#[derive(Debug)]
pub struct Script {
    pub(crate) slots: usize,
    pub(crate) steps: Vec<Step>,
}

impl Script {
    /// Every one of `slots` slots filled, then emptied, each of size 1.
    pub(crate) fn in_and_out(slots: usize) -> Self {
        let all = (0..slots).map(|slot| Step { slot, size: 1 });
        Self {
            slots,
            steps: all.clone().chain(all).collect(),
        }
    }

    /// `steps` operations on `slots` slots, of which about half are full before
    /// long, and then one for each slot that is still full.
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

    /// A slot for each object that may be held at once.
    pub(crate) fn empty<T>(&self) -> Vec<Option<T>> {
        (0..self.slots).map(|_| None).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_given_back_in_the_end() {
        let script = Script::draw(7, 10, 101, |rng| rng.usize(1..5));
        let mut full = vec![false; 10];
        for step in &script.steps {
            full[step.slot] = !full[step.slot];
            // What is added for the last slots takes nothing, so needs no size.
            assert!(step.size > 0 || !full[step.slot]);
        }
        assert_eq!(full, [false; 10]);
        assert!(script.steps.len() >= 101);
    }

    #[test]
    fn a_seed_is_a_load() {
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
