//! A running machine: its console passed on as it comes, watched for silence, and
//! read for the exit line at its end.

use std::io::{self, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::command;

/// Status of a guest that gave no sign of life for too long.
pub const HUNG: u8 = 124;
/// Status of a machine that went down without an exit line.
pub const WENT_DOWN: u8 = 125;
/// Status of a QEMU that did not start.
pub const NO_START: u8 = 126;

/// As much of the console as is kept, at least.
const KEPT: usize = 1 << 20;
/// How long QEMU may take to end when told to.
const GRACE: Duration = Duration::from_secs(2);

/// How a run ended. All but the first have the words of QEMU, or of the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// With an exit line: the status, and the words behind it.
    Exit(u8, String),
    /// Without one.
    WentDown(String),
    /// Killed after so many seconds without a byte.
    Hung(u64, String),
    /// Killed after so many seconds, though not silent.
    Endless(u64, String),
    /// Before the machine printed anything.
    NoStart(String),
}

impl End {
    /// The exit status that tells of it.
    pub fn status(&self) -> u8 {
        match self {
            End::Exit(status, _) => *status,
            End::WentDown(_) => WENT_DOWN,
            End::Hung(..) | End::Endless(..) => HUNG,
            End::NoStart(_) => NO_START,
        }
    }

    /// The end in words.
    pub fn describe(&self) -> String {
        match self {
            End::Exit(status, _) => format!("the guest ended with status {status}"),
            End::WentDown(how) => format!("the machine went down without an exit status ({how})"),
            End::Hung(seconds, words) => {
                let how = format!("no sign of life for {seconds} s (TIMEOUT): stopped");
                with_words(how, words)
            }
            End::Endless(seconds, words) => {
                with_words(format!("not at an end after {seconds} s: stopped"), words)
            }
            End::NoStart(message) => format!("the machine did not start: {message}"),
        }
    }
}

fn with_words(how: String, words: &str) -> String {
    match words.is_empty() {
        true => how,
        false => format!("{how}; its process says: {words}"),
    }
}

/// When to give up on a guest.
#[derive(Debug, Clone, Copy, Default)]
pub struct Patience {
    /// After so long without a byte from the console.
    pub silence: Option<Duration>,
    /// After so long in all.
    pub whole: Option<Duration>,
}

