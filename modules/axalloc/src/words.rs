//! Where the word of a frame is.
//!
//! Physical memory has holes, so the words are in one array for each GiB that
//! has any RAM, from its first frame to its last; a table of the GiBs leads to
//! them. It is a sparse memory map in two levels, as Linux's `SPARSEMEM` is.

use core::ops::Range;
use core::ptr::{self, NonNull};
use core::slice;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use crate::word::{NIL, Word};

/// The frames of a section: 1 GiB.
const SECTION: usize = 1 << 18;

/// How many sections there can be: 512 GiB.
const SECTIONS: usize = (NIL as usize + 1) / SECTION;

/// Ranges of frames, which may be gone through more than once.
pub trait Frames: Iterator<Item = Range<usize>> + Clone {}

impl<I: Iterator<Item = Range<usize>> + Clone> Frames for I {}

/// The words of a GiB's frames from `first` on, `count` of them.
struct Section {
    words: AtomicPtr<Word>,
    first: AtomicU32,
    count: AtomicU32,
}

/// The words of all frames.
pub struct Words([Section; SECTIONS]);

impl Words {
    pub const fn new() -> Self {
        Self(
            [const {
                Section {
                    words: AtomicPtr::new(ptr::null_mut()),
                    first: AtomicU32::new(0),
                    count: AtomicU32::new(0),
                }
            }; SECTIONS],
        )
    }

    /// The word of a frame; `None` if it is not this module's.
    #[inline]
    pub fn get(&self, frame: usize) -> Option<&Word> {
        let section = self.0.get(frame / SECTION)?;
        let first = section.first.load(Ordering::Relaxed) as usize;
        let index = (frame % SECTION).wrapping_sub(first);
        if index >= section.count.load(Ordering::Relaxed) as usize {
            return None;
        }
        let words = section.words.load(Ordering::Relaxed);
        // SAFETY: `publish` stored an array of more than `index` words, which is
        // there for good.
        Some(unsafe { &*words.add(index) })
    }

    /// The words of `frames` as far as they are in one array; none if the first frame
    /// is not this module's.
    pub fn row(&self, frames: Range<usize>) -> &[Word] {
        let (Some(_), Some(section)) = (self.get(frames.start), self.0.get(frames.start / SECTION))
        else {
            return &[];
        };
        let index = frames.start % SECTION - section.first.load(Ordering::Relaxed) as usize;
        let behind = section.count.load(Ordering::Relaxed) as usize - index;
        let words = section.words.load(Ordering::Relaxed);
        // SAFETY: `get` has found the word at `index` in the array that `publish` stored,
        // which is there for good and has `behind` words from there on. The pointer is the
        // array's own: one made of a reference to a single word may reach no other.
        unsafe { slice::from_raw_parts(words.add(index), behind.min(frames.len())) }
    }

    /// How many words the frames in `ranges` need that have none yet.
    pub fn missing(&self, ranges: impl Frames) -> usize {
        self.spans(ranges).map(|(_, span)| span.len()).sum()
    }

    /// Puts the missing words of the frames in `ranges` at `words`, all of them
    /// of frames nothing is known of.
    ///
    /// # Safety
    ///
    /// At `words` there is memory for [`missing`](Self::missing) words, which is
    /// nobody else's for as long as this exists. Meanwhile nobody else calls this,
    /// or asks for words of frames that are not known to have any.
    pub unsafe fn publish(&self, ranges: impl Frames, words: NonNull<Word>) {
        let mut words = words.as_ptr();
        for (section, span) in self.spans(ranges) {
            // SAFETY: the caller's memory holds as many as all spans together; a
            // word of zeroes is one.
            let after = unsafe {
                words.write_bytes(0, span.len());
                words.add(span.len())
            };
            section.words.store(words, Ordering::Relaxed);
            let first = (span.start % SECTION) as u32;
            section.first.store(first, Ordering::Relaxed);
            section.count.store(span.len() as u32, Ordering::Relaxed);
            words = after;
        }
    }

