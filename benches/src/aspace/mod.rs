//! Address spaces on the host: ours, and two published crates used in the way of ArceOS's
//! `axmm`. Both have x86_64's page-table format.
//!
//! On the host no hardware walks the tables, so there is no trap and no TLB. A page fault is
//! the call that the trap handler would make. So a figure is the work on areas, entries and
//! frames.

mod frames;
mod ours;
mod upstream;

use core::ops::Range;

use axbench_aspace::{Table, rows};
use page_table_multiarch::MappingFlags;

/// The addresses of both address spaces, and the part that the loads use. Below that part a
/// page is mapped ([`FIXED`]), because a kernel also has mappings below.
const ALL: Range<usize> = 1 << 40..1 << 46;
const LOADS: Range<usize> = 1 << 41..1 << 46;

/// The page below the part that the loads use.
const FIXED: usize = ALL.start;

const RO: MappingFlags = MappingFlags::READ;
const RW: MappingFlags = RO.union(MappingFlags::WRITE);

/// The name of the two crates' address space in the rows.
pub const UPSTREAM: &str = "memory_set+page_table_multiarch";

/// Runs every load on both. `begin` is called before the rows of each, with its name; ours is
/// the empty name.
pub fn visit<T: Table>(table: &mut T, mut begin: impl FnMut(&mut T, &'static str)) {
    if let Some(mut space) = ours::Space::new() {
        begin(table, "");
        rows(table, &mut space);
    }
    if let Some(mut space) = upstream::Space::new() {
        begin(table, UPSTREAM);
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

    /// Runs every load twice, and checks that it leaves nothing mapped.
    #[derive(Default)]
    struct Loads {
        rows: Vec<String>,
        names: Vec<&'static str>,
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
    fn both_run_every_load_and_leave_nothing_mapped() {
        let mut loads = Loads::default();
        visit(&mut loads, |loads, peer| loads.names.push(peer));
        assert_eq!(loads.names, ["", UPSTREAM]);
        let (ours, theirs) = loads.rows.split_at(loads.rows.len() / 2);
        assert_eq!(ours, theirs);
        assert_eq!(ours.len(), 10);
    }
}
