//! The page, section by section: how many times ours others take comes first.

use super::chart::{Bar, Chart, Group};
use super::findings::{Findings, Measured};
use super::html::{escape, number, ratio};
use super::table;
use super::verdict::{Outcome, Verdict, times};
use crate::bench::goals::{GOALS, Goal};
use crate::figures::Row;

const STYLE: &str = include_str!("style.css");

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

/// The whole page.
pub fn page(findings: &Findings) -> String {
    let sections = [
        section("Others, how many times ours", RATIOS, &ratios(findings)),
        section("All rows", ROWS, &table::goals(findings)),
        section(
            "What falls short, and what next",
            "",
            &table::shortfalls(findings),
        ),
        section("Instructions", COSTS, &costs(findings)),
        section(
            "Address spaces on the host",
            SPACES,
            &host(&findings.spaces),
        ),
        allocators(findings),
        section("How it was measured", "", &how(findings)),
    ];
    format!(
        "<!doctype html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n<meta name=viewport content='width=device-width, initial-scale=1'>\n<title>What memory management costs</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<header>\n<h1>What memory management costs</h1>\n<p>Instructions an operation takes in a guest, beside ArceOS and Linux. The same work gives the same count every time, on any computer.</p>\n{}</header>\n{}</body>\n</html>\n",
        tiles(findings),
        sections.concat()
    )
}

const RATIOS: &str = "Right of the line the other takes more instructions than ours for the same work, left of it fewer. Each grid line is ten times the one before. Light bars were measured by the authors, the others in the same run as ours.";
const ROWS: &str = "Bold: how many times ours. A star: measured by the authors with QEMU 10.0, ArceOS's repository of April 2026 and Debian's Linux 6.12, whose figures include the system call.";
const COSTS: &str = "The shorter the better. The dark line across is the goal.";
const SPACES: &str = "Ours and the crates memory_set and page_table_multiarch, driven as ArceOS's axmm drives them, in one program under callgrind, x86_64's page-table format. No trap and no TLB flush is in it. The two crates take frames off a bare stack, in a few instructions; ours pays for its own allocator, which zeroes, counts and merges.";

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

/// One machine's result in a glance.
fn tiles(findings: &Findings) -> String {
    let tile = |found: &Measured| {
        let verdicts = GOALS.iter().filter_map(|goal| Verdict::new(goal, found));
        let verdicts: Vec<Verdict> = verdicts
            .filter(|one| one.outcome != Outcome::NoGoal)
            .collect();
        if verdicts.is_empty() {
            return String::new();
        }
        let reached = verdicts
            .iter()
            .filter(|one| one.outcome == Outcome::Reached)
            .count();
        let mut factors: Vec<f64> = verdicts
            .iter()
            .filter_map(|one| one.times(one.arceos))
            .collect();
        factors.sort_by(f64::total_cmp);
        let middle = factors.get(factors.len() / 2).copied().map(ratio);
        let middle = middle.map(|times| format!("ArceOS takes {times} ours in the middle row"));
        format!(
            "<div><h3>{}</h3><p><b>{reached}</b> of {} goals reached</p><p>{}</p></div>\n",
            found.arch,
            verdicts.len(),
            middle.unwrap_or_default()
        )
    };
    let tiles: String = findings.machines.iter().map(tile).collect();
    match tiles.is_empty() {
        true => "<p>Nothing has been measured: <code>make bench</code>.</p>\n".to_owned(),
        false => format!("<div class=tiles>\n{tiles}</div>\n"),
    }
}

/// The goals of a subject.
fn of_subject(begins: &'static [&'static str]) -> impl Iterator<Item = &'static Goal> {
    GOALS
        .iter()
        .filter(move |goal| begins.iter().any(|begin| goal.row.starts_with(begin)))
}

/// For each machine and subject, ArceOS and Linux as ratios.
fn ratios(findings: &Findings) -> String {
    charts(
        findings,
        |found, goal| {
            let verdict = Verdict::new(goal, found)?;
            let arceos = if verdict.arceos_here {
                "arceos"
            } else {
                "arceos theirs"
            };
            let others = [
                ("ArceOS", arceos, verdict.arceos),
                ("Linux", "linux theirs", verdict.linux),
            ];
            let bar = |(name, class, value)| {
                let times = verdict.times(value)?;
                let label = format!("{} {name}", ratio(times));
                Some(Bar {
                    class,
                    value: times,
                    label,
                })
            };
            let bars: Vec<Bar> = others.into_iter().filter_map(bar).collect();
            Some(Group {
                name: goal.row.to_owned(),
                bars,
                mark: None,
            })
        },
        Some(1.0),
        ratio,
    )
}

