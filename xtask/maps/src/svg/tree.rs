//! Draws the page table. Each level is a row, and each table is a box. An arrow leads to it
//! from the entry that points to it. The tables of the lowest level hang below the row of the
//! next level. The strip in a box shows the table's 512 entries from left to right.

use crate::format::{count, page, rights};
use crate::{ENTRIES, Entry, Run, Table};

use super::canvas::{Canvas, Style};
use super::{MARGIN, WIDTH, class};

/// The largest number of boxes side by side.
const ROW: usize = 5;
/// The largest number of boxes that hang below a box.
const HANGING: usize = 5;
/// The largest number of lines with runs in a box.
const LISTED_RUNS: usize = 4;
/// The x coordinate at which boxes may begin. The text about a level is to the left.
const LEFT: f64 = MARGIN + 142.0;
/// The width of a box, and the distance of its text and its strip from its border.
const BOX: f64 = 184.0;
const PAD: f64 = 9.0;
/// The heights of a line of text, and of the strip at the bottom of a box.
const LINE: f64 = 14.0;
const STRIP: f64 = 18.0;
/// The space between two rows, through which the arrows go.
const ROW_SPACING: f64 = 48.0;
/// How far a hanging box is to the right of the box above, and below the hanging box before.
const INDENT: f64 = 16.0;
const SPACING: f64 = 16.0;

/// A box. `above` is the index of its parent's box in the row above.
struct Shown<'a> {
    what: What<'a>,
    above: usize,
}

enum What<'a> {
    Table(&'a Table),
    /// Neighbouring tables that share a box, because there is no space for a box each.
    Stack(Vec<&'a Table>),
}

impl What<'_> {
    /// The class of the box: other page tables use what has the class `lent`.
    fn class(&self) -> &'static str {
        let is_shared = match self {
            Self::Table(table) => table.is_shared,
            Self::Stack(tables) => tables.iter().all(|table| table.is_shared),
        };
        if is_shared { "lent" } else { "box" }
    }
}

/// Draws the tables from `y` down. Returns the y coordinate of their end.
pub fn draw(canvas: &mut Canvas, y: f64, root: &Table) -> f64 {
    canvas.text(MARGIN, y, Style::Head, "page table");
    canvas.line(MARGIN, WIDTH - MARGIN, y + 8.0);
    let mut row = vec![Shown {
        what: What::Table(root),
        above: 0,
    }];
    let mut tables = vec![root];
    let mut y = y + 24.0;
    loop {
        draw_level(canvas, y, &tables);
        let bottom = draw_row(canvas, y, &row);
        tables = tables.iter().flat_map(|table| table.tables()).collect();
        y = bottom + ROW_SPACING;
        match tables.first().map(|table| table.level) {
            None => return bottom,
            Some(0) => {
                draw_level(canvas, y, &tables);
                let ends = places(row.len())
                    .zip(&row)
                    .map(|(x, shown)| draw_hanging(canvas, (x, bottom), shown));
                return ends.fold(y + 4.0 * LINE, f64::max);
            }
            Some(_) => {}
        }
        let next = next_row(&row);
        arrows(canvas, (&row, bottom), (&next, y));
        row = next;
    }
}

/// Draws the text about a level.
fn draw_level(canvas: &mut Canvas, y: f64, tables: &[&Table]) {
    let Some(first) = tables.first() else { return };
    let used: u64 = tables.iter().map(|table| table.used()).sum();
    canvas.text(
        MARGIN,
        y + 12.0,
        Style::Head,
        &format!("level {}", first.level),
    );
    for (line, words) in [
        count(tables.len() as u64, "table"),
        format!("{used} entries used"),
        format!("each for {}", page(first.level)),
    ]
    .iter()
    .enumerate()
    {
        canvas.text(
            MARGIN,
            y + 12.0 + (line as f64 + 1.0) * LINE,
            Style::Small,
            words,
        );
    }
}

/// The x coordinates of the boxes of a row.
fn places(boxes: usize) -> impl Iterator<Item = f64> {
    let share = (WIDTH - MARGIN - INDENT - LEFT) / boxes as f64;
    (0..boxes).map(move |index| LEFT + share * (index as f64 + 0.5) - BOX / 2.0)
}

