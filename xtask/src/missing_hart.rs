//! A machine whose device tree lists a hart that it does not have: the boot must
//! name it, leave it out, and go on.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::console::End;
use crate::device_tree::Tree;
use crate::files;
use crate::manifest::root;
use crate::qemu::Guest;

/// The hardware id of the hart that is listed in place of the machine's last.
const ID: u32 = 0x39;

/// Harts that the device tree lists.
pub const HARTS: u32 = 3;

/// Writes the device tree of `guest`, which has [`HARTS`] harts, with the last
/// one's hardware id changed to [`ID`]; where it is.
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

/// The boot has gone on with all harts but that one, which is named.
pub fn verify(end: &End, console: &str) -> Result<String, String> {
    let named = format!("(hardware id {ID:#x}) did not come up and is left out");
    let others = format!("FAIL {}/{HARTS}", HARTS - 1);
    match end {
        // smpboot's own verdict: a hart is missing.
        End::Exit(1, words) if console.contains(&named) && console.contains(&others) => {
            Ok(format!("named and left out, {words}"))
        }
        end => Err(format!(
            "{}; wanted: \"{named}\" and \"{others}\"",
            end.describe()
        )),
    }
}
