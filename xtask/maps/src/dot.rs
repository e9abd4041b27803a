//! Draws the page table as a graph, in Graphviz's language.

use std::fmt::Write;

use crate::format::{count, page, rights};
use crate::{Run, Space, Table, format};

/// How many runs the node of a table lists.
const LISTED_RUNS: usize = 6;

/// Returns a graph of the areas and the page table of `space`, in Graphviz's language. Each
/// table is a node, with an arrow to each table below it.
pub fn to_dot(space: &Space, title: &str) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = draw(space, title, &mut out);
    out
}

fn draw(space: &Space, title: &str, out: &mut String) -> std::fmt::Result {
    writeln!(out, "digraph maps {{")?;
    writeln!(
        out,
        "  label={};\n  labelloc=t;\n  rankdir=LR;",
        quoted(title)
    )?;
    writeln!(out, "  node [shape=box, fontname=monospace, fontsize=10];")?;
    writeln!(
        out,
        "  areas [shape=plaintext, label={}];",
        quoted(&areas(space))
    )?;
    table(&space.root, out)?;
    writeln!(out, "}}")
}

fn areas(space: &Space) -> String {
    let line = |area: &crate::Area| {
        let (name, size) = (&area.name, format::size(area.end - area.start));
        let owners = match area.shared + area.zero {
            0 => String::new(),
            _ => format!(
                ", {} shared, {} private, {} zero",
                format::size(area.shared),
                format::size(area.private),
                format::size(area.zero)
            ),
        };
        let object = area.object.as_ref().map_or_else(String::new, |object| {
            format!(", {} at {:#x}", object.title(), object.offset)
        });
        format!(
            "{:#x} {name}, {}, {size}{owners}{object}\n",
            area.start,
            rights(area.rights)
        )
    };
    space.areas.iter().map(line).collect()
}

fn table(of: &Table, out: &mut String) -> std::fmt::Result {
    let mut label = format!(
        "level {} table in {:#x}{}\n{:#x}: {} of 512\n",
        of.level,
        of.frame,
        if of.is_shared { ", shared" } else { "" },
        of.vaddr,
        of.used()
    );
    let runs: Vec<&Run> = of.runs().collect();
    for run in runs.iter().take(LISTED_RUNS) {
        let pages = format!("{} x {}", run.count, page(of.level));
        let _ = writeln!(label, "{:#x}: {pages} {}", run.vaddr, rights(run.rights));
    }
    if runs.len() > LISTED_RUNS {
        let _ = writeln!(
            label,
            "and {}",
            count((runs.len() - LISTED_RUNS) as u64, "run")
        );
    }
    writeln!(out, "  {} [label={}];", node(of), quoted(&label))?;
    for below in of.tables() {
        table(below, out)?;
        writeln!(out, "  {} -> {};", node(of), node(below))?;
    }
    Ok(())
}

/// The name of a table's node. Tables of one level begin at different addresses.
fn node(table: &Table) -> String {
    format!("t{}_{:x}", table.level, table.vaddr)
}

/// A quoted string whose lines are aligned to the left.
fn quoted(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{}\"", text.replace('\n', "\\l"))
}
