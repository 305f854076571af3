//! Hashing passwords, for programs without an authentication service of their own.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use argon2::password_hash::{
    CustomizedPasswordHasher as _, Error as HashError, PasswordHasher as _, PasswordVerifier as _,
    phc,
};
use argon2::{Argon2, Params};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::types::PasswordHash;

/// Most bytes of a password: longer ones only cost the program that checks them.
const MOST_BYTES: usize = 1024;
/// Most memory that a stored hash may ask for when it is verified, in KiB.
const MOST_MEMORY: u32 = 1 << 20;

/// Hashes passwords with argon2id, and verifies them, on threads where that holds nothing up: each takes
/// tens of milliseconds of a processor. As many run at once as there are processors, which also bounds
/// their memory; others wait their turn. Clones share that limit. What is copied of a password is
/// overwritten afterwards.
#[derive(Clone)]
pub struct PasswordHasher {
    params: Params,
    permits: Arc<Semaphore>,
}

impl Default for PasswordHasher {
    /// 19 MiB, 2 passes, 1 lane: the first choice of OWASP's Password Storage Cheat Sheet.
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        PasswordHasher { params: Params::DEFAULT, permits: Arc::new(Semaphore::new(processors)) }
    }
}

impl fmt::Debug for PasswordHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordHasher")
            .field("memory_kib", &self.params.m_cost())
            .field("passes", &self.params.t_cost())
            .field("free", &self.permits.available_permits())
            .finish()
    }
}

impl PasswordHasher {
    /// As OWASP advises: see [`PasswordHasher::default`].
    pub fn new() -> Self {
        Self::default()
    }

    /// With so many KiB of memory and passes over it, in one lane.
    ///
    /// # Errors
    /// [`Error::Invalid`] of field `cost`: less than 8 KiB, more than 1 GiB, or no pass.
    pub fn cost(self, memory_kib: u32, passes: u32) -> Result<Self> {
        if memory_kib > MOST_MEMORY {
            return Err(Error::invalid("cost", format!("more than {MOST_MEMORY} KiB of memory")));
        }
        let params = Params::new(memory_kib, passes, Params::DEFAULT_P_COST, None);
        let params = params.map_err(|e| Error::invalid("cost", e.to_string()))?;
        Ok(PasswordHasher { params, ..self })
    }

    /// The hash of a password, with a salt of its own.
    ///
    /// # Errors
    /// [`Error::Invalid`] of field `password`: empty, or longer than 1,024 bytes; [`Error::Unavailable`]
    /// where the system has no randomness, or the runtime ends.
    pub async fn hash(&self, password: &str) -> Result<PasswordHash> {
        let password = checked(password)?;
        let argon2 = Argon2::from(&self.params);
        let hashed = self.apart(move || argon2.hash_password(&password)).await?;
        match hashed {
            Ok(hash) => PasswordHash::new(&hash.to_string()),
            Err(e) => Err(Error::unavailable(format!("password hashing: {e}"))),
        }
    }

    /// Whether the hash is of this password. Without a hash, as when there is no such user, it takes as long
    /// and is `false`, so that the time does not show which users exist. The hash's own costs count.
    ///
    /// # Errors
    /// As [`hash`](Self::hash); [`Error::Invalid`] of field `hashed_password` where it is not one of
    /// argon2id, or asks for more than 1 GiB.
    pub async fn verify(&self, password: &str, hash: Option<&PasswordHash>) -> Result<bool> {
        let Some(hash) = hash else {
            return self.hash(password).await.map(|_| false);
        };
        let password = checked(password)?;
        let (hash, _) = parsed(hash)?;
        let verified = self.apart(move || Argon2::default().verify_password(&password, &hash));
        match verified.await? {
            Ok(()) => Ok(true),
            Err(HashError::PasswordInvalid) => Ok(false),
            Err(e) => Err(Error::invalid("hashed_password", e.to_string())),
        }
    }

    /// The output of a hash of this password with the algorithm, costs, salt and length of `salt`: what is compared
    /// where the hash itself is not to be seen. Without a salt, as when there is no such user, it takes as long as
    /// with one of this hasher's costs and gives an output that no hash has.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub(crate) async fn output(
        &self,
        password: &str,
        salt: Option<&PasswordHash>,
    ) -> Result<String> {
        let Some(salt) = salt else {
            return self.hash(password).await.map(|hash| output_of(hash.expose()).to_owned());
        };
        let password = checked(password)?;
        let (salted, params) = parsed(salt)?;
        let salt = salted.salt.ok_or_else(|| Error::invalid("hashed_password", "has no salt"))?;
        let (algorithm, version) = (salted.algorithm, salted.version);
        let hash = move || {
            let algorithm = Some(algorithm.as_str());
            Argon2::default().hash_password_customized(&password, &salt, algorithm, version, params)
        };
        match self.apart(hash).await? {
            Ok(hash) => Ok(output_of(&hash.to_string()).to_owned()),
            Err(e) => Err(Error::invalid("hashed_password", e.to_string())),
        }
    }

    /// Whether a password, once verified, should be hashed again: the hash is another algorithm's, or of other
    /// costs than this hasher's.
    pub fn is_outdated(&self, hash: &PasswordHash) -> bool {
        let costs = |params: &Params| (params.m_cost(), params.t_cost(), params.p_cost());
        parsed(hash).map_or(true, |(_, params)| costs(&params) != costs(&self.params))
    }

    /// Runs `work` on a thread for such. It keeps its turn when nobody waits for it any more.
    async fn apart<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let ended = || Error::unavailable("password hashing: the runtime ends");
        let permit = self.permits.clone().acquire_owned().await.map_err(|_| ended())?;
        let work = move || {
            let result = work();
            drop(permit);
            result
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| ended())
    }
}

fn checked(password: &str) -> Result<Zeroizing<Vec<u8>>> {
    match password.len() {
        0 => Err(Error::invalid("password", "must not be empty")),
        1..=MOST_BYTES => Ok(Zeroizing::new(password.as_bytes().to_vec())),
        _ => Err(Error::invalid("password", format!("longer than {MOST_BYTES} bytes"))),
    }
}

fn parsed(hash: &PasswordHash) -> Result<(phc::PasswordHash, Params)> {
    let refused = |reason: String| Error::invalid("hashed_password", reason);
    if hash.algorithm() != "argon2id" {
        return Err(refused(format!("of {}: only argon2id is verified here", hash.algorithm())));
    }
    let parsed = phc::PasswordHash::new(hash.expose()).map_err(|e| refused(e.to_string()))?;
    let params = Params::try_from(&parsed).map_err(|e| refused(e.to_string()))?;
    if params.m_cost() > MOST_MEMORY {
        return Err(refused(format!("asks for more than {MOST_MEMORY} KiB of memory")));
    }
    Ok((parsed, params))
}

/// The last part of a hash in PHC form.
fn output_of(hash: &str) -> &str {
    hash.rsplit('$').next().unwrap_or_default()
}
