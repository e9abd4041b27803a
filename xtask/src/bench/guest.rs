//! `apps/mmbench` on a machine: on one hart, in guest instructions; on several, whom an
//! operation disturbs.

use anyhow::{Context, Result};

use super::aims::{self, Asked, PAGES};
use crate::failure::Failure;
use crate::figures::{self, Row};
use crate::icount;
use crate::image::{Image, Recipe};
use crate::machine::Machine;
use crate::manifest::App;
use crate::options::Options;

/// The application that measures.
const APP: &str = "apps/mmbench";
/// Its feature that brings other people's allocators along.
const PEERS: &str = "peers";
/// Its word for what a nanosecond is.
pub const UNIT: &str = "unit=instructions";

/// Its word for the rows of a machine of so many harts.
const MANY: (&str, u32) = ("rows=harts", 4);

/// The file of a machine's rows.
pub fn file(machine: &Machine) -> String {
    format!("mmbench-{machine}.json")
}

/// The file of its rows of many harts.
pub fn harts_file(machine: &Machine) -> String {
    format!("harts-{machine}.json")
}

/// Measures, prints a table and writes the file.
pub fn measure(options: &Options, machine: &'static Machine) -> Result<(), Failure> {
    let image = Recipe {
        app: App::ours(APP)?,
        machine,
        app_features: vec![PEERS.to_owned()],
        ..Recipe::asked(options)
    }
    .build(options.verbose)?;
    let rows = rows(options, &image, 1, &[UNIT]).with_context(|| format!("{APP} on {machine}"))?;
    say!("{machine}, instructions of the guest; others': how many times ours");
    say!("{}", figures::table(&rows));
    let path = figures::write(&file(machine), &rows)?;
    say!("all rows in {}\n", path.display());
    measure_many(options, machine, &image)
}

/// The same image on a machine of several harts.
fn measure_many(options: &Options, machine: &Machine, image: &Image) -> Result<(), Failure> {
    let (word, harts) = MANY;
    let rows = rows(options, image, harts, &[word])
        .with_context(|| format!("{APP} on {machine} with {harts} harts"))?;
    say!(
        "{machine}, {harts} harts, an operation of the first: requests to others, and interrupts of each"
    );
    say!("{}", table(&rows));
    let path = figures::write(&harts_file(machine), &rows)?;
    say!("all rows in {}\n", path.display());
    Ok(())
}

/// What each operation asks of others, of so many pages.
fn table(rows: &[Row]) -> String {
    let mut lines = vec![format!("{:<26}pages  requests  by others  interrupts", "")];
    for aim in aims::asked() {
        for pages in PAGES {
            let Some(found) = Disturbed::of(rows, &aim, pages) else {
                continue;
            };
            let outcome = match found.reaches(&aim) {
                true => "reached",
                false => "missed",
            };
            lines.push(format!(
                "{:<26}{pages:>5}{:>10}{:>11}{:>12}  {outcome}: at most {}",
                aim.row, found.requests, found.carried_out, found.interrupts, aim.most
            ));
        }
    }
    lines.join("\n")
}

/// What an operation asks of other harts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Disturbed {
    /// How often it asks any.
    pub requests: f64,
    /// How many of those the firmware or the hardware has carried out.
    pub carried_out: f64,
    /// How often it interrupts each of those that it asks.
    pub interrupts: f64,
}

impl Disturbed {
    /// As rows say, of an operation of so many pages; `None` if they do not.
    pub fn of(rows: &[Row], aim: &Asked, pages: usize) -> Option<Disturbed> {
        let value = |what: &str| {
            let name = format!("{}.{pages}.{what}", aim.row);
            Some(rows.iter().find(|row| row.name == name)?.value)
        };
        Some(Disturbed {
            requests: value("requests")?,
            carried_out: value("carried_out")?,
            interrupts: value("interrupts")?,
        })
    }

    /// Whether it is as little as is aimed at.
    pub fn reaches(self, aim: &Asked) -> bool {
        self.requests.max(self.interrupts) <= aim.most
    }
}

/// Boots an image that measures, and answers its rows.
pub fn rows(options: &Options, image: &Image, harts: u32, words: &[&str]) -> Result<Vec<Row>> {
    let (_, console) = icount::run(options, image, harts, words)?;
    figures::read(&console).with_context(|| format!("no rows:\n{console}"))
}
