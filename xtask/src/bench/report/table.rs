//! The page's tables. On a narrow screen each line becomes a card: every cell says
//! by `data-of` what it is.

use super::findings::Findings;
use super::html::{escape, number, ratio};
use super::verdict::{Outcome, Verdict, times};
use crate::bench::goals::{GOALS, Most};
use crate::figures::Row;

/// Every row that has a goal, on every machine that goals are set for.
pub fn goals(findings: &Findings) -> String {
    let head = heads(&["row", "machine", "ArceOS", "Linux", "ours", "goal", ""]);
    let lines: String = GOALS
        .iter()
        .map(|goal| {
            let verdicts = findings
                .machines
                .iter()
                .filter_map(|found| Verdict::new(goal, found));
            verdicts
                .enumerate()
                .map(|(index, verdict)| goal_line(&verdict, index == 0))
                .collect::<String>()
        })
        .collect();
    wrapped(&head, &lines)
}

fn goal_line(verdict: &Verdict, first: bool) -> String {
    let (class, word) = match verdict.outcome {
        Outcome::Reached => ("ok", "reached"),
        Outcome::Missed => ("miss", "missed"),
        Outcome::NotMeasured => ("none", "not measured"),
        Outcome::NoGoal => ("none", "no goal"),
    };
    let name = format!(
        "<code>{}</code><small>{}</small>",
        verdict.goal.row,
        escape(verdict.goal.work)
    );
    let cells = [
        cell("row", "row", &name),
        cell("", "machine", verdict.machine.arch),
        cell(
            "n",
            "ArceOS",
            &other(verdict, verdict.arceos, verdict.arceos_here),
        ),
        cell("n", "Linux", &other(verdict, verdict.linux, false)),
        cell(
            "n ours",
            "ours",
            &verdict.ours.map_or("–".to_owned(), number),
        ),
        cell("n", "goal", &most(verdict)),
        cell(class, "", word),
    ];
    let class = if first { " class=first" } else { "" };
    format!("<tr{class}>{}</tr>\n", cells.concat())
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

/// What falls short: the reason, and the next idea.
pub fn shortfalls(findings: &Findings) -> String {
    let head = heads(&["row", "machine", "ours", "goal", "why", "next"]);
    let verdicts = GOALS.iter().flat_map(|goal| {
        findings
            .machines
            .iter()
            .filter_map(move |found| Verdict::new(goal, found))
    });
    let lines: String = verdicts
        .filter(Verdict::falls_short)
        .map(|verdict| {
            let cells = [
                cell("row", "row", &format!("<code>{}</code>", verdict.goal.row)),
                cell("", "machine", verdict.machine.arch),
                cell(
                    "n ours",
                    "ours",
                    &verdict.ours.map_or("not measured".to_owned(), number),
                ),
                cell("n", "goal", &most(&verdict)),
                cell("words", "why", &escape(verdict.reason())),
                cell("words", "next", &escape(verdict.next())),
            ];
            format!("<tr class=first>{}</tr>\n", cells.concat())
        })
        .collect();
    match lines.is_empty() {
        true => "<p>Every goal is reached.</p>\n".to_owned(),
        false => wrapped(&head, &lines),
    }
}

/// Rows of ours with others' beside, `NAME@WHOSE`.
pub fn peers(rows: &[Row]) -> String {
    let ours = rows.iter().filter(|row| row.parts().1.is_empty());
    let lines: String = ours
        .map(|our| {
            let others = rows
                .iter()
                .filter(|row| row.parts().0 == our.name && !row.parts().1.is_empty());
            let others: Vec<String> = others.map(|row| peer(row, our.value)).collect();
            let cells = [
                cell("row", "row", &format!("<code>{}</code>", escape(&our.name))),
                cell("n ours", "ours", &number(our.value)),
                cell("words", "others", &others.join("<br>")),
            ];
            format!("<tr class=first>{}</tr>\n", cells.concat())
        })
        .collect();
    wrapped(
        &heads(&["row", "ours", "others, how many times ours"]),
        &lines,
    )
}

fn peer(row: &Row, ours: f64) -> String {
    let times = times(ours, row.value).map(ratio).unwrap_or_default();
    let whose = escape(row.parts().1);
    format!(
        "<b>{times}</b> {whose} <small>{}</small>",
        number(row.value)
    )
}

fn heads(names: &[&str]) -> String {
    names
        .iter()
        .map(|name| format!("<th>{name}</th>"))
        .collect()
}

fn cell(class: &str, of: &str, content: &str) -> String {
    format!("<td class='{class}' data-of='{of}'>{content}</td>")
}

fn wrapped(head: &str, lines: &str) -> String {
    format!("<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{lines}</tbody></table>\n")
}
