//! The draft's text: statements, the values that they need, what is left for the author.

use std::fmt::Write as _;

/// Columns of a comment.
const COLUMNS: usize = 100;

/// A draft being written.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// Blocks that the next line is in.
    pub(super) indent: usize,
    statements: String,
    /// Names and what they are bound to, in order.
    values: Vec<(String, String)>,
    /// What was assumed, and where to look.
    pub(super) assumptions: Vec<String>,
}

impl Page {
    /// Adds a statement, or a line of one.
    pub(super) fn line(&mut self, text: impl AsRef<str>) {
        let indent = "  ".repeat(self.indent + 1);
        // Writing to a string cannot fail.
        let _ = writeln!(self.statements, "{indent}{}", text.as_ref());
    }

    /// Starts a block that applies to layers with this part, unless all have it.
    pub(super) fn open(&mut self, everywhere: bool, part: &str) {
        if !everywhere {
            self.line(format!("if has_weight(\"blk.{{i}}.{part}\") {{"));
            self.indent += 1;
        }
    }

    /// Ends what `open` started.
    pub(super) fn close(&mut self, everywhere: bool) {
        if !everywhere {
            self.indent -= 1;
            self.line("}");
        }
    }

    /// Offers a value, or a function with its parameters; it is written where something reads it.
    pub(super) fn value(&mut self, name: &str, value: impl Into<String>) {
        self.values.push((name.into(), value.into()));
    }

    /// Records what neither names nor metadata say, and where to look for it.
    pub(super) fn assume(&mut self, what: impl Into<String>, place: &str) {
        self.assumptions.push(format!("{}. Look at {place}.", what.into()));
    }

    /// The whole file.
    pub(super) fn text(&self, heading: &str, remarks: &[String]) -> String {
        let mut read = self.statements.clone();
        let mut values = vec![];
        for (name, value) in self.values.iter().rev() {
            let bare = name.split('(').next().unwrap_or(name);
            if mentions(&read, bare) {
                read += value;
                values.push(format!("  {name} = {value}\n"));
            }
        }
        values.reverse();
        let mut text = String::from(
            "# A first draft, from the names of a model's tensors and its metadata.\n",
        );
        if !self.assumptions.is_empty() {
            text += "# They do not say everything. Assumed, so check:\n";
        }
        for assumption in &self.assumptions {
            comment(&mut text, "- ", assumption);
        }
        for remark in remarks {
            comment(&mut text, "", remark);
        }
        text + heading + " {\n" + &values.concat() + "\n" + &self.statements + "}\n"
    }
}

/// Adds a comment, broken into lines.
fn comment(text: &mut String, mark: &str, content: &str) {
    let mut line = format!("# {mark}");
    for word in content.split_whitespace() {
        if line.len() + word.len() > COLUMNS {
            *text += line.trim_end();
            *text += "\n";
            line = format!("# {}", " ".repeat(mark.len()));
        }
        line += word;
        line += " ";
    }
    *text += line.trim_end();
    *text += "\n";
}

/// Whether `text` has the name as a word of its own, outside metadata keys and weights' names.
fn mentions(text: &str, name: &str) -> bool {
    let outside = text.split('"').step_by(2);
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    outside.flat_map(|piece| piece.split(|c| !word(c))).any(|found| found == name)
}
