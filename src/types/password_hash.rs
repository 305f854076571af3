//! Hashes of passwords, and nothing that could be a password.

use std::fmt;
use std::str::FromStr;

use diesel::sql_types::Text;

use crate::error::{Error, Result};

/// The hash of a password in PHC string format (`$argon2id$v=19$m=...,t=...,p=...$salt$hash`; also
/// `scrypt`, `pbkdf2-sha256`, `pbkdf2-sha512`) or bcrypt's form (`$2b$12$...`; of older programs `$2a$`, `$2x$`, `$2y$`).
/// Nothing else can be stored, so that a plain password in the wrong argument is refused instead of kept. What other
/// programs have stored is read whatever its form: such an account can be listed, deactivated and given another hash.
/// `Debug` shows the algorithm only, there is no `Display` and no `Serialize`, and errors never quote the input.
///
/// Format: <https://github.com/P-H-C/phc-string-format>.
#[derive(
    Clone, PartialEq, Eq, diesel::expression::AsExpression, diesel::deserialize::FromSqlRow,
)]
#[diesel(sql_type = Text)]
pub struct PasswordHash(Box<str>);

/// Algorithms of the PHC form that are fit for passwords.
const ALGORITHMS: &[&str] = &["argon2id", "scrypt", "pbkdf2-sha256", "pbkdf2-sha512"];
/// What bcrypt's form begins with: of the versions since 2011, and those that programs before had.
const BCRYPT: &[&str] = &["2b", "2a", "2x", "2y"];
/// Maximum length of the column, in characters.
const MAX_LENGTH: usize = 255;
/// Least bytes of a salt and of a hash, in base64 characters (8 and 16 bytes; OWASP asks for more).
const LEAST_SALT: usize = 11;
const LEAST_HASH: usize = 22;

impl PasswordHash {
    /// Takes a hash that a password hashing library made.
    ///
    /// # Errors
    /// [`Error::Invalid`] of field `hashed_password`, without the value.
    pub fn new(hash: &str) -> Result<Self> {
        let refused = |reason: &str| Err(Error::invalid("hashed_password", reason));
        if hash.len() > MAX_LENGTH {
            return refused("longer than 255 characters");
        }
        if !is_bcrypt(hash) && !is_phc(hash) {
            return refused(
                "expected a PHC string of argon2id, scrypt or pbkdf2, or a bcrypt hash $2b$, $2a$, $2x$ or $2y$",
            );
        }
        Ok(PasswordHash(hash.into()))
    }

    /// The hash, for the authentication service to verify against.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The algorithm's name as the hash gives it, such as `"argon2id"` or `"2b"`; `"unknown"` of a hash that another program
    /// has stored in a form that is not one of these, because the name could be a part of a password then.
    pub fn algorithm(&self) -> &str {
        let name = self.0.split('$').nth(1).unwrap_or_default();
        if is_bcrypt(&self.0) || is_phc(&self.0) { name } else { "unknown" }
    }
}

/// `$version$cost$` and 53 characters: 22 of salt, 31 of hash.
fn is_bcrypt(text: &str) -> bool {
    let parts: Vec<&str> = text.split('$').collect();
    let ["", version, cost, body] = *parts else {
        return false;
    };
    BCRYPT.contains(&version)
        && cost.len() == 2
        && cost.parse::<u8>().is_ok_and(|c| (4..=31).contains(&c))
        && body.len() == 53
        && body.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'/')
}

/// `$algorithm[$v=version][$name=value,...]$salt$hash`.
fn is_phc(text: &str) -> bool {
    let mut parts = text.split('$');
    if parts.next() != Some("") || !parts.next().is_some_and(|a| ALGORITHMS.contains(&a)) {
        return false;
    }
    let rest: Vec<&str> = parts.collect();
    let [parameters @ .., salt, hash] = rest.as_slice() else {
        return false;
    };
    parameters.len() <= 2
        && parameters.iter().all(|p| p.split(',').all(is_parameter))
        && is_base64(salt, LEAST_SALT)
        && is_base64(hash, LEAST_HASH)
}

fn is_parameter(text: &str) -> bool {
    text.split_once('=').is_some_and(|(name, value)| {
        !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !value.is_empty()
            && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"/+.-".contains(&b))
    })
}

/// PHC's base64: the standard alphabet without padding; salts may use `.` and `-`, too.
fn is_base64(text: &str, least: usize) -> bool {
    text.len() >= least && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/+.-".contains(&b))
}

impl FromStr for PasswordHash {
    type Err = Error;
    fn from_str(hash: &str) -> Result<Self> {
        PasswordHash::new(hash)
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PasswordHash({})", self.algorithm())
    }
}

impl<'de> serde::Deserialize<'de> for PasswordHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let hash = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
        PasswordHash::new(&hash).map_err(serde::de::Error::custom)
    }
}

impl diesel::serialize::ToSql<Text, diesel::pg::Pg> for PasswordHash {
    fn to_sql<'b>(
        &'b self,
        out: &mut diesel::serialize::Output<'b, '_, diesel::pg::Pg>,
    ) -> diesel::serialize::Result {
        use std::io::Write;
        out.write_all(self.0.as_bytes())?;
        Ok(diesel::serialize::IsNull::No)
    }
}

impl diesel::deserialize::FromSql<Text, diesel::pg::Pg> for PasswordHash {
    fn from_sql(value: diesel::pg::PgValue<'_>) -> diesel::deserialize::Result<Self> {
        Ok(PasswordHash(std::str::from_utf8(value.as_bytes())?.into()))
    }
}
