//! Where the metadata of each frame is.
//!
//! Physical memory has holes. So each section of 1 GiB that has any RAM has an array of
//! records, from its first frame of RAM to its last. A fixed table of the sections leads to
//! these arrays. It is a sparse memory map of two levels, like Linux's `SPARSEMEM`.
//!
//! All atomics here are relaxed. A section is written once, by `publish`, before any of its
//! frames can be taken. A free frame is first taken under the lock of the global pool, which
//! orders that write before all reads.

use core::ops::Range;
use core::ptr::{self, NonNull};
use core::slice;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use super::layout::{FrameMeta, NO_FRAME};

/// The number of frames of a section: 1 GiB.
const SECTION: usize = 1 << 18;

/// The number of sections: 512 GiB.
const SECTIONS: usize = (NO_FRAME as usize + 1) / SECTION;

/// Ranges of frame numbers, which can be iterated more than once.
pub(crate) trait FrameRanges: Iterator<Item = Range<usize>> + Clone {}

impl<I: Iterator<Item = Range<usize>> + Clone> FrameRanges for I {}

/// The metadata of the frames of one section: `count` records from its frame `first` on.
struct Section {
    records: AtomicPtr<FrameMeta>,
    /// The number of the first frame that has a record, counted from the section's start.
    first: AtomicU32,
    count: AtomicU32,
}

/// The metadata of all frames.
pub(crate) struct MetadataTable([Section; SECTIONS]);

impl MetadataTable {
    /// A table without any metadata.
    pub(crate) const fn new() -> Self {
        Self(
            [const {
                Section {
                    records: AtomicPtr::new(ptr::null_mut()),
                    first: AtomicU32::new(0),
                    count: AtomicU32::new(0),
                }
            }; SECTIONS],
        )
    }

    /// Returns the metadata of a frame, or `None` if the frame has no metadata: it is not RAM
    /// that was given to this crate.
    #[inline]
    pub(crate) fn get(&self, frame: usize) -> Option<&FrameMeta> {
        let section = self.0.get(frame / SECTION)?;
        let first = section.first.load(Ordering::Relaxed) as usize;
        let index = (frame % SECTION).wrapping_sub(first);
        if index >= section.count.load(Ordering::Relaxed) as usize {
            return None;
        }
        let records = section.records.load(Ordering::Relaxed);
        // SAFETY: `index` is below `count`, so `publish` has stored an array of more than
        // `index` records. The array is never freed.
        Some(unsafe { &*records.add(index) })
    }

    /// Returns the records of the first frame of `frames`, and of as many of those after it as
    /// have theirs in the same array. The slice is empty if the first frame has no metadata.
    pub(crate) fn slice(&self, frames: Range<usize>) -> &[FrameMeta] {
        let (Some(_), Some(section)) = (self.get(frames.start), self.0.get(frames.start / SECTION))
        else {
            return &[];
        };
        let index = frames.start % SECTION - section.first.load(Ordering::Relaxed) as usize;
        let rest = section.count.load(Ordering::Relaxed) as usize - index;
        let records = section.records.load(Ordering::Relaxed);
        // SAFETY: `get` has found the record at `index` in the array that `publish` stored. The
        // array is never freed, and has `rest` records from `index` on. The slice is made of
        // the array's own pointer: a pointer made of a reference to one record may not access
        // the next record.
        unsafe { slice::from_raw_parts(records.add(index), rest.min(frames.len())) }
    }

    /// Returns how many records [`publish`](Self::publish) would add for `ranges`.
    pub(crate) fn missing(&self, ranges: impl FrameRanges) -> usize {
        self.spans(ranges).map(|(_, span)| span.len()).sum()
    }

    /// Adds metadata for the sections that have frames of `ranges` and no metadata yet. The new
    /// records are cleared. They are stored one after another from `records` on.
    ///
    /// # Safety
    ///
    /// - `records` points to memory for [`missing`](Self::missing) records, which the caller
    ///   owns and gives to this table for as long as the table exists.
    /// - No other call of `publish` runs at the same time.
    /// - The caller holds the lock of the global pool. Other harts hold that lock whenever they
    ///   look up a frame that this call may give metadata.
    pub(crate) unsafe fn publish(&self, ranges: impl FrameRanges, records: NonNull<FrameMeta>) {
        let mut records = records.as_ptr();
        for (section, span) in self.spans(ranges) {
            // SAFETY: the caller's memory has room for the records of all spans together, and
            // a record of zeroes is valid.
            let after = unsafe {
                records.write_bytes(0, span.len());
                records.add(span.len())
            };
            section.records.store(records, Ordering::Relaxed);
            let first = (span.start % SECTION) as u32;
            section.first.store(first, Ordering::Relaxed);
            section.count.store(span.len() as u32, Ordering::Relaxed);
            records = after;
        }
    }

