//! "Did you mean": the nearest of the right words, in a bounded time however many there are.

/// The candidate nearest to `word`, if it is near enough to be meant: at most a third of its letters differ.
#[must_use]
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    Search::default().nearest(word, candidates)
}

/// Letters of a name that are looked at.
const LETTERS: usize = 64;

/// Letters and pairs of letters that one search compares. A file may have thousands of wrong names and its objects a hundred
/// thousand right ones; this is less than a tenth of a second.
const MOST: usize = 1 << 25;

/// Looks for the names of one file: for all of them together its work is bounded. What comes behind that has no nearest.
#[derive(Debug)]
pub struct Search {
    left: usize,
}

impl Default for Search {
    fn default() -> Self {
        Self { left: MOST }
    }
}

impl Search {
    /// As [`nearest`].
    pub fn nearest<'a>(
        &mut self,
        word: &str,
        candidates: impl IntoIterator<Item = &'a str>,
    ) -> Option<&'a str> {
        let word: Vec<char> = word.chars().take(LETTERS).collect();
        let mut rows = Rows::default();
        let mut best: Option<(usize, &str)> = None;
        for candidate in candidates {
            rows.candidate.clear();
            rows.candidate.extend(candidate.chars().take(LETTERS));
            let longer = word.len().max(rows.candidate.len());
            let near = (longer / 3).max(1);
            let within = best.map_or(near, |(distance, _)| near.min(distance.saturating_sub(1)));
            self.pay(1 + rows.candidate.len())?;
            if longer - word.len().min(rows.candidate.len()) > within {
                continue;
            }
            let distance = rows.distance(&word, within);
            self.pay(rows.cells)?;
            match distance {
                Some(0) => return Some(candidate),
                Some(distance) => best = Some((distance, candidate)),
                None => {}
            }
        }
        best.map(|(_, candidate)| candidate)
    }

    fn pay(&mut self, work: usize) -> Option<()> {
        let left = self.left.checked_sub(work);
        self.left = left.unwrap_or(0);
        left.map(drop)
    }
}

/// What one distance is counted in; kept for the next one.
#[derive(Default)]
struct Rows {
    candidate: Vec<char>,
    before: Vec<usize>,
    last: Vec<usize>,
    row: Vec<usize>,
    /// Pairs of letters that the last distance took.
    cells: usize,
}

impl Rows {
    /// Letters to insert, delete, replace or swap with a neighbour (optimal string alignment), if they are at most `within`.
    /// Only what is so near to the diagonal can be.
    fn distance(&mut self, a: &[char], within: usize) -> Option<usize> {
        let Self { candidate: b, before, last, row, cells } = self;
        let far = within + 1;
        for row in [&mut *before, &mut *row] {
            row.resize(row.len().max(b.len() + 1), far);
        }
        last.clear();
        last.extend((0..=b.len()).map(|at| at.min(far)));
        *cells = b.len();
        let mut is_near = true;
        for (i, x) in a.iter().enumerate() {
            let (from, to) = (i.saturating_sub(within), (i + 1 + within).min(b.len()));
            // What is beside the part that is counted was never so near.
            row[from] = if i < within { i + 1 } else { far };
            if let Some(beside) = row.get_mut(to + 1) {
                *beside = far;
            }
            for j in from..to {
                let replaced = last[j] + usize::from(*x != b[j]);
                let mut best = replaced.min(last[j + 1] + 1).min(row[j] + 1);
                if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == b[j] {
                    best = best.min(before[j - 1] + 1);
                }
                row[j + 1] = best.min(far);
            }
            *cells += to.saturating_sub(from) + 1;
            let was_near =
                std::mem::replace(&mut is_near, row[from..=to].iter().any(|one| *one < far));
            // A swap reaches over one row.
            if !is_near && !was_near {
                return None;
            }
            std::mem::swap(before, last);
            std::mem::swap(last, row);
        }
        Some(last[b.len()]).filter(|distance| *distance <= within)
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST, Rows, Search, nearest};

    #[test]
    fn finds_what_was_meant_and_nothing_else() {
        let keys = ["function", "target", "optional", "max_entries"];
        assert_eq!(nearest("functon", keys), Some("function"));
        assert_eq!(nearest("traget", keys), Some("target"));
        assert_eq!(nearest("max-entries", keys), Some("max_entries"));
        assert_eq!(nearest("colour", keys), None);
        assert_eq!(nearest("x", []), None);
        assert_eq!(nearest("funct", keys), None);
        assert_eq!(nearest("fnuctino", keys), Some("function"));
        assert_eq!(nearest("cb", ["abc", "bc"]), Some("bc"));
        let long = "x".repeat(200);
        assert_eq!(nearest(&long, ["y"]), None);
        assert_eq!(nearest(&format!("y{long}"), [long.as_str()]), Some(long.as_str()));
    }

    /// Every pair of letters, without a bound.
    fn whole(a: &[char], b: &[char]) -> usize {
        let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
        for i in 0..=a.len() {
            for j in 0..=b.len() {
                rows[i][j] = match (i, j) {
                    (0, _) => j,
                    (_, 0) => i,
                    _ => {
                        let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                        replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1)
                    }
                };
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    rows[i][j] = rows[i][j].min(rows[i - 2][j - 2] + 1);
                }
            }
        }
        rows[a.len()][b.len()]
    }

    #[test]
    fn what_is_near_the_diagonal_is_as_far_as_with_the_rest() {
        let words: Vec<Vec<char>> = (0_u32..400)
            .map(|seed| {
                let letter = |at: u32| {
                    ['a', 'b', 'c'][(seed.wrapping_mul(2_654_435_761) >> (at * 3)) as usize % 3]
                };
                (0..seed % 9).map(letter).collect()
            })
            .collect();
        let mut rows = Rows::default();
        for a in &words {
            for b in &words {
                rows.candidate.clone_from(b);
                let distance = whole(a, b);
                for within in a.len().abs_diff(b.len())..5 {
                    let near = Some(distance).filter(|distance| *distance <= within);
                    assert_eq!(rows.distance(a, within), near, "{a:?} {b:?} {within}");
                }
            }
        }
    }

    #[test]
    fn many_names_among_many_take_no_more_than_is_allowed() {
        let names: Vec<String> = (0..5000).map(|at| format!("{}{at}", "x".repeat(60))).collect();
        let names = || names.iter().map(String::as_str);
        let mut search = Search::default();
        assert_eq!(search.nearest("y", names()), None);
        assert!(search.left > MOST / 2, "a length that none has is no work: {}", search.left);
        let near = format!("y{}7", "x".repeat(59));
        let mut given = 0;
        while search.nearest(&near, names()).is_some() {
            given += 1;
        }
        assert!(given > 0 && search.left == 0);
        let looked = std::cell::Cell::new(0);
        let counted = || names().inspect(|_| looked.set(looked.get() + 1));
        for _ in 0..10_000 {
            assert_eq!(search.nearest(&near, counted()), None);
        }
        assert_eq!(looked.get(), 10_000, "the first of each shows that nothing is left");
    }
}