    /// The parts of `range` whose frames have words, one a section.
    pub fn covered(&self, range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let sections = self.0.iter().enumerate();
        sections.filter_map(move |(number, section)| {
            let first = number * SECTION + section.first.load(Ordering::Relaxed) as usize;
            let end = first + section.count.load(Ordering::Relaxed) as usize;
            let part = range.start.max(first)..range.end.min(end);
            (!part.is_empty()).then_some(part)
        })
    }

    /// Each section that has frames of `ranges` and no words yet, with the span
    /// from the first such frame to the last.
    fn spans(&self, ranges: impl Frames) -> impl Iterator<Item = (&Section, Range<usize>)> {
        let sections = self.0.iter().enumerate();
        sections.filter_map(move |(number, section)| {
            let fresh = section.count.load(Ordering::Relaxed) == 0;
            // No frame has the number that stands for none.
            let end = ((number + 1) * SECTION).min(NIL as usize);
            let span = span_within(ranges.clone(), number * SECTION..end);
            span.filter(|_| fresh).map(|span| (section, span))
        })
    }
}

/// From the first frame of `ranges` that lies in `section` to the last.
fn span_within(ranges: impl Frames, section: Range<usize>) -> Option<Range<usize>> {
    let parts = ranges.filter_map(|range| {
        let part = range.start.max(section.start)..range.end.min(section.end);
        (!part.is_empty()).then_some(part)
    });
    parts.reduce(|a, b| a.start.min(b.start)..a.end.max(b.end))
}

#[cfg(test)]
mod tests {
    use core::iter;

    use super::*;

    const MAX_FRAMES: usize = SECTION * SECTIONS;

    fn words_for(ranges: &[Range<usize>]) -> (Box<Words>, usize) {
        let words = Box::new(Words::new());
        let missing = words.missing(ranges.iter().cloned());
        let memory = Vec::leak((0..missing).map(|_| Word::new()).collect::<Vec<_>>());
        let start = NonNull::new(memory.as_mut_ptr()).unwrap();
        // SAFETY: the memory has just been made for it, and is never freed.
        unsafe { words.publish(ranges.iter().cloned(), start) };
        (words, missing)
    }

    #[test]
    fn every_frame_of_the_ranges_has_a_word_of_its_own() {
        let gib = SECTION;
        let ranges = [5..100, 120..130, gib - 1..gib + 3, 7 * gib..9 * gib];
        let (words, missing) = words_for(&ranges);
        assert_eq!(missing, (gib - 5) + 3 + 2 * gib);
        for frame in [5, 99, 110, 129, gib - 1, gib, gib + 2, 7 * gib, 9 * gib - 1] {
            let word = words.get(frame).unwrap();
            assert_eq!(word.held(), None);
            word.hold(crate::word::Held {
                kind: crate::UsageKind::Dma,
                count: 1,
            });
        }
        for frame in [
            0,
            4,
            gib + 3,
            2 * gib,
            7 * gib - 1,
            9 * gib,
            MAX_FRAMES,
            usize::MAX,
        ] {
            assert!(words.get(frame).is_none(), "{frame}");
        }
        assert!(words.get(8 * gib).unwrap().held().is_none());
    }

    #[test]
    fn a_row_of_words_ends_where_its_array_does() {
        let gib = SECTION;
        let (words, _) = words_for(&[5..100, gib - 1..gib + 3]);
        for (row, len) in [
            (5..100, 95),
            (90..gib, gib - 90),
            (7..7, 0),
            (gib - 1..gib + 3, 1),
            (gib..gib + 9, 3),
            (4..9, 0),
            (gib + 3..gib + 4, 0),
        ] {
            let found = words.row(row.clone());
            assert_eq!(found.len(), len, "{row:?}");
            let first = found.first().map(ptr::from_ref);
            let alone = words.get(row.start).filter(|_| len > 0);
            assert_eq!(first, alone.map(ptr::from_ref));
        }
    }

    #[test]
    fn a_section_gets_its_words_once() {
        let (words, _) = words_for(slice::from_ref(&(5..100)));
        assert_eq!(
            words.missing(iter::once(200..300)),
            0,
            "too late for this GiB"
        );
        assert_eq!(words.missing(iter::once(SECTION..SECTION + 7)), 7);
        assert_eq!(
            words.missing(iter::once(MAX_FRAMES..MAX_FRAMES + 7)),
            0,
            "beyond the last"
        );
    }
}