    /// Returns the parts of `range` whose frames have metadata, at most one for each section.
    pub(crate) fn covered(&self, range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let sections = self.0.iter().enumerate();
        sections.filter_map(move |(number, section)| {
            let first = number * SECTION + section.first.load(Ordering::Relaxed) as usize;
            let end = first + section.count.load(Ordering::Relaxed) as usize;
            let part = range.start.max(first)..range.end.min(end);
            (!part.is_empty()).then_some(part)
        })
    }

    /// Returns each section that has frames of `ranges` and no metadata yet, with the span from
    /// the first such frame to the last.
    fn spans(&self, ranges: impl FrameRanges) -> impl Iterator<Item = (&Section, Range<usize>)> {
        let sections = self.0.iter().enumerate();
        sections.filter_map(move |(number, section)| {
            let has_none = section.count.load(Ordering::Relaxed) == 0;
            // `NO_FRAME` is not the number of a frame, so it gets no record.
            let end = ((number + 1) * SECTION).min(NO_FRAME as usize);
            let span = span_within(ranges.clone(), number * SECTION..end);
            span.filter(|_| has_none).map(|span| (section, span))
        })
    }
}

/// Returns the range from the first frame of `ranges` within `section` to the last.
fn span_within(ranges: impl FrameRanges, section: Range<usize>) -> Option<Range<usize>> {
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
    use crate::UsageKind;
    use crate::metadata::CountedRun;

    const MAX_FRAMES: usize = SECTION * SECTIONS;

    /// Returns a table with metadata for `ranges`, and the number of its records.
    fn table_for(ranges: &[Range<usize>]) -> (Box<MetadataTable>, usize) {
        let table = Box::new(MetadataTable::new());
        let missing = table.missing(ranges.iter().cloned());
        let memory = Vec::leak((0..missing).map(|_| FrameMeta::new()).collect::<Vec<_>>());
        let start = NonNull::new(memory.as_mut_ptr()).unwrap();
        // SAFETY: the memory has room for `missing` records, is used for them alone, and is
        // never freed. The table is not shared yet.
        unsafe { table.publish(ranges.iter().cloned(), start) };
        (table, missing)
    }

    #[test]
    fn every_frame_of_the_ranges_has_a_record_of_its_own() {
        let gib = SECTION;
        let ranges = [5..100, 120..130, gib - 1..gib + 3, 7 * gib..9 * gib];
        let (table, missing) = table_for(&ranges);
        assert_eq!(missing, (gib - 5) + 3 + 2 * gib);
        for frame in [5, 99, 110, 129, gib - 1, gib, gib + 2, 7 * gib, 9 * gib - 1] {
            let meta = table.get(frame).unwrap();
            assert_eq!(meta.counted(), None);
            meta.start_counting(CountedRun {
                kind: UsageKind::Dma,
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
            assert!(table.get(frame).is_none(), "{frame}");
        }
        assert!(table.get(8 * gib).unwrap().counted().is_none());
    }

    #[test]
    fn a_slice_of_records_ends_where_its_array_ends() {
        let gib = SECTION;
        let (table, _) = table_for(&[5..100, gib - 1..gib + 3]);
        for (frames, len) in [
            (5..100, 95),
            (90..gib, gib - 90),
            (7..7, 0),
            (gib - 1..gib + 3, 1),
            (gib..gib + 9, 3),
            (4..9, 0),
            (gib + 3..gib + 4, 0),
        ] {
            let records = table.slice(frames.clone());
            assert_eq!(records.len(), len, "{frames:?}");
            let first = records.first().map(ptr::from_ref);
            let single = table.get(frames.start).filter(|_| len > 0);
            assert_eq!(first, single.map(ptr::from_ref));
        }
    }

    #[test]
    fn a_section_gets_its_metadata_once() {
        let (table, _) = table_for(slice::from_ref(&(5..100)));
        assert_eq!(
            table.missing(iter::once(200..300)),
            0,
            "this section has metadata already"
        );
        assert_eq!(table.missing(iter::once(SECTION..SECTION + 7)), 7);
        assert_eq!(
            table.missing(iter::once(MAX_FRAMES..MAX_FRAMES + 7)),
            0,
            "beyond the last section"
        );
    }
}
