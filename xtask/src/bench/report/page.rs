//! The page, section by section. The comparison with other projects comes first.

use super::findings::{Findings, Measured};
use super::html::{escape, ratio};
use super::verdict::{Outcome, Verdict};
use super::{charts, irqs, many_harts, table};
use crate::bench::cost_goals::GOALS;
use crate::figures::Row;

const STYLE: &str = include_str!("style.css");

const TITLE: &str = "What memory management costs";
const LEAD: &str = "The instructions that a guest executes for an operation, compared with ArceOS and Linux. The same work gives the same count each time, on any computer.";
const RATIOS: &str = "The cost of the same work, divided by ours, on a logarithmic scale: right of 1 the other project takes more instructions, left of 1 fewer. Light bars were measured by the authors, the others in the same run as ours.";
const ROWS: &str = "Bold: the cost divided by ours. A star: measured by the authors with QEMU 10.0, on ArceOS's repository of April 2026 and on Debian's Linux 6.12, whose figures include the system call.";
const COSTS: &str =
    "Shorter bars are better; the scale is logarithmic. The line across is the goal.";
const SPACES: &str = "Ours, and the crates memory_set and page_table_multiarch used in the way of ArceOS's axmm. Both run in one program under callgrind, with x86_64's page-table format, without traps and TLB flushes. The two crates take frames from a stack in a few instructions, while our figures include our allocator.";
const COMMANDS: &str = "make bench                 # all of this page
make bench ARCH=riscv64    # one machine
make bench-threads         # two threads against one; needs a quiet computer
make bench V=1             # each command as it can be typed";
const METHOD: &str = "In a guest the clock is QEMU's instruction count (<code>-icount shift=0</code>), on one hart with 128 MiB. Each load runs several times, and the smallest count is taken. On the host <code>valgrind --tool=callgrind</code> counts a load done once and twice, and the difference is the cost. On x86_64 each round of <code>rep stosb</code> counts as an instruction of the guest, so the cost of zeroing looks larger there than it is.";

/// Returns the whole page.
pub fn page(findings: &Findings) -> String {
    let sections = [
        section(
            "Other projects' costs, divided by ours",
            RATIOS,
            &charts::ratios(findings),
        ),
        section("All rows", ROWS, &table::goals(findings)),
        section(
            "Missed goals, and what to try next",
            "",
            &table::shortfalls(findings),
        ),
        section("Instructions", COSTS, &charts::costs(findings)),
        section("Many harts", many_harts::LEAD, &many_harts::body(findings)),
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

/// A summary of each machine's results.
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
        format!("<p>ArceOS takes {least} to {most} our instructions</p>")
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

/// Other projects' rows compared with ours: ratios as a chart, then all figures.
fn peers(rows: &[Row]) -> String {
    match rows.is_empty() {
        true => String::new(),
        false => charts::peers(rows) + &table::peers(rows),
    }
}

/// Other projects' allocators, in the guests and on the host.
fn allocators(findings: &Findings) -> String {
    let guests = findings.machines.iter();
    let guests = guests.map(|found| (found.arch, &found.rows));
    let places = guests.chain([("the host, under callgrind", &findings.allocators)]);
    let place = |(place, rows): (&str, &Vec<Row>)| {
        let mut rows = rows.clone();
        let compared: Vec<String> = rows
            .iter()
            .filter(|row| !row.name_and_owner().1.is_empty())
            .map(|row| row.name_and_owner().0.to_owned())
            .collect();
        rows.retain(|row| compared.iter().any(|name| name == row.name_and_owner().0));
        match peers(&rows) {
            body if body.is_empty() => body,
            body => format!("<details><summary>{place}</summary>\n{body}</details>\n"),
        }
    };
    places.map(place).collect()
}

/// The commands that measure, versions, and what was not measured.
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
    if findings.spaces.is_empty() || findings.allocators.is_empty() {
        list += "<dt>the host, under callgrind</dt>\
                 <dd>not measured: it needs valgrind, and no <code>ARCH</code></dd>\n";
    }
    format!("<pre>{COMMANDS}</pre>\n<dl>\n{list}</dl>\n<p>{METHOD}</p>\n")
}
