//! The goals beside the cost of an operation: how much more work two threads do than one,
//! how often an operation disturbs other harts, and how long it keeps interrupts disabled.

use std::fmt;

/// The values of a row that reach its goal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    /// This value or more.
    AtLeast(f64),
    /// This value or less.
    AtMost(f64),
}

impl Bound {
    /// Returns whether a value reaches the goal.
    pub fn holds(self, value: f64) -> bool {
        match self {
            Bound::AtLeast(least) => value >= least,
            Bound::AtMost(most) => value <= most,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bound::AtLeast(least) => write!(f, "at least {least}"),
            Bound::AtMost(most) => write!(f, "at most {most}"),
        }
    }
}

/// The goal of a row that compares two threads with one.
#[derive(Debug)]
pub struct ThreadsGoal {
    /// The name of the row.
    pub row: &'static str,
    /// What each thread does, in words.
    pub work: &'static str,
    /// The values that reach the goal.
    pub bound: Bound,
}

/// The rows of `bench-threads`.
pub static THREADS_GOALS: [ThreadsGoal; 9] = [
    ThreadsGoal {
        row: "threads.fault_one_area",
        work: "page faults in one area, each thread in its part",
        bound: Bound::AtLeast(1.95),
    },
    ThreadsGoal {
        row: "threads.fault_area_each",
        work: "page faults, each thread in an area of its own",
        bound: Bound::AtLeast(1.95),
    },
    ThreadsGoal {
        row: "threads.map_touch_unmap.1",
        work: "a page mapped, touched, unmapped",
        bound: Bound::AtLeast(1.85),
    },
    ThreadsGoal {
        row: "threads.map_touch_unmap.16",
        work: "16 pages mapped, touched, unmapped",
        bound: Bound::AtLeast(1.85),
    },
    ThreadsGoal {
        row: "threads.map_touch_unmap.256",
        work: "256 pages mapped, touched, unmapped",
        bound: Bound::AtLeast(1.85),
    },
    ThreadsGoal {
        row: "threads.object_fault",
        work: "page faults in one object, in one address space",
        bound: Bound::AtLeast(1.9),
    },
    ThreadsGoal {
        row: "threads.object_fault_space_each",
        work: "page faults in one object, each thread in an address space of its own",
        bound: Bound::AtLeast(1.9),
    },
    ThreadsGoal {
        row: "threads.snapshot_write",
        work: "first writes to pages of snapshots of one object, a snapshot each",
        bound: Bound::AtLeast(1.9),
    },
    ThreadsGoal {
        row: "threads.frame_pair",
        work: "a frame taken and freed: the extra cost with two threads",
        bound: Bound::AtMost(5.0),
    },
];

/// The goal of an operation in an address space: how many requests to flush it may send to
/// other harts, and how often it may interrupt each of them.
#[derive(Debug)]
pub struct DisturbanceGoal {
    /// The beginning of the rows' names. The number of pages and what is counted follow.
    pub row: String,
    /// The operation and the address space, in words.
    pub work: String,
    /// The largest number of requests, and of interrupts.
    pub limit: f64,
}

/// The numbers of pages that operations are measured on. In the range of the largest number
/// only every other page has a frame, and the frames are not contiguous.
pub const PAGES: [usize; 3] = [1, 64, 4096];

/// Address spaces: the word in the row's name, the harts that are inside, and the number of
/// requests that an operation which removes rights may send.
const SPACES: [(&str, &str, f64); 3] = [
    ("kernel", "the kernel's, all harts", 1.0),
    ("nobody", "a user's, no other hart", 0.0),
    ("one", "a user's, one other hart", 1.0),
];

/// Operations: the word in the row's name, what they do, and whether they remove rights.
const OPERATIONS: [(&str, &str, bool); 4] = [
    ("map_touch", "mapped and touched", false),
    ("protect", "made read-only", true),
    ("widen", "made writable again", false),
    ("unmap", "unmapped", true),
];

