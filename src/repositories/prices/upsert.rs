//! Bringing stored bars to what was delivered: one deterministic merge, whatever way the bars come.
//!
//! Bars are judged, brought into the order of [`order`](super::order), and stored chunk by chunk in one
//! transaction. Of each chunk the stored bars are read first, which costs a fraction of comparing in the
//! server: equal bars are done with then, without even a row lock. Where all others are new they are
//! copied straight into the table; else one statement inserts and updates in that order.

use futures_util::stream::BoxStream;
use futures_util::{StreamExt, try_join};

use super::{intake, jump, store};
use crate::connection::Session;
use crate::error::Result;
use crate::models::{DeliveredBar, IngestOptions, NewPriceBar, UpsertReport};

/// Bars that one statement takes without a look at the stored ones before.
const FEW: usize = 5_000;

/// Bars of a chunk: enough that its round trips do not count, few enough that a stream of millions is in
/// memory in small parts only.
const CHUNK: usize = 20_000;

/// Bars that are in memory already.
pub(super) async fn many(
    session: &Session,
    bars: &[NewPriceBar],
    options: &IngestOptions,
) -> Result<UpsertReport> {
    session.checked(options.validate()).await?;
    let mut intake = intake::Intake::new(options, usize::MAX);
    for bar in bars {
        intake.exact(intake::Bar::Theirs(bar))?;
    }
    let rows = intake.sorted();
    if rows.is_empty() {
        return Ok(intake.report);
    }
    if rows.len() <= FEW && options.max_jump.is_none() && session.writes_alone() {
        let connection = session.connection().await?;
        let written = store::merge(&connection, &rows).await?;
        session.wrote();
        intake.wrote(rows.len(), written);
        return Ok(intake.report);
    }
    let atomic = session.atomic().await?;
    let mut rows = jump::judge(&atomic, &mut intake, rows).await?.into_iter().peekable();
    while rows.peek().is_some() {
        let part: Vec<_> = rows.by_ref().take(CHUNK).collect();
        intake.wrote(part.len(), store::chunk(&atomic, &part).await?);
    }
    atomic.commit().await?;
    Ok(intake.report)
}

/// Most rejected bars that the report on a stream lists one by one.
const REJECTED_LISTED: usize = 10_000;

/// Bars of a stream that are taken in before whatever runs beside gets a turn.
const TURN: usize = 500;

/// Bars of a stream, of which two chunks are in memory: one is taken in while the other is stored.
pub(super) async fn stream(
    session: &Session,
    mut bars: BoxStream<'_, Result<DeliveredBar>>,
    options: &IngestOptions,
) -> Result<UpsertReport> {
    session.checked(options.validate()).await?;
    let mut intake = intake::Intake::new(options, REJECTED_LISTED);
    // The transaction begins when there is something to store.
    let Some(mut rows) = take_in(&mut bars, &mut intake).await? else {
        return Ok(intake.report);
    };
    let atomic = session.atomic().await?;
    loop {
        // The first bars of a chunk are judged by the stored ones, those of the chunk before included.
        rows = jump::judge(&atomic, &mut intake, rows).await?;
        // An error of the stream waits until the server is done; one of the server waits for nothing.
        let next = async { Ok(take_in(&mut bars, &mut intake).await) };
        let (written, next) = try_join!(store::chunk(&atomic, &rows), next)?;
        intake.wrote(rows.len(), written);
        match next? {
            Some(next) => rows = next,
            None => break,
        }
    }
    atomic.commit().await?;
    Ok(intake.report)
}

/// Takes the next chunk in; `None` where the stream has ended.
async fn take_in<'a>(
    bars: &mut BoxStream<'_, Result<DeliveredBar>>,
    intake: &mut intake::Intake<'a>,
) -> Result<Option<Vec<intake::Row<'a>>>> {
    for taken in 0..CHUNK {
        match bars.next().await {
            Some(bar) => intake.delivered(bar?)?,
            None if taken == 0 => return Ok(None),
            None => break,
        }
        if taken % TURN == TURN - 1 {
            tokio::task::yield_now().await;
        }
    }
    Ok(Some(intake.sorted()))
}
