//! The connection to Redis, and the generation under which values are kept there.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ErrorKind, FromRedisValue, InfoDict, Pipeline, RedisError,
    RedisResult, Script, ServerErrorKind, Value,
};
use uuid::Uuid;

use super::layout;

/// What a pipeline brought, command by command.
pub(super) type Replies = Vec<RedisResult<Value>>;

/// One connection for all callers, made when it is needed.
pub(super) struct Link {
    client: Client,
    generation_key: String,
    script: Script,
    /// Held by the one who connects or renews the generation.
    opening: tokio::sync::Mutex<()>,
    open: Mutex<Option<Open>>,
    /// The generation seen last.
    generation: Mutex<String>,
    /// Redis may hold what is outdated: the level is to be emptied before it is used again.
    owes: AtomicBool,
}

#[derive(Clone)]
struct Open {
    connection: MultiplexedConnection,
    /// The server and its start; empty where the server does not say.
    run: String,
}

/// What is outdated may stay in Redis unless this is [settled](Debt::settle), for whatever reason: the
/// operation failed, the level was left out, the caller went away.
pub(super) struct Debt<'a>(Option<&'a AtomicBool>);

impl Debt<'_> {
    pub fn settle(mut self) {
        self.0 = None;
    }
}

impl Drop for Debt<'_> {
    fn drop(&mut self) {
        if let Some(owes) = self.0 {
            owes.store(true, Ordering::Release);
        }
    }
}

impl Link {
    pub fn new(client: Client, generation_key: String) -> Self {
        Link {
            client,
            generation_key,
            script: Script::new(layout::CHANGE),
            opening: tokio::sync::Mutex::default(),
            open: Mutex::default(),
            generation: Mutex::default(),
            owes: AtomicBool::new(false),
        }
    }

    /// Hash of the script.
    pub fn script(&self) -> &str {
        self.script.get_hash()
    }

    pub fn debt(&self) -> Debt<'_> {
        Debt(Some(&self.owes))
    }

    /// Has the level emptied before it is used again.
    pub fn empty(&self) {
        drop(self.debt());
    }

    /// Takes note of the generation that a reply brought.
    pub fn saw(&self, reply: Option<&RedisResult<Value>>) -> Option<String> {
        let generation = reply.and_then(|reply| generation_of(reply.as_ref().ok()?));
        match &generation {
            Some(generation) => lock(&self.generation).clone_from(generation),
            // It was evicted, or somebody else wrote under its key.
            None => self.empty(),
        }
        generation
    }

    /// Sends what `commands` makes of the current generation. A reply may be an error of the server
    /// only where a key holds what is none of ours.
    pub async fn send(&self, commands: impl Fn(&str) -> Pipeline) -> RedisResult<Replies> {
        let mut connection = self.connection().await?;
        let generation = lock(&self.generation).clone();
        let mut pipeline = commands(&generation);
        pipeline.ignore_errors();
        let replies = replies(&pipeline, &mut connection).await;
        match replies {
            // Somebody emptied the server's script cache.
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.script.load_async(&mut connection).await?;
                self::replies(&pipeline, &mut connection).await
            }
            other => other,
        }
    }

    /// The next operation connects again.
    pub fn close(&self) {
        *lock(&self.open) = None;
    }

    async fn connection(&self) -> RedisResult<MultiplexedConnection> {
        if let Some(open) = self.ready() {
            return Ok(open.connection);
        }
        let _opening = self.opening.lock().await;
        if let Some(open) = self.ready() {
            return Ok(open.connection);
        }
        let known = lock(&self.open).clone();
        let mut open = match known {
            Some(open) => open,
            None => self.connect().await?,
        };
        if self.owes.swap(false, Ordering::AcqRel) {
            let debt = self.debt();
            self.renew(&mut open).await?;
            debt.settle();
        }
        *lock(&self.open) = Some(open.clone());
        Ok(open.connection)
    }

    fn ready(&self) -> Option<Open> {
        if self.owes.load(Ordering::Acquire) { None } else { lock(&self.open).clone() }
    }

    async fn connect(&self) -> RedisResult<Open> {
        // The caller's limit is the only one.
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let mut connection =
            self.client.get_multiplexed_async_connection_with_config(&config).await?;
        let mut setup = redis::pipe();
        setup.ignore_errors().cmd("INFO").arg("server").cmd("GET").arg(&self.generation_key);
        setup.load_script(&self.script);
        let replies: Replies = setup.query_async(&mut connection).await?;
        let [info, generation, script] = <[_; 3]>::try_from(replies).map_err(|_| {
            RedisError::from((ErrorKind::Client, "as many replies as commands were expected"))
        })?;
        script?;
        // The server may keep this from us.
        let info = info.ok().and_then(|info| InfoDict::from_redis_value(info).ok());
        let run = info.and_then(|info| info.get::<String>("run_id")).unwrap_or_default();
        let generation = generation.ok().and_then(|value| generation_of(&value));
        let made_by = generation.as_deref().and_then(|g| g.split_once('-')).map(|(run, _)| run);
        match &generation {
            Some(generation) if made_by == Some(&run) => {
                lock(&self.generation).clone_from(generation);
            }
            // A new server, or one that has read a copy, which may be older than what was forgotten.
            _ => self.empty(),
        }
        Ok(Open { connection, run })
    }

    /// Leaves all that is in the level behind.
    async fn renew(&self, open: &mut Open) -> RedisResult<()> {
        let generation = format!("{}-{}", open.run, Uuid::new_v4().simple());
        let mut set = redis::cmd("SET");
        set.arg(&self.generation_key).arg(&generation);
        set.exec_async(&mut open.connection).await?;
        *lock(&self.generation) = generation;
        Ok(())
    }
}

fn generation_of(reply: &Value) -> Option<String> {
    Option::<String>::from_redis_value_ref(reply).ok().flatten()
}

/// The replies. An error is accepted only of keys that hold something else.
async fn replies(
    pipeline: &Pipeline,
    connection: &mut MultiplexedConnection,
) -> RedisResult<Replies> {
    let replies: Replies = pipeline.query_async(connection).await?;
    let failed = |reply: &RedisResult<Value>| {
        reply.as_ref().is_err_and(|error| error.code() != Some("WRONGTYPE"))
    };
    if let Some(Err(error)) = replies.iter().find(|reply| failed(reply)) {
        return Err(error.clone());
    }
    Ok(replies)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each critical section is one assignment.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
