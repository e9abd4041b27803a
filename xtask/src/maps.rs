//! `maps`: boots an application, and draws each listing of an address space that
//! its console holds: the one at its end, and those that it prints itself.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use maps::{MARK, to_dot, to_svg};

use crate::command;
use crate::console::{self, Patience};
use crate::failure::Failure;
use crate::files;
use crate::image::{Image, Recipe};
use crate::machine::Machine;
use crate::manifest::root;
use crate::options::Options;
use crate::qemu::{self, Guest, Input};

/// The kernel's feature that prints the listing at the end.
pub const FEATURE: &str = "maps";
/// The word that lets an application know that it may print listings, too.
pub const WORD: &str = "maps=1";

/// Draws `target/maps/APP-ARCH.svg` and `.dot`, and ends with the guest's status.
pub fn maps(options: &Options) -> Result<(), Failure> {
    let machine = options.machine();
    qemu::set_up(&[machine])?;
    let mut recipe = Recipe::asked(options);
    recipe.features.push(FEATURE.to_owned());
    let image = recipe.build(options.verbose)?;
    let (end, console) = boot(options, &image)?;
    let paths = draw(&console, &recipe.app.name, machine)?;
    if paths.is_empty() {
        let app = &recipe.app.name;
        return Err(Failure::with_status(
            end.status().max(1),
            format!(
                "{app} has no address space to draw: it is built without the feature `paging`, \
                 or did not come to its end; FEATURES=paging adds it"
            ),
        ));
    }
    paths.iter().for_each(|path| say!("{}", path.display()));
    qemu::verdict(&end)
}

/// Boots the image, and passes on what is for people. Answers how it ended, and
/// the whole console.
fn boot(options: &Options, image: &Image) -> Result<(console::End, String)> {
    let mut guest = Guest::asked(options, image, 1);
    guest.boot_args.push(WORD.to_owned());
    let qemu = guest.command(Input::User);
    command::show(&qemu, options.verbose);
    let patience = Patience {
        silence: options.timeout,
        whole: None,
    };
    let (mut console, mut shown) = (Vec::new(), 0);
    let (end, _) = console::run(qemu, patience, |piece| {
        console.extend_from_slice(piece);
        let (text, seen) = for_people(&console[shown..]);
        shown += seen;
        let mut out = io::stdout().lock();
        out.write_all(&text)?;
        out.flush()
    })?;
    Ok((end, String::from_utf8_lossy(&console).into_owned()))
}

/// What of a console's next bytes is to be shown, and how many have been looked at:
/// a last line that may yet become one of a listing has not.
fn for_people(bytes: &[u8]) -> (Vec<u8>, usize) {
    let (mut text, mut seen) = (Vec::new(), 0);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let whole = line.ends_with(b"\n");
        let begins = line.len().min(MARK.len());
        let listed = line[..begins] == MARK.as_bytes()[..begins];
        match (listed, whole) {
            (true, false) => break,
            (true, true) => {}
            (false, _) => text.extend_from_slice(line),
        }
        seen += line.len();
    }
    (text, seen)
}

/// Draws all address spaces of a console: the last under the application's name,
/// those before with a number. Answers the files.
///
/// # Errors
///
/// A listing that makes no sense, or a file that cannot be written.
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
        let title = format!("The kernel's address space: {title}");
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
    fn listings_are_not_for_people() {
        let (text, seen) = for_people(b"one\r\n@map space\r\ntwo\r\n@ma");
        assert_eq!((text.as_slice(), seen), (&b"one\r\ntwo\r\n"[..], 22));
        let (text, seen) = for_people(b"@man, half a line");
        assert_eq!((text.as_slice(), seen), (&b"@man, half a line"[..], 17));
        assert_eq!(for_people(b"@map end\n"), (Vec::new(), 9));
        assert_eq!(for_people(b""), (Vec::new(), 0));
    }
}
