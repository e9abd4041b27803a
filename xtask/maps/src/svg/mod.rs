//! Draws an address space as SVG: a bar from the first address down to the last, under it the
//! memory objects that it shows, and under them the page table, with a row of tables for each
//! level.
//!
//! The drawing is a single file. Its colours follow the light or dark mode of the reader's
//! screen.

mod bar;
mod canvas;
mod objects;
mod tree;

use crate::format::{count, size};
use crate::{Memory, Rights, Space};

use canvas::{Canvas, Style};

/// The width of the drawing, in SVG's units.
const WIDTH: f64 = 1200.0;
/// The width of the margin on all sides, in SVG's units.
const MARGIN: f64 = 28.0;

/// Returns a drawing of `space`, as the text of an SVG file.
pub fn to_svg(space: &Space, title: &str) -> String {
    let mut canvas = Canvas::new(title);
    let title = Style::Title.fit(title, WIDTH - 2.0 * MARGIN);
    canvas.text(MARGIN, 44.0, Style::Title, &title);
    canvas.text(MARGIN, 68.0, Style::Soft, &summary(space));
    let mut y = 84.0;
    if space.is_shared() {
        canvas.text(MARGIN, 84.0, Style::Soft, &sharing(space));
        y = 100.0;
    }
    let y = legend(&mut canvas, y, space.is_shared());
    let y = bar::draw(&mut canvas, y + 34.0, space);
    let y = objects::draw(&mut canvas, y, space);
    let y = tree::draw(&mut canvas, y + 44.0, &space.root);
    canvas.finish(WIDTH, y + MARGIN)
}

fn summary(space: &Space) -> String {
    let sum = |bytes: fn(&crate::Area) -> u64| size(space.areas.iter().map(bytes).sum());
    format!(
        "{:#x} to {:#x} · {}, {} · {} resident, {} of it in huge pages · {}, {}",
        space.start,
        space.end,
        count(space.areas.len() as u64, "area"),
        sum(|area| area.end - area.start),
        sum(|area| area.resident),
        sum(|area| area.huge),
        count(space.root.count(), "table"),
        size(space.root.count() * 4096)
    )
}

/// Says how much of the address space others have, too.
fn sharing(space: &Space) -> String {
    let sum = |bytes: fn(&crate::Area) -> u64| size(space.areas.iter().map(bytes).sum());
    format!(
        "of it {} shared, {} private, {} zero frame · {}",
        sum(|area| area.shared),
        sum(|area| area.private),
        sum(|area| area.zero),
        count(space.root.count_shared(), "shared table"),
    )
}

/// Draws what the colours mean, and what the patterns mean if the address space `is_shared`.
/// Returns the y coordinate of its end.
fn legend(canvas: &mut Canvas, mut y: f64, is_shared: bool) -> f64 {
    let mut x = MARGIN;
    for (class, words) in [
        ("x", "code, r-x"),
        ("ro", "read-only, r--"),
        ("rw", "data, rw-"),
        ("rw faint", "no memory yet"),
        ("dev", "device or uncached"),
        ("wx", "writable code, rwx"),
        ("none", "no access"),
        ("sub", "a table below"),
    ] {
        canvas.rect(x, y, 18.0, 12.0, class);
        canvas.text(x + 25.0, y + 10.0, Style::Soft, words);
        x += 25.0 + Style::Soft.width(words) + 24.0;
    }
    if is_shared {
        (x, y) = (MARGIN, y + 20.0);
        for (pattern, words) in [
            ("shared", "others have these frames, too"),
            ("zero", "read, not written: the zero frame"),
            ("lent", "a table that other page tables use, too"),
        ] {
            canvas.rect(x, y, 18.0, 12.0, "rw faint");
            canvas.rect(x, y, 18.0, 12.0, pattern);
            canvas.text(x + 25.0, y + 10.0, Style::Soft, words);
            x += 25.0 + Style::Soft.width(words) + 24.0;
        }
    }
    y + 12.0
}

/// The class of pages with these rights in the style sheet, which sets their colour.
fn class(rights: Rights) -> &'static str {
    match rights {
        Rights { read: false, .. } => "none",
        rights if rights.memory != Memory::Normal => "dev",
        rights if rights.write && rights.execute => "wx",
        rights if rights.execute => "x",
        rights if rights.write => "rw",
        _ => "ro",
    }
}
