//! Signing up and logging in.

#[cfg(feature = "passwords")]
use diesel::prelude::QueryableByName;
use diesel::sql_types::{Nullable, Text, Uuid as SqlUuid};

use super::user::NewUser;
use crate::error::Result;
#[cfg(feature = "passwords")]
use crate::passwords::PasswordHasher;
use crate::store::Session;
#[cfg(feature = "passwords")]
use crate::types::{PasswordHash, UserId, text};

/// Signing up and logging in, for every login that [`Database::create_roles`](crate::Database::create_roles) has given rights to: also for a member of
/// the application role alone, which sees no account before it names a user.
///
/// The database does it by functions that give back an id and no more. How often somebody may try is the
/// program's to limit, by address and by origin.
///
/// ```
/// # #[cfg(all(feature = "testing", feature = "passwords"))]
/// # async fn example() -> buffetbot_db::Result<()> {
/// use buffetbot_db::Error;
/// use buffetbot_db::passwords::PasswordHasher;
/// use buffetbot_db::users::{NewUser, UserRepository};
///
/// # let db = buffetbot_db::testing::TestDatabase::new().await?;
/// let hash = PasswordHasher::new().hash("correct horse battery staple").await?;
/// let ada = NewUser::new("ada@example.com", hash);
/// match db.accounts().register(&ada).await {
///     Err(Error::Conflict { .. }) => println!("the address or the username is taken"),
///     other => other?,
/// }
///
/// let id = db.accounts().authenticate("ADA@example.com", "correct horse battery staple").await?;
/// assert_eq!(id, Some(ada.id));
/// assert_eq!(db.accounts().authenticate("ada@example.com", "a guess").await?, None);
/// let session = db.as_user(ada.id); // the repositories in this user's name
/// assert_eq!(session.users().find(ada.id).await?.map(|user| user.email), Some(ada.email));
/// # Ok(())
/// # }
/// # #[cfg(all(feature = "testing", feature = "passwords"))]
/// # tokio::runtime::Runtime::new().unwrap().block_on(example()).unwrap();
/// ```
pub struct Accounts {
    session: Session,
    #[cfg(feature = "passwords")]
    hasher: PasswordHasher,
}

#[cfg(feature = "passwords")]
#[derive(QueryableByName)]
struct Salt {
    #[diesel(sql_type = Nullable<Text>)]
    salt: Option<PasswordHash>,
}

#[cfg(feature = "passwords")]
#[derive(QueryableByName)]
struct Account {
    #[diesel(sql_type = Nullable<SqlUuid>)]
    id: Option<UserId>,
}

impl Accounts {
    pub(crate) fn new(
        session: Session,
        #[cfg(feature = "passwords")] hasher: PasswordHasher,
    ) -> Self {
        Accounts {
            session,
            #[cfg(feature = "passwords")]
            hasher,
        }
    }

    /// Creates an account that is active and not verified. Its id is that of `user`.
    ///
    /// # Errors
    /// `Conflict` when the e-mail address (without regard to case), the username or the id is taken, `Invalid` of a
    /// field. A conflict discloses that an account exists: where that is a secret, confirm the address first.
    pub async fn register(&self, user: &NewUser) -> Result<()> {
        user.validate()?;
        let statement = diesel::sql_query("SELECT register_account($1, $2, $3, $4, $5, $6, $7)")
            .bind::<SqlUuid, _>(user.id)
            .bind::<Text, _>(&user.email)
            .bind::<Text, _>(&user.hashed_password)
            .bind::<Nullable<Text>, _>(&user.username)
            .bind::<Nullable<Text>, _>(&user.first_name)
            .bind::<Nullable<Text>, _>(&user.last_name)
            .bind::<Nullable<Text>, _>(&user.preferences);
        self.session.execute(statement).await.map(|_| ())
    }
}

#[cfg(feature = "passwords")]
impl Accounts {
    /// With another hasher than the handle's, for other costs.
    pub fn hasher(self, hasher: PasswordHasher) -> Self {
        Accounts { hasher, ..self }
    }

    /// The id of the active account with this e-mail address (without regard to case) and password, whose login is
    /// noted; `None` if there is no such account. An unknown address, a wrong password and an account that is not active take
    /// the same two statements and one computation of a hash, as long as stored hashes have the costs of this handle's
    /// hasher.
    ///
    /// # Errors
    /// `Invalid` of `email` or `password`, and of `hashed_password` where the stored hash is not one of argon2id or asks
    /// for more than 1 GiB.
    pub async fn authenticate(&self, email: &str, password: &str) -> Result<Option<UserId>> {
        let output = self.output(email, password).await?;
        let statement = diesel::sql_query("SELECT authenticate_account($1, $2) AS id")
            .bind::<Text, _>(email)
            .bind::<Text, _>(output);
        let account: Account = self.session.write_one(statement).await?;
        Ok(account.id)
    }

    /// Sets a new password for the active account with this address and present password, and returns its id;
    /// `None` if there is no such account.
    ///
    /// # Errors
    /// As [`authenticate`](Self::authenticate), also of the new password.
    pub async fn change_password(
        &self,
        email: &str,
        present: &str,
        new: &str,
    ) -> Result<Option<UserId>> {
        let hash = self.hasher.hash(new).await?;
        let output = self.output(email, present).await?;
        let statement = diesel::sql_query("SELECT change_account_password($1, $2, $3) AS id")
            .bind::<Text, _>(email)
            .bind::<Text, _>(output)
            .bind::<Text, _>(hash);
        let account: Account = self.session.write_one(statement).await?;
        Ok(account.id)
    }

    /// What the hash of this account ends with, if the password is right.
    async fn output(&self, email: &str, password: &str) -> Result<String> {
        text::check("email", email, text::UNLIMITED)?;
        let statement = diesel::sql_query("SELECT account_salt($1) AS salt").bind::<Text, _>(email);
        let Salt { salt } = self.session.fetch_one(statement).await?;
        self.hasher.output(password, salt.as_ref()).await
    }
}

impl std::fmt::Debug for Accounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Accounts").finish_non_exhaustive()
    }
}
