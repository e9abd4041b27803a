//! Bar charts on a logarithmic or a linear scale. They are made of HTML boxes and text, so
//! that they get the width of the page and its font size.

use super::html::{escape, number, power};

/// A chart with a group of bars for each name.
pub struct Chart {
    /// The title of the chart.
    pub title: String,
    /// Whether the scale is linear, from 0 on; else it is logarithmic.
    pub linear: bool,
    /// The value at which bars begin: larger values extend to the right, smaller ones to the
    /// left. `None`: bars begin at the left edge.
    pub from: Option<f64>,
    /// The unit behind the values of the scale.
    pub unit: &'static str,
    /// Whether labels need much space.
    pub wide: bool,
    pub groups: Vec<Group>,
}

/// The bars of one name.
pub struct Group {
    pub name: String,
    pub bars: Vec<Bar>,
    /// A value that is marked across the bars.
    pub mark: Option<f64>,
}

/// One bar of a chart.
pub struct Bar {
    /// The bar's class in the style sheet.
    pub class: &'static str,
    pub value: f64,
    /// The text behind the bar.
    pub label: String,
}

/// Maps values to positions, in percent of the width.
enum Scale {
    /// Logarithmic, between two powers of ten given by their exponents.
    Decades { low: f64, high: f64 },
    /// Linear, from 0 on.
    Linear { high: f64 },
}

/// The distance of the marked values of a linear scale.
const STEP: f64 = 0.5;

impl Chart {
    /// Returns the chart's HTML; empty if it has no bar.
    pub fn html(&self) -> String {
        let Some(scale) = self.scale() else {
            return String::new();
        };
        let wide = if self.wide { " wide" } else { "" };
        let class = if self.linear { " even" } else { "" };
        let groups = self.groups.iter();
        let groups: String = groups
            .filter(|group| !group.bars.is_empty())
            .map(|group| self.group(group, &scale))
            .collect();
        format!(
            "<figure class='chart{wide}{class}'><figcaption>{}</figcaption>\n<div class=scale>{}</div>\n{groups}</figure>\n",
            escape(&self.title),
            self.ticks(&scale)
        )
    }

    /// The scale that shows all values: between the powers of ten below the smallest and above
    /// the largest, or from 0 to the next step of a linear scale. `None` without a value.
    fn scale(&self) -> Option<Scale> {
        let bars = self.groups.iter().flat_map(|group| &group.bars);
        let bars = bars.map(|bar| bar.value);
        let marks = self.groups.iter().filter_map(|group| group.mark);
        let values = bars.chain(marks).filter(|value| *value > 0.0);
        if self.linear {
            let most = values.reduce(f64::max)?;
            let high = (most / STEP).ceil() * STEP;
            return Some(Scale::Linear { high });
        }
        let mut decades = values.map(f64::log10);
        let first = decades.next()?;
        let (low, high) = decades.fold((first, first), |(low, high), decade| {
            (low.min(decade), high.max(decade))
        });
        let low = low.min(self.from.map_or(low, f64::log10)).floor();
        Some(Scale::Decades {
            low,
            high: high.ceil().max(low + 1.0),
        })
    }

    fn ticks(&self, scale: &Scale) -> String {
        match *scale {
            Scale::Decades { low, high } => self.powers(scale, low as i32, high as i32),
            Scale::Linear { high } => {
                let steps = 0..=(high / STEP) as i32;
                let values = steps.map(|step| f64::from(step) * STEP);
                values
                    .map(|value| self.tick(scale, value, "", &number(value)))
                    .collect()
            }
        }
    }

    /// Marks at powers of ten, six at most. The one at which bars start is among them.
    fn powers(&self, scale: &Scale, low: i32, high: i32) -> String {
        let decades = low..=high;
        let step = 1 + decades.clone().count() as i32 / 6;
        let strong = self.from.map(|from| from.log10() as i32);
        let first = strong.unwrap_or(low);
        let tick = |decade: i32| {
            let value = 10f64.powi(decade);
            let class = if strong == Some(decade) {
                " class=from"
            } else {
                ""
            };
            self.tick(scale, value, class, &power(value))
        };
        let shown = |decade: &i32| (decade - first) % step == 0;
        decades.filter(shown).map(tick).collect()
    }

