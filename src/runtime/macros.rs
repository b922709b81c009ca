//! The syntax of `go!`.

/// Starts a goroutine that has its own clones of what it names. Go: `go func() { .. }()`, whose
/// closure shares what it uses.
///
/// `go!([tx, done] async { .. })` clones `tx` and `done`, and starts the block with
/// [`go`](crate::go()), which moves the clones in. What the block uses and the list does not name
/// is moved in itself. The result is the [`JoinHandle`](crate::JoinHandle). What is named is cloned
/// as by `tx.clone()`: of a reference it is what that refers to, so a function may name its
/// parameter `ctx: &Context`.
///
/// `go!(wg, [tx] async { .. })` starts it with `wg.go(..)`: of a
/// [`WaitGroup`](crate::sync::WaitGroup), an [`ErrGroup`](crate::sync::ErrGroup), whose `go` is
/// awaited, a [`JoinSet`](crate::JoinSet), a [`Runtime`](crate::Runtime), a
/// [`Handle`](crate::Handle), or whatever else has a method `go`. The list may be left out.
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
            "go! takes an `async` block: `go!([tx, done] async { .. })`, or `go!(wg, [tx] async { .. })` with what has a method `go`; \
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
