//! `bench-threads`: compares the work of two threads with that of one, natively.
//!
//! Two programs run several times, and each of their figures is a ratio within one run. A
//! row is the median of the runs; its name with `.min` and `.max` are the smallest and the
//! largest. Other programs on the computer make the figures too low, so the computer's load
//! at the beginning is a row too.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::hart_goals::THREADS_GOALS;
use super::{host, report};
use crate::command;
use crate::failure::Failure;
use crate::figures::{self, Row};
use crate::files;
use crate::manifest::root;
use crate::options::Options;

/// The programs that measure, with their features.
const PROGRAMS: [(&str, &[&str]); 2] = [("axmm-threads", &[]), ("object-threads", &["objects"])];
/// The number of runs. It is odd, so that one run is the median.
const RUNS: usize = 5;
/// The number of processors that two threads need.
const NEEDED: usize = 2;

/// The name of the file of the rows.
pub const FILE: &str = "axmm-threads.json";

/// The row with the computer's load at the beginning.
pub const LOAD: &str = "threads.load";

/// The units of the rows.
const TIMES: &str = "times one thread's work";
const EXTRA_TIME: &str = "percent more time";

/// `bench-threads`: measures only these rows, and writes the report again.
pub fn bench_threads(options: &Options) -> Result<(), Failure> {
    measure(options)?;
    say!(
        "the report is {}",
        report::write(&Default::default())?.display()
    );
    Ok(())
}

/// Measures, prints a table and writes the file. With too few processors it prints that, and
/// removes the file.
pub fn measure(options: &Options) -> Result<(), Failure> {
    let path = root().join("target/bench").join(FILE);
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    if processors < NEEDED {
        say!(
            "threads: not measured: {NEEDED} processors are needed, this computer has {processors}\n"
        );
        files::remove(&path)?;
        return Ok(());
    }
    let build = |(program, features)| host::build(options, program, features);
    let programs = PROGRAMS.into_iter().map(build);
    let programs = programs.collect::<Result<Vec<_>, _>>()?;
    let load = load();
    say!("two threads against one: median of {RUNS} runs, and the smallest to the largest");
    if let Some(load) = load {
        say!("the computer's load is {load}: other programs make the figures too low");
    }
    let runs = (0..RUNS).map(|_| run(options, &programs));
    let mut rows = summary(&runs.collect::<Result<Vec<_>>>()?);
    rows.extend(load.map(|load| Row::new(LOAD.to_owned(), load, "processes")));
    say!("{}", table(&rows));
    say!("all rows in {}\n", figures::write(FILE, &rows)?.display());
    Ok(())
}

/// Returns the average number of runnable processes in the last minute, from Linux's /proc.
fn load() -> Option<f64> {
    let load = fs::read_to_string("/proc/loadavg").ok()?;
    load.split_whitespace().next()?.parse().ok()
}

/// Runs each program once, and returns their rows.
fn run(options: &Options, programs: &[PathBuf]) -> Result<Vec<(String, f64)>> {
    let rows = programs.iter().map(|program| rows_of(options, program));
    Ok(rows.collect::<Result<Vec<_>>>()?.concat())
}

/// Runs a program, and returns its rows.
fn rows_of(options: &Options, program: &Path) -> Result<Vec<(String, f64)>> {
    let mut command = command::new(program);
    command::show(&command, options.verbose);
    let words = host::stdout_of(command.output().context("cannot run the benchmark")?)?;
    let rows: Option<Vec<_>> = words.lines().map(read).collect();
    rows.with_context(|| format!("each line should be `NAME VALUE`:\n{words}"))
}

/// Parses a line of the program: `threads.frame_pair 1.234`.
fn read(line: &str) -> Option<(String, f64)> {
    let (name, value) = line.split_once(' ')?;
    Some((name.to_owned(), value.parse().ok()?))
}

