//! Guests in guest time: under `-icount shift=0` each instruction is a nanosecond,
//! all harts take turns, and the same run takes the same time again.

use anyhow::{Result, bail};

use crate::console::{self, End, Patience};
use crate::image::Image;
use crate::options::{Accel, Options};
use crate::qemu::{Guest, Input};

/// Boots `image` with `smp` harts, further words for the kernel among those asked
/// for. Answers what stands behind the exit line's status, and the console; a
/// guest that does not end well is a failure.
pub fn run(options: &Options, image: &Image, smp: u32, words: &[&str]) -> Result<(String, String)> {
    let mut guest = Guest::asked(options, image, smp);
    guest.smp = smp;
    // Only emulation counts instructions.
    guest.accel = Accel::Tcg;
    guest
        .boot_args
        .extend(words.iter().map(|word| (*word).to_owned()));
    guest
        .extra
        .extend(["-icount", "shift=0"].map(str::to_owned));
    let patience = Patience {
        silence: options.timeout,
        whole: None,
    };
    let (end, console) = console::run(guest.command(Input::Nobody), patience, |_| Ok(()))?;
    let console = String::from_utf8_lossy(&console).into_owned();
    match end {
        End::Exit(0, words) => Ok((words, console)),
        end => bail!("{}\n{}", end.describe(), console.trim_end()),
    }
}
