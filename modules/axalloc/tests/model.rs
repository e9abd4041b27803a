//! Compares the handles of frames with a simple model: which frames are in use, by how many
//! owners, and what they contain.

use std::ops::Range;
use std::sync::OnceLock;

use axalloc::{AxError, FrameList, FrameRun, Frames, SharedFrames, Usage, UsageKind};
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

/// The size in bytes of the stamp that is written at either end of a run.
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

/// What owns a run.
enum Owner {
    Handle(Frames),
    /// The address that a handle was turned into.
    Raw(PhysAddr),
    /// Shared handles, and how many of them were turned into addresses.
    Shared(Vec<SharedFrames>, usize),
    /// The list, as single frames.
    Listed,
}

struct Run {
    owner: Owner,
    first: usize,
    count: usize,
    kind: UsageKind,
    stamp: u64,
}

impl Run {
    fn frames(&self) -> Range<usize> {
        self.first..self.first + self.count
    }

    /// Returns where the two stamps of a run are.
    fn ends(&self) -> [*mut u64; 2] {
        let start = self.first * PAGE_SIZE + PHYS_VIRT_OFFSET;
        let end = start + self.count * PAGE_SIZE - STAMP;
        [start, end].map(std::ptr::with_exposed_provenance_mut)
    }

    /// Checks the stamps, and what the handles tell of the run.
    fn check(&self) -> Verdict {
        for end in self.ends() {
            // SAFETY: this test owns the run, and its frames are mapped.
            let found = unsafe { end.read() };
            prop_assert_eq!(
                found,
                self.stamp,
                "{:#x} frames at {:#x}",
                self.count,
                self.first
            );
        }
        let (start, count) = match &self.owner {
            Owner::Handle(frames) => (frames.start(), frames.count()),
            Owner::Raw(start) => (*start, self.count),
            Owner::Listed => return Ok(()),
            Owner::Shared(handles, raw) => {
                for handle in handles {
                    prop_assert_eq!(handle.references(), handles.len() + raw);
                    prop_assert_eq!(handle.count(), self.count);
                }
                let start = handles.first().map(SharedFrames::start);
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

    /// Returns the owner, and leaves one that has no reference.
    fn take_owner(&mut self) -> Owner {
        std::mem::replace(&mut self.owner, Owner::Shared(Vec::new(), 0))
    }

    /// Turns all addresses that own the run back into handles.
    fn turn_back(&mut self) {
        match &mut self.owner {
            Owner::Handle(_) | Owner::Listed => {}
            Owner::Raw(start) => {
                // SAFETY: `into_raw` returned this address, which was not turned back since.
                let handle = unsafe { Frames::from_raw(*start) };
                self.owner = Owner::Handle(handle.expect("the address owns the run"));
            }
            Owner::Shared(handles, raw) => {
                let start = PhysAddr::from_usize(self.first * PAGE_SIZE);
                let back = (0..std::mem::take(raw))
                    // SAFETY: `into_raw` returned this address `raw` times.
                    .map(|_| unsafe { SharedFrames::from_raw(start) });
                handles.extend(back);
            }
        }
    }
}

impl Drop for Run {
    /// Frees the run, so that a script that fails leaves no memory in use.
    fn drop(&mut self) {
        self.turn_back();
    }
}

/// The model: which frames are free, and the runs in use.
struct Machine {
    free: FreeFrames,
    /// The free frames at the beginning, and the usage.
    all: FreeFrames,
    before: Usage,
    runs: Vec<Run>,
    /// The runs that are in the list, and the list.
    listed: Vec<Run>,
    list: FrameList,
    used: [usize; UsageKind::COUNT],
    stamps: u64,
}

/// Adds the memory once, and returns which of its frames are free.
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
        // SAFETY: the memory stays mapped, and is used for this alone.
        unsafe { add_memory(&parts) }.unwrap();
        let frames = parts.map(|part| part.start / PAGE_SIZE..part.end / PAGE_SIZE);
        let mut free = FreeFrames::of(&frames);
        let metadata = usage().of(UsageKind::Metadata);
        assert_eq!(metadata, ((300 + 1077 + 513) * 8_usize).div_ceil(PAGE_SIZE));
        assert!(free.take(frames[0].start..frames[0].start + metadata));
        let all = free.count() + metadata;
        assert_eq!((usage().total, usage().free), (all, free.count()));
        assert_eq!(free_frames(), free);
        free
    })
}