/// Returns three rows for each row of the runs: the median of the runs that have it, the smallest
/// and the largest.
fn summary(runs: &[Vec<(String, f64)>]) -> Vec<Row> {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in runs.iter().flatten() {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    names
        .into_iter()
        .flat_map(|name| summary_of(name, runs))
        .collect()
}

fn summary_of(name: &str, runs: &[Vec<(String, f64)>]) -> Vec<Row> {
    let in_run = |run: &Vec<(String, f64)>| Some(run.iter().find(|(row, _)| row == name)?.1);
    let mut values: Vec<f64> = runs.iter().filter_map(in_run).collect();
    values.sort_by(f64::total_cmp);
    let (Some(least), Some(most)) = (values.first(), values.last()) else {
        return Vec::new();
    };
    let unit = match name.starts_with("threads.frame_pair") {
        true => EXTRA_TIME,
        false => TIMES,
    };
    let (row, owner) = match name.split_once('@') {
        Some((row, owner)) => (row, format!("@{owner}")),
        None => (name, String::new()),
    };
    vec![
        Row::new(name.to_owned(), values[values.len() / 2], unit),
        Row::new(format!("{row}.min{owner}"), *least, unit),
        Row::new(format!("{row}.max{owner}"), *most, unit),
    ]
}

/// A row's figures over all runs: the median, the smallest and the largest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Spread {
    /// Finds the figures of a row. `owner` is empty for ours. `None` if one is missing.
    pub fn of(rows: &[Row], name: &str, owner: &str) -> Option<Spread> {
        let value = |name: &str| {
            let row = rows
                .iter()
                .find(|row| row.name_and_owner() == (name, owner))?;
            Some(row.value)
        };
        Some(Spread {
            median: value(name)?,
            least: value(&format!("{name}.min"))?,
            most: value(&format!("{name}.max"))?,
        })
    }
}

/// Returns the projects that have a row of this name. Ours is the empty string, and first.
pub fn owners_of<'a>(rows: &'a [Row], name: &'a str) -> impl Iterator<Item = &'a str> + 'a {
    let parts = rows.iter().map(Row::name_and_owner);
    parts.filter_map(move |(row, owner)| (row == name).then_some(owner))
}

/// Returns the rows as a table, with each row's goal.
fn table(rows: &[Row]) -> String {
    let mut lines = Vec::new();
    for goal in &THREADS_GOALS {
        for owner in owners_of(rows, goal.row) {
            let Some(spread) = Spread::of(rows, goal.row, owner) else {
                continue;
            };
            let (name, outcome) = match (owner, goal.bound.holds(spread.median)) {
                ("", true) => (goal.row, format!("  reached: {}", goal.bound)),
                ("", false) => (goal.row, format!("  missed: {}", goal.bound)),
                _ => (owner, String::new()),
            };
            let indent = if owner.is_empty() { "" } else { "  " };
            let name = format!("{indent}{name}");
            let Spread {
                median,
                least,
                most,
            } = spread;
            lines.push(format!(
                "{name:<30}{median:>6.2}{least:>8.2} to {most:.2}{outcome}"
            ));
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs() -> Vec<Vec<(String, f64)>> {
        let run = |ours, linux| {
            let lines = format!(
                "threads.fault_one_area {ours}\nthreads.fault_one_area@linux {linux}\nthreads.frame_pair 6"
            );
            lines.lines().map(|line| read(line).unwrap()).collect()
        };
        vec![run(1.96, 1.5), run(1.2, 1.4), run(1.99, 1.8)]
    }

    #[test]
    fn a_row_is_the_median_of_the_runs() {
        let rows = summary(&runs());
        let spread = |median, least, most| {
            Some(Spread {
                median,
                least,
                most,
            })
        };
        let of = |owner| Spread::of(&rows, "threads.fault_one_area", owner);
        assert_eq!(of(""), spread(1.96, 1.2, 1.99));
        assert_eq!(of("linux"), spread(1.5, 1.4, 1.8));
        assert_eq!(of("nobody"), None);
        let all = owners_of(&rows, "threads.fault_one_area");
        assert_eq!(all.collect::<Vec<_>>(), ["", "linux"]);
        assert_eq!(rows[0].unit, "times one thread's work");
        assert_eq!(rows[8].unit, "percent more time");
    }

    #[test]
    fn the_table_says_which_rows_reach_their_goal() {
        let table = table(&summary(&runs()));
        let lines: Vec<&str> = table.lines().collect();
        assert!(
            lines[0].ends_with("1.96    1.20 to 1.99  reached: at least 1.95"),
            "{table}"
        );
        assert!(
            lines[1].starts_with("  linux ") && lines[1].ends_with("1.80"),
            "{table}"
        );
        assert!(lines[2].ends_with("missed: at most 5"), "{table}");
    }

    #[test]
    fn a_row_may_be_missing_in_some_runs() {
        let row = |value| vec![("threads.x".to_owned(), value)];
        let rows = summary(&[vec![], row(1.5), row(1.7), row(1.6)]);
        let spread = Spread::of(&rows, "threads.x", "");
        assert_eq!(spread.map(|spread| spread.median), Some(1.6));
    }

    #[test]
    fn a_line_without_a_name_and_a_value_is_refused() {
        assert_eq!(read("threads.x 1.5"), Some(("threads.x".to_owned(), 1.5)));
        assert_eq!(read("threads.x many"), None);
        assert_eq!(read(""), None);
    }
}
