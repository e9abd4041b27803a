//! The section of many harts: what two threads get done beside one, and whom an operation
//! disturbs.

use super::chart::{Bar, Chart, Group};
use super::findings::{Findings, Measured};
use super::html::{escape, number};
use super::table::{came_of, cell, heads, row_line, wrapped};
use crate::bench::aims::{self, Asked, Bound, PAGES, THREADS, Threads};
use crate::bench::guest::Disturbed;
use crate::bench::threads::{LOAD, Spread, whose};
use crate::figures::Row;

/// What stands above it.
pub const LEAD: &str = "On the host, natively and in one run: how many times the work of one thread two do in the same time. 2 is perfect, below 1 they get in each other's way. Linux is this computer's own, by its system calls and real page faults; two more are ours with a lock around each fault, one for each area or one for each table of the lowest level. Several runs, the median counts; in brackets the least and the most.";

const ASKED: &str = "How many requests to forget something an operation of one hart of four makes, and how many interrupts each hart that is asked gets: of 1 page, of 64, and of 4,096 scattered ones. On riscv64 and aarch64 the firmware or the hardware carries requests out, and there are no interrupts.";

/// Chart and tables; nothing where nothing was measured.
pub fn body(findings: &Findings) -> String {
    [
        chart(&findings.threads),
        threads(&findings.threads),
        busy(&findings.threads),
        asked(findings),
    ]
    .concat()
}

/// How a name behind `@` is written, and its style.
fn named(whose: &str) -> (&str, &'static str) {
    match whose {
        "" => ("ours", "ours"),
        "linux" => ("Linux", "linux"),
        "one-shard" => ("in one shard", "peer theirs"),
        "lock-per-area" => ("a lock an area", "peer theirs"),
        "lock-per-table" => ("a lock a table", "peer"),
        other => (other, "peer"),
    }
}

/// The rows that are a number of times one thread's work.
fn chart(rows: &[Row]) -> String {
    let group = |aim: &Threads| {
        let Bound::AtLeast(least) = aim.bound else {
            return None;
        };
        let bar = |of: &str| {
            let value = Spread::of(rows, aim.row, of)?.median;
            let (name, class) = named(of);
            let label = format!("{value:.2} {name}");
            Some(Bar {
                class,
                value,
                label,
            })
        };
        let bars: Vec<Bar> = whose(rows, aim.row).filter_map(bar).collect();
        (!bars.is_empty()).then(|| Group {
            name: short(aim.row).to_owned(),
            bars,
            mark: Some(least),
        })
    };
    Chart {
        title: "Two threads, how many times the work of one; the line across is the goal"
            .to_owned(),
        even: true,
        from: None,
        unit: "\u{202f}×",
        wide: false,
        groups: THREADS.iter().filter_map(group).collect(),
    }
    .html()
}

/// A row's name where all begin alike.
fn short(row: &str) -> &str {
    row.strip_prefix("threads.").unwrap_or(row)
}

fn threads(rows: &[Row]) -> String {
    let lines: String = THREADS
        .iter()
        .filter_map(|aim| threads_line(aim, rows))
        .collect();
    match lines.is_empty() {
        true => lines,
        false => wrapped(&heads(&["row", "ours", "others", "goal", ""]), &lines),
    }
}

/// `None` where ours was not measured.
fn threads_line(aim: &Threads, rows: &[Row]) -> Option<String> {
    let ours = Spread::of(rows, aim.row, "")?;
    let unit = match aim.bound {
        Bound::AtLeast(_) => "",
        Bound::AtMost(_) => "\u{202f}%",
    };
    let other = |of: &str| {
        let spread = Spread::of(rows, aim.row, of)?;
        Some(format!("{} {}", escape(named(of).0), figures(spread, unit)))
    };
    let others = whose(rows, aim.row).filter(|of| !of.is_empty());
    let others = match others.filter_map(other).collect::<Vec<_>>() {
        none if none.is_empty() => "–".to_owned(),
        some => some.join("<br>"),
    };
    let reached = aim.bound.holds(ours.median);
    let (class, _) = came_of(reached);
    let values = [
        cell(&format!("n ours {class}"), "ours", &figures(ours, unit)),
        cell("words", "others", &others),
    ];
    let goal = format!("{}{unit}", aim.bound);
    Some(row_line(
        (aim.row, aim.work),
        &values.concat(),
        &goal,
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

/// How busy the computer was, if it is known.
fn busy(rows: &[Row]) -> String {
    let load = rows.iter().find(|row| row.name == LOAD);
    let words = |row: &Row| {
        let load = number(row.value);
        format!(
            "<p>The computer's load was {load} as these began: what else it does makes them too low.</p>\n"
        )
    };
    load.map(words).unwrap_or_default()
}

/// What operations ask of others, on the machines where that was counted.
fn asked(findings: &Findings) -> String {
    let machines = findings.machines.iter();
    let machines: Vec<&Measured> = machines.filter(|found| !found.asked.is_empty()).collect();
    if machines.is_empty() {
        return String::new();
    }
    let lines: String = aims::asked()
        .iter()
        .map(|aim| asked_line(aim, &machines))
        .collect();
    let mut head = vec!["row"];
    head.extend(machines.iter().map(|found| found.arch));
    head.extend(["goal", ""]);
    format!(
        "<h3>Whom an operation disturbs</h3>\n<p>{ASKED}</p>\n{}",
        wrapped(&heads(&head), &lines)
    )
}

fn asked_line(aim: &Asked, machines: &[&Measured]) -> String {
    let found = |machine: &&Measured| -> Vec<Disturbed> {
        let of = |pages: usize| Disturbed::of(&machine.asked, aim, pages);
        PAGES.into_iter().filter_map(of).collect()
    };
    let value = |machine: &&Measured| cell("n whole", machine.arch, &disturbed(&found(machine)));
    let values: String = machines.iter().map(value).collect();
    let all: Vec<Disturbed> = machines.iter().flat_map(found).collect();
    let reached = all.iter().all(|one| one.reaches(aim));
    let goal = format!("at most {}", number(aim.most));
    row_line(
        (&aim.row, &aim.work),
        &values,
        &goal,
        (!all.is_empty()).then_some(reached),
    )
}

/// Requests, and interrupts or who has spared them; of so many pages each.
fn disturbed(found: &[Disturbed]) -> String {
    let each = |value: fn(&Disturbed) -> f64| {
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
