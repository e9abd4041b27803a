//! The handles of frames against a plain model: who has which frames, with what in
//! them, in how many hands.

use std::ops::Range;
use std::sync::OnceLock;

use axalloc::{AxError, FrameList, FrameRow, Frames, SharedFrames, Usage, UsageKind};
use axalloc::{add_memory, host, largest_free_run, usage};
use axalloc::{alloc_frame, alloc_frame_zeroed, alloc_frames, alloc_frames_zeroed};
use axconfig::{PAGE_SIZE, PHYS_VIRT_OFFSET};
use memory_addr::PhysAddr;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

mod support;

use support::{FreeFrames, scripts, size_below};

type Verdict = Result<(), TestCaseError>;

/// Bytes of what is written at either end of a run.
const STAMP: usize = size_of::<u64>();

#[derive(Clone, Debug)]
enum Step {
    Alloc {
        count: usize,
        align: usize,
        kind: usize,
        zeroed: bool,
    },
    Drop {
        which: usize,
    },
    Split {
        which: usize,
        at: usize,
    },
    IntoRaw {
        which: usize,
    },
    FromRaw {
        which: usize,
    },
    IntoShared {
        which: usize,
    },
    Share {
        which: usize,
    },
    TryUnique {
        which: usize,
    },
    Fill {
        kind: usize,
    },
    List {
        which: usize,
    },
    FreeList,
}

fn step() -> impl Strategy<Value = Step> {
    let count = prop_oneof![4 => Just(1), 3 => size_below(5), 1 => size_below(9)];
    let align = prop_oneof![4 => Just(1), 1 => (0..9_u32).prop_map(|order| 1 << order)];
    let which = any::<usize>;
    prop_oneof![
        80 => (count, align, 0..UsageKind::COUNT, any::<bool>())
            .prop_map(|(count, align, kind, zeroed)| Step::Alloc { count, align, kind, zeroed }),
        60 => which().prop_map(|which| Step::Drop { which }),
        20 => any::<(usize, usize)>().prop_map(|(which, at)| Step::Split { which, at }),
        20 => which().prop_map(|which| Step::IntoRaw { which }),
        20 => which().prop_map(|which| Step::FromRaw { which }),
        20 => which().prop_map(|which| Step::IntoShared { which }),
        40 => which().prop_map(|which| Step::Share { which }),
        20 => which().prop_map(|which| Step::TryUnique { which }),
        1 => (0..UsageKind::COUNT).prop_map(|kind| Step::Fill { kind }),
        30 => which().prop_map(|which| Step::List { which }),
        1 => Just(Step::FreeList),
    ]
}

/// Who has a run.
enum Hands {
    Own(Frames),
    /// Given away as one that has one owner.
    Raw(PhysAddr),
    /// Its owners here, and how many parts were given away.
    Shared(Vec<SharedFrames>, usize),
    /// In the list, frame by frame.
    Listed,
}

struct Run {
    hands: Hands,
    first: usize,
    count: usize,
    kind: UsageKind,
    stamp: u64,
}

impl Run {
    fn frames(&self) -> Range<usize> {
        self.first..self.first + self.count
    }

    /// Where the ends of a run are.
    fn ends(&self) -> [*mut u64; 2] {
        let start = self.first * PAGE_SIZE + PHYS_VIRT_OFFSET;
        let end = start + self.count * PAGE_SIZE - STAMP;
        [start, end].map(std::ptr::with_exposed_provenance_mut)
    }

    fn is_whole(&self) -> Verdict {
        for end in self.ends() {
            // SAFETY: the run is in this test's hands, and mapped.
            let found = unsafe { end.read() };
            prop_assert_eq!(
                found,
                self.stamp,
                "{:#x} frames at {:#x}",
                self.count,
                self.first
            );
        }
        let (start, count) = match &self.hands {
            Hands::Own(frames) => (frames.start(), frames.count()),
            Hands::Raw(start) => (*start, self.count),
            Hands::Listed => return Ok(()),
            Hands::Shared(owners, away) => {
                for owner in owners {
                    prop_assert_eq!(owner.references(), owners.len() + away);
                    prop_assert_eq!(owner.count(), self.count);
                }
                let start = owners.first().map(SharedFrames::start);
                (
                    start.unwrap_or(PhysAddr::from_usize(self.first * PAGE_SIZE)),
                    self.count,
                )
            }
        };
        prop_assert_eq!(
            (start.as_usize(), count),
            (self.first * PAGE_SIZE, self.count)
        );
        Ok(())
    }

