//! Writes the report: one page on the costs of memory management, from the rows that `bench`
//! has written to `target/bench`. It does not show the rows of `bench-boot` and of
//! `memory_set`. The page holds no script, and loads nothing from other places.
//!
//! | module | what it holds |
//! |---|---|
//! | `findings` | the measured rows, and versions of the programs that measured |
//! | `verdict` | compares a row with its goal |
//! | `page` | the page, section by section |
//! | `many_harts` | the section on several harts |
//! | `irqs` | the section on interrupts |
//! | `charts`, `table` | the charts and tables of the sections |
//! | `chart` | one bar chart |
//! | `html` | text and numbers in HTML |

mod chart;
mod charts;
mod findings;
mod html;
mod irqs;
mod many_harts;
mod page;
mod table;
#[cfg(test)]
mod tests;
mod verdict;

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::Result;

use crate::files;
use crate::manifest::root;
use findings::Findings;

/// Writes `target/bench/report.html`, and returns its path. `absent` maps the name of a
/// machine to the reason why ArceOS could not be measured on it.
pub fn write(absent: &HashMap<&str, String>) -> Result<PathBuf> {
    let dir = root().join("target/bench");
    let page = page::page(&Findings::read(&dir, absent));
    let path = dir.join("report.html");
    files::write(&path, page)?;
    Ok(path)
}
