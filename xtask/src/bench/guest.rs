//! `apps/mmbench` on a machine, in guest instructions.

use anyhow::{Context, Result};

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
const UNIT: &str = "unit=instructions";

/// The file of a machine's rows.
pub fn file(machine: &Machine) -> String {
    format!("mmbench-{machine}.json")
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
    let rows = rows(options, &image, &[UNIT]).with_context(|| format!("{APP} on {machine}"))?;
    println!("{machine}, instructions of the guest; others': how many times ours");
    println!("{}", figures::table(&rows));
    let path = figures::write(&file(machine), &rows)?;
    println!("all rows in {}\n", path.display());
    Ok(())
}

/// Boots an image that measures, and answers its rows.
pub fn rows(options: &Options, image: &Image, words: &[&str]) -> Result<Vec<Row>> {
    let (_, console) = icount::run(options, image, 1, words)?;
    figures::read(&console).with_context(|| format!("no rows:\n{console}"))
}
