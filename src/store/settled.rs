//! How a repository's methods return.

/// Declares the trait of a repository for its PostgreSQL implementation: each of its async methods returns by
/// [`Session::settled`](super::Session::settled), so that no method can forget it, whatever it fails of. A method that
/// returns a stream does so by [`Session::stream`](super::Session::stream).
macro_rules! settled {
    (#[async_trait] impl $trait:ident for $repository:ident { $($methods:tt)* }) => {
        settled!(@ [$trait for $repository] [] $($methods)*);
    };
    (@ $head:tt [$($done:tt)*]
        $(#[$attribute:meta])*
        async fn $name:ident(&$this:ident $($arguments:tt)*) -> $returned:ty { $($body:tt)* }
        $($more:tt)*
    ) => {
        settled!(@ $head [
            $($done)*
            $(#[$attribute])*
            async fn $name(&$this $($arguments)*) -> $returned {
                // Boxed: the compiler looks only so deep into futures within futures.
                let done: $returned = ::futures_util::FutureExt::boxed(async move { $($body)* }).await;
                $this.session.settled(done).await
            }
        ] $($more)*);
    };
    (@ $head:tt [$($done:tt)*]
        $(#[$attribute:meta])*
        fn $name:ident $(<$lifetime:lifetime>)? ($($arguments:tt)*) -> $returned:ty { $($body:tt)* }
        $($more:tt)*
    ) => {
        settled!(@ $head [
            $($done)*
            $(#[$attribute])*
            fn $name $(<$lifetime>)? ($($arguments)*) -> $returned { $($body)* }
        ] $($more)*);
    };
    (@ [$trait:ident for $repository:ident] [$($done:tt)*]) => {
        #[async_trait]
        impl $trait for $repository { $($done)* }
    };
}

pub(crate) use settled;
