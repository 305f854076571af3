//! What a store of accounts does.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::stream::BoxStream;

use super::user::{Erasure, NewUser, ProfilePatch, User, UserFilter, UserPatch};
use crate::error::{Result, unsupported};
use crate::types::{Document, Page, PageRequest, PasswordHash, UserId, stream_pages};

/// Accounts: who may use the platform.
#[async_trait]
// Names that a default does not use document the arguments.
#[allow(unused_variables)]
pub trait UserRepository: Send + Sync {
    /// Creates an account.
    ///
    /// # Errors
    /// `Conflict` when the e-mail address (without regard to case) or the username is taken,
    /// `Invalid` of a field. In a user's name `Denied`, unless the account's id is the user's: others sign up by
    /// [`accounts().register`](crate::users::Accounts::register).
    async fn create(&self, user: &NewUser) -> Result<User> {
        unsupported("users.create")
    }

    /// Creates all of these accounts, or none; returned in the order given.
    ///
    /// # Errors
    /// As [`create`](Self::create), within `Item`, which gives the index; `Denied` is of the whole batch.
    async fn create_many(&self, users: &[NewUser]) -> Result<Vec<User>> {
        unsupported("users.create_many")
    }

    /// The account of this id.
    async fn find(&self, id: UserId) -> Result<Option<User>>;

    /// The account of this e-mail address, without regard to case.
    async fn find_by_email(&self, email: &str) -> Result<Option<User>> {
        unsupported("users.find_by_email")
    }

    /// The account of this username, exactly.
    async fn find_by_username(&self, username: &str) -> Result<Option<User>> {
        unsupported("users.find_by_username")
    }

    /// Accounts, newest first.
    async fn list(&self, filter: &UserFilter, page: &PageRequest) -> Result<Page<User>> {
        unsupported("users.list")
    }

    /// All accounts of the filter, newest first, page by page: see [`stream_pages`](crate::types::stream_pages).
    fn stream<'a>(&'a self, filter: &'a UserFilter) -> BoxStream<'a, Result<User>> {
        stream_pages(move |page| async move { self.list(filter, &page).await }.boxed())
    }

    /// Accounts in which every word of the text occurs, in the e-mail address, the username, the given or the family name,
    /// without regard to case; newest first. An empty text finds all. It reads every account, so it is for people who
    /// look for one, not for a program in a loop.
    ///
    /// # Errors
    /// `Invalid` of `text`: longer than 255 characters, or with NUL.
    async fn search(&self, text: &str, page: &PageRequest) -> Result<Page<User>> {
        unsupported("users.search")
    }

    /// How many accounts there are.
    async fn count(&self, filter: &UserFilter) -> Result<u64> {
        unsupported("users.count")
    }

    /// Whether the account exists.
    async fn exists(&self, id: UserId) -> Result<bool> {
        Ok(self.find(id).await?.is_some())
    }

    /// Whether the e-mail address is taken, without regard to case.
    async fn exists_email(&self, email: &str) -> Result<bool> {
        unsupported("users.exists_email")
    }

    /// Whether the username is taken.
    async fn exists_username(&self, username: &str) -> Result<bool> {
        unsupported("users.exists_username")
    }

    /// Applies the patch and returns the updated account.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` and `Invalid` as [`create`](Self::create). In a user's name, `Denied` of `is_active`,
    /// `is_verified` and `hashed_password`: see [`update_profile`](Self::update_profile).
    async fn update(&self, id: UserId, patch: &UserPatch) -> Result<User> {
        unsupported("users.update")
    }

    /// Changes what users may change of their own account. Another address is not verified.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` and `Invalid` as [`create`](Self::create).
    async fn update_profile(&self, id: UserId, patch: &ProfilePatch) -> Result<User> {
        unsupported("users.update_profile")
    }

    /// Stores the hash of a new password. A user who knows the old one changes it by
    /// `Accounts::change_password` (feature `passwords`).
    ///
    /// # Errors
    /// `NotFound`; `Denied` in a user's name.
    async fn set_password(&self, id: UserId, hash: &PasswordHash) -> Result<()> {
        unsupported("users.set_password")
    }

