//! The charts of the page. Each subject has one chart for each machine, side by side where
//! the page is wide enough.

use super::chart::{Bar, Chart, Group};
use super::findings::{Findings, Measured};
use super::html::{number, ratio};
use super::verdict::{Verdict, times};
use crate::bench::cost_goals::{GOALS, Goal};
use crate::figures::Row;

/// The subjects, each with the beginnings of the names of its rows.
const SUBJECTS: [(&str, &[&str]); 5] = [
    (
        "Pages",
        &[
            "fault.",
            "populate.",
            "unmap.page",
            "protect.",
            "cow.",
            "fork.",
            "exit.",
        ],
    ),
    (
        "Mappings and areas",
        &["map_", "unmap_lazy", "find_free", "can_access"],
    ),
    ("Whole address spaces", &["boot.", "user_aspace"]),
    ("Memory objects", &["snapshot."]),
    ("Frames and heap", &["frame.", "block_", "heap_"]),
];

/// A figure of a project: the name behind it, its class in the style sheet, and the value.
type Figure = (&'static str, &'static str, Option<f64>);

/// Returns charts of the costs of ArceOS and Linux, divided by ours.
pub fn ratios(findings: &Findings) -> String {
    subjects(findings, |goal, found| {
        let verdict = Verdict::new(goal, found)?;
        let bar = |(owner, class, value): Figure| {
            let value = verdict.times(value)?;
            let label = format!("{} {owner}", ratio(value));
            Some(Bar {
                class,
                value,
                label,
            })
        };
        let bars = others(&verdict).into_iter().filter_map(bar).collect();
        Some(group(goal.row, bars))
    })
    .map(|chart| Chart {
        from: Some(1.0),
        unit: "\u{202f}×",
        ..chart
    })
    .html()
}

/// Returns charts of our costs, those of ArceOS and Linux, and the goals.
pub fn costs(findings: &Findings) -> String {
    subjects(findings, |goal, found| {
        let verdict = Verdict::new(goal, found)?;
        let bar = |(owner, class, value): Figure| {
            let value = value?;
            let label = format!("{} {owner}", number(value));
            Some(Bar {
                class,
                value,
                label,
            })
        };
        let ours = [("", "ours", verdict.ours)];
        let all = ours.into_iter().chain(others(&verdict));
        Some(Group {
            mark: verdict.limit,
            ..group(goal.row, all.filter_map(bar).collect())
        })
    })
    .html()
}

fn others(verdict: &Verdict) -> [Figure; 2] {
    let arceos = match verdict.arceos_here {
        true => "arceos",
        false => "arceos theirs",
    };
    [
        ("ArceOS", arceos, verdict.arceos),
        ("Linux", "linux theirs", verdict.linux),
    ]
}

/// Returns a chart of other projects' rows, divided by ours. If there is only one project,
/// the title names it instead of each bar.
pub fn peers(rows: &[Row]) -> String {
    let mut owners: Vec<&str> = rows.iter().map(|row| row.name_and_owner().1).collect();
    owners.retain(|name| !name.is_empty());
    owners.dedup();
    let (title, named) = match owners.as_slice() {
        [only] => (*only, false),
        _ => ("Other projects", true),
    };
    let of_row = |our: &Row| {
        let bar = |(name, row): (&str, &Row)| {
            let value = times(our.value, row.value)?;
            let name = if named { name } else { "" };
            Some(Bar {
                class: "peer",
                value,
                label: format!("{} {name}", ratio(value)),
            })
        };
        let others = others_of(rows, &our.name);
        group(&our.name, others.filter_map(bar).collect())
    };
    let ours = rows.iter().filter(|row| row.name_and_owner().1.is_empty());
    Chart {
        title: format!("{title}: cost divided by ours"),
        linear: false,
        from: Some(1.0),
        unit: "\u{202f}×",
        wide: named,
        groups: ours.map(of_row).collect(),
    }
    .html()
}

/// Returns the other projects' rows of a name, each with the project.
pub fn others_of<'a>(
    rows: &'a [Row],
    name: &'a str,
) -> impl Iterator<Item = (&'a str, &'a Row)> + 'a {
    rows.iter()
        .filter_map(move |row| match row.name_and_owner() {
            (_, "") => None,
            (of, owner) => (of == name).then_some((owner, row)),
        })
}

fn group(name: &str, bars: Vec<Bar>) -> Group {
    Group {
        name: name.to_owned(),
        bars,
        mark: None,
    }
}

/// The charts of all subjects: for each subject one chart for each machine.
struct Subjects(Vec<Vec<Chart>>);

/// Returns the charts of all subjects. `group` returns the bars of a row on a machine.
fn subjects(
    findings: &Findings,
    group: impl Fn(&'static Goal, &Measured) -> Option<Group>,
) -> Subjects {
    let chart = |(subject, begins): (&str, &[&str]), found: &Measured| {
        let belongs = |goal: &&Goal| begins.iter().any(|begin| goal.row.starts_with(begin));
        let goals = GOALS.iter().filter(belongs);
        Chart {
            title: format!("{subject}, {}", found.arch),
            linear: false,
            from: None,
            unit: "",
            wide: false,
            groups: goals.filter_map(|goal| group(goal, found)).collect(),
        }
    };
    let machines = &findings.machines;
    let charts = |subject| machines.iter().map(|found| chart(subject, found)).collect();
    Subjects(SUBJECTS.into_iter().map(charts).collect())
}

impl Subjects {
    fn map(self, change: impl Fn(Chart) -> Chart + Copy) -> Subjects {
        let subjects = self.0.into_iter();
        Subjects(
            subjects
                .map(|charts| charts.into_iter().map(change).collect())
                .collect(),
        )
    }

    fn html(&self) -> String {
        let subjects = self.0.iter().map(|charts| {
            let charts: String = charts.iter().map(Chart::html).collect();
            match charts.is_empty() {
                true => charts,
                false => format!("<div class=pair>\n{charts}</div>\n"),
            }
        });
        subjects.collect()
    }
}
