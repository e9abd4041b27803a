//! Every interleaving of one that writes and one that reads, and every order that memory
//! may have. What the version is of are two words, always of one value.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use loom::sync::Arc;
use loom::thread;

use super::*;

struct Pair {
    version: Version,
    words: [AtomicUsize; 2],
}

impl Pair {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            version: Version::first(),
            words: [0, 0].map(AtomicUsize::new),
        })
    }

    fn write(&self, value: usize) {
        self.version.begin();
        self.words
            .iter()
            .for_each(|word| word.store(value, Ordering::Relaxed));
        self.version.end();
    }

    /// What is read, and at which version; `None` if it is being written.
    fn read(&self) -> Option<([usize; 2], usize)> {
        let before = self.version.read()?;
        let words = [0, 1].map(|word| self.words[word].load(Ordering::Relaxed));
        self.version.is_still(before).then_some((words, before))
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
            if told.load(Ordering::Acquire) == 1 {
                assert_eq!(reader.version.is_still(version), version == 2);
            }
        });
        pair.write(1);
        known.store(1, Ordering::Release);
        reader.join().unwrap();
    });
}
