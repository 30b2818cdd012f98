//! Progress bars, on standard error, for people only.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar over `total` of something; without a total a spinner; hidden where nobody looks.
pub fn bar(terminal: bool, total: Option<u64>, bytes: bool) -> ProgressBar {
    if !terminal {
        return ProgressBar::hidden();
    }
    let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    let template = match (total.is_some(), bytes) {
        (true, true) => "{bar:30} {bytes}/{total_bytes} {msg} {eta} left",
        (true, false) => "{bar:30} {pos}/{len} {msg} {eta} left",
        (false, _) => "{spinner} {msg} {elapsed}",
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
