//! Every interleaving of a writer and a reader of two words that always have equal values,
//! under every order that memory may have.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use loom::sync::Arc;
use loom::thread;

use super::*;

struct Pair {
    seq: SeqCount,
    words: [AtomicUsize; 2],
}

impl Pair {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            seq: SeqCount::new(),
            words: [0, 0].map(AtomicUsize::new),
        })
    }

    fn write(&self, value: usize) {
        self.seq.begin_write();
        self.words
            .iter()
            .for_each(|word| word.store(value, Ordering::Relaxed));
        self.seq.end_write();
    }

    /// Returns both words, and the count at which they were read. `None` if a writer is at
    /// work.
    fn read(&self) -> Option<([usize; 2], usize)> {
        let count = self.seq.begin_read()?;
        let words = [0, 1].map(|word| self.words[word].load(Ordering::Relaxed));
        self.seq.is_unchanged(count).then_some((words, count))
    }
}

#[test]
fn words_that_are_read_belong_together() {
    static SEEN: [AtomicBool; 3] = [const { AtomicBool::new(false) }; 3];
    loom::model(|| {
        let pair = Pair::new();
        let reader = pair.clone();
        let reader = thread::spawn(move || {
            if let Some((words, count)) = reader.read() {
                assert_eq!(words, [count / 2; 2], "at count {count}");
                SEEN[count / 2].store(true, Relaxed);
            }
        });
        (1..=2).for_each(|value| pair.write(value));
        reader.join().unwrap();
    });
    assert!(SEEN.iter().all(|seen| seen.load(Relaxed)), "{SEEN:?}");
}

/// A reader that has been told of a write does not take older words for the newest.
#[test]
fn a_count_that_a_known_write_has_changed_is_seen_to_have_changed() {
    loom::model(|| {
        let pair = Pair::new();
        let written = Arc::new(AtomicUsize::new(0));
        let (reader, told) = (pair.clone(), written.clone());
        let reader = thread::spawn(move || {
            let (_, count) = reader.read().unwrap_or(([0; 2], 0));
            if told.load(Ordering::Acquire) == 1 {
                assert_eq!(reader.seq.is_unchanged(count), count == 2);
            }
        });
        pair.write(1);
        written.store(1, Ordering::Release);
        reader.join().unwrap();
    });
}
