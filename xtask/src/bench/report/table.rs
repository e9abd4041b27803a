//! The page's tables. On a narrow screen each line becomes a card: every cell says
//! by `data-of` what it is.

use std::iter;

use super::drawings::others_of;
use super::findings::{Findings, Measured};
use super::html::{escape, number, ratio};
use super::verdict::{Outcome, Verdict, times};
use crate::bench::goals::{GOALS, Goal, Most};
use crate::figures::Row;

/// Every row that has a goal, on every machine that goals are set for; nothing if
/// there is no such machine.
pub fn goals(findings: &Findings) -> String {
    let head = heads(&["row", "machine", "ArceOS", "Linux", "ours", "goal", ""]);
    let lines: String = GOALS
        .iter()
        .flat_map(|goal| {
            let verdicts = verdicts(goal, findings);
            let name = format!(
                "<td class='row' rowspan={}><code>{}</code><small>{}</small></td>",
                verdicts.len(),
                goal.row,
                escape(goal.work)
            );
            let names = iter::once(name).chain(iter::repeat(String::new()));
            let lines = verdicts.into_iter().zip(names);
            lines.map(|(verdict, name)| goal_line(&verdict, &name))
        })
        .collect();
    match lines.is_empty() {
        true => lines,
        false => wrapped(&head, &lines),
    }
}

/// What came of a goal on each machine.
fn verdicts<'a>(goal: &'static Goal, findings: &'a Findings) -> Vec<Verdict<'a>> {
    let machines = findings.machines.iter();
    machines
        .filter_map(|found| Verdict::new(goal, found))
        .collect()
}

/// A line of a table with one line a row: its name and what is measured, the cells of
/// `values`, the goal, and what came of it; `None` if nothing was measured.
pub fn row_line(
    (row, work): (&str, &str),
    values: &str,
    goal: &str,
    reached: Option<bool>,
) -> String {
    let (class, word) = match reached {
        None => ("none", "not measured"),
        Some(reached) => came_of(reached),
    };
    let name = format!("<code>{row}</code><small>{}</small>", escape(work));
    let cells = [
        &cell("row", "row", &name),
        values,
        &cell("n", "goal", goal),
        &cell(&format!("mark {class}"), "", word),
    ];
    format!("<tr class=first>{}</tr>\n", cells.concat())
}

/// The style and the word of a goal that is reached, or missed.
pub fn came_of(reached: bool) -> (&'static str, &'static str) {
    match reached {
        true => ("ok", "reached"),
        false => ("miss", "missed"),
    }
}

/// `name` is the cell for all lines of the row, in the first of them.
fn goal_line(verdict: &Verdict, name: &str) -> String {
    let (class, word) = outcome(verdict);
    let ours = verdict.ours.map_or("–".to_owned(), number);
    let cells = [
        cell("machine", "machine", verdict.machine.arch),
        cell(
            "n",
            "ArceOS",
            &other(verdict, verdict.arceos, verdict.arceos_here),
        ),
        cell("n", "Linux", &other(verdict, verdict.linux, false)),
        cell(&format!("n ours {class}"), "ours", &ours),
        cell("n", "goal", &most(verdict)),
        cell(&format!("mark {class}"), "", word),
    ];
    let first = if name.is_empty() { "" } else { " class=first" };
    format!("<tr{first}>{name}{}</tr>\n", cells.concat())
}

/// An outcome's style and its word.
fn outcome(verdict: &Verdict) -> (&'static str, &'static str) {
    match verdict.outcome {
        Outcome::Reached => came_of(true),
        Outcome::Missed => came_of(false),
        Outcome::NotMeasured => ("none", "not measured"),
        Outcome::NoGoal => ("none", "no goal"),
    }
}

/// How many times ours, and the figure; a star where the authors measured it.
fn other(verdict: &Verdict, value: Option<f64>, here: bool) -> String {
    let Some(value) = value else {
        return "–".to_owned();
    };
    let star = if here { "" } else { "*" };
    let times = verdict.times(Some(value)).map(ratio).unwrap_or_default();
    format!("<b>{times}</b> <small>{}{star}</small>", number(value))
}

fn most(verdict: &Verdict) -> String {
    let set = verdict.set();
    match (set, verdict.most) {
        (Most::Of(_), Some(most)) => number(most),
        (_, Some(most)) => format!(
            "{} <small>{}</small>",
            number(most),
            escape(&set.to_string())
        ),
        (_, None) => format!("<small>{}</small>", escape(&set.to_string())),
    }
}

