//! What an address space holds, line by line: as a table for people, or as data
//! for programs. Nothing is allocated.
//!
//! The data, from which `make maps` draws:
//!
//! ```text
//! @map space START END LEVELS
//! @map area START END RIGHTS FRAMES RESIDENT HUGE NAME      each, by address
//! @map table LEVEL VADDR FRAME                  before the tables and runs under it
//! @map run LEVEL VADDR COUNT PADDR RIGHTS       contiguous pages, of one table
//! @map end
//! ```
//!
//! Addresses are hexadecimal, bytes and counts decimal, and level 0 is the lowest.
//! RIGHTS are five characters. The first four are `rwxu` (`u`: user programs have the
//! rights, too). The fifth is `d` for a device's memory or `n` for memory that is not
//! cached. A `-` takes the place of a letter that does not apply. FRAMES is one word
//! for the backend of the area. NAME is the rest of the line.

use core::fmt::{self, Write};
use core::ops::Range;

use memory_addr::{PAGE_SIZE_4K, VirtAddr, VirtAddrRange};
use memory_set::MemoryArea;
use page_table_multiarch::MappingFlags;

use crate::addr::{as_span, va_range};
use crate::aspace::AddrSpace;
use crate::backing::{Backend, Grain};
use crate::machine::{Machine, ThisMachine};
use crate::page_table::frames::PageTableOf;
use crate::page_table::{MAX_LEVELS, Resident, VisitPosition, Visited};

/// The beginning of each line of data. No other output of the kernel has lines that begin so.
pub const MARK: &str = "@map ";

/// The number of characters to which a longer name is cut.
const NAME: usize = 64;

/// For whom a listing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A table for people.
    Table,
    /// Lines for programs: areas and the whole page table.
    Data,
}

/// A whole listing, to be formatted: the address space, and the form.
pub struct Listing<'a, M: Machine = ThisMachine>(pub &'a AddrSpace<M>, pub Form);

impl<M: Machine> fmt::Display for Listing<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = Lines::new(self.1);
        while lines.write_next(self.0, f)? {
            f.write_char('\n')?;
        }
        Ok(())
    }
}

/// A listing that is made line by line. The address space may change between two
/// lines. Each line is correct when it is written.
#[derive(Clone, Debug)]
pub struct Lines {
    form: Form,
    next: Next,
    areas: usize,
    bytes: usize,
    resident: Resident,
}

/// What the next line is about.
#[derive(Clone, Copy, Debug)]
enum Next {
    Space,
    Columns,
    /// The first area that ends above this address.
    Area(usize),
    Tables,
    /// The first table or run of pages after this position.
    PageTable(VisitPosition),
    End,
}

impl Lines {
    /// Returns a listing before its first line.
    pub fn new(form: Form) -> Self {
        Self {
            form,
            next: Next::Space,
            areas: 0,
            bytes: 0,
            resident: Resident::default(),
        }
    }

    /// Writes the next line, without a line feed. Returns whether there was one.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn write_next<M: Machine>(
        &mut self,
        aspace: &AddrSpace<M>,
        out: &mut impl Write,
    ) -> Result<bool, fmt::Error> {
        match self.next {
            Next::Space => self.write_space(aspace, out)?,
            Next::Columns => self.write_columns(out)?,
            Next::Area(from) => match aspace.areas_from(VirtAddr::from_usize(from)).next() {
                Some(area) => self.write_area(aspace, &area, from, out)?,
                None if self.form == Form::Table => self.write_sum(out)?,
                None => {
                    self.next = Next::PageTable(VisitPosition::START);
                    return self.write_next(aspace, out);
                }
            },
            Next::Tables => self.write_table_counts(aspace, out)?,
            Next::PageTable(position) => self.write_visited(aspace, position, out)?,
            Next::End => return Ok(false),
        }
        Ok(true)
    }

    fn write_space<M: Machine>(
        &mut self,
        aspace: &AddrSpace<M>,
        out: &mut impl Write,
    ) -> fmt::Result {
        let (levels, all) = (PageTableOf::<M>::LEVELS, as_span(whole(aspace)));
        match self.form {
            Form::Table => {
                self.next = Next::Columns;
                let (start, end) = (all.start, all.end);
                let root = aspace.page_table_root().as_usize();
                write!(
                    out,
                    "{start:#018x} {end:#018x} address space, root {root:#x}"
                )
            }
            Form::Data => {
                self.next = Next::Area(0);
                write!(out, "{MARK}space {:#x} {:#x} {levels}", all.start, all.end)
            }
        }
    }

    fn write_columns(&mut self, out: &mut impl Write) -> fmt::Result {
        self.next = Next::Area(0);
        write!(
            out,
            "{:<18} {:<18} {:>12} rights {:<11} {:>11} {:>11}  name",
            "start", "end", "KiB", "frames", "resident", "huge"
        )
    }

    fn write_area<M: Machine>(
        &mut self,
        aspace: &AddrSpace<M>,
        area: &MemoryArea<Backend>,
        from: usize,
        out: &mut impl Write,
    ) -> fmt::Result {
        let Range { start, end } = as_span(area.va_range());
        // Since the previous line, the area may have grown at its start.
        let start = start.max(from);
        let resident = resident(aspace, start..end);
        self.next = Next::Area(end);
        self.areas += 1;
        self.bytes += end - start;
        self.resident.all += resident.all;
        self.resident.huge += resident.huge;
        let (rights, frames) = (Rights(area.flags()), frames_word(area.backend()));
        let (all, huge) = (resident.all, resident.huge);
        match self.form {
            Form::Table => write!(
                out,
                "{start:#018x} {end:#018x} {:>12} {rights}  {frames:<11} {:>11} {:>11}  {:.NAME$}",
                (end - start) >> 10,
                all >> 10,
                huge >> 10,
                area.backend().name()
            ),
            Form::Data => write!(
                out,
                "{MARK}area {start:#x} {end:#x} {rights} {frames} {all} {huge} {:.NAME$}",
                area.backend().name()
            ),
        }
    }

    fn write_sum(&mut self, out: &mut impl Write) -> fmt::Result {
        self.next = Next::Tables;
        let (all, huge) = (self.resident.all >> 10, self.resident.huge >> 10);
        write!(
            out,
            "{:<37} {:>12} {:18} {all:>11} {huge:>11}  {} areas",
            "all",
            self.bytes >> 10,
            "",
            self.areas
        )
    }

    fn write_table_counts<M: Machine>(
        &mut self,
        aspace: &AddrSpace<M>,
        out: &mut impl Write,
    ) -> fmt::Result {
        self.next = Next::End;
        let count = count_tables(aspace);
        let kib = (count.iter().sum::<usize>() * PAGE_SIZE_4K) >> 10;
        write!(out, "page tables: {kib} KiB;")?;
        for level in (0..PageTableOf::<M>::LEVELS).rev() {
            let comma = if level > 0 { "," } else { "" };
            write!(out, " {} of level {level}{comma}", count[level])?;
        }
        Ok(())
    }

    fn write_visited<M: Machine>(
        &mut self,
        aspace: &AddrSpace<M>,
        mut position: VisitPosition,
        out: &mut impl Write,
    ) -> fmt::Result {
        let Some(visited) = visit_next(aspace, &mut position) else {
            self.next = Next::End;
            return write!(out, "{MARK}end");
        };
        self.next = Next::PageTable(position);
        let count = visited.count();
        match visited {
            Visited::Table {
                level,
                vaddr,
                frame,
            } => write!(
                out,
                "{MARK}table {level} {vaddr:#x} {:#x}",
                frame.as_usize()
            ),
            Visited::Run {
                level,
                pages,
                paddr,
                flags,
            } => write!(
                out,
                "{MARK}run {level} {:#x} {count} {:#x} {}",
                pages.start,
                paddr.as_usize(),
                Rights(flags)
            ),
        }
    }
}

