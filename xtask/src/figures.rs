//! Figures of benchmarks: rows of a name, a value and a unit, as JSON and as a table. The
//! name of another project's row ends in `@` and the project's name: `frame.pair@talc`.

use std::path::PathBuf;

use anyhow::Result;

use crate::files;
use crate::manifest::root;

/// One measured figure.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// What was measured, and for another project's row by which project.
    pub name: String,
    /// The measured value, in `unit`.
    pub value: f64,
    /// The unit of the value, as in `instructions`.
    pub unit: String,
}

impl Row {
    /// Makes a row of these three.
    pub fn new(name: String, value: f64, unit: &str) -> Row {
        Row {
            name,
            value,
            unit: unit.to_owned(),
        }
    }

    /// Returns what was measured, and the project; ours is the empty string.
    pub fn name_and_owner(&self) -> (&str, &str) {
        self.name.split_once('@').unwrap_or((&self.name, ""))
    }
}

/// Writes rows as JSON to `target/bench/FILE`, and returns the path.
pub fn write(file: &str, rows: &[Row]) -> Result<PathBuf> {
    let path = root().join("target/bench").join(file);
    let rows: Vec<String> = rows
        .iter()
        .map(|row| {
            format!(
                r#"  {{"name": "{}", "value": {}, "unit": "{}"}}"#,
                row.name, row.value, row.unit
            )
        })
        .collect();
    files::write(&path, format!("{{\"rows\": [\n{}\n]}}\n", rows.join(",\n")))?;
    Ok(path)
}

/// Returns the rows on the console's last line that holds rows. The line has the form that
/// [`write()`] writes, without its line breaks. `None` if there is no such line or it is
/// damaged.
pub fn read(console: &str) -> Option<Vec<Row>> {
    let begin = r#"{"rows": ["#;
    let line = console.lines().rev().find(|line| line.starts_with(begin))?;
    let rows = line.trim_end().strip_prefix(begin)?.strip_suffix("]}")?;
    rows.split_terminator('}')
        .map(|row| read_row(row.trim_start_matches([',', ' '])))
        .collect()
}

/// Returns the rows in the text of a file that [`write()`] has written.
pub fn read_file(text: &str) -> Option<Vec<Row>> {
    read(&text.replace('\n', ""))
}

/// Parses `{"name": "x", "value": 1.5, "unit": "y"`, without the brace at the end.
fn read_row(row: &str) -> Option<Row> {
    let (name, row) = row.strip_prefix(r#"{"name": ""#)?.split_once('"')?;
    let (value, unit) = row
        .strip_prefix(r#", "value": "#)?
        .split_once(r#", "unit": ""#)?;
    let unit = unit.strip_suffix('"')?;
    Some(Row::new(name.to_owned(), value.parse().ok()?, unit))
}

/// Returns the rows as a table. Below each of our rows stand the other projects' rows of
/// that name, each with its value divided by ours.
pub fn table(rows: &[Row]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in rows.iter().map(Row::name_and_owner) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let lines = names.into_iter().flat_map(|name| lines_of(name, rows));
    lines.collect::<Vec<_>>().join("\n")
}

fn lines_of(name: &str, rows: &[Row]) -> Vec<String> {
    let of_name = || rows.iter().filter(|row| row.name_and_owner().0 == name);
    let ours = of_name().find(|row| row.name_and_owner().1.is_empty());
    let mut lines = vec![match ours {
        Some(row) => format!("{name:<28}{:>12.2} {}", row.value, row.unit),
        None => format!("{name:<28}{:>12}", "-"),
    }];
    for row in of_name().filter(|row| !row.name_and_owner().1.is_empty()) {
        let times = ours.map(|ours| format!("{:>10.2} x", row.value / ours.value));
        let times = times.unwrap_or_default();
        lines.push(format!(
            "  {:<26}{:>12.2}{times}",
            row.name_and_owner().1,
            row.value
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"rows": [{"name": "a.b", "value": 12.30, "unit": "instructions"}, {"name": "a.b@c", "value": -24.6, "unit": "instructions"}]}"#;

    #[test]
    fn the_last_line_with_rows_is_read() {
        let rows = read(&format!("noise\n{{\"rows\": []}}\r\n{LINE}\r\n[exit 0]")).unwrap();
        assert_eq!(rows[0], Row::new("a.b".into(), 12.3, "instructions"));
        assert_eq!((rows[1].value, rows.len()), (-24.6, 2));
        assert_eq!(read(r#"{"rows": []}"#), Some(Vec::new()));
        assert_eq!(read("no rows"), None);
        let file = LINE.replace("}, {", "},\n  {").replace("[{", "[\n  {");
        assert_eq!(read_file(&file.replace("}]}", "}\n]}\n")), Some(rows));
        assert_eq!(read(&LINE.replace("12.30", "x")), None);
        assert_eq!(read(&LINE[..40]), None);
    }

    #[test]
    fn other_projects_rows_stand_below_ours() {
        let rows = read(&LINE.replace("-24", "24")).unwrap();
        let table = table(&rows);
        let words: Vec<&str> = table.split_whitespace().collect();
        assert_eq!(
            words,
            ["a.b", "12.30", "instructions", "c", "24.60", "2.00", "x"]
        );
    }

    #[test]
    fn other_projects_rows_are_shown_without_one_of_ours() {
        let table = table(&read(LINE).unwrap()[1..]);
        let words: Vec<&str> = table.split_whitespace().collect();
        assert_eq!(words, ["a.b", "-", "c", "-24.60"]);
    }
}
