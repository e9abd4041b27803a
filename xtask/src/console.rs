//! Runs a machine to its end: passes its console on, stops it when the console is silent
//! for too long, and reads the exit line at the end.

use std::io::{self, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::command;

/// The exit status of a run whose guest printed nothing for too long.
pub const HUNG: u8 = 124;
/// The exit status of a run whose machine stopped without an exit line.
pub const WENT_DOWN: u8 = 125;
/// The exit status of a run whose QEMU did not start.
pub const NO_START: u8 = 126;

/// How many bytes of the console's end are kept at least.
const MIN_KEPT: usize = 1 << 20;
/// How long QEMU may take to end after it was asked to.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// How a run ended. All but [`Exit`](Self::Exit) hold what QEMU, or the process that is the
/// machine, printed on standard error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The guest printed an exit line: its status, and the rest of the line.
    Exit(u8, String),
    /// The machine stopped without an exit line.
    WentDown(String),
    /// The guest printed nothing for so many seconds, and was stopped.
    Hung(u64, String),
    /// The guest had not ended after so many seconds, and was stopped.
    Overran(u64, String),
    /// QEMU failed before the guest printed anything.
    NoStart(String),
}

impl End {
    /// Returns xtask's exit status for this end.
    pub fn status(&self) -> u8 {
        match self {
            End::Exit(status, _) => *status,
            End::WentDown(_) => WENT_DOWN,
            End::Hung(..) | End::Overran(..) => HUNG,
            End::NoStart(_) => NO_START,
        }
    }

    /// Returns the end in words, for a message.
    pub fn describe(&self) -> String {
        match self {
            End::Exit(status, _) => format!("the guest ended with status {status}"),
            End::WentDown(how) => format!("the machine went down without an exit status ({how})"),
            End::Hung(seconds, words) => {
                let how =
                    format!("the guest printed nothing for {seconds} s (TIMEOUT) and was stopped");
                with_stderr(how, words)
            }
            End::Overran(seconds, words) => {
                let how = format!("the guest had not ended after {seconds} s and was stopped");
                with_stderr(how, words)
            }
            End::NoStart(message) => format!("the machine did not start: {message}"),
        }
    }
}

fn with_stderr(how: String, stderr: &str) -> String {
    match stderr.is_empty() {
        true => how,
        false => format!("{how}; its process printed: {stderr}"),
    }
}

/// When a guest is stopped.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timeouts {
    /// How long the console may be silent; `None`: for ever.
    pub silence: Option<Duration>,
    /// How long the run may take in all; `None`: for ever.
    pub total: Option<Duration>,
}

