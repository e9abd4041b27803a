//! `mutants`: breaks a rule of the code at a time, and requires that a test notices.
//!
//! Each rule has a patch in a module's folder `mutants`. The lines before the patch say
//! which rule it breaks, and which tests fail then:
//!
//! ```text
//! Rule: a page fault looks at the locked ranges after it has taken its fault slot.
//! Killed by: host --test stale no_hart
//! ```
//!
//! The first word of the tests says what their atomics are: `host` for the computer's own,
//! `loom`, or `shuttle`. The others are for `cargo test`. Patches are applied to a copy of
//! the sources, which stays, as does what is built of it: the next run is faster.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::command;
use crate::failure::Failure;
use crate::files;
use crate::manifest::{root, spec};
use crate::matrix::{forget_variables, tests_run};
use crate::options::Options;

/// The package whose tests are run, and the folder of its patches.
const PACKAGE: &str = "axmm";
const FOLDER: &str = "modules/axmm/mutants";

/// What is built again for each mutant is built quickly; the schedulers are optimised.
const QUICK: [(&str, &str); 3] = [
    ("axmm", "opt-level=1"),
    ("axmm-machines", "opt-level=0"),
    ("page-table-formats", "opt-level=0"),
];

/// A test that takes longer has noticed: a hart waits for ever.
const LIMIT: Duration = Duration::from_secs(30);
/// How often to look whether a test has ended.
const INTERVAL: Duration = Duration::from_millis(50);

/// A rule, and how it is broken.
struct Mutant {
    name: String,
    patch: PathBuf,
    tests: Tests,
}

/// Tests: words for cargo, and what the atomics are.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Tests {
    atomics: Atomics,
    words: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Atomics {
    Host,
    Loom,
    Shuttle,
}

/// How a run of tests has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Passed,
    Failed,
    TimedOut,
}

/// Where everything is: `target/mutants`.
struct Place {
    sources: PathBuf,
    built: PathBuf,
    logs: PathBuf,
}

