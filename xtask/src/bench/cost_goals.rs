//! The goal of each row's cost, the costs of ArceOS and Linux, and reasons for a miss.
//!
//! The figures of ArceOS and Linux were measured by the authors with QEMU 10.0 under
//! `-icount shift=0`, on one hart with 128 MiB. ArceOS is the state of its repository in April
//! 2026, in a release build with an application that calls its `axmm`. Linux is Debian's 6.12
//! with a static C program. Its figures include the system call, which costs 441 instructions
//! on riscv64 and 325 on x86_64.

use std::fmt;

use crate::figures::Row;

/// The values of `ARCH` whose machines have goals. Each pair of figures in this file is in
/// this order.
pub const ARCHS: [&str; 2] = ["riscv64", "x86_64"];

/// The goal of one row, in instructions.
#[derive(Debug)]
pub struct Goal {
    /// The name of the row.
    pub row: &'static str,
    /// The operation that is measured, in words.
    pub work: &'static str,
    /// The largest cost that reaches the goal, on each machine.
    pub limit: [Limit; 2],
    /// The cost in ArceOS, on each machine.
    pub arceos: [Option<f64>; 2],
    /// The cost in Linux, on each machine.
    pub linux: [Option<f64>; 2],
    /// Why the goal is missed, if it is. The report shows it only then. Empty if no reason is
    /// known.
    pub reason: &'static str,
    /// What to try next. Empty if `reason` is.
    pub next: &'static str,
}

