//! What each row is to cost, what others take for it, and why it may fall short.
//!
//! ArceOS's and Linux's figures here were measured by the authors with QEMU 10.0
//! under `-icount shift=0`, on one hart with 128 MiB: ArceOS's repository of April
//! 2026, a release build with an application that calls its `axmm`; Debian's Linux
//! 6.12 with a static C program, entering and leaving the system call included
//! (441 instructions on riscv64, 325 on x86_64).

use std::fmt;

use crate::figures::Row;

/// The machines that goals are set for. Pairs of figures here are in this order.
pub const MACHINES: [&str; 2] = ["riscv64", "x86_64"];

/// A row and what is aimed at.
#[derive(Debug)]
pub struct Goal {
    /// The row's name.
    pub row: &'static str,
    /// What an operation is.
    pub work: &'static str,
    /// What it is to cost at most, on each machine.
    pub most: [Most; 2],
    /// What ArceOS takes.
    pub arceos: [Option<f64>; 2],
    /// What Linux takes.
    pub linux: [Option<f64>; 2],
    /// Why the goal is missed, where it is; empty where none is known.
    pub reason: &'static str,
    /// What is to be tried next; empty likewise.
    pub next: &'static str,
}

/// The most that a row is to cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Most {
    /// So much.
    Of(f64),
    /// So much more than another row.
    Above(&'static str, f64),
    /// So many times another row.
    Times(f64, &'static str),
    /// Whatever it is.
    Any,
}

impl Most {
    /// The number, as the other rows came out. `None` if there is none, or one
    /// that it needs was not measured.
    pub fn value(self, rows: &[Row]) -> Option<f64> {
        let of = |name| Some(rows.iter().find(|row| row.name == name)?.value);
        match self {
            Most::Of(most) => Some(most),
            Most::Above(row, more) => Some(of(row)? + more),
            Most::Times(times, row) => Some(of(row)? * times),
            Most::Any => None,
        }
    }
}

impl fmt::Display for Most {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Most::Of(_) => Ok(()),
            Most::Above(row, more) => write!(f, "{row} + {more}"),
            Most::Times(times, row) => write!(f, "{times} times {row}"),
            Most::Any => f.write_str("reported only"),
        }
    }
}

impl Goal {
    const fn new(row: &'static str, work: &'static str, most: Most) -> Goal {
        Goal {
            row,
            work,
            most: [most, most],
            arceos: [None; 2],
            linux: [None; 2],
            reason: "",
            next: "",
        }
    }

    const fn arceos(self, riscv64: f64, x86_64: f64) -> Goal {
        Goal {
            arceos: [Some(riscv64), Some(x86_64)],
            ..self
        }
    }

    const fn linux(self, riscv64: f64, x86_64: f64) -> Goal {
        Goal {
            linux: [Some(riscv64), Some(x86_64)],
            ..self
        }
    }

    /// For where it is missed.
    const fn short(self, reason: &'static str, next: &'static str) -> Goal {
        Goal {
            reason,
            next,
            ..self
        }
    }
}

