//! Fresh zeroed frames.

use core::iter::successors;
use core::marker::PhantomData;

use axalloc::{FrameRun, Frames, UsageKind, alloc_frame_zeroed, alloc_frames};
use axerrno::{AxError, AxResult};
use memory_addr::{MemoryAddr, PAGE_SIZE_4K, PhysAddr, VirtAddr};
use page_table_multiarch::MappingFlags;

use super::Backend;
use crate::areas::{Area, Span};
use crate::machine::Machine;
use crate::page_table::Source;
use crate::page_table::frames::Table;
use crate::tlb::gather::TlbGather;

/// The bytes, and the small pages, of a large page.
const LARGE: usize = 2 << 20;
const SMALL_IN_LARGE: usize = LARGE / PAGE_SIZE_4K;

/// Pages that are filled with zeroes before requests of other harts are looked for.
const MOST_AT_A_TIME: usize = 64;

/// How much a page fault brings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Grain {
    /// The page that was touched.
    #[default]
    Page,
    /// So many pages, a power of two up to 512: the aligned run of them around the
    /// one that was touched, as far as it lies in the area, is not there yet, and
    /// there are frames.
    Around(u16),
    /// A page of 2 MiB, where the area holds all of it, nothing of it is there yet,
    /// and a block of frames is free; else the page that was touched. It becomes
    /// small pages, with the frames it has, when a part of it is unmapped or
    /// protected, or all rights are taken from it.
    Large,
}

/// Grains as words, above those that count pages.
const PAGE: usize = 1 << 16;
const LARGE_PAGE: usize = 2 << 16;

impl Grain {
    /// Whether there can be such a one.
    pub fn is_valid(self) -> bool {
        match self {
            Self::Around(pages) => pages.is_power_of_two() && usize::from(pages) <= SMALL_IN_LARGE,
            Self::Page | Self::Large => true,
        }
    }

    /// The grain in one word: what [`Around`](Self::Around) says, above which there are
    /// the others.
    pub(super) fn pack(self) -> usize {
        match self {
            Self::Around(pages) => usize::from(pages),
            Self::Page => PAGE,
            Self::Large => LARGE_PAGE,
        }
    }

    /// The grain that [`pack`](Self::pack) made the word of.
    pub(super) fn unpack(word: usize) -> Self {
        match u16::try_from(word) {
            Ok(pages) => Self::Around(pages),
            Err(_) if word == LARGE_PAGE => Self::Large,
            Err(_) => Self::Page,
        }
    }

    /// Whether pages with these rights may be large: without any, one cannot be told
    /// from a table.
    fn is_large(self, flags: MappingFlags) -> bool {
        self == Self::Large && !flags.is_empty()
    }
}

/// Maps every page of `span`, where none is mapped, to a frame of its own.
pub fn populate<M: Machine>(
    table: &Table<M>,
    span: Span,
    flags: MappingFlags,
    grain: Grain,
    undo: &mut TlbGather<M>,
) -> AxResult {
    let mut source = Fresh::<M> {
        most: usize::MAX,
        large: grain.is_large(flags),
        block: None,
        _machine: PhantomData,
    };
    table.map(span, flags, &mut source, undo)
}

/// Brings the page at `vaddr` of an area, where none is mapped, and as much around it
/// as `grain` says, from the frames in hand. Answers how many frames in a row should
/// be in hand first, if that has not been tried: then nothing has changed.
///
/// # Errors
///
/// `AlreadyExists` if the page is there; `NoMemory`.
pub fn bring<M: Machine>(
    table: &Table<M>,
    area: &Area<Backend>,
    grain: Grain,
    vaddr: VirtAddr,
    hand: &mut Hand,
) -> AxResult<Option<Grain>> {
    match grain {
        Grain::Page => bring_page::<M>(table, vaddr, area.flags(), hand),
        _ => bring_more::<M>(table, area, grain, vaddr, hand),
    }
}

/// Brings the page at `vaddr`, if a frame is in hand for it, its table is there, and
/// nothing is mapped. Answers whether it has.
#[inline(always)]
pub fn bring_at_once<M: Machine>(
    table: &Table<M>,
    vaddr: VirtAddr,
    flags: MappingFlags,
    hand: &mut Hand,
) -> bool {
    let Some(frame) = hand.one else { return false };
    let brought = matches!(
        table.map_page(vaddr.align_down_4k(), flags, frame),
        Ok(true)
    );
    if brought {
        hand.give();
    }
    brought
}

fn bring_page<M: Machine>(
    table: &Table<M>,
    vaddr: VirtAddr,
    flags: MappingFlags,
    hand: &mut Hand,
) -> AxResult<Option<Grain>> {
    let page = vaddr.align_down_4k();
    let Some(frame) = hand.frame() else {
        return without_frame::<M>(table, page, hand);
    };
    table.map_new(page, 0, flags, frame)?;
    hand.give();
    Ok(None)
}

