//! Tables made for people.

use comfy_table::{ColumnConstraint, ContentArrangement, Table, Width, presets};

/// What is as short as this is not broken: a span, a count with its unit.
const SHORT: usize = 16;
/// A word as long as this may be: an id has 36 characters, most addresses fewer.
const LONGEST_WORD: usize = 44;

/// A column's padding, which its least width includes.
const PADDING: usize = 2;

/// An empty table with these column heads. On a terminal it fits the width; elsewhere it is as wide as it needs.
pub fn table(heads: &[&str], terminal: bool) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if terminal {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    table.set_header(heads.iter().map(|head| head.to_uppercase()));
    table
}

/// The table's lines, without the blanks that padding leaves at their ends and starts.
pub fn render(table: &Table) -> String {
    let mut table = table.clone();
    // Ids and addresses are there to be copied: rather than break one, a line is longer than the terminal is wide.
    let least: Vec<u16> = (0..table.column_count()).map(|column| unbroken(&table, column)).collect();
    table
        .set_constraints(least.into_iter().map(|width| ColumnConstraint::LowerBoundary(Width::Fixed(width))));
    let lines: Vec<String> =
        table.lines().map(|line| line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned()).collect();
    lines.join("\n")
}

/// The width at which no word of a column is broken.
fn unbroken(table: &Table, column: usize) -> u16 {
    let cells = table.column_cells_with_header_iter(column).flatten().map(comfy_table::Cell::content);
    let widths = cells.map(|cell| match width(&cell) {
        short @ ..=SHORT => short,
        _ => cell.split(' ').map(width).max().unwrap_or(0).min(LONGEST_WORD),
    });
    u16::try_from(widths.max().unwrap_or(0) + PADDING).unwrap_or(u16::MAX)
}

/// Columns on a terminal, roughly: what is not ASCII is mostly Japanese here, and two wide.
fn width(text: &str) -> usize {
    text.chars().map(|c| if c.is_ascii() { 1 } else { 2 }).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrow_terminal_breaks_sentences_and_neither_ids_nor_addresses() {
        let mut table = table(&["id", "to", "age", "why"], true);
        let (id, to) = ("0197a3c2-7a10-7c3e-9a55-0d5f6f1f2a3b", "\"..guest\"@long.docomo.ne.jp");
        table.add_row([
            id,
            to,
            "3m 58s",
            "550 5.1.1 The email account that you tried to reach does not exist",
        ]);
        for columns in [120, 100, 80, 20] {
            table.set_width(columns);
            let shown = render(&table);
            assert!(
                shown.contains(id) && shown.contains(to) && shown.contains("3m 58s"),
                "{columns}: {shown}"
            );
            assert!(shown.lines().count() > 2, "{columns}: {shown}");
        }
        table.set_width(200);
        assert_eq!(render(&table).lines().count(), 2);
    }
}