/// All rows that have a goal, those of address spaces first.
pub static GOALS: [Goal; 20] = [
    Goal::new(
        "fault.lazy_write",
        "first write to a lazy page, trap and all",
        Most::Above("frame.zero", 300.0),
    )
    .arceos(2193.0, 1036.0)
    .linux(3674.0, 7198.0),
    Goal::new(
        "populate.page",
        "a page of 64 MiB mapped with frames",
        Most::Above("frame.zero", 30.0),
    )
    .arceos(1844.0, 759.0)
    .linux(4086.0, 7536.0),
    Goal::new(
        "unmap.page",
        "a touched page of 64 MiB unmapped",
        Most::Of(40.0),
    )
    .arceos(182.0, 178.0)
    .linux(1283.0, 1046.0),
    Goal::new(
        "protect.page",
        "a page of 64 MiB given other rights",
        Most::Of(10.0),
    )
    .arceos(49.0, 61.0)
    .linux(44.0, 145.0),
    Goal::new("map_lazy.1g", "1 GiB mapped lazily", Most::Of(1000.0))
        .arceos(24.0e6, 25.0e6),
    Goal {
        arceos: [Some(513.0), None],
        ..Goal::new("map_lazy.1g.frames", "frames which that takes", Most::Of(3.0))
    },
    Goal::new("unmap_lazy.1g", "that GiB unmapped, untouched", Most::Of(1000.0))
        .arceos(17.3e6, 17.8e6),
    Goal::new(
        "map_unmap.10",
        "a lazy page mapped and unmapped, 10 areas",
        Most::Of(1200.0),
    )
    .arceos(1638.0, 1476.0)
    .linux(14_867.0, 10_949.0)
    .short(
        "It is spread: no function takes more than a seventh, nodes set aside and the way through the tree the most.",
        "Leave the page table alone where an area was never touched.",
    ),
    Goal::new(
        "map_unmap.10000",
        "the same, 10,000 areas",
        Most::Times(1.15, "map_unmap.10"),
    )
    .arceos(161_406.0, 234_958.0)
    .linux(16_731.0, 14_425.0)
    .short(
        "The way down three levels costs some 160 instructions; the figure at 10 areas, by which it is measured, has fallen since the goal was met.",
        "Tell fewer levels of an area that comes where the one before has gone.",
    ),
    Goal::new(
        "find_free.10000",
        "room looked for behind 10,000 areas, worst hint",
        Most::Of(400.0),
    )
    .arceos(205_912.0, 269_496.0),
    Goal::new(
        "can_access.10000",
        "the rights of the last of 10,000 areas",
        Most::Of(300.0),
    )
    .arceos(235_440.0, 271_624.0),
    Goal::new(
        "boot.kernel_aspace",
        "the kernel's address space built and loaded, 128 MiB",
        Most::Of(0.3e6),
    )
    .arceos(63.0e6, 20.4e6),
    Goal::new(
        "user_aspace.new",
        "a user program's address space, empty",
        Most::Above("frame.zero", 600.0),
    )
    .arceos(10_516.0, 7179.0),
    Goal::new(
        "cow.copy",
        "a copy-on-write fault that copies",
        Most::Above("frame.copy", 400.0),
    )
    .linux(5095.0, 11_742.0)
    .short(NO_SNAPSHOTS, SNAPSHOTS),
    Goal::new(
        "cow.reuse",
        "a copy-on-write fault of the last owner",
        Most::Of(250.0),
    )
    .linux(1610.0, 1564.0)
    .short(NO_SNAPSHOTS, SNAPSHOTS),
    Goal::new(
        "fork.page",
        "a touched page of an address space that forks",
        Most::Of(25.0),
    )
    .linux(375.0, 412.0)
    .short(NO_SNAPSHOTS, SNAPSHOTS),
    Goal {
        most: [Most::Of(560.0), Most::Any],
        ..Goal::new("frame.zero", "a frame filled with zeroes", Most::Any)
            .arceos(1567.0, 541.0)
            .linux(670.0, 4104.0)
    },
    Goal::new("frame.pair", "a frame taken and given back", Most::Of(40.0))
        .arceos(278.0, 183.0),
    Goal::new(
        "block_2m.pair",
        "2 MiB taken and given back",
        Most::Of(500.0),
    )
    .arceos(521_326.0, 44_969.0),
    Goal::new(
        "heap_64.pair",
        "64 bytes of the heap taken and given back",
        Most::Of(60.0),
    )
    .arceos(471.0, 231.0),
];

const NO_SNAPSHOTS: &str = "Mappings cannot share pages yet, so there is nothing to measure.";
const SNAPSHOTS: &str =
    "Snapshots of memory objects: a page is copied at the first write of either side.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_may_hang_on_other_rows() {
        let rows = [Row::new("frame.zero".into(), 143.0, "instructions")];
        assert_eq!(Most::Of(40.0).value(&[]), Some(40.0));
        assert_eq!(Most::Above("frame.zero", 300.0).value(&rows), Some(443.0));
        assert_eq!(Most::Above("frame.zero", 300.0).value(&[]), None);
        assert_eq!(Most::Times(2.0, "frame.zero").value(&rows), Some(286.0));
        assert_eq!(Most::Any.value(&rows), None);
    }

    #[test]
    fn rows_are_told_apart_and_have_words() {
        for (index, goal) in GOALS.iter().enumerate() {
            let same = |other: &Goal| other.row == goal.row;
            assert!(!GOALS[..index].iter().any(same), "{} twice", goal.row);
            assert!(!goal.work.is_empty(), "{}", goal.row);
            assert_eq!(goal.reason.is_empty(), goal.next.is_empty(), "{}", goal.row);
        }
    }
}
