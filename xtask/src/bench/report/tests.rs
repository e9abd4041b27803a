//! The page of fixed figures.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use super::findings::Findings;
use super::page::page;
use super::verdict::{Outcome, Verdict};
use crate::bench::goals::GOALS;

/// A folder of files, gone with the value.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str, files: &[(&str, &str)]) -> Folder {
        let path =
            std::env::temp_dir().join(format!("tessera-report-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        for (file, rows) in files {
            fs::write(path.join(file), format!("{{\"rows\": [\n{rows}\n]}}\n")).unwrap();
        }
        Folder(path)
    }

    fn findings(&self, absent: &[(&'static str, &str)]) -> Findings {
        let absent: HashMap<&str, String> = absent
            .iter()
            .map(|(arch, why)| (*arch, (*why).to_owned()))
            .collect();
        Findings::read(&self.0, &absent)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn row(name: &str, value: f64) -> String {
    format!(r#"  {{"name": "{name}", "value": {value}, "unit": "instructions"}}"#)
}

fn ours() -> String {
    [
        row("frame.zero", 100.0),
        row("fault.lazy_write", 400.0),
        row("populate.page", 131.0),
        row("unmap.page", 39.0),
        row("map_unmap.10", 1201.0),
        row("frame.pair", 39.0),
        row("frame.pair@<peer>", 78.0),
    ]
    .join(",\n")
}

fn outcome(findings: &Findings, name: &str) -> Outcome {
    let goal = GOALS.iter().find(|goal| goal.row == name).unwrap();
    Verdict::new(goal, &findings.machines[0]).unwrap().outcome
}

/// The line of the page's first table that has a row's name.
fn line<'page>(page: &'page str, name: &str) -> &'page str {
    let begin = format!("<td class='row' rowspan=1><code>{name}</code>");
    page.lines().find(|line| line.contains(&begin)).unwrap()
}

#[test]
fn goals_are_held_against_the_rows() {
    let folder = Folder::new("goals", &[("mmbench-riscv64.json", &ours())]);
    let findings = folder.findings(&[]);
    assert_eq!(outcome(&findings, "fault.lazy_write"), Outcome::Reached);
    assert_eq!(outcome(&findings, "populate.page"), Outcome::Missed);
    assert_eq!(outcome(&findings, "unmap.page"), Outcome::Reached);
    assert_eq!(outcome(&findings, "cow.reuse"), Outcome::NotMeasured);

    let page = page(&findings);
    assert!(line(&page, "fault.lazy_write").contains("'mark ok' data-of=''>reached"));
    assert!(line(&page, "populate.page").contains("'mark miss' data-of=''>missed"));
    assert!(line(&page, "cow.reuse").contains("not measured"));
    // Authors' figures, with a star and as a ratio.
    assert!(line(&page, "fault.lazy_write").contains("<b>5.5\u{202f}×</b> <small>2,193*</small>"));
}

#[test]
fn only_what_falls_short_has_a_reason() {
    let folder = Folder::new("reasons", &[("mmbench-riscv64.json", &ours())]);
    let page = page(&folder.findings(&[]));
    let reason = |name| GOALS.iter().find(|goal| goal.row == name).unwrap().reason;
    let shown = |name| page.contains(&super::html::escape(reason(name)));
    assert!(shown("map_unmap.10") && shown("cow.copy"));
    let reached = row("map_unmap.10", 1100.0);
    let reached = Folder::new("no-reasons", &[("mmbench-riscv64.json", &reached)]);
    let short = super::html::escape(reason("map_unmap.10"));
    assert!(!self::page(&reached.findings(&[])).contains(&short));
    // populate.page has none noted.
    assert_eq!(page.matches("Not looked into yet").count(), 1);
}

#[test]
fn what_was_measured_here_goes_before_the_authors_figures() {
    let arceos = row("fault.lazy_write", 2000.0);
    let files = [
        ("mmbench-riscv64.json", ours()),
        ("arceos-riscv64.json", arceos),
    ];
    let folder = Folder::new(
        "here",
        &files.each_ref().map(|(file, rows)| (*file, rows.as_str())),
    );
    let page = page(&folder.findings(&[]));
    assert!(line(&page, "fault.lazy_write").contains("<b>5.0\u{202f}×</b> <small>2,000</small>"));
    assert!(line(&page, "unmap.page").contains("<small>182*</small>"));
}

#[test]
fn rows_that_nobody_has_heard_of_are_shown() {
    let rows = ours() + ",\n" + &row("switch.user", 77.5);
    let folder = Folder::new("rest", &[("mmbench-riscv64.json", &rows)]);
    let page = page(&folder.findings(&[]));
    let line = page.lines().find(|line| line.contains("switch.user"));
    assert!(line.unwrap().contains("data-of='riscv64'>77.5"));
}

#[test]
fn text_is_escaped() {
    let folder = Folder::new("escape", &[("mmbench-x86_64.json", &ours())]);
    let page = page(&folder.findings(&[("x86_64", "error: <no> crate & \"none\"")]));
    assert!(page.contains("not measured: error: &lt;no&gt; crate &amp; &quot;none&quot;"));
    assert!(page.contains("&lt;peer&gt;"));
    assert!(!page.contains("<no>") && !page.contains("<peer>"));
}

#[test]
fn missing_and_broken_files_do_not_fail() {
    let page_of = |folder: &Folder| page(&folder.findings(&[]));
    assert!(page_of(&Folder::new("none", &[])).contains("Nothing has been measured"));
    let broken = Folder::new(
        "broken",
        &[("mmbench-riscv64.json", "no JSON"), ("axmm-host.json", "")],
    );
    assert!(page_of(&broken).contains("Nothing has been measured"));
    let host = row("map_lazy.1g", 100.0) + ",\n" + &row("map_lazy.1g@other", 250.0);
    let host = Folder::new("host", &[("axmm-host.json", &host)]);
    assert!(page_of(&host).contains("<b>2.5\u{202f}×</b> other"));
}

#[test]
fn a_machine_without_goals_has_rows_and_no_verdict() {
    let folder = Folder::new("loong", &[("mmbench-loongarch64.json", &ours())]);
    let page = page(&folder.findings(&[]));
    assert!(page.contains("no goals are set for it"));
    assert!(page.contains("Allocators"));
    for word in ["All rows", "Every goal is reached", "falls short"] {
        assert!(!page.contains(word), "{word}");
    }
}

#[test]
fn nothing_comes_from_elsewhere() {
    let folder = Folder::new("alone", &[("mmbench-riscv64.json", &ours())]);
    let page = page(&folder.findings(&[]));
    for word in ["<script", "http:", "https:", "url(", "@import", " src="] {
        assert!(!page.contains(word), "{word}");
    }
}
