//! The section on interrupts: how long operations keep them disabled.

use super::findings::{Findings, Measured};
use super::html::number;
use super::table::{cell, heads, row_line, wrapped};
use crate::bench::hart_goals::{self, IRQS_OFF, IrqsOffGoal};
use crate::bench::irqs::value_and_reached;

/// The text under the section's title.
pub const LEAD: &str = "For how many instructions an operation on one hart keeps interrupts disabled, at most. A timer interrupts the hart every 4,000 instructions, and the most delayed interrupt counts. So the longest stretch can be up to 4,000 instructions longer than the row says. It can also be shorter, by the instructions from the interrupt to its handler, which the first row shows.";

/// Returns a table of all rows; empty if no machine has any.
pub fn body(findings: &Findings) -> String {
    let machines = findings.machines.iter();
    let machines: Vec<&Measured> = machines.filter(|found| !found.irqs.is_empty()).collect();
    if machines.is_empty() {
        return String::new();
    }
    let mut head = vec!["row"];
    head.extend(machines.iter().map(|found| found.arch));
    head.extend(["goal", ""]);
    let lines: String = hart_goals::irqs_off_goals()
        .iter()
        .map(|goal| line(goal, &machines))
        .collect();
    wrapped(&heads(&head), &lines)
}

fn line(goal: &IrqsOffGoal, machines: &[&Measured]) -> String {
    let of = |machine: &&Measured| value_and_reached(&machine.irqs, &goal.row);
    let value = |machine: &&Measured| {
        let value = of(machine).map_or("–".to_owned(), |(value, _)| number(value));
        cell("n", machine.arch, &value)
    };
    let values: String = machines.iter().map(value).collect();
    let all: Vec<_> = machines.iter().filter_map(of).collect();
    let reached = all.iter().all(|(_, reached)| *reached);
    let bound = IRQS_OFF.to_string();
    row_line(
        (&goal.row, &goal.work),
        &values,
        &bound,
        (!all.is_empty()).then_some(reached),
    )
}