/// Runs a machine to its end, and passes each piece of the console to `sink` as it arrives.
/// `qemu` starts the machine: QEMU, or the process that is the machine. Returns how the run
/// ended, and the console: all of it, or of a long one the last [`MIN_KEPT`] bytes or more.
///
/// # Errors
///
/// Fails if the machine cannot be started, or `sink` fails. Then it has been stopped.
pub fn run(
    mut qemu: Command,
    timeouts: Timeouts,
    mut sink: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<(End, Vec<u8>)> {
    let program = qemu.get_program().to_string_lossy().into_owned();
    let mut child = qemu
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {program}"))?;
    let bytes = read_in_background(child.stdout.take());
    let stderr = read_in_background(child.stderr.take());
    let mut console = Vec::new();
    let stopped = watch(&bytes, timeouts, |piece| {
        append_capped(&mut console, piece);
        sink(piece)
    });
    let stopped = match stopped {
        Ok(stopped) => stopped,
        Err(error) => {
            stop(&mut child)?;
            return Err(error).context("cannot print the guest's console");
        }
    };
    let status = match stopped {
        Some(_) => stop(&mut child)?,
        None => child.wait()?,
    };
    let stderr: Vec<u8> = stderr.iter().flatten().collect();
    let stderr = String::from_utf8_lossy(&stderr).trim().to_owned();
    let end = match stopped {
        Some(Stopped::Silent(seconds)) => End::Hung(seconds, without_termination_notice(&stderr)),
        Some(Stopped::Overran(seconds)) => {
            End::Overran(seconds, without_termination_notice(&stderr))
        }
        None => end_of(&console, status, &stderr),
    };
    Ok((end, console))
}

/// Why a guest is stopped, and after how many seconds.
enum Stopped {
    Silent(u64),
    Overran(u64),
}

/// Returns QEMU's standard error without the line that reports our own SIGTERM.
fn without_termination_notice(stderr: &str) -> String {
    let lines = stderr.lines();
    let lines = lines.filter(|line| !line.contains("terminating on signal 15 from pid"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Reads a pipe on a new thread, which sends what it reads. The channel closes when the
/// pipe does.
fn read_in_background(pipe: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let Some(mut pipe) = pipe else { return };
        let mut buffer = [0; 4096];
        while let Ok(count) = pipe.read(&mut buffer) {
            if count == 0 || sender.send(buffer[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Passes each piece of the console to `pass_on`. Returns `None` when the console closes.
/// When a timeout ends, returns why the guest must be stopped.
fn watch(
    pieces: &Receiver<Vec<u8>>,
    timeouts: Timeouts,
    mut pass_on: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<Option<Stopped>> {
    let begin = Instant::now();
    loop {
        let left = timeouts
            .total
            .map(|total| total.saturating_sub(begin.elapsed()));
        let wait = [left, timeouts.silence].into_iter().flatten().min();
        let piece = match wait {
            Some(wait) => pieces.recv_timeout(wait),
            None => pieces.recv().map_err(RecvTimeoutError::from),
        };
        match piece {
            Ok(piece) => pass_on(&piece)?,
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
            Err(RecvTimeoutError::Timeout) => {
                let seconds = |limit: Option<Duration>| limit.unwrap_or_default().as_secs();
                let overran = timeouts.total.is_some_and(|total| begin.elapsed() >= total);
                return Ok(Some(if overran {
                    Stopped::Overran(seconds(timeouts.total))
                } else {
                    Stopped::Silent(seconds(timeouts.silence))
                }));
            }
        }
    }
}

/// Sends QEMU a SIGTERM, on which it restores the terminal's settings. Kills it if it has
/// not ended after [`STOP_TIMEOUT`]. The child is reaped only here, so no other process can
/// have its id.
fn stop(child: &mut Child) -> Result<ExitStatus> {
    let asked = Command::new("kill")
        .arg(child.id().to_string())
        .stderr(Stdio::null())
        .status();
    let begin = Instant::now();
    while asked.is_ok() && begin.elapsed() < STOP_TIMEOUT {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        thread::sleep(Duration::from_millis(20));
    }
    child.kill()?;
    Ok(child.wait()?)
}

/// Appends to the console, and drops its beginning when it has grown too long.
fn append_capped(console: &mut Vec<u8>, piece: &[u8]) {
    console.extend_from_slice(piece);
    if console.len() > 2 * MIN_KEPT {
        console.drain(..console.len() - MIN_KEPT);
    }
}

/// Returns how a run ended by itself. The guest's exit line decides, if there is one: QEMU's
/// own status is 0 also after a reset.
fn end_of(console: &[u8], status: ExitStatus, stderr: &str) -> End {
    if let Some((status, rest)) = exit_line(console) {
        return End::Exit(status, rest);
    }
    let killed = status.signal().is_some();
    if console.is_empty() && !status.success() && !stderr.is_empty() {
        return End::NoStart(match killed {
            true => format!("{stderr}\n(ended by {})", command::describe_status(status)),
            false => stderr.to_owned(),
        });
    }
    let how = match killed {
        true => format!(
            "its process was ended by {}",
            command::describe_status(status)
        ),
        false => "a reset, a triple fault, or switched off from outside".to_owned(),
    };
    End::WentDown(with_stderr(how, stderr))
}

/// Finds the console's last line of the form `[exit N] rest`. Returns N as a process's exit
/// status, and the rest of the line.
pub fn exit_line(console: &[u8]) -> Option<(u8, String)> {
    String::from_utf8_lossy(console)
        .lines()
        .rev()
        .find_map(|line| {
            let (number, words) = line.strip_prefix("[exit ")?.split_once(']')?;
            Some((exit_status(number.parse().ok()?), words.trim().to_owned()))
        })
}

/// Returns the low 8 bits of a status, which is all that a process can return. A failure
/// whose low bits are 0 becomes 1.
fn exit_status(number: i64) -> u8 {
    match (number & 0xff) as u8 {
        0 if number != 0 => 1,
        status => status,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, timeouts: Timeouts) -> (End, String) {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::null());
        let (end, console) = run(command, timeouts, |_| Ok(())).unwrap();
        (end, String::from_utf8(console).unwrap())
    }

    #[test]
    fn the_last_exit_line_counts() {
        assert_eq!(
            exit_line(b"[exit 3] no\r\n [exit 4]\n[exit 0] 1 ms\r\n"),
            Some((0, "1 ms".into()))
        );
        assert_eq!(exit_line(b"says [exit 3]\n[exit x]\n[exit 1"), None);
        assert_eq!(exit_line(b"[exit 7]"), Some((7, String::new())));
    }

    #[test]
    fn a_failure_whose_low_bits_are_zero_stays_a_failure() {
        assert_eq!(
            [0, 1, 255, 256, -1, 300].map(exit_status),
            [0, 1, 255, 1, 255, 44]
        );
    }

    #[test]
    fn each_way_to_end_has_its_own_variant() {
        let never = Timeouts::default();
        assert_eq!(
            sh("echo hi; echo '[exit 0] x'; exit 9", never).0,
            End::Exit(0, "x".into())
        );
        assert_eq!(sh("echo hi", never).0.status(), WENT_DOWN);
        assert_eq!(
            sh("echo bad >&2; exit 1", never).0,
            End::NoStart("bad".into())
        );
    }

    #[test]
    fn an_end_by_a_signal_names_it_and_holds_standard_error() {
        let never = Timeouts::default();
        let (end, _) = sh("echo hi; echo 'bad assertion' >&2; kill -6 $$", never);
        assert_eq!(
            end,
            End::WentDown(
                "its process was ended by signal 6 (SIGABRT); its process printed: bad assertion"
                    .into()
            )
        );
        let (end, _) = sh("echo 'bad assertion' >&2; kill -6 $$", never);
        assert_eq!(
            end,
            End::NoStart("bad assertion\n(ended by signal 6 (SIGABRT))".into())
        );
        let (end, _) = sh("kill -9 $$", never);
        assert_eq!(
            end.describe(),
            "the machine went down without an exit status \
             (its process was ended by signal 9 (SIGKILL))"
        );
    }

    #[test]
    fn a_guest_is_stopped_when_its_console_cannot_be_printed() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$; while :; do echo x; sleep 0.05; done"]);
        let mut console = Vec::new();
        let closed = |piece: &[u8]| {
            console.extend_from_slice(piece);
            match console.contains(&b'x') {
                true => Err(io::ErrorKind::BrokenPipe.into()),
                false => Ok(()),
            }
        };
        let error = run(command, Timeouts::default(), closed).unwrap_err();
        assert!(format!("{error:#}").starts_with("cannot print the guest's console: "));
        let text = String::from_utf8(console).unwrap();
        let id = text.lines().next().unwrap();
        // The child has been reaped, so no process has its id any more.
        let mut kill = Command::new("kill");
        kill.args(["-0", id]).stderr(Stdio::null());
        assert!(!kill.status().unwrap().success());
    }

    #[test]
    fn standard_error_of_a_stopped_guest_is_kept() {
        let timeouts = Timeouts {
            silence: Some(Duration::from_millis(300)),
            total: None,
        };
        let script = "echo 'no such disk' >&2; \
            trap 'echo x: terminating on signal 15 from pid 1 >&2; exit' TERM; \
            while :; do sleep 0.05; done";
        assert_eq!(sh(script, timeouts).0, End::Hung(0, "no such disk".into()));
    }

    #[test]
    fn a_silent_guest_is_stopped_and_one_that_prints_goes_on() {
        let timeouts = Timeouts {
            silence: Some(Duration::from_millis(400)),
            total: None,
        };
        let (end, console) = sh("echo alive; exec sleep 20", timeouts);
        assert_eq!((end.status(), console.as_str()), (HUNG, "alive\n"));
        let (end, _) = sh(
            "for i in 1 2 3 4 5 6; do echo $i; sleep 0.1; done; echo '[exit 0]'",
            timeouts,
        );
        assert_eq!(end.status(), 0);
        let timeouts = Timeouts {
            silence: None,
            total: Some(Duration::from_millis(300)),
        };
        assert!(matches!(
            sh("while :; do echo x; sleep 0.05; done", timeouts).0,
            End::Overran(..)
        ));
    }

    #[test]
    fn a_guest_that_ignores_sigterm_is_killed() {
        let timeouts = Timeouts {
            silence: Some(Duration::from_millis(300)),
            total: None,
        };
        let (end, _) = sh(
            "trap '' TERM; echo x; while :; do sleep 0.1; done",
            timeouts,
        );
        assert_eq!(end.status(), HUNG);
    }
}
