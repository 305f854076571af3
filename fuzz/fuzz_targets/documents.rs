//! JSON documents: what is accepted is JSON to serde_json too, and equal to itself decoded and encoded.
#![no_main]

use buffetbot_db::Error;
use buffetbot_db::types::Document;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match Document::parse(text) {
        Ok(document) => {
            assert_eq!(document, document.clone());
            // Deeply nested ones are stored, and decoded by types that ask for it.
            if let Ok(value) = document.decode::<serde_json::Value>() {
                let again = Document::encode(&value).expect("what was decoded is encoded");
                assert!(again.decode::<serde_json::Value>().is_ok_and(|again| again == value));
            }
        }
        Err(Error::Invalid { field, reason }) => assert!(field == "json" && !reason.is_empty()),
        Err(other) => panic!("{other:?}"),
    }
});
