//! The syntax of `select!`.
//!
//! Stages: *parse* munches the arms one by one into
//! `{ kind [depth] (pattern) (operand) (guard) (body) }`, where the kind is the type of its list of
//! one case, and the depth, a number in strokes, the arm's place; *emit* builds the list of cases,
//! runs it, and matches on which case won. Bodies stand in a `match` in the caller's own code, so
//! `break`, `return`, `?` and `.await` do what they do elsewhere.

/// Waits for one of several operations, and runs the arm of the one that took place. Go: `select`.
///
/// # Differences from Go
///
/// A send on a closed channel does not panic; its arm gets the value back in an `Err`.
///
/// # Cancellation
///
/// Dropping the surrounding future while it waits here loses nothing: every operation is taken out
/// of its queue, a value that was received already goes on to the next receiver, a send that was
/// taken stands.
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
/// Each arm is `pattern = operand => body`, with an irrefutable pattern, or `Some(..)` of one. The
/// operand is any [`Case`](crate::select::Case): a send, a receive, every other wait of this crate,
/// or [`select::fut`](crate::select::fut) of any future. A body is a block, or an expression
/// followed by a comma.
///
/// A merge of two channels, until both are closed:
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
///             Some(v) = a.recv() => sum += v, // this arm goes off when the channel is closed and drained
///             Some(v) = b.recv() => sum += v,
///             else => break,                  // all arms are off
///         }
///     }
///     assert_eq!(sum, 3);
/// });
/// ```
///
/// * **Exactly one** operation takes place; the others have no effect at all.
/// * **The choice is uniform** among those that are ready at that moment, freshly drawn each time;
///   arms on one channel have equal shares also if they had to wait. With `biased;` as the first
///   word it is the first ready one in the order of the source.
/// * **Operands are evaluated once**, from top to bottom, on entry; also those that are switched
///   off.
/// * **`operand, if condition`** switches an arm off, as a nil channel does in Go. The condition is
///   evaluated just before its operand.
/// * **`Some(pattern) = operand`**, of an operation that comes to an
///   [`Option`](crate::select::OptionCase), goes off at `None`: a receive when its channel is
///   closed and drained. The select goes on with the others, which keep their places in line, and
///   the arm has no share in the draw. It is what setting a channel to nil is in Go.
/// * **`else => body`**, anywhere, once, runs when all arms are off, by `None` or by their
///   conditions. What could never run does not compile: each other arm has the pattern `Some(..)`,
///   or a condition.
/// * **`default => body`**, anywhere, once, runs if nothing is ready, judged at one instant. Then
///   the select waits for nothing and may stand outside of async code.
/// * **A case that is no channel operation**, as `fut(future)`, is polled again when a wake comes
///   that was not for a channel. While that poll runs the select does not count as a waiting
///   receiver or sender: a `try_send` to it answers Full, a `try_recv` Empty, another select takes
///   its `default`, and a send or a receive waits in line. Then the select looks at its channels
///   again, so what waits in line meets it, but what came and went in between has missed it.
/// * **Bodies are part of the surrounding code**: `break`, `continue`, `return`, `?` and `.await`
///   work. The losers are gone by then, with what they borrowed.
/// * **`select! {}`** waits for ever, and so does one whose arms are all off, if it has neither
///   `else` nor `default`.
/// * Each arm is compiled for itself: for more than some dozens there is
///   [`Select`](crate::select::Select). From 17 arms on the code is smaller, and costs an indirect
///   call an arm.
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
        ::core::compile_error!("select! has two `default` arms; one is enough, for at most one can run")
    };
    // Braces first: a `$body:expr` of a caller's macro is no `block`, and would be an error there
    // instead of the next rule's.
    (@parse $biased:tt $depth:tt [] $else:tt $arms:tt default => { $($body:tt)* }, $($rest:tt)*) => {
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
        ::core::compile_error!("select! has two `else` arms; one is enough, for at most one can run")
    };
    (@parse $biased:tt $depth:tt $default:tt [] $arms:tt else => { $($body:tt)* }, $($rest:tt)*) => {
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

    // Patterns by which a value would be lost: it has been received when it turns out not to match.
    (@parse $biased:tt $depth:tt $default:tt $else:tt $arms:tt Some(Some($($inner:tt)*)) = $($rest:tt)*) => {
        $crate::__select!(@refutable)
    };
    (@parse $biased:tt $depth:tt $default:tt $else:tt $arms:tt Some(Ok($($inner:tt)*)) = $($rest:tt)*) => {
        $crate::__select!(@refutable)
    };
    (@parse $biased:tt $depth:tt $default:tt $else:tt $arms:tt Some(Err($($inner:tt)*)) = $($rest:tt)*) => {
        $crate::__select!(@refutable)
    };
    (@parse $biased:tt $depth:tt $default:tt $else:tt $arms:tt Some(None) = $($rest:tt)*) => {
        $crate::__select!(@refutable)
    };
    (@parse $biased:tt $depth:tt $default:tt $else:tt $arms:tt Some($inner:literal) = $($rest:tt)*) => {
        $crate::__select!(@refutable)
    };
    (@parse $biased:tt $depth:tt $default:tt $else:tt $arms:tt Ok($($inner:tt)*) = $($rest:tt)*) => {
        $crate::__select!(@refutable)
    };
    (@parse $biased:tt $depth:tt $default:tt $else:tt $arms:tt Err($($inner:tt)*) = $($rest:tt)*) => {
        $crate::__select!(@refutable)
    };
    (@parse $biased:tt $depth:tt $default:tt $else:tt $arms:tt None = $($rest:tt)*) => {
        $crate::__select!(@refutable)
    };
    (@parse $biased:tt $depth:tt $default:tt $else:tt $arms:tt $pattern:literal = $($rest:tt)*) => {
        $crate::__select!(@refutable)
    };
    (@refutable) => {
        ::core::compile_error!(
            "an arm of select! takes whatever its operation gives, or the value would be lost: the pattern is irrefutable, or \
             `Some(..)` of an irrefutable one; look at the rest in the body, as in `result = operation => match result { .. }`"
        )
    };

    // An arm `Some(..)`.
    (@parse $biased:tt [$($depth:tt)*] $default:tt $else:tt [$($arms:tt)*]
        Some($pattern:pat) = $operand:expr $(, if $guard:expr)? => { $($body:tt)* }, $($rest:tt)*) => {
        $crate::__select!(@parse $biased [$($depth)* |] $default $else
            [$($arms)* { OneSome [$($depth)*] ($pattern) ($operand) ($($guard)?) ({ $($body)* }) }] $($rest)*)
    };
    (@parse $biased:tt [$($depth:tt)*] $default:tt $else:tt [$($arms:tt)*]
        Some($pattern:pat) = $operand:expr $(, if $guard:expr)? => { $($body:tt)* } $($rest:tt)*) => {
        $crate::__select!(@parse $biased [$($depth)* |] $default $else
            [$($arms)* { OneSome [$($depth)*] ($pattern) ($operand) ($($guard)?) ({ $($body)* }) }] $($rest)*)
    };
    (@parse $biased:tt [$($depth:tt)*] $default:tt $else:tt [$($arms:tt)*]
        Some($pattern:pat) = $operand:expr $(, if $guard:expr)? => $body:expr $(, $($rest:tt)*)?) => {
        $crate::__select!(@parse $biased [$($depth)* |] $default $else
            [$($arms)* { OneSome [$($depth)*] ($pattern) ($operand) ($($guard)?) ($body) }] $($($rest)*)?)
    };
    (@parse $biased:tt [$($depth:tt)*] $default:tt $else:tt [$($arms:tt)*]
        Some($pattern:pat) = $operand:expr $(, if $guard:expr)? => $body:block $($rest:tt)*) => {
        $crate::__select!(@parse $biased [$($depth)* |] $default $else
            [$($arms)* { OneSome [$($depth)*] ($pattern) ($operand) ($($guard)?) ($body) }] $($rest)*)
    };

    // Any other arm.
    (@parse $biased:tt [$($depth:tt)*] $default:tt $else:tt [$($arms:tt)*]
        $pattern:pat = $operand:expr $(, if $guard:expr)? => { $($body:tt)* }, $($rest:tt)*) => {
        $crate::__select!(@parse $biased [$($depth)* |] $default $else
            [$($arms)* { One [$($depth)*] ($pattern) ($operand) ($($guard)?) ({ $($body)* }) }] $($rest)*)
    };
    (@parse $biased:tt [$($depth:tt)*] $default:tt $else:tt [$($arms:tt)*]
        $pattern:pat = $operand:expr $(, if $guard:expr)? => { $($body:tt)* } $($rest:tt)*) => {
        $crate::__select!(@parse $biased [$($depth)* |] $default $else
            [$($arms)* { One [$($depth)*] ($pattern) ($operand) ($($guard)?) ({ $($body)* }) }] $($rest)*)
    };
    (@parse $biased:tt [$($depth:tt)*] $default:tt $else:tt [$($arms:tt)*]
        $pattern:pat = $operand:expr $(, if $guard:expr)? => $body:expr $(, $($rest:tt)*)?) => {
        $crate::__select!(@parse $biased [$($depth)* |] $default $else
            [$($arms)* { One [$($depth)*] ($pattern) ($operand) ($($guard)?) ($body) }] $($($rest)*)?)
    };
    (@parse $biased:tt [$($depth:tt)*] $default:tt $else:tt [$($arms:tt)*]
        $pattern:pat = $operand:expr $(, if $guard:expr)? => $body:block $($rest:tt)*) => {
        $crate::__select!(@parse $biased [$($depth)* |] $default $else
            [$($arms)* { One [$($depth)*] ($pattern) ($operand) ($($guard)?) ($body) }] $($rest)*)
    };

    // Wrong forms.
    (@parse $biased:tt $depth:tt $default:tt $else:tt $arms:tt default $($rest:tt)*) => {
        ::core::compile_error!("the `default` arm of select! is written `default => body`, and takes no condition")
    };
    (@parse $biased:tt $depth:tt $default:tt $else:tt $arms:tt else $($rest:tt)*) => {
        ::core::compile_error!("the `else` arm of select! is written `else => body`, and takes no condition")
    };
    (@parse $biased:tt $depth:tt $default:tt $else:tt $arms:tt $pattern:pat = $operand:expr => $body:expr; $($rest:tt)*) => {
        ::core::compile_error!("the arms of select! are separated by commas, not semicolons")
    };
    (@parse $biased:tt $depth:tt $default:tt $else:tt $arms:tt $pattern:pat = $operand:expr, $($rest:tt)*) => {
        ::core::compile_error!("an arm of select! goes on with `=> body`, or with `, if condition => body`")
    };
    (@parse $biased:tt $depth:tt $default:tt $else:tt $arms:tt $pattern:pat = $operand:expr) => {
        ::core::compile_error!("an arm of select! needs a body: `pattern = operand => body`")
    };
    (@parse $biased:tt $depth:tt $default:tt $else:tt $arms:tt $($rest:tt)+) => {{
        ::core::compile_error!(
            "an arm of select! is `pattern = operand => body`, `pattern = operand, if condition => body`, `else => body`, or \
             `default => body`"
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
    (@emit $biased:tt $depth:tt [] [] [$({ $kind:tt $place:tt ($pattern:pat) $operand:tt $guard:tt ($body:expr) })*]) => {
        match {
            // The statement's end drops the operands' temporaries, now that the winner is known.
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
                ::core::option::Option::Some($crate::__select!(@pattern $depth $place $pattern)) => $body,
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
                $crate::select::Which::Rest($crate::__select!(@pattern $depth $place $pattern)) => $body,
            )*
        }
    };
    (@emit $biased:tt $depth:tt [($default:expr)] [($else:expr)]
        [$({ $kind:tt $place:tt ($pattern:pat) $operand:tt $guard:tt ($body:expr) })*]) => {
        match {
            $($crate::__select!(@goes_off $kind $guard);)*
            let won = $crate::__select!(@with_else $biased $depth $($kind $operand $guard)*).try_now();
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
            $crate::select::Both::new($crate::select::Else, $crate::__select!(@list $depth $($cases)*)),
        )
    };

    // ---- goes_off: kind guard
    (@goes_off One ()) => {
        ::core::compile_error!(
            "the `else` arm of this select! could never run: it runs when all other arms are off, and one that has neither the \
             pattern `Some(..)` nor an `if` condition is never off"
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
        $k5:tt $o5:tt $g5:tt $k6:tt $o6:tt $g6:tt $k7:tt $o7:tt $g7:tt $k8:tt $o8:tt $g8:tt $($rest:tt)*) => {
        $crate::select::Both::new(
            $crate::select::Group::new(
                $crate::__select!(@cases $k1 $o1 $g1 $k2 $o2 $g2 $k3 $o3 $g3 $k4 $o4 $g4 $k5 $o5 $g5 $k6 $o6 $g6 $k7 $o7 $g7 $k8 $o8 $g8)
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

/// What an arm of [`select!`] is. Given anything else, the compiler points at the word that is
/// wrong, which no `compile_error!` can.
#[doc(hidden)]
#[macro_export]
macro_rules! __select_arm {
    ($pattern:pat = $operand:expr $(, if $guard:expr)? => $body:expr $(, $($more:tt)*)?) => {};
}
