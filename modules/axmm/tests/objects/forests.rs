//! Deep and broad trees of snapshots, dropped in several orders.

use axalloc::usage;
use fastrand::Rng;

use crate::support::{KIB4, alone};
use crate::{TIB, Vmo, blocks, frames};

/// Drops all of `objects` in one of four orders.
fn drop_in_order(mut objects: Vec<Vmo>, order: usize) {
    match order {
        // The oldest first.
        0 => objects.into_iter().for_each(drop),
        // The newest first.
        1 => objects.into_iter().rev().for_each(drop),
        // From the middle outwards.
        2 => {
            while !objects.is_empty() {
                drop(objects.remove(objects.len() / 2));
            }
        }
        _ => {
            let mut rng = Rng::with_seed(0);
            while !objects.is_empty() {
                drop(objects.swap_remove(rng.usize(..objects.len())));
            }
        }
    }
}

fn word(object: &Vmo, page: usize) -> u64 {
    let mut word = [0; 8];
    object.read(page * KIB4, &mut word).unwrap();
    u64::from_le_bytes(word)
}

fn set_word(object: &Vmo, page: usize, word: u64) {
    object.write(page * KIB4, &word.to_le_bytes()).unwrap();
}

#[test]
fn a_chain_of_a_thousand_snapshots_keeps_only_what_is_seen() {
    const DEPTH: usize = 1000;
    const SHARED: usize = 70;
    let _alone = alone();
    let before = (usage(), blocks());
    for order in 0..4 {
        let first = Vmo::new_paged(TIB).unwrap();
        first.commit(0..SHARED * KIB4).unwrap();
        let mut chain = vec![first];
        for depth in 1..DEPTH {
            let last = &chain[depth - 1];
            let next = last.snapshot().unwrap();
            set_word(&next, 3, depth as u64);
            chain.push(next);
        }
        assert_eq!(frames(), SHARED + DEPTH - 1);
        for (depth, object) in chain.iter().enumerate() {
            assert_eq!(word(object, 3), depth as u64);
            assert_eq!(object.committed_bytes(), SHARED * KIB4);
        }
        // What only the oldest could see goes with it. So does what only the middle could see.
        drop(chain.remove(0));
        assert_eq!(frames(), SHARED + DEPTH - 2);
        drop(chain.remove(DEPTH / 2));
        assert_eq!(frames(), SHARED + DEPTH - 3);
        drop_in_order(chain, order);
        assert_eq!((usage(), blocks()), before, "order {order}");
    }
}

#[test]
fn a_hundred_snapshots_of_one_object_are_apart() {
    const BREADTH: usize = 100;
    let _alone = alone();
    let before = (usage(), blocks());
    for order in 0..4 {
        let object = Vmo::new_resizable(TIB).unwrap();
        set_word(&object, 0, 1);
        set_word(&object, 1 << 20, 2);
        let mut forest = vec![object];
        for number in 0..BREADTH {
            let snapshot = forest[0].snapshot().unwrap();
            // A snapshot of a snapshot, too.
            forest.push(snapshot.snapshot().unwrap());
            set_word(&snapshot, 0, number as u64);
            forest.push(snapshot);
        }
        assert_eq!(frames(), 2 + BREADTH);
        forest[0].resize(0).unwrap();
        assert_eq!(frames(), 2 + BREADTH);
        for (number, pair) in forest[1..].chunks(2).enumerate() {
            assert_eq!((word(&pair[0], 0), word(&pair[1], 0)), (1, number as u64));
            assert_eq!((word(&pair[0], 1 << 20), word(&pair[1], 1 << 20)), (2, 2));
        }
        drop_in_order(forest, order);
        assert_eq!((usage(), blocks()), before, "order {order}");
    }
}

#[test]
fn an_object_of_a_tebibyte_costs_no_more_than_one_of_a_page() {
    let _alone = alone();
    let cost = |len: usize| {
        let (frames_before, blocks_before) = (frames(), blocks());
        let object = Vmo::new_paged(len).unwrap();
        let made = blocks() - blocks_before;
        let snapshot = object.snapshot().unwrap();
        let made = (
            made,
            blocks() - blocks_before - made,
            frames() - frames_before,
        );
        drop((object, snapshot));
        made
    };
    assert_eq!(cost(TIB), cost(KIB4));
}