/// For a page that is there, no frame is asked for.
#[cold]
fn without_frame<M: Machine>(
    table: &Table<M>,
    page: VirtAddr,
    hand: &Hand,
) -> AxResult<Option<Grain>> {
    match table.query(page) {
        Some(_) => Err(AxError::AlreadyExists),
        None if hand.asked.is_none() => Ok(Some(Grain::Page)),
        None => Err(AxError::NoMemory),
    }
}

#[inline(never)]
fn bring_more<M: Machine>(
    table: &Table<M>,
    area: &Area<Backend>,
    grain: Grain,
    vaddr: VirtAddr,
    hand: &mut Hand,
) -> AxResult<Option<Grain>> {
    let (flags, inside) = (area.flags(), area.span());
    let large = grain.is_large(flags);
    let count = match grain {
        Grain::Around(pages) => usize::from(pages),
        Grain::Large if large => SMALL_IN_LARGE,
        Grain::Large | Grain::Page => 1,
    };
    let start = vaddr.align_down(count * PAGE_SIZE_4K).as_usize();
    let run = start..start + count * PAGE_SIZE_4K;
    let around = run.start.max(inside.start)..run.end.min(inside.end);
    if count == 1 || (large && (around != run || !table.leads_nowhere(&run))) {
        return bring_page::<M>(table, vaddr, flags, hand);
    }
    if hand.asked != Some(grain) {
        // For a page that is there nothing is taken.
        return match table.query(vaddr) {
            Some(_) => Err(AxError::AlreadyExists),
            None => Ok(Some(grain)),
        };
    }
    if large && let Some(block) = hand.block() {
        match table.map_new(VirtAddr::from_usize(start), 1, flags, block) {
            Err(AxError::NoMemory) => {}
            result => {
                return result.map(|()| {
                    hand.give_block();
                    None
                });
            }
        }
    }
    let mut brought = bring_page::<M>(table, vaddr, flags, hand);
    // It may be a table that there is no frame for but those in hand.
    if brought == Err(AxError::NoMemory) && hand.keep_one() {
        brought = bring_page::<M>(table, vaddr, flags, hand);
    }
    if brought.is_ok() && !large {
        bring_around::<M>(table, around, flags, hand);
    }
    brought
}

/// Brings those of `pages` that are missing. What was wanted is there: that more is not,
/// for lack of frames, is no error.
fn bring_around<M: Machine>(table: &Table<M>, pages: Span, flags: MappingFlags, hand: &mut Hand) {
    for page in pages.step_by(PAGE_SIZE_4K) {
        let Some(frame) = hand.frame() else { return };
        // The table is there: the page that was wanted is in it.
        if table.map_page(VirtAddr::from_usize(page), flags, frame) == Ok(true) {
            hand.give();
        }
    }
}

/// Frames for a page fault, taken and zeroed before the address space is locked for
/// it. What is left of them goes back with this.
pub struct Hand {
    /// What has been asked for. There may be less.
    asked: Option<Grain>,
    /// One by itself, in no other hands.
    one: Option<PhysAddr>,
    more: Option<Frames>,
}

impl Hand {
    /// Empty.
    pub const fn empty() -> Self {
        Self {
            asked: None,
            one: None,
            more: None,
        }
    }

    /// Holds one frame, if there is one.
    #[inline(always)]
    pub fn with_one() -> Self {
        Self {
            asked: Some(Grain::Page),
            one: alloc_frame_zeroed(UsageKind::VirtMem)
                .ok()
                .map(Frames::into_raw),
            more: None,
        }
    }

    /// Holds what a fault of the grain takes, or less where there is no such run,
    /// instead of what it held.
    #[inline(never)]
    pub fn fetch<M: Machine>(&mut self, grain: Grain) {
        // What it held may be what is wanted now.
        *self = Self::empty();
        let more = match grain {
            Grain::Page => None,
            Grain::Large => run::<M>(SMALL_IN_LARGE),
            Grain::Around(pages) => {
                let shorter = successors(Some(usize::from(pages)), |count| Some(count / 2));
                shorter.take_while(|count| *count > 1).find_map(run::<M>)
            }
        };
        if more.is_none() {
            *self = Self::with_one();
        }
        self.asked = Some(grain);
        self.more = more;
    }

    /// Makes every hart fetch anew what is here, if anything is: zeroes where there may
    /// have been code.
    pub fn sync_icache<M: Machine>(&self) {
        if let Some(frame) = self.one {
            M::clean_code(frame, PAGE_SIZE_4K);
        }
        if let Some(more) = &self.more {
            M::clean_code(more.start(), more.count() * PAGE_SIZE_4K);
        }
        if self.one.is_some() || self.more.is_some() {
            M::sync_icache();
        }
    }

    /// The first frame of a large page's, if they are here.
    fn block(&self) -> Option<PhysAddr> {
        let block = self.more.as_ref()?;
        (block.count() == SMALL_IN_LARGE).then(|| block.start())
    }

