//! Several harts use objects of one family at once.

use std::cell::Cell;
use std::rc::Rc;
use std::thread;

use axalloc::usage;
use axerrno::AxError;
use axmm::vmo::{Access, Run};
use fastrand::Rng;

use crate::frames;
use crate::support::threads::{HARTS, Threads, at_next_copy, set_this_hart};
use crate::support::{KIB4, X64, alone};

type Vmo = axmm::vmo::Vmo<Threads<X64>>;

const ROUNDS: usize = if cfg!(miri) { 20 } else { 3000 };
const PAGES: usize = 70;

/// Runs `work` on each hart.
fn on_each_hart(work: impl Fn(usize) + Sync) {
    thread::scope(|scope| {
        for hart in 0..HARTS {
            let work = &work;
            scope.spawn(move || {
                set_this_hart(hart);
                work(hart);
            });
        }
    });
}

/// Fills `page` with `byte`.
fn fill(object: &Vmo, page: usize, byte: u8) {
    object.write(page * KIB4, &[byte; KIB4]).unwrap();
}

/// Returns the byte that fills `page`, all of which must be equal.
fn filled_with(object: &Vmo, page: usize) -> u8 {
    let mut bytes = [0; KIB4];
    object.read(page * KIB4, &mut bytes).unwrap();
    assert!(bytes.iter().all(|byte| *byte == bytes[0]), "page {page}");
    bytes[0]
}

#[test]
fn relatives_are_written_and_dropped_by_several_harts() {
    let _alone = alone();
    let before = usage();
    let object = Vmo::new_paged(PAGES * KIB4).unwrap();
    for page in 0..PAGES {
        fill(&object, page, 100);
    }
    on_each_hart(|hart| {
        let mut rng = Rng::with_seed(hart as u64);
        let mut own = object.snapshot().unwrap();
        for round in 0..ROUNDS {
            let page = rng.usize(..PAGES);
            match rng.u8(..16) {
                // The new snapshot has what the old one had.
                0 => own = own.snapshot().unwrap(),
                1 => own = object.snapshot().unwrap(),
                2 => own.zero(page * KIB4..(page + 1) * KIB4).unwrap(),
                3 => own.commit(page * KIB4..PAGES * KIB4).unwrap(),
                4..12 => {
                    let byte = round as u8;
                    fill(&own, page, byte);
                    assert_eq!(filled_with(&own, page), byte);
                }
                _ => _ = filled_with(&own, page),
            }
        }
    });
    assert!((0..PAGES).all(|page| filled_with(&object, page) == 100));
    assert_eq!(object.private_bytes(), PAGES * KIB4);
    drop(object);
    assert_eq!(usage(), before);
}

#[test]
fn one_object_is_changed_by_several_harts() {
    let _alone = alone();
    let before = usage();
    let object = Vmo::new_resizable(PAGES * KIB4).unwrap();
    on_each_hart(|hart| {
        let mut rng = Rng::with_seed(hart as u64);
        for round in 0..ROUNDS {
            let page = rng.usize(..PAGES);
            let range = page * KIB4..(page + 1) * KIB4;
            let result = match rng.u8(..20) {
                0 => object.resize((page + 1) * KIB4),
                1 => object.resize(PAGES * KIB4),
                2 => object.decommit(0..range.end),
                3 => object.zero(range),
                4 => object.commit(0..range.end),
                5 => object.pin(range).map(drop),
                6 => object.snapshot().map(|snapshot| {
                    (0..snapshot.len() / KIB4).for_each(|page| _ = filled_with(&snapshot, page));
                }),
                7..12 => object.request(range.start, Access::Write).map(drop),
                12..15 => object.request(range.start, Access::Read).map(drop),
                _ => object.write(range.start, &[round as u8; KIB4]),
            };
            // Another hart may have made the object shorter, or have pinned a page.
            let allowed = [AxError::InvalidInput, AxError::BadState];
            assert!(result.is_ok() || result.is_err_and(|error| allowed.contains(&error)));
        }
    });
    drop(object);
    assert_eq!(usage(), before);
}

/// An object with a written page that a snapshot shares, and the snapshot.
fn shared_page() -> (Vmo, Vmo) {
    let object = Vmo::new_resizable(PAGES * KIB4).unwrap();
    fill(&object, 1, 7);
    let snapshot = object.snapshot().unwrap();
    (object, snapshot)
}

/// Lets the next hart request page 1 for writing while this hart copies it. Returns what that hart
/// gets.
fn request_amid_copy(object: &Vmo) -> Rc<Cell<Option<Run>>> {
    let run = Rc::new(Cell::new(None));
    let (object, other) = (object.clone(), run.clone());
    at_next_copy(move || other.set(object.request(KIB4, Access::Write).ok()));
    run
}

#[test]
fn two_harts_that_copy_a_page_get_one_copy() {
    let _alone = alone();
    set_this_hart(0);
    let (object, snapshot) = shared_page();
    let other = request_amid_copy(&object);
    let run = object.request(KIB4, Access::Write).unwrap();
    assert!(run.writable);
    assert_eq!((other.get(), frames()), (Some(run), 2));
    assert_eq!((filled_with(&object, 1), filled_with(&snapshot, 1)), (7, 7));
}

#[test]
fn a_commit_keeps_the_page_that_another_hart_has_copied_meanwhile() {
    let _alone = alone();
    set_this_hart(0);
    let (object, _snapshot) = shared_page();
    let other = request_amid_copy(&object);
    object.commit(0..3 * KIB4).unwrap();
    let run = object.request(KIB4, Access::Read).unwrap();
    assert!(run.writable);
    assert_eq!(
        (other.get().map(|run| run.frame), frames()),
        (Some(run.frame), 4)
    );
}

#[test]
fn a_page_that_is_cut_off_while_it_is_copied_stays_away() {
    let _alone = alone();
    set_this_hart(0);
    let (object, snapshot) = shared_page();
    let other = object.clone();
    at_next_copy(move || other.resize(KIB4).unwrap());
    let result = object.request(KIB4, Access::Write);
    assert_eq!((result, frames()), (Err(AxError::InvalidInput), 1));
    drop(snapshot);
    assert_eq!(frames(), 0);
}

#[test]
fn a_copy_whose_original_is_dropped_meanwhile_is_complete() {
    let _alone = alone();
    set_this_hart(0);
    let (object, snapshot) = shared_page();
    at_next_copy(move || drop(snapshot));
    object.request(KIB4, Access::Write).unwrap();
    assert_eq!((filled_with(&object, 1), frames()), (7, 1));
}
