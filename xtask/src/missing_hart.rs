//! A machine whose device tree lists a hart that it does not have: the boot must
//! name it, leave it out, and go on.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::console::End;
use crate::files;
use crate::manifest::root;
use crate::qemu::{Guest, Input};

/// The hardware id of the hart that is listed in place of the machine's last.
const ID: u32 = 0x39;

/// Harts that the device tree lists.
pub const HARTS: u32 = 3;

/// Writes the device tree of `guest`, which has [`HARTS`] harts, with the last
/// one's hardware id changed to [`ID`]; where it is.
pub fn device_tree(guest: &Guest) -> Result<PathBuf> {
    let dir = root().join("target/test");
    files::make_folder(&dir)?;
    let path = dir.join(format!("missing-hart-{}.dtb", guest.machine));
    let mut qemu = guest.command(Input::Nobody);
    let output = qemu
        .args(["-M", &format!("dumpdtb={}", path.display())])
        .output();
    let output = output.context("cannot run QEMU")?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(path.is_file(), "QEMU writes no device tree: {words}");
    rename_last_hart(&path)?;
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

/// Changes the property `reg` of the node of the last hart.
fn rename_last_hart(path: &Path) -> Result<()> {
    let mut blob = files::read(path)?;
    let at = last_hart_reg(&blob, HARTS - 1).context("the last hart is not in the device tree")?;
    blob[at..at + 4].copy_from_slice(&ID.to_be_bytes());
    files::write(path, blob)
}

/// Where the value of `reg` of the node `cpu@N` lies (Devicetree Specification
/// v0.4, 5.4: a property is its token, the value's length, the name's place among
/// the strings, and the value).
fn last_hart_reg(blob: &[u8], hart: u32) -> Option<usize> {
    const STRINGS_FIELD: usize = 12;
    let word = |at: usize| Some(u32::from_be_bytes(*blob.get(at..)?.first_chunk()?));
    let find = |from: usize, what: &[u8]| {
        let found = blob
            .get(from..)?
            .windows(what.len())
            .position(|bytes| bytes == what)?;
        Some(from + found)
    };
    let strings = word(STRINGS_FIELD)? as usize;
    let reg = find(strings, b"\0reg\0")? + 1 - strings;
    let node = find(0, format!("cpu@{hart}\0").as_bytes())?;
    let property: Vec<u8> = [3, 4, reg as u32, hart]
        .iter()
        .flat_map(|word| word.to_be_bytes())
        .collect();
    Some(find(node, &property)? + 12)
}

#[cfg(test)]
mod tests {
    use super::last_hart_reg;

    #[test]
    fn the_hart_is_found_by_its_node_and_its_property() {
        let words = |words: &[u32]| words.iter().flat_map(|word| word.to_be_bytes()).collect();
        let mut blob: Vec<u8> = words(&[0xd00d_feed, 0, 16, 0]);
        blob.extend(b"cpu@2\0\0\0");
        // `phandle` has the same value as `reg`, and stands before it.
        blob.extend::<Vec<u8>>(words(&[3, 4, 1, 2, 3, 4, 9, 2]));
        let strings = blob.len() as u32;
        blob[12..16].copy_from_slice(&strings.to_be_bytes());
        blob.extend(b"\0phandle\0reg\0");
        assert_eq!(last_hart_reg(&blob, 2), Some(16 + 8 + 16 + 12));
        assert_eq!(last_hart_reg(&blob, 3), None);
    }
}
