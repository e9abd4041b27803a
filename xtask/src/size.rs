//! `size`: prints how many bytes of an image come from each crate.

use anyhow::Result;

use crate::failure::Failure;
use crate::image::{Image, Recipe};
use crate::options::Options;
use crate::symbols::{Bytes, PARTS, Part, Symbols, in_file};

/// Builds the image and prints the table.
pub fn size(options: &Options) -> Result<(), Failure> {
    let image = Recipe::from_options(options).build(options.verbose)?;
    print(&image)?;
    Ok(())
}

fn print(image: &Image) -> Result<()> {
    let symbols = Symbols::of(image)?;
    say!(
        "{:<24}{:>9}{:>9}{:>9}{:>9}{:>9}",
        "module",
        "text",
        "rodata",
        "data",
        "image",
        "bss"
    );
    for (name, bytes) in symbols.shares() {
        row(&name, &bytes);
    }
    row("sum", &symbols.totals());
    say!(
        "flat binary: {} bytes, {}",
        image.bytes()?,
        image.bin.display()
    );
    Ok(())
}

fn row(name: &str, bytes: &Bytes) {
    let [text, rodata, data, bss] = PARTS.map(|part: Part| bytes[part as usize]);
    say!(
        "{name:<24}{text:>9}{rodata:>9}{data:>9}{:>9}{bss:>9}",
        in_file(bytes)
    );
}
