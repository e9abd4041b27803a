//! What is in an image, and that it stays as it is.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::Hasher;
use std::path::{Path, PathBuf};

use crate::image::Image;
use crate::symbols::Symbols;

use super::tally::Verdict;

/// Crates that only features bring: helloworld and overflow have none of them, memtest
/// all of the first two.
const FEATURE_CRATES: [&str; 6] = [
    "axmm",
    "axalloc",
    "alloc",
    "axtask",
    "page_table_multiarch",
    "page_table_entry",
];

/// Other people's allocators that only the benchmarks link.
const PEERS: [&str; 3] = ["axallocator", "bitmap_allocator", "buddy_system_allocator"];

/// An application links what it enables and nothing else.
pub fn symbols(app: &str, image: &Image) -> Verdict {
    let symbols = Symbols::of(image).map_err(|error| format!("{error:#}"))?;
    let crates = symbols.crates();
    if let Some(symbol) = PEERS.iter().find_map(|name| symbols.mention(name)) {
        return Err(format!("it is no benchmark and yet holds {symbol}"));
    }
    if app == "helloworld" || app == "overflow" {
        return match FEATURE_CRATES.iter().find_map(|name| symbols.mention(name)) {
            Some(symbol) => Err(format!("it enables none of it and yet holds {symbol}")),
            None if crates.is_empty() => Err("the image has no symbols".to_owned()),
            None => Ok(format!("none of {}", FEATURE_CRATES.join(", "))),
        };
    }
    match FEATURE_CRATES[..2]
        .iter()
        .find(|name| !crates.contains(**name))
    {
        Some(name) => Err(format!("nothing of {name} in it, only {crates:?}")),
        None => Ok(FEATURE_CRATES[..2].join(", ")),
    }
}

/// An image's files with a hash of each.
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

/// Every machine size booted the same bytes.
pub fn unchanged(images: &[(PathBuf, u64)]) -> Verdict {
    match images
        .iter()
        .find(|(path, before)| fingerprint(path) != Some(*before))
    {
        Some((path, _)) => Err(format!("{} has changed", path.display())),
        None if images.is_empty() => Err("there are no images".to_owned()),
        None => Ok(format!("{} files", images.len())),
    }
}
