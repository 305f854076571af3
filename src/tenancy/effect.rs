//! Whether tenants are kept apart, by trying: one user's name, another's rows.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::doctor::{Finding, Severity};
use super::owned::{KEPT, KeptTable, OWNED, OwnedTable, Person, REFUSED, unique};
use super::roles::identifier;
use crate::error::{Error, Result};
use crate::postgres::{Naming, PgConnection, Pool, sqlstate};

/// The trial waits for nobody for long, and nobody for it.
const BEGIN: &str = "BEGIN; SET LOCAL lock_timeout = '2s'; SET LOCAL statement_timeout = '10s'";

/// A value that cannot be had (22012): computed for a row that a statement is about to write, it says that one got past the
/// policies, before a second does. It reads no column, so that the policies of SELECT do not count, and rows are found
/// that can be changed and not seen.
const OUTCRY: &str = "1 / floor(random())::int";

/// SQLSTATE of a division by zero.
const DIVISION_BY_ZERO: &str = "22012";

/// SQLSTATE of the lack of a right.
const INSUFFICIENT_PRIVILEGE: &str = "42501";

const UNDO_ATTEMPT: &str = "ROLLBACK TO SAVEPOINT attempt; RELEASE SAVEPOINT attempt";

/// Tries the database, and says what was found, or why it could not be tried. The connection is closed afterwards, so
/// that nothing of it stays, also where its future is dropped.
pub(super) async fn tried(pool: &Pool, role: &str) -> Vec<Finding> {
    let unknown = |object: &str, error: &Error| {
        let message = format!("could not try: {error}");
        Finding::new(Severity::Unknown, "effect", object, message)
    };
    let connection = match pool.connect_unpooled().await {
        Ok(connection) => connection,
        Err(error) => return vec![unknown("connection", &error)],
    };
    let mut trial = Trial {
        connection,
        naming: Naming::Setting,
        role: identifier(role),
        people: [Person::new(), Person::new()],
        object: role.to_owned(),
        reached: BTreeMap::new(),
        findings: Vec::new(),
    };
    let ended = trial.run().await;
    // Closing the connection undoes it as well, a moment later.
    let _ = trial.connection.batch("ROLLBACK").await;
    let mut findings = trial.findings;
    findings.extend(trial.reached.into_iter().map(|(table, reached)| reached.finding(table)));
    if let Err(error) = ended {
        findings.push(unknown(&trial.object, &error));
    }
    findings
}

/// What was reached in one table that should not be, by verb, and what was not that should be.
#[derive(Default)]
struct Reached {
    across: BTreeSet<&'static str>,
    unnamed: BTreeSet<&'static str>,
    kept: BTreeSet<&'static str>,
    missed: BTreeSet<&'static str>,
}

impl Reached {
    fn finding(self, table: &str) -> Finding {
        let told = [
            ("a user reaches another's rows", self.across),
            ("a user's rows are reached without a named user", self.unnamed),
            ("a user reaches what programs keep", self.kept),
            ("a user does not reach the user's own rows", self.missed),
        ];
        let told = told.into_iter().filter(|(_, verbs)| !verbs.is_empty());
        let told: Vec<String> = told
            .map(|(what, verbs)| {
                format!("{what}: {}", verbs.into_iter().collect::<Vec<_>>().join(", "))
            })
            .collect();
        Finding::new(Severity::Danger, "effect", table, told.join("; "))
    }
}

struct Trial {
    connection: PgConnection,
    naming: Naming,
    /// The application role, quoted.
    role: String,
    people: [Person; 2],
    /// What is being tried.
    object: String,
    reached: BTreeMap<&'static str, Reached>,
    findings: Vec<Finding>,
}

impl Trial {
    async fn run(&mut self) -> Result<()> {
        self.connection.batch(BEGIN).await?;
        self.naming = Naming::of(&self.connection).await?;
        // Whether the role can be taken on at all, before anything is written.
        self.assume(None).await?;
        self.resume().await?;
        let mut tried: Vec<&OwnedTable> = Vec::new();
        for table in &OWNED {
            self.object = table.name.into();
            if table.by_trigger || self.add_rows(table).await? {
                tried.push(table);
            }
        }
        for (one, other) in [(0, 1), (1, 0)] {
            for table in &tried {
                self.object = table.name.into();
                self.try_owned(table, Some(one), other).await?;
                self.try_own(table, one).await?;
                self.try_owned(table, None, other).await?;
            }
        }
        for table in &tried {
            self.object = table.name.into();
            self.try_blindly(table).await?;
        }
        for table in &KEPT {
            self.object = table.name.into();
            self.try_kept(table).await?;
        }
        for (function, call) in REFUSED {
            self.object = function.into();
            self.try_call(function, call).await?;
        }
        Ok(())
    }

