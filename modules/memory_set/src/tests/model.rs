//! Random operations on a set, and on a flat list of pages beside it.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

const PAGE: usize = 0x1000;

/// A page: its flags, and the number of its backend (`kind`). `None` if it is free.
type Page = Option<(u8, usize)>;

/// The first number is the page to start at, and the second is a number of pages. Flags and the
/// number of the backend may follow.
#[derive(Clone, Debug)]
enum Op {
    Insert(usize, usize, u8, usize),
    Remove(usize, usize),
    SetFlags(usize, usize, u8),
    Query(usize, usize),
    FindFree {
        hint: usize,
        size: usize,
        limit: Range<usize>,
        align: usize,
    },
}

/// Returns an operation on a space of `pages` pages. Most are on single pages and small areas,
/// and some on large ranges.
fn op(pages: usize) -> impl Strategy<Value = Op> {
    let at = move || 0..pages;
    let small = || prop_oneof![8 => 1..4_usize, 1 => 1..40_usize];
    let flags = || select(vec![RO, RW]);
    let aligns = vec![1, PAGE, PAGE, 2 * PAGE, 3 * PAGE, 16 * PAGE];
    let hint = prop_oneof![
        8 => 0..(pages + 2) * PAGE,
        4 => Just(0),
        1 => Just(usize::MAX),
    ];
    let find = (hint, 1..20_usize, at(), at(), select(aligns));
    prop_oneof![
        8 => (at(), small(), flags(), 0..2_usize).prop_map(|(at, len, f, k)| Op::Insert(at, len, f, k)),
        4 => (at(), small()).prop_map(|(at, len)| Op::Remove(at, len)),
        4 => (at(), small(), flags()).prop_map(|(at, len, f)| Op::SetFlags(at, len, f)),
        2 => (at(), small()).prop_map(|(at, len)| Op::Query(at, len)),
        2 => find.prop_map(move |(hint, size, start, len, align)| Op::FindFree {
            hint,
            size: size * PAGE,
            limit: start * PAGE..(start + len) * PAGE,
            align,
        }),
    ]
}

/// Returns the number of pages of a space, the distance in pages between the areas that it has at
/// first (`every`), and a script of operations.
fn script() -> impl Strategy<Value = (usize, usize, Vec<Op>)> {
    let pages = prop_oneof![
        6 => 8..300_usize,
        2 => 300..3000_usize,
        1 => 8000..12_000_usize,
    ];
    (pages, 1..3_usize).prop_flat_map(|(pages, every)| {
        let ops = vec(op(pages), 1..800);
        (Just(pages), Just(every), ops)
    })
}

/// A set, and the pages of which its areas have to consist.
struct Both {
    set: Set,
    pages: Vec<Page>,
}

impl Both {
    fn new(pages: usize, every: usize) -> Self {
        let mut both = Self {
            set: Set::new(),
            pages: vec![None; pages + 40],
        };
        for at in (0..pages).step_by(every) {
            both.insert(at, 1, RW, at / every % 2);
        }
        both
    }

