//! Users.

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::{AsChangeset, Insertable, Queryable, Selectable};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::schema::users;
use crate::store::{Clearable, patch};
use crate::types::{Activity, Document, PasswordHash, UserId, text};

/// An account, as stored.
#[derive(Debug, Clone, PartialEq, Queryable, Selectable, Serialize, Deserialize)]
#[diesel(table_name = users, check_for_backend(Pg))]
pub struct User {
    /// The user's id.
    pub id: UserId,
    /// Unique without regard to case, kept as written.
    pub email: String,
    /// Unique as written.
    pub username: Option<String>,
    /// Never serialized.
    #[serde(skip_serializing)]
    pub hashed_password: PasswordHash,
    /// Whether the account may be used.
    pub is_active: bool,
    /// Whether the e-mail address was confirmed.
    pub is_verified: bool,
    /// Given name.
    pub first_name: Option<String>,
    /// Family name.
    pub last_name: Option<String>,
    /// The user's settings; `None` where none were ever set.
    pub preferences: Option<Document>,
    /// When the account was made.
    pub created_at: DateTime<Utc>,
    /// When the row last changed; kept by the database.
    pub updated_at: DateTime<Utc>,
    /// When the user last logged in.
    pub last_login_at: Option<DateTime<Utc>>,
}

impl User {
    /// Given and family name, as far as known; `None` when neither is.
    pub fn full_name(&self) -> Option<String> {
        match (self.first_name.as_deref(), self.last_name.as_deref()) {
            (Some(first), Some(last)) => Some(format!("{first} {last}")),
            (Some(name), None) | (None, Some(name)) => Some(name.to_owned()),
            (None, None) => None,
        }
    }

    /// The name to show: full name, else username, else the e-mail address before its `@`.
    pub fn display_name(&self) -> String {
        self.full_name().or_else(|| self.username.clone()).unwrap_or_else(|| {
            let local = self.email.rsplit_once('@').map_or(self.email.as_str(), |(local, _)| local);
            local.to_owned()
        })
    }
}

/// An account to be made.
#[derive(Debug, Clone, PartialEq, Insertable, Serialize, Deserialize)]
#[diesel(table_name = users)]
pub struct NewUser {
    /// The id it will have; made by [`NewUser::new`].
    #[serde(default = "UserId::generate")]
    pub id: UserId,
    /// An e-mail address of at most 255 characters.
    pub email: String,
    /// At most 100 characters.
    pub username: Option<String>,
    /// The hash of the password.
    #[serde(skip_serializing)]
    pub hashed_password: PasswordHash,
    /// Given name, at most 100 characters.
    pub first_name: Option<String>,
    /// Family name, at most 100 characters.
    pub last_name: Option<String>,
    /// Settings.
    pub preferences: Option<Document>,
}

impl NewUser {
    /// An account with this address and password, active and not verified.
    pub fn new(email: impl Into<String>, hashed_password: PasswordHash) -> Self {
        NewUser {
            id: UserId::generate(),
            email: email.into(),
            username: None,
            hashed_password,
            first_name: None,
            last_name: None,
            preferences: None,
        }
    }

    /// With a username.
    pub fn username(self, username: impl Into<String>) -> Self {
        NewUser { username: Some(username.into()), ..self }
    }

    /// With a given and a family name.
    pub fn name(self, first: impl Into<String>, last: impl Into<String>) -> Self {
        NewUser { first_name: Some(first.into()), last_name: Some(last.into()), ..self }
    }

    /// With settings.
    pub fn preferences(self, preferences: Document) -> Self {
        NewUser { preferences: Some(preferences), ..self }
    }

    /// The row as a repository returns it that stored it at this time. For fakes.
    pub fn stored_at(self, at: DateTime<Utc>) -> User {
        User {
            id: self.id,
            email: self.email,
            username: self.username,
            hashed_password: self.hashed_password,
            is_active: true,
            is_verified: false,
            first_name: self.first_name,
            last_name: self.last_name,
            preferences: self.preferences,
            created_at: at,
            updated_at: at,
            last_login_at: None,
        }
    }

    pub(crate) fn validate(&self) -> Result<()> {
        check_email(&self.email)?;
        check_names(Some(&self.username), Some(&self.first_name), Some(&self.last_name))?;
        self.preferences.as_ref().map_or(Ok(()), check_preferences)
    }
}

/// A change of an account by the platform. Passwords, activity and verification have methods of their own too. What
/// users change of their own account, such as the body of a request, is a [`ProfilePatch`].
#[derive(Debug, Clone, PartialEq, Default, AsChangeset, Serialize, Deserialize)]
#[diesel(table_name = users)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct UserPatch {
    /// A new address; it does not reset the verification.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// A new username, or none.
    #[serde(deserialize_with = "patch::nullable", skip_serializing_if = "Option::is_none")]
    pub username: Option<Option<String>>,
    /// The hash of a new password; never serialized.
    #[serde(skip_serializing)]
    pub hashed_password: Option<PasswordHash>,
    /// Whether the account may be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_active: Option<bool>,
    /// Whether the address was confirmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_verified: Option<bool>,
    /// A new given name, or none.
    #[serde(deserialize_with = "patch::nullable", skip_serializing_if = "Option::is_none")]
    pub first_name: Option<Option<String>>,
    /// A new family name, or none.
    #[serde(deserialize_with = "patch::nullable", skip_serializing_if = "Option::is_none")]
    pub last_name: Option<Option<String>>,
}

impl UserPatch {
    /// With a new address; it does not reset the verification.
    pub fn email(self, email: impl Into<String>) -> Self {
        UserPatch { email: Some(email.into()), ..self }
    }

