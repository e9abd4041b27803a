//! `mutants`: breaks one rule of the code at a time, and requires that a test fails.
//!
//! Each rule has a patch in `modules/axmm/mutants`. The lines before the patch name the rule
//! that it breaks, and the tests that must fail:
//!
//! ```text
//! Rule: a page fault looks at the locked ranges after it has taken its fault slot.
//! Killed by: host --test stale_tlb no_hart
//! ```
//!
//! The first word of the tests says which atomics they are built with: the computer's own
//! (`host`), or those of the scheduler `loom` or `shuttle`. A package may follow, which is
//! `axmm` otherwise. The other words are arguments of `cargo test`.
//!
//! The mutants of each kind of atomics are tried one after another, in a copy of the sources in
//! `target/mutants`, and the kinds side by side. The copies and what is built from them are kept,
//! which makes the next run faster.

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
use crate::matrix::count_tests;
use crate::options::{Options, clear_variables};

/// The package whose tests are run unless a patch names another, and the folder of the
/// patches.
const PACKAGE: &str = "axmm";
const FOLDER: &str = "modules/axmm/mutants";

/// The folder for copies of the sources, what is built from them, and the output of tests.
const WORKSPACE: &str = "target/mutants";

/// The packages that cargo builds again for each mutant, with the optimisation of each if the
/// tests run below a scheduler. The levels are low because a mutant takes longer to build than
/// to test. Cargo builds all other packages, such as loom, once.
const REBUILT: [(&str, u8); 4] = [
    ("memory_set", 1),
    ("axmm", 1),
    ("axmm-machines", 0),
    ("page-table-formats", 0),
];

/// The steps of random tests, a tenth of what they perform otherwise. The unchanged code must
/// pass them all within [`LIMIT`], unoptimised.
const STEPS: &str = "100000";

/// The time after which the tests of a mutant count as failed: it makes a hart wait for ever.
const LIMIT: Duration = Duration::from_secs(30);
/// The time between two looks whether a test has ended.
const INTERVAL: Duration = Duration::from_millis(50);

/// One mutant: a patch that breaks a rule, and the tests that must fail.
struct Mutant {
    name: String,
    patch: PathBuf,
    tests: Tests,
}

/// Arguments for `cargo test`, and the atomics that the tests are built with.
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

/// How a run of tests has ended. A mutant is killed if they have not passed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TestsEnd {
    Passed,
    Failed,
    TimedOut,
}

/// Where the mutants of one kind of atomics are tried, below `target/mutants`.
struct Workspace {
    sources: PathBuf,
    built: PathBuf,
    logs: PathBuf,
}

/// Tries each mutant whose name holds a word of `ARGS`, or all without `ARGS`. Prints a
/// line for each and a summary.
///
/// # Errors
///
/// Fails with status 1 if a mutant survives or cannot be tried, if the tests fail without a
/// mutant, and if no mutant is selected.
pub fn mutants(options: &Options) -> Result<(), Failure> {
    let begin = Instant::now();
    let mutants: Vec<Mutant> = all()?
        .into_iter()
        .filter(|mutant| is_selected(&mutant.name, &options.boot_args))
        .collect();
    let logs = root().join(WORKSPACE).join("logs");
    files::make_folder(&logs)?;
    let names = source_files()?;
    let wrong = thread::scope(|scope| {
        let threads = [Atomics::Host, Atomics::Loom, Atomics::Shuttle].map(|atomics| {
            let own = mutants
                .iter()
                .filter(move |mutant| mutant.tests.atomics == atomics);
            let own: Vec<&Mutant> = own.collect();
            let (logs, names) = (&logs, &names);
            scope.spawn(move || match own.is_empty() {
                true => Ok(0),
                false => Ok(Workspace::prepare(atomics, logs, names)?.kill_all(&own)),
            })
        });
        let counts =
            threads.map(|thread| thread.join().unwrap_or_else(|_| bail!("a thread panicked")));
        counts.into_iter().sum::<Result<usize>>()
    })?;
    let seconds = begin.elapsed().as_secs_f64();
    say!(
        "mutants: {} in {seconds:.0} s, {wrong} wrong; output of the tests: {}",
        mutants.len(),
        logs.display()
    );
    match wrong {
        0 if !mutants.is_empty() => Ok(()),
        _ => Err(Failure::reported(1)),
    }
}

fn is_selected(name: &str, words: &[String]) -> bool {
    words.is_empty() || words.iter().any(|word| name.contains(word))
}

/// Reads all mutants, sorted by name.
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