/// Returns the frames that can be allocated, one by one.
fn free_frames() -> FreeFrames {
    let frames = std::iter::from_fn(|| alloc_frame(UsageKind::Global).ok());
    let frames: Vec<_> = frames.collect();
    let mut free = FreeFrames::default();
    for frame in &frames {
        let first = frame.start().as_usize() / PAGE_SIZE;
        assert!(free.give(first..first + 1), "{first:#x} is allocated twice");
    }
    free
}

impl Machine {
    /// Makes a model of the memory that is free. A script that failed may have leaked some, and
    /// is then run again while it is shortened.
    fn new() -> Self {
        memory();
        let free = free_frames();
        Self {
            all: free.clone(),
            free,
            before: usage(),
            runs: Vec::new(),
            listed: Vec::new(),
            list: FrameList::new(),
            used: [0; UsageKind::COUNT],
            stamps: 1 << 40,
        }
    }

    fn check_usage(&self) -> Verdict {
        let usage = usage();
        prop_assert_eq!(usage.total, self.before.total);
        prop_assert_eq!(usage.free, self.free.count());
        for kind in UsageKind::ALL {
            let used = self.before.of(kind) + self.used[kind as usize];
            prop_assert_eq!(usage.of(kind), used, "{:?}", kind);
        }
        Ok(())
    }

    fn add(&mut self, owner: Owner, first: usize, count: usize, kind: UsageKind) {
        self.stamps += 1;
        let stamp = self.stamps;
        let run = Run {
            owner,
            first,
            count,
            kind,
            stamp,
        };
        for end in run.ends() {
            // SAFETY: this test owns the run, and its frames are mapped.
            unsafe { end.write(stamp) };
        }
        self.runs.push(run);
    }

    /// Removes one of the runs from the model, checks it and returns it.
    fn remove_run(&mut self, which: usize) -> Result<Option<Run>, TestCaseError> {
        let Some(which) = which.checked_rem(self.runs.len()) else {
            return Ok(None);
        };
        let run = self.runs.swap_remove(which);
        run.check()?;
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
        self.add(Owner::Handle(run), first, count, kind);
        Ok(())
    }

    /// Drops the last owner of a run.
    fn free(&mut self, mut run: Run) {
        let (frames, kind) = (run.frames(), run.kind);
        run.turn_back();
        drop(run);
        self.used[kind as usize] -= frames.len();
        assert!(self.free.give(frames));
    }

    /// Pushes a run to the list, if it has one owner.
    fn push_to_list(&mut self, mut run: Run) -> Verdict {
        if matches!(run.owner, Owner::Shared(..)) {
            self.runs.push(run);
            return Ok(());
        }
        run.turn_back();
        if let Owner::Handle(frames) = std::mem::replace(&mut run.owner, Owner::Listed) {
            let result = self.list.push(FrameRun::from(frames));
            prop_assert!(result.is_ok(), "{:?}", result);
        }
        self.listed.push(run);
        Ok(())
    }

    /// Checks that the runs in the list are as they were, and drops the list.
    fn free_list(&mut self) -> Verdict {
        for run in &self.listed {
            run.check()?;
        }
        self.list = FrameList::new();
        for run in std::mem::take(&mut self.listed) {
            self.free(run);
        }
        Ok(())
    }

    fn run_step(&mut self, step: &Step) -> Verdict {
        match *step {
            Step::Alloc {
                count,
                align,
                kind,
                zeroed,
            } => self.alloc(count, align, UsageKind::ALL[kind], zeroed)?,
            Step::Fill { kind } => self.fill(UsageKind::ALL[kind])?,
            Step::Drop { which } => self.drop_owner(which)?,
            Step::List { which } => {
                if let Some(run) = self.remove_run(which)? {
                    self.push_to_list(run)?;
                }
            }
            Step::FreeList => self.free_list()?,
            Step::Split { which, at } => self.split(which, at)?,
            Step::IntoRaw { which } => self.change_owner(which, into_raw)?,
            Step::FromRaw { which } => self.turn_back(which)?,
            Step::IntoShared { which } => self.change_owner(which, |owner| match owner {
                Owner::Handle(frames) => Owner::Shared(vec![frames.into_shared()], 0),
                other => other,
            })?,
            Step::Share { which } => self.change_owner(which, |mut owner| {
                if let Owner::Shared(handles, _) = &mut owner
                    && let Some(handle) = handles.first()
                {
                    handles.push(handle.share().expect("there are few"));
                }
                owner
            })?,
            Step::TryUnique { which } => self.change_owner(which, try_unique)?,
        }
        self.check_usage()
    }

