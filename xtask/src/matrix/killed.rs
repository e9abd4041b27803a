//! Checks that a run leaves no process behind when make or xtask is killed. Processes are
//! looked up in Linux's /proc.

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::machine::Machine;
use crate::manifest::root;
use crate::options::clear_variables;

use super::tally::Verdict;

/// The processes that are killed, one in each case.
pub const VICTIMS: [Victim; 2] = [Victim::Make, Victim::Xtask];

/// A process of a run that the test kills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    Make,
    Xtask,
}

impl Victim {
    /// Returns the program's name.
    pub fn name(self) -> &'static str {
        match self {
            Victim::Make => "make",
            Victim::Xtask => "xtask",
        }
    }
}

/// How long the guest may take to start, with its image built already, and how long all
/// processes may take to end.
const DEADLINE: Duration = Duration::from_secs(120);

/// Returns whether this computer has a /proc in which processes can be looked up.
pub fn has_proc() -> bool {
    fs::exists("/proc/self/stat").unwrap_or(false)
}

/// Starts `make run` with a guest that hangs, and kills `victim`. All processes of the run
/// must end.
pub fn no_process_is_left(machine: &Machine, victim: Victim) -> Verdict {
    let mut make = Command::new("make");
    clear_variables(&mut make);
    make.args(["A=apps/endings", "ARGS=end=hang", "TIMEOUT=0", "run"])
        .arg(format!("ARCH={machine}"))
        .current_dir(root())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut make = make.spawn().map_err(|error| error.to_string())?;
    let verdict = kill_under_guest(make.id(), machine, victim);
    // An error means that make has ended already.
    let _ = make.kill();
    make.wait().map_err(|error| error.to_string())?;
    verdict
}

fn kill_under_guest(make: u32, machine: &Machine, victim: Victim) -> Verdict {
    let image = format!("endings-{machine}.");
    let has_guest = |all: &[Process]| all.iter().any(|process| process.command.contains(&image));
    let processes = poll(|| Some(descendants(make)).filter(|all| has_guest(all)))
        .ok_or("the guest did not start")?;
    let id = match victim {
        Victim::Make => Some(make),
        Victim::Xtask => processes
            .iter()
            .find(|one| one.command.contains("--child-of="))
            .map(|one| one.id),
    };
    kill(id.ok_or("make has started no process with the argument --child-of=")?)?;
    let left = || processes.iter().filter(|process| process.is_running());
    let begin = Instant::now();
    if poll(|| left().next().is_none().then_some(())).is_some() {
        let seconds = begin.elapsed().as_secs_f64();
        return Ok(format!(
            "{} processes ended in {seconds:.1} s",
            processes.len()
        ));
    }
    let names: Vec<&str> = left().map(|process| process.command.as_str()).collect();
    left().try_for_each(|process| kill(process.id))?;
    Err(format!("these processes still run: {}", names.join("; ")))
}

/// Calls `look` until it returns something, and gives up after [`DEADLINE`].
fn poll<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let begin = Instant::now();
    loop {
        match look() {
            None if begin.elapsed() < DEADLINE => thread::sleep(Duration::from_millis(50)),
            found => return found,
        }
    }
}

fn kill(id: u32) -> Result<(), String> {
    let mut kill = Command::new("kill");
    kill.args(["-9", &id.to_string()]);
    kill.status().map(drop).map_err(|error| error.to_string())
}

/// A process as /proc shows it.
struct Process {
    id: u32,
    parent: u32,
    /// The time of its start. Linux gives a free id to a later process, which has another
    /// start.
    start: u64,
    command: String,
}

impl Process {
    /// Returns the process with this id; `None` if it does not exist or has ended.
    fn of(id: u32) -> Option<Process> {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // Fields behind the name (proc_pid_stat(5)): 0 is the state, 1 the parent, 19 the
        // time of the start.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let state = *fields.first()?;
        let command = fs::read(format!("/proc/{id}/cmdline")).ok()?;
        (state != "Z").then_some(Process {
            id,
            parent: fields.get(1)?.parse().ok()?,
            start: fields.get(19)?.parse().ok()?,
            command: String::from_utf8_lossy(&command).replace('\0', " "),
        })
    }

    fn is_running(&self) -> bool {
        Process::of(self.id).is_some_and(|now| now.start == self.start)
    }
}

/// Returns the children of the process `id`, their children, and so on.
fn descendants(id: u32) -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut others: Vec<Process> = ids.filter_map(Process::of).collect();
    let mut found: Vec<Process> = Vec::new();
    loop {
        let is_ours = |process: &Process| {
            process.parent == id || found.iter().any(|parent| parent.id == process.parent)
        };
        let (ours, rest): (Vec<_>, Vec<_>) = others.into_iter().partition(is_ours);
        if ours.is_empty() {
            return found;
        }
        found.extend(ours);
        others = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descendants_of_this_process_are_found() {
        let mut child = Command::new("sh")
            .args(["-c", "sleep 100; true"])
            .spawn()
            .unwrap();
        let sleep = |all: &Vec<Process>| all.iter().any(|one| one.command == "sleep 100 ");
        let found = poll(|| Some(descendants(child.id())).filter(sleep)).unwrap();
        assert!(
            descendants(std::process::id())
                .iter()
                .any(|one| one.id == found[0].id)
        );
        assert!(found[0].is_running());
        kill(found[0].id).unwrap();
        child.wait().unwrap();
        assert!(poll(|| (!found[0].is_running()).then_some(())).is_some());
    }
}
