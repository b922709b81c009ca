//! The arguments in the parentheses of an attribute.

use proc_macro::{Span, TokenStream, TokenTree};

use crate::error::Error;

/// An argument that an attribute accepts: its name, and an example if it takes a value.
pub(crate) type Known = (&'static str, Option<&'static str>);

/// The arguments of an attribute.
pub(crate) struct Arguments(Vec<Argument>);

struct Argument {
    word: &'static str,
    at: Span,
    value: TokenStream,
}

impl Arguments {
    /// Parses a list of `word` and `word = value`, separated by commas. Each must be known, and may
    /// occur once.
    pub(crate) fn parse(
        attribute: &str,
        tokens: TokenStream,
        known: &[Known],
    ) -> Result<Self, Error> {
        let mut found: Vec<Argument> = Vec::new();
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        for argument in
            tokens.split(|token| is_punct(token, ',')).filter(|argument| !argument.is_empty())
        {
            let (first, rest) = argument.split_first().expect("not empty");
            let (at, name) = (first.span(), first.to_string());
            let Some((word, example)) = known.iter().find(|(word, _)| *word == name) else {
                let all: Vec<String> = known
                    .iter()
                    .map(|(word, example)| format!("`{}`", example.unwrap_or(word)))
                    .collect();
                let text =
                    format!("{attribute} has no argument `{name}`; it has {}", all.join(", "));
                return Err(Error::new(at, text));
            };
            if found.iter().any(|other| other.word == *word) {
                return Err(Error::new(at, format!("`{word}` is given twice")));
            }
            let value = match (example, rest) {
                (None, []) => TokenStream::new(),
                (None, _) => return Err(Error::new(at, format!("`{word}` takes no value"))),
                (Some(_), [equals, value @ ..]) if is_punct(equals, '=') && !value.is_empty() => {
                    value.iter().cloned().collect()
                }
                (Some(example), _) => {
                    return Err(Error::new(at, format!("`{word}` needs a value: `{example}`")));
                }
            };
            found.push(Argument { word, at, value });
        }
        Ok(Self(found))
    }

    /// Returns the span of the argument, if it is present.
    pub(crate) fn at(&self, word: &str) -> Option<Span> {
        self.get(word).map(|argument| argument.at)
    }

    /// Returns an error with this text if the argument is present.
    pub(crate) fn refuse(&self, word: &str, text: &str) -> Result<(), Error> {
        self.at(word).map_or(Ok(()), |at| Err(Error::new(at, text)))
    }

    pub(crate) fn value(&self, word: &str) -> Option<TokenStream> {
        self.get(word).map(|argument| argument.value.clone())
    }

    fn get(&self, word: &str) -> Option<&Argument> {
        self.0.iter().find(|argument| argument.word == word)
    }
}

pub(crate) fn is_punct(token: &TokenTree, wanted: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == wanted)
}