/// The number of tables and runs of pages that are visited under one hold of an index lock. Other
/// operations can get the lock in between.
const AT_A_TIME: usize = 1;

/// Returns how much memory is mapped in `pages`.
fn resident<M: Machine>(aspace: &AddrSpace<M>, pages: Range<usize>) -> Resident {
    let (mut position, mut sum) = (VisitPosition::START, Resident::default());
    let limits = va_range(pages.start, pages.end);
    visit_in_steps(aspace, limits, &mut position, &mut |visited| {
        if let Visited::Run {
            level, pages: run, ..
        } = visited
        {
            let bytes = run.end.min(pages.end) - run.start.max(pages.start);
            sum.all += bytes;
            sum.huge += if *level > 0 { bytes } else { 0 };
        }
        true
    });
    sum
}

/// Returns how many tables of each level there are.
fn count_tables<M: Machine>(aspace: &AddrSpace<M>) -> [usize; MAX_LEVELS] {
    let (mut position, mut count) = (VisitPosition::START, [0; MAX_LEVELS]);
    visit_in_steps(aspace, whole(aspace), &mut position, &mut |visited| {
        if let Visited::Table { level, .. } = visited {
            count[*level] += 1;
        }
        true
    });
    count
}

/// Returns the first table or run of pages after `position`, and moves `position` past it.
fn visit_next<M: Machine>(aspace: &AddrSpace<M>, position: &mut VisitPosition) -> Option<Visited> {
    let mut next = None;
    visit_in_steps(aspace, whole(aspace), position, &mut |visited| {
        next = Some(visited.clone());
        false
    });
    next
}

/// Calls `f` for each table and run of pages in `pages` after `position`, until `f` returns
/// `false`. Moves `position` past them. Nothing is unmapped while `f` runs, but anything may
/// change between two calls.
fn visit_in_steps<M: Machine>(
    aspace: &AddrSpace<M>,
    pages: VirtAddrRange,
    position: &mut VisitPosition,
    f: &mut dyn FnMut(&Visited) -> bool,
) {
    while aspace.visit_some(pages, position, AT_A_TIME, f) {}
}

/// Returns the addresses of the whole address space.
fn whole<M: Machine>(aspace: &AddrSpace<M>) -> VirtAddrRange {
    VirtAddrRange {
        start: aspace.base(),
        end: aspace.end(),
    }
}

/// Returns one word for how an area gets its frames.
fn frames_word(backend: &Backend) -> &'static str {
    match backend {
        Backend::Linear { .. } => "linear",
        Backend::Object(_) => "object",
        Backend::Alloc { populate: true, .. } => "populated",
        Backend::Alloc { grain, .. } => match grain {
            Grain::Page => "lazy",
            Grain::Around(_) => "lazy-around",
            Grain::Large => "lazy-large",
        },
    }
}

/// Rights in five characters, as the head of this module describes them.
pub(crate) struct Rights(pub MappingFlags);

impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (right, letter) in [
            (MappingFlags::READ, 'r'),
            (MappingFlags::WRITE, 'w'),
            (MappingFlags::EXECUTE, 'x'),
            (MappingFlags::USER, 'u'),
        ] {
            f.write_char(if self.0.contains(right) { letter } else { '-' })?;
        }
        f.write_char(if self.0.contains(MappingFlags::DEVICE) {
            'd'
        } else if self.0.contains(MappingFlags::UNCACHED) {
            'n'
        } else {
            '-'
        })
    }
}
