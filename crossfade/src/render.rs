//! Results on standard output: a table for people, JSON for programs.

use crate::cli::Output;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

/// Writes `value` as JSON, or what `people` makes of it.
///
/// # Errors
/// When standard output is gone.
pub fn show<T: Serialize>(output: Output, value: &T, people: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
    match output {
        Output::Json => line(&serde_json::to_string_pretty(value)?),
        Output::Table => line(people(value).trim_end()),
    }
}

/// Writes one line to standard output. A reader that went away (`| head`) is no error of ours.
///
/// # Errors
/// When standard output is gone for another reason.
pub fn line(text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    match writeln!(std::io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// Writes one line to standard error, where progress and reservations go.
pub fn note(text: &str) {
    use std::io::Write as _;
    // Nobody reads along: no reason to stop.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// A table with a head; columns named in `right` (by index) are aligned to the right.
pub fn table<const N: usize>(head: [&str; N], right: &[usize], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(head);
    for row in rows {
        table.add_row(row);
    }
    for index in right {
        if let Some(column) = table.column_mut(*index) {
            column.set_cell_alignment(comfy_table::CellAlignment::Right);
        }
    }
    table.to_string()
}

/// Names and values below each other, the values aligned.
pub fn facts<'a>(facts: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let facts: Vec<_> = facts.into_iter().collect();
    let width = facts.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    facts.iter().map(|(name, value)| format!("{name:width$}  {value}\n")).collect()
}

/// A ratio as a percentage; 100 % only if nothing is missing.
pub fn percent(ratio: f64) -> String {
    let floored = (ratio * 10_000.0).floor() / 100.0;
    format!("{floored:.2} %")
}

/// A whole number with thin groups of three, so that 20000 and 200000 are told apart at a glance.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_never_rounded_up_to_a_hundred() {
        assert_eq!(percent(0.99999), "99.99 %");
        assert_eq!(percent(1.0), "100.00 %");
    }

    #[test]
    fn counts_are_grouped() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1,234,567");
    }
}
