//! Tables made for people.

use comfy_table::{ContentArrangement, Table, presets};

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
    let lines: Vec<String> =
        table.lines().map(|line| line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned()).collect();
    lines.join("\n")
}