    /// Takes back what was given away.
    fn gather(&mut self) {
        // SAFETY: each was given away, and is taken back once.
        match &mut self.hands {
            Hands::Own(_) | Hands::Listed => {}
            Hands::Raw(start) => {
                // SAFETY: as above.
                let own = unsafe { Frames::from_raw(*start) };
                self.hands = Hands::Own(own.expect("it was given away"));
            }
            Hands::Shared(owners, away) => {
                let start = PhysAddr::from_usize(self.first * PAGE_SIZE);
                let back = (0..std::mem::take(away))
                    // SAFETY: as above.
                    .map(|_| unsafe { SharedFrames::from_raw(start) });
                owners.extend(back);
            }
        }
    }
}

impl Drop for Run {
    /// So that a script that fails leaves the memory to the next.
    fn drop(&mut self) {
        self.gather();
    }
}

/// What is in which hands, and what is free.
struct Machine {
    free: FreeFrames,
    /// What was free, and in use, at the beginning.
    whole: FreeFrames,
    before: Usage,
    runs: Vec<Run>,
    /// What waits in a list, and that list.
    listed: Vec<Run>,
    list: FrameList,
    used: [usize; UsageKind::COUNT],
    stamps: u64,
}

/// Makes the memory, once: what is free in it.
fn memory() -> &'static FreeFrames {
    static MEMORY: OnceLock<FreeFrames> = OnceLock::new();
    MEMORY.get_or_init(|| {
        let map = |start, size| host::physical_memory(start, size).unwrap();
        // Around the end of a GiB, and with holes.
        let parts = [
            map((1 << 30) - 300 * PAGE_SIZE, 1200 * PAGE_SIZE),
            map((1 << 30) + 1000 * PAGE_SIZE, 77 * PAGE_SIZE),
            map((3 << 30) + 5 * PAGE_SIZE, 513 * PAGE_SIZE),
        ];
        // SAFETY: they are mapped for good, and for nothing else.
        unsafe { add_memory(&parts) }.unwrap();
        let frames = parts.map(|part| part.start / PAGE_SIZE..part.end / PAGE_SIZE);
        let mut free = FreeFrames::of(&frames);
        let metadata = usage().of(UsageKind::Metadata);
        assert_eq!(metadata, ((300 + 1077 + 513) * 8_usize).div_ceil(PAGE_SIZE));
        assert!(free.take(frames[0].start..frames[0].start + metadata));
        let all = free.count() + metadata;
        assert_eq!((usage().total, usage().free), (all, free.count()));
        assert_eq!(all_frames(), free);
        free
    })
}

/// All frames that are free, one by one.
fn all_frames() -> FreeFrames {
    let frames = std::iter::from_fn(|| alloc_frame(UsageKind::Global).ok());
    let frames: Vec<_> = frames.collect();
    let mut free = FreeFrames::default();
    for frame in &frames {
        let first = frame.start().as_usize() / PAGE_SIZE;
        assert!(free.give(first..first + 1), "{first:#x} twice");
    }
    free
}

impl Machine {
    /// With what is there: a script that fails may cost memory, and is made
    /// shorter then.
    fn new() -> Self {
        memory();
        let free = all_frames();
        Self {
            whole: free.clone(),
            free,
            before: usage(),
            runs: Vec::new(),
            listed: Vec::new(),
            list: FrameList::new(),
            used: [0; UsageKind::COUNT],
            stamps: 1 << 40,
        }
    }

    fn usage_is_right(&self) -> Verdict {
        let usage = usage();
        prop_assert_eq!(usage.total, self.before.total);
        prop_assert_eq!(usage.free, self.free.count());
        for kind in UsageKind::ALL {
            let used = self.before.of(kind) + self.used[kind as usize];
            prop_assert_eq!(usage.of(kind), used, "{:?}", kind);
        }
        Ok(())
    }

