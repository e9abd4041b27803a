//! `bench-boot`: measures the size of an application's image, and the guest time from the
//! firmware's jump into the kernel to power-off. The goals are those of helloworld, which is
//! measured without `A`.

use anyhow::{Context, Result};

use crate::failure::Failure;
use crate::figures::{self, Row};
use crate::icount;
use crate::image::{Image, Recipe};
use crate::options::{Mode, Options};
use crate::qemu;
use crate::symbols::{Symbols, in_file};

/// The numbers of harts of the machines that are measured.
const HARTS: [u32; 3] = [1, 4, 8];
/// The kernel's features that the application is measured with, one at a time.
const FEATURES: [&str; 2] = ["", "smp"];
/// The goal of the guest time from the firmware's jump into the kernel to power-off, in ms.
const GOAL_MS: f64 = 5.0;

/// `bench-boot`: measures, prints a table and writes `target/bench/boot.json`.
pub fn bench_boot(options: &Options) -> Result<(), Failure> {
    let machines = options.emulated()?;
    qemu::set_up(options, &machines)?;
    let mut rows = Vec::new();
    say!("machine      features harts  image bytes   goal  boot ms  goal  whole ms");
    for machine in machines {
        for feature in FEATURES {
            let recipe = Recipe {
                machine,
                mode: Mode::Release,
                features: feature.split_whitespace().map(str::to_owned).collect(),
                ..Recipe::from_options(options)
            };
            let image = recipe.build_quietly()?;
            let name = [recipe.app.name.as_str(), machine.arch, feature].join(".");
            let name = name.trim_end_matches('.');
            measure(options, &image, feature, name, &mut rows)?;
        }
    }
    say!(
        "goals: half of ArceOS's image, {GOAL_MS} ms to power-off; all rows in {}",
        figures::write("boot.json", &rows)?.display()
    );
    Ok(())
}

/// Measures one image on machines of each number of harts, adds the rows to `rows`, and
/// prints a line for each machine.
fn measure(
    options: &Options,
    image: &Image,
    feature: &str,
    name: &str,
    rows: &mut Vec<Row>,
) -> Result<()> {
    let (bytes, goal) = (image.bytes()?, image.machine.arceos_bytes / 2);
    let mut add =
        |what: &str, value, unit| rows.push(Row::new(format!("{name}.{what}"), value, unit));
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
        say!(
            "{:<13}{:<9}{smp:>5}{bytes:>13}{:>7}{boot:>9.3}{:>6}{whole:>10.3}",
            image.machine.arch,
            if feature.is_empty() { "-" } else { feature },
            tell(bytes <= goal),
            tell(boot <= GOAL_MS),
        );
    }
    Ok(())
}

/// Returns milliseconds of guest time until power-off: from the firmware's jump into the
/// kernel, and from power-on.
fn boot_times(options: &Options, image: &Image, smp: u32) -> Result<(f64, f64)> {
    let (words, _) = icount::run(options, image, smp, &[])?;
    times(&words).with_context(|| {
        format!("the exit line should end in `N ms after boot, N ms after power-on`: `{words}`")
    })
}

/// Parses the times of an exit line: `0.412 ms after boot, 144.712 ms after power-on`.
fn times(words: &str) -> Option<(f64, f64)> {
    let (boot, whole) = words.split_once(" ms after boot, ")?;
    Some((
        boot.parse().ok()?,
        whole.strip_suffix(" ms after power-on")?.parse().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_an_exit_line_are_read() {
        assert_eq!(
            times("0.412 ms after boot, 144.712 ms after power-on"),
            Some((0.412, 144.712))
        );
        assert_eq!(times("0.412 ms"), None);
    }
}
