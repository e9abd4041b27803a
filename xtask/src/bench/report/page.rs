//! The page, section by section: how many times ours others take comes first.

use super::findings::{Findings, Measured};
use super::html::{escape, ratio};
use super::verdict::{Outcome, Verdict};
use super::{drawings, irqs, many, table};
use crate::bench::goals::GOALS;
use crate::figures::Row;

const STYLE: &str = include_str!("style.css");

const TITLE: &str = "What memory management costs";
const LEAD: &str = "Instructions of a guest for an operation, beside ArceOS and Linux. The same work gives the same count each time, on any computer.";
const RATIOS: &str = "To the right of 1 the other takes more instructions than ours for the same work, to the left fewer; the scale is logarithmic. Light bars were measured by the authors, the others in the same run as ours.";
const ROWS: &str = "Bold: how many times ours. A star: measured by the authors with QEMU 10.0; ArceOS's repository of April 2026, and Debian's Linux 6.12, whose figures include the system call.";
const COSTS: &str = "The shorter the better, on a logarithmic scale. The line across is the goal.";
const SPACES: &str = "Ours, and the crates memory_set and page_table_multiarch driven as ArceOS's axmm drives them, in one program under callgrind, both with x86_64's page-table format. There is no trap in it and no TLB flush. The two crates take frames off a bare stack in a few instructions; ours pays for its own allocator.";
const COMMANDS: &str = "make bench                 # all of this page
make bench ARCH=riscv64    # one machine
make bench-threads         # two threads beside one; wants a quiet computer
make bench V=1             # each command as it can be typed";
const METHOD: &str = "In a guest the clock is QEMU's instruction count (<code>-icount shift=0</code>), on one hart with 128 MiB; each load runs several times and the least counts. On the host <code>valgrind --tool=callgrind</code> counts a load done once and twice, and the difference is the cost. On x86_64 each round of <code>rep stosb</code> counts as an instruction of the guest, so zeroing looks dearer there than it is.";

/// The whole page.
pub fn page(findings: &Findings) -> String {
    let sections = [
        section(
            "Others, how many times ours",
            RATIOS,
            &drawings::ratios(findings),
        ),
        section("All rows", ROWS, &table::goals(findings)),
        section(
            "What falls short, and what next",
            "",
            &table::shortfalls(findings),
        ),
        section("Instructions", COSTS, &drawings::costs(findings)),
        section("Many harts", many::LEAD, &many::body(findings)),
        section("Interrupts", irqs::LEAD, &irqs::body(findings)),
        section(
            "Address spaces on the host",
            SPACES,
            &peers(&findings.spaces),
        ),
        section("Allocators", "", &allocators(findings)),
        section("Rows without a goal", "", &table::rest(findings)),
        section("How it was measured", "", &how(findings)),
    ];
    format!(
        "<!doctype html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n\
         <meta name=viewport content='width=device-width, initial-scale=1'>\n\
         <title>{TITLE}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <header>\n<h1>{TITLE}</h1>\n<p>{LEAD}</p>\n{}</header>\n{}</body>\n</html>\n",
        tiles(findings),
        sections.concat()
    )
}

fn section(title: &str, lead: &str, body: &str) -> String {
    if body.is_empty() {
        return String::new();
    }
    let lead = match lead {
        "" => String::new(),
        lead => format!("<p>{lead}</p>\n"),
    };
    format!("<section>\n<h2>{title}</h2>\n{lead}{body}</section>\n")
}

/// Each machine's result at a glance.
fn tiles(findings: &Findings) -> String {
    let tiles: String = findings.machines.iter().map(tile).collect();
    match tiles.is_empty() {
        true => "<p>Nothing has been measured: <code>make bench</code>.</p>\n".to_owned(),
        false => format!("<div class=tiles>\n{tiles}</div>\n"),
    }
}

fn tile(found: &Measured) -> String {
    let verdicts = GOALS.iter().filter_map(|goal| Verdict::new(goal, found));
    let verdicts: Vec<Verdict> = verdicts
        .filter(|one| one.outcome != Outcome::NoGoal)
        .collect();
    let times = verdicts.iter().filter_map(|one| one.times(one.arceos));
    let range = times.fold(None, |range, times| match range {
        None => Some((times, times)),
        Some((least, most)) => Some((times.min(least), times.max(most))),
    });
    let range = range.map(|(least, most)| {
        let (least, most) = (ratio(least), ratio(most));
        format!("<p>ArceOS takes {least} to {most} ours</p>")
    });
    let reached = verdicts
        .iter()
        .filter(|one| one.outcome == Outcome::Reached);
    let goals = match verdicts.len() {
        0 => "no goals are set for it".to_owned(),
        all => format!("<b>{}</b> of {all} goals reached", reached.count()),
    };
    format!(
        "<div><h3>{}</h3><p>{goals}</p>{}</div>\n",
        found.arch,
        range.unwrap_or_default()
    )
}

/// Others' rows beside ours: ratios as a chart, then all figures.
fn peers(rows: &[Row]) -> String {
    match rows.is_empty() {
        true => String::new(),
        false => drawings::peers(rows) + &table::peers(rows),
    }
}

/// Other people's allocators, in the guests and on the host.
fn allocators(findings: &Findings) -> String {
    let guests = findings.machines.iter();
    let guests = guests.map(|found| (found.arch, &found.rows));
    let places = guests.chain([("the host, under callgrind", &findings.allocators)]);
    let place = |(place, rows): (&str, &Vec<Row>)| {
        let mut rows = rows.clone();
        let compared: Vec<String> = rows
            .iter()
            .filter(|row| !row.parts().1.is_empty())
            .map(|row| row.parts().0.to_owned())
            .collect();
        rows.retain(|row| compared.iter().any(|name| name == row.parts().0));
        match peers(&rows) {
            body if body.is_empty() => body,
            body => format!("<details><summary>{place}</summary>\n{body}</details>\n"),
        }
    };
    places.map(place).collect()
}

/// Commands, versions, and what was not measured.
fn how(findings: &Findings) -> String {
    let mut list = String::new();
    for (name, version) in &findings.versions {
        list += &format!("<dt>{}</dt><dd>{}</dd>\n", escape(name), escape(version));
    }
    for found in &findings.machines {
        let state = match (&found.absent, found.arceos.is_empty()) {
            (Some(why), _) => format!("not measured: {}", escape(why)),
            (None, true) => "not measured in this run".to_owned(),
            (None, false) => "its published crates, 0.3.0-preview.3, as their own image".to_owned(),
        };
        list += &format!("<dt>ArceOS, {}</dt><dd>{state}</dd>\n", found.arch);
    }
    format!("<pre>{COMMANDS}</pre>\n<dl>\n{list}</dl>\n<p>{METHOD}</p>\n")
}
