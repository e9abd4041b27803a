//! What is aimed at beside the cost of an operation: how much two threads get done beside
//! one, how many other harts an operation disturbs, and how long it keeps interrupts out.

use std::fmt;

/// What a value is to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    /// So much or more.
    AtLeast(f64),
    /// So much or less.
    AtMost(f64),
}

impl Bound {
    /// Whether it is.
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

/// A row of two threads beside one, and what is aimed at.
#[derive(Debug)]
pub struct Threads {
    /// The row's name.
    pub row: &'static str,
    /// What the threads do.
    pub work: &'static str,
    /// What the figure is to be.
    pub bound: Bound,
}

/// The rows of `bench-threads`.
pub static THREADS: [Threads; 6] = [
    Threads {
        row: "threads.fault_one_area",
        work: "page faults in one area, each thread in its part",
        bound: Bound::AtLeast(1.95),
    },
    Threads {
        row: "threads.fault_area_each",
        work: "page faults, each thread in an area of its own",
        bound: Bound::AtLeast(1.95),
    },
    Threads {
        row: "threads.map_touch_unmap.1",
        work: "a page mapped, touched, unmapped",
        bound: Bound::AtLeast(1.85),
    },
    Threads {
        row: "threads.map_touch_unmap.16",
        work: "the same, 16 pages at a time",
        bound: Bound::AtLeast(1.85),
    },
    Threads {
        row: "threads.map_touch_unmap.256",
        work: "the same, 256 pages at a time",
        bound: Bound::AtLeast(1.85),
    },
    Threads {
        row: "threads.frame_pair",
        work: "a frame taken and given back: how much dearer by two threads",
        bound: Bound::AtMost(5.0),
    },
];

/// An operation in an address space, and how often it may ask others to forget something,
/// and interrupt each of them.
#[derive(Debug)]
pub struct Asked {
    /// The rows' names, without how many pages and what is counted.
    pub row: String,
    /// The operation, and where.
    pub work: String,
    /// The most of either.
    pub most: f64,
}

/// How many pages an operation is of; of the most, every other page alone has a frame, and
/// the frames are scattered.
pub const PAGES: [usize; 3] = [1, 64, 4096];

/// Address spaces, which harts are there beside the one that acts, and how many requests an
/// operation that takes something away may need.
const SPACES: [(&str, &str, f64); 3] = [
    ("kernel", "the kernel's, all harts", 1.0),
    ("nobody", "a user's, nobody else", 0.0),
    ("one", "a user's, one other hart", 1.0),
];

/// Operations, and whether they take something away.
const OPERATIONS: [(&str, &str, bool); 4] = [
    ("map_touch", "mapped and touched", false),
    ("protect", "made read-only", true),
    ("widen", "made writable again", false),
    ("unmap", "unmapped", true),
];

/// The rows of `apps/mmbench` with `rows=harts`.
pub fn asked() -> Vec<Asked> {
    let of = |(space, who, requests): (&str, &str, f64)| {
        OPERATIONS.map(|(operation, done, takes_away)| Asked {
            row: format!("asked.{space}.{operation}"),
            work: format!("{who}: {done}"),
            most: if takes_away { requests } else { 0.0 },
        })
    };
    SPACES.into_iter().flat_map(of).collect()
}

/// A row of how long an operation keeps interrupts out.
#[derive(Debug)]
pub struct IrqsOut {
    /// The row's name.
    pub row: String,
    /// The operation, and on how much memory.
    pub work: String,
}

/// What each of these rows is to be, in instructions.
pub const IRQS_OUT: Bound = Bound::AtMost(20_000.0);

/// Operations that interrupts are kept out by, and what is done.
const INTERRUPTED: [(&str, &str); 6] = [
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

/// Amounts of memory.
const AMOUNTS: [(&str, &str); 3] = [("4k", "4 KiB"), ("2m", "2 MiB"), ("512m", "512 MiB")];

/// The rows of `apps/irqbench`.
pub fn irqs_out() -> Vec<IrqsOut> {
    let idle = IrqsOut {
        row: "irqs_out.idle".to_owned(),
        work: "an empty loop, nothing keeps interrupts out".to_owned(),
    };
    let of = |(operation, done): (&str, &str)| {
        AMOUNTS.map(|(amount, memory)| IrqsOut {
            row: format!("irqs_out.{operation}.{amount}"),
            work: format!("{memory}: {done}"),
        })
    };
    let all = INTERRUPTED.into_iter().flat_map(of);
    [idle].into_iter().chain(all).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_holds_its_own_value() {
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
    fn interrupts_are_kept_out_by_each_operation_on_each_amount() {
        let rows: Vec<String> = irqs_out().into_iter().map(|aim| aim.row).collect();
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
    fn nobody_is_asked_who_is_not_there_or_loses_nothing() {
        let asked = asked();
        let most = |row: &str| asked.iter().find(|one| one.row == row).unwrap().most;
        assert_eq!(asked.len(), 12);
        assert_eq!(most("asked.kernel.unmap"), 1.0);
        assert_eq!(most("asked.one.protect"), 1.0);
        assert_eq!(most("asked.one.widen"), 0.0);
        assert_eq!(most("asked.kernel.map_touch"), 0.0);
        assert_eq!(most("asked.nobody.unmap"), 0.0);
    }
}
