//! Writing results: everything that goes to the standard output stream passes through here, so that
//! a reader that goes away ends the program quietly. Remarks beside them go to the other stream.

use crate::error::{CliError, Result};
use serde::Serialize;
use std::io::Write;
use std::path::Path;

/// Writes text as it is and sees that it is seen.
pub(crate) fn text(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Writes text to the file at `path`, or to the standard output stream where there is none.
pub(crate) fn write(path: Option<&Path>, contents: &str) -> Result<()> {
    let Some(path) = path else { return text(contents) };
    std::fs::write(path, contents)
        .map_err(|why| CliError::User(format!("{} cannot be written: {why}", path.display())))
}

/// Writes a remark to the standard error stream; without one there is nobody to tell.
pub(crate) fn remark(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Writes a value as one line of JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<()> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    serde_json::to_writer(&mut out, value)?;
    out.write_all(b"\n")?;
    out.flush()?;
    Ok(())
}

/// Writes a value as indented JSON, for results that people keep as files.
pub(crate) fn json_file(value: &impl Serialize) -> Result<()> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    serde_json::to_writer_pretty(&mut out, value)?;
    out.write_all(b"\n")?;
    out.flush()?;
    Ok(())
}

/// `bytes` for people, in powers of 1000: `98.4 MB`.
pub(crate) fn bytes(bytes: u64) -> String {
    match bytes {
        0..1000 => format!("{bytes} B"),
        _ => format!("{}B", count(bytes)),
    }
}

/// A number for people: `134.5 M`.
pub(crate) fn count(number: u64) -> String {
    let number = number as f64;
    match number {
        n if n < 1e3 => format!("{n} "),
        n if n < 1e6 => format!("{:.1} k", n / 1e3),
        n if n < 1e9 => format!("{:.1} M", n / 1e6),
        n if n < 1e12 => format!("{:.2} G", n / 1e9),
        n => format!("{:.2} T", n / 1e12),
    }
}

/// A table whose columns are as wide as their contents; cells that look like numbers stand to the
/// right.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub(crate) fn new<const N: usize>(headings: [&str; N]) -> Table {
        Table { rows: vec![headings.map(String::from).to_vec()] }
    }

    /// Adds a row.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.to_vec());
    }

    /// The table as text, each line ended.
    pub(crate) fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let numeric: Vec<bool> = (0..columns).map(|column| self.is_numeric(column)).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, &width), &numeric) in row.iter().zip(&widths).zip(&numeric) {
                line += &match numeric {
                    true => format!("{cell:>width$}  "),
                    false => format!("{cell:<width$}  "),
                };
            }
            text += line.trim_end();
            text.push('\n');
        }
        text
    }

    /// The table in Markdown, each line ended.
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::new();
        for (index, row) in self.rows.iter().enumerate() {
            let cells: Vec<String> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
            text += &format!("| {} |\n", cells.join(" | "));
            if index == 0 {
                let rule = |column| if self.is_numeric(column) { "---:" } else { "---" };
                let rules: Vec<&str> = (0..row.len()).map(rule).collect();
                text += &format!("| {} |\n", rules.join(" | "));
            }
        }
        text
    }

    fn is_numeric(&self, column: usize) -> bool {
        let mut cells = self.rows.iter().skip(1).filter_map(|row| row.get(column));
        cells.all(|cell| cell.starts_with(|c: char| c.is_ascii_digit() || c == '-'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_to_the_right() {
        let mut table = Table::new(["name", "n"]);
        table.row(["a".into(), "1".into()]);
        table.row(["long name".into(), "100".into()]);
        assert_eq!(table.render(), "name         n\na            1\nlong name  100\n");
    }

    #[test]
    fn markdown_keeps_cells_apart() {
        let mut table = Table::new(["name", "n"]);
        table.row(["a|b".into(), "1".into()]);
        assert_eq!(table.markdown(), "| name | n |\n| --- | ---: |\n| a\\|b | 1 |\n");
    }

    #[test]
    fn sizes_are_short() {
        assert_eq!(bytes(98_362_432), "98.4 MB");
        assert_eq!(bytes(12), "12 B");
        assert_eq!(count(134_515_008), "134.5 M");
    }
}