/// The largest cost of a row that reaches its goal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// A number of instructions.
    Fixed(f64),
    /// Another row's cost, and a number of instructions more.
    RowPlus(&'static str, f64),
    /// Another row's cost, times a factor.
    RowTimes(f64, &'static str),
    /// The row has no goal; it is only reported.
    Unlimited,
}

impl Limit {
    /// Returns the number of instructions, given the measured rows. `None` if the row has no
    /// goal, or the row that it refers to was not measured.
    pub fn value(self, rows: &[Row]) -> Option<f64> {
        let of = |name| Some(rows.iter().find(|row| row.name == name)?.value);
        match self {
            Limit::Fixed(limit) => Some(limit),
            Limit::RowPlus(row, more) => Some(of(row)? + more),
            Limit::RowTimes(times, row) => Some(of(row)? * times),
            Limit::Unlimited => None,
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limit::Fixed(_) => Ok(()),
            Limit::RowPlus(row, more) => write!(f, "{row} + {more}"),
            Limit::RowTimes(times, row) => write!(f, "{times} times {row}"),
            Limit::Unlimited => f.write_str("reported only"),
        }
    }
}

impl Goal {
    const fn new(row: &'static str, work: &'static str, limit: Limit) -> Goal {
        Goal {
            row,
            work,
            limit: [limit, limit],
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

    /// Adds the reason for a miss, and what to try next.
    const fn explain_miss(self, reason: &'static str, next: &'static str) -> Goal {
        Goal {
            reason,
            next,
            ..self
        }
    }
}

/// The goals of all rows that have one, address spaces first.
pub static GOALS: [Goal; 33] = [
    Goal::new(
        "fault.lazy_write",
        "first write to a lazy page, trap and all",
        Limit::RowPlus("frame.zero", 300.0),
    )
    .arceos(2193.0, 1036.0)
    .linux(3674.0, 7198.0),
    Goal::new(
        "populate.page",
        "a page of 64 MiB mapped with frames",
        Limit::RowPlus("frame.zero", 30.0),
    )
    .arceos(1844.0, 759.0)
    .linux(4086.0, 7536.0),
    Goal::new(
        "unmap.page",
        "a touched page of 64 MiB unmapped",
        Limit::Fixed(40.0),
    )
    .arceos(182.0, 178.0)
    .linux(1283.0, 1046.0),
    Goal::new(
        "protect.page",
        "a page of 64 MiB given other rights",
        Limit::Fixed(10.0),
    )
    .arceos(49.0, 61.0)
    .linux(44.0, 145.0),
    Goal::new("map_lazy.1g", "1 GiB mapped lazily", Limit::Fixed(1000.0))
        .arceos(24.0e6, 25.0e6),
    Goal {
        arceos: [Some(513.0), None],
        ..Goal::new("map_lazy.1g.frames", "the frames that map_lazy.1g takes", Limit::Fixed(3.0))
    },
    Goal::new("unmap_lazy.1g", "1 GiB of lazy pages unmapped, untouched", Limit::Fixed(1000.0))
        .arceos(17.3e6, 17.8e6),
    Goal::new(
        "map_unmap.10",
        "a lazy page mapped and unmapped, 10 areas",
        Limit::Fixed(1200.0),
    )
    .arceos(1638.0, 1476.0)
    .linux(14_867.0, 10_949.0)
    .explain_miss(
        "The cost is spread: no function takes more than a seventh. Keeping nodes in reserve and the path through the tree take most.",
        "Do not walk the page table for an area that was never touched.",
    ),
    Goal::new(
        "map_unmap.10000",
        "a lazy page mapped and unmapped, 10,000 areas",
        Limit::RowTimes(1.15, "map_unmap.10"),
    )
    .arceos(161_406.0, 234_958.0)
    .linux(16_731.0, 14_425.0),
    Goal::new(
        "find_free.10000",
        "a search for free addresses behind 10,000 areas, worst hint",
        Limit::Fixed(400.0),
    )
    .arceos(205_912.0, 269_496.0)
    .explain_miss(
        "The search goes down three levels of the tree twice: to the hint, where the gaps are too small, and to the first gap that is large enough. That takes some 470 instructions.",
        "Let inner nodes store the addresses of their children instead of numbers, and let the largest gap of a node include the gap before it.",
    ),
    Goal::new(
        "can_access.10000",
        "the rights of the last of 10,000 areas",
        Limit::Fixed(300.0),
    )
    .arceos(235_440.0, 271_624.0),
    Goal::new(
        "boot.kernel_aspace",
        "the kernel's address space built and loaded, 128 MiB",
        Limit::Fixed(0.3e6),
    )
    .arceos(63.0e6, 20.4e6),
    Goal::new(
        "user_aspace.new",
        "a user program's address space, empty",
        Limit::RowPlus("frame.zero", 600.0),
    )
    .arceos(10_516.0, 7179.0),
    Goal::new(
        "fork.page",
        "a fork, per touched page below tables that cannot be shared",
        Limit::Fixed(15.0),
    )
    .linux(375.0, 412.0)
    .explain_miss(
        "Copying an entry takes some 6 instructions, another owner for its frame 5, and sealing the parent's entry 4.",
        "Put the count first in the frame metadata: riscv64's atomic instructions take no offset.",
    ),
    Goal::new(
        "fork.2m",
        "a fork, per page table of 2 MiB that is shared",
        Limit::Fixed(40.0),
    )
    .linux(192_000.0, 192_000.0),
    Goal::new(
        "fork.1g",
        "a fork of 1 GiB with all its page tables",
        Limit::Fixed(25_000.0),
    )
    .linux(98.0e6, 98.0e6),
    Goal::new(
        "fork.touch_2m",
        "the first write below a shared page table of 512 pages",
        Limit::RowPlus("frame.copy", 6000.0),
    )
    .explain_miss(
        "Pages that were touched one by one have frames in short runs, and each run takes a call of FrameRun::share. With populated pages the row is 10,800 on riscv64.",
        "Look up the frame metadata once for several runs.",
    ),
    Goal::new(
        "cow.copy",
        "a copy-on-write fault that copies",
        Limit::RowPlus("frame.copy", 400.0),
    )
    .linux(5095.0, 11_742.0)
    .explain_miss(
        "On riscv64, the fault up to the copy takes some 230 instructions, the new frame 60, the checks that no other hart uses the page 50, the two changes of the entry 80, and the old frame's owner 50.",
        "Ask once which harts are inside, and drop an owner that is not the last without a call.",
    ),
    Goal::new(
        "cow.reuse",
        "a copy-on-write fault on a page with one owner left",
        Limit::Fixed(250.0),
    )
    .linux(1610.0, 1564.0)
    .explain_miss(
        "On riscv64, the fault slot, the area and the rights take some 110 instructions, the walk 50, the owners of the frame 30, the right to write 20, and the end of the fault 40.",
        "Save fewer registers: the steps that follow only if the page is copied belong in a function of their own.",
    ),
    Goal::new(
        "cow.read_zero",
        "a read fault on a lazy page, which maps the zero frame",
        Limit::Fixed(250.0),
    )
    .linux(1260.0, 1500.0),
    Goal::new(
        "exit.shared_2m",
        "an unmap, per page table of 2 MiB that others share",
        Limit::Fixed(60.0),
    )
    .explain_miss(
        "An owner of a table is dropped by a call into the frame allocator, which looks the frame's metadata up.",
        "Drop an owner that is not the last without the code that frees a frame.",
    ),
    Goal::new(
        "snapshot.create.4k",
        "a snapshot of an object of 4 KiB",
        Limit::Fixed(400.0),
    ),
    Goal::new(
        "snapshot.create.1t",
        "a snapshot of an object of 1 TiB with 1,024 pages",
        Limit::Fixed(400.0),
    ),
    Goal::new(
        "snapshot.read.1000",
        "eight bytes read through the last of a chain of 1,000 snapshots",
        Limit::RowTimes(1.05, "snapshot.read.root"),
    ),
    Goal::new(
        "snapshot.first_write",
        "the first page that is copied after a snapshot, with its leaf and its root",
        Limit::RowPlus("object.copy", 2500.0),
    )
    .explain_miss(
        "Each of the 64 frames and of the 64 children of the root gets another owner. That takes most of what the copy of the page leaves.",
        "Share the frames of a leaf in fewer instructions, and allocate nodes without filling them with zeroes first.",
    ),
    Goal::new(
        "snapshot.next_write",
        "the next page of the same leaf that is copied",
        Limit::RowPlus("object.copy", 450.0),
    )
    .explain_miss(
        "The request goes down the tree four times, each time with the state locked.",
        "Let the request hand the page that it has found to the copy, and return the new page without another look.",
    ),
    Goal::new(
        "object.fault",
        "a read fault on a page that an object has, with page tables",
        Limit::Fixed(380.0),
    )
    .explain_miss(
        "The fault locks the object's state while it holds its fault slot, and finds the page from the root of the object's tree.",
        "Enter the pages around the one that faulted with the state locked once.",
    ),
    Goal::new(
        "snapshot.create_mapped",
        "a snapshot of a mapped object, per page written since the last",
        Limit::Fixed(12.0),
    )
    .explain_miss(
        "On x86_64 the loop that takes the right to write away costs some 10 instructions a page, as in protect.page. Locking and the flush cost the rest.",
        "Clear one bit in each entry of a mapping whose pages have the same rights, without comparing the entry.",
    ),
    Goal::new(
        "object.shrink",
        "an object in 8 address spaces shrunk, per page and address space",
        Limit::Unlimited,
    ),
    Goal {
        limit: [Limit::Fixed(560.0), Limit::Unlimited],
        ..Goal::new("frame.zero", "a frame filled with zeroes", Limit::Unlimited)
            .arceos(1567.0, 541.0)
            .linux(670.0, 4104.0)
    },
    Goal::new("frame.pair", "a frame taken and given back", Limit::Fixed(40.0))
        .arceos(278.0, 183.0),
    Goal::new(
        "block_2m.pair",
        "2 MiB taken and given back",
        Limit::Fixed(500.0),
    )
    .arceos(521_326.0, 44_969.0),
    Goal::new(
        "heap_64.pair",
        "64 bytes of the heap taken and given back",
        Limit::Fixed(60.0),
    )
    .arceos(471.0, 231.0),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_may_refer_to_another_row() {
        let rows = [Row::new("frame.zero".into(), 143.0, "instructions")];
        assert_eq!(Limit::Fixed(40.0).value(&[]), Some(40.0));
        assert_eq!(
            Limit::RowPlus("frame.zero", 300.0).value(&rows),
            Some(443.0)
        );
        assert_eq!(Limit::RowPlus("frame.zero", 300.0).value(&[]), None);
        assert_eq!(Limit::RowTimes(2.0, "frame.zero").value(&rows), Some(286.0));
        assert_eq!(Limit::Unlimited.value(&rows), None);
    }

    #[test]
    fn each_row_has_one_goal_and_a_description() {
        for (index, goal) in GOALS.iter().enumerate() {
            let same = |other: &Goal| other.row == goal.row;
            assert!(!GOALS[..index].iter().any(same), "{} twice", goal.row);
            assert!(!goal.work.is_empty(), "{}", goal.row);
            assert_eq!(goal.reason.is_empty(), goal.next.is_empty(), "{}", goal.row);
        }
    }
}
