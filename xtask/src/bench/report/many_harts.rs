//! The section on several harts: the work of two threads against that of one, and how often
//! an operation disturbs other harts.

use super::chart::{Bar, Chart, Group};
use super::findings::{Findings, Measured};
use super::html::{escape, number};
use super::table::{cell, heads, outcome_style, row_line, wrapped};
use crate::bench::guest::Disturbance;
use crate::bench::hart_goals::{self, Bound, DisturbanceGoal, PAGES, THREADS_GOALS, ThreadsGoal};
use crate::bench::threads::{LOAD, Spread, owners_of};
use crate::figures::Row;

/// The text under the section's title.
pub const LEAD: &str = "The work that two threads do, divided by the work that one does in the same time, measured natively on the host. 2 is perfect; below 1 the threads hinder each other. Linux is the one on this computer, with its system calls and real page faults. The other figures are of variants of ours. One has an address space for each thread (apart), one has the addresses of both threads in one shard. Two have a lock around each fault: a lock for each area, or a lock for each table of the lowest level. Each figure is the median of several runs; the smallest and the largest are in brackets.";

const DISTURBANCE: &str = "How many requests to flush an operation of one hart of four sends, and how many interrupts each hart that gets a request takes: for 1 page, for 64, and for 4,096 pages that are not contiguous. On riscv64 the firmware and on aarch64 the hardware carries requests out, without interrupts.";

/// Returns a chart and tables; empty if these rows were not measured.
pub fn body(findings: &Findings) -> String {
    [
        chart(&findings.threads),
        threads(&findings.threads),
        busy(&findings.threads),
        disturbance(findings),
    ]
    .concat()
}

/// Returns the name of a project or variant in the report, and its class in the style sheet.
fn named(owner: &str) -> (&str, &'static str) {
    match owner {
        "" => ("ours", "ours"),
        "linux" => ("Linux", "linux"),
        "one-shard" => ("in one shard", "peer theirs"),
        "lock-per-area" => ("with a lock for each area", "peer theirs"),
        "lock-per-table" => ("with a lock for each table", "peer"),
        other => (other, "peer"),
    }
}

/// A chart of the rows whose goal is a ratio.
fn chart(rows: &[Row]) -> String {
    let group = |goal: &ThreadsGoal| {
        let Bound::AtLeast(least) = goal.bound else {
            return None;
        };
        let bar = |of: &str| {
            let value = Spread::of(rows, goal.row, of)?.median;
            let (name, class) = named(of);
            let label = format!("{value:.2} {name}");
            Some(Bar {
                class,
                value,
                label,
            })
        };
        let bars: Vec<Bar> = owners_of(rows, goal.row).filter_map(bar).collect();
        (!bars.is_empty()).then(|| Group {
            name: short(goal.row).to_owned(),
            bars,
            mark: Some(least),
        })
    };
    Chart {
        title: "The work of two threads, divided by that of one; the line across is the goal"
            .to_owned(),
        linear: true,
        from: None,
        unit: "\u{202f}×",
        wide: false,
        groups: THREADS_GOALS.iter().filter_map(group).collect(),
    }
    .html()
}

/// A row's name without `threads.`, with which all begin.
fn short(row: &str) -> &str {
    row.strip_prefix("threads.").unwrap_or(row)
}

fn threads(rows: &[Row]) -> String {
    let lines: String = THREADS_GOALS
        .iter()
        .filter_map(|goal| threads_line(goal, rows))
        .collect();
    match lines.is_empty() {
        true => lines,
        false => wrapped(&heads(&["row", "ours", "others", "goal", ""]), &lines),
    }
}

