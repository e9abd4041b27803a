//! `smp-soak`: boots machines of random size many times. Each boots an application that
//! starts all harts and checks something. The line of a boot is the command that repeats it. The
//! console of a failed one is saved.

use std::fmt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use fastrand::Rng;

use crate::command::quoted;
use crate::console::{self, End, Timeouts};
use crate::failure::Failure;
use crate::files;
use crate::image::{Image, Recipe};
use crate::machine::Machine;
use crate::manifest::{App, root};
use crate::options::{Accel, Options};
use crate::qemu::{self, Guest, Input};
use crate::smp_test;

/// The largest number of harts that is drawn.
const MAX_DRAWN_HARTS: u32 = 8;

/// The memory sizes of the machines, in MiB. The smallest that a machine boots with is added.
const MEMORY: [u64; 8] = [64, 96, 128, 192, 256, 384, 512, 1024];

/// The largest memory for memtest, in MiB. memtest goes through all of it several times.
const MAX_MIB_FOR_MEMTEST: u64 = 128;

/// A guest that prints may run for so many times `TIMEOUT`.
const TOTAL_FACTOR: u32 = 5;

/// The applications that are booted: path, share of the boots in eighths, boot arguments.
const APPS: [(&str, u32, &[&str]); 3] = [
    (smp_test::APP, 4, &[]),
    ("apps/storm", 3, &["seconds=1"]),
    ("apps/memtest", 1, &[]),
];

/// The variables that are used as they were given, in each boot and in its command.
const PASSED_ON: [&str; 5] = ["MODE", "LOG", "FEATURES", "QEMU_ARGS", "TIMEOUT"];

/// One boot, with all that was drawn at random.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Trial {
    arch: &'static str,
    /// The index into [`APPS`].
    app: usize,
    smp: u32,
    mem_kib: u64,
    seed: u64,
}

/// The result of a boot. Failures hold the reason.
enum Outcome {
    Passed,
    Failed(String),
    Hung(String),
}

/// The counts of one machine's boots so far.
#[derive(Clone, Copy, Default)]
struct Count {
    passed: u32,
    failed: u32,
    hung: u32,
    slowest: Duration,
}

/// `smp-soak`: boots each machine `N` times, as many at a time as there are processors.
///
/// # Errors
///
/// Fails with status 1 if a boot has failed or hung.
pub fn smp_soak(options: &Options) -> Result<(), Failure> {
    let boots = options.boots()?;
    // The machine that is a process is booted only if `ARCH` names it.
    let machines = match options.arch {
        Some(machine) => vec![machine],
        None => options.emulated()?,
    };
    qemu::set_up(options, &machines)?;
    let seed = options.seed.unwrap_or_else(seed_of_now);
    say!(
        "smp-soak: {boots} boots for each of {} machines, SEED={seed}",
        machines.len()
    );
    let mut all = Count::default();
    let mut table = Vec::new();
    for machine in machines {
        let images = images(options, machine)?;
        let mut rng = Rng::with_seed(seed);
        let trials: Vec<Trial> = (0..boots)
            .map(|_| Trial::draw(&mut rng, machine, options))
            .collect();
        let count = soak(options, &images, &trials);
        table.push(format!("{:<13}{count}", machine.arch));
        all.add(&count);
    }
    say!("\nmachine      boots passed failed   hung  slowest");
    table.iter().for_each(|line| say!("{line}"));
    match all.failed + all.hung {
        0 => Ok(()),
        _ => Err(Failure::reported(1)),
    }
}

fn seed_of_now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}

/// Builds the images of [`APPS`], in that order.
fn images(options: &Options, machine: &'static Machine) -> Result<Vec<Image>, Failure> {
    let image = |(app, ..): &(&str, u32, &[&str])| {
        let recipe = Recipe {
            app: App::ours(app)?,
            machine,
            app_features: Vec::new(),
            ..Recipe::from_options(options)
        };
        recipe.build_quietly()
    };
    APPS.iter().map(image).collect()
}

/// Runs all boots of one machine, and prints a line for each.
fn soak(options: &Options, images: &[Image], trials: &[Trial]) -> Count {
    let queue = Mutex::new(trials.iter());
    let count = Mutex::new(Count::default());
    let work = || {
        loop {
            let next = queue.lock().map(|mut queue| queue.next());
            let Ok(Some(trial)) = next else { return };
            let begin = Instant::now();
            let outcome = trial.run(options, &images[trial.app]);
            if let Ok(mut count) = count.lock() {
                count.note(&trial.command(options), &outcome, begin.elapsed());
            }
        }
    };
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        (0..workers).for_each(|_| {
            scope.spawn(work);
        });
    });
    count.into_inner().unwrap_or_default()
}

