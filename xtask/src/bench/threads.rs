//! `bench-threads`: what two threads get done in the time of one, natively. Each figure is a
//! ratio within one run of `axmm-threads`. The program runs several times, and the median of
//! each row counts. The rows `.min` and `.max` are the least and the most of all runs. Other
//! work of the computer makes figures too low, so its load at the beginning is a row too.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::aims::THREADS;
use super::{host, report};
use crate::command;
use crate::failure::Failure;
use crate::figures::{self, Row};
use crate::files;
use crate::manifest::root;
use crate::options::Options;

/// The program.
const PROGRAM: &str = "axmm-threads";
/// How often it runs: an odd number of times.
const RUNS: usize = 5;
/// Threads that are compared with one.
const NEEDED: usize = 2;

/// The file of the rows.
pub const FILE: &str = "axmm-threads.json";

/// The row of how busy the computer was as they began.
pub const LOAD: &str = "threads.load";

/// The units of a row's values.
const TIMES: &str = "times one thread's work";
const DEARER: &str = "percent dearer";

/// Measures these alone, on a computer that has nothing else to do, and writes the report
/// anew.
pub fn bench_threads(options: &Options) -> Result<(), Failure> {
    measure(options)?;
    say!(
        "the report is {}",
        report::write(&Default::default())?.display()
    );
    Ok(())
}

/// Measures, prints a table and writes the file. With too few processors it says so, and
/// there is no file.
pub fn measure(options: &Options) -> Result<(), Failure> {
    let path = root().join("target/bench").join(FILE);
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    if processors < NEEDED {
        say!("threads: not measured: {NEEDED} processors are needed, and here is {processors}\n");
        files::remove(&path)?;
        return Ok(());
    }
    let program = host::build(options, PROGRAM)?;
    let load = load();
    say!("two threads beside one, median of {RUNS} runs, least to most");
    if let Some(load) = load {
        say!("the computer's load is {load}: what else it does makes figures too low");
    }
    let runs = (0..RUNS).map(|_| run(options, &program));
    let mut rows = summary(&runs.collect::<Result<Vec<_>>>()?);
    rows.extend(load.map(|load| Row::new(LOAD.to_owned(), load, "processes")));
    say!("{}", table(&rows));
    say!("all rows in {}\n", figures::write(FILE, &rows)?.display());
    Ok(())
}

/// How many processes have wanted to run of late, if the computer says so.
fn load() -> Option<f64> {
    let load = fs::read_to_string("/proc/loadavg").ok()?;
    load.split_whitespace().next()?.parse().ok()
}

/// The rows of one run.
fn run(options: &Options, program: &Path) -> Result<Vec<(String, f64)>> {
    let mut command = command::new(program);
    command::show(&command, options.verbose);
    let words = host::said(command.output().context("cannot run it")?)?;
    let rows: Option<Vec<_>> = words.lines().map(read).collect();
    rows.with_context(|| format!("no rows:\n{words}"))
}

/// `threads.frame_pair 1.234`
fn read(line: &str) -> Option<(String, f64)> {
    let (name, value) = line.split_once(' ')?;
    Some((name.to_owned(), value.parse().ok()?))
}

/// Three rows for each row of the runs: the median, the least and the most of the runs that
/// have it.
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
        true => DEARER,
        false => TIMES,
    };
    let (row, whose) = match name.split_once('@') {
        Some((row, whose)) => (row, format!("@{whose}")),
        None => (name, String::new()),
    };
    vec![
        Row::new(name.to_owned(), values[values.len() / 2], unit),
        Row::new(format!("{row}.min{whose}"), *least, unit),
        Row::new(format!("{row}.max{whose}"), *most, unit),
    ]
}

/// A row's figures: the median of all runs, the least and the most.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Spread {
    /// That of a row, of somebody else's if `whose` is not empty. `None` if there is none.
    pub fn of(rows: &[Row], name: &str, whose: &str) -> Option<Spread> {
        let value = |name: &str| {
            let row = rows.iter().find(|row| row.parts() == (name, whose))?;
            Some(row.value)
        };
        Some(Spread {
            median: value(name)?,
            least: value(&format!("{name}.min"))?,
            most: value(&format!("{name}.max"))?,
        })
    }
}

/// Everybody who has a row of this name, ours (without a name) first.
pub fn whose<'a>(rows: &'a [Row], name: &'a str) -> impl Iterator<Item = &'a str> + 'a {
    let parts = rows.iter().map(Row::parts);
    parts.filter_map(move |(row, whose)| (row == name).then_some(whose))
}

/// The rows as people read them, with what is aimed at.
fn table(rows: &[Row]) -> String {
    let mut lines = Vec::new();
    for aim in &THREADS {
        for whose in whose(rows, aim.row) {
            let Some(spread) = Spread::of(rows, aim.row, whose) else {
                continue;
            };
            let (name, outcome) = match (whose, aim.bound.holds(spread.median)) {
                ("", true) => (aim.row, format!("  reached: {}", aim.bound)),
                ("", false) => (aim.row, format!("  missed: {}", aim.bound)),
                _ => (whose, String::new()),
            };
            let indent = if whose.is_empty() { "" } else { "  " };
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
    fn of_runs_the_median_counts() {
        let rows = summary(&runs());
        let spread = |median, least, most| {
            Some(Spread {
                median,
                least,
                most,
            })
        };
        let of = |whose| Spread::of(&rows, "threads.fault_one_area", whose);
        assert_eq!(of(""), spread(1.96, 1.2, 1.99));
        assert_eq!(of("linux"), spread(1.5, 1.4, 1.8));
        assert_eq!(of("nobody"), None);
        let all = whose(&rows, "threads.fault_one_area");
        assert_eq!(all.collect::<Vec<_>>(), ["", "linux"]);
        assert_eq!(rows[0].unit, "times one thread's work");
        assert_eq!(rows[8].unit, "percent dearer");
    }

    #[test]
    fn the_table_says_what_is_missed() {
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
    fn a_line_that_is_no_row_is_none() {
        assert_eq!(read("threads.x 1.5"), Some(("threads.x".to_owned(), 1.5)));
        assert_eq!(read("threads.x many"), None);
        assert_eq!(read(""), None);
    }
}
