//! The page table: a row for each level, a box a table, an arrow from the entry
//! that leads to it; the tables of the lowest level hang below those of the next.
//! The strip in a box is the table, its 512 entries from left to right.

use crate::words::{count, page, rights};
use crate::{ENTRIES, Entry, Run, Table};

use super::canvas::{Canvas, Style};
use super::{MARGIN, WIDTH, class};

/// The most boxes in a row.
const ROW: usize = 5;
/// The most boxes that hang below one.
const HANGING: usize = 5;
/// The most runs that a box names.
const NAMED: usize = 4;
/// Where boxes may begin: what is said of a level is to the left.
const LEFT: f64 = MARGIN + 142.0;
const BOX: f64 = 184.0;
const PAD: f64 = 9.0;
const LINE: f64 = 14.0;
const STRIP: f64 = 18.0;
/// Between rows; the arrows bend there.
const BETWEEN: f64 = 48.0;
/// How far to the right a box hangs, and how far below the one before.
const INDENT: f64 = 16.0;
const APART: f64 = 16.0;

/// A box, below the box `above` of the row before.
struct Shown<'a> {
    what: What<'a>,
    above: usize,
}

enum What<'a> {
    Table(&'a Table),
    /// Tables next to each other for which there is no room.
    Stack(Vec<&'a Table>),
}

/// Draws the tables from `y` down. Answers where they end.
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
        say(canvas, y, &tables);
        let bottom = draw_row(canvas, y, &row);
        tables = tables.iter().flat_map(|table| table.tables()).collect();
        y = bottom + BETWEEN;
        match tables.first().map(|table| table.level) {
            None => return bottom,
            Some(0) => {
                say(canvas, y, &tables);
                let ends = places(row.len())
                    .zip(&row)
                    .map(|(x, shown)| hang(canvas, (x, bottom), shown));
                return ends.fold(y + 4.0 * LINE, f64::max);
            }
            Some(_) => {}
        }
        let next = below(&row);
        arrows(canvas, (&row, bottom), (&next, y));
        row = next;
    }
}

/// What is to be said of a level.
fn say(canvas: &mut Canvas, y: f64, tables: &[&Table]) {
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

/// Where the boxes of a row begin.
fn places(boxes: usize) -> impl Iterator<Item = f64> {
    let share = (WIDTH - MARGIN - INDENT - LEFT) / boxes as f64;
    (0..boxes).map(move |index| LEFT + share * (index as f64 + 0.5) - BOX / 2.0)
}

/// Draws what is right below a box, one below the other, from where the box ends.
/// Answers where that ends.
fn hang(canvas: &mut Canvas, (x, from): (f64, f64), shown: &Shown) -> f64 {
    let tables = children(shown);
    let alone = match (&shown.what, tables.len()) {
        (What::Table(_), all) if all <= HANGING => all,
        (What::Table(_), _) => HANGING - 1,
        (What::Stack(_), _) => 0,
    };
    let (alone, rest) = tables.split_at(alone);
    let boxes = alone.iter().map(|table| What::Table(table));
    let stack = (!rest.is_empty()).then(|| What::Stack(rest.to_vec()));
    let mut y = from + BETWEEN;
    for what in boxes.chain(stack) {
        let words = words(&what);
        let height = height(words.len());
        canvas.elbow((x + INDENT / 2.0, from), (x + INDENT, y + height / 2.0));
        draw_box(canvas, (x + INDENT, y), height, &what, &words);
        y += height + APART;
    }
    y
}

/// The boxes of the next row: each table's share of the room goes by how many
/// tables are below it.
fn below<'a>(row: &[Shown<'a>]) -> Vec<Shown<'a>> {
    let tables: Vec<Vec<&Table>> = row.iter().map(children).collect();
    let mut rooms: Vec<usize> = tables.iter().map(|all| all.len().min(1)).collect();
    while rooms.iter().sum::<usize>() < ROW {
        let left = |&at: &usize| match row[at].what {
            What::Table(_) => tables[at].len() - rooms[at],
            What::Stack(_) => 0,
        };
        match (0..row.len()).max_by_key(left).filter(|at| left(at) > 0) {
            Some(poorest) => rooms[poorest] += 1,
            None => break,
        }
    }
    let mut next = Vec::new();
    for (above, (tables, room)) in tables.into_iter().zip(rooms).enumerate() {
        let alone = if room < tables.len() { room - 1 } else { room };
        let (alone, rest) = tables.split_at(alone);
        let boxes = alone.iter().map(|table| What::Table(table));
        let stack = (!rest.is_empty()).then(|| What::Stack(rest.to_vec()));
        next.extend(boxes.chain(stack).map(|what| Shown { what, above }));
    }
    next
}

