//! Tests of the page, with fixed figures.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use super::findings::Findings;
use super::page::page;
use super::verdict::{Outcome, Verdict};
use crate::bench::cost_goals::GOALS;

/// A folder of files, which is removed when the value is dropped.
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

/// Returns the line of a row in the page's first table.
fn line<'page>(page: &'page str, name: &str) -> &'page str {
    let begin = format!("<td class='row' rowspan=1><code>{name}</code>");
    page.lines().find(|line| line.contains(&begin)).unwrap()
}

#[test]
fn rows_are_compared_with_their_goals() {
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
    // The authors' figures have a star, and are shown as a ratio too.
    assert!(line(&page, "fault.lazy_write").contains("<b>5.5\u{202f}×</b> <small>2,193*</small>"));
}

#[test]
fn only_missed_goals_have_a_reason() {
    let folder = Folder::new("reasons", &[("mmbench-riscv64.json", &ours())]);
    let page = page(&folder.findings(&[]));
    let reason = |name| GOALS.iter().find(|goal| goal.row == name).unwrap().reason;
    let shown = |name| page.contains(&super::html::escape(reason(name)));
    assert!(shown("map_unmap.10"));
    let reached = row("map_unmap.10", 1100.0);
    let reached = Folder::new("no-reasons", &[("mmbench-riscv64.json", &reached)]);
    let short = super::html::escape(reason("map_unmap.10"));
    assert!(!self::page(&reached.findings(&[])).contains(&short));
    // No reason is noted for populate.page, which is missed.
    assert_eq!(page.matches("Not analysed yet").count(), 1);
}

