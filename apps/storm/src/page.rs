//! What a page should be, and whether it is.
//!
//! Each word of a page is one hart's: the word's number modulo the most harts there can
//! be. A hart writes its own words, each a value of the seed, the address space, the
//! address and the step; and checks all of them, its own and the others'. The words of
//! harts that do not write stay zero.

use alloc::format;
use alloc::string::String;
use core::ptr;

use axstd::memory::MappingFlags;
use axstd::memory::probe::{can_read, can_write};

use crate::space::Space;
use crate::tally::Tally;

/// Bytes and words of a page.
pub const PAGE: usize = 4096;
const WORDS: usize = PAGE / 8;

/// The most harts there can be.
const HARTS: usize = 64;

pub const READ: MappingFlags = MappingFlags::READ;
pub const RW: MappingFlags = READ.union(MappingFlags::WRITE);

/// What a page should be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Page {
    /// Its rights, where it is mapped.
    pub flags: Option<MappingFlags>,
    /// The last step in which every hart that writes has written; 0 before the first.
    pub written: u64,
}

impl Page {
    /// Whether it may be written.
    pub fn is_writable(&self) -> bool {
        self.flags == Some(RW)
    }
}

/// Who looks at pages, and what for.
pub struct View<'a> {
    /// Where they are.
    pub space: &'a Space,
    /// Which of the address spaces it is.
    pub number: usize,
    /// The harts that write, a bit for each.
    pub writers: u64,
    /// The hart that looks.
    pub hart: usize,
    /// The run's seed.
    pub seed: u64,
    /// The step that this is.
    pub step: u64,
}

impl View<'_> {
    /// The value that the word at `addr` gets in `step`.
    fn value(&self, addr: usize, step: u64) -> u64 {
        let place = (self.number as u64) << 56 ^ step << 40 ^ addr as u64;
        scramble(self.seed ^ scramble(place)) | 1
    }

    /// Checks the page at `addr`, and writes this hart's words where it may. `copied`
    /// says that it is done from outside, by copies.
    pub fn visit(
        &self,
        addr: usize,
        page: &Page,
        copied: bool,
        tally: &mut Tally,
    ) -> Result<(), String> {
        match page.flags {
            // Nobody may read a word that comes in pieces.
            Some(flags) if flags.contains(READ) && copied && self.is_alone() => {
                self.check_copy(addr, page, tally)?;
                self.write_copy(addr, page)
            }
            Some(flags) if flags.contains(READ) => {
                self.readable(addr)?;
                match copied {
                    true => self.check_copy(addr, page, tally)?,
                    false => self.check(addr, page, tally)?,
                }
                match page.is_writable() {
                    true => self.write(addr),
                    false => self.not_writable(addr, tally),
                }
            }
            _ => self.not_readable(addr, tally),
        }
    }

    /// Whether no other hart uses the page.
    fn is_alone(&self) -> bool {
        self.writers == 1 << self.hart
    }

    /// This hart's first word in the page at `addr`.
    fn own(&self, addr: usize) -> usize {
        addr + self.hart * 8
    }

    fn readable(&self, addr: usize) -> Result<(), String> {
        match can_read(self.own(addr)) {
            true => Ok(()),
            false => Err(self.wrong(self.own(addr), "a fault", "a page that can be read")),
        }
    }

    fn not_readable(&self, addr: usize, tally: &mut Tally) -> Result<(), String> {
        let addr = self.own(addr);
        tally.faults += 1;
        match can_read(addr) {
            true => Err(self.wrong(addr, "a page that can be read", "a fault")),
            false => Ok(()),
        }
    }

    fn not_writable(&self, addr: usize, tally: &mut Tally) -> Result<(), String> {
        let addr = self.own(addr);
        tally.faults += 1;
        // SAFETY: the byte is in a word of this hart's, which no other hart writes.
        match unsafe { can_write(addr) } {
            true => Err(self.wrong(addr, "a page that can be written", "a fault")),
            false => Ok(()),
        }
    }

    /// Every word of a page that can be read.
    fn check(&self, addr: usize, page: &Page, tally: &mut Tally) -> Result<(), String> {
        tally.words += WORDS as u64;
        (0..WORDS).map(|index| addr + index * 8).try_for_each(|at| {
            // SAFETY: the page is mapped, by the step's promise, and has just been read.
            // Words change as a whole, by one hart each.
            let found = unsafe { word(at).read_volatile() };
            self.compare(at, page, found, false)
        })
    }

    /// The same by a copy, in which words that another hart writes may come in pieces.
    fn check_copy(&self, addr: usize, page: &Page, tally: &mut Tally) -> Result<(), String> {
        let mut bytes = [0; PAGE];
        let done = self.space.read(addr, &mut bytes);
        done.map_err(|error| self.wrong(addr, &format!("{error:?}"), "a copy of the page"))?;
        tally.words += WORDS as u64;
        let (words, _) = bytes.as_chunks();
        let mut words = words.iter().zip((addr..).step_by(8));
        words.try_for_each(|(found, at)| self.compare(at, page, u64::from_ne_bytes(*found), true))
    }

    /// Whether the word at `at` is what it should be. One that another hart may write in
    /// this very step is as before or as after; `torn` says that it may be in between.
    #[inline(always)]
    fn compare(&self, at: usize, page: &Page, found: u64, torn: bool) -> Result<(), String> {
        let owner = at / 8 % HARTS;
        let is_written = self.writers & 1 << owner != 0;
        let before = match is_written && page.written != 0 {
            true => self.value(at, page.written),
            false => 0,
        };
        if found == before {
            return Ok(());
        }
        let changes = is_written && page.is_writable() && owner != self.hart;
        match changes && (torn || found == self.value(at, self.step)) {
            true => Ok(()),
            false => Err(self.wrong(at, &format!("{found:#x}"), &format!("{before:#x}"))),
        }
    }

    fn write(&self, addr: usize) -> Result<(), String> {
        // SAFETY: as in `not_writable`.
        if !unsafe { can_write(self.own(addr)) } {
            return Err(self.wrong(self.own(addr), "a fault", "a page that can be written"));
        }
        for at in (self.own(addr)..addr + PAGE).step_by(HARTS * 8) {
            // SAFETY: the page has just been written, and the word is this hart's.
            unsafe { word(at).write_volatile(self.value(at, self.step)) };
        }
        Ok(())
    }

    /// The same by copies; of a page that may not be written, that it is refused.
    fn write_copy(&self, addr: usize, page: &Page) -> Result<(), String> {
        for at in (self.own(addr)..addr + PAGE).step_by(HARTS * 8) {
            let done = self
                .space
                .write(at, &self.value(at, self.step).to_ne_bytes());
            if done.is_ok() != page.is_writable() {
                let wanted = format!("rights {:?}", page.flags);
                return Err(self.wrong(at, &format!("{done:?} for a copy into it"), &wanted));
            }
        }
        Ok(())
    }

    /// What is wrong, and where.
    #[cold]
    pub fn wrong(&self, addr: usize, found: &str, expected: &str) -> String {
        format!(
            "{addr:#x} in the {} address space ({}), hart {}, seed {}, step {}: found {found}, expected {expected}",
            self.space.name(),
            self.number,
            self.hart,
            self.seed,
            self.step
        )
    }
}

/// A word by its address.
fn word(addr: usize) -> *mut u64 {
    ptr::with_exposed_provenance_mut(addr)
}

/// SplitMix64's finalizer: looks random, and needs no state.
fn scramble(x: u64) -> u64 {
    let x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}