/// For each machine and subject, all figures.
fn costs(findings: &Findings) -> String {
    charts(
        findings,
        |found, goal| {
            let verdict = Verdict::new(goal, found)?;
            let arceos = if verdict.arceos_here {
                "arceos"
            } else {
                "arceos theirs"
            };
            let all = [
                ("", "ours", verdict.ours),
                ("ArceOS", arceos, verdict.arceos),
                ("Linux", "linux theirs", verdict.linux),
            ];
            let bar = |(name, class, value): (&str, _, Option<f64>)| {
                let label = format!("{} {name}", number(value?));
                Some(Bar {
                    class,
                    value: value?,
                    label,
                })
            };
            let bars = all.into_iter().filter_map(bar).collect();
            Some(Group {
                name: goal.row.to_owned(),
                bars,
                mark: verdict.most,
            })
        },
        None,
        number,
    )
}

/// A chart for each subject and machine, side by side where there is room.
fn charts(
    findings: &Findings,
    group: impl Fn(&Measured, &'static Goal) -> Option<Group>,
    from: Option<f64>,
    tick: fn(f64) -> String,
) -> String {
    let mut pairs = String::new();
    for (subject, begins) in SUBJECTS {
        let chart = |found: &Measured| {
            let groups = of_subject(begins).filter_map(|goal| group(found, goal));
            let groups = groups.filter(|group| !group.bars.is_empty()).collect();
            let title = format!("{subject}, {}", found.arch);
            Chart {
                title,
                from,
                tick,
                groups,
            }
            .html()
        };
        let charts: String = findings.machines.iter().map(chart).collect();
        if !charts.is_empty() {
            pairs += &format!("<div class=pair>\n{charts}</div>\n");
        }
    }
    pairs
}

/// Rows of the host: ratios as a chart, then all figures.
fn host(rows: &[Row]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    format!("{}{}", peer_chart(rows), table::peers(rows))
}

/// Other people's rows as ratios.
fn peer_chart(rows: &[Row]) -> String {
    let ours = rows.iter().filter(|row| row.parts().1.is_empty());
    let group = |our: &Row| {
        let others = rows
            .iter()
            .filter(|row| row.parts().0 == our.name && !row.parts().1.is_empty());
        let bar = |row: &Row| {
            let times = times(our.value, row.value)?;
            let label = format!("{} {}", ratio(times), row.parts().1);
            Some(Bar {
                class: "peer",
                value: times,
                label,
            })
        };
        Group {
            name: our.name.clone(),
            bars: others.filter_map(bar).collect(),
            mark: None,
        }
    };
    let groups = ours
        .map(group)
        .filter(|group| !group.bars.is_empty())
        .collect();
    Chart {
        title: "Others, how many times ours".to_owned(),
        from: Some(1.0),
        tick: ratio,
        groups,
    }
    .html()
}

/// Other people's allocators, in the guests and on the host.
fn allocators(findings: &Findings) -> String {
    let guests = findings
        .machines
        .iter()
        .map(|found| (found.arch, &found.rows));
    let all = guests.chain([("the host, under callgrind", &findings.allocators)]);
    let body: String = all
        .map(|(place, rows)| {
            let names: Vec<&str> = rows
                .iter()
                .map(Row::parts)
                .filter(|(_, whose)| !whose.is_empty())
                .map(|(name, _)| name)
                .collect();
            let rows: Vec<Row> = rows
                .iter()
                .filter(|row| names.contains(&row.parts().0))
                .cloned()
                .collect();
            match rows.is_empty() {
                true => String::new(),
                false => format!(
                    "<details><summary>{place}</summary>\n{}</details>\n",
                    host(&rows)
                ),
            }
        })
        .collect();
    section("Allocators, beside other people's", "", &body)
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
            (None, false) => {
                "measured: its published crates, 0.3.0-preview.3, in an image of their own"
                    .to_owned()
            }
        };
        list += &format!("<dt>ArceOS, {}</dt><dd>{state}</dd>\n", found.arch);
    }
    format!("<pre>{COMMANDS}</pre>\n<dl>\n{list}</dl>\n<p>{METHOD}</p>\n")
}

const COMMANDS: &str = "make bench                 # all of this page
make bench ARCH=riscv64    # one machine
make bench V=1             # each command as it can be typed";

const METHOD: &str = "In a guest the clock is QEMU's instruction count (<code>-icount shift=0</code>), on one hart with 128 MiB; each load runs several times and the least counts. On the host <code>valgrind --tool=callgrind</code> counts a load done once and twice, and the difference is the cost. On x86_64 each round of <code>rep stosb</code> counts as an instruction, so zeroing looks dearer there than it is.";
