//! A simulated hart: its TLB, which keeps all that the architecture allows it to.

use std::collections::HashMap;
use std::ops::Range;

use axconfig::PHYS_VIRT_OFFSET;
use shuttle::rand::{Rng, thread_rng};

use super::rules::{Absent, Fresh, Rules, Upper};
use crate::raw::{Entry, Format, Rights};
use crate::{KIB4, RAM};

/// More pages are forgotten by forgetting everything, as axhal does.
const MOST_PAGES: usize = 32;

/// Whose an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// Every address space's: the kernel's.
    Global,
    /// The one's with this number.
    Number(usize),
}

/// A translation.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    tag: Tag,
    start: usize,
    size: usize,
    /// Where it leads, unless it is known that nothing is there.
    page: Option<(usize, Rights)>,
}

/// The way to a table, read from upper entries.
#[derive(Clone, Copy, Debug)]
struct Upward {
    tag: Tag,
    start: usize,
    size: usize,
    level: usize,
    table: usize,
}

#[derive(Debug, Default)]
pub struct Hart {
    known: Vec<Known>,
    upper: Vec<Upward>,
    /// The number and the address space that the lower half is translated by.
    pub inside: Option<(usize, usize)>,
    /// What each hart has asked of it.
    pub asked: Vec<Option<Range<usize>>>,
    /// The instructions that it has fetched, by physical address.
    fetched: HashMap<usize, u64>,
}

impl Known {
    /// Whether both are pages, for the same address, of different sizes or kinds of memory.
    fn conflicts(&self, other: &Self) -> bool {
        let (Some((_, one)), Some((_, two))) = (self.page, other.page) else {
            return false;
        };
        self.tag == other.tag
            && (self.size != other.size || one.memory != two.memory)
            && (covers(self.start, self.size, other.start)
                || covers(other.start, other.size, self.start))
    }

    /// The byte that `vaddr` leads to, and with which rights.
    pub fn at(&self, vaddr: usize) -> Option<(usize, Rights)> {
        self.page
            .map(|(frame, rights)| (frame + vaddr - self.start, rights))
    }
}

fn covers(start: usize, size: usize, vaddr: usize) -> bool {
    (start..start + size).contains(&vaddr)
}

impl Hart {
    /// One of so many, which knows nothing.
    pub fn new(harts: usize) -> Self {
        Self {
            asked: vec![None; harts],
            ..Self::default()
        }
    }

    pub fn forget(&mut self, rules: &Rules, pages: &Range<usize>) {
        if pages.len() / KIB4 > MOST_PAGES {
            return self.forget_all();
        }
        pages
            .clone()
            .step_by(KIB4)
            .for_each(|page| self.forget_page(rules, page));
    }

    fn forget_page(&mut self, rules: &Rules, page: usize) {
        let number = self.inside.map(|(number, _)| Tag::Number(number));
        let current = |tag: Tag| rules.every_id || tag == Tag::Global || Some(tag) == number;
        self.known
            .retain(|known| !(covers(known.start, known.size, page) && current(known.tag)));
        match rules.upper {
            Upper::None | Upper::Stay => {}
            Upper::Covering => self
                .upper
                .retain(|upper| !covers(upper.start, upper.size, page)),
            Upper::Tagged => self.upper.retain(|upper| !current(upper.tag)),
        }
    }

    /// All of one number.
    pub fn forget_number(&mut self, number: usize) {
        let tag = Tag::Number(number);
        self.known.retain(|known| known.tag != tag);
        self.upper.retain(|upper| upper.tag != tag);
    }

    pub fn forget_all(&mut self) {
        self.known.clear();
        self.upper.clear();
    }

    /// As [`forget_all`](Self::forget_all), but for the way to tables.
    pub fn forget_leaves(&mut self) {
        self.known.clear();
    }

    /// What the hart may take for the translation of `vaddr`: anything it knows, or what
    /// it reads now.
    ///
    /// # Errors
    ///
    /// What it reads that is no page table.
    pub fn translate<F: Format>(
        &mut self,
        rules: &Rules,
        tag: Tag,
        root: usize,
        vaddr: usize,
    ) -> Result<Known, String> {
        let found = |known: &&Known| known.tag == tag && covers(known.start, known.size, vaddr);
        let count = self.known.iter().filter(found).count();
        if count > 0 && thread_rng().gen_range(0..8) != 0 {
            let at = thread_rng().gen_range(0..count);
            return Ok(*self.known.iter().filter(found).nth(at).unwrap());
        }
        let known = self.walk::<F>(rules, tag, root, vaddr)?;
        self.keep(rules, known)?;
        if rules.pairs && known.size == KIB4 {
            let neighbour = self.walk::<F>(rules, tag, root, known.start ^ KIB4)?;
            self.keep(rules, neighbour)?;
        }
        Ok(known)
    }

