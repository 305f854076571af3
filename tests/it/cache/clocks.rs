//! Clocks and time zones: only the database's clock says when a value expires.

use std::time::SystemTime;

use super::program::{Desk, Program};
use super::*;
use crate::support::faketime;

/// A program whose wall clock is off by so much; its monotonic clock runs on.
fn skewed(db: &TestDatabase, skew: &str) -> Program {
    Program::start(db, |command| {
        command
            .env("LD_PRELOAD", faketime::library())
            .env("FAKETIME", skew)
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    })
}

/// Seconds by which the program's wall clock is ahead.
async fn ahead(program: &mut Program) -> i64 {
    program.tell("clock").await;
    let theirs: i64 = program.hear("CLOCK").await.parse().expect("seconds");
    let ours = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    theirs - i64::try_from(ours.as_secs()).expect("before the sun ends")
}

async fn got(program: &mut Program) -> String {
    program.tell("get").await;
    program.hear("GOT").await
}

/// Its values live as long as others' do, and it sees those as they are.
async fn expiry_holds(db: &TestDatabase, program: &mut Program, desk: &Desk<'_>) {
    db.sql("DELETE FROM market_data_cache").await;
    eventually_gone(program).await;
    let call = desk.calls().await + 1;
    program.ask(1, HOUR).await;
    desk.called(call).await;
    desk.answer(call, 1).await;
    assert_eq!(program.hear("DONE").await, r#"{"1": 1}"#);
    let as_meant = "SELECT count(*) AS n FROM market_data_cache
        WHERE expires_at - cached_at = INTERVAL '1 hour'
            AND cached_at BETWEEN now() - INTERVAL '2 min' AND now()";
    assert_eq!(count(db, as_meant).await, 1);
    let [here, _] = forgetful(db);
    assert_eq!(value(&here, "AAPL").await, Some(1));
    assert_eq!(got(program).await, "Some(1)");
    // What another stores is fresh to it, until it expires.
    put(&here, "AAPL", 2).await;
    eventually_got(program, "Some(2)").await;
    expire(db, "AAPL", None).await;
    eventually_gone(program).await;
    // What expires while it holds a copy.
    program.ask(1, MS * 300).await;
    desk.called(call + 1).await;
    desk.answer(call + 1, 3).await;
    assert_eq!(program.hear("DONE").await, r#"{"3": 1}"#);
    eventually_gone(program).await;
}

async fn eventually_got(program: &mut Program, expected: &str) {
    let began = std::time::Instant::now();
    while got(program).await != expected {
        assert!(began.elapsed() < GENEROUS, "never saw {expected}");
        tokio::time::sleep(MS * 20).await;
    }
}

async fn eventually_gone(program: &mut Program) {
    eventually_got(program, "None").await;
}

#[tokio::test]
#[cfg_attr(not(all(target_os = "linux", target_arch = "x86_64")), ignore = "needs faketime")]
async fn wall_clocks_of_processes_do_not_matter() {
    let db = database().await;
    let desk = Desk::open(&db).await;
    for (skew, hours) in [("+30h", 30), ("-30h", -30)] {
        let mut program = skewed(&db, skew);
        let off = ahead(&mut program).await - hours * 3600;
        assert!(off.abs() < 120, "the clock is not skewed: {off} s");
        expiry_holds(&db, &mut program, &desk).await;
    }
}

#[tokio::test]
async fn time_zones_of_processes_and_sessions_do_not_matter() {
    let db = database().await;
    let desk = Desk::open(&db).await;
    for zone in ["Pacific/Kiritimati", "America/Anchorage", "UTC"] {
        let name = db.name();
        db.sql(&format!("ALTER DATABASE \"{name}\" SET timezone = '{zone}'")).await;
        let mut program = Program::start(&db, |command| {
            command.env("TZ", zone).env("PGTZ", zone);
        });
        expiry_holds(&db, &mut program, &desk).await;
    }
}
