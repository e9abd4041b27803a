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
const RIGHTS: f64 = 640.0;
const FRAMES: f64 = 750.0;
/// These three columns are aligned to the right, so this is where they end.
const SIZE: f64 = 920.0;
const RESIDENT: f64 = 1040.0;
const HUGE: f64 = WIDTH - MARGIN;

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
    let y = heads(canvas, y);
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
        at += draw_piece(canvas, at, piece);
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

fn heads(canvas: &mut Canvas, y: f64) -> f64 {
    canvas.text_to(BAR - 12.0, y, Style::Head, "from");
    canvas.text(BAR, y, Style::Head, "address space");
    canvas.text(NAME, y, Style::Head, "area");
    canvas.text(RIGHTS, y, Style::Head, "rights");
    canvas.text(FRAMES, y, Style::Head, "frames");
    canvas.text_to(SIZE, y, Style::Head, "size");
    canvas.text_to(RESIDENT, y, Style::Head, "resident");
    canvas.text_to(HUGE, y, Style::Head, "huge pages");
    canvas.line(MARGIN, WIDTH - MARGIN, y + 8.0);
    y + 16.0
}

/// Draws a piece, and returns its height.
fn draw_piece(canvas: &mut Canvas, y: f64, piece: &Piece) -> f64 {
    match piece {
        Piece::Area(area) => draw_area(canvas, y, area),
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

/// Draws an area. The part of its width that is filled is the part that is resident.
fn draw_area(canvas: &mut Canvas, y: f64, area: &Area) -> f64 {
    let bytes = area.end - area.start;
    let (height, class) = (height(bytes), class(area.rights));
    let full = BAR_WIDTH * area.resident as f64 / bytes as f64;
    canvas.rect(BAR, y, BAR_WIDTH, height, &format!("{class} faint"));
    if full > 0.0 {
        canvas.rect(BAR, y, full.max(1.5), height, class);
    }
    canvas.rect(BAR, y, BAR_WIDTH, height, "frame");
    canvas.text_to(
        BAR - 12.0,
        y + 11.0,
        Style::Soft,
        &format!("{:#x}", area.start),
    );
    let middle = y + height / 2.0 + 4.0;
    let name = Style::Plain.fit(&area.name, RIGHTS - NAME - 16.0);
    canvas.text(NAME, middle, Style::Plain, &name);
    canvas.text(RIGHTS, middle, Style::Plain, &rights(area.rights));
    let frames = Style::Soft.fit(&area.frames, 80.0);
    canvas.text(FRAMES, middle, Style::Soft, &frames);
    for (x, bytes) in [(SIZE, bytes), (RESIDENT, area.resident), (HUGE, area.huge)] {
        let words = if bytes > 0 {
            size(bytes)
        } else {
            "–".to_owned()
        };
        canvas.text_to(x, middle, Style::Plain, &words);
    }
    height
}

/// The height of a piece: 18 for a page, and 1.6 more for each doubling of the size.
fn height(bytes: u64) -> f64 {
    18.0 + 1.6 * (bytes as f64 / 4096.0).max(1.0).log2()
}
