//! `smp-soak`: many boots, each of a machine of random size with an application that
//! brings up all harts and checks something. Whatever goes wrong is named with the
//! command that boots that machine again, and its console is kept.

use std::fmt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use fastrand::Rng;

use crate::console::{self, End, Patience};
use crate::failure::Failure;
use crate::files;
use crate::image::{Image, Recipe};
use crate::machine::Machine;
use crate::manifest::{App, root};
use crate::options::{Accel, Options};
use crate::qemu::{self, Guest, Input};
use crate::smp_test;

/// The most harts of a machine.
const MOST_HARTS: u32 = 8;

/// Memory of the machines beside the least that one boots with, in MiB.
const MEMORY: [u64; 8] = [64, 96, 128, 192, 256, 384, 512, 1024];

/// The most for memtest, in MiB, which goes through all of it several times.
const MOST_FOR_MEMTEST: u64 = 128;

/// A guest that is not silent may take so many times as long as a silent one.
const WHOLE: u32 = 5;

/// What is booted: of eight boots so many, and the words that it is started with.
const APPS: [(&str, u32, &[&str]); 3] = [
    (smp_test::APP, 4, &[]),
    ("apps/storm", 3, &["seconds=1"]),
    ("apps/memtest", 1, &[]),
];

/// One boot.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Trial {
    arch: &'static str,
    /// Which of the applications.
    app: usize,
    smp: u32,
    mem_kib: u64,
    seed: u64,
}

/// What came of it.
enum Outcome {
    Passed,
    Failed(String),
    Hung(String),
}

/// The boots of one machine so far.
#[derive(Clone, Copy, Default)]
struct Count {
    passed: u32,
    failed: u32,
    hung: u32,
    slowest: Duration,
}

/// Boots `N` machines of each architecture, as many at a time as there are processors.
pub fn smp_soak(options: &Options) -> Result<(), Failure> {
    let boots = options.boots()?;
    let machines = match options.arch {
        Some(machine) => vec![machine],
        None => options.emulated()?,
    };
    qemu::set_up(&machines)?;
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
            .map(|_| Trial::any(&mut rng, machine, options))
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

/// The applications' images, in their order.
fn images(options: &Options, machine: &'static Machine) -> Result<Vec<Image>, Failure> {
    let image = |(app, ..): &(&str, u32, &[&str])| {
        let recipe = Recipe {
            app: App::ours(app)?,
            machine,
            app_features: Vec::new(),
            ..Recipe::asked(options)
        };
        recipe.build_quietly()
    };
    APPS.iter().map(image).collect()
}

/// Makes all trials of one machine, a line each.
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
                count.note(trial, &outcome, begin.elapsed());
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
    /// One of random size, but for what the user has asked for.
    fn any(rng: &mut Rng, machine: &'static Machine, options: &Options) -> Self {
        let mut ticket = rng.u32(..APPS.iter().map(|(_, share, _)| share).sum::<u32>());
        let mut app = 0;
        while ticket >= APPS[app].1 {
            ticket -= APPS[app].1;
            app += 1;
        }
        let most = match APPS[app].0 {
            "apps/memtest" => MOST_FOR_MEMTEST,
            _ => u64::MAX,
        };
        let sizes = MEMORY
            .into_iter()
            .filter(|mib| (machine.least_mib + 1..=most).contains(mib))
            .chain([machine.least_mib]);
        let sizes: Vec<u64> = sizes.collect();
        let mem_kib = sizes[rng.usize(..sizes.len())] << 10;
        let smp = rng.u32(1..=MOST_HARTS);
        Self {
            arch: machine.arch,
            app,
            smp: options.smp.unwrap_or(smp),
            mem_kib: options.mem_kib.unwrap_or(mem_kib),
            seed: rng.u64(..),
        }
    }

    /// The words that the kernel is started with.
    fn words(&self) -> Vec<String> {
        let words = APPS[self.app].2.iter().map(|word| (*word).to_owned());
        words.chain([format!("seed={}", self.seed)]).collect()
    }

    fn run(&self, options: &Options, image: &Image) -> Outcome {
        let guest = Guest {
            machine: image.machine,
            kernel: image.kernel().to_owned(),
            smp: self.smp,
            mem_kib: self.mem_kib,
            accel: Accel::Tcg,
            boot_args: self.words(),
            extra: options.qemu_args.clone(),
        };
        let patience = Patience {
            silence: options.timeout,
            whole: options.timeout.map(|timeout| timeout * WHOLE),
        };
        let ran = console::run(guest.command(Input::Nobody), patience, |_| Ok(()));
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
        let kept = match self.keep(console) {
            Ok(path) => format!("{reason}; console: {}", path.display()),
            Err(error) => format!("{reason}; its console is lost: {error:#}"),
        };
        match end {
            End::Hung(..) | End::Endless(..) => Outcome::Hung(kept),
            _ => Outcome::Failed(kept),
        }
    }

    /// Leaves the console in a file.
    fn keep(&self, console: &[u8]) -> Result<PathBuf> {
        let name = format!("{}-{}.log", self.arch, self.seed);
        let path = root().join("target/soak").join(name);
        files::write(&path, console)?;
        Ok(path)
    }
}

