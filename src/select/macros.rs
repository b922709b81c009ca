//! The syntax of `select!`.
//!
//! The macro works in two stages. *parse* munches the arms one by one into
//! `{ kind [depth] (pattern) (operand) (guard) (body) }`. The kind is the type of the arm's list of
//! one case; the depth is the arm's position, a unary number of `|`. *emit* builds the list of
//! cases, runs it, and matches on which case won. The bodies are in a `match` in the caller's own
//! code, so `break`, `return`, `?` and `.await` work as usual.

/// Waits for one of several operations, and runs the arm of the one that completed. Go: `select`.
///
/// Each arm is `pattern = operand => body`. The pattern is irrefutable, or `Some(..)` around an
/// irrefutable pattern. The operand is any [`Case`](crate::select::Case): a send, a receive, every
/// other wait of this crate, or [`select::fut`](crate::select::fut) of any future. A body is a
/// block, or an expression followed by a comma.
///
/// * **Exactly one** operation takes place; the others have no effect at all.
/// * **The choice is uniform** among the operations that are ready at that moment, with a new draw
///   each time. Arms on one channel also have equal shares if they had to wait. With `biased;` as
///   the first word, the first ready arm in source order wins. A channel operation that completed
///   while the select waited has won already; but if it is a receive, a case before it that is not
///   a channel operation and is ready by now wins instead, and the value stays in the channel.
/// * **Operands are evaluated once**, from top to bottom, on entry, including those that are
///   switched off.
/// * **`operand, if condition`** switches an arm off if the condition is false, as a nil channel
///   does in Go. The condition is evaluated just before its operand.
/// * **`Some(pattern) = operand`** is for an operation whose output is an
///   [`Option`](crate::select::OptionCase). At `None` the arm is switched off: for a receive, when
///   its channel is closed and drained. The select continues with the other arms, which keep their
///   places in the queues, and the arm has no share in the draw. In Go you set the channel to nil.
/// * **`else => body`**, anywhere, at most once, runs when all other arms are off, because of
///   `None` or of their conditions. An `else` that could never run does not compile: each other arm
///   must have the pattern `Some(..)` or a condition.
/// * **`default => body`**, anywhere, at most once, runs if there was one instant at which no
///   channel operation was ready, and if the other cases, which are tried one after the other, were
///   not ready. A select with `default` never waits, and works outside of async code. What is tried
///   enters no queue: others do not see the attempt.
/// * **A case that is not a channel operation**, such as `fut(future)`, is polled again after each
///   wake that did not come from a channel. During that poll the select does not count as a waiting
///   receiver or sender: a `try_send` to it returns `Full`, a `try_recv` returns `Empty`, another
///   select takes its `default`, and a send or a receive waits in the queue. Afterwards the select
///   checks its channels again. So it meets operations that still wait, but not those that came and
///   went in between.
/// * **A send inside another future**, such as `timeout(d, tx.send(v))` or
///   `fut(async { tx.send(v).await })`, waits in its queue alone. Its value may be taken while the
///   select waits, and another case may complete before the select is polled again: then both have
///   taken place. Use [`send_timeout`](crate::chan::Sender::send_timeout), or two arms.
///   ([`ctx.send`](crate::context::Context::send) and `send_timeout` are cases like a plain send.)
/// * **Bodies are part of the surrounding code**: `break`, `continue`, `return`, `?` and `.await`
///   work. The losing operations, and what they borrowed, are dropped before the body runs.
/// * **`select! {}`** waits forever. So does a select whose arms are all off, if it has neither
///   `else` nor `default`.
/// * Each arm is compiled separately. For more than a few dozen arms use
///   [`Select`](crate::select::Select). From 17 arms on, the code is smaller but costs one indirect
///   call per arm.
///
/// # Differences from Go
///
/// A send on a closed channel does not panic; its arm gets the value back in an `Err`.
///
/// # Cancellation
///
/// Dropping the surrounding future while it waits here loses nothing. Every operation leaves its
/// queue, a value that was already received goes to the next receiver, and a value that was already
/// sent stays sent.
///
/// # Examples
///
/// ```
/// use gopark::{chan, select};
///
/// gopark::block_on(async {
///     let (tx, rx) = chan::bounded(1);
///     let (_stop, stopped) = chan::unbuffered::<()>();
///     select! {
///         sent = tx.send("news") => assert!(sent.is_ok()),
///         _ = stopped.recv() => return,
///     }
///     select! {
///         news = rx.recv() => assert_eq!(news, Some("news")),
///         default => unreachable!("there is news"),
///     }
/// });
/// ```
///
/// Merging two channels until both are closed:
///
/// ```
/// use gopark::{chan, go, select};
///
/// gopark::block_on(async {
///     let ((a_tx, a), (b_tx, b)) = (chan::unbuffered(), chan::unbuffered());
///     go(async move { a_tx.send(1).await });
///     go(async move { b_tx.send(2).await });
///     let mut sum = 0;
///     loop {
///         select! {
///             Some(v) = a.recv() => sum += v, // until `a` is closed and drained
///             Some(v) = b.recv() => sum += v,
///             else => break,                  // all arms are off
///         }
///     }
///     assert_eq!(sum, 3);
/// });
/// ```
#[macro_export]
macro_rules! select {
    ($(biased;)?) => {
        match $crate::select::Selecting::new(false, $crate::select::Nil).await {}
    };
    (biased; $($rest:tt)+) => {
        $crate::__select!(@parse true [] [] [] [] $($rest)+)
    };
    ($($rest:tt)+) => {
        $crate::__select!(@parse false [] [] [] [] $($rest)+)
    };
}

