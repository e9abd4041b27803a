//! `apps/irqbench` on a machine: how long operations keep interrupts out, at most.

use anyhow::Context;

use super::aims::{self, IRQS_OUT};
use super::guest::{self, UNIT};
use crate::failure::Failure;
use crate::figures::{self, Row};
use crate::image::Recipe;
use crate::machine::Machine;
use crate::manifest::App;
use crate::options::Options;

/// The application that measures.
const APP: &str = "apps/irqbench";

/// The machine's memory unless `MEM` asks for another: enough for rows of 512 MiB.
const MEM_KIB: u64 = 1 << 20;

/// The file of a machine's rows.
pub fn file(machine: &Machine) -> String {
    format!("irqs-{machine}.json")
}

/// Measures, prints a table and writes the file.
pub fn measure(options: &Options, machine: &'static Machine) -> Result<(), Failure> {
    let image = Recipe {
        app: App::ours(APP)?,
        machine,
        ..Recipe::asked(options)
    }
    .build(options.verbose)?;
    let options = Options {
        mem_kib: options.mem_kib.or(Some(MEM_KIB)),
        ..options.clone()
    };
    let rows =
        guest::rows(&options, &image, 1, &[UNIT]).with_context(|| format!("{APP} on {machine}"))?;
    say!("{machine}, instructions for which an operation keeps interrupts out, at most");
    say!("{}", table(&rows));
    let path = figures::write(&file(machine), &rows)?;
    say!("all rows in {}\n", path.display());
    Ok(())
}

/// The value of a row, and whether it is as little as is aimed at.
pub fn found(rows: &[Row], name: &str) -> Option<(f64, bool)> {
    let value = rows.iter().find(|row| row.name == name)?.value;
    Some((value, IRQS_OUT.holds(value)))
}

fn table(rows: &[Row]) -> String {
    let line = |aim: aims::IrqsOut| {
        let (value, reached) = found(rows, &aim.row)?;
        let outcome = if reached { "reached" } else { "missed" };
        Some(format!("{:<28}{value:>12}  {outcome}: {IRQS_OUT}", aim.row))
    };
    let lines: Vec<String> = aims::irqs_out().into_iter().filter_map(line).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_is_held_against_the_goal() {
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
        assert_eq!(found(&rows, "irqs_out.idle"), None);
    }
}