    /// With a new username; `None` clears it.
    pub fn username(self, username: impl Into<Clearable<String>>) -> Self {
        UserPatch { username: Some(username.into().0), ..self }
    }

    /// With the hash of a new password; never serialized.
    pub fn hashed_password(self, hashed_password: PasswordHash) -> Self {
        UserPatch { hashed_password: Some(hashed_password), ..self }
    }

    /// Sets whether the account may be used.
    pub fn is_active(self, is_active: bool) -> Self {
        UserPatch { is_active: Some(is_active), ..self }
    }

    /// Sets whether the address was confirmed.
    pub fn is_verified(self, is_verified: bool) -> Self {
        UserPatch { is_verified: Some(is_verified), ..self }
    }

    /// With a new given name; `None` clears it.
    pub fn first_name(self, first_name: impl Into<Clearable<String>>) -> Self {
        UserPatch { first_name: Some(first_name.into().0), ..self }
    }

    /// With a new family name; `None` clears it.
    pub fn last_name(self, last_name: impl Into<Clearable<String>>) -> Self {
        UserPatch { last_name: Some(last_name.into().0), ..self }
    }

    pub(crate) fn validate(&self) -> Result<()> {
        self.email.as_deref().map_or(Ok(()), check_email)?;
        check_names(self.username.as_ref(), self.first_name.as_ref(), self.last_name.as_ref())
    }
}

/// A change of an account by its user. It has no field that decides who may sign in: those are the platform's, and the
/// database refuses to change them in a user's name. Decoding refuses any other field.
#[derive(Debug, Clone, PartialEq, Default, AsChangeset, Serialize, Deserialize)]
#[diesel(table_name = users)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ProfilePatch {
    /// A new address, which is not verified unless only its letter case differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// A new username, or `Some(None)` to clear it.
    #[serde(deserialize_with = "patch::nullable", skip_serializing_if = "Option::is_none")]
    pub username: Option<Option<String>>,
    /// A new given name, or `Some(None)` to clear it.
    #[serde(deserialize_with = "patch::nullable", skip_serializing_if = "Option::is_none")]
    pub first_name: Option<Option<String>>,
    /// A new family name, or `Some(None)` to clear it.
    #[serde(deserialize_with = "patch::nullable", skip_serializing_if = "Option::is_none")]
    pub last_name: Option<Option<String>>,
}

impl ProfilePatch {
    /// With a new address, which is not verified unless only its letter case differs.
    pub fn email(self, email: impl Into<String>) -> Self {
        ProfilePatch { email: Some(email.into()), ..self }
    }

    /// With a new username; `None` clears it.
    pub fn username(self, username: impl Into<Clearable<String>>) -> Self {
        ProfilePatch { username: Some(username.into().0), ..self }
    }

    /// With a new given name; `None` clears it.
    pub fn first_name(self, first_name: impl Into<Clearable<String>>) -> Self {
        ProfilePatch { first_name: Some(first_name.into().0), ..self }
    }

    /// With a new family name; `None` clears it.
    pub fn last_name(self, last_name: impl Into<Clearable<String>>) -> Self {
        ProfilePatch { last_name: Some(last_name.into().0), ..self }
    }

    pub(crate) fn validate(&self) -> Result<()> {
        self.email.as_deref().map_or(Ok(()), check_email)?;
        check_names(self.username.as_ref(), self.first_name.as_ref(), self.last_name.as_ref())
    }
}

/// Which users a list or a count includes; the default is all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct UserFilter {
    /// Active ones, inactive ones or both.
    pub activity: Activity,
    /// Only verified ones, or only others.
    pub is_verified: Option<bool>,
}

impl Default for UserFilter {
    fn default() -> Self {
        UserFilter { activity: Activity::Any, is_verified: None }
    }
}

impl UserFilter {
    /// Active ones, inactive ones or both.
    pub fn activity(self, activity: Activity) -> Self {
        UserFilter { activity, ..self }
    }

    /// Only verified ones, or only others.
    pub fn is_verified(self, is_verified: impl Into<Option<bool>>) -> Self {
        UserFilter { is_verified: is_verified.into(), ..self }
    }
}

/// What an erasure took away, beside the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erasure {
    /// Portfolios erased.
    pub portfolios: u64,
    /// Positions erased.
    pub positions: u64,
    /// Private analysis results erased.
    pub analyses: u64,
}

/// Maximum length of an address, in characters.
const EMAIL_LENGTH: usize = 255;
/// Maximum length of each name, in characters.
const NAME_LENGTH: usize = 100;

pub(super) fn check_preferences(preferences: &Document) -> Result<()> {
    preferences.check_storable("preferences")
}

/// Something, `@`, something, and no white space: only a message to it can check more.
fn check_email(email: &str) -> Result<()> {
    text::check_identity("email", email, EMAIL_LENGTH)?;
    let parts = email.rsplit_once('@');
    let has_both = parts.is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty());
    if !has_both || email.chars().any(char::is_whitespace) {
        return Err(Error::invalid("email", "is not an e-mail address"));
    }
    Ok(())
}

type Name<'a> = Option<&'a Option<String>>;

fn check_names(username: Name<'_>, first: Name<'_>, last: Name<'_>) -> Result<()> {
    for (field, name) in [("username", username), ("first_name", first), ("last_name", last)] {
        if let Some(Some(name)) = name {
            text::check_required(field, name, NAME_LENGTH)?;
        }
    }
    if let Some(Some(username)) = username {
        text::check_identity("username", username, NAME_LENGTH)?;
    }
    Ok(())
}
