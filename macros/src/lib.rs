//! The attributes `#[gopark::main]` and `#[gopark::test]`.
//!
//! The crate gopark re-exports and documents them. Use them from there.
//!
//! They work on token trees, because a parser of Rust takes longer to build than gopark.

#![forbid(unsafe_code)]

mod arguments;
mod error;
mod expansion;
mod function;

use proc_macro::{TokenStream, TokenTree};

/// # Expansion
///
/// The attribute expands `async fn main() -> Output { .. }` to:
///
/// ```text
/// fn main() -> Output {
///     async fn main() -> Output { .. }
///     ::gopark::block_on(main())
/// }
/// ```
#[proc_macro_attribute]
pub fn main(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let is_main = is_main(item.clone());
    expansion::of_main(arguments, item).unwrap_or_else(|error| {
        // Adds a `fn main`, so that the compiler does not report a missing main as well.
        let main = if is_main { expansion::code("fn main() {}") } else { TokenStream::new() };
        [error.into_tokens(), main].into_iter().collect()
    })
}

/// True if the item contains `fn main`.
fn is_main(item: TokenStream) -> bool {
    let is_word =
        |token: &TokenTree, word| matches!(token, TokenTree::Ident(it) if it.to_string() == word);
    let tokens: Vec<TokenTree> = item.into_iter().collect();
    tokens.windows(2).any(|pair| is_word(&pair[0], "fn") && is_word(&pair[1], "main"))
}

/// # Expansion
///
/// The attribute expands `async fn name() -> Output { .. }` to:
///
/// ```text
/// #[test]
/// fn name() -> Output {
///     async fn name() -> Output { .. }
///     ::gopark::Runtime::new().block_on(name())
/// }
/// ```
#[proc_macro_attribute]
pub fn test(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expansion::of_test(arguments, item).unwrap_or_else(error::Error::into_tokens)
}
