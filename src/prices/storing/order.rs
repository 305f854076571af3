//! The order in which bars are stored: by band of days, in it by ticker (byte by byte), then by day.
//!
//! All writers keep to it, so that those at work at once wait for each other instead of deadlocking. A band
//! is narrow enough that the index by day is written in few places, and wide enough that a ticker's
//! bars fill pages of the table, which is what reading its history costs.

use std::cmp::Ordering;

use super::intake::Row;
use crate::prices::bars::NewPriceBar;
use crate::prices::reading::days;

/// Days of a band: some 176 days of trading, two pages and a half of the table.
const BAND: i64 = 256;

/// Compares as bars are stored: the band, the ticker, the time in microseconds since 1970.
pub(crate) type Position<'a> = (i64, &'a [u8], i64);

pub(crate) fn position(ticker: &[u8], micros: i64) -> Position<'_> {
    (days(micros).div_euclid(BAND), ticker, micros)
}

pub(crate) fn of(bar: &NewPriceBar) -> Position<'_> {
    let micros = bar.date.midnight_utc().timestamp_micros();
    position(bar.ticker.as_str().as_bytes(), micros)
}

/// A position that can be compared without following a pointer, but for the rest of a long ticker.
struct Key {
    band: i64,
    micros: i64,
    /// The first bytes of the ticker.
    prefix: u64,
    has_rest: bool,
    index: usize,
}

impl Key {
    fn of(index: usize, bar: &NewPriceBar) -> Self {
        let (band, ticker, micros) = of(bar);
        let mut prefix = [0; size_of::<u64>()];
        let known = ticker.len().min(prefix.len());
        prefix[..known].copy_from_slice(&ticker[..known]);
        Key {
            band,
            micros,
            prefix: u64::from_be_bytes(prefix),
            has_rest: ticker.len() > known,
            index,
        }
    }
}

/// Sorts; rows at equal positions stay in their order.
pub(crate) fn sort(rows: Vec<Row<'_>>) -> Vec<Row<'_>> {
    // As most deliveries of one ticker are.
    if rows.is_sorted_by_key(|row| of(&row.bar)) {
        return rows;
    }
    let mut keys: Vec<Key> = rows.iter().enumerate().map(|(i, row)| Key::of(i, &row.bar)).collect();
    keys.sort_unstable_by(|a, b| {
        let ticker = |key: &Key| rows[key.index].bar.ticker.as_str();
        let rest = || match a.has_rest || b.has_rest {
            true => ticker(a).cmp(ticker(b)),
            false => Ordering::Equal,
        };
        (a.band, a.prefix)
            .cmp(&(b.band, b.prefix))
            .then_with(rest)
            .then_with(|| (a.micros, a.index).cmp(&(b.micros, b.index)))
    });
    let mut rows: Vec<Option<Row<'_>>> = rows.into_iter().map(Some).collect();
    keys.into_iter().filter_map(|key| rows[key.index].take()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::intake::Bar;
    use super::*;
    use crate::types::Ticker;

    #[test]
    fn long_tickers_and_equal_positions_are_sorted_as_by_comparing() {
        let mut rows = Vec::new();
        for day in ["2024-03-01", "2022-01-03", "2024-01-02", "2024-01-02"] {
            for ticker in ["ABCDEFGHZ", "ABCDEFGH", "ABCDEFGHA.TO", "AB", "ABCDEFGHA"] {
                let ticker = Ticker::new(ticker).expect("a ticker");
                let day: chrono::NaiveDate = day.parse().expect("a day");
                let bar = NewPriceBar::new(ticker, day, "1".parse().expect("a price"));
                rows.push(Row { index: rows.len(), bar: Bar::Ours(Box::new(bar)) });
            }
        }
        let mut expected: Vec<_> = rows.iter().map(|row| (of(&row.bar), row.index)).collect();
        expected.sort();
        let expected: Vec<usize> = expected.into_iter().map(|(_, index)| index).collect();
        let sorted: Vec<usize> = sort(rows).iter().map(|row| row.index).collect();
        assert_eq!(sorted, expected);
    }
}
