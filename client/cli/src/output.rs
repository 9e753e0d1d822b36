//! What commands print.

use std::io::{self, Write};

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use firn_gateway::http::base64;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value};

/// Where a command's answer goes, and in which form.
pub(crate) struct Output<'o> {
    /// Standard output, or what stands for it.
    pub(crate) out: &'o mut dyn Write,
    /// JSON, one value a line.
    pub(crate) json: bool,
    /// Whether a person looks at it, so that a value should end with a line's end.
    pub(crate) terminal: bool,
}

impl Output<'_> {
    /// A line of text.
    pub(crate) fn line(&mut self, text: impl std::fmt::Display) -> io::Result<()> {
        writeln!(self.out, "{text}")
    }

    /// A line of JSON.
    pub(crate) fn json(&mut self, value: &impl serde::Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut *self.out, value)?;
        self.out.write_all(b"\n")
    }

    /// Bytes as they are.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        if self.terminal && !bytes.ends_with(b"\n") {
            self.out.write_all(b"\n")?;
        }
        Ok(())
    }
}

/// Rows under a header, in columns; those from `numbers` on hold numbers and are set to the right.
pub(crate) fn columns<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
    numbers: std::ops::Range<usize>,
) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header).add_rows(rows);
    for (at, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if numbers.contains(&at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

/// A bar on standard error for who looks at it: where that is no terminal nothing is shown.
pub(crate) fn bar(length: u64, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).expect("our templates are well formed");
    ProgressBar::new(length).with_style(style)
}

/// A JSON object under construction. Bytes that are no UTF-8 go as base64 under the name with `_base64` behind.
#[derive(Debug, Default)]
pub(crate) struct Object(Map<String, Value>);

impl Object {
    /// Adds a member.
    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// Adds bytes.
    #[must_use]
    pub(crate) fn with_bytes(self, name: &str, bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.with(name, text),
            Err(_) => self.with(&format!("{name}_base64"), base64::encode(bytes)),
        }
    }

    /// Its members.
    pub(crate) fn members(&self) -> &Map<String, Value> {
        &self.0
    }

    /// As a value, to stand in another.
    pub(crate) fn into_value(self) -> Value {
        Value::Object(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(bytes: &[u8], terminal: bool) -> Vec<u8> {
        let mut out = Vec::new();
        Output { out: &mut out, json: false, terminal }.raw(bytes).unwrap();
        out
    }

    #[test]
    fn values_are_printed_byte_for_byte_but_for_people() {
        assert_eq!(raw(b"\xff\0", false), b"\xff\0");
        assert_eq!(raw(b"v", true), b"v\n");
        assert_eq!(raw(b"v\n", true), b"v\n");
    }

    #[test]
    fn columns_line_up() {
        let rows = [["a".to_owned(), "1".to_owned()], ["bcd".to_owned(), "20".to_owned()]];
        assert_eq!(columns(["X", "N"], rows, 1..2), "X     N\na     1\nbcd  20");
    }

    #[test]
    fn bytes_in_json_are_text_where_they_can_be() {
        let object =
            Object::default().with_bytes("key", "é".as_bytes()).with_bytes("value", b"\xff");
        let text = serde_json::to_string(object.members()).unwrap();
        assert_eq!(text, r#"{"key":"é","value_base64":"/w=="}"#);
    }
}
