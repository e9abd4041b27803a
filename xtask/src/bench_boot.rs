//! `bench-boot`: how large helloworld's image is and how long it takes from the
//! firmware's hand-over to power-off, in guest time: under `-icount shift=0` each
//! instruction is a nanosecond, and the same run takes the same time again.

use std::fs;

use anyhow::{Context, Result};

use crate::console::{self, End, Patience};
use crate::failure::Failure;
use crate::image::{Image, Recipe};
use crate::manifest::root;
use crate::options::{Mode, Options};
use crate::qemu::{self, Guest, Input};
use crate::symbols::{Symbols, in_file};
use crate::toolchain;

/// Harts of the machines that are measured.
const HARTS: [u32; 3] = [1, 4, 8];
/// The features that helloworld is measured with.
const FEATURES: [&str; 2] = ["", "smp"];
/// Guest time from the firmware's hand-over to power-off that is aimed at.
const GOAL_MS: f64 = 5.0;

/// One figure.
struct Row {
    name: String,
    value: f64,
    unit: &'static str,
}

/// Measures, prints a table and writes `target/bench/boot.json`.
pub fn bench_boot(options: &Options) -> Result<(), Failure> {
    let machines = options.machines();
    toolchain::set_up(
        &machines
            .iter()
            .flat_map(|m| [toolchain::item(m), qemu::item(m)])
            .collect::<Vec<_>>(),
    )?;
    let mut rows = Vec::new();
    println!("machine      features harts  image bytes   goal  boot ms  goal  whole ms");
    for machine in machines {
        for feature in FEATURES {
            let recipe = Recipe {
                machine,
                mode: Mode::Release,
                features: feature.split_whitespace().map(str::to_owned).collect(),
                ..Recipe::asked(options)
            };
            let image = recipe.build_quietly()?;
            let name = [recipe.app.name.as_str(), machine.arch, feature].join(".");
            let name = name.trim_end_matches('.');
            measure(options, &image, feature, name, &mut rows)?;
        }
    }
    write(&rows)?;
    Ok(())
}

/// All figures of one image.
fn measure(
    options: &Options,
    image: &Image,
    feature: &str,
    name: &str,
    rows: &mut Vec<Row>,
) -> Result<()> {
    let (bytes, goal) = (image.bytes()?, image.machine.arceos_bytes / 2);
    let mut add = |what: &str, value, unit| {
        rows.push(Row {
            name: format!("{name}.{what}"),
            value,
            unit,
        })
    };
    add("image", bytes as f64, "bytes");
    for (module, shares) in Symbols::of(image)?.shares() {
        add(&format!("image.{module}"), in_file(&shares) as f64, "bytes");
    }
    for smp in HARTS {
        let (boot, whole) = boot_times(options, image, smp)
            .with_context(|| format!("{} with {smp} harts", image.machine))?;
        add(&format!("smp{smp}.boot"), boot, "ms");
        add(&format!("smp{smp}.whole"), whole, "ms");
        let tell = |reached| if reached { "ok" } else { "over" };
        println!(
            "{:<13}{:<9}{smp:>5}{bytes:>13}{:>7}{boot:>9.3}{:>6}{whole:>10.3}",
            image.machine.arch,
            if feature.is_empty() { "-" } else { feature },
            tell(bytes <= goal),
            tell(boot <= GOAL_MS),
        );
    }
    Ok(())
}

/// Milliseconds of guest time: after the firmware's hand-over, and in all.
fn boot_times(options: &Options, image: &Image, smp: u32) -> Result<(f64, f64)> {
    let mut guest = Guest::asked(options, image, smp);
    guest.smp = smp;
    guest
        .extra
        .extend(["-icount".to_owned(), "shift=0".to_owned()]);
    let patience = Patience {
        silence: options.timeout,
        whole: None,
    };
    let (end, _) = console::run(guest.command(Input::Nobody), patience, |_| Ok(()))?;
    match &end {
        End::Exit(0, words) => times(words).with_context(|| format!("no times in `{words}`")),
        end => anyhow::bail!("{}", end.describe()),
    }
}

/// The times of an exit line: `0.412 ms after boot, 144.712 ms after power-on`.
fn times(words: &str) -> Option<(f64, f64)> {
    let (boot, whole) = words.split_once(" ms after boot, ")?;
    Some((
        boot.parse().ok()?,
        whole.strip_suffix(" ms after power-on")?.parse().ok()?,
    ))
}

fn write(rows: &[Row]) -> Result<()> {
    let path = root().join("target/bench/boot.json");
    fs::create_dir_all(root().join("target/bench"))?;
    let rows: Vec<String> = rows
        .iter()
        .map(|row| {
            format!(
                r#"  {{"name": "{}", "value": {}, "unit": "{}"}}"#,
                row.name, row.value, row.unit
            )
        })
        .collect();
    fs::write(&path, format!("{{\"rows\": [\n{}\n]}}\n", rows.join(",\n")))?;
    println!(
        "goals: half of ArceOS's image, {GOAL_MS} ms to power-off; all rows in {}",
        path.display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_line_has_times() {
        assert_eq!(
            times("0.412 ms after boot, 144.712 ms after power-on"),
            Some((0.412, 144.712))
        );
        assert_eq!(times("0.412 ms"), None);
    }
}
