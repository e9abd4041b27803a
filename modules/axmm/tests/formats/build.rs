//! Finds the directory of the sources of `page_table_entry`, and includes formats from it.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// The formats that the crate leaves out on an x86_64 host.
const FORMATS: [&str; 3] = ["aarch64", "loongarch64", "riscv"];

fn main() -> Result<(), Box<dyn Error>> {
    let arch = sources()?.join("src/arch");
    let mut modules = String::new();
    for format in FORMATS {
        let path = arch.join(format!("{format}.rs"));
        println!("cargo::rerun-if-changed={}", path.display());
        modules += &format!(
            "#[path = {path:?}]\n#[allow(missing_docs, warnings, clippy::all)]\n\
             #[doc = \"As its name says.\"]\npub mod {format};\n"
        );
    }
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var("OUT_DIR")?).join("formats.rs");
    fs::write(out, modules)?;
    Ok(())
}

/// Returns the directory of the version that this build uses.
fn sources() -> Result<PathBuf, Box<dyn Error>> {
    let output = Command::new(env::var("CARGO")?)
        .args(["metadata", "--format-version", "1", "--filter-platform"])
        .arg(env::var("TARGET")?)
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let manifests = text.split("\"manifest_path\":\"").skip(1);
    let mut folders = manifests
        .filter_map(|rest| rest.split('"').next())
        .filter_map(|manifest| Path::new(manifest).parent());
    let is_it = |folder: &&Path| {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        name == "page_table_entry" || name.starts_with("page_table_entry-")
    };
    let found = folders.find(is_it).map(Path::to_path_buf);
    found.ok_or_else(|| String::from_utf8_lossy(&output.stderr).into())
}