impl Trial {
    /// Draws a boot at random. `SMP` and `MEM` fix its size where they are given.
    fn draw(rng: &mut Rng, machine: &'static Machine, options: &Options) -> Self {
        let shares = APPS.map(|(_, share, _)| share);
        let mut rest = rng.u32(..shares.iter().sum::<u32>());
        let mut app = 0;
        while rest >= shares[app] {
            rest -= shares[app];
            app += 1;
        }
        let most = match APPS[app].0 {
            "apps/memtest" => MAX_MIB_FOR_MEMTEST,
            _ => u64::MAX,
        };
        let sizes = MEMORY
            .into_iter()
            .filter(|mib| (machine.min_mib + 1..=most).contains(mib))
            .chain([machine.min_mib]);
        let sizes: Vec<u64> = sizes.collect();
        let mem_kib = sizes[rng.usize(..sizes.len())] << 10;
        let smp = rng.u32(1..=MAX_DRAWN_HARTS);
        Self {
            arch: machine.arch,
            app,
            smp: options.smp.unwrap_or(smp),
            mem_kib: options.mem_kib.unwrap_or(mem_kib),
            seed: rng.u64(..),
        }
    }

    /// Returns the command that repeats the boot.
    fn command(&self, options: &Options) -> String {
        let (app, _, words) = APPS[self.app];
        let args = match words {
            [] => String::new(),
            words => format!(" ARGS={}", quoted(&words.join(" "))),
        };
        format!(
            "make A={app} ARCH={} SMP={} MEM={} SEED={}{args}{} run",
            self.arch,
            self.smp,
            qemu::mem_value(self.mem_kib),
            self.seed,
            options.given.words_of(&PASSED_ON)
        )
    }

    /// Returns the boot arguments.
    fn boot_args(&self) -> Vec<String> {
        let words = APPS[self.app].2.iter().map(|word| (*word).to_owned());
        words.chain([format!("seed={}", self.seed)]).collect()
    }

    fn run(&self, options: &Options, image: &Image) -> Outcome {
        let guest = Guest {
            machine: image.machine,
            boot_file: image.boot_file().to_owned(),
            smp: self.smp,
            mem_kib: self.mem_kib,
            accel: Accel::Tcg,
            boot_args: self.boot_args(),
            extra: options.qemu_args.clone(),
        };
        let timeouts = Timeouts {
            silence: options.timeout,
            total: options.timeout.map(|timeout| timeout * TOTAL_FACTOR),
        };
        let ran = console::run(guest.command(Input::Empty), timeouts, |_| Ok(()));
        match ran {
            Ok((end, console)) => self.judge(&end, &console),
            Err(error) => Outcome::Failed(format!("{error:#}")),
        }
    }

    fn judge(&self, end: &End, console: &[u8]) -> Outcome {
        let text = String::from_utf8_lossy(console);
        let verdict = match end {
            End::Exit(0, _) if APPS[self.app].0 == smp_test::APP => {
                smp_test::verify(end, &text, self.smp).map(drop)
            }
            End::Exit(0, _) => Ok(()),
            end => Err(end.describe()),
        };
        let Err(reason) = verdict else {
            return Outcome::Passed;
        };
        let kept = match self.save_console(console) {
            Ok(path) => format!("{reason}; console: {}", path.display()),
            Err(error) => format!("{reason}; its console could not be saved: {error:#}"),
        };
        match end {
            End::Hung(..) | End::Overran(..) => Outcome::Hung(kept),
            _ => Outcome::Failed(kept),
        }
    }

    /// Saves the console, and returns the file's path.
    fn save_console(&self, console: &[u8]) -> Result<PathBuf> {
        let name = format!("{}-{}.log", self.arch, self.seed);
        let path = root().join("target/soak").join(name);
        files::write(&path, console)?;
        Ok(path)
    }
}

impl Count {
    /// Counts a boot and prints its line, which holds the command that repeats it.
    fn note(&mut self, command: &str, outcome: &Outcome, took: Duration) {
        let (word, number, reason) = match outcome {
            Outcome::Passed => ("ok", &mut self.passed, None),
            Outcome::Failed(reason) => ("FAILED", &mut self.failed, Some(reason)),
            Outcome::Hung(reason) => ("HUNG", &mut self.hung, Some(reason)),
        };
        *number += 1;
        self.slowest = self.slowest.max(took);
        say!("{word:<8}{:>6.1} s  {command}", took.as_secs_f64());
        if let Some(reason) = reason {
            say!("        | {reason}");
        }
    }

    fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.hung += other.hung;
        self.slowest = self.slowest.max(other.slowest);
    }
}

