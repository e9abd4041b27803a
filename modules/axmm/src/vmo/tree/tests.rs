//! Trees of one family, compared with flat maps of their pages.

use std::collections::BTreeMap;

use axalloc::{FrameRun, UsageKind, alloc_frame};
use fastrand::Rng;

use super::*;
use crate::test_memory::{add_once, blocks};
use crate::vmo::page_frame::PageFrame;

/// Pages around the ends of nodes.
const EDGES: [usize; 10] = [0, 1, 62, 63, 64, 65, 4095, 4096, 4160, 5000];
const PAGES: usize = 5001;

fn spares(need: Need) -> Spares {
    let mut spares = Spares::default();
    spares.fill(need).unwrap();
    spares
}

/// Gives page `index` a new frame, and returns its address.
fn put(tree: &mut Tree, index: usize) -> usize {
    let frame = FrameRun::from(alloc_frame(UsageKind::Object).unwrap());
    let frame = PageFrame::split(frame).next().unwrap();
    let start = frame.start().as_usize();
    let mut spares = spares(tree.leaf_need(index, None));
    let leaf = tree.leaf_mut(index, &mut spares).unwrap();
    leaf.frames[index % FANOUT] = Some(frame);
    assert!(spares.are_used_up());
    start
}

/// Returns the frame of each page, and whether the tree has it for itself.
fn pages(tree: &Tree) -> BTreeMap<usize, (usize, bool)> {
    let mut pages = BTreeMap::new();
    let mut from = 0;
    while let Some(index) = tree.next_leaf(from) {
        let found = tree.find(index).unwrap();
        assert!(!found.leaf.is_empty());
        for (slot, frame) in found.leaf.frames.iter().enumerate() {
            if let Some(frame) = frame {
                let is_owned = found.is_path_owned && !frame.is_shared();
                let index = (index & !(FANOUT - 1)) + slot;
                pages.insert(index, (frame.start().as_usize(), is_owned));
            }
        }
        from = (index | (FANOUT - 1)) + 1;
    }
    pages
}

#[test]
fn trees_of_a_family_have_the_pages_of_their_models() {
    add_once();
    let mut rng = Rng::with_seed(0);
    let before = blocks();
    let mut family = vec![(Tree::new(PAGES), BTreeMap::new())];
    for _ in 0..if cfg!(miri) { 30 } else { 5000 } {
        let mut edge = || EDGES[rng.usize(..EDGES.len())];
        let (a, b) = (edge(), edge());
        let range = a.min(b)..a.max(b);
        let at = rng.usize(..family.len());
        let count = family.len();
        let (tree, model) = &mut family[at];
        let is_within = |page: &usize| range.contains(page);
        match rng.u8(..16) {
            0..10 => _ = model.insert(a, put(tree, a)),
            10..12 => {
                let mut spares = spares(tree.take_need(&range));
                let taken = tree.take(&range, &mut spares).unwrap();
                assert!(spares.are_used_up());
                assert!(pages(&taken).keys().all(is_within));
                model.retain(|page, _| !is_within(page));
            }
            12..14 if count < 8 => {
                let mut spares = spares(tree.share_need(&range));
                let shared = tree.share_range(&range, &mut spares).unwrap();
                assert!(spares.are_used_up());
                let mut model = model.clone();
                model.retain(|page, _| is_within(page));
                family.push((shared, model));
            }
            14 if count < 8 => {
                let copy = (tree.share(), model.clone());
                family.push(copy);
            }
            _ if count > 1 => _ = family.swap_remove(at),
            _ => {}
        }
        for (tree, model) in &family {
            let others = |frame: usize| {
                let owners = family.iter();
                owners
                    .filter(|(_, model)| model.values().any(|other| *other == frame))
                    .count()
            };
            let model = model
                .iter()
                .map(|(page, frame)| (*page, (*frame, others(*frame) == 1)));
            assert!(pages(tree) == model.collect());
        }
    }
    family
        .into_iter()
        .for_each(|(tree, _)| tree.free::<crate::machine::ThisMachine>());
    assert_eq!(blocks(), before);
}

#[test]
fn a_tree_grows_above_its_root() {
    add_once();
    let mut tree = Tree::new(1);
    assert_eq!(tree.raise_need(1 << 40), Need::default());
    let first = put(&mut tree, 0);
    let mut spares = spares(tree.raise_need(1 << 40));
    tree.raise(1 << 40, &mut spares).unwrap();
    assert!(spares.are_used_up());
    let last = put(&mut tree, (1 << 40) - 1);
    let expected = [(0, (first, true)), ((1 << 40) - 1, (last, true))];
    assert!(pages(&tree) == BTreeMap::from(expected));
}

#[test]
fn nodes_of_several_pages_are_counted_once() {
    add_once();
    let mut tree = Tree::new(PAGES);
    let mut need = Need::default();
    let mut before = None;
    for index in [3, 64, 100, 4096] {
        if before.is_none_or(|before| before / FANOUT != index / FANOUT) {
            need += tree.leaf_need(index, before);
            before = Some(index);
        }
    }
    let mut spares = spares(need);
    for index in [3, 64, 100, 4096] {
        tree.leaf_mut(index, &mut spares).unwrap();
    }
    assert!(spares.are_used_up());
}

#[test]
fn a_change_with_too_few_nodes_fails() {
    let mut tree = Tree::new(PAGES);
    assert!(tree.leaf_mut(0, &mut Spares::default()).is_err());
    assert!(tree.find(0).is_none());
}