    fn insert(&mut self, at: usize, len: usize, flags: u8, kind: usize) {
        let range = span(at, len);
        let pages = &mut self.pages[at..at + len];
        if pages.iter().any(Option::is_some) {
            let refused = self.set.reserve_insert(range);
            assert_eq!(refused, Err(ReserveError::AlreadyExists));
            return;
        }
        self.set.reserve_insert(range).unwrap();
        self.set.insert(range, flags, &Offset(kind));
        pages.fill(Some((flags, kind)));
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Insert(at, len, flags, kind) => self.insert(at, len, flags, kind),
            Op::Remove(at, len) => {
                self.set.reserve_cut(span(at, len)).unwrap();
                while !self.set.remove(span(at, len), 2) {}
                self.pages[at..at + len].fill(None);
            }
            Op::SetFlags(at, len, flags) => {
                self.set.reserve_cut(span(at, len)).unwrap();
                set_flags(&self.set, at * PAGE..(at + len) * PAGE, flags);
                for page in self.pages[at..at + len].iter_mut().flatten() {
                    page.0 = flags;
                }
            }
            Op::Query(at, len) => self.query(at, len),
            Op::FindFree {
                hint,
                size,
                ref limit,
                align,
            } => {
                let found = self.set.find_free(hint, size, limit, align);
                assert_eq!(found, self.first_fit(hint, size, limit, align));
            }
        }
    }

    fn query(&self, at: usize, len: usize) {
        let inside = &self.pages[at..at + len];
        let found = self.set.area_at(at * PAGE + 1);
        assert_eq!(found.map(|area| area.flags()), inside[0].map(|page| page.0));
        let all = inside.iter().all(Option::is_some);
        assert_eq!(self.set.covers(span(at, len)), all);
        let overlapping = self.set.overlapping(span(at, len));
        assert!(
            overlapping
                .map(|area| area.start()..area.end())
                .eq(runs(&self.pages)
                    .map(|(run, _)| run)
                    .filter(|run| run.end > at * PAGE && run.start < (at + len) * PAGE))
        );
    }

    /// Searches address by address, in steps of a page or of the alignment.
    fn first_fit(
        &self,
        hint: usize,
        size: usize,
        limit: &Range<usize>,
        align: usize,
    ) -> Option<usize> {
        let mut start = hint.max(limit.start);
        loop {
            start = start.checked_next_multiple_of(align)?;
            let end = start.checked_add(size)?;
            if end > limit.end {
                return None;
            }
            let pages = (start / PAGE..end.div_ceil(PAGE)).rev();
            let mut taken = pages.filter(|&page| matches!(self.pages.get(page), Some(Some(_))));
            match taken.next() {
                None => return Some(start),
                Some(page) => start = (page + 1) * PAGE,
            }
        }
    }

    fn check(&self) -> usize {
        let areas = self
            .set
            .areas()
            .map(|area| area.area())
            .map(|area| (area.range(), area.flags(), area.backend().0));
        let runs = runs(&self.pages).map(|(run, (flags, kind))| (run, flags, kind));
        assert!(areas.eq(runs));
        self.set.tree.check()
    }
}

fn span(at: usize, len: usize) -> AddrRange<usize> {
    range(at * PAGE..(at + len) * PAGE)
}

/// Returns the areas that the pages make up.
fn runs(pages: &[Page]) -> impl Iterator<Item = (Range<usize>, (u8, usize))> {
    let mut at = 0;
    pages.chunk_by(|a, b| a == b).filter_map(move |run| {
        let start = at;
        at += run.len();
        Some((start * PAGE..at * PAGE, run[0]?))
    })
}

/// Returns the number of scripts: 2600 times what the variable `TESSERA_TIMES` says. Under Miri,
/// where a step takes a thousand times as long, there are 2.
fn cases() -> u32 {
    if cfg!(miri) {
        return 2;
    }
    let times = std::env::var("TESSERA_TIMES").ok();
    2600 * times.and_then(|times| times.parse().ok()).unwrap_or(1)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(),
        max_shrink_iters: 20_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn areas_are_as_in_a_list_of_pages((pages, every, ops) in script()) {
        let mut both = Both::new(pages, every);
        for (step, op) in ops.iter().enumerate() {
            both.apply(op);
            if pages < 300 || step % 64 == 0 {
                both.check();
            }
        }
        both.check();
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn a_tree_of_four_levels_grows_and_shrinks() {
    let count = 40_000;
    let mut both = Both::new(count, 1);
    assert_eq!(both.check(), 3);
    for odd in [1, 0] {
        for step in 0..count / 2 {
            // Each area once, in no order: 7919 and the number of steps are coprime.
            let at = step * 7919 % (count / 2) * 2 + odd;
            both.apply(&Op::Remove(at, 1));
            if step % 1000 == 0 {
                both.check();
            }
        }
    }
    assert_eq!(both.check(), 0);
    assert!(both.set.areas().next().is_none());
}