/// Formats a line of the summary, without the machine's name.
impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            passed,
            failed,
            hung,
            slowest,
        } = self;
        let boots = passed + failed + hung;
        let slowest = slowest.as_secs_f64();
        write!(
            f,
            "{boots:>5}{passed:>7}{failed:>7}{hung:>7}{slowest:>7.1} s"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::MACHINES;
    use crate::options::Variables;

    fn options_of(words: &[&str]) -> Options {
        let words = words.iter().map(|word| (*word).to_owned());
        let variables = Variables::default().with_arguments(words).unwrap();
        Options::from_variables(&variables).unwrap()
    }

    fn trials(seed: u64, machine: &'static Machine) -> Vec<Trial> {
        let (mut rng, options) = (Rng::with_seed(seed), options_of(&[]));
        (0..500)
            .map(|_| Trial::draw(&mut rng, machine, &options))
            .collect()
    }

    #[test]
    fn a_seed_draws_the_same_boots_again() {
        assert_eq!(trials(7, &MACHINES[0]), trials(7, &MACHINES[0]));
        assert_ne!(trials(7, &MACHINES[0]), trials(8, &MACHINES[0]));
    }

    #[test]
    fn every_size_is_drawn() {
        for machine in &MACHINES {
            let trials = trials(1, machine);
            for smp in 1..=MAX_DRAWN_HARTS {
                assert!(trials.iter().any(|trial| trial.smp == smp), "{smp}");
            }
            let mib = |trial: &Trial| trial.mem_kib >> 10;
            let least = trials.iter().map(mib).min();
            assert_eq!(least, Some(machine.min_mib), "{machine}");
            assert_eq!(trials.iter().map(mib).max(), MEMORY.into_iter().max());
            for (app, (name, ..)) in APPS.iter().enumerate() {
                let most = trials
                    .iter()
                    .filter(|trial| trial.app == app)
                    .map(mib)
                    .max();
                let wanted = match *name {
                    "apps/memtest" => MAX_MIB_FOR_MEMTEST,
                    _ => 1024,
                };
                assert_eq!(most, Some(wanted), "{name}");
            }
        }
    }

    #[test]
    fn a_boot_has_passed_failed_or_hung() {
        let mut trial = trials(1, &MACHINES[0])[0].clone();
        trial.app = 1;
        let judge = |end: &End| trial.judge(end, b"");
        assert!(matches!(
            judge(&End::Exit(0, String::new())),
            Outcome::Passed
        ));
        assert!(matches!(
            judge(&End::Exit(1, String::new())),
            Outcome::Failed(_)
        ));
        assert!(matches!(
            judge(&End::WentDown(String::new())),
            Outcome::Failed(_)
        ));
        assert!(matches!(
            judge(&End::Hung(60, String::new())),
            Outcome::Hung(_)
        ));
        assert!(matches!(
            judge(&End::Overran(300, String::new())),
            Outcome::Hung(_)
        ));
    }

    #[test]
    fn smpboot_without_all_harts_has_failed() {
        let mut trial = trials(1, &MACHINES[0])[0].clone();
        trial.app = 0;
        let end = End::Exit(0, String::new());
        assert!(matches!(trial.judge(&end, b"PASS 1/1"), Outcome::Failed(_)));
    }

    #[test]
    fn the_command_holds_all_that_was_drawn() {
        let trial = Trial {
            arch: "x86_64",
            app: 1,
            smp: 3,
            mem_kib: 96 << 10,
            seed: 7,
        };
        assert_eq!(
            trial.command(&options_of(&["SMP=3", "N=5"])),
            "make A=apps/storm ARCH=x86_64 SMP=3 MEM=96M SEED=7 ARGS=seconds=1 run"
        );
        assert_eq!(trial.boot_args(), ["seconds=1", "seed=7"]);
    }

    #[test]
    fn the_command_holds_the_variables_that_each_boot_gets() {
        let (trial, options) = (
            &trials(1, &MACHINES[0])[0],
            options_of(&[
                "MODE=debug",
                "FEATURES=maps",
                "LOG=info",
                "QEMU_ARGS=-d int",
            ]),
        );
        let command = trial.command(&options);
        let end = " MODE=debug LOG=info FEATURES=maps QEMU_ARGS='-d int' run";
        assert!(command.ends_with(end), "{command}");
    }

    #[test]
    fn a_memory_that_some_machine_cannot_have_is_refused_before_a_build() {
        let failure = smp_soak(&options_of(&["MEM=32M", "N=1"])).unwrap_err();
        assert_eq!(failure.status(), 2);
        assert!(failure.to_string().contains("loongarch64"), "{failure}");
    }
}