fn children<'a>(shown: &Shown<'a>) -> Vec<&'a Table> {
    match &shown.what {
        What::Table(table) => table.tables().collect(),
        What::Stack(tables) => tables.iter().flat_map(|table| table.tables()).collect(),
    }
}

/// Draws boxes, all as high as the highest. Answers where they end.
fn draw_row(canvas: &mut Canvas, y: f64, row: &[Shown]) -> f64 {
    let words: Vec<Vec<String>> = row.iter().map(|shown| words(&shown.what)).collect();
    let height = height(words.iter().map(Vec::len).max().unwrap_or_default());
    for ((x, shown), words) in places(row.len()).zip(row).zip(&words) {
        draw_box(canvas, (x, y), height, &shown.what, words);
    }
    y + height
}

/// The height of a box with so many lines.
fn height(lines: usize) -> f64 {
    2.0 * PAD + lines as f64 * LINE + STRIP
}

fn draw_box(canvas: &mut Canvas, (x, y): (f64, f64), height: f64, what: &What, words: &[String]) {
    if let What::Stack(_) = what {
        canvas.card(x + 8.0, y + 8.0, BOX - 8.0, height - 8.0);
        canvas.card(x + 4.0, y + 4.0, BOX - 8.0, height - 8.0);
        canvas.card(x, y, BOX - 8.0, height - 8.0);
    } else {
        canvas.card(x, y, BOX, height);
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

fn words(what: &What) -> Vec<String> {
    match what {
        What::Table(table) => of_table(table),
        What::Stack(tables) => {
            let first = tables.first().map_or(0, |table| table.vaddr);
            let used: u64 = tables.iter().map(|table| table.used()).sum();
            let pages = tables.iter().map(|table| table.pages()).sum();
            vec![
                format!("{} more", count(tables.len() as u64, "table")),
                format!("from {first:#x} on"),
                format!("{used} entries in use"),
                count(pages, "page"),
            ]
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
    let named = if runs.len() > NAMED { NAMED - 1 } else { NAMED };
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

/// A table's entries from left to right. One alone is still to be seen.
fn strip(canvas: &mut Canvas, x: f64, y: f64, table: &Table) {
    let (width, height) = (BOX - 2.0 * PAD, STRIP - 4.0);
    canvas.rect(x, y, width, height, "strip");
    for entry in &table.entries {
        let (vaddr, count, class) = match entry {
            Entry::Table(below) => (below.vaddr, 1, "sub"),
            Entry::Run(run) => (run.vaddr, run.count, class(run.rights)),
        };
        let at = position(table, vaddr).min(width - 1.5);
        let wide = (count as f64 * width / ENTRIES as f64).clamp(1.5, width - at);
        canvas.rect(x + at, y, wide, height, class);
    }
    canvas.rect(x, y, width, height, "frame");
}

/// Where in a table's strip the entry for an address is.
fn position(table: &Table, vaddr: u64) -> f64 {
    let index = table.index(vaddr).unwrap_or_default();
    index as f64 * (BOX - 2.0 * PAD) / ENTRIES as f64
}

/// From each table's entries to the boxes below. Rows are given with the height
/// where the arrows begin, and end.
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
