//! What a page should be, and the check that it is.
//!
//! Each word of a page belongs to one hart: the word's number modulo 64, the highest number of
//! harts. A hart writes its own words, and checks the words of all harts. A word's value is made
//! of the seed, the address space, the address and the step. The words of harts that do not use
//! the region stay zero.

use alloc::format;
use alloc::string::String;
use core::ptr;

use axstd::memory::MappingFlags;
use axstd::memory::probe::{can_read, can_write};

use crate::space::Space;
use crate::tally::Tally;

/// The size of a page in bytes, and in words.
pub const PAGE: usize = 4096;
const WORDS: usize = PAGE / 8;

/// The highest number of harts.
const HARTS: usize = 64;

/// The right to read.
pub const READ: MappingFlags = MappingFlags::READ;
/// The rights to read and write.
pub const RW: MappingFlags = READ.union(MappingFlags::WRITE);

/// What a page should be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Page {
    /// The page's rights, or `None` where it is not mapped.
    pub flags: Option<MappingFlags>,
    /// The last step in which all harts of the region wrote their words, or 0.
    pub written: u64,
}

impl Page {
    /// Returns whether the page may be written.
    pub fn is_writable(&self) -> bool {
        self.flags == Some(RW)
    }
}

/// Checks the pages of a region, for one hart in one step.
pub struct Checker<'a> {
    /// The address space of the pages.
    pub space: &'a Space,
    /// The number of the address space.
    pub number: usize,
    /// The harts that use the region, one bit each.
    pub writers: u64,
    /// The hart that checks.
    pub hart: usize,
    /// The run's seed.
    pub seed: u64,
    /// The number of the step.
    pub step: u64,
    /// The step in which this hart wrote its words to the writable pages, if that is not the step
    /// of the page.
    pub own_written: Option<u64>,
}

