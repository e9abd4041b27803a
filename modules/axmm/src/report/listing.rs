//! What an address space holds, line by line: as a table for people, or as data
//! for programs. Nothing is allocated.
//!
//! The data, from which `make maps` draws:
//!
//! ```text
//! @map space START END LEVELS
//! @map area START END RIGHTS FRAMES RESIDENT HUGE NAME      each, by address
//! @map table LEVEL VADDR FRAME                  each before what it holds
//! @map run LEVEL VADDR COUNT PADDR RIGHTS       pages in a row, of one table
//! @map end
//! ```
//!
//! Addresses are hexadecimal, bytes and counts decimal, and level 0 is the lowest.
//! RIGHTS are five letters, `-` for what is not there: `rwxu`, the last for user
//! programs, then `d` for a device's memory or `n` for memory that is not cached.
//! FRAMES says where the frames come from. NAME goes to the end of the line.

use core::fmt::{self, Write};
use core::ops::Range;

use memory_addr::{PAGE_SIZE_4K, VirtAddr, VirtAddrRange};
use memory_set::MemoryArea;
use page_table_multiarch::MappingFlags;

use crate::addr::{as_span, va_range};
use crate::aspace::AddrSpace;
use crate::backing::{Backend, Grain};
use crate::machine::{Machine, ThisMachine};
use crate::page_table::frames::Table;
use crate::page_table::{MAX_LEVELS, Resident, VisitPosition, Visited};

/// What the lines of data begin with, and no others.
pub const MARK: &str = "@map ";

/// As many characters of a name are listed.
const NAME: usize = 64;

/// For whom a listing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A table for people.
    Table,
    /// Lines for programs: areas and the whole page table.
    Data,
}

/// A listing to be shown as a whole.
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
/// lines: each is right when it is written.
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
    /// What the page table holds behind this.
    Seen(VisitPosition),
    Over,
}

impl Lines {
    /// A listing that starts with its first line.
    pub fn new(form: Form) -> Self {
        Self {
            form,
            next: Next::Space,
            areas: 0,
            bytes: 0,
            resident: Resident::default(),
        }
    }

    /// Writes the next line, without its end. Returns whether there was one.
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
            Next::Space => self.space(aspace, out)?,
            Next::Columns => self.columns(out)?,
            Next::Area(from) => match aspace.areas_from(VirtAddr::from_usize(from)).next() {
                Some(area) => self.area(aspace, &area, from, out)?,
                None if self.form == Form::Table => self.sum(out)?,
                None => {
                    self.next = Next::Seen(VisitPosition::START);
                    return self.write_next(aspace, out);
                }
            },
            Next::Tables => self.tables(aspace, out)?,
            Next::Seen(reached) => self.seen(aspace, reached, out)?,
            Next::Over => return Ok(false),
        }
        Ok(true)
    }

    fn space<M: Machine>(&mut self, aspace: &AddrSpace<M>, out: &mut impl Write) -> fmt::Result {
        let (levels, all) = (Table::<M>::LEVELS, as_span(whole(aspace)));
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

    fn columns(&mut self, out: &mut impl Write) -> fmt::Result {
        self.next = Next::Area(0);
        write!(
            out,
            "{:<18} {:<18} {:>12} rights {:<11} {:>11} {:>11}  name",
            "start", "end", "KiB", "frames", "resident", "huge"
        )
    }

    fn area<M: Machine>(
        &mut self,
        aspace: &AddrSpace<M>,
        area: &MemoryArea<Backend>,
        from: usize,
        out: &mut impl Write,
    ) -> fmt::Result {
        let Range { start, end } = as_span(area.va_range());
        // It may have grown to the left meanwhile.
        let start = start.max(from);
        let resident = resident(aspace, start..end);
        self.next = Next::Area(end);
        self.areas += 1;
        self.bytes += end - start;
        self.resident.all += resident.all;
        self.resident.huge += resident.huge;
        let (rights, frames) = (Rights(area.flags()), frames(area.backend()));
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

    fn sum(&mut self, out: &mut impl Write) -> fmt::Result {
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

    fn tables<M: Machine>(&mut self, aspace: &AddrSpace<M>, out: &mut impl Write) -> fmt::Result {
        self.next = Next::Over;
        let count = tables(aspace);
        let kib = (count.iter().sum::<usize>() * PAGE_SIZE_4K) >> 10;
        write!(out, "page tables: {kib} KiB;")?;
        for level in (0..Table::<M>::LEVELS).rev() {
            let comma = if level > 0 { "," } else { "" };
            write!(out, " {} of level {level}{comma}", count[level])?;
        }
        Ok(())
    }

    fn seen<M: Machine>(
        &mut self,
        aspace: &AddrSpace<M>,
        mut reached: VisitPosition,
        out: &mut impl Write,
    ) -> fmt::Result {
        let Some(seen) = next_seen(aspace, &mut reached) else {
            self.next = Next::Over;
            return write!(out, "{MARK}end");
        };
        self.next = Next::Seen(reached);
        let count = seen.count();
        match seen {
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

/// Tables and runs of pages that are looked at before other operations get their turn.
const AT_A_TIME: usize = 1;

/// How much memory is behind `pages`, looked up in pieces.
fn resident<M: Machine>(aspace: &AddrSpace<M>, inside: Range<usize>) -> Resident {
    let (mut reached, mut sum) = (VisitPosition::START, Resident::default());
    let pages = va_range(inside.start, inside.end);
    walk(aspace, pages, &mut reached, &mut |seen| {
        if let Visited::Run {
            level, pages: run, ..
        } = seen
        {
            let bytes = run.end.min(inside.end) - run.start.max(inside.start);
            sum.all += bytes;
            sum.huge += if *level > 0 { bytes } else { 0 };
        }
        true
    });
    sum
}

/// How many tables of each level there are, counted in pieces.
fn tables<M: Machine>(aspace: &AddrSpace<M>) -> [usize; MAX_LEVELS] {
    let (mut reached, mut count) = (VisitPosition::START, [0; MAX_LEVELS]);
    walk(aspace, whole(aspace), &mut reached, &mut |seen| {
        if let Visited::Table { level, .. } = seen {
            count[*level] += 1;
        }
        true
    });
    count
}

/// What the page table holds behind what has been `reached`.
fn next_seen<M: Machine>(aspace: &AddrSpace<M>, reached: &mut VisitPosition) -> Option<Visited> {
    let mut next = None;
    walk(aspace, whole(aspace), reached, &mut |seen| {
        next = Some(seen.clone());
        false
    });
    next
}

/// Shows `see` what the page table holds in `pages` behind what has been `reached`, up to
/// `false`. In each piece nothing is unmapped; between pieces anything may change.
fn walk<M: Machine>(
    aspace: &AddrSpace<M>,
    pages: VirtAddrRange,
    reached: &mut VisitPosition,
    see: &mut dyn FnMut(&Visited) -> bool,
) {
    while aspace.visit_some(pages, reached, AT_A_TIME, see) {}
}

fn whole<M: Machine>(aspace: &AddrSpace<M>) -> VirtAddrRange {
    VirtAddrRange {
        start: aspace.base(),
        end: aspace.end(),
    }
}

/// Where an area's frames come from, in a word.
fn frames(backend: &Backend) -> &'static str {
    match backend {
        Backend::Linear { .. } => "linear",
        Backend::Alloc { populate: true, .. } => "populated",
        Backend::Alloc { grain, .. } => match grain {
            Grain::Page => "lazy",
            Grain::Around(_) => "lazy-around",
            Grain::Large => "lazy-large",
        },
    }
}

/// Rights in five letters.
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
