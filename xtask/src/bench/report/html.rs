//! Formats text and numbers for HTML.

/// Escapes all characters that HTML gives a meaning to.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            char => safe.push(char),
        }
    }
    safe
}

/// Formats a value with few digits: 9.87, 181.5, 1,264, 24.6 M.
pub fn number(value: f64) -> String {
    let size = value.abs();
    let text = match size {
        _ if size >= 999_950.0 => return format!("{:.1}\u{202f}M", value / 1e6),
        _ if size >= 999.5 => return grouped(value),
        _ if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    };
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Formats a power of ten: 0.1, 1, 10,000, 10 M.
pub fn power(value: f64) -> String {
    match value {
        _ if value >= 1e6 => format!("{}\u{202f}M", grouped(value / 1e6)),
        _ if value >= 1.0 => grouped(value),
        _ => value.to_string(),
    }
}

/// Formats a ratio, with the sign ×: 0.74, 3.6, 24, 12,345.
pub fn ratio(times: f64) -> String {
    let digits = match times {
        _ if times >= 999.5 => grouped(times),
        _ if times >= 9.95 => format!("{times:.0}"),
        _ if times >= 0.995 => format!("{times:.1}"),
        _ => format!("{times:.2}"),
    };
    format!("{digits}\u{202f}×")
}

/// Formats a whole number with commas between groups of three digits.
fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::from(if value < 0.0 { "-" } else { "" });
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_escaped() {
        assert_eq!(
            escape(r#"<a b="c">&'"#),
            "&lt;a b=&quot;c&quot;&gt;&amp;&#39;"
        );
    }

    #[test]
    fn numbers_have_few_digits() {
        assert_eq!([143.04, 9.5, 60.0].map(number), ["143", "9.5", "60"]);
        let numbers = [
            0.0,
            9.874,
            181.54,
            999.4,
            999.7,
            1263.6,
            234_958.0,
            24_643_107.0,
        ];
        let texts = [
            "0",
            "9.87",
            "181.5",
            "999.4",
            "1,000",
            "1,264",
            "234,958",
            "24.6\u{202f}M",
        ];
        assert_eq!(numbers.map(number), texts);
        let powers = [0.1, 1.0, 10_000.0, 1e6, 1e9].map(power);
        let texts = ["0.1", "1", "10,000", "1\u{202f}M", "1,000\u{202f}M"];
        assert_eq!(powers, texts);
        let ratios = [0.5, 0.999, 3.61, 9.96, 999.6, 12_345.4].map(ratio);
        let texts = ["0.50", "1.0", "3.6", "10", "1,000", "12,345"];
        assert_eq!(ratios, texts.map(|text| format!("{text}\u{202f}×")));
    }
}