    fn add(&mut self, hands: Hands, first: usize, count: usize, kind: UsageKind) {
        self.stamps += 1;
        let stamp = self.stamps;
        let run = Run {
            hands,
            first,
            count,
            kind,
            stamp,
        };
        for end in run.ends() {
            // SAFETY: the run is in this test's hands, and mapped.
            unsafe { end.write(stamp) };
        }
        self.runs.push(run);
    }

    /// Takes one run out, if there is any, which is as it should be.
    fn any_run(&mut self, which: usize) -> Result<Option<Run>, TestCaseError> {
        let Some(which) = which.checked_rem(self.runs.len()) else {
            return Ok(None);
        };
        let run = self.runs.swap_remove(which);
        run.is_whole()?;
        Ok(Some(run))
    }

    fn alloc(&mut self, count: usize, align: usize, kind: UsageKind, zeroed: bool) -> Verdict {
        let possible = match (count, align) {
            (1, 1) => self.free.count() > 0,
            _ => self.free.has_run(count, align),
        };
        let run = match (count, align, zeroed) {
            (1, 1, false) => alloc_frame(kind),
            (1, 1, true) => alloc_frame_zeroed(kind),
            (_, _, false) => alloc_frames(count, align * PAGE_SIZE, kind),
            (_, _, true) => alloc_frames_zeroed(count, align * PAGE_SIZE, kind),
        };
        let run = match run {
            Ok(run) => run,
            Err(error) => {
                prop_assert!(!possible && error == AxError::NoMemory, "{error:?}");
                return Ok(());
            }
        };
        prop_assert!(possible);
        let first = run.start().as_usize() / PAGE_SIZE;
        prop_assert!(first.is_multiple_of(align));
        prop_assert_eq!((run.count(), run.kind()), (count, kind));
        let frames = first..first + count;
        prop_assert!(self.free.take(frames.clone()), "{frames:x?} were not free");
        if zeroed {
            let bytes = run.as_bytes();
            prop_assert!(bytes[0] == 0 && bytes[1..] == bytes[..bytes.len() - 1]);
        }
        self.used[kind as usize] += count;
        self.add(Hands::Own(run), first, count, kind);
        Ok(())
    }

    /// The run's last owner goes.
    fn give_back(&mut self, mut run: Run) {
        let (frames, kind) = (run.frames(), run.kind);
        run.gather();
        drop(run);
        self.used[kind as usize] -= frames.len();
        assert!(self.free.give(frames));
    }

    /// A run goes into the list, if it has one owner.
    fn put_in_list(&mut self, mut run: Run) -> Verdict {
        if matches!(run.hands, Hands::Shared(..)) {
            self.runs.push(run);
            return Ok(());
        }
        run.gather();
        if let Hands::Own(frames) = std::mem::replace(&mut run.hands, Hands::Listed) {
            let result = self.list.push(FrameRow::from(frames));
            prop_assert!(result.is_ok(), "{:?}", result);
        }
        self.listed.push(run);
        Ok(())
    }

    /// All in the list are as they were, and go back.
    fn free_list(&mut self) -> Verdict {
        for run in &self.listed {
            run.is_whole()?;
        }
        self.list = FrameList::new();
        for run in std::mem::take(&mut self.listed) {
            self.give_back(run);
        }
        Ok(())
    }