/// Draws the tables of level 0 right below a box, one box below the other. `from` is the y
/// coordinate of the box's end. Returns the y coordinate of their end.
fn draw_hanging(canvas: &mut Canvas, (x, from): (f64, f64), shown: &Shown) -> f64 {
    let tables = children(shown);
    let alone = match (&shown.what, tables.len()) {
        (What::Table(_), all) if all <= HANGING => all,
        (What::Table(_), _) => HANGING - 1,
        (What::Stack(_), _) => 0,
    };
    let (alone, rest) = tables.split_at(alone);
    let boxes = alone.iter().map(|table| What::Table(table));
    let stack = (!rest.is_empty()).then(|| What::Stack(rest.to_vec()));
    let mut y = from + ROW_SPACING;
    for what in boxes.chain(stack) {
        let words = words(&what);
        let height = height(words.len());
        canvas.elbow((x + INDENT / 2.0, from), (x + INDENT, y + height / 2.0));
        draw_box(canvas, (x + INDENT, y), height, &what, &words);
        y += height + SPACING;
    }
    y
}

/// Chooses the boxes of the next row. At first all children of a table share one box. While the
/// row has space, the table with the most children in a shared box gets one more box, for one of
/// these children alone.
fn next_row<'a>(row: &[Shown<'a>]) -> Vec<Shown<'a>> {
    let tables: Vec<Vec<&Table>> = row.iter().map(children).collect();
    let mut boxes_of: Vec<usize> = tables.iter().map(|all| all.len().min(1)).collect();
    while boxes_of.iter().sum::<usize>() < ROW {
        let left = |&at: &usize| match row[at].what {
            What::Table(_) => tables[at].len() - boxes_of[at],
            What::Stack(_) => 0,
        };
        match (0..row.len()).max_by_key(left).filter(|at| left(at) > 0) {
            Some(largest) => boxes_of[largest] += 1,
            None => break,
        }
    }
    let mut next = Vec::new();
    for (above, (tables, count)) in tables.into_iter().zip(boxes_of).enumerate() {
        let alone = if count < tables.len() {
            count - 1
        } else {
            count
        };
        let (alone, rest) = tables.split_at(alone);
        let boxes = alone.iter().map(|table| What::Table(table));
        let stack = (!rest.is_empty()).then(|| What::Stack(rest.to_vec()));
        next.extend(boxes.chain(stack).map(|what| Shown { what, above }));
    }
    next
}

/// The tables right below a box.
fn children<'a>(shown: &Shown<'a>) -> Vec<&'a Table> {
    match &shown.what {
        What::Table(table) => table.tables().collect(),
        What::Stack(tables) => tables.iter().flat_map(|table| table.tables()).collect(),
    }
}

/// Draws the boxes of a row, all with the height of the highest. Returns the y coordinate of
/// their end.
fn draw_row(canvas: &mut Canvas, y: f64, row: &[Shown]) -> f64 {
    let words: Vec<Vec<String>> = row.iter().map(|shown| words(&shown.what)).collect();
    let height = height(words.iter().map(Vec::len).max().unwrap_or_default());
    for ((x, shown), words) in places(row.len()).zip(row).zip(&words) {
        draw_box(canvas, (x, y), height, &shown.what, words);
    }
    y + height
}

/// The height of a box with this number of lines.
fn height(lines: usize) -> f64 {
    2.0 * PAD + lines as f64 * LINE + STRIP
}

fn draw_box(canvas: &mut Canvas, (x, y): (f64, f64), height: f64, what: &What, words: &[String]) {
    if let What::Stack(_) = what {
        for shift in [8.0, 4.0, 0.0] {
            let side = BOX - 8.0;
            canvas.card(x + shift, y + shift, side, height - 8.0, what.class());
        }
    } else {
        canvas.card(x, y, BOX, height, what.class());
    }
    for (line, words) in words.iter().enumerate() {
        let style = if line == 0 {
            Style::Plain
        } else {
            Style::Small
        };
        let words = style.fit(words, BOX - 2.0 * PAD);
        canvas.text(
            x + PAD,
            y + PAD + (line as f64 + 0.75) * LINE,
            style,
            &words,
        );
    }
    if let What::Table(table) = what {
        strip(canvas, x + PAD, y + height - PAD - STRIP + 3.0, table);
    }
}

