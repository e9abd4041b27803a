//! All frames: the harts' magazines, and behind them the buddy system.
//!
//! A single frame comes out of the magazine of the hart that asks, and goes back
//! into the magazine of the hart that frees it. Many in a row go back into the hart's
//! second magazine, which keeps them as rows; an empty magazine is filled from a row, or
//! from the buddy system, half of it at a time. Only when nothing else is left are the
//! magazines of all harts emptied into the buddy system, so that no frame and no
//! run is refused while a hart keeps it idle.

use core::ops::Range;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};

use arrayvec::ArrayVec;
use axconfig::{PAGE_SIZE, PHYS_VIRT_OFFSET};
use axerrno::{AxError, AxResult};

use crate::buddy::Buddy;
use crate::hart::{Harts, Lock};
use crate::stock::{self, Stock};
use crate::usage::{Usage, UsageKind};
use crate::word::Word;
use crate::words::Words;

/// How many frames fill an empty magazine, and the most in one row.
const BATCH: usize = stock::FRAMES / 2;

/// As many frames in a row are few.
const FEW: usize = BATCH / 2;

/// All frames. They go by their number, which is their physical address divided
/// by 4 KiB.
pub struct FramePool<H> {
    words: Words,
    buddy: Lock<Buddy>,
    total: AtomicUsize,
    harts: H,
}

impl<H: Harts> FramePool<H> {
    /// No frame yet.
    pub const fn new(harts: H) -> Self {
        Self {
            words: Words::new(),
            buddy: Lock::new(Buddy::new()),
            total: AtomicUsize::new(0),
            harts,
        }
    }

    /// The harts.
    pub fn harts(&self) -> &H {
        &self.harts
    }

    /// The word of a frame of the pool.
    #[inline]
    pub fn word(&self, frame: usize) -> Option<&Word> {
        self.words.get(frame)
    }

    /// The words of `frames` in a row, as many as lie together: at least the first,
    /// if it is one of the pool.
    pub fn row(&self, frames: Range<usize>) -> &[Word] {
        self.words.row(frames)
    }

    /// Takes RAM over, ranges of physical addresses in bytes, and puts the words
    /// of their frames into the first range that has room for all of them.
    ///
    /// # Errors
    ///
    /// `NoMemory` if none has; nothing has been taken over then.
    ///
    /// # Safety
    ///
    /// As for [`add_memory`](crate::add_memory).
    pub unsafe fn add(&self, ranges: &[Range<usize>]) -> AxResult {
        let frames = ranges.iter().map(whole_frames);
        let bytes = self.words.missing(frames.clone()) * size_of::<Word>();
        let taken = bytes.div_ceil(PAGE_SIZE);
        let home = frames.clone().find(|range| range.len() >= taken);
        let home = home.ok_or(AxError::NoMemory)?.start;
        let words = (home * PAGE_SIZE + PHYS_VIRT_OFFSET) as *mut Word;
        let words = NonNull::new(words).ok_or(AxError::InvalidInput)?;
        // Who asks for the word of a frame that may have none has the lock.
        let mut buddy = self.buddy.lock();
        // SAFETY: the range is as long as the words need, and is ours by the
        // caller's promise.
        unsafe { self.words.publish(frames.clone(), words) };
        for part in frames.flat_map(|range| self.words.covered(range)) {
            self.total.fetch_add(part.len(), Ordering::Relaxed);
            let for_words = part.start.max(home)..part.end.min(home + taken);
            let free = match for_words.is_empty() {
                true => part,
                false => for_words.end..part.end,
            };
            self.count(UsageKind::Metadata, for_words.len() as isize);
            buddy.dealloc(&self.words, free.start, free.len());
        }
        Ok(())
    }

    /// Takes one frame.
    #[inline(always)]
    pub fn alloc_one(&self, kind: UsageKind) -> Option<usize> {
        self.harts.with_this(|stock| {
            let frame = stock.frames.pop().or_else(|| self.take_behind(stock))?;
            stock.used.add(kind, 1);
            Some(frame)
        })
    }

    /// Gives one frame back.
    #[inline(always)]
    pub fn free_one(&self, frame: usize, kind: UsageKind) {
        self.harts.with_this(|stock| {
            stock.used.add(kind, -1);
            if let Err(frame) = stock.frames.push(frame) {
                self.flush(stock, frame);
            }
        });
    }

    /// Gives back `count` frames from `first` on that came one by one, for whoever takes the
    /// next on this hart, as far as its magazines have room.
    #[inline(never)]
    pub fn free_singles(&self, first: usize, count: usize, kind: UsageKind) {
        let left = self.harts.with_this(|stock| {
            let left = match count <= FEW {
                true => push_singles(stock, first, count),
                false => push_rows(stock, first, count),
            };
            stock.used.add(kind, left as isize - count as isize);
            left
        });
        if left > 0 {
            self.free_run(first, left, kind);
        }
    }

    /// Takes `count` frames in one piece, the first a multiple of `align`, a
    /// power of two.
    pub fn alloc_run(&self, count: usize, align: usize, kind: UsageKind) -> Option<usize> {
        let first = self.take_run(count, align)?;
        self.count(kind, count as isize);
        Some(first)
    }

    /// Whether such a run could be had if all frames were free. Nobody is asked to
    /// give anything back for one that could not.
    pub fn could_have(&self, count: usize, align: usize) -> bool {
        count.max(align) <= self.total.load(Ordering::Relaxed)
    }

    /// Takes a run without counting it.
    pub fn take_run(&self, count: usize, align: usize) -> Option<usize> {
        let mut buddy = self.buddy.lock();
        buddy.alloc(&self.words, count, align).or_else(|| {
            self.empty_stocks(&mut buddy);
            buddy.alloc(&self.words, count, align)
        })
    }

