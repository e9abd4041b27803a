//! Collects text and shapes as SVG elements.

use std::fmt::Write;

/// The look of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// The title of the drawing.
    Title,
    /// The title of a part or a column.
    Head,
    /// Text in the normal colour.
    Plain,
    /// Text in a lighter colour.
    Soft,
    /// Text in a lighter colour and a smaller font, for boxes.
    Small,
}

impl Style {
    fn class(self) -> &'static str {
        match self {
            Self::Title => "title",
            Self::Head => "head",
            Self::Plain => "plain",
            Self::Soft => "soft",
            Self::Small => "small",
        }
    }

    fn pixels(self) -> f64 {
        match self {
            Self::Title => 20.0,
            Self::Head => 13.0,
            Self::Plain | Self::Soft => 11.5,
            Self::Small => 10.0,
        }
    }

    /// Returns the width of a text. The font is monospaced.
    pub fn width(self, words: &str) -> f64 {
        words.chars().count() as f64 * self.pixels() * 0.605
    }

    /// Returns `words`, cut to `width` and with an ellipsis if they are wider.
    pub fn fit(self, words: &str, width: f64) -> String {
        let room = (width / (self.pixels() * 0.605)).max(1.0) as usize;
        match words.chars().count() <= room {
            true => words.to_owned(),
            false => words.chars().take(room - 1).chain(['…']).collect(),
        }
    }
}

/// The style sheet, for a light screen and for a dark one.
const STYLE: &str = "\
text{font-family:'DejaVu Sans Mono',Menlo,Consolas,monospace;white-space:pre}
.title{font-size:20px;font-weight:bold}.head{font-size:13px;font-weight:bold}
.plain,.soft{font-size:11.5px}.small{font-size:10px}
.title,.head,.plain{fill:#1f2328}.soft,.small{fill:#59636e}
.page{fill:#ffffff}.box{fill:#f6f8fa;stroke:#8c959f}.line{stroke:#d1d9e0}.edge{fill:none;stroke:#8c959f;stroke-width:1.2}
.gap{fill:none;stroke:#8c959f;stroke-dasharray:3 3}.frame{fill:none;stroke:#8c959f}.strip{fill:#ffffff}
.x{fill:#3f9d6b}.ro{fill:#5b8fd6}.rw{fill:#e39a3b}.dev{fill:#a274c9}.wx{fill:#d1495b}.none{fill:#9aa4ae}.sub{fill:#39424c}
.faint{fill-opacity:.28}.shared{fill:url(#stripes)}.zero{fill:url(#dots)}.mark{fill:#1f2328;stroke:#1f2328}
.lent{fill:#f6f8fa;stroke:#8c959f;stroke-dasharray:5 3}
@media(prefers-color-scheme:dark){
.title,.head,.plain{fill:#e6edf3}.soft,.small{fill:#9da7b3}
.page{fill:#0d1117}.box{fill:#161b22;stroke:#5c6672}.line{stroke:#30363d}.edge,.gap,.frame{stroke:#6e7986}.strip{fill:#0d1117}
.sub{fill:#c3ccd6}.faint{fill-opacity:.34}.mark{fill:#e6edf3;stroke:#e6edf3}.lent{fill:#161b22;stroke:#5c6672}}
";

/// The patterns that are drawn over the colour of pages.
const PATTERNS: &str = "\
<defs><pattern id=\"stripes\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\">\
<path d=\"M-1 7L7 -1M-1 1L1 -1M5 7L7 5\" class=\"mark\" stroke-width=\"0.8\"/></pattern>\
<pattern id=\"dots\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\">\
<circle cx=\"3\" cy=\"3\" r=\"0.9\" class=\"mark\"/></pattern></defs>";

/// A drawing to which elements are added.
pub struct Canvas {
    title: String,
    body: String,
}

// Writing to a string does not fail.
impl Canvas {
    /// Makes an empty drawing.
    pub fn new(title: &str) -> Self {
        Self {
            title: escaped(title),
            body: String::new(),
        }
    }

    /// Adds a text that begins at `x`, with its baseline at `y`.
    pub fn text(&mut self, x: f64, y: f64, style: Style, words: &str) {
        let (class, words) = (style.class(), escaped(words));
        let _ = writeln!(
            self.body,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\">{words}</text>"
        );
    }

    /// Adds a text that ends at `x`, with its baseline at `y`.
    pub fn text_to(&mut self, x: f64, y: f64, style: Style, words: &str) {
        self.text(x - style.width(words), y, style, words);
    }

    /// Adds a rectangle.
    pub fn rect(&mut self, x: f64, y: f64, width: f64, height: f64, class: &str) {
        let _ = writeln!(
            self.body,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.2}\" height=\"{height:.1}\" class=\"{class}\"/>"
        );
    }

    /// Adds a box with round corners, of class `box` or `lent`.
    pub fn card(&mut self, x: f64, y: f64, width: f64, height: f64, class: &str) {
        let _ = writeln!(
            self.body,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"5\" class=\"{class}\"/>"
        );
    }

    /// Adds a horizontal line from `x1` to `x2`.
    pub fn line(&mut self, x1: f64, x2: f64, y: f64) {
        let _ = writeln!(
            self.body,
            "<line x1=\"{x1:.1}\" y1=\"{y:.1}\" x2=\"{x2:.1}\" y2=\"{y:.1}\" class=\"line\"/>"
        );
    }

    /// Adds a curve from one point down to another.
    pub fn edge(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        let middle = (y1 + y2) / 2.0;
        let _ = writeln!(
            self.body,
            "<path d=\"M{x1:.1} {y1:.1}C{x1:.1} {middle:.1} {x2:.1} {middle:.1} {x2:.1} {y2:.1}\" class=\"edge\"/>"
        );
    }

    /// Adds a line that goes down from one point, and then right to another.
    pub fn elbow(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        let _ = writeln!(
            self.body,
            "<path d=\"M{x1:.1} {y1:.1}V{y2:.1}H{x2:.1}\" class=\"edge\"/>"
        );
    }

    /// Returns the text of the SVG file.
    pub fn finish(self, width: f64, height: f64) -> String {
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
             width=\"{width:.0}\" height=\"{height:.0}\" role=\"img\">\n\
             <title>{}</title>\n<style>{STYLE}</style>\n{PATTERNS}\n\
             <rect width=\"{width:.0}\" height=\"{height:.0}\" class=\"page\"/>\n{}</svg>\n",
            self.title, self.body
        )
    }
}

/// Escapes text for an element. Characters that XML does not allow become a dot.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for char in text.chars() {
        match char {
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '&' => out += "&amp;",
            '"' => out += "&quot;",
            char if char.is_control() || matches!(char, '\u{fffe}' | '\u{ffff}') => out.push('·'),
            char => out.push(char),
        }
    }
    out
}
