//! Tickers, OCC symbols and password hashes: a text that is accepted is accepted again as it is written out, and is the
//! same value then; one that is refused is refused with a field.
#![no_main]

use std::fmt::Debug;
use std::str::FromStr;

use buffetbot_db::Error;
use buffetbot_db::options::OccSymbol;
use buffetbot_db::types::{PasswordHash, Ticker};
use libfuzzer_sys::fuzz_target;

fn check<T: FromStr<Err = Error> + PartialEq + Debug>(text: &str, written: impl Fn(&T) -> String) {
    match text.parse::<T>() {
        Ok(value) => {
            let again = written(&value).parse::<T>().expect("what is written out is accepted");
            assert_eq!(again, value);
        }
        Err(Error::Invalid { field, reason }) => assert!(!field.is_empty() && !reason.is_empty()),
        Err(other) => panic!("{other:?}"),
    }
}

fuzz_target!(|text: &str| {
    check::<Ticker>(text, |ticker| ticker.to_string());
    check::<OccSymbol>(text, |symbol| symbol.to_string());
    check::<PasswordHash>(text, |hash| hash.expose().to_owned());
});
