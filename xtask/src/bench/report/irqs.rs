//! The section of interrupts: how long operations keep them out.

use super::findings::{Findings, Measured};
use super::html::number;
use super::table::{cell, heads, row_line, wrapped};
use crate::bench::aims::{self, IRQS_OUT, IrqsOut};
use crate::bench::irqs::found;

/// What stands above it.
pub const LEAD: &str = "For how many instructions an operation on one hart keeps interrupts out, at most. A timer interrupts it every 4,000 instructions, and the latest interrupt counts. So the longest stretch may be up to 4,000 instructions longer, and shorter by the first row, the way into the handler.";

/// A table of all rows; nothing where nothing was measured.
pub fn body(findings: &Findings) -> String {
    let machines = findings.machines.iter();
    let machines: Vec<&Measured> = machines.filter(|found| !found.irqs.is_empty()).collect();
    if machines.is_empty() {
        return String::new();
    }
    let mut head = vec!["row"];
    head.extend(machines.iter().map(|found| found.arch));
    head.extend(["goal", ""]);
    let lines: String = aims::irqs_out()
        .iter()
        .map(|aim| line(aim, &machines))
        .collect();
    wrapped(&heads(&head), &lines)
}

fn line(aim: &IrqsOut, machines: &[&Measured]) -> String {
    let of = |machine: &&Measured| found(&machine.irqs, &aim.row);
    let value = |machine: &&Measured| {
        let value = of(machine).map_or("–".to_owned(), |(value, _)| number(value));
        cell("n", machine.arch, &value)
    };
    let values: String = machines.iter().map(value).collect();
    let all: Vec<_> = machines.iter().filter_map(of).collect();
    let reached = all.iter().all(|(_, reached)| *reached);
    let goal = IRQS_OUT.to_string();
    row_line(
        (&aim.row, &aim.work),
        &values,
        &goal,
        (!all.is_empty()).then_some(reached),
    )
}
