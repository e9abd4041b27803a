//! What an address space holds, line by line: as a table for people, or as data
//! for programs. Nothing is allocated.
//!
//! The data, from which `make maps` draws:
//!
//! ```text
//! @map space START END LEVELS NAME              no NAME: the kernel's address space
//! @map area START END RIGHTS FRAMES RESIDENT HUGE SHARED PRIVATE ZERO NAME   by address
//! @map object ID KIND OFFSET LEN SHARED PRIVATE NAME   after an area that shows an object
//! @map table LEVEL VADDR FRAME                  before the tables and runs under it
//! @map table LEVEL VADDR FRAME shared           another page table uses the table, too
//! @map run LEVEL VADDR COUNT PADDR RIGHTS       contiguous pages, of one table
//! @map end
//! ```
//!
//! Addresses and OFFSET are hexadecimal, bytes and counts decimal, and level 0 is the lowest.
//! RIGHTS are five characters: `rwxu`, where `u` is for user programs, and then `d` for a device's
//! memory or `n` for memory that is not cached. A `-` takes the place of a letter that does not
//! apply. FRAMES is one word for the backend of the area. SHARED,
//! PRIVATE and ZERO of an area are parts of RESIDENT ([`Resident`]). SHARED and PRIVATE of an
//! object are parts of what it has committed. ID is hexadecimal and the same for all areas that
//! show the object. NAME is the rest of the line.

use core::fmt::{self, Write};
use core::ops::Range;

use memory_addr::{PAGE_SIZE_4K, VirtAddr, VirtAddrRange};
use memory_set::MemoryArea;

use super::rights::Rights;
use crate::addr::{as_span, va_range};
use crate::aspace::{AddrSpace, Resident, ShownObject};
use crate::backing::{Backend, Grain, ObjectArea};
use crate::machine::{Machine, ThisMachine};
use crate::page_table::frames::PageTableOf;
use crate::page_table::{MAX_LEVELS, VisitPosition, Visited};

/// The beginning of each line of data. No other output of the kernel has lines that begin so.
pub const MARK: &str = "@map ";

/// The number of characters to which a longer name is cut.
const NAME: usize = 64;

/// Whether the table has columns for memory that others have, too.
const SHOWS_OWNERS: bool = cfg!(feature = "objects");

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
    name: &'static str,
    next: Next,
    areas: usize,
    bytes: usize,
    resident: Resident,
    /// The number of the object that the latest line about an object describes.
    object: Option<usize>,
}