    /// Remembers what has been read, if it may be.
    fn keep(&mut self, rules: &Rules, known: Known) -> Result<(), String> {
        if rules.one_kind && self.known.iter().any(|other| other.conflicts(&known)) {
            let start = known.start;
            return Err(format!("two pages of two kinds are known for {start:#x}"));
        }
        if known.page.is_some() || rules.absent != Absent::Never {
            self.known.push(known);
        }
        Ok(())
    }

    /// The word at the physical address `paddr` as an instruction: as it was fetched before,
    /// or as `fetch` finds it.
    pub fn fetch(&mut self, paddr: usize, fetch: impl FnOnce() -> u64) -> u64 {
        if thread_rng().gen_range(0..8) == 0 {
            self.fetched.remove(&paddr);
        }
        *self.fetched.entry(paddr).or_insert_with(fetch)
    }

    /// Drops all instructions that it has fetched.
    pub fn fetch_anew(&mut self) {
        self.fetched.clear();
    }

    /// An exception, or a context synchronization.
    pub fn synchronize(&mut self, rules: &Rules) {
        if rules.absent == Absent::UntilSynchronized {
            self.known.retain(|known| known.page.is_some());
        }
    }

    /// Is about to run on a stack of these pages.
    pub fn flush_fresh(&mut self, rules: &Rules, pages: &Range<usize>) {
        match rules.fresh {
            Fresh::Nothing => {}
            Fresh::Synchronizes => self.synchronize(rules),
            Fresh::ForgetsPages => self.forget(rules, pages),
            Fresh::ForgetsAll => self.forget_all(),
        }
    }

    /// Translates `vaddr` though nobody asks.
    pub fn reads_ahead<F: Format>(
        &mut self,
        rules: &Rules,
        number: usize,
        root: usize,
        vaddr: usize,
    ) {
        let _ = self.translate::<F>(rules, Tag::Number(number), root, vaddr);
    }

    /// From the root, or from any table to which the way is known.
    fn walk<F: Format>(
        &mut self,
        rules: &Rules,
        tag: Tag,
        root: usize,
        vaddr: usize,
    ) -> Result<Known, String> {
        let found = |upper: &&Upward| upper.tag == tag && covers(upper.start, upper.size, vaddr);
        let count = self.upper.iter().filter(found).count();
        let at = thread_rng().gen_range(0..=count);
        let (mut table, mut level) = match self.upper.iter().filter(found).nth(at) {
            Some(upper) => (upper.table, upper.level),
            None => (root, F::LEVELS - 1),
        };
        loop {
            let size = KIB4 << (9 * level);
            let start = vaddr & !(size - 1);
            let known = |page| Known {
                tag,
                start,
                size,
                page,
            };
            let bits = word(table + vaddr / size % 512 * 8)?;
            if bits == 0 {
                return Ok(known(None));
            }
            let wrong = |what| format!("{what}: a walker reads {bits:#x} in {table:#x}");
            match F::entry(bits, level).map_err(wrong)? {
                Entry::Absent | Entry::Kept(_) => return Ok(known(None)),
                Entry::Page(frame, rights) => return Ok(known(Some((frame, rights)))),
                Entry::Table(next) => {
                    table = next;
                    level -= 1;
                    if rules.upper != Upper::None {
                        self.upper.push(Upward {
                            tag,
                            start,
                            size,
                            level,
                            table,
                        });
                    }
                }
            }
        }
    }
}

/// The word at a physical address.
fn word(paddr: usize) -> Result<u64, String> {
    match RAM.contains(&paddr) {
        true => Ok(word_at(paddr).load(std::sync::atomic::Ordering::Relaxed)),
        false => Err(format!("a walker reads at {paddr:#x}, where no frame is")),
    }
}

/// The same, of memory that is there.
pub fn word_at(paddr: usize) -> &'static std::sync::atomic::AtomicU64 {
    assert!(RAM.contains(&paddr), "{paddr:#x} is no frame's");
    let word = std::ptr::with_exposed_provenance((PHYS_VIRT_OFFSET + paddr) & !7);
    // SAFETY: all of RAM is in the linear mapping, for good, and words are shared only as
    // atomics while a simulation runs: it has one thread.
    unsafe { &*word }
}
