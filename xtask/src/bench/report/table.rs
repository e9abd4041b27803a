//! The tables of the page. On a narrow screen each line becomes a card, in which every cell
//! is labelled with its attribute `data-of`.

use std::iter;

use super::charts::others_of;
use super::findings::{Findings, Measured};
use super::html::{escape, number, ratio};
use super::verdict::{Outcome, Verdict, times};
use crate::bench::cost_goals::{GOALS, Goal, Limit};
use crate::figures::Row;

/// Returns the table of all rows with a goal, on all machines with goals. Empty if no such
/// machine was measured.
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

/// The verdicts on a goal, one for each machine.
fn verdicts<'a>(goal: &'static Goal, findings: &'a Findings) -> Vec<Verdict<'a>> {
    let machines = findings.machines.iter();
    machines
        .filter_map(|found| Verdict::new(goal, found))
        .collect()
}

/// Returns the line of a table in which each row has one line: its name and what is measured,
/// the cells of `values`, the goal, and the outcome. `reached` is `None` if the row was not
/// measured.
pub fn row_line(
    (row, work): (&str, &str),
    values: &str,
    goal: &str,
    reached: Option<bool>,
) -> String {
    let (class, word) = match reached {
        None => ("none", "not measured"),
        Some(reached) => outcome_style(reached),
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

/// Returns the class in the style sheet and the word for a goal that is reached or missed.
pub fn outcome_style(reached: bool) -> (&'static str, &'static str) {
    match reached {
        true => ("ok", "reached"),
        false => ("miss", "missed"),
    }
}

/// The line of a goal on one machine. `name` is the cell with the row's name, which spans all
/// machines: it is passed for the first line, and is empty for the others.
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
        cell("n", "goal", &limit(verdict)),
        cell(&format!("mark {class}"), "", word),
    ];
    let first = if name.is_empty() { "" } else { " class=first" };
    format!("<tr{first}>{name}{}</tr>\n", cells.concat())
}

/// The class in the style sheet and the word for an outcome.
fn outcome(verdict: &Verdict) -> (&'static str, &'static str) {
    match verdict.outcome {
        Outcome::Reached => outcome_style(true),
        Outcome::Missed => outcome_style(false),
        Outcome::NotMeasured => ("none", "not measured"),
        Outcome::NoGoal => ("none", "no goal"),
    }
}

/// The text of a cell with another project's cost: the ratio to ours, and the figure, with a
/// star if the authors measured it.
fn other(verdict: &Verdict, value: Option<f64>, here: bool) -> String {
    let Some(value) = value else {
        return "–".to_owned();
    };
    let star = if here { "" } else { "*" };
    let times = verdict.times(Some(value)).map(ratio).unwrap_or_default();
    format!("<b>{times}</b> <small>{}{star}</small>", number(value))
}

fn limit(verdict: &Verdict) -> String {
    let set = verdict.limit_as_set();
    match (set, verdict.limit) {
        (Limit::Fixed(_), Some(limit)) => number(limit),
        (_, Some(limit)) => format!(
            "{} <small>{}</small>",
            number(limit),
            escape(&set.to_string())
        ),
        (_, None) => format!("<small>{}</small>", escape(&set.to_string())),
    }
}

/// Returns the table of missed goals: machines and figures, the reason, and what to try next.
/// Empty if no machine with goals was measured.
pub fn shortfalls(findings: &Findings) -> String {
    if GOALS.iter().all(|goal| verdicts(goal, findings).is_empty()) {
        return String::new();
    }
    let lines: String = GOALS
        .iter()
        .filter_map(|goal| {
            let mut short = verdicts(goal, findings);
            short.retain(Verdict::is_missed);
            shortfall(goal, &short)
        })
        .collect();
    match lines.is_empty() {
        true => "<p>All goals are reached.</p>\n".to_owned(),
        false => wrapped(
            &heads(&["row", "ours, and the goal", "why", "next"]),
            &lines,
        ),
    }
}

/// The line of a missed goal; `None` if no machine misses it.
fn shortfall(goal: &Goal, short: &[Verdict]) -> Option<String> {
    let first = short.first()?;
    let figure = |verdict: &Verdict| {
        let (class, word) = outcome(verdict);
        let ours = verdict.ours.map_or(word.to_owned(), number);
        let limit = verdict.limit.map(number);
        let limit = limit.unwrap_or(verdict.limit_as_set().to_string());
        let arch = verdict.machine.arch;
        format!("<small>{arch}</small> <b class={class}>{ours}</b> <small>{limit}</small>")
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

/// Returns the table of our rows, each with the rows of other projects.
pub fn peers(rows: &[Row]) -> String {
    let ours = rows.iter().filter(|row| row.name_and_owner().1.is_empty());
    let line = |our: &Row| {
        let other = |(owner, row): (&str, &Row)| {
            let times = times(our.value, row.value).map(ratio).unwrap_or_default();
            let (owner, value) = (escape(owner), number(row.value));
            format!("<b>{times}</b> {owner} <small>{value}</small>")
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
        &heads(&["row", "ours", "other projects, and the ratio to ours"]),
        &lines,
    )
}

/// Returns the table of our rows without a goal, on each machine. Empty if all rows have one.
pub fn rest(findings: &Findings) -> String {
    let machines = &findings.machines;
    let ours = machines.iter().flat_map(|found| &found.rows);
    let mut names: Vec<&str> = Vec::new();
    for (name, owner) in ours.map(Row::name_and_owner) {
        let known = GOALS.iter().any(|goal| goal.row == name) || names.contains(&name);
        if owner.is_empty() && !known {
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

/// Returns the cells of a table's head.
pub fn heads(names: &[&str]) -> String {
    names
        .iter()
        .map(|name| format!("<th>{name}</th>"))
        .collect()
}

/// Returns a cell. `class` is its class in the style sheet, and `of` its label on a narrow
/// screen.
pub fn cell(class: &str, of: &str, content: &str) -> String {
    format!("<td class='{class}' data-of='{of}'>{content}</td>")
}

/// Returns a table with this head and these lines.
pub fn wrapped(head: &str, lines: &str) -> String {
    format!("<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{lines}</tbody></table>\n")
}
