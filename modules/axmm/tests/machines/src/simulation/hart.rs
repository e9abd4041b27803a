//! A simulated hart: its TLB, which keeps all that the architecture allows, and the
//! instructions that it has fetched.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use axconfig::PHYS_VIRT_OFFSET;
use shuttle::rand::{Rng, thread_rng};

use super::rules::{Negative, NewStack, Rules, WalkCache};
use crate::raw::{Entry, Format, Rights};
use crate::{KIB4, RAM};

/// The number of pages up to which a range is flushed page by page. A longer one flushes
/// the whole TLB, as in axhal.
const MOST_PAGES: usize = 32;

/// The address spaces that a TLB entry is valid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// All of them: the entry is the kernel's.
    Global,
    /// The address space with this ASID.
    Asid(usize),
}

/// A TLB entry.
#[derive(Clone, Copy, Debug)]
pub struct Translation {
    tag: Tag,
    start: usize,
    size: usize,
    /// The physical address and the rights. `None` if the walk found no page.
    page: Option<(usize, Rights)>,
}

/// A cached pointer to a page table, read from an entry above the lowest level.
#[derive(Clone, Copy, Debug)]
struct TablePointer {
    tag: Tag,
    start: usize,
    size: usize,
    level: usize,
    table: usize,
}

/// A request that one hart sends to others.
#[derive(Clone, Debug)]
pub enum Request {
    /// Flush these addresses from the TLB.
    Flush(Range<usize>),
    /// Drop the instructions that have been fetched.
    FetchAnew,
}

/// A simulated hart.
#[derive(Debug, Default)]
pub struct Hart {
    tlb: Vec<Translation>,
    walk_cache: Vec<TablePointer>,
    /// The ASID and the number of the user program's address space that the hart is in.
    pub inside: Option<(usize, usize)>,
    /// The requests that each other hart has sent and this one has not carried out.
    pub mailbox: Vec<Option<Request>>,
    /// The instruction words that the hart has fetched, by physical address.
    fetched: HashMap<usize, u64>,
}

impl Translation {
    /// Returns whether both entries translate some address, with different page sizes or
    /// kinds of memory.
    fn conflicts(&self, other: &Self) -> bool {
        let (Some((_, one)), Some((_, two))) = (self.page, other.page) else {
            return false;
        };
        self.tag == other.tag
            && (self.size != other.size || one.memory != two.memory)
            && (covers(self.start, self.size, other.start)
                || covers(other.start, other.size, self.start))
    }

    /// Returns the physical address of `vaddr` and the rights, or `None` if no page is there.
    pub fn at(&self, vaddr: usize) -> Option<(usize, Rights)> {
        self.page
            .map(|(frame, rights)| (frame + vaddr - self.start, rights))
    }
}

fn covers(start: usize, size: usize, vaddr: usize) -> bool {
    (start..start + size).contains(&vaddr)
}

impl Hart {
    /// Returns a hart with an empty TLB, on a machine with this number of harts.
    pub fn new(harts: usize) -> Self {
        Self {
            mailbox: vec![None; harts],
            ..Self::default()
        }
    }

    /// Flushes a range of addresses.
    pub fn flush(&mut self, rules: &Rules, pages: &Range<usize>) {
        if pages.len() / KIB4 > MOST_PAGES {
            return self.flush_all();
        }
        pages
            .clone()
            .step_by(KIB4)
            .for_each(|page| self.flush_page(rules, page));
    }

    fn flush_page(&mut self, rules: &Rules, page: usize) {
        let asid = self.inside.map(|(asid, _)| Tag::Asid(asid));
        let is_current =
            |tag: Tag| rules.flushes_all_asids || tag == Tag::Global || Some(tag) == asid;
        self.tlb
            .retain(|entry| !(covers(entry.start, entry.size, page) && is_current(entry.tag)));
        match rules.walk_cache {
            WalkCache::None | WalkCache::Kept => {}
            WalkCache::Covering => self
                .walk_cache
                .retain(|pointer| !covers(pointer.start, pointer.size, page)),
            WalkCache::SameAsid => self.walk_cache.retain(|pointer| !is_current(pointer.tag)),
        }
    }

    /// Flushes all entries with one ASID.
    pub fn flush_asid(&mut self, asid: usize) {
        let tag = Tag::Asid(asid);
        self.tlb.retain(|entry| entry.tag != tag);
        self.walk_cache.retain(|pointer| pointer.tag != tag);
    }

    /// Flushes all entries, with the cached pointers to tables.
    pub fn flush_all(&mut self) {
        self.tlb.clear();
        self.walk_cache.clear();
    }

    /// Flushes all entries, and keeps the cached pointers to tables.
    pub fn flush_pages(&mut self) {
        self.tlb.clear();
    }

