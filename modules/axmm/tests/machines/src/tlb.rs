//! The TLB of another hart, which holds every translation that the page table had before an
//! operation. It checks that the operation flushes what it changes before it frees anything,
//! and that it flushes nothing without a reason.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

use crate::raw::{Raw, RawPage};
use crate::{ALL_ADDRESSES, KIB4, RAM, frames};

/// A function that reads the page table with this root.
pub type Walk = fn(usize) -> Result<Raw, String>;

thread_local! {
    /// The TLB of the other hart, for the test on this thread.
    pub static TLB: RefCell<Tlb> = RefCell::default();
}

/// The TLB of another hart.
#[derive(Debug, Default)]
pub struct Tlb {
    /// Whether flushes are recorded. If not, nothing is allocated.
    on: bool,
    /// A root table, and the function that reads the page table at each flush.
    pub watch: Option<(usize, Walk)>,
    /// What `watch` has read at each flush.
    pub watched: Vec<Raw>,
    /// The page table before the operation.
    before: Rc<Raw>,
    /// The frames of pages and of tables in use before the operation.
    frames: (usize, usize),
    /// The number of 4 KiB pages flushed whose frames are the address space's own.
    flushed: usize,
    /// Whether cached pointers to page tables were flushed.
    all_flushed: bool,
    /// The ranges flushed on other harts.
    pub flushes: Vec<Range<usize>>,
    /// The ranges flushed on this hart.
    pub local_flushes: Vec<Range<usize>>,
    /// The first error found.
    error: Option<String>,
}

impl Tlb {
    /// Fills the TLB with all translations of `raw`, and starts to record flushes.
    pub fn fill(raw: &Rc<Raw>) {
        TLB.set(Self {
            on: true,
            before: Rc::clone(raw),
            frames: frames(),
            ..Self::default()
        });
    }

    /// Notes that the address space is about to be dropped. No hart uses its root table any
    /// more, so the table may be freed without a flush.
    pub fn allow_root_to_be_freed() {
        TLB.with_borrow_mut(|tlb| tlb.frames.1 -= 1);
    }

    /// Checks that nothing was flushed.
    ///
    /// # Errors
    ///
    /// Fails with the ranges that were flushed.
    pub fn check_no_flush() -> Result<(), String> {
        let flushes = TLB.with_borrow_mut(|tlb| std::mem::take(&mut tlb.flushes));
        match flushes.is_empty() {
            true => Ok(()),
            false => Err(format!(
                "{flushes:x?} was flushed, though no hart has entered the address space"
            )),
        }
    }

    /// Checks that frames and tables in the TLB are still in use.
    fn check_frames(&mut self) {
        let (pages, tables) = frames();
        if pages + self.flushed < self.frames.0 {
            self.error = Some("a frame was freed before its page was flushed".into());
        }
        if tables < self.frames.1 && !self.all_flushed {
            self.error = Some("a page table was freed before harts flushed all addresses".into());
        }
    }

    pub(crate) fn flush(&mut self, pages: Range<usize>) {
        if !self.on {
            return;
        }
        if let Some((root, walk)) = self.watch {
            self.watched.push(walk(root).unwrap());
        }
        self.check_frames();
        let in_tlb = |page: &&RawPage| !self.flushes.iter().any(|flush| page.overlaps(flush));
        let dropped = self.before.within(&pages).iter().filter(in_tlb);
        let own = dropped.filter(|page| RAM.contains(&page.paddr));
        let bytes =
            |page: &RawPage| (page.vaddr + page.size).min(pages.end) - page.vaddr.max(pages.start);
        self.flushed += own.map(bytes).sum::<usize>() / KIB4;
        self.all_flushed |= pages == ALL_ADDRESSES;
        self.flushes.push(pages);
    }

    pub(crate) fn note_local_flush(&mut self, pages: Range<usize>) {
        if self.on {
            self.local_flushes.push(pages);
        }
    }

    /// Checks the flushes of an operation after which the page table is `after`. If the
    /// operation has `failed`, it may have mapped pages for a while. Returns the ranges that
    /// were flushed on other harts.
    ///
    /// # Errors
    ///
    /// Fails if a changed page was not flushed, if a range was flushed without a reason, or
    /// if a frame was freed too early.
    pub fn check(after: &Raw, failed: bool) -> Result<Vec<Range<usize>>, String> {
        TLB.with_borrow_mut(|tlb| {
            tlb.check_frames();
            if let Some(error) = tlb.error.take() {
                return Err(error);
            }
            let before = &tlb.before;
            let mut changed = before.pages.iter().filter(|page| !after.has(page));
            let same = before.pages == after.pages;
            // A hart with fewer rights in its TLB than in the table takes a page fault, whose
            // handler flushes locally.
            let is_harmless =
                |page: &RawPage| after.pages.iter().any(|now| now.allows_all_of(page));
            let is_stale = |page: &&RawPage| {
                !is_harmless(page) && !tlb.flushes.iter().any(|flush| page.overlaps(flush))
            };
            if !same && let Some(page) = changed.find(is_stale) {
                return Err(format!("{page:x?} was changed and not flushed"));
            }
            let tables_were_freed = after.tables.len() < before.tables.len();
            for flush in &tlb.flushes {
                let all_same = same || before.within(flush).iter().all(|page| after.has(page));
                if all_same && !failed && !tables_were_freed {
                    return Err(format!("{flush:x?} was flushed, though no page changed"));
                }
            }
            Ok(std::mem::take(&mut tlb.flushes))
        })
    }
}
