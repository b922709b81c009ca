//! `go!`.

/// Starts a goroutine that owns clones of the named variables. Go: `go func() { .. }()`, whose
/// closure shares its variables.
///
/// `go!([tx, done] async { .. })` clones `tx` and `done`, and starts the block with
/// [`go`](crate::go()). The block moves the clones in, and every other variable that it uses. The
/// result is the [`JoinHandle`](crate::JoinHandle). A variable is cloned by `tx.clone()`; for a
/// reference this clones the referent, so a function may name its parameter `ctx: &Context`.
///
/// `go!(wg, [tx] async { .. })` starts the block with `wg.go(..)`. `wg` may be a
/// [`WaitGroup`](crate::sync::WaitGroup), an [`ErrGroup`](crate::sync::ErrGroup) (await the
/// result), a [`JoinSet`](crate::JoinSet), a [`Runtime`](crate::Runtime), a
/// [`Handle`](crate::Handle), or any other value with a method `go`. The list may be left out.
///
/// # Examples
///
/// ```
/// use gopark::sync::WaitGroup;
/// use gopark::{chan, go};
///
/// gopark::block_on(async {
///     let (tx, rx) = chan::unbuffered();
///     let wg = WaitGroup::new();
///     for i in 0..3 {
///         go!(wg, [tx] async { tx.send(i).await.unwrap() });
///     }
///     let closer = go!([tx, wg] async {
///         wg.wait().await;
///         tx.close();
///     });
///     let mut sum = 0;
///     while let Some(i) = rx.recv().await {
///         sum += i;
///     }
///     closer.await.unwrap();
///     assert_eq!(sum, 3);
/// });
/// ```
#[macro_export]
macro_rules! go {
    ($([$($name:ident),* $(,)?])? async $(move)? $body:block) => {
        $crate::go({
            $($(let $name = $name.clone();)*)?
            async move $body
        })
    };
    ([$($names:tt)*] $($rest:tt)*) => {
        $crate::go!(@form)
    };
    (@form) => {
        ::std::compile_error!(
            "go! takes an `async` block: `go!([tx, done] async { .. })`, \
             or `go!(wg, [tx] async { .. })` with what has a method `go`; \
             the names in brackets are cloned"
        )
    };
    ($group:expr, $([$($name:ident),* $(,)?])? async $(move)? $body:block) => {
        $group.go({
            $($(let $name = $name.clone();)*)?
            async move $body
        })
    };
    ($($rest:tt)*) => {
        $crate::go!(@form)
    };
}
