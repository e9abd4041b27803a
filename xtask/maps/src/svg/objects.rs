//! Draws a list of the memory objects that an address space shows, each with its mappings.

use std::collections::BTreeMap;

use crate::format::{count, size};
use crate::{Area, Object, Space};

use super::canvas::{Canvas, Style};
use super::{MARGIN, WIDTH};

/// The largest number of objects, and of mappings of an object, that are listed.
const LISTED: usize = 20;
const LISTED_MAPPINGS: usize = 4;

/// The x coordinates of the columns. Numbers end there, and texts begin there.
const KIND: f64 = 250.0;
const LEN: f64 = 430.0;
const SHARED: f64 = 520.0;
const PRIVATE: f64 = 610.0;
const MAPPINGS: f64 = 640.0;
/// The height of a line.
const LINE: f64 = 18.0;

/// Draws the objects from `y` down, if there are any. Returns the y coordinate of their end.
pub fn draw(canvas: &mut Canvas, y: f64, space: &Space) -> f64 {
    let objects = collect(space);
    if objects.is_empty() {
        return y;
    }
    let mut y = heads(canvas, y + 44.0);
    for (object, areas) in objects.iter().take(LISTED) {
        y = draw_object(canvas, y, object, areas);
    }
    if objects.len() > LISTED {
        let rest = count((objects.len() - LISTED) as u64, "more object");
        canvas.text(MARGIN, y + LINE, Style::Soft, &rest);
        y += LINE;
    }
    y + 8.0
}

/// Returns the objects, each with the areas that show it, by the first address that does.
fn collect(space: &Space) -> Vec<(&Object, Vec<&Area>)> {
    let mut objects: Vec<(&Object, Vec<&Area>)> = Vec::new();
    let mut places = BTreeMap::new();
    for area in &space.areas {
        let Some(object) = &area.object else { continue };
        let at = *places.entry(object.id).or_insert(objects.len());
        match objects.get_mut(at) {
            Some((_, areas)) => areas.push(area),
            None => objects.push((object, vec![area])),
        }
    }
    objects
}

fn heads(canvas: &mut Canvas, y: f64) -> f64 {
    canvas.text(MARGIN, y, Style::Head, "memory objects");
    canvas.text(KIND, y, Style::Head, "kind");
    canvas.text_to(LEN, y, Style::Head, "length");
    canvas.text_to(SHARED, y, Style::Head, "shared");
    canvas.text_to(PRIVATE, y, Style::Head, "private");
    canvas.text(MAPPINGS, y, Style::Head, "shown at + offset");
    canvas.line(MARGIN, WIDTH - MARGIN, y + 8.0);
    y + 8.0
}

/// Draws a line for an object, and one more for each mapping but the first. Returns the y
/// coordinate of their end.
fn draw_object(canvas: &mut Canvas, y: f64, object: &Object, areas: &[&Area]) -> f64 {
    let baseline = y + LINE;
    let title = Style::Plain.fit(&object.title(), KIND - MARGIN - 16.0);
    canvas.text(MARGIN, baseline, Style::Plain, &title);
    let kind = Style::Soft.fit(&object.kind, 100.0);
    canvas.text(KIND, baseline, Style::Soft, &kind);
    for (x, bytes) in [
        (LEN, object.len),
        (SHARED, object.shared),
        (PRIVATE, object.private),
    ] {
        canvas.text_to(x, baseline, Style::Plain, &size(bytes));
    }
    let mut lines: Vec<String> = areas
        .iter()
        .take(LISTED_MAPPINGS)
        .map(|area| mapping(area))
        .collect();
    if areas.len() > LISTED_MAPPINGS {
        let rest = (areas.len() - LISTED_MAPPINGS) as u64;
        lines.push(count(rest, "more mapping"));
    }
    for (line, words) in lines.iter().enumerate() {
        let words = Style::Soft.fit(words, WIDTH - MARGIN - MAPPINGS);
        canvas.text(MAPPINGS, baseline + line as f64 * LINE, Style::Soft, &words);
    }
    y + lines.len() as f64 * LINE
}

/// Describes where an area shows its object.
fn mapping(area: &Area) -> String {
    let offset = area.object.as_ref().map_or(0, |object| object.offset);
    let length = size(area.end - area.start);
    let frames = &area.frames;
    format!("{:#x} + {offset:#x}, {length}, {frames}", area.start)
}