    /// Gives `count` frames from `first` on back.
    #[inline(never)]
    pub fn free_run(&self, first: usize, count: usize, kind: UsageKind) {
        self.buddy.lock().dealloc(&self.words, first, count);
        self.count(kind, -(count as isize));
    }

    /// The present use of all frames. Exact when no hart takes or frees any
    /// meanwhile; never far off.
    pub fn usage(&self) -> Usage {
        let mut sums = [0; UsageKind::COUNT];
        self.harts.for_each(|stock| stock.used.sum_up(&mut sums));
        let total = self.total.load(Ordering::Relaxed);
        Usage::new(total, sums.map(|sum: isize| sum.max(0) as usize))
    }

    /// The longest run, a power of two, that can be had now.
    pub fn largest(&self) -> usize {
        let mut buddy = self.buddy.lock();
        self.empty_stocks(&mut buddy);
        buddy.largest()
    }

    /// Counts `frames` more, or fewer, as used for `kind`.
    pub fn count(&self, kind: UsageKind, frames: isize) {
        self.harts.with_this(|stock| stock.used.add(kind, frames));
    }

    /// Takes one frame out of the hart's rows or, if there is none, out of the buddy system.
    /// The rest of a row stays where other harts find it when memory runs out.
    #[inline(never)]
    fn take_behind(&self, stock: &Stock) -> Option<usize> {
        match stock.rows.pop_part(split_first) {
            Some(frame) => Some(frame),
            None => self.refill(stock),
        }
    }

    /// Takes one frame, and fills the empty magazine by half from the smallest blocks, so that
    /// large ones stay whole.
    #[cold]
    fn refill(&self, stock: &Stock) -> Option<usize> {
        let mut buddy = self.buddy.lock();
        let first = buddy.alloc_at_most(&self.words, 0);
        let (frame, _) = first.or_else(|| {
            self.empty_stocks(&mut buddy);
            buddy.alloc_at_most(&self.words, 0)
        })?;
        self.move_in(stock, &mut buddy);
        Some(frame)
    }

    /// Fills the empty magazine by half, so that frames come out as they lie.
    fn move_in(&self, stock: &Stock, buddy: &mut Buddy) {
        let mut blocks = ArrayVec::<_, BATCH>::new();
        let mut room = BATCH;
        while room > 0 {
            let most = room.ilog2() as usize;
            let Some((first, order)) = buddy.alloc_at_most(&self.words, most) else {
                break;
            };
            blocks.push(first..first + (1 << order));
            room -= 1 << order;
        }
        // The last in is the first out. The magazine was empty and has room for a batch.
        while let Some(block) = blocks.pop() {
            push_singles(stock, block.start, block.len());
        }
    }

    /// Empties a full magazine by half, and gives `frame` back too.
    #[cold]
    fn flush(&self, stock: &Stock, frame: usize) {
        let mut buddy = self.buddy.lock();
        let mut run = frame..frame + 1;
        for _ in 1..BATCH {
            if let Some(frame) = stock.frames.pop() {
                self.extend(&mut run, frame, &mut buddy);
            }
        }
        buddy.dealloc(&self.words, run.start, run.len());
    }

    /// Joins `frame` with the run of frames to be freed; if they are no
    /// neighbours the run goes and `frame` begins the next.
    fn extend(&self, run: &mut Range<usize>, frame: usize, buddy: &mut Buddy) {
        if frame + 1 == run.start {
            run.start = frame;
        } else if frame == run.end {
            run.end += 1;
        } else {
            buddy.dealloc(&self.words, run.start, run.len());
            *run = frame..frame + 1;
        }
    }

    /// Gives what all harts keep to the buddy system, whose lock the caller keeps
    /// until it has what it wants: no hart can fill its magazine meanwhile.
    #[cold]
    fn empty_stocks(&self, buddy: &mut Buddy) {
        self.harts.for_each(|stock| {
            let mut free = |row: Range<usize>| buddy.dealloc(&self.words, row.start, row.len());
            stock.frames.steal(|frame| free(frame..frame + 1));
            stock.rows.steal(|row| free(unpacked(row)));
        });
    }
}

/// Puts `count` frames from `first` on into the hart's magazine so that they come out in
/// their order. Returns how many, from `first` on, are left for want of room.
fn push_singles(stock: &Stock, first: usize, count: usize) -> usize {
    let mut left = count;
    // The last in is the first out.
    while left > 0 && stock.frames.push(first + left - 1).is_ok() {
        left -= 1;
    }
    left
}

/// As [`push_singles`], into the magazine of rows.
fn push_rows(stock: &Stock, first: usize, count: usize) -> usize {
    let mut left = count;
    while left > 0 {
        let row = left.min(BATCH);
        if stock.rows.push(packed(first + left - row, row)).is_err() {
            break;
        }
        left -= row;
    }
    left
}

/// The number of a row's first frame, which has 32 bits, and its length, which is not 0.
pub fn packed(first: usize, count: usize) -> usize {
    count << u32::BITS | first
}

fn unpacked(row: usize) -> Range<usize> {
    let first = row as u32 as usize;
    first..first + (row >> u32::BITS)
}

/// The first frame of a row, and the rest of the row; 0 if that was all of it.
fn split_first(row: usize) -> (usize, usize) {
    let Range { start, end } = unpacked(row);
    match end - start {
        1 => (start, 0),
        count => (start, packed(start + 1, count - 1)),
    }
}

/// The whole frames in a range of physical addresses.
fn whole_frames(range: &Range<usize>) -> Range<usize> {
    range.start.div_ceil(PAGE_SIZE)..range.end / PAGE_SIZE
}

#[cfg(test)]
pub mod tests;