/// Applies each patch in turn; `ARGS` narrows them to those whose name has a word of it.
pub fn mutants(options: &Options) -> Result<(), Failure> {
    let begin = Instant::now();
    let mutants: Vec<Mutant> = all()?
        .into_iter()
        .filter(|mutant| is_meant(&mutant.name, &options.boot_args))
        .collect();
    let place = Place::prepare()?;
    let kinds: BTreeSet<&Tests> = mutants.iter().map(|mutant| &mutant.tests).collect();
    let mut wrong = 0;
    for tests in &kinds {
        if let Err(error) = place.pass(tests) {
            wrong += 1;
            say!("WITHOUT A MUTANT  {}: {error:#}", tests.line());
        }
    }
    for mutant in &mutants {
        let since = Instant::now();
        let verdict = place.kill(mutant);
        let seconds = since.elapsed().as_secs_f64();
        let (name, tests) = (&mutant.name, mutant.tests.line());
        match verdict {
            Ok(End::Failed) => say!("killed    {name:<44}{seconds:>6.1} s  {tests}"),
            Ok(End::TimedOut) => say!("hung      {name:<44}{seconds:>6.1} s  {tests}"),
            Ok(End::Passed) => {
                wrong += 1;
                say!("SURVIVED  {name:<44}{seconds:>6.1} s  {tests}");
            }
            Err(error) => {
                wrong += 1;
                say!("MISTAKE   {name:<44}{seconds:>6.1} s  {error:#}");
            }
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    say!(
        "mutants: {} in {seconds:.0} s, {wrong} wrong; what the tests said is in {}",
        mutants.len(),
        place.logs.display()
    );
    match wrong {
        0 if !mutants.is_empty() => Ok(()),
        _ => Err(Failure::reported(1)),
    }
}

fn is_meant(name: &str, words: &[String]) -> bool {
    words.is_empty() || words.iter().any(|word| name.contains(word))
}

/// All mutants, by name.
fn all() -> Result<Vec<Mutant>> {
    let folder = root().join(FOLDER);
    let entries =
        fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut mutants = Vec::new();
    for entry in entries {
        let patch = entry?.path();
        let name = patch.file_stem().unwrap_or_default().to_string_lossy();
        let text = String::from_utf8_lossy(&files::read(&patch)?).into_owned();
        let tests = tests_in(&text).with_context(|| format!("in {}", patch.display()))?;
        mutants.push(Mutant {
            name: name.into_owned(),
            tests,
            patch,
        });
    }
    mutants.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(mutants)
}

/// The tests that a patch names.
fn tests_in(text: &str) -> Result<Tests> {
    let head = || text.lines().take_while(|line| !line.starts_with("--- "));
    if !head().any(|line| line.starts_with("Rule: ")) {
        bail!("no line `Rule: `");
    }
    let Some(tests) = head().find_map(|line| line.strip_prefix("Killed by: ")) else {
        bail!("no line `Killed by: `");
    };
    let mut words = tests.split_whitespace().map(str::to_owned);
    let atomics = match words.next().as_deref() {
        Some("host") => Atomics::Host,
        Some("loom") => Atomics::Loom,
        Some("shuttle") => Atomics::Shuttle,
        _ => bail!("tests are run with atomics of `host`, `loom` or `shuttle`"),
    };
    Ok(Tests {
        atomics,
        words: words.collect(),
    })
}

impl Tests {
    fn line(&self) -> String {
        let name = self.atomics.name().unwrap_or("host");
        format!("{name} {}", self.words.join(" "))
    }
}

impl Atomics {
    /// The flag that chooses them.
    fn name(self) -> Option<&'static str> {
        match self {
            Self::Host => None,
            Self::Loom => Some("loom"),
            Self::Shuttle => Some("shuttle"),
        }
    }
}

impl Place {
    /// Makes the copy as the sources are now. A file that is the same already keeps its time.
    fn prepare() -> Result<Self> {
        let folder = root().join("target/mutants");
        let place = Self {
            sources: folder.join("src"),
            built: folder.join("target"),
            logs: folder.join("logs"),
        };
        files::make_folder(&place.logs)?;
        let names = source_files()?;
        for name in &names {
            copy(&root().join(name), &place.sources.join(name))?;
        }
        remove_others(&place.sources, Path::new(""), &names)?;
        Ok(place)
    }

    /// Requires that tests pass as the sources are.
    fn pass(&self, tests: &Tests) -> Result<()> {
        let log = self.logs.join("without a mutant.log");
        match self.run(tests, &log)? {
            End::Passed => {}
            End::Failed => bail!("failed: {}", log.display()),
            End::TimedOut => bail!("takes too long"),
        }
        match tests_run(&fs::read_to_string(&log)?) {
            0 => bail!("there is no such test"),
            _ => Ok(()),
        }
    }

    /// Runs the tests with the mutant in the copy.
    fn kill(&self, mutant: &Mutant) -> Result<End> {
        self.apply(&mutant.patch, &[])?;
        let log = self.logs.join(format!("{}.log", mutant.name));
        let end = self.run(&mutant.tests, &log);
        self.apply(&mutant.patch, &["--reverse"])?;
        end
    }

    fn apply(&self, patch: &Path, options: &[&str]) -> Result<()> {
        let output = command::new("git")
            .arg("apply")
            .args(options)
            .arg(patch)
            .current_dir(&self.sources)
            // The copy is in no repository.
            .env("GIT_CEILING_DIRECTORIES", root().join("target/mutants"))
            .output()
            .context("cannot run git")?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr);
            bail!("the patch does not apply: {}", words.trim());
        }
        Ok(())
    }

    /// Builds and runs tests, and writes what they say to `log`. The build does not count
    /// for the limit.
    fn run(&self, tests: &Tests, log: &Path) -> Result<End> {
        let file = fs::File::create(log)?;
        let mut build = self.cargo(tests, &["--no-run"]);
        build.stdout(Stdio::null()).stderr(file.try_clone()?);
        if !build.status().context("cannot run cargo")?.success() {
            bail!("does not compile: {}", log.display());
        }
        let mut cargo = self.cargo(tests, &[]);
        cargo.stdout(file.try_clone()?).stderr(file);
        let begin = Instant::now();
        let mut child = cargo.spawn().context("cannot run cargo")?;
        loop {
            match child.try_wait()? {
                Some(status) if status.success() => return Ok(End::Passed),
                Some(_) => return Ok(End::Failed),
                None => {}
            }
            if begin.elapsed() > LIMIT {
                child.kill()?;
                child.wait()?;
                return Ok(End::TimedOut);
            }
            thread::sleep(INTERVAL);
        }
    }

    fn cargo(&self, tests: &Tests, options: &[&str]) -> Command {
        let mut cargo = command::cargo();
        forget_variables(&mut cargo);
        cargo
            .args(["test", "--package", &spec(PACKAGE)])
            .args(options)
            .args(&tests.words)
            .envs(command::runner())
            .env("CARGO_PROFILE_DEV_DEBUG", "false")
            .current_dir(&self.sources);
        let mut built = self.built.clone();
        match tests.atomics.name() {
            None => {}
            Some(name) => {
                cargo
                    .args(["--release", "--config", "profile.release.incremental=true"])
                    .env("RUSTFLAGS", format!("--cfg {name}"));
                for (package, level) in QUICK {
                    let package = format!("profile.release.package.\"{}\"", spec(package));
                    cargo.args(["--config", &format!("{package}.{level}")]);
                }
                built.push(name);
            }
        }
        cargo.arg("--target-dir").arg(built);
        cargo
    }
}