impl Checker<'_> {
    /// Returns the value that the word at `addr` gets in `step`. It is never 0.
    fn value(&self, addr: usize, step: u64) -> u64 {
        let place = (self.number as u64) << 56 ^ step << 40 ^ addr as u64;
        scramble(self.seed ^ scramble(place)) | 1
    }

    /// Checks the page at `addr`, and writes this hart's words where it may. With `by_copy` the
    /// kernel copies the page's contents; without, the hart accesses the page itself.
    ///
    /// # Errors
    ///
    /// The error is a description of a word, a fault or a copy that is not as expected.
    pub fn visit(
        &self,
        addr: usize,
        page: &Page,
        by_copy: bool,
        tally: &mut Tally,
    ) -> Result<(), String> {
        match page.flags {
            // Only a hart that has the region to itself writes by copies. A copy may write a word
            // in several pieces, which other harts would read.
            Some(flags) if flags.contains(READ) && by_copy && self.is_exclusive() => {
                self.check_by_copy(addr, page, tally)?;
                self.write_by_copy(addr, page)
            }
            Some(flags) if flags.contains(READ) => {
                self.expect_readable(addr)?;
                match by_copy {
                    true => self.check_by_copy(addr, page, tally)?,
                    false => self.check(addr, page, tally)?,
                }
                match page.is_writable() {
                    true => self.write(addr),
                    false => self.expect_not_writable(addr, tally),
                }
            }
            _ => self.expect_not_readable(addr, tally),
        }
    }

    /// Returns whether this hart is the only one that uses the region.
    fn is_exclusive(&self) -> bool {
        self.writers == 1 << self.hart
    }

    /// Returns the address of this hart's first word in the page at `addr`.
    fn own_word(&self, addr: usize) -> usize {
        addr + self.hart * 8
    }

    fn expect_readable(&self, addr: usize) -> Result<(), String> {
        match can_read(self.own_word(addr)) {
            true => Ok(()),
            false => Err(self.error(self.own_word(addr), "a fault", "a page that can be read")),
        }
    }

    fn expect_not_readable(&self, addr: usize, tally: &mut Tally) -> Result<(), String> {
        let addr = self.own_word(addr);
        tally.faults += 1;
        match can_read(addr) {
            true => Err(self.error(addr, "a page that can be read", "a fault")),
            false => Ok(()),
        }
    }

    fn expect_not_writable(&self, addr: usize, tally: &mut Tally) -> Result<(), String> {
        let addr = self.own_word(addr);
        tally.faults += 1;
        // SAFETY: the byte lies in a word of this hart, which no other hart writes.
        match unsafe { can_write(addr) } {
            true => Err(self.error(addr, "a page that can be written", "a fault")),
            false => Ok(()),
        }
    }

    /// Checks every word of a readable page.
    fn check(&self, addr: usize, page: &Page, tally: &mut Tally) -> Result<(), String> {
        tally.words += WORDS as u64;
        (0..WORDS).map(|index| addr + index * 8).try_for_each(|at| {
            // SAFETY: the page is mapped and readable, as `expect_readable` has found, and stays
            // so during the step. Each word is written as a whole, by one hart.
            let found = unsafe { word_at(at).read_volatile() };
            self.compare(at, page, found, false)
        })
    }

    /// Checks every word of a copy of a readable page. A copy may hold a mixture of the old and the
    /// new bytes of a word that another hart writes at this time.
    fn check_by_copy(&self, addr: usize, page: &Page, tally: &mut Tally) -> Result<(), String> {
        let mut bytes = [0; PAGE];
        let done = self.space.read(addr, &mut bytes);
        done.map_err(|error| self.error(addr, &format!("{error:?}"), "a copy of the page"))?;
        tally.words += WORDS as u64;
        let (words, _) = bytes.as_chunks();
        let mut words = words.iter().zip((addr..).step_by(8));
        words.try_for_each(|(found, at)| self.compare(at, page, u64::from_ne_bytes(*found), true))
    }

    /// Checks the value of the word at `at`. A word that another hart writes in this step has
    /// either its old or its new value. With `may_be_torn` it may have any value.
    #[inline(always)]
    fn compare(&self, at: usize, page: &Page, found: u64, may_be_torn: bool) -> Result<(), String> {
        let owner = at / 8 % HARTS;
        let is_written = self.writers & 1 << owner != 0;
        let written = match self.own_written {
            Some(step) if owner == self.hart && page.is_writable() => step,
            _ => page.written,
        };
        let before = match is_written && written != 0 {
            true => self.value(at, written),
            false => 0,
        };
        if found == before {
            return Ok(());
        }
        let changes = is_written && page.is_writable() && owner != self.hart;
        match changes && (may_be_torn || found == self.value(at, self.step)) {
            true => Ok(()),
            false => Err(self.error(at, &format!("{found:#x}"), &format!("{before:#x}"))),
        }
    }

    /// Writes this hart's words to a writable page.
    fn write(&self, addr: usize) -> Result<(), String> {
        // SAFETY: the byte lies in a word of this hart, which no other hart writes.
        if !unsafe { can_write(self.own_word(addr)) } {
            return Err(self.error(self.own_word(addr), "a fault", "a page that can be written"));
        }
        for at in (self.own_word(addr)..addr + PAGE).step_by(HARTS * 8) {
            // SAFETY: the page is writable, as the probe above has found, and stays so during the
            // step. No other hart writes the word.
            unsafe { word_at(at).write_volatile(self.value(at, self.step)) };
        }
        Ok(())
    }

    /// Writes this hart's words by copies, which must be refused where the page is read-only.
    fn write_by_copy(&self, addr: usize, page: &Page) -> Result<(), String> {
        for at in (self.own_word(addr)..addr + PAGE).step_by(HARTS * 8) {
            let done = self
                .space
                .write(at, &self.value(at, self.step).to_ne_bytes());
            if done.is_ok() != page.is_writable() {
                let wanted = format!("rights {:?}", page.flags);
                return Err(self.error(at, &format!("{done:?} for a copy into it"), &wanted));
            }
        }
        Ok(())
    }

    /// Returns a description of an error at `addr`.
    #[cold]
    pub fn error(&self, addr: usize, found: &str, expected: &str) -> String {
        format!(
            "{addr:#x} in {} address space {}, hart {}, seed {}, step {}: found {found}, expected {expected}",
            self.space.name(),
            self.number,
            self.hart,
            self.seed,
            self.step
        )
    }
}

/// Returns a pointer to the word at `addr`.
fn word_at(addr: usize) -> *mut u64 {
    ptr::with_exposed_provenance_mut(addr)
}

/// SplitMix64's finalizer: looks random, and needs no state.
fn scramble(x: u64) -> u64 {
    let x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}
