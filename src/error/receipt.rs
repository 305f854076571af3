//! Identifies a transaction, and the server and history that it ran on.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Error, Result};
use crate::error::shown;

/// Names one transaction that wrote, also after its connection and its program are gone:
/// [`Database::outcome`](crate::Database::outcome) finds its outcome. Its text form, which it has in JSON too, can be
/// stored and parsed again.
///
/// It is made by transactions with [`TransactionOptions::receipt`](crate::TransactionOptions::receipt).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Receipt {
    /// The system identifier, which a server and its standbys share.
    pub(crate) system: i64,
    /// The timeline, which is another one after a promotion or a restored backup.
    pub(crate) timeline: u32,
    /// The transaction's id, in full.
    pub(crate) id: u64,
    /// When the server last recovered from a crash, in microseconds since 1970: recovering, it may give an id that it had
    /// not yet written down to another transaction.
    pub(crate) recovered: i64,
    /// The id had been written down when COMMIT was sent: no other transaction gets it.
    pub(crate) is_kept: bool,
}

/// The form of the text.
const FORM: &str = "1";

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Receipt { system, timeline, id, recovered, is_kept } = self;
        write!(f, "{FORM}.{system}.{timeline}.{id}.{recovered}.{}", u8::from(*is_kept))
    }
}

impl FromStr for Receipt {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse(text).ok_or_else(|| {
            Error::invalid("receipt", format!("{} is not the text of a receipt", shown(text)))
        })
    }
}

fn parse(text: &str) -> Option<Receipt> {
    let mut parts = text.split('.');
    let mut next = || parts.next();
    if next()? != FORM {
        return None;
    }
    let receipt = Receipt {
        system: next()?.parse().ok()?,
        timeline: next()?.parse().ok()?,
        id: next()?.parse().ok()?,
        recovered: next()?.parse().ok()?,
        is_kept: match next()? {
            "0" => false,
            "1" => true,
            _ => return None,
        },
    };
    next().is_none().then_some(receipt)
}

impl TryFrom<String> for Receipt {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Receipt> for String {
    fn from(receipt: Receipt) -> String {
        receipt.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::Receipt;

    #[test]
    fn the_text_is_the_receipt() {
        let receipt =
            Receipt { system: i64::MIN, timeline: 2, id: 1 << 40, recovered: -1, is_kept: true };
        let text = receipt.to_string();
        assert_eq!(text.parse::<Receipt>().unwrap(), receipt);
        let json = serde_json::to_string(&receipt).unwrap();
        assert_eq!(serde_json::from_str::<Receipt>(&json).unwrap(), receipt);
        for wrong in
            ["", "1", "2.1.1.1.1.1", "1.1.1.1.1", "1.1.1.1.1.2", "1.1.1.1.1.1.1", "1.1.-1.1.1.1"]
        {
            assert!(wrong.parse::<Receipt>().is_err(), "{wrong}");
        }
    }
}