    /// Allocates single frames until no frame is free, and once more.
    fn fill(&mut self, kind: UsageKind) -> Verdict {
        while self.free.count() > 0 {
            self.alloc(1, 1, kind, false)?;
        }
        self.alloc(1, 1, kind, false)
    }

    /// Drops one of the owners of a run.
    fn drop_owner(&mut self, which: usize) -> Verdict {
        let Some(mut run) = self.remove_run(which)? else {
            return Ok(());
        };
        match &mut run.owner {
            // The run has other owners.
            Owner::Shared(handles, raw) if handles.len() + *raw > 1 => {
                if handles.pop().is_none() {
                    run.turn_back();
                }
                self.runs.push(run);
            }
            _ => self.free(run),
        }
        Ok(())
    }

    /// Splits a run that has a handle. `at` is taken modulo a little more than its length.
    fn split(&mut self, which: usize, at: usize) -> Verdict {
        let Some(mut run) = self.remove_run(which)? else {
            return Ok(());
        };
        let (first, count, kind) = (run.first, run.count, run.kind);
        let owner = run.take_owner();
        drop(run);
        let at = at % (count + 2);
        match owner {
            Owner::Handle(frames) => match frames.split_at(at) {
                Ok((a, b)) => {
                    prop_assert!(0 < at && at < count);
                    self.add(Owner::Handle(a), first, at, kind);
                    self.add(Owner::Handle(b), first + at, count - at, kind);
                }
                Err(frames) => {
                    prop_assert!(at == 0 || at >= count);
                    self.add(Owner::Handle(frames), first, count, kind);
                }
            },
            owner => self.add(owner, first, count, kind),
        }
        Ok(())
    }

    /// Turns the addresses that own a run back into handles.
    fn turn_back(&mut self, which: usize) -> Verdict {
        let Some(mut run) = self.remove_run(which)? else {
            return Ok(());
        };
        match &mut run.owner {
            // An address that `Frames` was turned into may be turned back into shared frames.
            Owner::Raw(start) if which & (1 << 40) != 0 => {
                // SAFETY: `into_raw` returned this address, which was not turned back since.
                let handle = unsafe { SharedFrames::from_raw(*start) };
                run.owner = Owner::Shared(vec![handle], 0);
            }
            _ => run.turn_back(),
        }
        self.runs.push(run);
        Ok(())
    }

    /// Changes the owner of a run by `f`, and checks that the run stays as it is.
    fn change_owner(&mut self, which: usize, f: impl FnOnce(Owner) -> Owner) -> Verdict {
        if let Some(mut run) = self.remove_run(which)? {
            run.owner = f(run.take_owner());
            run.check()?;
            self.runs.push(run);
        }
        Ok(())
    }

    fn run_script(&mut self, script: &[Step]) -> Verdict {
        for step in script {
            self.run_step(step)?;
        }
        while let Some(run) = self.remove_run(0)? {
            self.free(run);
        }
        self.free_list()?;
        prop_assert_eq!(&self.free, &self.all);
        self.check_usage()?;
        prop_assert_eq!(largest_free_run(), self.all.largest());
        Ok(())
    }
}

/// Turns one handle into an address.
fn into_raw(owner: Owner) -> Owner {
    match owner {
        Owner::Handle(frames) => Owner::Raw(frames.into_raw()),
        Owner::Shared(mut handles, mut raw) => {
            if let Some(handle) = handles.pop() {
                handle.into_raw();
                raw += 1;
            }
            Owner::Shared(handles, raw)
        }
        other => other,
    }
}

/// Turns the only one of shared owners into a handle with exclusive access.
fn try_unique(owner: Owner) -> Owner {
    let Owner::Shared(mut handles, raw) = owner else {
        return owner;
    };
    let Some(handle) = handles.pop() else {
        return Owner::Shared(handles, raw);
    };
    let is_only = handles.is_empty() && raw == 0;
    match handle.try_unique() {
        Ok(frames) => {
            assert!(is_only, "there are other owners");
            Owner::Handle(frames)
        }
        Err(handle) => {
            assert!(!is_only, "there is no other owner");
            handles.push(handle);
            Owner::Shared(handles, raw)
        }
    }
}

// There is one test only, since the process has one memory.
proptest! {
    #![proptest_config(scripts(80))]

    #[test]
    fn frames_keep_their_owners_and_contents(script in vec(step(), 1..4000)) {
        Machine::new().run_script(&script)?;
    }
}
