//! Every interleaving of one that writes and one that reads, and every order that memory
//! may have. What the version is of are two words, always of one value.

use core::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use loom::sync::Arc;
use loom::thread;

use super::*;

struct Pair {
    /// One writes at a time.
    version: UnsafeCell<Version>,
    words: [AtomicUsize; 2],
}

// SAFETY: one thread alone writes; the version itself is an atomic.
unsafe impl Sync for Pair {}
// SAFETY: it belongs to no thread.
unsafe impl Send for Pair {}

impl Pair {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            version: UnsafeCell::new(Version::first()),
            words: [0, 0].map(AtomicUsize::new),
        })
    }

    fn write(&self, value: usize) {
        // SAFETY: one thread alone does.
        let version = unsafe { &mut *self.version.get() };
        version.begin();
        self.words
            .iter()
            .for_each(|word| word.store(value, Ordering::Relaxed));
        version.end();
    }

    /// What is read, and at which version; `None` if it is being written.
    fn read(&self) -> Option<([usize; 2], usize)> {
        // SAFETY: it is an atomic.
        let version = unsafe { &*self.version.get() };
        let before = version.read()?;
        let words = [0, 1].map(|word| self.words[word].load(Ordering::Relaxed));
        version.is_still(before).then_some((words, before))
    }
}

#[test]
fn what_is_read_was_there_at_one_time() {
    static SEEN: [AtomicBool; 3] = [const { AtomicBool::new(false) }; 3];
    loom::model(|| {
        let pair = Pair::new();
        let reader = pair.clone();
        let reader = thread::spawn(move || {
            if let Some((words, version)) = reader.read() {
                assert_eq!(words, [version / 2; 2], "at version {version}");
                SEEN[version / 2].store(true, Relaxed);
            }
        });
        (1..=2).for_each(|value| pair.write(value));
        reader.join().unwrap();
    });
    assert!(SEEN.iter().all(|seen| seen.load(Relaxed)), "{SEEN:?}");
}

/// What a hart found before, and uses again as long as its version stays.
#[test]
fn what_was_read_before_is_not_older_than_what_is_known() {
    loom::model(|| {
        let pair = Pair::new();
        let known = Arc::new(AtomicUsize::new(0));
        let (reader, told) = (pair.clone(), known.clone());
        let reader = thread::spawn(move || {
            let (_, version) = reader.read().unwrap_or(([0; 2], 0));
            // SAFETY: it is an atomic.
            let now = unsafe { &*reader.version.get() };
            if told.load(Ordering::Acquire) == 1 {
                assert_eq!(now.is_still(version), version == 2);
            }
        });
        pair.write(1);
        known.store(1, Ordering::Release);
        reader.join().unwrap();
    });
}
