//! All rows of a list, page by page.

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};

use super::{Page, PageRequest};
use crate::error::{Error, Result};

/// Rows of one page of a stream.
const ROWS: u32 = 1_000;

/// All rows of a list, in its order, read in pages of 1,000 when they are wanted: rows of one page are in memory, and no
/// connection is held between two pages. Each page is a statement of its own, so that rows stored meanwhile may be missing;
/// none repeats. `list` reads one page, as the `list` of a repository does.
///
/// A row that cannot be read is an [`Error::Corrupt`](crate::Error::Corrupt) after the others of its page, and the stream
/// continues. It ends with the error of a page that could not be read.
pub fn stream_pages<'a, T, L>(list: L) -> BoxStream<'a, Result<T>>
where
    T: Send + 'a,
    L: Fn(PageRequest) -> BoxFuture<'a, Result<Page<T>>> + Send + 'a,
{
    let pages = stream::try_unfold(Some(PageRequest::first(ROWS)), move |request| {
        let page = request.map(&list);
        async move {
            let Some(page) = page else { return Ok::<_, Error>(None) };
            let page = page.await?;
            let next = page.next.map(|cursor| PageRequest::after(ROWS, cursor));
            Ok(Some((Page { next: None, ..page }, next)))
        }
    });
    let rows = |page: Page<T>| {
        let unreadable = page.unreadable.into_iter().map(|row| Err(row.into()));
        stream::iter(page.items.into_iter().map(Ok).chain(unreadable))
    };
    pages.map_ok(rows).try_flatten().boxed()
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use uuid::Uuid;

    use super::*;
    use crate::error::Unreadable;
    use crate::types::Cursor;

    #[tokio::test]
    async fn all_pages_come_in_order_and_an_error_is_the_last_item() {
        let cursor = |at| Cursor { at, id: Uuid::nil() };
        let numbers = stream_pages(|request: PageRequest| {
            let at = request.after.map_or(0, |cursor| cursor.at);
            async move {
                let unreadable = vec![Unreadable::unknown("is wrong")];
                match at {
                    0 => Ok(Page { items: vec![1, 2], next: Some(cursor(1)), unreadable }),
                    1 => Ok(Page { items: vec![], next: Some(cursor(2)), unreadable: vec![] }),
                    2 => Ok(Page { items: vec![3], next: Some(cursor(3)), unreadable: vec![] }),
                    _ => Err(Error::invalid("page", "cannot be read")),
                }
            }
            .boxed()
        });
        let all: Vec<Result<i32>> = numbers.collect().await;
        assert!(
            matches!(
                &all[..],
                [Ok(1), Ok(2), Err(Error::Corrupt { .. }), Ok(3), Err(Error::Invalid { .. })]
            ),
            "{all:?}"
        );
    }
}
