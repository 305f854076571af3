//! A stream of what a future sends.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use crate::error::Result;

/// Where the future sends to.
pub(crate) struct Sender<T>(mpsc::Sender<T>);

impl<T> Sender<T> {
    /// Waits until there is room for one more item.
    pub async fn send(&self, item: T) {
        // The receiver lives as long as the future that sends: it is in the same stream.
        let _ = self.0.send(item).await;
    }
}

struct Produced<'a, T> {
    items: mpsc::Receiver<T>,
    future: Option<BoxFuture<'a, Result<()>>>,
}

/// The items that a future sends, and last its error. The future runs as the stream is polled, not by
/// itself, at most one item ahead; dropped with the stream, it ends where it is.
pub(crate) fn channel_stream<'a, T: Send + 'a>(
    produce: impl FnOnce(Sender<T>) -> BoxFuture<'a, Result<()>>,
) -> impl Stream<Item = Result<T>> + Send + 'a {
    let (sender, items) = mpsc::channel(1);
    Produced { items, future: Some(produce(Sender(sender))) }
}

impl<T> Stream for Produced<'_, T> {
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let ended = match &mut self.future {
            Some(future) => future.as_mut().poll(context),
            None => Poll::Ready(Ok(())),
        };
        match ended {
            Poll::Ready(Err(error)) => {
                self.future = None;
                self.items.close();
                Poll::Ready(Some(Err(error)))
            }
            Poll::Ready(Ok(())) => {
                self.future = None;
                self.items.poll_recv(context).map(|item| item.map(Ok))
            }
            Poll::Pending => self.items.poll_recv(context).map(|item| item.map(Ok)),
        }
    }
}
