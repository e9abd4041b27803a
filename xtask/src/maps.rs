//! `maps`: boots an application, and draws each listing of an address space on its
//! console. The kernel prints one at the end, and the application may print others before.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use maps::{MARK, to_dot, to_svg};

use crate::command;
use crate::console::{self, Timeouts};
use crate::failure::Failure;
use crate::files;
use crate::image::{Image, Recipe};
use crate::machine::Machine;
use crate::manifest::root;
use crate::options::Options;
use crate::qemu::{self, Guest, Input};

/// The kernel's feature that prints the listing at the end.
pub const FEATURE: &str = "maps";
/// The boot argument that asks an application to print listings of its own.
pub const WORD: &str = "maps=1";

/// Boots the application, and draws `target/maps/APP-ARCH.svg` and `.dot`.
///
/// # Errors
///
/// Fails with the guest's status if that is not 0. If the guest ends with 0 but prints no
/// listing, the status is 1. If a listing is damaged, the status is 1 in every case.
pub fn maps(options: &Options) -> Result<(), Failure> {
    let machine = options.machine();
    qemu::set_up(options, &[machine])?;
    let mut recipe = Recipe::from_options(options);
    if !recipe.features.iter().any(|feature| feature == FEATURE) {
        recipe.features.push(FEATURE.to_owned());
    }
    let image = recipe.build(options.verbose)?;
    let (end, console) = boot(options, &image)?;
    let paths = draw(&console, &recipe.app.name, machine)?;
    if paths.is_empty() {
        let app = &recipe.app.name;
        return Err(Failure::with_status(
            end.status().max(1),
            format!(
                "{app} printed no listing of its address space. Either it did not reach its \
                 end, or it is built without the feature `paging`: add FEATURES=paging"
            ),
        ));
    }
    paths.iter().for_each(|path| say!("{}", path.display()));
    qemu::result_of(&end)
}

/// Boots the image, and prints its console without the listings. Returns how the guest
/// ended, and the whole console.
fn boot(options: &Options, image: &Image) -> Result<(console::End, String)> {
    let mut guest = Guest::from_options(options, image, 1);
    guest.boot_args.push(WORD.to_owned());
    let qemu = guest.command(Input::User);
    command::show(&qemu, options.verbose);
    let timeouts = Timeouts {
        silence: options.timeout,
        total: None,
    };
    let (mut console, mut done) = (Vec::new(), 0);
    let (end, _) = console::run(qemu, timeouts, |piece| {
        console.extend_from_slice(piece);
        let (text, used) = without_listings(&console[done..]);
        done += used;
        let mut out = io::stdout().lock();
        out.write_all(&text)?;
        out.flush()
    })?;
    Ok((end, String::from_utf8_lossy(&console).into_owned()))
}

/// Returns the text of a console's next bytes without the lines of listings, and how many
/// bytes it has used. It leaves an unfinished last line that may belong to a listing unused:
/// the caller passes that again, with the bytes that follow.
fn without_listings(bytes: &[u8]) -> (Vec<u8>, usize) {
    let (mut text, mut used) = (Vec::new(), 0);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let whole = line.ends_with(b"\n");
        let begins = line.len().min(MARK.len());
        let listed = line[..begins] == MARK.as_bytes()[..begins];
        match (listed, whole) {
            (true, false) => break,
            (true, true) => {}
            (false, _) => text.extend_from_slice(line),
        }
        used += line.len();
    }
    (text, used)
}

/// Draws all listings on a console. The last drawing has the application's name, those
/// before it have a number too. Returns the paths of the files.
///
/// # Errors
///
/// Fails if a listing is damaged, or a file cannot be written.
pub fn draw(console: &str, app: &str, machine: &Machine) -> Result<Vec<PathBuf>> {
    let spaces = maps::read(console).context("the listing on the console is damaged")?;
    let dir = root().join("target/maps");
    let mut paths = Vec::new();
    for (index, space) in spaces.iter().enumerate() {
        let (stem, title) = match index + 1 < spaces.len() {
            true => {
                let number = index + 1;
                (
                    format!("{app}-{machine}-{number}"),
                    format!("{app} on {machine}, while it ran ({number})"),
                )
            }
            false => (
                format!("{app}-{machine}"),
                format!("{app} on {machine}, at its end"),
            ),
        };
        let space_name = match space.name.as_str() {
            "" => "The kernel's address space".to_owned(),
            name => format!("The address space of {name}"),
        };
        let title = format!("{space_name}: {title}");
        for (kind, text) in [
            ("svg", to_svg(space, &title)),
            ("dot", to_dot(space, &title)),
        ] {
            let path = dir.join(format!("{stem}.{kind}"));
            files::write(&path, text)?;
            paths.push(path);
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_listings_are_not_shown() {
        let (text, used) = without_listings(b"one\r\n@map space\r\ntwo\r\n@ma");
        assert_eq!((text.as_slice(), used), (&b"one\r\ntwo\r\n"[..], 22));
        let (text, used) = without_listings(b"@man, half a line");
        assert_eq!((text.as_slice(), used), (&b"@man, half a line"[..], 17));
        assert_eq!(without_listings(b"@map end\n"), (Vec::new(), 9));
        assert_eq!(without_listings(b""), (Vec::new(), 0));
    }
}
