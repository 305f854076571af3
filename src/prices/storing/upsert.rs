//! Bringing stored bars to what was delivered: one deterministic merge, whatever way the bars come.
//!
//! Bars are judged, brought into the order of [`order`](super::order), and stored chunk by chunk in one
//! transaction. Of each chunk the stored bars are read first, which costs a fraction of comparing in the
//! server: equal bars are done with then, without even a row lock. Where all others are new they are
//! copied straight into the table; else one statement inserts and updates in that order.
//!
//! Where the server refuses a row, nothing was written yet, and the bars are stored a second time, with an eye on which of
//! them the table has no [`room`](super::room) for. A stream cannot be read twice: there each chunk has a savepoint.

use futures_util::stream::BoxStream;
use futures_util::{StreamExt, try_join};

use super::careful::Careful;
use super::{intake, jump, room, store};
use crate::error::Result;
use crate::prices::bars::{DeliveredBar, IngestOptions, NewPriceBar};
use crate::store::{Session, UpsertReport, Written, is_of_an_item};

/// Bars that one statement takes without reading the stored ones before.
const FEW: usize = 5_000;

/// Bars of a chunk: enough that its round trips do not count, few enough that a stream of millions is in
/// memory in small parts only.
const CHUNK: usize = 20_000;

/// Bars that are in memory already.
pub(crate) async fn many(
    session: &Session,
    bars: &[NewPriceBar],
    options: &IngestOptions,
) -> Result<UpsertReport> {
    options.validate()?;
    let mut intake = intake::Intake::new(options, usize::MAX);
    for bar in bars {
        intake.exact(intake::Bar::Theirs(bar))?;
    }
    let mut rows = intake.sorted();
    if room::needs_clock_of(&rows) {
        let connection = session.connection().await?;
        rows = room::without_far_days(&connection, &mut intake, rows).await?;
    }
    if rows.is_empty() {
        return Ok(intake.finish());
    }
    let few = rows.len() <= FEW && options.max_jump.is_none() && session.writes_alone();
    if options.max_jump.is_some() {
        rows = jump::judge(&*session.connection().await?, &mut intake, rows).await?;
    }
    match at_once(session, &rows, few).await {
        Ok(written) => intake.wrote(rows.len(), written),
        // Nothing was written; the second time it is seen which bars were refused.
        Err(error) if is_of_an_item(&error) => carefully(session, &mut intake, rows).await?,
        Err(error) => return Err(error),
    }
    Ok(intake.finish())
}

/// Stores all rows, or none where the server refuses one.
async fn at_once(session: &Session, rows: &[intake::Row<'_>], few: bool) -> Result<Written> {
    if few && let Some(alone) = session.alone().await? {
        let written = store::merge(&alone, rows).await?;
        alone.done().await;
        return Ok(written);
    }
    let atomic = session.atomic().await?;
    let mut written = Written::default();
    if few {
        written = store::merge(&atomic, rows).await?;
    } else {
        for chunk in rows.chunks(CHUNK) {
            written.add(store::chunk(&atomic, chunk).await?);
        }
    }
    atomic.commit().await?;
    Ok(written)
}

/// Stores the rows that the table has room for.
async fn carefully<'a>(
    session: &Session,
    intake: &mut intake::Intake<'a>,
    rows: Vec<intake::Row<'a>>,
) -> Result<()> {
    let atomic = session.atomic().await?;
    let mut careful = Careful::default();
    let mut rows = rows.into_iter().peekable();
    while rows.peek().is_some() {
        let part = rows.by_ref().take(CHUNK).collect();
        intake.stored(careful.chunk(&atomic, part).await?)?;
    }
    atomic.commit().await
}

/// Most rejected bars that the report on a stream lists one by one.
const REJECTED_LISTED: usize = 10_000;

/// Bars of a stream that are received before other tasks get a turn.
const TURN: usize = 500;

/// Bars of a stream. Two chunks are in memory: one is received while the other is stored.
pub(crate) async fn stream(
    session: &Session,
    mut bars: BoxStream<'_, Result<DeliveredBar>>,
    options: &IngestOptions,
) -> Result<UpsertReport> {
    options.validate()?;
    let mut intake = intake::Intake::new(options, REJECTED_LISTED);
    // The transaction begins when there is something to store.
    let Some(mut rows) = take_in(&mut bars, &mut intake).await? else {
        return Ok(intake.finish());
    };
    let atomic = session.atomic().await?;
    let mut careful = Careful::default();
    loop {
        if room::needs_clock_of(&rows) {
            rows = room::without_far_days(&atomic, &mut intake, rows).await?;
        }
        // The first bars of a chunk are judged by the stored ones, those of the chunk before included.
        rows = jump::judge(&atomic, &mut intake, rows).await?;
        // An error of the stream waits until the server is done; one of the server waits for nothing.
        let next = async { Ok(take_in(&mut bars, &mut intake).await) };
        let (stored, next) = try_join!(careful.chunk(&atomic, rows), next)?;
        intake.stored(stored)?;
        match next? {
            Some(next) => rows = next,
            None => break,
        }
    }
    atomic.commit().await?;
    Ok(intake.finish())
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
