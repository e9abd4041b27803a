//! Draws the address space as a bar of areas and gaps, one below the other. Their height grows
//! with the logarithm of their size: to scale, the areas of a sparse space would be invisible.

use crate::format::{count, rights, size};
use crate::{Area, Space};

use super::canvas::{Canvas, Style};
use super::{MARGIN, WIDTH, class};

/// The largest number of areas that are drawn one by one.
const SHOWN: usize = 40;
/// How many of these are the last areas of the space. The others are the first.
const SHOWN_LAST: usize = 8;

/// The x coordinates of the bar, and of the columns to the right of it.
const BAR: f64 = 172.0;
const BAR_WIDTH: f64 = 150.0;
const NAME: f64 = BAR + BAR_WIDTH + 22.0;

/// A column of numbers: its head, its number for an area, and where it ends.
type Column = (&'static str, fn(&Area) -> u64, f64);

/// Where the columns to the right of the names begin.
struct Columns {
    rights: f64,
    frames: f64,
    numbers: &'static [Column],
}

/// The columns for an address space that shares nothing.
const PLAIN: Columns = Columns {
    rights: 640.0,
    frames: 750.0,
    numbers: &[
        ("size", |area| area.end - area.start, 920.0),
        ("resident", |area| area.resident, 1040.0),
        ("huge pages", |area| area.huge, WIDTH - MARGIN),
    ],
};

/// The columns for an address space that shares memory.
const WITH_OWNERS: Columns = Columns {
    rights: 545.0,
    frames: 655.0,
    numbers: &[
        ("size", |area| area.end - area.start, 815.0),
        ("resident", |area| area.resident, 890.0),
        ("huge", |area| area.huge, 955.0),
        ("shared", |area| area.shared, 1025.0),
        ("private", |area| area.private, 1100.0),
        ("zero", |area| area.zero, WIDTH - MARGIN),
    ],
};

/// One piece of the bar, from top to bottom.
enum Piece<'a> {
    Area(&'a Area),
    /// Free addresses, in bytes.
    Gap(u64),
    /// Areas that are not drawn one by one.
    Rest(&'a [Area]),
}

/// Draws the bar from `y` down. Returns the y coordinate of its end.
pub fn draw(canvas: &mut Canvas, y: f64, space: &Space) -> f64 {
    let columns = match space.is_shared() {
        true => &WITH_OWNERS,
        false => &PLAIN,
    };
    let y = heads(canvas, y, columns);
    let mut at = y;
    let mut reached = space.start;
    let (first, between, last) = shown(&space.areas);
    let mut pieces = Vec::new();
    for area in first {
        push(&mut pieces, area, &mut reached);
    }
    if let Some(end) = between.last() {
        pieces.push(Piece::Rest(between));
        reached = end.end;
    }
    for area in last {
        push(&mut pieces, area, &mut reached);
    }
    if reached < space.end {
        pieces.push(Piece::Gap(space.end - reached));
    }
    for piece in &pieces {
        at += draw_piece(canvas, at, piece, columns);
    }
    canvas.text_to(
        BAR - 12.0,
        at + 4.0,
        Style::Soft,
        &format!("{:#x}", space.end),
    );
    at + 8.0
}

/// Divides the areas: the first ones and the last ones are drawn one by one, those between
/// are not.
fn shown(areas: &[Area]) -> (&[Area], &[Area], &[Area]) {
    if areas.len() <= SHOWN {
        return (areas, &[], &[]);
    }
    let (first, rest) = areas.split_at(SHOWN - SHOWN_LAST);
    let (between, last) = rest.split_at(rest.len() - SHOWN_LAST);
    (first, between, last)
}

/// Adds an area, and the gap before it if there is one.
fn push<'a>(pieces: &mut Vec<Piece<'a>>, area: &'a Area, reached: &mut u64) {
    if *reached < area.start {
        pieces.push(Piece::Gap(area.start - *reached));
    }
    pieces.push(Piece::Area(area));
    *reached = area.end;
}

fn heads(canvas: &mut Canvas, y: f64, columns: &Columns) -> f64 {
    canvas.text_to(BAR - 12.0, y, Style::Head, "from");
    canvas.text(BAR, y, Style::Head, "address space");
    canvas.text(NAME, y, Style::Head, "area");
    canvas.text(columns.rights, y, Style::Head, "rights");
    canvas.text(columns.frames, y, Style::Head, "frames");
    for (head, _, end) in columns.numbers {
        canvas.text_to(*end, y, Style::Head, head);
    }
    canvas.line(MARGIN, WIDTH - MARGIN, y + 8.0);
    y + 16.0
}

/// Draws a piece, and returns its height.
fn draw_piece(canvas: &mut Canvas, y: f64, piece: &Piece, columns: &Columns) -> f64 {
    match piece {
        Piece::Area(area) => draw_area(canvas, y, area, columns),
        Piece::Gap(bytes) => {
            let height = height(*bytes) * 0.75;
            canvas.rect(BAR + 0.5, y, BAR_WIDTH - 1.0, height, "gap");
            let middle = y + height / 2.0 + 4.0;
            canvas.text(NAME, middle, Style::Soft, &format!("{} free", size(*bytes)));
            height
        }
        Piece::Rest(areas) => {
            let height = 24.0;
            let bytes = areas.iter().map(|area| area.end - area.start).sum();
            let words = format!(
                "{} more, {}",
                count(areas.len() as u64, "area"),
                size(bytes)
            );
            canvas.rect(BAR + 0.5, y, BAR_WIDTH - 1.0, height, "gap");
            canvas.text(NAME, y + 16.0, Style::Plain, &words);
            height
        }
    }
}

/// Draws an area.
fn draw_area(canvas: &mut Canvas, y: f64, area: &Area, columns: &Columns) -> f64 {
    let height = height(area.end - area.start);
    fill(canvas, y, height, area);
    canvas.text_to(
        BAR - 12.0,
        y + 11.0,
        Style::Soft,
        &format!("{:#x}", area.start),
    );
    let middle = y + height / 2.0 + 4.0;
    let name = Style::Plain.fit(&title(area), columns.rights - NAME - 16.0);
    canvas.text(NAME, middle, Style::Plain, &name);
    let rights = Style::Plain.fit(&rights(area.rights), columns.frames - columns.rights - 4.0);
    canvas.text(columns.rights, middle, Style::Plain, &rights);
    let frames = Style::Soft.fit(&area.frames, 80.0);
    canvas.text(columns.frames, middle, Style::Soft, &frames);
    for (_, number, end) in columns.numbers {
        let words = match number(area) {
            0 => "–".to_owned(),
            bytes => size(bytes),
        };
        canvas.text_to(*end, middle, Style::Plain, &words);
    }
    height
}

/// Fills the bar at an area. The part of its width that is filled is the part that is resident:
/// first what is shared, then what is private, and then what shows the zero frame.
fn fill(canvas: &mut Canvas, y: f64, height: f64, area: &Area) {
    let class = class(area.rights);
    let width = |bytes: u64| match bytes {
        0 => 0.0,
        _ => (BAR_WIDTH * bytes as f64 / (area.end - area.start) as f64).max(1.5),
    };
    canvas.rect(BAR, y, BAR_WIDTH, height, &format!("{class} faint"));
    let solid = width(area.resident - area.zero).min(BAR_WIDTH);
    let zero = width(area.zero).min(BAR_WIDTH);
    let parts = [
        (BAR, solid, class),
        (BAR, width(area.shared).min(solid), "shared"),
        (BAR + solid.min(BAR_WIDTH - zero), zero, "zero"),
    ];
    for (x, width, class) in parts.into_iter().filter(|(_, width, _)| *width > 0.0) {
        canvas.rect(x, y, width, height, class);
    }
    canvas.rect(BAR, y, BAR_WIDTH, height, "frame");
}

/// Returns what an area is called. For an object it is the object's name, with an offset.
fn title(area: &Area) -> String {
    match &area.object {
        Some(object) => format!("{} + {:#x}", object.title(), object.offset),
        None => area.name.clone(),
    }
}

/// The height of a piece: 18 for a page, and 1.6 more for each doubling of the size.
fn height(bytes: u64) -> f64 {
    18.0 + 1.6 * (bytes as f64 / 4096.0).max(1.0).log2()
}