    /// Returns a translation of `vaddr` that hardware may use: any that the TLB has, or the
    /// result of a walk, which the TLB then keeps.
    ///
    /// # Errors
    ///
    /// Fails if the walk reads what is no page table, or if the TLB gets two entries that
    /// the architecture does not allow together.
    pub fn translate<F: Format>(
        &mut self,
        rules: &Rules,
        tag: Tag,
        root: usize,
        vaddr: usize,
    ) -> Result<Translation, String> {
        let matches =
            |entry: &&Translation| entry.tag == tag && covers(entry.start, entry.size, vaddr);
        let count = self.tlb.iter().filter(matches).count();
        if count > 0 && thread_rng().gen_range(0..8) != 0 {
            let at = thread_rng().gen_range(0..count);
            return Ok(*self.tlb.iter().filter(matches).nth(at).unwrap());
        }
        let found = self.walk::<F>(rules, tag, root, vaddr)?;
        self.insert(rules, found)?;
        if rules.pairs && found.size == KIB4 {
            let neighbour = self.walk::<F>(rules, tag, root, found.start ^ KIB4)?;
            self.insert(rules, neighbour)?;
        }
        Ok(found)
    }

    /// Puts the result of a walk into the TLB, if the architecture allows that.
    fn insert(&mut self, rules: &Rules, found: Translation) -> Result<(), String> {
        if rules.must_break && self.tlb.iter().any(|entry| entry.conflicts(&found)) {
            return Err(format!(
                "a TLB has two entries for {:#x}, of different sizes or kinds of memory",
                found.start
            ));
        }
        if found.page.is_some() || rules.negative != Negative::Never {
            self.tlb.push(found);
        }
        Ok(())
    }

    /// Returns the instruction word at the physical address `paddr`: one that was fetched
    /// earlier, or the one that `fetch` returns.
    pub fn fetch(&mut self, paddr: usize, fetch: impl FnOnce() -> u64) -> u64 {
        if thread_rng().gen_range(0..8) == 0 {
            self.fetched.remove(&paddr);
        }
        *self.fetched.entry(paddr).or_insert_with(fetch)
    }

    /// Drops all instructions that the hart has fetched.
    pub fn drop_instructions(&mut self) {
        self.fetched.clear();
    }

    /// Takes an exception, or executes a context synchronization.
    pub fn synchronize(&mut self, rules: &Rules) {
        if rules.negative == Negative::UntilSynchronized {
            self.tlb.retain(|entry| entry.page.is_some());
        }
    }

    /// Prepares the hart for a thread that first runs on a stack of these pages.
    pub fn flush_new_stack(&mut self, rules: &Rules, pages: &Range<usize>) {
        match rules.new_stack {
            NewStack::Nothing => {}
            NewStack::Synchronizes => self.synchronize(rules),
            NewStack::FlushesPages => self.flush(rules, pages),
            NewStack::FlushesAll => self.flush_all(),
        }
    }

    /// Translates `vaddr` without an access, as hardware may do at any time.
    pub fn translate_ahead<F: Format>(
        &mut self,
        rules: &Rules,
        asid: usize,
        root: usize,
        vaddr: usize,
    ) {
        _ = self.translate::<F>(rules, Tag::Asid(asid), root, vaddr);
    }

    /// Walks the page table from the root, or from any table to which the hart has cached a
    /// pointer.
    fn walk<F: Format>(
        &mut self,
        rules: &Rules,
        tag: Tag,
        root: usize,
        vaddr: usize,
    ) -> Result<Translation, String> {
        let (mut table, mut level) = self.any_start::<F>(tag, root, vaddr);
        loop {
            let size = KIB4 << (9 * level);
            let start = vaddr & !(size - 1);
            let translation = |page| Translation {
                tag,
                start,
                size,
                page,
            };
            let bits = word(table + vaddr / size % 512 * 8)?;
            if bits == 0 {
                return Ok(translation(None));
            }
            let wrong = |what| format!("{what}: a walk reads {bits:#x} in the table {table:#x}");
            match F::entry(bits, level).map_err(wrong)? {
                Entry::Absent | Entry::Kept(_) | Entry::Shared(_) => return Ok(translation(None)),
                Entry::Page(frame, rights) => return Ok(translation(Some((frame, rights)))),
                Entry::Table(next) => {
                    table = next;
                    level -= 1;
                    if rules.walk_cache != WalkCache::None {
                        self.walk_cache.push(TablePointer {
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

    /// Returns the physical address and the level of the table where a walk starts.
    fn any_start<F: Format>(&self, tag: Tag, root: usize, vaddr: usize) -> (usize, usize) {
        let matches = |pointer: &&TablePointer| {
            pointer.tag == tag && covers(pointer.start, pointer.size, vaddr)
        };
        let count = self.walk_cache.iter().filter(matches).count();
        let at = thread_rng().gen_range(0..=count);
        match self.walk_cache.iter().filter(matches).nth(at) {
            Some(pointer) => (pointer.table, pointer.level),
            None => (root, F::LEVELS - 1),
        }
    }
}

/// Returns the word at a physical address.
fn word(paddr: usize) -> Result<u64, String> {
    match RAM.contains(&paddr) {
        true => Ok(word_at(paddr).load(Relaxed)),
        false => Err(format!("a walk reads at {paddr:#x}, which is no memory")),
    }
}

/// Returns the word at a physical address in [`RAM`].
pub fn word_at(paddr: usize) -> &'static AtomicU64 {
    assert!(RAM.contains(&paddr), "{paddr:#x} is no memory");
    let word = std::ptr::with_exposed_provenance((PHYS_VIRT_OFFSET + paddr) & !7);
    // SAFETY: the assertion says that the word lies in RAM, all of which the linear mapping
    // maps for ever. While a simulation runs, its one thread accesses words only as atomics.
    unsafe { &*word }
}