/// The files that git knows, or would add.
fn source_files() -> Result<BTreeSet<PathBuf>> {
    let output = command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root())
        .output()
        .context("cannot run git")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr));
    }
    let names = String::from_utf8(output.stdout).context("a file's name is not UTF-8")?;
    let names = names.split('\0').filter(|name| !name.is_empty());
    Ok(names
        .map(PathBuf::from)
        .filter(|name| root().join(name).is_file())
        .collect())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let bytes = files::read(from)?;
    match fs::read(to) {
        Ok(there) if there == bytes => return Ok(()),
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot read {}", to.display()));
        }
        _ => {}
    }
    files::make_folder(to.parent().unwrap_or(to))?;
    files::write(to, bytes)
}

/// Removes the files of the copy that are not among `names`.
fn remove_others(sources: &Path, below: &Path, names: &BTreeSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(sources.join(below))? {
        let entry = entry?;
        let name = below.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            remove_others(sources, &name, names)?;
        } else if !names.contains(&name) {
            files::remove(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_says_which_tests_kill_it() {
        let text = "Rule: a b.\nKilled by: loom --lib interleavings\n\n--- a/x\n+++ b/x\n";
        let tests = tests_in(text).unwrap();
        assert_eq!(tests.line(), "loom --lib interleavings");
        assert!(tests_in("Rule: a b.\n--- a/x\nKilled by: loom\n").is_err());
        assert!(tests_in("Killed by: host\n--- a/x\n").is_err());
        assert!(tests_in("Rule: a b.\nKilled by: qemu\n--- a/x\n").is_err());
    }

    #[test]
    fn every_mutant_has_a_rule_and_tests() {
        assert!(!all().unwrap().is_empty());
    }

    #[test]
    fn words_choose_mutants() {
        let [queue, ranges] = ["queue", "ranges"].map(str::to_owned);
        assert!(is_meant("fault-ignores-ranges", &[]));
        assert!(is_meant("fault-ignores-ranges", &[queue.clone(), ranges]));
        assert!(!is_meant("fault-ignores-ranges", &[queue]));
    }
}
