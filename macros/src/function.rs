//! The function to which an attribute is applied.

use proc_macro::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};

use crate::arguments::is_punct;
use crate::error::Error;

/// The parts of an `async fn` without arguments.
pub(crate) struct Function {
    pub(crate) attributes: Vec<TokenTree>,
    pub(crate) visibility: Vec<TokenTree>,
    /// The keyword `async`.
    pub(crate) asynchronous: TokenTree,
    /// The tokens from `fn` to the body. They begin with `fn name ()`.
    pub(crate) signature: Vec<TokenTree>,
    pub(crate) name: Ident,
    pub(crate) body: Group,
}

impl Function {
    pub(crate) fn parse(attribute: &str, item: TokenStream) -> Result<Self, Error> {
        let error = |at, text| Err(Error::new(at, text));
        let mut tokens = Vec::new();
        ungroup(item, &mut tokens);
        let mut rest = tokens.into_iter().peekable();

        let mut attributes = Vec::new();
        while let Some(hash) = rest.next_if(|token| is_punct(token, '#')) {
            attributes.extend([hash].into_iter().chain(rest.next()));
        }
        let mut visibility = Vec::new();
        if let Some(public) = rest.next_if(|token| word(token) == "pub") {
            let is_parens = |token: &TokenTree| as_group(token, Delimiter::Parenthesis).is_some();
            visibility.extend([public].into_iter().chain(rest.next_if(is_parens)));
        }
        let mut asynchronous = None;
        while let Some(qualifier) = rest.next_if(|token| word(token) != "fn") {
            match &*word(&qualifier) {
                "async" => asynchronous = Some(qualifier),
                other @ ("const" | "unsafe" | "safe" | "extern") => {
                    let text = format!("{attribute} is for an `async fn` that is not `{other}`");
                    return error(qualifier.span(), text);
                }
                _ => {
                    let text =
                        format!("{attribute} is for an `async fn`, and this is not a function");
                    return error(qualifier.span(), text);
                }
            }
        }

        let mut signature: Vec<TokenTree> = rest.collect();
        let Some(TokenTree::Ident(name)) = signature.get(1).cloned() else {
            let text = format!("{attribute} is for an `async fn`, and this is not a function");
            return error(Span::call_site(), text);
        };
        let Some(asynchronous) = asynchronous else {
            let text = format!("{attribute} is for an `async fn`: write `async fn {name}`");
            return error(signature[0].span(), text);
        };
        match &signature[2] {
            TokenTree::Group(arguments) if arguments.stream().is_empty() => {}
            TokenTree::Group(arguments) => {
                let text = format!("`{name}` cannot have arguments: {attribute} calls it");
                return error(arguments.span(), text);
            }
            other => {
                let text = format!("`{name}` cannot have parameters: {attribute} calls it");
                return error(other.span(), text);
            }
        }
        let last = signature.pop();
        match last.as_ref().and_then(|last| as_group(last, Delimiter::Brace)).cloned() {
            Some(body) => Ok(Self { attributes, visibility, asynchronous, signature, name, body }),
            None => error(name.span(), format!("`{name}` has no body")),
        }
    }
}

/// Removes the invisible groups that a `macro_rules!` puts around its fragments (`$vis`,
/// `$body:block`).
fn ungroup(tokens: TokenStream, into: &mut Vec<TokenTree>) {
    for token in tokens {
        match as_group(&token, Delimiter::None) {
            Some(group) => ungroup(group.stream(), into),
            None => into.push(token),
        }
    }
}

fn as_group(token: &TokenTree, delimiter: Delimiter) -> Option<&Group> {
    match token {
        TokenTree::Group(group) if group.delimiter() == delimiter => Some(group),
        _ => None,
    }
}

fn word(token: &TokenTree) -> String {
    match token {
        TokenTree::Ident(ident) => ident.to_string(),
        _ => String::new(),
    }
}
