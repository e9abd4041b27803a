//! Runs `apps/irqbench` on a machine: for how many instructions operations keep interrupts
//! disabled, at most.

use anyhow::Context;

use super::guest::{self, UNIT};
use super::hart_goals::{self, IRQS_OFF};
use crate::failure::Failure;
use crate::figures::{self, Row};
use crate::image::Recipe;
use crate::machine::Machine;
use crate::manifest::App;
use crate::options::Options;

/// The application that measures.
const APP: &str = "apps/irqbench";

/// The machine's memory in KiB without `MEM`: enough for the rows of 512 MiB.
const MEM_KIB: u64 = 1 << 20;

/// Returns the name of the file of a machine's rows.
pub fn file(machine: &Machine) -> String {
    format!("irqs-{machine}.json")
}

/// Measures, prints a table and writes the file.
pub fn measure(options: &Options, machine: &'static Machine) -> Result<(), Failure> {
    let image = Recipe {
        app: App::ours(APP)?,
        machine,
        ..Recipe::from_options(options)
    }
    .build(options.verbose)?;
    let options = Options {
        mem_kib: options.mem_kib.or(Some(MEM_KIB)),
        ..options.clone()
    };
    let rows =
        guest::rows(&options, &image, 1, &[UNIT]).with_context(|| format!("{APP} on {machine}"))?;
    say!("{machine}, instructions for which an operation keeps interrupts disabled, at most");
    say!("{}", table(&rows));
    let path = figures::write(&file(machine), &rows)?;
    say!("all rows in {}\n", path.display());
    Ok(())
}

/// Returns the value of a row, and whether it reaches the goal.
pub fn value_and_reached(rows: &[Row], name: &str) -> Option<(f64, bool)> {
    let value = rows.iter().find(|row| row.name == name)?.value;
    Some((value, IRQS_OFF.holds(value)))
}

fn table(rows: &[Row]) -> String {
    let line = |goal: hart_goals::IrqsOffGoal| {
        let (value, reached) = value_and_reached(rows, &goal.row)?;
        let outcome = if reached { "reached" } else { "missed" };
        Some(format!(
            "{:<28}{value:>12}  {outcome}: {IRQS_OFF}",
            goal.row
        ))
    };
    let lines: Vec<String> = hart_goals::irqs_off_goals()
        .into_iter()
        .filter_map(line)
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_which_rows_reach_the_goal() {
        let row = |name: &str, value| Row::new(name.into(), value, "instructions");
        let rows = [
            row("irqs_out.unmap.4k", 20_000.0),
            row("irqs_out.drop.2m", 20_100.0),
        ];
        let table = table(&rows);
        let words: Vec<&str> = table.lines().map(str::trim_end).collect();
        assert_eq!(
            words,
            [
                "irqs_out.unmap.4k                  20000  reached: at most 20000",
                "irqs_out.drop.2m                   20100  missed: at most 20000"
            ]
        );
        assert_eq!(value_and_reached(&rows, "irqs_out.idle"), None);
    }
}
