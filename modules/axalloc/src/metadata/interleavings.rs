//! `loom` tries every interleaving of two and three owners of one counted run.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::AtomicUsize;
use loom::thread;

use super::*;
use crate::atomic::Ordering;
use crate::usage::UsageKind;

const RUN: CountedRun = CountedRun {
    kind: UsageKind::VirtMem,
    count: 1,
};

/// A counted run, and the contents that its owners access.
struct Run {
    meta: FrameMeta,
    contents: UnsafeCell<usize>,
    /// How many owners were told that theirs was the last reference.
    freed: AtomicUsize,
}

impl Run {
    fn with_references(references: usize) -> Arc<Self> {
        let meta = FrameMeta::new();
        meta.start_counting(RUN);
        for _ in 1..references {
            meta.share();
        }
        Arc::new(Self {
            meta,
            contents: UnsafeCell::new(0),
            freed: AtomicUsize::new(0),
        })
    }

    fn read(&self) {
        self.contents.with(|_| {});
    }

    /// Writes to the contents. Loom fails if another owner's read is not ordered before it.
    fn write(&self) {
        self.contents.with_mut(|_| {});
    }

    fn free(&self) {
        self.write();
        self.freed.fetch_add(1, Ordering::Relaxed);
    }

    fn release(&self) {
        if let Released::Last(run) = self.meta.release() {
            assert_eq!(run, RUN);
            self.free();
        }
    }

    fn assert_freed_once(&self) {
        assert_eq!(self.freed.load(Ordering::Relaxed), 1);
        assert_eq!(self.meta.release(), Released::NotCounted);
    }
}

fn in_a_thread(run: &Arc<Run>, f: impl FnOnce(&Run) + 'static) -> thread::JoinHandle<()> {
    let run = run.clone();
    thread::spawn(move || f(&run))
}

/// A thread that reads the run and drops its reference.
fn reader(run: &Arc<Run>) -> thread::JoinHandle<()> {
    in_a_thread(run, |run| {
        run.read();
        run.release();
    })
}

#[test]
fn exactly_one_of_two_owners_is_the_last() {
    loom::model(|| {
        let run = Run::with_references(2);
        let other = in_a_thread(&run, |run| {
            run.meta.share();
            run.read();
            run.release();
            run.release();
        });
        run.read();
        run.release();
        other.join().unwrap();
        run.assert_freed_once();
    });
}

#[test]
fn the_last_of_three_owners_sees_what_the_others_did() {
    loom::model(|| {
        let run = Run::with_references(3);
        let others = [(); 2].map(|()| reader(&run));
        run.read();
        run.release();
        others.into_iter().for_each(|other| other.join().unwrap());
        run.assert_freed_once();
    });
}

/// Two pages share a frame. One is freed by itself, the other as part of a run.
#[test]
fn release_of_singles_sees_what_former_owners_did() {
    loom::model(|| {
        let run = Run::with_references(2);
        let other = reader(&run);
        run.read();
        match FrameMeta::release_singles(core::slice::from_ref(&run.meta)) {
            Some((kind, count)) => {
                assert_eq!(CountedRun { kind, count }, RUN);
                run.free();
            }
            None => run.release(),
        }
        other.join().unwrap();
        run.assert_freed_once();
    });
}

#[test]
fn a_listed_frame_has_no_other_owner_that_still_uses_it() {
    loom::model(|| {
        let run = Run::with_references(2);
        let other = reader(&run);
        run.read();
        if run.meta.list(7, 3) {
            assert_eq!(run.meta.unlist(), Some((7, 3)));
            run.write();
        }
        run.release();
        other.join().unwrap();
        run.assert_freed_once();
    });
}

#[test]
fn references_added_at_the_same_time_all_count() {
    loom::model(|| {
        let run = Run::with_references(2);
        let other = in_a_thread(&run, |run| {
            assert!(run.meta.share().is_some());
        });
        assert!(run.meta.share().is_some());
        other.join().unwrap();
        assert_eq!(run.meta.counted(), Some((RUN, 4)));
    });
}

/// One owner adds a reference while another drops one: a page is forked while it is unmapped
/// from another address space.
#[test]
fn a_reference_added_during_a_release_keeps_the_run() {
    loom::model(|| {
        let run = Run::with_references(2);
        let other = reader(&run);
        assert!(run.meta.share().is_some());
        run.release();
        assert_eq!(run.freed.load(Ordering::Relaxed), 0);
        run.read();
        run.release();
        other.join().unwrap();
        run.assert_freed_once();
    });
}

/// Copy on write relies on this: a page with one reference is written in place.
#[test]
fn an_owner_that_reads_a_count_of_one_may_write() {
    static REACHED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
    loom::model(|| {
        let run = Run::with_references(2);
        let other = in_a_thread(&run, |run| {
            if run.meta.counted() == Some((RUN, 1)) {
                REACHED.store(true, std::sync::atomic::Ordering::Relaxed);
                run.write();
            }
            run.release();
        });
        run.read();
        run.release();
        other.join().unwrap();
        run.assert_freed_once();
    });
    // Loom leaves out some interleavings. It must try the one where the count is 1.
    assert!(REACHED.load(std::sync::atomic::Ordering::Relaxed));
}
