//! Option contracts and their OCC symbols.

use std::str::FromStr;

use bigdecimal::{BigDecimal, ToPrimitive};
use chrono::{Datelike, NaiveDate};
use diesel::sql_types::Text;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, shown};
use crate::types::text::text_type;
use crate::types::{OptionType, Price, Ticker, TradingDay};

/// What an option gives the right to: to buy or sell `ticker` at `strike` until `expiration`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OptionContract {
    /// The underlying.
    pub ticker: Ticker,
    /// The day on which the contract ends.
    pub expiration: TradingDay,
    /// To buy or to sell.
    pub option_type: OptionType,
    /// The price of the right's exercise.
    pub strike: Price,
}

impl OptionContract {
    /// A contract.
    pub fn new(
        ticker: Ticker,
        expiration: impl Into<TradingDay>,
        option_type: OptionType,
        strike: Price,
    ) -> Self {
        OptionContract { ticker, expiration: expiration.into(), option_type, strike }
    }

    /// The contract's OCC symbol.
    ///
    /// # Errors
    /// [`Error::Invalid`]: the underlying has more than six characters, the year is not of the 21st
    /// century, the strike is not a multiple of 0.001 below 100,000.
    pub fn occ_symbol(&self) -> Result<OccSymbol> {
        OccSymbol::try_from(self.clone())
    }
}

/// Characters of the root, filled up with spaces.
const ROOT_LENGTH: usize = 6;
/// Date, type and strike behind the root.
const TAIL_LENGTH: usize = 15;
/// The century that the two digits of the year belong to.
const CENTURY: i32 = 2000;
/// Digits after the point that a symbol's strike has.
const STRIKE_SCALE: i64 = 3;
/// The first strike that eight digits of thousandths cannot hold.
const STRIKE_LIMIT: u64 = 100_000_000;

/// A contract's symbol in the OCC's 21 characters: the root filled up with spaces to six, the
/// expiration as `YYMMDD`, `C` or `P`, the strike in thousandths with eight digits.
///
/// The root is taken for the underlying's ticker. For most it is; an exchange may use another
/// one (`SPXW` for weeklies of `^SPX`, `BRKB` for `BRK.B`, an appended digit after a split).
///
/// ```
/// use buffetbot_db::options::OccSymbol;
/// let symbol: OccSymbol = "AAPL250117C00150000".parse()?;
/// assert_eq!(symbol.as_str(), "AAPL  250117C00150000");
/// assert_eq!(symbol.contract().strike.to_string(), "150");
/// assert_eq!(symbol.contract().occ_symbol()?, symbol);
/// # Ok::<(), buffetbot_db::Error>(())
/// ```
#[derive(
    Debug,
    Clone,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    diesel::expression::AsExpression,
    diesel::deserialize::FromSqlRow,
)]
#[diesel(sql_type = Text)]
#[serde(try_from = "String", into = "String")]
pub struct OccSymbol {
    text: Box<str>,
    contract: OptionContract,
}

impl OccSymbol {
    /// The 21 characters.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What the symbol stands for.
    pub fn contract(&self) -> &OptionContract {
        &self.contract
    }

    /// What the symbol stands for.
    pub fn into_contract(self) -> OptionContract {
        self.contract
    }
}

impl From<OccSymbol> for OptionContract {
    fn from(symbol: OccSymbol) -> Self {
        symbol.contract
    }
}

impl TryFrom<OptionContract> for OccSymbol {
    type Error = Error;