/// What the next line is about.
#[derive(Clone, Copy, Debug)]
enum Next {
    Space,
    Columns,
    /// The first area that ends above this address.
    Area(usize),
    /// An object that the area before shows, and then the first area that ends above this address.
    Object(ShownObject, usize),
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
            name: "",
            next: Next::Space,
            areas: 0,
            bytes: 0,
            resident: Resident::default(),
            object: None,
        }
    }

    /// Gives the address space a name. Without one it is the kernel's.
    #[must_use]
    pub fn with_name(self, name: &'static str) -> Self {
        Self { name, ..self }
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
            Next::Object(object, from) => self.write_object(&object, from, out)?,
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
        let (blank, name) = (if self.name.is_empty() { "" } else { " " }, self.name);
        match self.form {
            Form::Table => {
                self.next = Next::Columns;
                let (start, end) = (all.start, all.end);
                let root = aspace.page_table_root().as_usize();
                write!(
                    out,
                    "{start:#018x} {end:#018x} address space{blank}{name:.NAME$}, root {root:#x}"
                )
            }
            Form::Data => {
                self.next = Next::Area(0);
                let (start, end) = (all.start, all.end);
                write!(
                    out,
                    "{MARK}space {start:#x} {end:#x} {levels}{blank}{name:.NAME$}"
                )
            }
        }
    }

    fn write_columns(&mut self, out: &mut impl Write) -> fmt::Result {
        self.next = Next::Area(0);
        write!(
            out,
            "{:<18} {:<18} {:>12} rights {:<11} {:>11} {:>11}",
            "start", "end", "KiB", "frames", "resident", "huge"
        )?;
        if SHOWS_OWNERS {
            write!(out, " {:>9} {:>9} {:>9}", "shared", "private", "zero")?;
        }
        write!(out, "  name")
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
        let resident = aspace.resident(va_range(start, end));
        let shows_object = area.backend().object().is_some();
        let object = shows_object.then(|| aspace.object_at(VirtAddr::from_usize(start)));
        let object = object.flatten();
        self.next = match object {
            Some(object) if self.form == Form::Data || self.object != Some(object.id) => {
                Next::Object(object, end)
            }
            _ => Next::Area(end),
        };
        self.areas += 1;
        self.bytes += end - start;
        self.resident += resident;
        let (rights, frames) = (Rights(area.flags()), frames_word(area.backend()));
        let name = match &object {
            Some(object) if !object.name.is_empty() => object.name,
            _ => area.backend().name(),
        };
        match self.form {
            Form::Table => {
                let kib = (end - start) >> 10;
                write!(
                    out,
                    "{start:#018x} {end:#018x} {kib:>12} {rights}  {frames:<11}"
                )?;
                write_kib(&resident, out)?;
                write!(out, "  {name:.NAME$}")?;
                object.map_or(Ok(()), |object| write!(out, "+{:#x}", object.offset))
            }
            Form::Data => {
                let Resident {
                    all,
                    huge,
                    shared,
                    private,
                    zero,
                } = resident;
                write!(
                    out,
                    "{MARK}area {start:#x} {end:#x} {rights} {frames} {all} {huge} \
                     {shared} {private} {zero} {name:.NAME$}"
                )
            }
        }
    }

    fn write_object(
        &mut self,
        object: &ShownObject,
        from: usize,
        out: &mut impl Write,
    ) -> fmt::Result {
        self.next = Next::Area(from);
        self.object = Some(object.id);
        let ShownObject {
            id,
            kind,
            name,
            offset,
            len,
            shared,
            private,
            ..
        } = object;
        match self.form {
            Form::Table => {
                let [len, shared, private] = [len, shared, private].map(|bytes| bytes >> 10);
                write!(
                    out,
                    "{:<37} {len:>12} {kind} object: {shared} KiB shared with other objects, \
                     {private} KiB private",
                    ""
                )
            }
            Form::Data => write!(
                out,
                "{MARK}object {id:#x} {kind} {offset:#x} {len} {shared} {private} {name:.NAME$}"
            ),
        }
    }

    fn write_sum(&mut self, out: &mut impl Write) -> fmt::Result {
        self.next = Next::Tables;
        write!(out, "{:<37} {:>12} {:18}", "all", self.bytes >> 10, "")?;
        write_kib(&self.resident, out)?;
        write!(out, "  {} areas", self.areas)
    }

    fn write_table_counts<M: Machine>(
        &mut self,
        aspace: &AddrSpace<M>,
        out: &mut impl Write,
    ) -> fmt::Result {
        self.next = Next::End;
        let (count, shared) = count_tables(aspace);
        let kib = (count.iter().sum::<usize>() * PAGE_SIZE_4K) >> 10;
        write!(out, "page tables: {kib} KiB;")?;
        for level in (0..PageTableOf::<M>::LEVELS).rev() {
            let comma = if level > 0 { "," } else { "" };
            write!(out, " {} of level {level}{comma}", count[level])?;
        }
        match shared {
            0 => Ok(()),
            _ => write!(out, "; {shared} shared with other address spaces"),
        }
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
                is_shared,
            } => {
                let shared = if is_shared { " shared" } else { "" };
                let frame = frame.as_usize();
                write!(out, "{MARK}table {level} {vaddr:#x} {frame:#x}{shared}")
            }
            Visited::Run {
                level,
                pages,
                paddr,
                flags,
                ..
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

/// Writes the columns for what is mapped, in KiB.
fn write_kib(resident: &Resident, out: &mut impl Write) -> fmt::Result {
    let (all, huge) = (resident.all >> 10, resident.huge >> 10);
    write!(out, " {all:>11} {huge:>11}")?;
    if SHOWS_OWNERS {
        let owners = [resident.shared, resident.private, resident.zero];
        let [shared, private, zero] = owners.map(|bytes| bytes >> 10);
        write!(out, " {shared:>9} {private:>9} {zero:>9}")?;
    }
    Ok(())
}

/// Returns how many tables of each level there are, and how many of all are shared.
fn count_tables<M: Machine>(aspace: &AddrSpace<M>) -> ([usize; MAX_LEVELS], usize) {
    let (mut position, mut count) = (VisitPosition::START, [0; MAX_LEVELS]);
    let mut shared = 0;
    visit_in_steps(aspace, &mut position, &mut |visited| {
        if let Visited::Table {
            level, is_shared, ..
        } = visited
        {
            count[*level] += 1;
            shared += usize::from(*is_shared);
        }
        true
    });
    (count, shared)
}

/// Returns the first table or run of pages after `position`, and moves `position` past it.
fn visit_next<M: Machine>(aspace: &AddrSpace<M>, position: &mut VisitPosition) -> Option<Visited> {
    let mut next = None;
    visit_in_steps(aspace, position, &mut |visited| {
        next = Some(visited.clone());
        false
    });
    next
}

/// Calls `f` for each table and run of pages after `position`, until `f` returns
/// `false`. Moves `position` past them. Nothing is unmapped while `f` runs, but anything may
/// change between two calls.
fn visit_in_steps<M: Machine>(
    aspace: &AddrSpace<M>,
    position: &mut VisitPosition,
    f: &mut dyn FnMut(&Visited) -> bool,
) {
    while aspace.visit_some(whole(aspace), position, AT_A_TIME, f) {}
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
        Backend::Object(ObjectArea {
            is_shared: true, ..
        }) => "object",
        Backend::Object(_) => "object-cow",
        Backend::Alloc { populate: true, .. } => "populated",
        Backend::Alloc { grain, .. } => match grain {
            Grain::Page => "lazy",
            Grain::Around(_) => "lazy-around",
            Grain::Large => "lazy-large",
        },
    }
}
