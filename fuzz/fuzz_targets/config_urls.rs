//! Connection URLs: understood, or refused without a word of what is in them.
#![no_main]

use buffetbot_db::{Config, Error};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let secret = "S3sameOpenUp";
    for url in [text.to_owned(), format!("postgres://ada:{secret}@{text}")] {
        match Config::new(&url) {
            Ok(config) => assert!(!format!("{config:?}").contains(secret)),
            Err(error) => {
                assert!(matches!(error, Error::Config { .. }), "{error:?}");
                assert!(!format!("{error} {error:?}").contains(secret));
            }
        }
    }
});