/// A line of the table; `None` if our row was not measured.
fn threads_line(goal: &ThreadsGoal, rows: &[Row]) -> Option<String> {
    let ours = Spread::of(rows, goal.row, "")?;
    let unit = match goal.bound {
        Bound::AtLeast(_) => "",
        Bound::AtMost(_) => "\u{202f}%",
    };
    let other = |of: &str| {
        let spread = Spread::of(rows, goal.row, of)?;
        Some(format!("{} {}", escape(named(of).0), figures(spread, unit)))
    };
    let others = owners_of(rows, goal.row).filter(|of| !of.is_empty());
    let others = match others.filter_map(other).collect::<Vec<_>>() {
        none if none.is_empty() => "–".to_owned(),
        some => some.join("<br>"),
    };
    let reached = goal.bound.holds(ours.median);
    let (class, _) = outcome_style(reached);
    let values = [
        cell(&format!("n ours {class}"), "ours", &figures(ours, unit)),
        cell("words", "others", &others),
    ];
    let bound = format!("{}{unit}", goal.bound);
    Some(row_line(
        (goal.row, goal.work),
        &values.concat(),
        &bound,
        Some(reached),
    ))
}

fn figures(spread: Spread, unit: &str) -> String {
    let Spread {
        median,
        least,
        most,
    } = spread;
    format!("<b>{median:.2}{unit}</b> <small>({least:.2} to {most:.2})</small>")
}

/// The sentence on the computer's load; empty if it is unknown.
fn busy(rows: &[Row]) -> String {
    let load = rows.iter().find(|row| row.name == LOAD);
    let words = |row: &Row| {
        let load = number(row.value);
        format!(
            "<p>The computer's load was {load} at the beginning: other programs make the figures too low.</p>\n"
        )
    };
    load.map(words).unwrap_or_default()
}

/// The table of disturbed harts; empty if no machine has such rows.
fn disturbance(findings: &Findings) -> String {
    let machines = findings.machines.iter();
    let machines: Vec<&Measured> = machines
        .filter(|found| !found.disturbance.is_empty())
        .collect();
    if machines.is_empty() {
        return String::new();
    }
    let lines: String = hart_goals::disturbance_goals()
        .iter()
        .map(|goal| disturbance_line(goal, &machines))
        .collect();
    let mut head = vec!["row"];
    head.extend(machines.iter().map(|found| found.arch));
    head.extend(["goal", ""]);
    format!(
        "<h3>How often an operation disturbs other harts</h3>\n<p>{DISTURBANCE}</p>\n{}",
        wrapped(&heads(&head), &lines)
    )
}

fn disturbance_line(goal: &DisturbanceGoal, machines: &[&Measured]) -> String {
    let found = |machine: &&Measured| -> Vec<Disturbance> {
        let of = |pages: usize| Disturbance::of(&machine.disturbance, goal, pages);
        PAGES.into_iter().filter_map(of).collect()
    };
    let value =
        |machine: &&Measured| cell("n whole", machine.arch, &disturbance_cell(&found(machine)));
    let values: String = machines.iter().map(value).collect();
    let all: Vec<Disturbance> = machines.iter().flat_map(found).collect();
    let reached = all.iter().all(|one| one.reaches(goal));
    let bound = format!("at most {}", number(goal.limit));
    row_line(
        (&goal.row, &goal.work),
        &values,
        &bound,
        (!all.is_empty()).then_some(reached),
    )
}

/// The text of a cell: the requests for each number of pages, and the interrupts.
fn disturbance_cell(found: &[Disturbance]) -> String {
    let each = |value: fn(&Disturbance) -> f64| {
        let values = found.iter().map(|one| number(value(one)));
        values.collect::<Vec<_>>().join(" · ")
    };
    let how = match found {
        [] => return "–".to_owned(),
        _ if found.iter().any(|one| one.carried_out > 0.0) => "no interrupt".to_owned(),
        _ if found.iter().all(|one| one.requests == 0.0) => String::new(),
        _ => format!("<b>{}</b> interrupts", each(|one| one.interrupts)),
    };
    let requests = each(|one| one.requests);
    format!("<b>{requests}</b> <small>requests<br>{how}</small>")
}
