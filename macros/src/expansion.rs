//! The expansion of an attribute: a function that is not `async`, with the user's function inside.
//!
//! The inner function keeps its signature, so the compiler's errors in its types and its body are
//! those of any `async fn`.

use proc_macro::{Delimiter, Group, TokenStream, TokenTree};

use crate::arguments::{Arguments, Known};
use crate::error::Error;
use crate::function::Function;

const GOMAXPROCS: Known = ("gomaxprocs", Some("gomaxprocs = 4"));
const LOCAL: Known = ("local", None);
const SIM: Known = ("sim", None);
const RUNS: Known = ("runs", Some("runs = 1000"));
const CRATE: Known = ("crate", Some("crate = path::to::gopark"));

/// Expands `#[gopark::main]`: runs the function on the global runtime.
pub(crate) fn of_main(arguments: TokenStream, item: TokenStream) -> Result<TokenStream, Error> {
    let attribute = "#[gopark::main]";
    let arguments = Arguments::parse(attribute, arguments, &[GOMAXPROCS, LOCAL, CRATE])?;
    let function = Function::parse(attribute, item)?;
    let gopark = path_of_crate(&arguments);
    let procs = arguments
        .value("gomaxprocs")
        .map(|n| [gopark.clone(), code("::gomaxprocs"), parens(n), code(";")]);
    let set_procs = join(procs.into_iter().flatten());
    let run = join([set_procs, gopark, code("::"), block_on(&arguments, &function)]);
    Ok(function.wrap(TokenStream::new(), true, run))
}

/// Expands `#[gopark::test]`: runs the function on a new runtime, or in a simulation.
pub(crate) fn of_test(arguments: TokenStream, item: TokenStream) -> Result<TokenStream, Error> {
    let attribute = "#[gopark::test]";
    let arguments = Arguments::parse(attribute, arguments, &[GOMAXPROCS, LOCAL, SIM, RUNS, CRATE])?;
    let function = Function::parse(attribute, item)?;
    if let Some(test) = function.attributes.iter().find(|token| is_test(token)) {
        return Err(Error::new(
            test.span(),
            format!("{attribute} makes the function a test: remove `#[test]`"),
        ));
    }
    let is_simulated = arguments.at("sim").is_some();
    let run = if is_simulated {
        simulation(&arguments, &function)?
    } else {
        runtime(&arguments, &function)?
    };
    Ok(function.wrap(code("#[::core::prelude::v1::test]"), !is_simulated, run))
}

fn runtime(arguments: &Arguments, function: &Function) -> Result<TokenStream, Error> {
    arguments.refuse("runs", "`runs` requires a simulation: write `sim, runs = 1000`")?;
    let start = code("::Runtime::builder()");
    let build = code(".build().expect(\"gopark: cannot start a thread\").");
    let procs = setting(arguments, "gomaxprocs");
    Ok(join([path_of_crate(arguments), start, procs, build, block_on(arguments, function)]))
}

fn simulation(arguments: &Arguments, function: &Function) -> Result<TokenStream, Error> {
    if !cfg!(feature = "sim") {
        arguments.refuse("sim", "`sim` needs the feature `sim` of gopark")?;
    }
    arguments.refuse("gomaxprocs", "a simulation has one thread: remove `gomaxprocs`")?;
    arguments.refuse(
        "local",
        "a simulation polls its main on the thread of the test anyway: remove `local`",
    )?;
    let gopark = path_of_crate(arguments);
    let output = join([call(function), code(".await")]);
    let main = braces(join([gopark.clone(), code("::sim::assert_passed"), parens(output)]));
    let check = join([code(".check"), parens(join([code("|| async"), main])), code(";")]);
    Ok(join([gopark, code("::sim::Config::new()"), setting(arguments, "runs"), check]))
}

impl Function {
    /// Returns the outer function: it has one more attribute, and contains the inner function and
    /// the code that runs it. If it `returns`, its output is the inner function's; a simulation
    /// checks that output itself.
    fn wrap(self, attribute: TokenStream, returns: bool, run: TokenStream) -> TokenStream {
        let outer = if returns { self.signature.clone() } else { self.signature[..3].to_vec() };
        let inner = [vec![self.asynchronous], self.signature, vec![self.body.into()]].concat();
        let body = braces(join([inner.into_iter().collect(), run]));
        let head = [self.attributes, self.visibility, outer].concat();
        join([attribute, head.into_iter().collect(), body])
    }
}

fn path_of_crate(arguments: &Arguments) -> TokenStream {
    arguments.value("crate").unwrap_or_else(|| code("::gopark"))
}

/// Returns a call of the method with the argument's name, if the argument is present.
fn setting(arguments: &Arguments, name: &str) -> TokenStream {
    let value = arguments.value(name).map(|value| [code("."), code(name), parens(value)]);
    join(value.into_iter().flatten())
}

fn block_on(arguments: &Arguments, function: &Function) -> TokenStream {
    let name = if arguments.at("local").is_some() { "block_on_local" } else { "block_on" };
    join([code(name), parens(call(function))])
}

fn call(function: &Function) -> TokenStream {
    join([TokenTree::from(function.name.clone()).into(), parens(TokenStream::new())])
}

/// True for the group after the `#` of `#[test]`.
fn is_test(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Group(group) if group.stream().to_string() == "test")
}

/// Parses Rust code. Its span is that of the attribute.
pub(crate) fn code(text: &str) -> TokenStream {
    text.parse().expect("tokens")
}

fn join(parts: impl IntoIterator<Item = TokenStream>) -> TokenStream {
    parts.into_iter().collect()
}

fn parens(tokens: TokenStream) -> TokenStream {
    TokenTree::from(Group::new(Delimiter::Parenthesis, tokens)).into()
}

fn braces(tokens: TokenStream) -> TokenStream {
    TokenTree::from(Group::new(Delimiter::Brace, tokens)).into()
}