/// Runs QEMU to its end, each piece of the console handed to `sink` as it comes.
/// Answers how it ended, and the console (of a long one, the last part).
pub fn run(
    mut qemu: Command,
    patience: Patience,
    mut sink: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<(End, Vec<u8>)> {
    let program = qemu.get_program().to_string_lossy().into_owned();
    let mut child = qemu
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {program}"))?;
    let bytes = read_apart(child.stdout.take());
    let words = read_apart(child.stderr.take());
    let mut console = Vec::new();
    let stopped = watch(&bytes, patience, |piece| {
        keep(&mut console, piece);
        sink(piece)
    });
    let stopped = match stopped {
        Ok(stopped) => stopped,
        Err(error) => {
            stop(&mut child)?;
            return Err(error).context("the console cannot be passed on");
        }
    };
    let status = match stopped {
        Some(_) => stop(&mut child)?,
        None => child.wait()?,
    };
    let words: Vec<u8> = words.iter().flatten().collect();
    let words = String::from_utf8_lossy(&words).trim().to_owned();
    let end = match stopped {
        Some(Stopped::Silent(seconds)) => End::Hung(seconds, before_request(&words)),
        Some(Stopped::Late(seconds)) => End::Endless(seconds, before_request(&words)),
        None => judge(&console, status, &words),
    };
    Ok((end, console))
}

/// Why a guest is stopped, after so many seconds.
enum Stopped {
    Silent(u64),
    Late(u64),
}

/// What QEMU has said but for the line in which it tells that it was asked to end.
fn before_request(words: &str) -> String {
    let lines = words.lines();
    let lines = lines.filter(|line| !line.contains("terminating on signal 15 from pid"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Reads a pipe on a thread of its own; the channel closes where the pipe does.
fn read_apart(pipe: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
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

/// Passes pieces on until the console closes (`None`) or patience ends.
fn watch(
    pieces: &Receiver<Vec<u8>>,
    patience: Patience,
    mut pass_on: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<Option<Stopped>> {
    let begin = Instant::now();
    loop {
        let left = patience
            .whole
            .map(|whole| whole.saturating_sub(begin.elapsed()));
        let wait = [left, patience.silence].into_iter().flatten().min();
        let piece = match wait {
            Some(wait) => pieces.recv_timeout(wait),
            None => pieces.recv().map_err(RecvTimeoutError::from),
        };
        match piece {
            Ok(piece) => pass_on(&piece)?,
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
            Err(RecvTimeoutError::Timeout) => {
                let seconds = |limit: Option<Duration>| limit.unwrap_or_default().as_secs();
                let endless = patience.whole.is_some_and(|whole| begin.elapsed() >= whole);
                return Ok(Some(if endless {
                    Stopped::Late(seconds(patience.whole))
                } else {
                    Stopped::Silent(seconds(patience.silence))
                }));
            }
        }
    }
}

/// Asks QEMU to end, so that it gives the terminal back as it was; kills it if it
/// does not. The child is not reaped before, so its id is its own.
fn stop(child: &mut Child) -> Result<ExitStatus> {
    let asked = Command::new("kill")
        .arg(child.id().to_string())
        .stderr(Stdio::null())
        .status();
    let begin = Instant::now();
    while asked.is_ok() && begin.elapsed() < GRACE {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        thread::sleep(Duration::from_millis(20));
    }
    child.kill()?;
    Ok(child.wait()?)
}

fn keep(console: &mut Vec<u8>, piece: &[u8]) {
    console.extend_from_slice(piece);
    if console.len() > 2 * KEPT {
        console.drain(..console.len() - KEPT);
    }
}

/// What a QEMU that ended by itself tells: the exit line if there is one, for
/// QEMU's own status says less (it ends with 0 after a reset, too).
fn judge(console: &[u8], status: ExitStatus, words: &str) -> End {
    if let Some((status, words)) = exit_line(console) {
        return End::Exit(status, words);
    }
    let killed = status.signal().is_some();
    if console.is_empty() && !status.success() && !words.is_empty() {
        return End::NoStart(match killed {
            true => format!("{words}\n(ended by {})", command::cause(status)),
            false => words.to_owned(),
        });
    }
    let how = match killed {
        true => format!("its process was ended by {}", command::cause(status)),
        false => "a reset, a triple fault, or switched off from outside".to_owned(),
    };
    End::WentDown(with_words(how, words))
}

/// The last line of the form `[exit N] words`: N as a process's exit status, and
/// the words.
pub fn exit_line(console: &[u8]) -> Option<(u8, String)> {
    String::from_utf8_lossy(console)
        .lines()
        .rev()
        .find_map(|line| {
            let (number, words) = line.strip_prefix("[exit ")?.split_once(']')?;
            Some((exit_status(number.parse().ok()?), words.trim().to_owned()))
        })
}

/// A process's exit status has 8 bits; what is not 0 must not become 0.
fn exit_status(number: i64) -> u8 {
    match (number & 0xff) as u8 {
        0 if number != 0 => 1,
        status => status,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, patience: Patience) -> (End, String) {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::null());
        let (end, console) = run(command, patience, |_| Ok(())).unwrap();
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
    fn what_failed_does_not_become_success() {
        assert_eq!(
            [0, 1, 255, 256, -1, 300].map(exit_status),
            [0, 1, 255, 1, 255, 44]
        );
    }

    #[test]
    fn ends_are_told_apart() {
        let never = Patience::default();
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
    fn a_signal_is_named_beside_the_words_before_it() {
        let never = Patience::default();
        let (end, _) = sh("echo hi; echo 'bad assertion' >&2; kill -6 $$", never);
        assert_eq!(
            end,
            End::WentDown(
                "its process was ended by signal 6 (SIGABRT); its process says: bad assertion"
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
    fn a_guest_whose_console_is_read_no_more_is_stopped() {
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
        let error = run(command, Patience::default(), closed).unwrap_err();
        assert!(format!("{error:#}").starts_with("the console cannot be passed on: "));
        let text = String::from_utf8(console).unwrap();
        let id = text.lines().next().unwrap();
        // Its parent has seen its end, so no such process is left.
        let mut kill = Command::new("kill");
        kill.args(["-0", id]).stderr(Stdio::null());
        assert!(!kill.status().unwrap().success());
    }

    #[test]
    fn words_of_a_guest_that_is_stopped_are_kept() {
        let patience = Patience {
            silence: Some(Duration::from_millis(300)),
            whole: None,
        };
        let script = "echo 'no such disk' >&2; \
            trap 'echo x: terminating on signal 15 from pid 1 >&2; exit' TERM; \
            while :; do sleep 0.05; done";
        assert_eq!(sh(script, patience).0, End::Hung(0, "no such disk".into()));
    }

    #[test]
    fn silence_ends_a_run_and_life_does_not() {
        let patience = Patience {
            silence: Some(Duration::from_millis(400)),
            whole: None,
        };
        let (end, console) = sh("echo alive; exec sleep 20", patience);
        assert_eq!((end.status(), console.as_str()), (HUNG, "alive\n"));
        let (end, _) = sh(
            "for i in 1 2 3 4 5 6; do echo $i; sleep 0.1; done; echo '[exit 0]'",
            patience,
        );
        assert_eq!(end.status(), 0);
        let patience = Patience {
            silence: None,
            whole: Some(Duration::from_millis(300)),
        };
        assert!(matches!(
            sh("while :; do echo x; sleep 0.05; done", patience).0,
            End::Endless(..)
        ));
    }

    #[test]
    fn a_run_that_ignores_the_request_is_killed() {
        let patience = Patience {
            silence: Some(Duration::from_millis(300)),
            whole: None,
        };
        let (end, _) = sh(
            "trap '' TERM; echo x; while :; do sleep 0.1; done",
            patience,
        );
        assert_eq!(end.status(), HUNG);
    }
}
