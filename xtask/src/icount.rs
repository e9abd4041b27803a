//! Boots guests under QEMU's `-icount shift=0`: each guest instruction takes one nanosecond
//! of guest time, and all harts take turns. So a run takes the same guest time each time.

use anyhow::{Result, bail};

use crate::console::{self, End, Timeouts};
use crate::image::Image;
use crate::options::{Accel, Options};
use crate::qemu::{Guest, Input};

/// Boots `image` with `smp` harts, even if `SMP` was given. `args` are added to the boot
/// arguments that the user gave. Returns the exit line's text after `[exit 0]`, and the console.
///
/// # Errors
///
/// Fails if the guest does not end with status 0. The message holds the console.
pub fn run(options: &Options, image: &Image, smp: u32, args: &[&str]) -> Result<(String, String)> {
    let mut guest = Guest {
        smp,
        // KVM does not count instructions.
        accel: Accel::Tcg,
        ..Guest::from_options(options, image, smp)
    };
    guest
        .boot_args
        .extend(args.iter().map(|arg| (*arg).to_owned()));
    guest
        .extra
        .extend(["-icount", "shift=0"].map(str::to_owned));
    let timeouts = Timeouts {
        silence: options.timeout,
        total: None,
    };
    let (end, console) = console::run(guest.command(Input::Empty), timeouts, |_| Ok(()))?;
    let console = String::from_utf8_lossy(&console).into_owned();
    match end {
        End::Exit(0, text) => Ok((text, console)),
        end => bail!("{}\n{}", end.describe(), console.trim_end()),
    }
}
