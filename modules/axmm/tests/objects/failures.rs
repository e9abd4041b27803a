//! Each allocation of each operation fails in turn. The operation then returns `NoMemory` and
//! changes nothing.

use axalloc::fault::fail_from;
use axalloc::usage;
use axerrno::{AxError, AxResult};
use axmm::vmo::Access;

use crate::support::{KIB4, alone};
use crate::{TIB, Vmo, blocks, frames};

/// An object with pages of its own and shared ones, and the snapshots that share them.
struct Family {
    object: Vmo,
    others: Vec<Vmo>,
}

const LEN: usize = 300;

fn family() -> Family {
    let object = Vmo::new_resizable(LEN * KIB4).unwrap();
    for page in (0..LEN).filter(|page| page % 3 != 0) {
        object.write(page * KIB4, &[page as u8]).unwrap();
    }
    let snapshot = object.snapshot().unwrap();
    object.write(70 * KIB4, &[1; 3 * KIB4]).unwrap();
    let part = object.snapshot_of(60 * KIB4, 100 * KIB4).unwrap();
    object.write(100 * KIB4, &[2; 3 * KIB4]).unwrap();
    Family {
        object,
        others: vec![snapshot, part],
    }
}

/// All that can be seen of an object without changing it.
fn state(object: &Vmo) -> (Vec<u8>, Vec<(usize, bool)>, usize, usize) {
    let len = object.len().min(LEN * KIB4);
    let mut bytes = vec![0; len];
    object.read(0, &mut bytes).unwrap();
    let pages = (0..len / KIB4).map(|page| {
        let run = object.request(page * KIB4, Access::Read).unwrap();
        (run.frame.as_usize(), run.writable)
    });
    let pages = pages.collect();
    (bytes, pages, object.len(), object.committed_bytes())
}

/// Repeats `operation` until it succeeds. The first time its first allocation fails, with all that
/// follow it, then the second, and so on. Returns how many times it has failed.
fn repeat<T>(name: &str, operation: impl Fn(&Vmo) -> AxResult<T>) -> usize {
    let before = (usage(), blocks());
    let Family { object, others } = family();
    let all = || {
        let others: Vec<_> = others.iter().map(state).collect();
        (state(&object), others, usage())
    };
    let (unchanged, unchanged_blocks) = (all(), blocks());
    for n in 1.. {
        let armed = fail_from(n);
        let result = operation(&object);
        if !armed.has_fired() {
            assert!(result.is_ok(), "{name}: {:?}", result.err());
            drop((result, object, others, unchanged));
            assert_eq!(usage(), before.0, "{name}");
            return n - 1;
        }
        assert_eq!(result.err(), Some(AxError::NoMemory), "{name}: the {n}th");
        assert!(all() == unchanged, "{name}: after the {n}th");
        assert_eq!(blocks(), unchanged_blocks, "{name}: after the {n}th");
    }
    unreachable!("an operation makes few allocations");
}

#[test]
fn an_operation_without_memory_changes_nothing() {
    let _alone = alone();
    let mut failed = 0;
    let mut each = |name: &str, operation: &dyn Fn(&Vmo) -> AxResult| {
        failed += repeat(name, operation);
    };
    each("write", &|object| {
        object.write(61 * KIB4 + 7, &[5; 150 * KIB4])
    });
    each("request", &|object| {
        object.request(10 * KIB4, Access::Write).map(drop)
    });
    each("request, absent", &|object| {
        object.request(9 * KIB4, Access::Write).map(drop)
    });
    each("commit", &|object| object.commit(0..LEN * KIB4));
    each("decommit", &|object| object.decommit(5 * KIB4..290 * KIB4));
    each("zero", &|object| object.zero(70 * KIB4..71 * KIB4));
    each("shrink", &|object| object.resize(10 * KIB4));
    each("grow", &|object| object.resize(TIB));
    each("snapshot", &|object| object.snapshot().map(drop));
    each("snapshot_of", &|object| {
        object.snapshot_of(61 * KIB4, 99 * KIB4).map(drop)
    });
    assert!(failed > 100, "only {failed} allocations failed");
    assert!(repeat("pin", |object| object.pin(61 * KIB4..71 * KIB4)) > 5);
}

#[test]
fn an_object_that_cannot_be_made_leaves_nothing() {
    let _alone = alone();
    let before = (usage(), blocks());
    let parent = Vmo::new_paged(KIB4).unwrap();
    let makes: [&dyn Fn() -> AxResult<Vmo>; 4] = [
        &|| Vmo::new_paged(TIB),
        &|| Vmo::new_resizable(TIB),
        &|| Vmo::new_contiguous(4 * KIB4),
        &|| parent.slice(0, KIB4),
    ];
    for make in makes {
        let armed = fail_from(1);
        assert_eq!(make().err(), Some(AxError::NoMemory));
        drop(armed);
        assert_eq!(frames(), 0);
    }
    drop(parent);
    assert_eq!((usage(), blocks()), before);
}
