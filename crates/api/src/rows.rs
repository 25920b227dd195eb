//! Rows of events as they come: columns as wide as what was seen so far, within the terminal.

use std::fmt::Write as _;

/// A table that grows.
#[derive(Clone, Debug)]
pub struct Rows {
    /// Most characters of a line; 0 for no limit.
    width: usize,
    columns: Vec<(String, bool)>,
    widths: Vec<usize>,
    /// Whether the header of these columns is still to be printed.
    untold: bool,
}

/// Widest that a column gets before it has seen its first row, in characters.
const START: usize = 8;

impl Rows {
    /// A table on a terminal of `width` characters, or on none.
    #[must_use]
    pub fn new(width: Option<usize>) -> Self {
        Self { width: width.unwrap_or(0), columns: Vec::new(), widths: Vec::new(), untold: false }
    }

    /// Whose rows come next. Where the columns differ from the last ones, a header goes before the next row. Columns
    /// are names, and whether they are numbers.
    pub fn columns(&mut self, columns: Vec<(String, bool)>) {
        if self.columns == columns {
            return;
        }
        let widest = |(name, number): &(String, bool)| {
            let least = if *number { START.min(name.chars().count() + 2) } else { START };
            name.chars().count().max(least)
        };
        self.widths = columns.iter().map(widest).collect();
        self.columns = columns;
        self.untold = true;
    }

    /// A row, with the header before it where there is one to print: it is as wide as this first row.
    ///
    /// A cell that begins with a line's end has a line for each of its parts, which come under the row: a stack's frames.
    pub fn row(&mut self, cells: &[String]) -> String {
        let row = self.line(cells, cells) + &self.under(cells);
        if !std::mem::take(&mut self.untold) {
            return row;
        }
        let names: Vec<String> = self.columns.iter().map(|(name, _)| name.to_uppercase()).collect();
        format!("{}\n{row}", self.line(&names, cells))
    }

    /// The lines under a row, each column's under its name where there are several.
    fn under(&self, cells: &[String]) -> String {
        let stacks: Vec<(usize, &str)> = cells
            .iter()
            .enumerate()
            .filter_map(|(at, cell)| Some((at, cell.strip_prefix('\n')?)))
            .collect();
        let mut text = String::new();
        let mut add = |line: String| {
            text.push('\n');
            text.push_str(&self.fit(line));
        };
        for (at, frames) in &stacks {
            if let (Some((name, _)), true) = (self.columns.get(*at), stacks.len() > 1) {
                add(format!("    {name}:"));
            }
            let frames = frames.split('\n').filter(|frame| !frame.is_empty());
            frames.for_each(|frame| add(format!("        {frame}")));
        }
        text
    }

    /// One line, without the columns that a row has under it.
    fn line(&mut self, cells: &[String], row: &[String]) -> String {
        let mut line = String::new();
        let is_beside = |at: usize| !row.get(at).is_some_and(|cell| cell.starts_with('\n'));
        let last = (0..cells.len()).rev().find(|at| is_beside(*at)).unwrap_or(0);
        for (at, cell) in cells.iter().enumerate().filter(|(at, _)| is_beside(*at)) {
            let length = cell.chars().count();
            let number = self.columns.get(at).is_some_and(|(_, number)| *number);
            let width = self.widths.get_mut(at).map_or(length, |width| {
                *width = (*width).max(length.min(40));
                *width
            });
            let pad = width.saturating_sub(length);
            // Writing to a String cannot fail.
            let _ = match (number, at == last) {
                (true, _) => write!(line, "{:pad$}{cell}", ""),
                (false, true) => write!(line, "{cell}"),
                (false, false) => write!(line, "{cell}{:pad$}", ""),
            };
            if at != last {
                line.push_str("  ");
            }
        }
        self.fit(line)
    }

    fn fit(&self, line: String) -> String {
        if self.width < 2 || line.chars().count() <= self.width {
            return line;
        }
        line.chars().take(self.width - 1).chain(['…']).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Rows;

    #[test]
    fn columns_grow_and_lines_fit_the_terminal() {
        let mut rows = Rows::new(Some(30));
        let columns =
            vec![("pid".to_owned(), true), ("comm".to_owned(), false), ("path".to_owned(), false)];
        let cells =
            |pid: &str, comm: &str, path: &str| [pid, comm, path].map(str::to_owned).to_vec();
        rows.columns(columns.clone());
        let first = rows.row(&cells("7", "sh", "/bin/sh"));
        rows.columns(columns);
        let text = [
            first,
            rows.row(&cells("123456", "a-longer-name", "/usr/bin/something")),
            rows.row(&cells("8", "sh", "/bin/sh")),
        ];
        insta::assert_snapshot!(text.join("\n"), @r"
          PID  COMM      PATH
            7  sh        /bin/sh
        123456  a-longer-name  /usr/b…
             8  sh             /bin/sh
        ");
    }

    #[test]
    fn frames_come_under_their_row() {
        let mut rows = Rows::new(Some(24));
        let columns = ["pid", "kernel", "user", "comm"];
        rows.columns(columns.map(|name| (name.to_owned(), name == "pid")).to_vec());
        let cells = |pid: &str, kernel: &str, user: &str| {
            [pid, kernel, user, "sh"].map(str::to_owned).to_vec()
        };
        let first = rows.row(&cells("7", "\nvfs_read+0x10\nksys_read", "\n"));
        let second = rows.row(&cells("8", "\na_name_that_is_long_enough", "\nmain"));
        let text = "  PID  COMM\n    7  sh\n    kernel:\n        vfs_read+0x10\n        ksys_read\n    user:\n";
        let more = "    8  sh\n    kernel:\n        a_name_that_is_…\n    user:\n        main";
        assert_eq!([first, second].join("\n"), format!("{text}{more}"));
    }
}
