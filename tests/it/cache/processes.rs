//! One fetch across real processes, which may die or stand still at any time.

use buffetbot_db::cache::CacheCounters;

use super::program::{Desk, Program};
use super::*;

async fn counters(program: &mut Program) -> CacheCounters {
    program.tell("counters").await;
    serde_json::from_str(&program.hear("COUNTERS").await).expect("counters")
}

#[tokio::test]
async fn a_hundred_and_twenty_eight_callers_in_two_processes_make_one_fetch() {
    let db = database().await;
    let desk = Desk::open(&db).await;
    let mut programs = [(); 2].map(|()| Program::start(&db, |_| {}));
    for program in &mut programs {
        program.ask(64, HOUR).await;
    }
    desk.called(1).await;
    desk.answer(1, 7).await;
    for program in &mut programs {
        assert_eq!(program.hear("DONE").await, r#"{"7": 64}"#);
    }
    assert_eq!(desk.calls().await, 1);
}

#[tokio::test]
async fn a_process_killed_while_it_fetches_is_replaced_once() {
    let db = database().await;
    let desk = Desk::open(&db).await;
    let [mut first, mut second] = [(); 2].map(|()| Program::start(&db, |_| {}));
    first.ask(1, HOUR).await;
    desk.called(1).await;
    second.ask(64, HOUR).await;
    first.kill().await;
    desk.called(2).await;
    desk.answer(2, 8).await;
    assert_eq!(second.hear("DONE").await, r#"{"8": 64}"#);
    assert_eq!(desk.calls().await, 2);
}

#[tokio::test]
async fn a_process_that_stood_still_past_its_lease_does_not_overwrite() {
    let db = database().await;
    let desk = Desk::open(&db).await;
    let [mut first, mut second] = [(); 2].map(|()| Program::start(&db, |_| {}));
    first.ask(1, HOUR).await;
    desk.called(1).await;
    first.signal("STOP");
    second.ask(64, HOUR).await;
    desk.called(2).await;
    desk.answer(2, 8).await;
    assert_eq!(second.hear("DONE").await, r#"{"8": 64}"#);
    desk.answer(1, 7).await;
    first.signal("CONT");
    assert_eq!(first.hear("DONE").await, r#"{"7": 1}"#, "its caller gets what it fetched");
    assert_eq!(counters(&mut first).await.superseded, 1);
    assert_eq!(counters(&mut second).await.superseded, 0);
    for program in [&mut first, &mut second] {
        program.tell("get").await;
        assert_eq!(program.hear("GOT").await, "Some(8)");
    }
    assert_eq!(desk.calls().await, 2);
}
