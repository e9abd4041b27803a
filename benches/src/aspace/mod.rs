//! Address spaces on the host: ours, and two published crates driven as ArceOS's
//! `axmm` drives them. Both have x86_64's page-table format.
//!
//! On the host nobody walks the tables: a fault is the call that a trap would make,
//! and nothing is there to be forgotten. So a figure is the work on areas, entries
//! and frames, and no trap or TLB flush.

mod frames;
mod ours;
mod upstream;

use core::ops::Range;

use axbench_aspace::{Table, rows};
use page_table_multiarch::MappingFlags;

/// The addresses that both have, and what of them the loads get: as in a kernel,
/// something lies below ([`FIXED`]).
const ALL: Range<usize> = 1 << 40..1 << 46;
const LOADS: Range<usize> = 1 << 41..1 << 46;

/// The page that lies below.
const FIXED: usize = ALL.start;

const RO: MappingFlags = MappingFlags::READ;
const RW: MappingFlags = RO.union(MappingFlags::WRITE);

/// The name of the two crates.
pub const UPSTREAM: &str = "memory_set+page_table_multiarch";

/// Puts every load on each: `table` is told whose rows come next, ours under the
/// empty name.
pub fn visit<T: Table>(table: &mut T, mut turn: impl FnMut(&mut T, &'static str)) {
    if let Some(mut space) = ours::Space::new() {
        turn(table, "");
        rows(table, &mut space);
    }
    if let Some(mut space) = upstream::Space::new() {
        turn(table, UPSTREAM);
        rows(table, &mut space);
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::ToOwned;
    use std::string::String;
    use std::vec::Vec;

    use super::*;
    use axbench_aspace::{Done, PAGE, Space, Watch};

    /// Puts every load on each twice, and looks at what is left.
    #[derive(Default)]
    struct Loads {
        rows: Vec<String>,
        turns: Vec<&'static str>,
    }

    struct Unwatched;

    impl Watch for Unwatched {
        fn time<R>(&mut self, part: impl FnOnce() -> R) -> R {
            part()
        }
    }

    impl Table for Loads {
        type Watch = Unwatched;

        fn row<S: Space>(
            &mut self,
            name: &str,
            space: &mut S,
            load: impl Fn(&mut S, &mut Unwatched) -> Done,
        ) {
            let operations = load(space, &mut Unwatched).unwrap();
            assert!(operations > 0, "{name}");
            assert_eq!(load(space, &mut Unwatched), Ok(operations), "{name}");
            let start = space.range().start;
            assert_eq!(space.find_free(start, PAGE, space.range()), Some(start));
            assert!(!space.can_write(start, PAGE), "{name}");
            assert!(space.touch(start).is_err(), "{name}");
            self.rows.push(name.to_owned());
        }
    }

    #[test]
    fn both_bear_every_load_and_keep_nothing() {
        let mut loads = Loads::default();
        visit(&mut loads, |loads, peer| loads.turns.push(peer));
        assert_eq!(loads.turns, ["", UPSTREAM]);
        let (ours, theirs) = loads.rows.split_at(loads.rows.len() / 2);
        assert_eq!(ours, theirs);
        assert_eq!(ours.len(), 10);
    }
}