    /// Records that the user logged in now, by the database's clock.
    ///
    /// # Errors
    /// `NotFound`.
    async fn record_login(&self, id: UserId) -> Result<User> {
        unsupported("users.record_login")
    }

    /// Marks the e-mail address as confirmed. Idempotent.
    ///
    /// # Errors
    /// `NotFound`; `Denied` in a user's name.
    async fn verify(&self, id: UserId) -> Result<User> {
        unsupported("users.verify")
    }

    /// Lets the account be used. Idempotent.
    ///
    /// # Errors
    /// `NotFound`; `Denied` in a user's name.
    async fn activate(&self, id: UserId) -> Result<User> {
        unsupported("users.activate")
    }

    /// Bars the account from signing in, keeping its data. Idempotent. A session that a program has begun for the user
    /// lives on until the program ends it: [`as_user`](crate::Database::as_user) does not ask.
    ///
    /// # Errors
    /// `NotFound`; `Denied` in a user's name.
    async fn deactivate(&self, id: UserId) -> Result<User> {
        unsupported("users.deactivate")
    }

    /// The settings; `None` where none were ever set.
    ///
    /// # Errors
    /// `NotFound`.
    async fn preferences(&self, id: UserId) -> Result<Option<Document>> {
        unsupported("users.preferences")
    }

    /// Replaces the settings; `None` clears them.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` of more than 120 levels.
    async fn set_preferences(&self, id: UserId, preferences: Option<&Document>) -> Result<()> {
        unsupported("users.set_preferences")
    }

    /// Merges an object into the settings, key by key at the top level, in one statement: two
    /// merges at once lose nothing. Returns the updated settings.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` where either is not an object, or `changes` has more than 120 levels; `Corrupt` where the stored
    /// settings are not a document: nothing was written then, and a unit of work continues.
    async fn merge_preferences(&self, id: UserId, changes: &Document) -> Result<Document> {
        unsupported("users.merge_preferences")
    }

    /// Deletes the account with its portfolios, positions and their analyses. Returns `false` if it did not exist.
    /// Market data stays, and so do the audit log and events until they are swept. [`erase`](Self::erase) takes these too.
    async fn delete(&self, id: UserId) -> Result<bool> {
        unsupported("users.delete")
    }

    /// Everything that is stored on a user, but the password's hash, in one consistent snapshot: an object with `user`, and the lists
    /// `portfolios`, `positions`, `analyses`, `audit_log`, `events`, `cache_changes` and `cache_leases`, each of
    /// the table's rows. `None` for an unknown id.
    ///
    /// # Errors
    /// `Database` (54000) where it is more than a document of PostgreSQL holds, 256 MB: the lists can be read by page.
    async fn export(&self, id: UserId) -> Result<Option<Document>> {
        unsupported("users.export")
    }

    /// As [`delete`](Self::delete), with what is kept beside the account, and says what belonged to it; `None` for an unknown
    /// id. The values in the audit log, events that concern this user alone, and leases and log entries of the cache go
    /// in the same transaction; a consumer does not get an event that it had not read. What stays is that rows with these ids were
    /// changed, when and by which login. A result of a portfolio that is asked for afterwards leaves a lease for an hour, with a
    /// hash of its parameters.
    ///
    /// Once this returns, and in a unit of work once that is committed, no clone of the handle serves a result of this user
    /// from memory. Other processes drop theirs as soon as they hear of it: in milliseconds, or within
    /// [`poll_every`](crate::cache::CacheOptions::poll_every). In Redis they are not found any more, and vanish with their
    /// lives.
    async fn erase(&self, id: UserId) -> Result<Option<Erasure>> {
        unsupported("users.erase")
    }

    /// Retention: erases up to `limit` accounts that are deactivated and were not changed for `age`,
    /// oldest first. Returns how many; fewer than `limit` means that nothing is left.
    async fn erase_inactive(&self, limit: u32, age: Duration) -> Result<u64> {
        unsupported("users.erase_inactive")
    }
}