    /// The block has become the page table's.
    fn give_block(&mut self) {
        if let Some(block) = self.more.take() {
            given_away(block);
        }
    }

    /// Gives all back but the [frame](Self::frame) that is next. Answers whether there
    /// were more.
    #[cold]
    fn keep_one(&mut self) -> bool {
        self.more.take().is_some()
    }

    /// One of them, which stays in hand until it is [given](Self::give).
    #[inline(always)]
    fn frame(&mut self) -> Option<PhysAddr> {
        match self.one {
            Some(frame) => Some(frame),
            None => self.frame_of_run(),
        }
    }

    #[cold]
    #[inline(never)]
    fn frame_of_run(&mut self) -> Option<PhysAddr> {
        let frame = match self.more.take()?.split_at(1) {
            Ok((frame, rest)) => {
                self.more = Some(rest);
                frame
            }
            Err(last) => last,
        };
        self.one = Some(frame.into_raw());
        self.one
    }

    /// The [frame](Self::frame) that is next has become the page table's.
    #[inline(always)]
    fn give(&mut self) {
        self.one = None;
    }
}

/// `count` contiguous frames, the first aligned to all of them, full of zeroes. Between
/// pieces the hart acknowledges requests to flush.
fn run<M: Machine>(count: usize) -> Option<Frames> {
    let mut frames = alloc_frames(count, count * PAGE_SIZE_4K, UsageKind::VirtMem).ok()?;
    for piece in frames
        .as_bytes_mut()
        .chunks_mut(MOST_AT_A_TIME * PAGE_SIZE_4K)
    {
        piece.fill(0);
        M::poll();
    }
    Some(frames)
}

impl Drop for Hand {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(frame) = self.one.take() {
            give_back(frame);
        }
    }
}

#[cold]
#[inline(never)]
fn give_back(frame: PhysAddr) {
    // SAFETY: it was given into these hands by `into_raw` (`Hand::with_one`).
    drop(unsafe { Frames::from_raw(frame) });
}

/// Frames that go back one by one. They are taken in runs where there are some.
struct Fresh<M> {
    /// Longer runs are not asked for.
    most: usize,
    /// Whether blocks for large pages are asked for.
    large: bool,
    /// A block for the next large page.
    block: Option<Frames>,
    _machine: PhantomData<M>,
}

impl<M: Machine> Source for Fresh<M> {
    #[inline(always)]
    fn fits(&mut self, _vaddr: usize, size: usize) -> bool {
        size == PAGE_SIZE_4K || (self.large && size == LARGE && self.finds_block())
    }

    #[inline(always)]
    fn frames(&mut self, _vaddr: usize, size: usize, count: usize) -> AxResult<(PhysAddr, usize)> {
        if size == LARGE {
            let block = self.block.take().ok_or(AxError::NoMemory)?;
            return Ok((given_away(block).0, 1));
        }
        if count == 1 {
            let frame = alloc_frame_zeroed(UsageKind::VirtMem)?;
            return Ok((frame.into_raw(), 1));
        }
        self.run(count).map(given_away)
    }
}

impl<M: Machine> Fresh<M> {
    fn finds_block(&mut self) -> bool {
        self.block = run::<M>(SMALL_IN_LARGE);
        self.block.is_some()
    }

    /// A run of at most `count` frames.
    fn run(&mut self, count: usize) -> AxResult<Frames> {
        self.most = self.most.min(count.next_power_of_two());
        loop {
            let count = count.min(self.most);
            match alloc_frames(count, PAGE_SIZE_4K, UsageKind::VirtMem) {
                Err(AxError::NoMemory) if count > 1 => self.most = count / 2,
                Err(error) => return Err(error),
                Ok(mut frames) => {
                    frames.zero_in_pieces(MOST_AT_A_TIME, M::poll);
                    return Ok(frames);
                }
            }
        }
    }
}

/// Gives each frame of a run into the page table's hands: the first, and how many.
fn given_away(run: Frames) -> (PhysAddr, usize) {
    let count = run.count();
    (FrameRun::from(run).into_raw(), count)
}

#[cfg(test)]
mod tests {
    use crate::areas::Backing;

    use super::*;

    #[test]
    fn a_backend_is_what_its_words_say() {
        let counts = [0, 1, 16, 512, u16::MAX].map(Grain::Around);
        let grains = counts.into_iter().chain([Grain::Page, Grain::Large]);
        let alloc = grains
            .flat_map(|grain| [false, true].map(|populate| Backend::Alloc { populate, grain }));
        let linear = [0, 1, usize::MAX].map(Backend::new_linear);
        for backend in alloc.chain(linear) {
            let unpacked = Backend::unpack(backend.pack());
            assert_eq!(format!("{unpacked:?}"), format!("{backend:?}"));
        }
    }
}