    fn tick(&self, scale: &Scale, value: f64, class: &str, text: &str) -> String {
        let place = scale.place(value);
        let unit = self.unit;
        format!("<i{class} style='left:{place:.2}%'>{text}{unit}</i>")
    }

    fn group(&self, group: &Group, scale: &Scale) -> String {
        let bars: String = group.bars.iter().map(|bar| self.bar(bar, scale)).collect();
        let mark = group.mark.filter(|mark| *mark > 0.0).map(|mark| {
            let place = scale.place(mark);
            format!("<u style='left:{place:.2}%'></u>")
        });
        format!(
            "<div class=group><code>{}</code><div class=bars>{bars}{}</div></div>\n",
            escape(&group.name),
            mark.unwrap_or_default()
        )
    }

    fn bar(&self, bar: &Bar, scale: &Scale) -> String {
        let from = self.from.map_or(0.0, |from| scale.place(from));
        let end = scale.place(bar.value);
        let (left, width) = (from.min(end), (from - end).abs());
        // On a linear scale many bars end near the mark, which a label there would hide.
        let label = if self.linear { 100.0 } else { left + width };
        format!(
            "<div class=bar><b class='{}' style='left:{left:.2}%;width:{width:.2}%'></b><span style='left:{:.2}%'>{}</span></div>",
            bar.class,
            label,
            escape(&bar.label)
        )
    }
}

impl Scale {
    fn place(&self, value: f64) -> f64 {
        match *self {
            _ if value <= 0.0 => 0.0,
            Scale::Decades { low, high } => (value.log10() - low) / (high - low) * 100.0,
            Scale::Linear { high } => value / high * 100.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(from: Option<f64>, values: &[f64], mark: Option<f64>) -> String {
        of_scale(false, from, values, mark)
    }

    fn of_scale(linear: bool, from: Option<f64>, values: &[f64], mark: Option<f64>) -> String {
        let bar = |value: &f64| Bar {
            class: "ours",
            value: *value,
            label: format!("<{value}>"),
        };
        let bars = values.iter().map(bar).collect();
        let name = "a&b".to_owned();
        Chart {
            title: "t".to_owned(),
            linear,
            from,
            unit: "",
            wide: false,
            groups: vec![Group { name, bars, mark }],
        }
        .html()
    }

    #[test]
    fn all_decades_have_the_same_width() {
        let chart = chart(None, &[10.0, 100.0, 1000.0], Some(10_000.0));
        for place in ["width:0.00%", "width:33.33%", "width:66.67%"] {
            assert!(chart.contains(place), "{chart}");
        }
        assert!(chart.contains("<u style='left:100.00%'>"), "{chart}");
        assert!(chart.contains("<code>a&amp;b</code>") && chart.contains("&lt;10&gt;"));
    }

    #[test]
    fn bars_start_to_both_sides_of_a_given_value() {
        let chart = chart(Some(1.0), &[0.1, 10.0], None);
        assert!(chart.contains("left:0.00%;width:50.00%"), "{chart}");
        assert!(chart.contains("left:50.00%;width:50.00%"), "{chart}");
    }

    #[test]
    fn a_linear_scale_begins_at_zero() {
        let chart = of_scale(true, None, &[0.5, 1.9], Some(1.0));
        for place in ["width:25.00%", "width:95.00%", "<u style='left:50.00%'>"] {
            assert!(chart.contains(place), "{chart}");
        }
        for tick in [
            "<i style='left:0.00%'>0</i>",
            "<i style='left:75.00%'>1.5</i>",
        ] {
            assert!(chart.contains(tick), "{chart}");
        }
        assert_eq!(of_scale(true, None, &[], None), "");
    }

    #[test]
    fn a_chart_without_values_is_empty() {
        assert_eq!(chart(None, &[], None), "");
        assert_eq!(chart(Some(1.0), &[0.0], None), "");
        assert!(chart(None, &[5.0], None).contains("figure"));
    }
}