/// Returns the goals of the rows of `apps/mmbench` with `rows=harts`.
pub fn disturbance_goals() -> Vec<DisturbanceGoal> {
    let of = |(space, who, requests): (&str, &str, f64)| {
        OPERATIONS.map(|(operation, done, removes_rights)| DisturbanceGoal {
            row: format!("asked.{space}.{operation}"),
            work: format!("{who}: {done}"),
            limit: if removes_rights { requests } else { 0.0 },
        })
    };
    let all = SPACES.into_iter().flat_map(of);
    all.chain(joint_flush_goals()).collect()
}

/// Returns the goals of a memory object that 8 address spaces map. Each other hart is in one of
/// them.
fn joint_flush_goals() -> impl Iterator<Item = DisturbanceGoal> {
    [
        ("snapshot", "a snapshot of it"),
        ("shrink", "shrunk to nothing"),
    ]
    .into_iter()
    .map(|(operation, done)| DisturbanceGoal {
        row: format!("asked.spaces.{operation}"),
        work: format!("an object in 8 address spaces, a hart in each of 3: {done}"),
        limit: 1.0,
    })
}

/// A row that says how long an operation keeps interrupts disabled.
#[derive(Debug)]
pub struct IrqsOffGoal {
    /// The name of the row.
    pub row: String,
    /// The operation and the size of its memory, in words.
    pub work: String,
}

/// The goal of each of these rows, in instructions.
pub const IRQS_OFF: Bound = Bound::AtMost(20_000.0);

/// Operations that disable interrupts: the word in the row's name, and what they do.
const DISABLING: [(&str, &str); 6] = [
    ("populate", "mapped with frames"),
    ("unmap", "unmapped, with frames"),
    ("protect", "made read-only, then writable again"),
    ("fault", "first write to each page"),
    ("drop", "a user's address space dropped, with frames"),
    (
        "listing",
        "the kernel's address space listed, with frames mapped",
    ),
];

/// Sizes of memory: the word in the row's name, and the size.
const SIZES: [(&str, &str); 3] = [("4k", "4 KiB"), ("2m", "2 MiB"), ("512m", "512 MiB")];

/// Returns the rows of `apps/irqbench`.
pub fn irqs_off_goals() -> Vec<IrqsOffGoal> {
    let idle = IrqsOffGoal {
        row: "irqs_out.idle".to_owned(),
        work: "an empty loop, which disables no interrupts".to_owned(),
    };
    let of = |(operation, done): (&str, &str)| {
        SIZES.map(|(amount, memory)| IrqsOffGoal {
            row: format!("irqs_out.{operation}.{amount}"),
            work: format!("{memory}: {done}"),
        })
    };
    let all = DISABLING.into_iter().flat_map(of);
    [idle].into_iter().chain(all).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_of_a_bound_reaches_it() {
        let (least, most) = (Bound::AtLeast(1.95), Bound::AtMost(5.0));
        assert_eq!(
            [1.94, 1.95, 2.0].map(|v| least.holds(v)),
            [false, true, true]
        );
        assert_eq!([-1.0, 5.0, 5.1].map(|v| most.holds(v)), [true, true, false]);
        assert_eq!(
            [least, most].map(|b| b.to_string()),
            ["at least 1.95", "at most 5"]
        );
    }

    #[test]
    fn each_operation_has_a_row_for_each_size() {
        let rows: Vec<String> = irqs_off_goals().into_iter().map(|goal| goal.row).collect();
        assert_eq!(rows.len(), 19);
        for row in [
            "irqs_out.idle",
            "irqs_out.populate.512m",
            "irqs_out.listing.4k",
        ] {
            assert!(rows.iter().any(|one| one == row), "{row}");
        }
    }

    #[test]
    fn only_harts_inside_that_lose_rights_may_be_disturbed() {
        let goals = disturbance_goals();
        let limit = |row: &str| goals.iter().find(|one| one.row == row).unwrap().limit;
        assert_eq!(goals.len(), 14);
        assert_eq!(limit("asked.kernel.unmap"), 1.0);
        assert_eq!(limit("asked.one.protect"), 1.0);
        assert_eq!(limit("asked.one.widen"), 0.0);
        assert_eq!(limit("asked.kernel.map_touch"), 0.0);
        assert_eq!(limit("asked.nobody.unmap"), 0.0);
        assert_eq!(limit("asked.spaces.shrink"), 1.0);
    }
}