    fn try_from(contract: OptionContract) -> Result<Self> {
        let refused = |reason: &str| Err(Error::invalid("occ_symbol", reason));
        let root = contract.ticker.as_str();
        if root.len() > ROOT_LENGTH || root.contains(' ') {
            return refused("the underlying must have at most six characters and no space");
        }
        let day = contract.expiration.date();
        if !(CENTURY..CENTURY + 100).contains(&day.year()) {
            return refused("the expiration must be from 2000 to 2099");
        }
        let strike = contract.strike.as_decimal();
        let thousandths = strike.with_scale(STRIKE_SCALE);
        if thousandths != *strike {
            return refused("the strike must be a multiple of 0.001");
        }
        let thousandths = thousandths.as_bigint_and_exponent().0.to_u64();
        let Some(thousandths) = thousandths.filter(|n| *n < STRIKE_LIMIT) else {
            return refused("the strike must be below 100000");
        };
        let right = match contract.option_type {
            OptionType::Call => 'C',
            OptionType::Put => 'P',
        };
        let text = format!("{root:<ROOT_LENGTH$}{}{right}{thousandths:08}", day.format("%y%m%d"));
        Ok(OccSymbol { text: text.into(), contract })
    }
}

impl FromStr for OccSymbol {
    type Err = Error;

    /// With the root filled up or not, in either case.
    fn from_str(text: &str) -> Result<Self> {
        let contract = parse(text.trim()).ok_or_else(|| {
            let reason = format!("{}: expected one like AAPL250117C00150000", shown(text));
            Error::invalid("occ_symbol", reason)
        })?;
        OccSymbol::try_from(contract)
    }
}

fn parse(text: &str) -> Option<OptionContract> {
    // Roots may end in digits: the parts are found from the end.
    let (root, tail) = text.split_at_checked(text.len().checked_sub(TAIL_LENGTH)?)?;
    let (date, tail) = tail.split_at_checked(6)?;
    let (right, strike) = tail.split_at_checked(1)?;
    if !date.bytes().chain(strike.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let part = |range: std::ops::Range<usize>| date[range].parse::<u32>().ok();
    let year = CENTURY + i32::try_from(part(0..2)?).ok()?;
    let day = NaiveDate::from_ymd_opt(year, part(2..4)?, part(4..6)?)?;
    let option_type = match right {
        "C" | "c" => OptionType::Call,
        "P" | "p" => OptionType::Put,
        _ => return None,
    };
    let strike = BigDecimal::new(strike.parse::<u64>().ok()?.into(), STRIKE_SCALE);
    let strike = Price::new(strike).ok()?;
    Some(OptionContract::new(Ticker::new(root).ok()?, day, option_type, strike))
}

text_type!(OccSymbol);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_and_contracts_go_both_ways() {
        for (text, canonical, strike) in [
            ("AAPL  250117C00150000", "AAPL  250117C00150000", "150"),
            ("aapl160909p00107500", "AAPL  160909P00107500", "107.5"),
            ("F991231C00000001", "F     991231C00000001", "0.001"),
            ("GOOGL1240119P99999999", "GOOGL1240119P99999999", "99999.999"),
        ] {
            let symbol: OccSymbol = text.parse().expect(text);
            assert_eq!(symbol.as_str(), canonical);
            assert_eq!(symbol.contract().strike.to_string(), strike);
            assert_eq!(symbol.contract().occ_symbol().expect("the same"), symbol);
        }
    }

    #[test]
    fn what_is_no_symbol_is_refused() {
        for text in [
            "",
            "AAPL",
            "250117C00150000",
            "AAPL250132C00150000",
            "AAPL250117X00150000",
            "AAPL250117C0015000",
            "AAPL250117C0015000x",
            "TOOLONG250117C00150000",
            "AAPL250117C00000000",
            "A B250117C00150000",
            "é250117C00150000",
        ] {
            assert!(text.parse::<OccSymbol>().is_err(), "{text}");
        }
        let contract = |ticker: &str, strike: &str, year| {
            let day = NaiveDate::from_ymd_opt(year, 1, 17).expect("a date");
            let strike = strike.parse().expect("a price");
            OptionContract::new(ticker.parse().expect("a ticker"), day, OptionType::Put, strike)
        };
        assert!(contract("BTC-USD", "1", 2025).occ_symbol().is_err());
        assert!(contract("AAPL", "0.0001", 2025).occ_symbol().is_err());
        assert!(contract("AAPL", "100000", 2025).occ_symbol().is_err());
        assert!(contract("AAPL", "1", 2100).occ_symbol().is_err());
        assert!(contract("AAPL", "1", 1999).occ_symbol().is_err());
    }
}
