//! Whether a transaction is open on a connection, as far as the statements sent on it show, and what follows for a statement that
//! was not answered.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::reads;
use super::reads::Boundaries;
use super::rendered_query::Effect;

/// The transaction of one connection. In doubt it counts as closed: what runs outside of one takes effect by itself.
#[derive(Default)]
pub(super) struct Scope {
    /// Odd while a transaction is open; each has another number.
    number: AtomicU64,
    /// Something may have been written in it.
    wrote: AtomicBool,
}

/// A statement that is about to be sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sending {
    effect: Effect,
    pub boundaries: Boundaries,
    /// What [`Scope::number`] was before.
    number: u64,
    /// Whether something may have been written in the transaction that it ends.
    ends_written: bool,
}

impl Scope {
    /// One statement, by the extended protocol.
    pub fn sends_one(&self, sql: &str, effect: Effect) -> Sending {
        let boundaries = match effect {
            Effect::Unstated => reads::boundaries_of_one(sql),
            // This crate's own statements begin and end no transaction.
            Effect::Reads | Effect::Writes => Boundaries::default(),
        };
        self.sends_as(sql, effect, boundaries)
    }

    /// A message of statements, by the simple protocol.
    pub fn sends(&self, sql: &str) -> Sending {
        self.sends_as(sql, Effect::Unstated, reads::boundaries(sql))
    }

    fn sends_as(&self, sql: &str, effect: Effect, boundaries: Boundaries) -> Sending {
        let number = self.number.load(Ordering::Acquire);
        let is_open = number % 2 == 1;
        if is_open && !self.wrote.load(Ordering::Acquire) && may_write(sql, effect) {
            self.wrote.store(true, Ordering::Release);
        }
        let ends_written = !is_open || self.wrote.load(Ordering::Acquire);
        if boundaries.ends {
            self.ends();
        }
        Sending { effect, boundaries, number, ends_written }
    }

    /// What is sent from here on is no longer part of the transaction.
    pub fn ends(&self) {
        let number = self.number.load(Ordering::Acquire);
        if number % 2 == 1 {
            // By another statement that ends it too, at worst.
            let _ = self.number.compare_exchange(
                number,
                number + 1,
                Ordering::AcqRel,
                Ordering::Acquire,
            );
        }
    }

    /// The statement was done, without an error.
    pub fn is_done(&self, sending: &Sending) {
        if !sending.boundaries.begins {
            return;
        }
        let number = self.number.load(Ordering::Acquire);
        if number.is_multiple_of(2) {
            self.wrote.store(false, Ordering::Release);
            self.number.store(number + 1, Ordering::Release);
        }
    }

    /// Whether what is sent now is part of a transaction in which something may have been written.
    pub fn has_written(&self) -> bool {
        self.number.load(Ordering::Acquire) % 2 == 1 && self.wrote.load(Ordering::Acquire)
    }

    /// Whether a statement that was sent, and not answered, may have made something permanent.
    pub fn may_have_committed(&self, sql: &str, sending: &Sending) -> bool {
        if sending.boundaries.commits {
            return sending.ends_written;
        }
        // What is in one message with a BEGIN becomes part of that transaction.
        if sending.boundaries.begins {
            return false;
        }
        let is_held =
            sending.number % 2 == 1 && self.number.load(Ordering::Acquire) == sending.number;
        !is_held && may_write(sql, sending.effect)
    }
}

fn may_write(sql: &str, effect: Effect) -> bool {
    match effect {
        Effect::Reads => false,
        Effect::Writes => true,
        Effect::Unstated => reads::may_write(sql),
    }
}

#[cfg(test)]
mod tests {
    use super::{Effect, Scope};

    fn done(scope: &Scope, sql: &str) {
        scope.is_done(&scope.sends(sql));
    }

    /// Of a statement that is sent and not answered.
    fn may_have_committed(scope: &Scope, sql: &str) -> bool {
        let sending = scope.sends(sql);
        scope.may_have_committed(sql, &sending)
    }

    #[test]
    fn outside_of_a_transaction_a_write_may_be_permanent() {
        let scope = Scope::default();
        assert!(may_have_committed(&scope, "INSERT INTO t VALUES (1)"));
        assert!(!may_have_committed(&scope, "SELECT 1"));
        assert!(may_have_committed(&scope, "BEGIN; INSERT INTO t VALUES (1); COMMIT"));
        assert!(!may_have_committed(&scope, "BEGIN; INSERT INTO t VALUES (1)"));
        assert!(may_have_committed(&scope, "COMMIT"), "of what is not known");
    }

    #[test]
    fn inside_of_one_only_its_end_can_be() {
        let scope = Scope::default();
        done(&scope, "BEGIN");
        assert!(!may_have_committed(&scope, "INSERT INTO t VALUES (1)"));
        let insert = "INSERT INTO t VALUES (2)";
        let sent = scope.sends_one(insert, Effect::Writes);
        assert!(may_have_committed(&scope, "SELECT 1; COMMIT"));
        assert!(scope.may_have_committed(insert, &sent), "the end was sent after it");
        assert!(may_have_committed(&scope, insert), "it is over");
    }

    #[test]
    fn the_end_of_one_that_only_read_writes_nothing() {
        let scope = Scope::default();
        done(&scope, "BEGIN; SET LOCAL a = 'b'");
        done(&scope, "SELECT count(*) FROM t");
        assert!(!may_have_committed(&scope, "SELECT 1; COMMIT"));
        done(&scope, "BEGIN");
        done(&scope, "SELECT book()");
        done(&scope, "ROLLBACK TO SAVEPOINT a");
        assert!(scope.has_written());
        assert!(may_have_committed(&scope, "COMMIT"));
        done(&scope, "BEGIN");
        assert!(!may_have_committed(&scope, "ROLLBACK"));
        assert!(may_have_committed(&scope, "DELETE FROM t"));
    }
}
