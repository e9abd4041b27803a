//! A test of a machine whose device tree lists a hart that does not exist. The kernel must
//! name that hart, leave it out, and boot with the others.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::console::End;
use crate::device_tree::Tree;
use crate::files;
use crate::manifest::root;
use crate::qemu::Guest;

/// The hardware id of the hart that does not exist. It replaces the id of the last hart.
const ID: u32 = 0x39;

/// The number of harts in the device tree.
pub const HARTS: u32 = 3;

/// Writes the device tree of `guest`, which has [`HARTS`] harts, with the last hart's
/// hardware id changed to [`ID`]. Returns the file's path.
///
/// # Errors
///
/// Fails if QEMU makes no device tree, if the last hart is not in it, or if the file cannot
/// be written.
pub fn device_tree(guest: &Guest) -> Result<PathBuf> {
    let path = root().join(format!("target/test/missing-hart-{}.dtb", guest.machine));
    let mut tree = Tree::of(guest, &path)?;
    let last = format!("cpu@{}", HARTS - 1);
    let harts = &mut tree.root.child("cpus").children;
    let hart = harts.iter_mut().find(|node| node.name == last);
    let hart = hart.context("the last hart is not in the device tree")?;
    hart.set("reg", &ID.to_be_bytes());
    files::write(&path, tree.write())?;
    Ok(path)
}

/// Checks that all other harts have started, and that the missing one was named.
///
/// # Errors
///
/// Fails with what the console should have said.
pub fn verify(end: &End, console: &str) -> Result<String, String> {
    let named = format!("(hardware id {ID:#x}) did not come up and is left out");
    let others = format!("FAIL {}/{HARTS}", HARTS - 1);
    match end {
        // smpboot ends with status 1 because a hart is missing.
        End::Exit(1, words) if console.contains(&named) && console.contains(&others) => {
            Ok(format!("named and left out, {words}"))
        }
        end => Err(format!(
            "{}; wanted: \"{named}\" and \"{others}\"",
            end.describe()
        )),
    }
}
