//! Bringing stored bars to what was delivered: one deterministic merge, whatever way the bars come.
//!
//! Bars are judged, sorted by ticker and day, and stored chunk by chunk in one transaction. Of each chunk
//! the stored bars are read first, which costs a fraction of comparing in the server: equal bars are
//! done with then, without even a row lock. Where all others are new they are copied straight into the
//! table; else one statement inserts and updates in the order of the keys, so that writers at work at
//! once wait for each other instead of deadlocking.

use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use super::{intake, jump, store};
use crate::connection::{PgConnection, Session};
use crate::error::Result;
use crate::models::{DeliveredBar, IngestOptions, NewPriceBar, UpsertReport};
use crate::repositories::merge::Written;

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
    options.validate()?;
    let mut intake = intake::Intake::new(options, usize::MAX);
    for bar in bars {
        intake.exact(intake::Bar::Theirs(bar))?;
    }
    let rows = intake.sorted();
    if rows.is_empty() {
        return Ok(intake.report);
    }
    if rows.len() <= FEW && options.max_jump.is_none() {
        let connection = session.connection().await?;
        let written = store::merge(&connection, &rows).await?;
        intake.wrote(rows.len(), written);
        return Ok(intake.report);
    }
    let atomic = session.atomic().await?;
    // The first bar of a chunk is judged by the stored ones, those of the chunk before included.
    let mut rows = rows.into_iter().peekable();
    while rows.peek().is_some() {
        let part = rows.by_ref().take(CHUNK).collect();
        chunk(&atomic, &mut intake, part).await?;
    }
    atomic.commit().await?;
    Ok(intake.report)
}

/// Most rejected bars that the report on a stream lists one by one.
const REJECTED_LISTED: usize = 10_000;

/// Bars of a stream, which are in memory chunk by chunk only.
pub(super) async fn stream(
    session: &Session,
    bars: BoxStream<'_, Result<DeliveredBar>>,
    options: &IngestOptions,
) -> Result<UpsertReport> {
    options.validate()?;
    let mut intake = intake::Intake::new(options, REJECTED_LISTED);
    let mut chunks = bars.chunks(CHUNK);
    // The transaction begins when there is something to store.
    let Some(mut delivered) = chunks.next().await else {
        return Ok(intake.report);
    };
    let atomic = session.atomic().await?;
    loop {
        for bar in delivered {
            intake.delivered(bar?)?;
        }
        let rows = intake.sorted();
        chunk(&atomic, &mut intake, rows).await?;
        match chunks.next().await {
            Some(next) => delivered = next,
            None => break,
        }
    }
    atomic.commit().await?;
    Ok(intake.report)
}

async fn chunk<'a>(
    connection: &PgConnection,
    intake: &mut intake::Intake<'a>,
    rows: Vec<intake::Row<'a>>,
) -> Result<()> {
    let rows = jump::judge(connection, intake, rows).await?;
    let written = match rows.len() {
        0 => Written::default(),
        _ => store::chunk(connection, &rows).await?,
    };
    intake.wrote(rows.len(), written);
    Ok(())
}