    fn go(&mut self, step: &Step) -> Verdict {
        match *step {
            Step::Alloc {
                count,
                align,
                kind,
                zeroed,
            } => self.alloc(count, align, UsageKind::ALL[kind], zeroed)?,
            Step::Fill { kind } => {
                while self.free.count() > 0 {
                    self.alloc(1, 1, UsageKind::ALL[kind], false)?;
                }
                self.alloc(1, 1, UsageKind::ALL[kind], false)?;
            }
            Step::Drop { which } => {
                if let Some(mut run) = self.any_run(which)? {
                    match &mut run.hands {
                        // One of several goes, and the run stays.
                        Hands::Shared(owners, away) if owners.len() + *away > 1 => {
                            if owners.pop().is_none() {
                                run.gather();
                            }
                            self.runs.push(run);
                        }
                        _ => self.give_back(run),
                    }
                }
            }
            Step::List { which } => {
                if let Some(run) = self.any_run(which)? {
                    self.put_in_list(run)?;
                }
            }
            Step::FreeList => self.free_list()?,
            Step::Split { which, at } => {
                if let Some(mut run) = self.any_run(which)? {
                    let (first, count, kind) = (run.first, run.count, run.kind);
                    let hands = std::mem::replace(&mut run.hands, Hands::Shared(Vec::new(), 0));
                    drop(run);
                    let at = at % (count + 2);
                    match hands {
                        Hands::Own(frames) => match frames.split_at(at) {
                            Ok((a, b)) => {
                                prop_assert!(0 < at && at < count);
                                self.add(Hands::Own(a), first, at, kind);
                                self.add(Hands::Own(b), first + at, count - at, kind);
                            }
                            Err(frames) => {
                                prop_assert!(at == 0 || at >= count);
                                self.add(Hands::Own(frames), first, count, kind);
                            }
                        },
                        hands => self.add(hands, first, count, kind),
                    }
                }
            }
            Step::IntoRaw { which } => self.change(which, |hands| match hands {
                Hands::Own(frames) => Hands::Raw(frames.into_raw()),
                Hands::Shared(mut owners, mut away) => {
                    if let Some(owner) = owners.pop() {
                        owner.into_raw();
                        away += 1;
                    }
                    Hands::Shared(owners, away)
                }
                raw => raw,
            })?,
            Step::FromRaw { which } => {
                if let Some(mut run) = self.any_run(which)? {
                    // A raw run of one owner may come back as a shared one.
                    match &mut run.hands {
                        Hands::Raw(start) if which & (1 << 40) != 0 => {
                            // SAFETY: it was given away, and not taken back since.
                            let owner = unsafe { SharedFrames::from_raw(*start) };
                            run.hands = Hands::Shared(vec![owner], 0);
                        }
                        _ => run.gather(),
                    }
                    self.runs.push(run);
                }
            }
            Step::IntoShared { which } => self.change(which, |hands| match hands {
                Hands::Own(frames) => Hands::Shared(vec![frames.into_shared()], 0),
                other => other,
            })?,
            Step::Share { which } => self.change(which, |mut hands| {
                if let Hands::Shared(owners, _) = &mut hands
                    && let Some(owner) = owners.first()
                {
                    owners.push(owner.share().expect("there are few"));
                }
                hands
            })?,
            Step::TryUnique { which } => self.change(which, |hands| match hands {
                Hands::Shared(mut owners, away) => {
                    let Some(owner) = owners.pop() else {
                        return Hands::Shared(owners, away);
                    };
                    let only = owners.is_empty() && away == 0;
                    match owner.try_unique() {
                        Ok(frames) => {
                            assert!(only, "there are others");
                            Hands::Own(frames)
                        }
                        Err(owner) => {
                            assert!(!only, "there is no other");
                            owners.push(owner);
                            Hands::Shared(owners, away)
                        }
                    }
                }
                other => other,
            })?,
        }
        self.usage_is_right()
    }

    /// Puts a run into other hands, which leaves it as it is.
    fn change(&mut self, which: usize, f: impl FnOnce(Hands) -> Hands) -> Verdict {
        if let Some(mut run) = self.any_run(which)? {
            let hands = std::mem::replace(&mut run.hands, Hands::Shared(Vec::new(), 0));
            run.hands = f(hands);
            run.is_whole()?;
            self.runs.push(run);
        }
        Ok(())
    }

    fn play(&mut self, script: &[Step]) -> Verdict {
        for step in script {
            self.go(step)?;
        }
        while let Some(run) = self.any_run(0)? {
            self.give_back(run);
        }
        self.free_list()?;
        prop_assert_eq!(&self.free, &self.whole);
        self.usage_is_right()?;
        prop_assert_eq!(largest_free_run(), self.whole.largest());
        Ok(())
    }
}

// One test only: there is one memory.
proptest! {
    #![proptest_config(scripts(80))]

    #[test]
    fn each_frame_has_its_owners_and_its_contents(script in vec(step(), 1..4000)) {
        Machine::new().play(&script)?;
    }
}