    /// Takes on the application role, in the name of a user or without one, until [`resume`](Self::resume).
    async fn assume(&self, user: Option<&Uuid>) -> Result<()> {
        let (naming, role) = (self.naming.statement(user), &self.role);
        let sql = format!("SAVEPOINT named; {naming}; SET LOCAL ROLE {role}");
        self.connection.batch(&sql).await
    }

    /// Is the login again, and undoes what was done in between.
    async fn resume(&self) -> Result<()> {
        self.connection.batch("ROLLBACK TO SAVEPOINT named; RELEASE SAVEPOINT named").await
    }

    /// Runs a statement and undoes it: how many rows it reached, or `None` where it is refused.
    async fn attempt(&self, sql: &str) -> Result<Option<u64>> {
        self.connection.batch("SAVEPOINT attempt").await?;
        let outcome = self.reach(sql).await;
        self.connection.batch(UNDO_ATTEMPT).await?;
        outcome
    }

    /// How many rows a statement reached; `None` where a policy or the lack of a right refused it, which its SQLSTATE shows:
    /// a foreign key, which has asked no policy, gives the same error of ours.
    async fn reach(&self, sql: &str) -> Result<Option<u64>> {
        use diesel_async::RunQueryDsl;
        match diesel::sql_query(sql).execute(&mut &self.connection).await {
            Ok(rows) => Ok(Some(rows as u64)),
            Err(error) if sqlstate(&error) == Some(INSUFFICIENT_PRIVILEGE) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// As [`attempt`](Self::attempt), of a statement that gives a row to somebody: whether a policy let it pass. What
    /// a constraint refuses has passed the policies.
    async fn passes(&self, sql: &str) -> Result<bool> {
        match self.attempt(sql).await {
            Ok(rows) => Ok(rows.is_some_and(|rows| rows > 0)),
            Err(
                Error::Conflict { .. } | Error::InvalidReference { .. } | Error::Invalid { .. },
            ) => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn reached(&mut self, table: &'static str) -> &mut Reached {
        self.reached.entry(table).or_default()
    }

    /// Runs a statement that adds a row: `false` where it is refused.
    async fn add(&self, insert: &str) -> Result<bool> {
        self.connection.batch("SAVEPOINT attempt").await?;
        let added = self.reach(insert).await?.is_some();
        let end = if added { "RELEASE SAVEPOINT attempt" } else { UNDO_ATTEMPT };
        self.connection.batch(end).await?;
        Ok(added)
    }

    /// Adds each person's row, as the login, or where the policies do not let it, in the person's name. Returns
    /// `false` where neither may, and it can be done without.
    async fn add_rows(&mut self, table: &OwnedTable) -> Result<bool> {
        for person in &self.people {
            let insert = person.named_in(table.insert);
            if self.add(&insert).await? {
                continue;
            }
            let (naming, role) = (self.naming.statement(Some(&person.user)), &self.role);
            self.connection.batch(&format!("{naming}; SET LOCAL ROLE {role}")).await?;
            let added = self.add(&insert).await?;
            self.connection.batch("RESET ROLE; RESET buffetbot.user_id").await?;
            if !added && table.needed {
                return Err(Error::Denied { sqlstate: INSUFFICIENT_PRIVILEGE.into() });
            }
            if !added {
                let (name, rows) = (table.name, person.named_in(table.rows));
                let statements =
                    [select(name, &rows), update(name, table.change, &rows), delete(name, &rows)];
                self.not_tried(name, &statements).await?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Of a table in which no row could be made: a warning, unless the role has no right to any of the statements.
    async fn not_tried(&mut self, table: &str, statements: &[String]) -> Result<()> {
        let mut allowed = false;
        self.assume(Some(&self.people[0].user)).await?;
        for statement in statements {
            allowed |= self.attempt(statement).await?.is_some();
        }
        self.resume().await?;
        if allowed {
            let message = "judged by the catalog alone, not tried: this login may not add a row";
            self.findings.push(Finding::new(Severity::Warning, "effect", table, message));
        }
        Ok(())
    }

    /// In the name of `viewer`, or without a user: whether rows of `owner` are reached.
    async fn try_owned(
        &mut self,
        table: &OwnedTable,
        viewer: Option<usize>,
        owner: usize,
    ) -> Result<()> {
        let (viewer, owner) = (viewer.map(|viewer| &self.people[viewer]), &self.people[owner]);
        let (name, rows) = (table.name, owner.named_in(table.rows));
        let mut verbs = BTreeSet::new();
        self.assume(viewer.map(|viewer| &viewer.user)).await?;
        for (verb, sql) in [
            ("SELECT", select(name, &rows)),
            ("UPDATE", update(name, table.change, &rows)),
            ("DELETE", delete(name, &rows)),
        ] {
            if self.attempt(&sql).await?.is_some_and(|rows| rows > 0) {
                verbs.insert(verb);
            }
        }
        if self.passes(&owner.named_in(table.insert)).await? {
            verbs.insert("INSERT");
        }
        if let Some(viewer) = viewer {
            let (own, give) = (viewer.named_in(table.rows), owner.named_in(table.give));
            if self.passes(&update(name, &give, &own)).await? {
                verbs.insert("UPDATE of the owner");
            }
        }
        self.resume().await?;
        let named = viewer.is_some();
        if !verbs.is_empty() {
            let reached = self.reached(name);
            if named { reached.across.extend(verbs) } else { reached.unnamed.extend(verbs) }
        }
        Ok(())
    }

    /// Whether a person reaches the person's own rows.
    async fn try_own(&mut self, table: &OwnedTable, person: usize) -> Result<()> {
        if !table.needed {
            return Ok(());
        }
        let person = &self.people[person];
        let (name, rows) = (table.name, person.named_in(table.rows));
        let mut verbs = BTreeSet::new();
        self.assume(Some(&person.user)).await?;
        if self.attempt(&select(name, &rows)).await?.is_none_or(|rows| rows == 0) {
            verbs.insert("SELECT");
        }
        let update = update(name, table.change, &rows);
        if !table.by_trigger && self.attempt(&update).await?.is_none_or(|rows| rows == 0) {
            verbs.insert("UPDATE");
        }
        self.resume().await?;
        if !verbs.is_empty() {
            self.reached(name).missed.extend(verbs);
        }
        Ok(())
    }

    /// Whether a user who owns nothing, or nobody, can change rows that cannot be seen. It cannot be tried where some rows
    /// are everybody's: those can.
    async fn try_blindly(&mut self, table: &OwnedTable) -> Result<()> {
        if table.shared {
            return Ok(());
        }
        let stranger = Uuid::new_v4();
        let outcry = table.change.replace("'doctor'", &format!("({OUTCRY})::text"));
        for viewer in [Some(&stranger), None] {
            self.assume(viewer).await?;
            for (verb, sql) in [
                ("UPDATE", format!("UPDATE {} SET {outcry}", table.name)),
                ("DELETE", format!("DELETE FROM {} RETURNING {OUTCRY}", table.name)),
            ] {
                match self.attempt(&sql).await {
                    Err(Error::Database { sqlstate, .. }) if sqlstate == DIVISION_BY_ZERO => {
                        let reached = self.reached(table.name);
                        let verbs = match viewer {
                            Some(_) => &mut reached.across,
                            None => &mut reached.unnamed,
                        };
                        verbs.insert(verb);
                    }
                    other => drop(other?),
                }
            }
            self.resume().await?;
        }
        Ok(())
    }

    /// Whether a user changes what programs keep for everybody.
    async fn try_kept(&mut self, table: &KeptTable) -> Result<()> {
        let (name, mark) = (table.name, Uuid::new_v4());
        let row = unique(table.row, &mark);
        let statements = [update(name, table.change, &row), delete(name, &row)];
        if !self.add(&unique(table.insert, &mark)).await? {
            return self.not_tried(name, &statements).await;
        }
        self.assume(Some(&self.people[0].user)).await?;
        for (verb, sql) in ["UPDATE", "DELETE"].into_iter().zip(&statements) {
            let reached = self.attempt(sql).await?.is_some_and(|rows| rows > 0);
            if reached && !(table.deletable && verb == "DELETE") {
                self.reached(name).kept.insert(verb);
            }
        }
        self.resume().await
    }

    /// Whether a call is refused that does not concern who makes it.
    async fn try_call(&mut self, function: &str, call: &str) -> Result<()> {
        let person = self.people[0].user;
        for (viewer, who) in [(Some(&person), "another user"), (None, "nobody")] {
            self.assume(viewer).await?;
            let answered = self.attempt(&unique(call, &Uuid::new_v4())).await?.is_some();
            self.resume().await?;
            if answered {
                let message = format!("answers the application role in the name of {who}");
                self.findings.push(Finding::new(Severity::Danger, "effect", function, message));
            }
        }
        Ok(())
    }
}

fn select(table: &str, rows: &str) -> String {
    format!("SELECT FROM {table} WHERE {rows}")
}

fn update(table: &str, change: &str, rows: &str) -> String {
    format!("UPDATE {table} SET {change} WHERE {rows}")
}

fn delete(table: &str, rows: &str) -> String {
    format!("DELETE FROM {table} WHERE {rows}")
}
