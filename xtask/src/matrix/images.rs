//! Checks which crates an image holds, and that booting does not change it.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::Hasher;
use std::path::{Path, PathBuf};

use crate::image::Image;
use crate::symbols::Symbols;

use super::tally::Verdict;

/// Crates that only features of the kernel add. helloworld and overflow enable no feature, so
/// they must hold none of these crates.
const FEATURE_CRATES: [&str; 6] = [
    "axmm",
    "axalloc",
    "alloc",
    "axtask",
    "page_table_multiarch",
    "page_table_entry",
];

/// The crates that all other applications must hold.
const REQUIRED_CRATES: [&str; 2] = ["axmm", "axalloc"];

/// Other projects' allocators, which only the benchmarks link.
const PEERS: [&str; 3] = ["axallocator", "bitmap_allocator", "buddy_system_allocator"];

/// Checks by an image's symbols that it holds [`REQUIRED_CRATES`], or if the application
/// enables no feature, none of [`FEATURE_CRATES`]. No image may hold [`PEERS`].
pub fn links_expected_crates(app: &str, image: &Image) -> Verdict {
    let symbols = Symbols::of(image).map_err(|error| format!("{error:#}"))?;
    let crates = symbols.crates();
    if let Some(symbol) = PEERS.iter().find_map(|name| symbols.mention(name)) {
        return Err(format!(
            "only benchmarks may link other projects' allocators; it holds {symbol}"
        ));
    }
    if app == "helloworld" || app == "overflow" {
        return match FEATURE_CRATES.iter().find_map(|name| symbols.mention(name)) {
            Some(symbol) => Err(format!("it enables no feature, but holds {symbol}")),
            None if crates.is_empty() => Err("the image has no symbols".to_owned()),
            None => Ok(format!("none of {}", FEATURE_CRATES.join(", "))),
        };
    }
    match REQUIRED_CRATES.iter().find(|name| !crates.contains(**name)) {
        Some(name) => Err(format!("it should hold {name}, but has only {crates:?}")),
        None => Ok(REQUIRED_CRATES.join(", ")),
    }
}

/// Returns the paths of an image's files, each with a hash of its contents.
pub fn fingerprints(image: &Image) -> Vec<(PathBuf, u64)> {
    [&image.elf, &image.bin]
        .into_iter()
        .filter_map(|path| Some((path.clone(), fingerprint(path)?)))
        .collect()
}

fn fingerprint(path: &Path) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    hasher.write(&fs::read(path).ok()?);
    Some(hasher.finish())
}

/// Checks that the images are unchanged after all boots: machines of every size boot the
/// same bytes.
pub fn unchanged(images: &[(PathBuf, u64)]) -> Verdict {
    match images
        .iter()
        .find(|(path, before)| fingerprint(path) != Some(*before))
    {
        Some((path, _)) => Err(format!("{} has changed since it was built", path.display())),
        None if images.is_empty() => Err("no image was built".to_owned()),
        None => Ok(format!("{} files", images.len())),
    }
}