/// Returns the tests that a patch names in the lines before it.
///
/// # Errors
///
/// Fails if the line `Rule: ` or `Killed by: ` is missing, or the latter names no atomics.
fn tests_in(text: &str) -> Result<Tests> {
    let head = || text.lines().take_while(|line| !line.starts_with("--- "));
    if !head().any(|line| line.starts_with("Rule: ")) {
        bail!("it has no line `Rule: ...` before the patch");
    }
    let Some(tests) = head().find_map(|line| line.strip_prefix("Killed by: ")) else {
        bail!("it has no line `Killed by: ...` before the patch");
    };
    let mut words = tests.split_whitespace().map(str::to_owned);
    let atomics = match words.next().as_deref() {
        Some("host") => Atomics::Host,
        Some("loom") => Atomics::Loom,
        Some("shuttle") => Atomics::Shuttle,
        _ => bail!("`Killed by: {tests}`: the first word must be `host`, `loom` or `shuttle`"),
    };
    Ok(Tests {
        atomics,
        words: words.collect(),
    })
}

impl Tests {
    fn line(&self) -> String {
        format!("{} {}", self.atomics.name(), self.words.join(" "))
    }

    /// Returns the name of the file for the output of these tests on the unchanged code.
    fn log_of_unchanged_code(&self) -> String {
        let words = self
            .line()
            .replace(|char: char| !char.is_alphanumeric(), "-");
        format!("unchanged-{words}.log")
    }
}

impl Atomics {
    fn name(self) -> &'static str {
        self.cfg().unwrap_or("host")
    }

    /// Returns the `--cfg` flag that selects these atomics; the computer's own need none.
    fn cfg(self) -> Option<&'static str> {
        match self {
            Self::Host => None,
            Self::Loom => Some("loom"),
            Self::Shuttle => Some("shuttle"),
        }
    }

    /// Returns the settings of cargo with which the packages of [`REBUILT`] build quickly. A
    /// scheduler tries many interleavings, so it needs some optimisation. The names have no
    /// version: cargo refuses a second name for a package of the `Cargo.toml`.
    fn quick_settings(self) -> [String; REBUILT.len()] {
        REBUILT.map(|(package, level)| {
            let (profile, level) = match self {
                Self::Host => ("test", 0),
                Self::Loom | Self::Shuttle => ("release", level),
            };
            format!("profile.{profile}.package.{package}.opt-level={level}")
        })
    }
}

impl Workspace {
    /// Makes the copy equal to the sources, which are the files `names`. A file that is equal
    /// already keeps its time of change, so that cargo does not build it again.
    fn prepare(atomics: Atomics, logs: &Path, names: &BTreeSet<PathBuf>) -> Result<Self> {
        let folder = root().join(WORKSPACE).join(atomics.name());
        let workspace = Self {
            sources: folder.join("src"),
            built: folder.join("target"),
            logs: logs.to_owned(),
        };
        for name in names {
            copy(&root().join(name), &workspace.sources.join(name))?;
        }
        remove_others(&workspace.sources, Path::new(""), names)?;
        Ok(workspace)
    }

    /// Runs the tests of all `mutants` on the unchanged code, which they must pass. Then tries
    /// each mutant and prints a line for it. Returns how many tests and mutants do not do what
    /// they must.
    fn kill_all(&self, mutants: &[&Mutant]) -> usize {
        let mut wrong = 0;
        let all_tests: BTreeSet<&Tests> = mutants.iter().map(|mutant| &mutant.tests).collect();
        for tests in all_tests {
            if let Err(error) = self.require_pass(tests) {
                wrong += 1;
                say!("UNCHANGED CODE    {}: {error:#}", tests.line());
            }
        }
        for mutant in mutants {
            let since = Instant::now();
            let verdict = self.run_with(mutant);
            let seconds = since.elapsed().as_secs_f64();
            let (name, tests) = (&mutant.name, mutant.tests.line());
            let is_right = matches!(verdict, Ok(TestsEnd::Failed | TestsEnd::TimedOut));
            wrong += usize::from(!is_right);
            match verdict {
                Ok(TestsEnd::Failed) => say!("killed    {name:<44}{seconds:>6.1} s  {tests}"),
                Ok(TestsEnd::TimedOut) => say!("hung      {name:<44}{seconds:>6.1} s  {tests}"),
                Ok(TestsEnd::Passed) => say!("SURVIVED  {name:<44}{seconds:>6.1} s  {tests}"),
                Err(error) => say!("MISTAKE   {name:<44}{seconds:>6.1} s  {error:#}"),
            }
        }
        wrong
    }

    /// Runs the tests on the unchanged code.
    ///
    /// # Errors
    ///
    /// Fails if they do not pass, take too long, or if there is no such test.
    fn require_pass(&self, tests: &Tests) -> Result<()> {
        let log = self.logs.join(tests.log_of_unchanged_code());
        match self.run(tests, &log)? {
            TestsEnd::Passed => {}
            TestsEnd::Failed => bail!("the tests fail, see {}", log.display()),
            TestsEnd::TimedOut => bail!("the tests take longer than {} s", LIMIT.as_secs()),
        }
        match count_tests(&fs::read_to_string(&log)?) {
            0 => bail!("no test has such a name"),
            _ => Ok(()),
        }
    }