#[test]
fn figures_measured_here_replace_the_authors_figures() {
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
fn rows_without_a_goal_are_shown() {
    let rows = ours() + ",\n" + &row("switch.user", 77.5);
    let folder = Folder::new("rest", &[("mmbench-riscv64.json", &rows)]);
    let page = page(&folder.findings(&[]));
    let line = page.lines().find(|line| line.contains("switch.user"));
    assert!(line.unwrap().contains("data-of='riscv64'>77.5"));
}

fn threads() -> String {
    let spread = |name: &str, whose: &str, [median, least, most]: [f64; 3]| {
        [("", median), (".min", least), (".max", most)]
            .map(|(which, value)| row(&format!("{name}{which}{whose}"), value))
            .join(",\n")
    };
    [
        spread("threads.fault_one_area", "", [1.96, 1.9, 1.99]),
        spread("threads.fault_one_area", "@linux", [1.5, 1.41, 1.54]),
        spread("threads.fault_one_area", "@<lock>", [0.9, 0.8, 1.0]),
        spread("threads.map_touch_unmap.1", "", [1.79, 1.2, 1.85]),
        spread("threads.frame_pair", "", [-0.5, -1.0, 4.0]),
        row("threads.load", 7.25),
    ]
    .join(",\n")
}

#[test]
fn two_threads_are_compared_with_other_projects_and_their_goal() {
    let folder = Folder::new("threads", &[("axmm-threads.json", &threads())]);
    let page = page(&folder.findings(&[]));
    let line = |name: &str| {
        let begin = format!("<code>{name}</code><small>");
        page.lines().find(|line| line.contains(&begin)).unwrap()
    };
    let faults = line("threads.fault_one_area");
    assert!(faults.contains("<b>1.96</b> <small>(1.90 to 1.99)</small>"));
    assert!(faults.contains("Linux <b>1.50</b> <small>(1.41 to 1.54)</small>"));
    assert!(faults.contains("at least 1.95") && faults.contains("'mark ok' data-of=''>reached"));
    assert!(line("threads.map_touch_unmap.1").contains("'mark miss' data-of=''>missed"));
    assert!(line("threads.frame_pair").contains("at most 5\u{202f}%"));
    assert!(line("threads.frame_pair").contains("reached"));
    // The chart goes from 0 to 2, and leaves out the row in percent.
    assert!(page.contains("<code>fault_one_area</code>"));
    assert!(page.contains("left:0.00%;width:75.00%") && page.contains("1.50 Linux"));
    assert!(!page.contains("<code>frame_pair</code>"));
    assert!(page.contains("load was 7.25"));
    assert!(page.contains("&lt;lock&gt;") && !page.contains("<lock>"));
}

#[test]
fn disturbed_harts_are_shown_for_each_machine() {
    let counted = |name: &str, [requests, carried_out, interrupts]: [f64; 3]| {
        [1, 64, 4096]
            .map(|pages| {
                let name = format!("asked.{name}.{pages}");
                [
                    row(&format!("{name}.requests"), requests),
                    row(&format!("{name}.carried_out"), carried_out),
                    row(&format!("{name}.interrupts"), interrupts),
                ]
                .join(",\n")
            })
            .join(",\n")
    };
    let rows = |carried_out, interrupts| {
        [
            counted("kernel.unmap", [1.0, carried_out, interrupts]),
            counted("kernel.widen", [1.0, carried_out, interrupts]),
            counted("nobody.unmap", [0.0; 3]),
        ]
        .join(",\n")
    };
    let (x86_64, riscv64) = (rows(0.0, 1.0), rows(1.0, 0.0));
    let files = [
        ("mmbench-x86_64.json", ours()),
        ("mmbench-riscv64.json", ours()),
        ("harts-x86_64.json", x86_64),
        ("harts-riscv64.json", riscv64),
    ];
    let folder = Folder::new(
        "asked",
        &files.each_ref().map(|(file, rows)| (*file, rows.as_str())),
    );
    let page = page(&folder.findings(&[]));
    let line = |name: &str| {
        let begin = format!("<code>asked.{name}</code>");
        page.lines().find(|line| line.contains(&begin)).unwrap()
    };
    let unmap = line("kernel.unmap");
    assert!(unmap.contains("'mark ok' data-of=''>reached"), "{unmap}");
    assert!(unmap.contains("<b>1 · 1 · 1</b> interrupts") && unmap.contains("no interrupt<"));
    let widen = line("kernel.widen");
    assert!(
        widen.contains("missed") && widen.contains("at most 0"),
        "{widen}"
    );
    assert!(line("nobody.unmap").contains("reached"));
    assert!(line("one.unmap").contains("not measured"));
}

#[test]
fn disabled_interrupts_are_shown_for_each_machine() {
    let rows = |most| {
        let rows = [
            row("irqs_out.idle", 600.0),
            row("irqs_out.unmap.2m", 12_000.0),
            row("irqs_out.populate.512m", most),
        ];
        rows.join(",\n")
    };
    let (riscv64, x86_64) = (rows(19_000.0), rows(68.8e6));
    let files = [
        ("mmbench-riscv64.json", ours()),
        ("mmbench-x86_64.json", ours()),
        ("irqs-riscv64.json", riscv64),
        ("irqs-x86_64.json", x86_64),
    ];
    let folder = Folder::new(
        "irqs",
        &files.each_ref().map(|(file, rows)| (*file, rows.as_str())),
    );
    let page = page(&folder.findings(&[]));
    let line = |name: &str| {
        let begin = format!("<code>irqs_out.{name}</code>");
        page.lines().find(|line| line.contains(&begin)).unwrap()
    };
    assert!(line("idle").contains("reached"));
    assert!(line("unmap.2m").contains("12,000") && line("unmap.2m").contains("reached"));
    let populate = line("populate.512m");
    assert!(populate.contains("19,000") && populate.contains("68.8\u{202f}M"));
    assert!(populate.contains("missed") && populate.contains("at most 20000"));
    assert!(line("listing.4k").contains("not measured"));
    let without = Folder::new("no-irqs", &[("mmbench-riscv64.json", &ours())]);
    assert!(!self::page(&without.findings(&[])).contains("irqs_out"));
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
fn a_host_that_was_not_measured_is_named() {
    let rows = row("frame.pair", 39.0);
    let names = |files: &[(&str, &str)]| {
        let folder = Folder::new("callgrind", files);
        page(&folder.findings(&[])).contains("under callgrind</dt><dd>not measured: ")
    };
    let all = [("axmm-host.json", &*rows), ("axalloc-host.json", &*rows)];
    assert!(names(&[]) && names(&all[..1]) && !names(&all));
}

#[test]
fn a_machine_without_goals_has_rows_but_no_verdict() {
    let folder = Folder::new("loong", &[("mmbench-loongarch64.json", &ours())]);
    let page = page(&folder.findings(&[]));
    assert!(page.contains("no goals are set for it"));
    assert!(page.contains("Allocators"));
    for word in ["All rows", "All goals are reached", "Missed goals"] {
        assert!(!page.contains(word), "{word}");
    }
}

#[test]
fn the_page_loads_nothing_from_other_places() {
    let folder = Folder::new("alone", &[("mmbench-riscv64.json", &ours())]);
    let page = page(&folder.findings(&[]));
    for word in ["<script", "http:", "https:", "url(", "@import", " src="] {
        assert!(!page.contains(word), "{word}");
    }
}
