//! Rows as a table, as JSON, or through a template: what `--format` means to commands that list.

use serde_json::Value;

use crate::failure::Failure;
use crate::template::{self, Failed, Template};
use crate::{output, table};

/// The formats that are a whole row as JSON.
const WHOLE_ROW: [&str; 2] = ["json", "{{json .}}"];

/// How rows are shown that nobody said anything about.
pub(super) struct Listing {
    /// The template of a row, cells separated by tabs.
    pub(super) table: &'static str,
    /// A heading for every field.
    pub(super) headings: &'static [(&'static str, &'static str)],
}

impl Listing {
    /// Prints rows in the format asked for; `None` and `table` are the usual table.
    pub(super) fn print(&self, format: Option<&str>, rows: &[Value]) -> Result<(), Failure> {
        let format = format.unwrap_or("table").trim();
        let format = format.replace("\\t", "\t").replace("\\n", "\n");
        let own = format.strip_prefix("table").map(|own| if own.trim().is_empty() { self.table } else { own.trim() });
        match own {
            Some(cells) => self.print_table(&template::of_flag(cells)?, rows),
            None if WHOLE_ROW.contains(&format.as_str()) => print_json(rows),
            None => print_lines(&template::of_flag(&format)?, rows),
        }
    }

    fn print_table(&self, cells: &Template, rows: &[Value]) -> Result<(), Failure> {
        let headings = self.headings.iter().map(|(field, heading)| ((*field).to_owned(), Value::from(*heading)));
        let headings = cells.execute_headings(&Value::Object(headings.collect())).map_err(|failed| failure(&failed))?;
        let mut lines = vec![headings];
        for row in rows {
            lines.push(cells.execute(row).map_err(|failed| failure(&failed))?);
        }
        output::text(table::aligned(&lines))?;
        Ok(())
    }
}

/// Rows as JSON, a line each, with what HTML gives a meaning to escaped as Go's encoder does.
fn print_json(rows: &[Value]) -> Result<(), Failure> {
    let lines = rows.iter().map(|row| {
        let line = row.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
        line + "\n"
    });
    output::text(lines.collect::<String>())
}

fn print_lines(template: &Template, rows: &[Value]) -> Result<(), Failure> {
    let mut text = String::new();
    for row in rows {
        text.push_str(&template.execute(row).map_err(|failed| failure(&failed))?);
        text.push('\n');
    }
    output::text(text)?;
    Ok(())
}

fn failure(failed: &Failed) -> Failure {
    Failure::new(format!("template parsing error: {}", failed.error))
}

/// A text of at most so many characters, with an ellipsis for what is left out.
pub(super) fn shortened(text: &str, length: usize) -> String {
    if text.chars().count() <= length {
        return text.to_owned();
    }
    text.chars().take(length.saturating_sub(1)).chain(['…']).collect()
}

/// `a=b,c=d`
pub(super) fn labels(labels: &std::collections::BTreeMap<String, String>) -> String {
    labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_end_in_an_ellipsis() {
        assert_eq!(shortened("sh -c 'exit 2'", 20), "sh -c 'exit 2'");
        assert_eq!(shortened("abcdef", 4), "abc…");
        assert_eq!(shortened("äöüß", 4), "äöüß");
    }
}