    /// Runs the tests on the copy with the mutant's patch, and reverts the patch.
    fn run_with(&self, mutant: &Mutant) -> Result<TestsEnd> {
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
            // The copy is no repository of its own: git must not find the one above it.
            .env("GIT_CEILING_DIRECTORIES", root().join(WORKSPACE))
            .output()
            .context("cannot run git")?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr);
            bail!("{} does not apply: {}", patch.display(), words.trim());
        }
        Ok(())
    }

    /// Builds and runs tests, and writes their output to `log`. [`LIMIT`] does not count the
    /// time of the build.
    fn run(&self, tests: &Tests, log: &Path) -> Result<TestsEnd> {
        let file = fs::File::create(log)?;
        let mut build = self.cargo(tests, &["--no-run"]);
        build.stdout(Stdio::null()).stderr(file.try_clone()?);
        if !build.status().context("cannot run cargo")?.success() {
            bail!("it does not compile, see {}", log.display());
        }
        let mut cargo = self.cargo(tests, &[]);
        cargo.stdout(file.try_clone()?).stderr(file);
        let begin = Instant::now();
        let mut child = cargo.spawn().context("cannot run cargo")?;
        loop {
            match child.try_wait()? {
                Some(status) if status.success() => return Ok(TestsEnd::Passed),
                Some(_) => return Ok(TestsEnd::Failed),
                None => {}
            }
            if begin.elapsed() > LIMIT {
                child.kill()?;
                child.wait()?;
                return Ok(TestsEnd::TimedOut);
            }
            thread::sleep(INTERVAL);
        }
    }

    fn cargo(&self, tests: &Tests, options: &[&str]) -> Command {
        let mut cargo = command::cargo();
        clear_variables(&mut cargo);
        let (package, words) = match tests.words.split_first() {
            Some((package, words)) if !package.starts_with('-') => (package.as_str(), words),
            _ => (PACKAGE, tests.words.as_slice()),
        };
        cargo
            .args(["test", "--package", &spec(package)])
            .args(options)
            .args(words)
            // Without this, a test that hangs would go on after cargo was killed.
            .envs(command::runner_variable())
            .env("CARGO_PROFILE_DEV_DEBUG", "false")
            .env("TESSERA_STEPS", STEPS)
            .current_dir(&self.sources);
        if let Some(name) = tests.atomics.cfg() {
            cargo
                .args(["--release", "--config", "profile.release.incremental=true"])
                .env("RUSTFLAGS", format!("--cfg {name}"));
        }
        for setting in tests.atomics.quick_settings() {
            cargo.args(["--config", &setting]);
        }
        cargo.arg("--target-dir").arg(&self.built);
        cargo
    }
}

/// Returns the files that git tracks or would add, relative to the repository's root.
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
        bail!("git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    }
    let names = String::from_utf8(output.stdout).context("a file's name is not UTF-8")?;
    let names = names.split('\0').filter(|name| !name.is_empty());
    Ok(names
        .map(PathBuf::from)
        .filter(|name| root().join(name).is_file())
        .collect())
}

/// Copies a file unless `to` is equal already.
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

/// Removes the files of the copy, in its folder `below`, that are not among `names`.
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
    fn a_patch_must_name_a_rule_and_tests() {
        let text = "Rule: a b.\nKilled by: loom --lib interleavings\n\n--- a/x\n+++ b/x\n";
        let tests = tests_in(text).unwrap();
        assert_eq!(tests.line(), "loom --lib interleavings");
        assert!(tests_in("Rule: a b.\n--- a/x\nKilled by: loom\n").is_err());
        assert!(tests_in("Killed by: host\n--- a/x\n").is_err());
        assert!(tests_in("Rule: a b.\nKilled by: qemu\n--- a/x\n").is_err());
    }

    #[test]
    fn all_patches_can_be_read() {
        assert!(!all().unwrap().is_empty());
    }

    #[test]
    fn all_tests_have_logs_of_their_own() {
        let mutants = all().unwrap();
        let tests: BTreeSet<&Tests> = mutants.iter().map(|mutant| &mutant.tests).collect();
        let logs = tests.iter().map(|tests| tests.log_of_unchanged_code());
        assert_eq!(logs.collect::<BTreeSet<_>>().len(), tests.len());
    }

    /// Cargo ignores settings of a profile that it does not build with.
    #[test]
    fn settings_are_for_the_profile_of_the_tests() {
        let host = Atomics::Host.quick_settings();
        assert_eq!(host[1], "profile.test.package.axmm.opt-level=0");
        let loom = Atomics::Loom.quick_settings();
        assert_eq!(loom[1], "profile.release.package.axmm.opt-level=1");
    }

    #[test]
    fn words_select_mutants_by_name() {
        let [queue, ranges] = ["queue", "ranges"].map(str::to_owned);
        assert!(is_selected("fault-ignores-ranges", &[]));
        assert!(is_selected(
            "fault-ignores-ranges",
            &[queue.clone(), ranges]
        ));
        assert!(!is_selected("fault-ignores-ranges", &[queue]));
    }
}
