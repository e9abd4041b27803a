//! Prints an address space as a listing, in the form that [`read`](crate::read) takes.

use std::fmt;

use crate::{Area, Entry, MARK, Space, Table};

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Space {
            name,
            start,
            end,
            levels,
            ..
        } = self;
        let blank = if name.is_empty() { "" } else { " " };
        writeln!(f, "{MARK}space {start:#x} {end:#x} {levels}{blank}{name}")?;
        self.areas.iter().try_for_each(|each| area(each, f))?;
        table(&self.root, f)?;
        writeln!(f, "{MARK}end")
    }
}

fn area(of: &Area, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    writeln!(
        f,
        "{MARK}area {:#x} {:#x} {} {} {} {} {} {} {} {}",
        of.start,
        of.end,
        of.rights,
        of.frames,
        of.resident,
        of.huge,
        of.shared,
        of.private,
        of.zero,
        of.name
    )?;
    match &of.object {
        None => Ok(()),
        Some(object) => writeln!(
            f,
            "{MARK}object {:#x} {} {:#x} {} {} {} {}",
            object.id,
            object.kind,
            object.offset,
            object.len,
            object.shared,
            object.private,
            object.name
        ),
    }
}

fn table(of: &Table, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let level = of.level;
    let shared = if of.is_shared { " shared" } else { "" };
    writeln!(
        f,
        "{MARK}table {level} {:#x} {:#x}{shared}",
        of.vaddr, of.frame
    )?;
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
