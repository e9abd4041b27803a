//! Prints an address space as a listing, in the form that [`read`](crate::read) takes.

use std::fmt;

use crate::{Entry, MARK, Space, Table};

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Space {
            start, end, levels, ..
        } = self;
        writeln!(f, "{MARK}space {start:#x} {end:#x} {levels}")?;
        for area in &self.areas {
            writeln!(
                f,
                "{MARK}area {:#x} {:#x} {} {} {} {} {}",
                area.start, area.end, area.rights, area.frames, area.resident, area.huge, area.name
            )?;
        }
        table(&self.root, f)?;
        writeln!(f, "{MARK}end")
    }
}

fn table(of: &Table, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let level = of.level;
    writeln!(f, "{MARK}table {level} {:#x} {:#x}", of.vaddr, of.frame)?;
    for entry in &of.entries {
        match entry {
            Entry::Table(next) => table(next, f)?,
            Entry::Run(run) => writeln!(
                f,
                "{MARK}run {level} {:#x} {} {:#x} {}",
                run.vaddr, run.count, run.paddr, run.rights
            )?,
        }
    }
    Ok(())
}
