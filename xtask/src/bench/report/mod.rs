//! The report: one page of all that lies in `target/bench`, without a script and
//! without anything from elsewhere.
//!
//! | room | has |
//! |---|---|
//! | `findings` | what was measured, and what is known of where |
//! | `verdict` | a row held against its goal |
//! | `page` | the page, section by section |
//! | `many` | its section of many harts |
//! | `irqs` | its section of interrupts |
//! | `drawings`, `table` | what its sections are made of |
//! | `chart` | one bar chart |
//! | `html` | text and numbers as they stand in a page |

mod chart;
mod drawings;
mod findings;
mod html;
mod irqs;
mod many;
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

/// Writes `target/bench/report.html` and answers its path. `absent` says why
/// ArceOS was not measured just now, by machine.
pub fn write(absent: &HashMap<&str, String>) -> Result<PathBuf> {
    let dir = root().join("target/bench");
    let page = page::page(&Findings::read(&dir, absent));
    let path = dir.join("report.html");
    files::write(&path, page)?;
    Ok(path)
}
