//! The page's charts: a subject is a chart on each machine, side by side where
//! there is room.

use super::chart::{Bar, Chart, Group};
use super::findings::{Findings, Measured};
use super::html::{number, ratio};
use super::verdict::{Verdict, times};
use crate::bench::goals::{GOALS, Goal};
use crate::figures::Row;

/// Rows that are drawn together, by how their names begin.
const SUBJECTS: [(&str, &[&str]); 4] = [
    (
        "Pages",
        &[
            "fault.",
            "populate.",
            "unmap.page",
            "protect.",
            "cow.",
            "fork.",
        ],
    ),
    (
        "Mappings and areas",
        &["map_", "unmap_lazy", "find_free", "can_access"],
    ),
    ("Whole address spaces", &["boot.", "user_aspace"]),
    ("Frames and heap", &["frame.", "block_", "heap_"]),
];

/// Whose a figure is: words behind it, its style, and itself.
type Figure = (&'static str, &'static str, Option<f64>);

/// ArceOS and Linux as ratios.
pub fn ratios(findings: &Findings) -> String {
    subjects(findings, |goal, found| {
        let verdict = Verdict::new(goal, found)?;
        let bar = |(whose, class, value): Figure| {
            let value = verdict.times(value)?;
            let label = format!("{} {whose}", ratio(value));
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

/// Ours, ArceOS and Linux as they were counted, and the goal.
pub fn costs(findings: &Findings) -> String {
    subjects(findings, |goal, found| {
        let verdict = Verdict::new(goal, found)?;
        let bar = |(whose, class, value): Figure| {
            let value = value?;
            let label = format!("{} {whose}", number(value));
            Some(Bar {
                class,
                value,
                label,
            })
        };
        let ours = [("", "ours", verdict.ours)];
        let all = ours.into_iter().chain(others(&verdict));
        Some(Group {
            mark: verdict.most,
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

/// Other people's rows as ratios. One name alone stands above, not at each bar.
pub fn peers(rows: &[Row]) -> String {
    let mut whose: Vec<&str> = rows.iter().map(|row| row.parts().1).collect();
    whose.retain(|name| !name.is_empty());
    whose.dedup();
    let (title, named) = match whose.as_slice() {
        [one] => (*one, false),
        _ => ("Others", true),
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
    let ours = rows.iter().filter(|row| row.parts().1.is_empty());
    Chart {
        title: format!("{title}, how many times ours"),
        even: false,
        from: Some(1.0),
        unit: "\u{202f}×",
        wide: named,
        groups: ours.map(of_row).collect(),
    }
    .html()
}

/// Others' rows of a name, and whose each is.
pub fn others_of<'a>(
    rows: &'a [Row],
    name: &'a str,
) -> impl Iterator<Item = (&'a str, &'a Row)> + 'a {
    rows.iter().filter_map(move |row| match row.parts() {
        (_, "") => None,
        (of, whose) => (of == name).then_some((whose, row)),
    })
}

fn group(name: &str, bars: Vec<Bar>) -> Group {
    Group {
        name: name.to_owned(),
        bars,
        mark: None,
    }
}

/// The charts of every subject, one on each machine.
struct Drawings(Vec<Vec<Chart>>);

fn subjects(
    findings: &Findings,
    group: impl Fn(&'static Goal, &Measured) -> Option<Group>,
) -> Drawings {
    let chart = |(subject, begins): (&str, &[&str]), found: &Measured| {
        let belongs = |goal: &&Goal| begins.iter().any(|begin| goal.row.starts_with(begin));
        let goals = GOALS.iter().filter(belongs);
        Chart {
            title: format!("{subject}, {}", found.arch),
            even: false,
            from: None,
            unit: "",
            wide: false,
            groups: goals.filter_map(|goal| group(goal, found)).collect(),
        }
    };
    let machines = &findings.machines;
    let pair = |subject| machines.iter().map(|found| chart(subject, found)).collect();
    Drawings(SUBJECTS.into_iter().map(pair).collect())
}

impl Drawings {
    fn map(self, change: impl Fn(Chart) -> Chart + Copy) -> Drawings {
        let pairs = self.0.into_iter();
        Drawings(
            pairs
                .map(|pair| pair.into_iter().map(change).collect())
                .collect(),
        )
    }

    fn html(&self) -> String {
        let pairs = self.0.iter().map(|pair| {
            let charts: String = pair.iter().map(Chart::html).collect();
            match charts.is_empty() {
                true => charts,
                false => format!("<div class=pair>\n{charts}</div>\n"),
            }
        });
        pairs.collect()
    }
}
