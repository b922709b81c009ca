//! The error of a wrong use of an attribute, with its span.

use proc_macro::{Delimiter, Group, Literal, Span, TokenStream, TokenTree};

use crate::expansion::code;

pub(crate) struct Error {
    at: Span,
    text: String,
}

impl Error {
    pub(crate) fn new(at: Span, text: impl Into<String>) -> Self {
        Self { at, text: text.into() }
    }

    /// Returns a `compile_error!` at the span.
    pub(crate) fn into_tokens(self) -> TokenStream {
        let mut text = Literal::string(&self.text);
        text.set_span(self.at);
        let text = Group::new(Delimiter::Brace, TokenTree::from(text).into());
        let error = code("::core::compile_error!").into_iter().chain([text.into()]);
        error
            .map(|mut token| {
                token.set_span(self.at);
                token
            })
            .collect()
    }
}