/// The stages of [`select!`].
#[doc(hidden)]
#[macro_export]
macro_rules! __select {
    // ---- parse: biased [depth] [default] [else] [arms] rest
    (@parse $biased:tt $depth:tt $default:tt $else:tt $arms:tt) => {
        $crate::__select!(@emit $biased $depth $default $else $arms)
    };

    // A second default.
    (@parse $biased:tt $depth:tt [$($first:tt)+] $else:tt $arms:tt default => $($rest:tt)*) => {
        ::core::compile_error!("select! has two `default` arms, but at most one is allowed")
    };
    // The rules with braces come first. The other order would fail for a `$body:expr` from a
    // caller's macro: it does not match `block`, and that is an error instead of a try of the next
    // rule.
    (@parse $biased:tt $depth:tt [] $else:tt $arms:tt
        default => { $($body:tt)* }, $($rest:tt)*) => {
        $crate::__select!(@parse $biased $depth [({ $($body)* })] $else $arms $($rest)*)
    };
    (@parse $biased:tt $depth:tt [] $else:tt $arms:tt default => { $($body:tt)* } $($rest:tt)*) => {
        $crate::__select!(@parse $biased $depth [({ $($body)* })] $else $arms $($rest)*)
    };
    (@parse $biased:tt $depth:tt [] $else:tt $arms:tt default => $body:expr $(, $($rest:tt)*)?) => {
        $crate::__select!(@parse $biased $depth [($body)] $else $arms $($($rest)*)?)
    };
    (@parse $biased:tt $depth:tt [] $else:tt $arms:tt default => $body:block $($rest:tt)*) => {
        $crate::__select!(@parse $biased $depth [($body)] $else $arms $($rest)*)
    };
    // A second else.
    (@parse $biased:tt $depth:tt $default:tt [$($first:tt)+] $arms:tt else => $($rest:tt)*) => {
        ::core::compile_error!("select! has two `else` arms, but at most one is allowed")
    };
    (@parse $biased:tt $depth:tt $default:tt [] $arms:tt
        else => { $($body:tt)* }, $($rest:tt)*) => {
        $crate::__select!(@parse $biased $depth $default [({ $($body)* })] $arms $($rest)*)
    };
    (@parse $biased:tt $depth:tt $default:tt [] $arms:tt else => { $($body:tt)* } $($rest:tt)*) => {
        $crate::__select!(@parse $biased $depth $default [({ $($body)* })] $arms $($rest)*)
    };
    (@parse $biased:tt $depth:tt $default:tt [] $arms:tt else => $body:expr $(, $($rest:tt)*)?) => {
        $crate::__select!(@parse $biased $depth $default [($body)] $arms $($($rest)*)?)
    };
    (@parse $biased:tt $depth:tt $default:tt [] $arms:tt else => $body:block $($rest:tt)*) => {
        $crate::__select!(@parse $biased $depth $default [($body)] $arms $($rest)*)
    };
    (@parse $biased:tt $depth:tt $default:tt $else:tt $arms:tt biased; $($rest:tt)*) => {
        ::core::compile_error!("`biased;` must be the first word of select!")
    };

    // Patterns that would lose a value: it has already been received when it does not match.
    (@parse $biased:tt $depth:tt $default:tt $else:tt $arms:tt
        Some(Some($($inner:tt)*)) = $($rest:tt)*) => {
        $crate::__select!(@refutable)
    };
    (@parse $biased:tt $depth:tt $default:tt $else:tt $arms:tt
        Some(Ok($($inner:tt)*)) = $($rest:tt)*) => {
        $crate::__select!(@refutable)
    };
    (@parse $biased:tt $depth:tt $default:tt $else:tt $arms:tt
        Some(Err($($inner:tt)*)) = $($rest:tt)*) => {
        $crate::__select!(@refutable)
    };
    (@parse $biased:tt $depth:tt $default:tt $else:tt $arms:tt
        Some(None) = $($rest:tt)*) => {
        $crate::__select!(@refutable)
    };
    (@parse $biased:tt $depth:tt $default:tt $else:tt $arms:tt
        Some($inner:literal) = $($rest:tt)*) => {
        $crate::__select!(@refutable)
    };
    (@parse $biased:tt $depth:tt $default:tt $else:tt $arms:tt
        Ok($($inner:tt)*) = $($rest:tt)*) => {
        $crate::__select!(@refutable)
    };
    (@parse $biased:tt $depth:tt $default:tt $else:tt $arms:tt
        Err($($inner:tt)*) = $($rest:tt)*) => {
        $crate::__select!(@refutable)
    };
    (@parse $biased:tt $depth:tt $default:tt $else:tt $arms:tt
        None = $($rest:tt)*) => {
        $crate::__select!(@refutable)
    };
    (@parse $biased:tt $depth:tt $default:tt $else:tt $arms:tt
        $pattern:literal = $($rest:tt)*) => {
        $crate::__select!(@refutable)
    };
    (@refutable) => {
        ::core::compile_error!(
            "the pattern of a select! arm must be irrefutable, or `Some(..)` around an irrefutable \
             pattern, because a received value that does not match would be lost; match in the \
             body instead: `result = operation => match result { .. }`"
        )
    };

    // An arm `Some(..)`.
    (@parse $biased:tt [$($depth:tt)*] $default:tt $else:tt [$($arms:tt)*]
        Some($pattern:pat) = $operand:expr $(, if $guard:expr)?
        => { $($body:tt)* }, $($rest:tt)*) => {
        $crate::__select!(@parse $biased [$($depth)* |] $default $else
            [$($arms)* { OneSome [$($depth)*] ($pattern) ($operand) ($($guard)?) ({ $($body)* }) }]
            $($rest)*)
    };
    (@parse $biased:tt [$($depth:tt)*] $default:tt $else:tt [$($arms:tt)*]
        Some($pattern:pat) = $operand:expr $(, if $guard:expr)?
        => { $($body:tt)* } $($rest:tt)*) => {
        $crate::__select!(@parse $biased [$($depth)* |] $default $else
            [$($arms)* { OneSome [$($depth)*] ($pattern) ($operand) ($($guard)?) ({ $($body)* }) }]
            $($rest)*)
    };
    (@parse $biased:tt [$($depth:tt)*] $default:tt $else:tt [$($arms:tt)*]
        Some($pattern:pat) = $operand:expr $(, if $guard:expr)?
        => $body:expr $(, $($rest:tt)*)?) => {
        $crate::__select!(@parse $biased [$($depth)* |] $default $else
            [$($arms)* { OneSome [$($depth)*] ($pattern) ($operand) ($($guard)?) ($body) }]
            $($($rest)*)?)
    };
    (@parse $biased:tt [$($depth:tt)*] $default:tt $else:tt [$($arms:tt)*]
        Some($pattern:pat) = $operand:expr $(, if $guard:expr)?
        => $body:block $($rest:tt)*) => {
        $crate::__select!(@parse $biased [$($depth)* |] $default $else
            [$($arms)* { OneSome [$($depth)*] ($pattern) ($operand) ($($guard)?) ($body) }]
            $($rest)*)
    };

    // Any other arm.
    (@parse $biased:tt [$($depth:tt)*] $default:tt $else:tt [$($arms:tt)*]
        $pattern:pat = $operand:expr $(, if $guard:expr)?
        => { $($body:tt)* }, $($rest:tt)*) => {
        $crate::__select!(@parse $biased [$($depth)* |] $default $else
            [$($arms)* { One [$($depth)*] ($pattern) ($operand) ($($guard)?) ({ $($body)* }) }]
            $($rest)*)
    };
    (@parse $biased:tt [$($depth:tt)*] $default:tt $else:tt [$($arms:tt)*]
        $pattern:pat = $operand:expr $(, if $guard:expr)?
        => { $($body:tt)* } $($rest:tt)*) => {
        $crate::__select!(@parse $biased [$($depth)* |] $default $else
            [$($arms)* { One [$($depth)*] ($pattern) ($operand) ($($guard)?) ({ $($body)* }) }]
            $($rest)*)
    };
    (@parse $biased:tt [$($depth:tt)*] $default:tt $else:tt [$($arms:tt)*]
        $pattern:pat = $operand:expr $(, if $guard:expr)?
        => $body:expr $(, $($rest:tt)*)?) => {
        $crate::__select!(@parse $biased [$($depth)* |] $default $else
            [$($arms)* { One [$($depth)*] ($pattern) ($operand) ($($guard)?) ($body) }]
            $($($rest)*)?)
    };
    (@parse $biased:tt [$($depth:tt)*] $default:tt $else:tt [$($arms:tt)*]
        $pattern:pat = $operand:expr $(, if $guard:expr)?
        => $body:block $($rest:tt)*) => {
        $crate::__select!(@parse $biased [$($depth)* |] $default $else
            [$($arms)* { One [$($depth)*] ($pattern) ($operand) ($($guard)?) ($body) }]
            $($rest)*)
    };

    // Wrong forms.
    (@parse $biased:tt $depth:tt $default:tt $else:tt $arms:tt default $($rest:tt)*) => {
        ::core::compile_error!(
            "the `default` arm of select! must be `default => body`, without a condition"
        )
    };
    (@parse $biased:tt $depth:tt $default:tt $else:tt $arms:tt else $($rest:tt)*) => {
        ::core::compile_error!(
            "the `else` arm of select! must be `else => body`, without a condition"
        )
    };
    (@parse $biased:tt $depth:tt $default:tt $else:tt $arms:tt
        $pattern:pat = $operand:expr => $body:expr; $($rest:tt)*) => {
        ::core::compile_error!("the arms of select! are separated by commas, not semicolons")
    };
    (@parse $biased:tt $depth:tt $default:tt $else:tt $arms:tt
        $pattern:pat = $operand:expr, $($rest:tt)*) => {
        ::core::compile_error!(
            "the operand of a select! arm must be followed by `=> body` or `, if condition => body`"
        )
    };
    (@parse $biased:tt $depth:tt $default:tt $else:tt $arms:tt
        $pattern:pat = $operand:expr) => {
        ::core::compile_error!("a select! arm needs a body: `pattern = operand => body`")
    };
    (@parse $biased:tt $depth:tt $default:tt $else:tt $arms:tt $($rest:tt)+) => {{
        ::core::compile_error!(
            "a select! arm must be `pattern = operand => body`, `pattern = operand, if condition \
             => body`, `else => body`, or `default => body`"
        );
        $crate::__select_arm!($($rest)+)
    }};

    // ---- emit: biased [depth] [default] [else] [arms]
    (@emit $biased:tt [] $default:tt [($else:expr)] []) => {
        $else
    };
    (@emit $biased:tt [] [($default:expr)] [] []) => {
        $default
    };
    (@emit $biased:tt $depth:tt [] []
        [$({ $kind:tt $place:tt ($pattern:pat) $operand:tt $guard:tt ($body:expr) })*]) => {
        match {
            // The end of this statement drops the operands' temporaries, after the winner is known.
            let won = $crate::select::Selecting::new(
                $biased,
                $crate::__select!(@list $depth $($kind $operand $guard)*),
            )
            .await;
            won
        } {
            $(
                #[allow(clippy::ignored_unit_patterns)]
                $crate::__select!(@pattern $depth $place $pattern) => $body,
            )*
        }
    };
    (@emit $biased:tt $depth:tt [($default:expr)] []
        [$({ $kind:tt $place:tt ($pattern:pat) $operand:tt $guard:tt ($body:expr) })*]) => {
        match {
            let won = $crate::select::Selecting::new(
                $biased,
                $crate::__select!(@list $depth $($kind $operand $guard)*),
            )
            .try_now();
            won
        } {
            $(
                #[allow(clippy::ignored_unit_patterns)]
                ::core::option::Option::Some($crate::__select!(@pattern $depth $place $pattern))
                    => $body,
            )*
            ::core::option::Option::None => $default,
        }
    };
    (@emit $biased:tt $depth:tt [] [($else:expr)]
        [$({ $kind:tt $place:tt ($pattern:pat) $operand:tt $guard:tt ($body:expr) })*]) => {
        match {
            $($crate::__select!(@goes_off $kind $guard);)*
            let won = $crate::__select!(@with_else $biased $depth $($kind $operand $guard)*).await;
            won
        } {
            $crate::select::Which::First(()) => $else,
            $(
                #[allow(clippy::ignored_unit_patterns)]
                $crate::select::Which::Rest($crate::__select!(@pattern $depth $place $pattern))
                    => $body,
            )*
        }
    };
    (@emit $biased:tt $depth:tt [($default:expr)] [($else:expr)]
        [$({ $kind:tt $place:tt ($pattern:pat) $operand:tt $guard:tt ($body:expr) })*]) => {
        match {
            $($crate::__select!(@goes_off $kind $guard);)*
            let won = $crate::__select!(@with_else $biased $depth $($kind $operand $guard)*)
                .try_now();
            won
        } {
            ::core::option::Option::Some($crate::select::Which::First(())) => $else,
            $(
                #[allow(clippy::ignored_unit_patterns)]
                ::core::option::Option::Some($crate::select::Which::Rest(
                    $crate::__select!(@pattern $depth $place $pattern)
                )) => $body,
            )*
            ::core::option::Option::None => $default,
        }
    };

    (@with_else $biased:tt $depth:tt $($cases:tt)*) => {
        $crate::select::Selecting::new(
            $biased,
            $crate::select::Both::new(
                $crate::select::Else,
                $crate::__select!(@list $depth $($cases)*),
            ),
        )
    };

    // ---- goes_off: kind guard
    (@goes_off One ()) => {
        ::core::compile_error!(
            "the `else` arm of this select! can never run: it runs when all other arms are off, \
             but an arm with neither the pattern `Some(..)` nor an `if` condition is never off"
        )
    };
    (@goes_off $kind:tt $guard:tt) => {};

    // ---- list: [depth] cases
    (@list [| | | | | | | | | | | | | | | | | $($more:tt)*] $($cases:tt)*) => {
        $crate::__select!(@groups $($cases)*)
    };
    (@list $few:tt $($cases:tt)*) => {
        $crate::__select!(@cases $($cases)*)
    };

    (@groups) => {
        $crate::select::Nil
    };
    (@groups $k1:tt $o1:tt $g1:tt $k2:tt $o2:tt $g2:tt $k3:tt $o3:tt $g3:tt $k4:tt $o4:tt $g4:tt
        $k5:tt $o5:tt $g5:tt $k6:tt $o6:tt $g6:tt $k7:tt $o7:tt $g7:tt $k8:tt $o8:tt $g8:tt
        $($rest:tt)*) => {
        $crate::select::Both::new(
            $crate::select::Group::new(
                $crate::__select!(@cases $k1 $o1 $g1 $k2 $o2 $g2 $k3 $o3 $g3 $k4 $o4 $g4
                    $k5 $o5 $g5 $k6 $o6 $g6 $k7 $o7 $g7 $k8 $o8 $g8)
            ),
            $crate::__select!(@groups $($rest)*),
        )
    };
    (@groups $($cases:tt)*) => {
        $crate::select::Both::new(
            $crate::select::Group::new($crate::__select!(@cases $($cases)*)),
            $crate::select::Nil,
        )
    };

    (@cases) => {
        $crate::select::Nil
    };
    (@cases $kind:tt ($operand:expr) ($($guard:expr)?) $($rest:tt)*) => {
        $crate::select::Both::new(
            $crate::select::$kind::new(true $(&& $guard)?, $operand),
            $crate::__select!(@cases $($rest)*),
        )
    };

    // ---- pattern: [depth] [place] pattern
    (@pattern [| | | | | | | | | | | | | | | | | $($more:tt)*] $place:tt $pattern:pat) => {
        $crate::__select!(@group $place $pattern)
    };
    (@pattern $few:tt $place:tt $pattern:pat) => {
        $crate::__select!(@case $place $pattern)
    };

    (@group [| | | | | | | | $($place:tt)*] $pattern:pat) => {
        $crate::select::Which::Rest($crate::__select!(@group [$($place)*] $pattern))
    };
    (@group $place:tt $pattern:pat) => {
        $crate::select::Which::First($crate::__select!(@case $place $pattern))
    };

    (@case [] $pattern:pat) => {
        $crate::select::Which::First($pattern)
    };
    (@case [| $($place:tt)*] $pattern:pat) => {
        $crate::select::Which::Rest($crate::__select!(@case [$($place)*] $pattern))
    };
}

/// The syntax of one arm of [`select!`]. If the arm is wrong, the compiler points at the wrong
/// token, which a `compile_error!` cannot do.
#[doc(hidden)]
#[macro_export]
macro_rules! __select_arm {
    ($pattern:pat = $operand:expr $(, if $guard:expr)? => $body:expr $(, $($more:tt)*)?) => {};
}