/// The command that makes the same boot.
impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (app, _, words) = APPS[self.app];
        write!(
            f,
            "make A={app} ARCH={} SMP={} MEM={} SEED={}",
            self.arch,
            self.smp,
            qemu::size(self.mem_kib),
            self.seed
        )?;
        if !words.is_empty() {
            write!(f, " ARGS={}", words.join(" "))?;
        }
        f.write_str(" run")
    }
}

impl Count {
    /// Counts a boot, and prints its line.
    fn note(&mut self, trial: &Trial, outcome: &Outcome, took: Duration) {
        let (word, number, reason) = match outcome {
            Outcome::Passed => ("ok", &mut self.passed, None),
            Outcome::Failed(reason) => ("FAILED", &mut self.failed, Some(reason)),
            Outcome::Hung(reason) => ("HUNG", &mut self.hung, Some(reason)),
        };
        *number += 1;
        self.slowest = self.slowest.max(took);
        say!("{word:<8}{:>6.1} s  {trial}", took.as_secs_f64());
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

/// A line of the table, but for whose it is.
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

    fn options() -> Options {
        Options::check(&Variables::default()).unwrap()
    }

    fn trials(seed: u64, machine: &'static Machine) -> Vec<Trial> {
        let (mut rng, options) = (Rng::with_seed(seed), options());
        (0..500)
            .map(|_| Trial::any(&mut rng, machine, &options))
            .collect()
    }

    #[test]
    fn a_seed_makes_the_same_boots() {
        assert_eq!(trials(7, &MACHINES[0]), trials(7, &MACHINES[0]));
        assert_ne!(trials(7, &MACHINES[0]), trials(8, &MACHINES[0]));
    }

    #[test]
    fn every_size_that_a_machine_takes_comes_up() {
        for machine in &MACHINES {
            let trials = trials(1, machine);
            for smp in 1..=MOST_HARTS {
                assert!(trials.iter().any(|trial| trial.smp == smp), "{smp}");
            }
            let mib = |trial: &Trial| trial.mem_kib >> 10;
            let least = trials.iter().map(mib).min();
            assert_eq!(least, Some(machine.least_mib), "{machine}");
            assert_eq!(trials.iter().map(mib).max(), MEMORY.into_iter().max());
            for (app, (name, ..)) in APPS.iter().enumerate() {
                let most = trials
                    .iter()
                    .filter(|trial| trial.app == app)
                    .map(mib)
                    .max();
                let wanted = match *name {
                    "apps/memtest" => MOST_FOR_MEMTEST,
                    _ => 1024,
                };
                assert_eq!(most, Some(wanted), "{name}");
            }
        }
    }

    #[test]
    fn ends_are_told_apart() {
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
            judge(&End::Endless(300, String::new())),
            Outcome::Hung(_)
        ));
    }

    #[test]
    fn smpboot_must_have_seen_all_harts() {
        let mut trial = trials(1, &MACHINES[0])[0].clone();
        trial.app = 0;
        let end = End::Exit(0, String::new());
        assert!(matches!(trial.judge(&end, b"PASS 1/1"), Outcome::Failed(_)));
    }

    #[test]
    fn the_command_has_all_that_was_chosen() {
        let trial = Trial {
            arch: "x86_64",
            app: 1,
            smp: 3,
            mem_kib: 96 << 10,
            seed: 7,
        };
        assert_eq!(
            trial.to_string(),
            "make A=apps/storm ARCH=x86_64 SMP=3 MEM=96M SEED=7 ARGS=seconds=1 run"
        );
        assert_eq!(trial.words(), ["seconds=1", "seed=7"]);
    }
}
