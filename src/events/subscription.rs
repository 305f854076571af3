//! Events from now on, as a stream.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt};
use tokio::sync::watch;

use super::event::{Event, EventFilter};
use super::log;
use super::log::{EventOrNot, Position};
use crate::error::{Error, Result};
use crate::store::Session;

/// Events held for a subscriber.
const CHUNK: usize = 256;
/// How often a reader polls without a notification.
pub(crate) const POLL_EVERY: Duration = Duration::from_secs(1);

/// The stream of [`Database::subscribe`](crate::Database::subscribe). It has no end. While the database cannot be
/// reached it waits, and then resumes where it was. An event that cannot be read is an item, [`Error::Corrupt`] with its id, and
/// the next one follows; so is any other error, and the next call tries again.
pub struct Subscription {
    events: BoxStream<'static, Result<Event>>,
}

impl Stream for Subscription {
    type Item = Result<Event>;
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.events.poll_next_unpin(context)
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscription").finish_non_exhaustive()
    }
}

struct Reader {
    session: Session,
    filter: EventFilter,
    position: Position,
    ready: VecDeque<EventOrNot>,
    news: watch::Receiver<u64>,
}

/// # Errors
/// Those of finding out where "now" is.
pub(crate) async fn subscribe(
    session: Session,
    filter: EventFilter,
    news: watch::Receiver<u64>,
) -> Result<Subscription> {
    let position = Position::now(&session).await?;
    let reader = Reader { session, filter, position, ready: VecDeque::new(), news };
    let events = futures_util::stream::unfold(reader, |mut reader| async {
        let next = reader.next().await;
        Some((next, reader))
    });
    Ok(Subscription { events: events.boxed() })
}

impl Reader {
    async fn next(&mut self) -> Result<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return event.map_err(Error::from);
            }
            let position = self.position.clone();
            match log::read(&self.session, position, &self.filter, CHUNK).await {
                Ok((events, position)) => {
                    self.position = position;
                    self.ready = events.into();
                    if self.ready.is_empty() {
                        wait(&mut self.news).await;
                    }
                }
                Err(error) => {
                    // In both cases not at once again.
                    tokio::time::sleep(POLL_EVERY).await;
                    if !passes(&error) {
                        return Err(error);
                    }
                    tracing::debug!(target: "buffetbot_db::events", %error, "reading events failed");
                }
            }
        }
    }
}

/// Returns when there may be new events.
pub(crate) async fn wait(news: &mut watch::Receiver<u64>) {
    if let Ok(Err(_)) = tokio::time::timeout(POLL_EVERY, news.changed()).await {
        // No notification comes any more.
        tokio::time::sleep(POLL_EVERY).await;
    }
}

/// Whether the error is temporary.
fn passes(error: &Error) -> bool {
    matches!(
        error,
        Error::Unavailable { .. }
            | Error::OutcomeUnknown { .. }
            | Error::Busy { .. }
            | Error::Timeout { .. }
            | Error::Cancelled
            | Error::Retryable { .. }
    )
}
