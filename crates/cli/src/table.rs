//! Lists in columns.

/// The narrowest a column gets, the blanks after it included.
const NARROWEST: usize = 10;
/// Blanks after the widest cell of a column.
const GAP: usize = 3;

/// Lines of cells, tab-separated, as aligned columns; the last cell of a line is as wide as it is.
pub(crate) fn aligned(lines: &[String]) -> String {
    columns(lines, GAP, NARROWEST)
}

/// The same with columns as narrow as their cells, and `gap` blanks between them.
pub(crate) fn spaced(lines: &[String], gap: usize) -> String {
    columns(lines, gap, 0)
}

fn columns(lines: &[String], gap: usize, narrowest: usize) -> String {
    let rows: Vec<Vec<&str>> = lines.iter().map(|line| line.split('\t').collect()).collect();
    let count = rows.iter().map(Vec::len).max().unwrap_or_default();
    let widths: Vec<usize> = (0..count).map(|column| (width(&rows, column) + gap).max(narrowest)).collect();
    let mut text = String::new();
    for row in rows {
        let last = row.len() - 1;
        for (at, cell) in row.into_iter().enumerate() {
            text.push_str(cell);
            if at < last {
                let wide = widths.get(at).copied().unwrap_or_default();
                text.extend(std::iter::repeat_n(' ', wide.saturating_sub(cell.chars().count())));
            }
        }
        text.push('\n');
    }
    text
}

/// The widest of the cells of a column that another one follows.
fn width(rows: &[Vec<&str>], column: usize) -> usize {
    let followed = rows.iter().filter(|row| row.len() > column + 1).filter_map(|row| row.get(column));
    followed.map(|cell| cell.chars().count()).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_ten_wide_or_three_more_than_their_widest_cell() {
        let lines = ["CONTAINER ID\tIMAGE\tNAMES", "0123456789ab\tbusybox\tp", "x\ta-very-long-image\t"];
        let want = "CONTAINER ID   IMAGE               NAMES\n\
                    0123456789ab   busybox             p\n\
                    x              a-very-long-image   \n";
        assert_eq!(aligned(&lines.map(str::to_owned)), want);
        assert_eq!(aligned(&["A\tB".to_owned()]), "A         B\n");
        assert_eq!(aligned(&[]), "");
        assert_eq!(spaced(&["A\tB".to_owned(), "long\t".to_owned()], 1), "A    B\nlong \n");
    }
}
