//! Runs `apps/mmbench` on a machine. On one hart it counts the instructions of operations, on
//! several harts how often an operation disturbs the others.

use anyhow::{Context, Result};

use super::hart_goals::{self, DisturbanceGoal, PAGES};
use crate::failure::Failure;
use crate::figures::{self, Row};
use crate::icount;
use crate::image::{Image, Recipe};
use crate::machine::Machine;
use crate::manifest::App;
use crate::options::Options;

/// The application that measures.
const APP: &str = "apps/mmbench";
/// The application's feature that adds other projects' allocators.
const PEERS: &str = "peers";
/// The boot argument that names the unit of the figures: under `-icount` a nanosecond is an
/// instruction.
pub const UNIT: &str = "unit=instructions";

/// The boot argument that selects the rows of several harts.
const ROWS_OF_HARTS: &str = "rows=harts";
/// The number of harts of the machine that measures those rows.
const HARTS: u32 = 4;

/// Returns the name of the file of a machine's rows on one hart.
pub fn file(machine: &Machine) -> String {
    format!("mmbench-{machine}.json")
}

/// Returns the name of the file of a machine's rows on several harts.
pub fn harts_file(machine: &Machine) -> String {
    format!("harts-{machine}.json")
}

/// Measures, prints a table and writes the file.
pub fn measure(options: &Options, machine: &'static Machine) -> Result<(), Failure> {
    let image = Recipe {
        app: App::ours(APP)?,
        machine,
        app_features: vec![PEERS.to_owned()],
        ..Recipe::from_options(options)
    }
    .build(options.verbose)?;
    let rows = rows(options, &image, 1, &[UNIT]).with_context(|| format!("{APP} on {machine}"))?;
    say!("{machine}, instructions of the guest; for other projects also the ratio to ours");
    say!("{}", figures::table(&rows));
    let path = figures::write(&file(machine), &rows)?;
    say!("all rows in {}\n", path.display());
    measure_several_harts(options, machine, &image)
}

/// Measures the same image on a machine of several harts, prints a table and writes the file.
fn measure_several_harts(
    options: &Options,
    machine: &Machine,
    image: &Image,
) -> Result<(), Failure> {
    let rows = rows(options, image, HARTS, &[ROWS_OF_HARTS])
        .with_context(|| format!("{APP} on {machine} with {HARTS} harts"))?;
    say!(
        "{machine}, {HARTS} harts: requests to flush that an operation of the first hart sends, \
         and interrupts of each other hart"
    );
    say!("{}", table(&rows));
    let path = figures::write(&harts_file(machine), &rows)?;
    say!("all rows in {}\n", path.display());
    Ok(())
}

/// Returns the rows as a table, with each row's goal.
fn table(rows: &[Row]) -> String {
    let mut lines = vec![format!(
        "{:<26}pages  requests  carried_out  interrupts",
        ""
    )];
    for goal in hart_goals::disturbance_goals() {
        for pages in PAGES {
            let Some(found) = Disturbance::of(rows, &goal, pages) else {
                continue;
            };
            let outcome = match found.reaches(&goal) {
                true => "reached",
                false => "missed",
            };
            lines.push(format!(
                "{:<26}{pages:>5}{:>10}{:>13}{:>12}  {outcome}: at most {}",
                goal.row, found.requests, found.carried_out, found.interrupts, goal.limit
            ));
        }
    }
    lines.join("\n")
}

/// How often an operation disturbs other harts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Disturbance {
    /// The number of requests to flush.
    pub requests: f64,
    /// How many of these the firmware or the hardware has carried out.
    pub carried_out: f64,
    /// The number of interrupts of each hart that gets a request.
    pub interrupts: f64,
}

impl Disturbance {
    /// Finds the figures of an operation on so many pages. `None` if one of the rows is
    /// missing.
    pub fn of(rows: &[Row], goal: &DisturbanceGoal, pages: usize) -> Option<Disturbance> {
        let value = |what: &str| {
            let name = format!("{}.{pages}.{what}", goal.row);
            Some(rows.iter().find(|row| row.name == name)?.value)
        };
        Some(Disturbance {
            requests: value("requests")?,
            carried_out: value("carried_out")?,
            interrupts: value("interrupts")?,
        })
    }

    /// Returns whether requests and interrupts reach the goal.
    pub fn reaches(self, goal: &DisturbanceGoal) -> bool {
        self.requests.max(self.interrupts) <= goal.limit
    }
}

/// Boots an image that measures, and returns its rows.
///
/// # Errors
///
/// Fails if the guest fails, or prints no rows.
pub fn rows(options: &Options, image: &Image, harts: u32, words: &[&str]) -> Result<Vec<Row>> {
    let (_, console) = icount::run(options, image, harts, words)?;
    figures::read(&console)
        .with_context(|| format!("the console holds no line of rows:\n{console}"))
}
