//! OCC symbols and contracts, both ways.

use buffetbot_db::options::{OccSymbol, OptionContract};
use buffetbot_db::types::{OptionType, Price};
use chrono::{Days, NaiveDate};
use proptest::prelude::any;
use proptest::test_runner::Config;
use proptest::{prop_assert, prop_assert_eq, proptest};

#[test]
fn every_contract_that_has_a_symbol_comes_back_from_it() {
    let cases = Config { failure_persistence: None, cases: 500, ..Config::default() };
    let first = NaiveDate::from_ymd_opt(2000, 1, 1).expect("a day");
    proptest!(cases, |(
        root in "[A-Z][A-Z0-9]{0,5}", day in 0u64..36_525, is_call in any::<bool>(),
        thousandths in 1i64..100_000_000, zeros in 0usize..3,
    )| {
        let option_type = if is_call { OptionType::Call } else { OptionType::Put };
        // However the strike is spelled.
        let text = format!("{}.{:03}{}", thousandths / 1_000, thousandths % 1_000, "0".repeat(zeros));
        let strike: Price = text.parse().expect("a price");
        let ticker = root.parse().expect("a ticker");
        let contract = OptionContract::new(ticker, first + Days::new(day), option_type, strike);
        let symbol = contract.occ_symbol().expect("a symbol");
        let padded = symbol.to_string();
        prop_assert_eq!(padded.len(), 21);
        prop_assert!(padded.starts_with(&root));
        for text in [padded.clone(), padded.replace(' ', ""), padded.to_lowercase()] {
            let parsed: OccSymbol = text.parse().expect("a symbol");
            prop_assert_eq!(&parsed, &symbol);
            prop_assert_eq!(parsed.into_contract(), contract.clone());
        }
    });
}

#[test]
fn whatever_is_no_symbol_is_refused_and_what_is_one_has_one_spelling() {
    let cases = Config { failure_persistence: None, cases: 2_000, ..Config::default() };
    proptest!(cases, |(text in "[A-C ]{0,7}[0-9]{5,7}[CPX][0-9]{7,9}")| {
        if let Ok(symbol) = text.parse::<OccSymbol>() {
            let again: OccSymbol = symbol.to_string().parse().expect("its own spelling");
            prop_assert_eq!(again.into_contract().occ_symbol().expect("a symbol"), symbol);
        }
    });
}