/// The lines of text in a box.
fn words(what: &What) -> Vec<String> {
    match what {
        What::Table(table) => of_table(table),
        What::Stack(tables) => {
            let first = tables.first().map_or(0, |table| table.vaddr);
            let used: u64 = tables.iter().map(|table| table.used()).sum();
            let pages = tables.iter().map(|table| table.pages()).sum();
            let shared = tables.iter().filter(|table| table.is_shared).count();
            let mut words = vec![
                format!("{} more", count(tables.len() as u64, "table")),
                format!("from {first:#x} on"),
                format!("{used} entries in use"),
                count(pages, "page"),
            ];
            words.extend((shared > 0).then(|| format!("{shared} with other owners")));
            words
        }
    }
}

fn of_table(table: &Table) -> Vec<String> {
    let runs: Vec<&Run> = table.runs().collect();
    let mut words = vec![
        format!("in frame {:#x}", table.frame),
        format!("for {:#x}", table.vaddr),
        format!("{} of {ENTRIES} entries in use", table.used()),
    ];
    words.extend(table.is_shared.then(|| "has other owners".to_owned()));
    let named = if runs.len() > LISTED_RUNS {
        LISTED_RUNS - 1
    } else {
        LISTED_RUNS
    };
    words.extend(runs.iter().take(named).map(|run| {
        let (pages, rights) = (page(table.level), rights(run.rights));
        format!("{} × {pages} {rights} {:#x}", run.count, run.paddr)
    }));
    if runs.len() > named {
        let rest = &runs[named..];
        let pages = rest.iter().map(|run| run.count).sum();
        words.push(format!(
            "{} in {} more runs",
            count(pages, "page"),
            rest.len()
        ));
    }
    words
}

/// Draws a table's entries from left to right. Even a single entry is wide enough to be seen.
fn strip(canvas: &mut Canvas, x: f64, y: f64, table: &Table) {
    let (width, height) = (BOX - 2.0 * PAD, STRIP - 4.0);
    canvas.rect(x, y, width, height, "strip");
    for entry in &table.entries {
        let (vaddr, count, class) = match entry {
            Entry::Table(below) if below.is_shared => (below.vaddr, 1, "sub faint"),
            Entry::Table(below) => (below.vaddr, 1, "sub"),
            Entry::Run(run) => (run.vaddr, run.count, class(run.rights)),
        };
        let at = position(table, vaddr).min(width - 1.5);
        let wide = (count as f64 * width / ENTRIES as f64).clamp(1.5, width - at);
        canvas.rect(x + at, y, wide, height, class);
    }
    canvas.rect(x, y, width, height, "frame");
}

/// The position in a table's strip of the entry for an address.
fn position(table: &Table, vaddr: u64) -> f64 {
    let index = table.index(vaddr).unwrap_or_default();
    index as f64 * (BOX - 2.0 * PAD) / ENTRIES as f64
}

/// Draws arrows from the entries in one row to the boxes in the next. Each row is given with
/// the y coordinate at which the arrows begin or end.
fn arrows(canvas: &mut Canvas, (row, from): (&[Shown], f64), (next, to): (&[Shown], f64)) {
    let above: Vec<f64> = places(row.len()).collect();
    for (x, shown) in places(next.len()).zip(next) {
        let first = match &shown.what {
            What::Table(table) => Some(*table),
            What::Stack(tables) => tables.first().copied(),
        };
        let begin = match (&row[shown.above].what, first) {
            (What::Table(table), Some(first)) => PAD + position(table, first.vaddr),
            _ => BOX / 2.0,
        };
        let begin = (above[shown.above] + begin, from - PAD + 0.5);
        canvas.edge(begin, (x + BOX / 2.0, to));
    }
}