/// What falls short: where and by how much, the reason, and the next idea. Nothing
/// if nothing can.
pub fn shortfalls(findings: &Findings) -> String {
    if GOALS.iter().all(|goal| verdicts(goal, findings).is_empty()) {
        return String::new();
    }
    let lines: String = GOALS
        .iter()
        .filter_map(|goal| {
            let mut short = verdicts(goal, findings);
            short.retain(Verdict::falls_short);
            shortfall(goal, &short)
        })
        .collect();
    match lines.is_empty() {
        true => "<p>Every goal of these rows is reached.</p>\n".to_owned(),
        false => wrapped(
            &heads(&["row", "ours, and the goal", "why", "next"]),
            &lines,
        ),
    }
}

/// `None` where nothing does.
fn shortfall(goal: &Goal, short: &[Verdict]) -> Option<String> {
    let first = short.first()?;
    let figure = |verdict: &Verdict| {
        let (class, word) = outcome(verdict);
        let ours = verdict.ours.map_or(word.to_owned(), number);
        let most = verdict.most.map(number);
        let most = most.unwrap_or(verdict.set().to_string());
        let arch = verdict.machine.arch;
        format!("<small>{arch}</small> <b class={class}>{ours}</b> <small>{most}</small>")
    };
    let figures: Vec<String> = short.iter().map(figure).collect();
    let cells = [
        cell("row", "row", &format!("<code>{}</code>", goal.row)),
        cell("n whole", "", &figures.join("<br>")),
        cell("words", "why", &escape(first.reason())),
        cell("words", "next", &escape(first.next())),
    ];
    Some(format!("<tr class=first>{}</tr>\n", cells.concat()))
}

/// Rows of ours with others' beside, `NAME@WHOSE`.
pub fn peers(rows: &[Row]) -> String {
    let ours = rows.iter().filter(|row| row.parts().1.is_empty());
    let line = |our: &Row| {
        let other = |(whose, row): (&str, &Row)| {
            let times = times(our.value, row.value).map(ratio).unwrap_or_default();
            let (whose, value) = (escape(whose), number(row.value));
            format!("<b>{times}</b> {whose} <small>{value}</small>")
        };
        let others: Vec<String> = others_of(rows, &our.name).map(other).collect();
        let cells = [
            cell("row", "row", &format!("<code>{}</code>", escape(&our.name))),
            cell("n ours", "ours", &number(our.value)),
            cell("words", "others", &others.join("<br>")),
        ];
        format!("<tr class=first>{}</tr>\n", cells.concat())
    };
    let lines: String = ours.map(line).collect();
    wrapped(
        &heads(&["row", "ours", "others, how many times ours"]),
        &lines,
    )
}

/// Our rows that no goal names, on each machine; nothing if there is none.
pub fn rest(findings: &Findings) -> String {
    let machines = &findings.machines;
    let ours = machines.iter().flat_map(|found| &found.rows);
    let mut names: Vec<&str> = Vec::new();
    for (name, whose) in ours.map(Row::parts) {
        let known = GOALS.iter().any(|goal| goal.row == name) || names.contains(&name);
        if whose.is_empty() && !known {
            names.push(name);
        }
    }
    let line = |name: &&str| {
        let value = |found: &Measured| {
            let value = found.ours(name).map_or("–".to_owned(), number);
            cell("n ours", found.arch, &value)
        };
        let values: String = machines.iter().map(value).collect();
        let name = cell("row", "row", &format!("<code>{}</code>", escape(name)));
        format!("<tr class=first>{name}{values}</tr>\n")
    };
    let lines: String = names.iter().map(line).collect();
    let archs = machines.iter().map(|found| found.arch);
    let head: Vec<&str> = iter::once("row").chain(archs).collect();
    match lines.is_empty() {
        true => lines,
        false => wrapped(&heads(&head), &lines),
    }
}

/// The names of a table's columns.
pub fn heads(names: &[&str]) -> String {
    names
        .iter()
        .map(|name| format!("<th>{name}</th>"))
        .collect()
}

/// A cell of a class; on a narrow screen `of` stands before it.
pub fn cell(class: &str, of: &str, content: &str) -> String {
    format!("<td class='{class}' data-of='{of}'>{content}</td>")
}

/// A table of lines.
pub fn wrapped(head: &str, lines: &str) -> String {
    format!("<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{lines}</tbody></table>\n")
}
